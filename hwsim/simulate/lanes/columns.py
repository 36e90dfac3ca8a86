"""The loop over the cycles of a step on gates: 512 rows a vector, one column after the other.

What differs between rows lies as bit planes, one vector a bit and cycle. What depends on the column alone, a
weight or a constant of its channel, is the same in all lanes: each of its bits is a word of ones or zeros.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.formats import Int, IntArray
from hwsim.simulate.lanes.analysis import narrowed, storage_bits
from hwsim.simulate.lanes.bits import blasted
from hwsim.simulate.lanes.form import WORD, Node
from hwsim.simulate.lanes.machine import Kernel, addresses, compile_kernel, empty, module_text, share
from hwsim.simulate.lanes.planes import LANES, pack, unpack
from hwsim.simulate.lanes.sliced import VECTOR, WORDS, Gates
from hwsim.simulate.lanes.step import Step

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class GateTile:
    """A compiled step of gates: the widths of what differs between rows, of what columns own, and of the results."""

    kernel: Kernel
    rows: Mapping[str, int]
    columns: Mapping[str, int]
    results: Mapping[str, Int]

    def run(
        self, planes: Mapping[str, Array], words: Mapping[str, Array], columns: int, cycles: int, shared: bool
    ) -> dict[str, Array]:
        """Return the results [columns, 512] of one tile of rows after the last cycle.

        ``planes`` are [column, cycle, bit, word], without columns where they are ``shared``; ``words`` are
        [column, cycle, bit].
        """
        states = {name: empty((columns, form.bits, WORDS), np.uint64) for name, form in self.results.items()}
        arrays = [*(planes[n] for n in self.rows), *(words[n] for n in self.columns), *states.values()]
        table = addresses(arrays)
        self.kernel.call(table.ctypes.data, cycles, 0, columns, 0 if shared else cycles)
        return {
            name: decode(unpack(states[name], form.bits).reshape(columns, LANES), form)
            for name, form in self.results.items()
        }


def compile_gates(step: Step, columns: Iterable[str]) -> GateTile:
    """Compile a step; the inputs named ``columns`` are the same in all rows."""
    form, place = narrowed(step.form, step.next.values())
    bits, where = blasted(form, place.values())
    results = {name: where[place[node]] for name, node in step.next.items()}
    owned = {name: step.inputs[name].bits for name in step.inputs if name in set(columns)}
    rows = {name: form_.bits for name, form_ in step.inputs.items() if name not in owned}
    gates = _translate(bits, results, rows, owned)
    lines = _lines(step, gates, results, [*rows.values()], [*owned.values()])
    parameters = ["ptr noalias %table", "i64 %cycles", "i64 %first", "i64 %last", "i64 %spacing"]
    kernel = compile_kernel(module_text("gates", parameters, lines, []), "gates", 5, 2)
    formats = {name: Int(len(result), step.signed[name]) for name, result in results.items()}
    return GateTile(kernel, rows, owned, formats)


def _translate(
    form: Any, results: Mapping[str, list[int]], rows: Mapping[str, int], owned: Mapping[str, int]
) -> Gates:
    order = [*rows, *owned]

    def source(node: Node) -> str:
        name, bit = str(node.param[0]), int(node.param[1]) % WORD
        if node.op == "register":
            return f"%r{list(results).index(name)}_{bit}"
        k = order.index(name)
        index = gates.put(f"add i64 %at{k}, {bit}")
        if name in rows:
            address = gates.put(f"getelementptr {VECTOR}, ptr %p{k}, i64 {index}")
            return gates.put(f"load {VECTOR}, ptr {address}, align 8")
        address = gates.put(f"getelementptr i64, ptr %p{k}, i64 {index}")
        word = gates.put(f"load i64, ptr {address}")
        first = gates.put(f"insertelement {VECTOR} poison, i64 {word}, i64 0")
        return gates.put(f"shufflevector {VECTOR} {first}, {VECTOR} poison, <{WORDS} x i32> zeroinitializer")

    gates = Gates(form, source)
    gates.translate([bit for result in results.values() for bit in result])
    return gates


def _lines(
    step: Step, gates: Gates, results: Mapping[str, list[int]], rows: Sequence[int], owned: Sequence[int]
) -> list[str]:
    inputs = len(rows) + len(owned)
    phis, stores = [], []
    for k, (name, result) in enumerate(results.items()):
        for bit, node in enumerate(result):
            at, value = f"{k}_{bit}", gates.names[node]
            reset = "splat (i64 -1)" if step.reset[name] >> bit & 1 else "zeroinitializer"
            phis.append(f"  %r{at} = phi {VECTOR} [{reset}, %columns], [{value}, %body]")
            stores += [
                f"  %row{at} = mul i64 %column, {len(result)}",
                f"  %index{at} = add i64 %row{at}, {bit}",
                f"  %place{at} = getelementptr {VECTOR}, ptr %p{inputs + k}, i64 %index{at}",
                f"  store {VECTOR} {value}, ptr %place{at}, align 8",
            ]
    pointers = [
        line
        for k in range(inputs + len(results))
        for line in (f"  %e{k} = getelementptr ptr, ptr %table, i64 {k}", f"  %p{k} = load ptr, ptr %e{k}")
    ]
    return [
        "entry:",
        *pointers,
        "  br label %columns",
        "columns:",
        "  %column = phi i64 [%first, %entry], [%column_after, %end_column]",
        "  %start = mul i64 %column, %cycles",
        "  %own = mul i64 %column, %spacing",
        "  br label %body",
        "body:",
        "  %cycle = phi i64 [0, %columns], [%cycle_after, %body]",
        *phis,
        "  %position = add i64 %start, %cycle",
        "  %row_cycle = add i64 %own, %cycle",
        *(f"  %at{k} = mul i64 %row_cycle, {bits}" for k, bits in enumerate(rows)),
        *(f"  %at{k} = mul i64 %position, {bits}" for k, bits in enumerate(owned, len(rows))),
        *gates.lines,
        "  %cycle_after = add i64 %cycle, 1",
        "  %again = icmp ult i64 %cycle_after, %cycles",
        "  br i1 %again, label %body, label %end_column",
        "end_column:",
        *stores,
        "  %column_after = add i64 %column, 1",
        "  %more = icmp ult i64 %column_after, %last",
        "  br i1 %more, label %columns, label %end",
        "end:",
        "  ret void",
    ]


def words_of(codes: IntArray, bits: int) -> Array:
    """Return the bits of patterns as words of ones or zeros, one axis more."""
    return np.ascontiguousarray(-(codes[..., None] >> np.arange(bits) & 1), np.int64)


def run_gates(
    gates: GateTile,
    values: Array,
    base: IntArray,
    offset: IntArray,
    codes: IntArray,
    depthwise: bool,
    threads: int,
) -> dict[str, Array]:
    """Return every register [m, n] after the last cycle; ``codes`` are the weights' bit patterns [k, n]."""
    cycles, columns = codes.shape
    ((weight, weight_bits),), ((activation, bits),) = gates.columns.items(), gates.rows.items()
    words = {weight: words_of(codes.T, weight_bits)}
    results = {
        name: np.empty((columns, len(base)), np.dtype(f"int{storage_bits(form.bits)}"))
        for name, form in gates.results.items()
    }

    def run(start: int) -> None:
        rows = base[start : start + LANES]
        index = offset[:, None] + rows
        if depthwise:
            index = np.arange(columns)[:, None, None] + index
        lanes = np.zeros((*index.shape[:-1], LANES), f"uint{storage_bits(bits)}")
        lanes[..., : len(rows)] = values[index]
        planes = {activation: pack(lanes.reshape(-1), bits)}
        for name, found in gates.run(planes, words, columns, cycles, not depthwise).items():
            results[name][:, start : start + LANES] = found[:, : len(rows)]

    share(run, ((start,) for start in range(0, len(base), LANES)), threads)
    return {name: result.T for name, result in results.items()}


def decode(codes: Array, form: Int) -> Array:
    """Return the values of bit patterns that have zeros above their bits, in their storage; unsigned ones as they are."""
    bits = storage_bits(form.bits)
    if not form.signed:
        return codes
    signed = codes.view(f"int{bits}")
    return signed if form.bits == bits else (signed << (bits - form.bits)) >> (bits - form.bits)
