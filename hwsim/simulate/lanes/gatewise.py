"""The loop over cycles and lanes on gates: a program without memories, 512 lanes a vector.

Inputs become bit planes and outputs integers again a part of the cycles at a time, small enough for the cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.simulate.lanes.analysis import containers
from hwsim.simulate.lanes.bits import blasted
from hwsim.simulate.lanes.form import WORD, Form, Node
from hwsim.simulate.lanes.machine import VECTOR_BITS, Kernel, addresses, compile_kernel, empty, module_text
from hwsim.simulate.lanes.planes import LANES, pack, unpack
from hwsim.simulate.lanes.sliced import VECTOR, Gates
from hwsim.simulate.lanes.wordwise import Loop, Place, Program, compile_loop

Array = npt.NDArray[Any]

_CHUNK_BYTES = 1 << 21
"""Planes of so many cycles are in memory at a time."""

_GATES = 20_000
"""More gates than this are not compiled in one piece."""


def gates_pay(program: Program, lanes: int) -> bool:
    """Return whether a program likely runs faster on gates: by the bits that one lane moves through registers.

    A gate costs a bit a lane, an operation on words a machine integer; a single bit in words lies in a mask
    register, of which eight make a vector.
    """
    form = program.form
    if lanes < LANES // 2 or program.writes or program.holds or any(n.op == "read" for n in form.nodes):
        return False
    wordy = sum(max(8, bits) for node, bits in zip(form.nodes, containers(form), strict=True) if node.args)
    gates = sum(_gate_count(form, node) for node in form.nodes)
    moved = [*program.streams.values(), *program.state.values()]
    gates += sum(form.width(root) for root in moved) + sum(n.width for n in form.nodes if n.op == "input")
    return gates < min(wordy, _GATES)


def _gate_count(form: Form, node: Node) -> int:
    widths = [form.width(arg) for arg in node.args]
    match node.op:
        case "and" | "or" | "xor" | "invert":
            return node.width
        case "select":
            return 3 * node.width
        case "add" | "sub" | "saturate":
            return 5 * node.width
        case "mul":
            return 6 * node.width * node.width
        case "equal" | "less" | "signed_less":
            return 5 * widths[0]
    return 0


@dataclass(frozen=True)
class GateLoop:
    """A compiled program on bit planes; runs as :class:`~hwsim.simulate.lanes.wordwise.Loop` does."""

    kernel: Kernel
    inputs: Mapping[Place, int]
    """Widths, in the order of their planes' addresses; so are the next two."""
    state: Mapping[Place, int]
    streams: Mapping[Place, int]
    vector: int = LANES

    def run(self, arrays: Mapping[Place, Array], cycles: int, lanes: int) -> None:
        """Run all cycles of all lanes; ``arrays`` lie as for words."""
        width = sum(self.inputs.values()) + sum(self.streams.values())
        chunk = max(1, _CHUNK_BYTES // (max(1, width) * lanes // 8))
        state = {place: pack(arrays[place], width) for place, width in self.state.items()}
        for first in range(0, cycles, chunk):
            self._run(arrays, state, first, min(first + chunk, cycles), lanes)
        for place, planes in state.items():
            arrays[place][:] = unpack(planes, self.state[place])

    def _run(
        self, arrays: Mapping[Place, Array], state: Mapping[Place, Array], first: int, last: int, lanes: int
    ) -> None:
        """Run the cycles from ``first`` to before ``last``."""
        count, groups = last - first, lanes // LANES
        inputs = [pack(arrays[place][first:last], width) for place, width in self.inputs.items()]
        streams = {
            place: empty((count * groups, width, VECTOR_BITS // 64), np.uint64)
            for place, width in self.streams.items()
        }
        planes = [*inputs, *state.values(), *streams.values()]
        table = addresses(planes)
        self.kernel.call(table.ctypes.data, count, groups)
        for place, kept in streams.items():
            unpack(kept, self.streams[place], arrays[place][first:last])


def compile_program(program: Program, lanes: int) -> Loop | GateLoop:
    """Compile a program for words or for gates, whichever suits it."""
    program = program.narrowed()
    return compile_gate_loop(program) if gates_pay(program, lanes) else compile_loop(program, lanes)


def compile_gate_loop(program: Program) -> GateLoop:
    """Compile a narrowed program on bit planes."""
    writer = _Writer(program)
    lines = writer.lines()
    parameters = ["ptr %table", "i64 %cycles", "i64 %groups"]
    kernel = compile_kernel(module_text("run", parameters, lines, []), "run", 3, 2)
    return GateLoop(kernel, writer.inputs, writer.state, writer.streams)


class _Writer:
    def __init__(self, program: Program) -> None:
        roots = {**program.streams, **program.state}
        self.form, place = blasted(program.form, roots.values())
        width = program.form.width
        nodes = [node for node in program.form.nodes if node.op == "input"]
        self.inputs = {_place(node): node.width for node in nodes}
        sizes = {_place(node): node.width for node in program.form.nodes if node.op == "register"}
        self.state = {place: width(root) for place, root in program.state.items()} | sizes
        self.streams = {p: width(root) for p, root in program.streams.items()}
        self.results = {p: place[root] for p, root in roots.items()}
        self.gates = Gates(self.form, self._source)
        self.order = {p: k for k, p in enumerate([*self.inputs, *self.state, *self.streams])}

    def lines(self) -> list[str]:
        gates = self.gates
        gates.translate([bit for bits in self.results.values() for bit in bits])
        for places, index in ((self.streams, "%at"), (self.state, "%group")):
            for place in places:
                for bit, node in enumerate(self.results.get(place, ())):
                    address = self._address(place, places[place], index, bit)
                    gates.lines.append(f"  store {VECTOR} {gates.names[node]}, ptr {address}, align 8")
        return [
            "entry:",
            *(
                line
                for k in self.order.values()
                for line in (
                    f"  %e{k} = getelementptr ptr, ptr %table, i64 {k}",
                    f"  %p{k} = load ptr, ptr %e{k}",
                )
            ),
            "  br label %next_group",
            "next_group:",
            "  %group = phi i64 [0, %entry], [%group_after, %end_group]",
            "  br label %body",
            "body:",
            "  %cycle = phi i64 [0, %next_group], [%cycle_after, %body]",
            "  %row = mul i64 %cycle, %groups",
            "  %at = add i64 %row, %group",
            *gates.lines,
            "  %cycle_after = add i64 %cycle, 1",
            "  %again = icmp ult i64 %cycle_after, %cycles",
            "  br i1 %again, label %body, label %end_group",
            "end_group:",
            "  %group_after = add i64 %group, 1",
            "  %more = icmp ult i64 %group_after, %groups",
            "  br i1 %more, label %next_group, label %end",
            "end:",
            "  ret void",
        ]

    def _address(self, place: Place, width: int, index: str, bit: int) -> str:
        start = self.gates.put(f"mul i64 {index}, {width}")
        at = self.gates.put(f"add i64 {start}, {bit}")
        return self.gates.put(f"getelementptr {VECTOR}, ptr %p{self.order[place]}, i64 {at}")

    def _source(self, node: Node) -> str:
        part, bit = divmod(int(node.param[1]), WORD)
        place = Place(node.op, str(node.param[0]), part)
        widths, index = (self.inputs, "%at") if node.op == "input" else (self.state, "%group")
        return self.gates.put(
            f"load {VECTOR}, ptr {self._address(place, widths[place], index, bit)}, align 8"
        )


def _place(node: Node) -> Place:
    return Place(node.op, str(node.param[0]), int(node.param[1]))
