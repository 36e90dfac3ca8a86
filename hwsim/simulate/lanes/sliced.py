"""LLVM code for forms of single bits: a node is a vector of machine words, one bit a lane."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from hwsim.simulate.lanes.bits import reached
from hwsim.simulate.lanes.form import Form, Node
from hwsim.simulate.lanes.machine import VECTOR_BITS, compile_kernel, module_text

WORDS = VECTOR_BITS // 64
"""Machine words in a vector."""

VECTOR = f"<{WORDS} x i64>"


@dataclass
class Gates:
    """The code of a form of single bits; ``source`` returns the name of an input's or register's vector."""

    form: Form
    source: Callable[[Node], str]
    lines: list[str] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    _count: int = 0

    def put(self, text: str) -> str:
        self._count += 1
        name = f"%g{self._count}"
        self.lines.append(f"  {name} = {text}")
        return name

    def translate(self, roots: Iterable[int]) -> None:
        """Emit the nodes that the roots need."""
        for number in reached(self.form, roots):
            self.names[number] = self._emit(self.form.nodes[number])

    def _emit(self, node: Node) -> str:
        args = [self.names[arg] for arg in node.args]
        match node.op:
            case "constant":
                return "splat (i64 -1)" if node.param[0] else "zeroinitializer"
            case "input" | "register":
                return self.source(node)
            case "invert":
                return self.put(f"xor {VECTOR} {args[0]}, splat (i64 -1)")
            case "select":
                difference = self.put(f"xor {VECTOR} {args[1]}, {args[2]}")
                chosen = self.put(f"and {VECTOR} {difference}, {args[0]}")
                return self.put(f"xor {VECTOR} {chosen}, {args[2]}")
        return self.put(f"{node.op} {VECTOR} {args[0]}, {args[1]}")


_PATTERNS = tuple(((1 << 64) - 1) // ((1 << (1 << k)) + 1) << (1 << k) for k in range(6))
"""The word whose bit i is bit k of i, for the six lowest bits of a count."""


def ever(form: Form, roots: Sequence[int], inputs: Sequence[int]) -> list[bool]:
    """Return of each root of a form of single bits whether some assignment of the inputs makes it 1.

    All assignments are tried: the six first inputs count through the bits of a word, the next ones through the
    words of a vector, the rest through a loop of 2^(inputs - 9) cycles. ``inputs`` are all sources that the roots
    depend on.
    """
    low = 6 + WORDS.bit_length() - 1
    position = {form.nodes[number]: k for k, number in enumerate(inputs)}
    gates = Gates(form, lambda node: _counted(gates, position[node], low))
    gates.translate(roots)
    seen = [gates.put(f"or {VECTOR} %seen{k}, {gates.names[root]}") for k, root in enumerate(roots)]
    stores = [
        line
        for k, name in enumerate(seen)
        for line in (
            f"  %place{k} = getelementptr {VECTOR}, ptr %result, i64 {k}",
            f"  store {VECTOR} {name}, ptr %place{k}, align 8",
        )
    ]
    lines = [
        "entry:",
        "  br label %body",
        "body:",
        "  %count = phi i64 [0, %entry], [%count_after, %body]",
        *(
            f"  %seen{k} = phi {VECTOR} [zeroinitializer, %entry], [{name}, %body]"
            for k, name in enumerate(seen)
        ),
        *gates.lines,
        "  %count_after = add i64 %count, 1",
        "  %again = icmp ult i64 %count_after, %last",
        "  br i1 %again, label %body, label %end",
        "end:",
        *stores,
        "  ret void",
    ]
    kernel = compile_kernel(module_text("ever", ["ptr %result", "i64 %last"], lines, []), "ever", 2)
    result = np.zeros((len(roots), WORDS), np.uint64)
    kernel.call(result.ctypes.data, 1 << max(0, len(inputs) - low))
    return [bool(row.any()) for row in result]


def _counted(gates: Gates, position: int, low: int) -> str:
    """Return the vector of one input in all assignments of a cycle."""
    if position < 6:
        return f"splat (i64 {_PATTERNS[position] - (_PATTERNS[position] >> 63 << 64)})"
    if position < low:
        words = ", ".join(f"i64 {-(k >> position - 6 & 1)}" for k in range(WORDS))
        return f"<{words}>"
    up = gates.put(f"shl i64 %count, {63 - (position - low)}")
    bit = gates.put(f"ashr i64 {up}, 63")
    first = gates.put(f"insertelement {VECTOR} poison, i64 {bit}, i64 0")
    return gates.put(f"shufflevector {VECTOR} {first}, {VECTOR} poison, <{WORDS} x i32> zeroinitializer")
