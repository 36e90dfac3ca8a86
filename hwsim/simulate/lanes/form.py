"""A netlist as a graph of values: static single assignment, every node at most 64 bits wide.

A :class:`Form` holds nodes in an order in which arguments come first. Nodes are made by the methods named after
their operation; equal nodes are one node, constants are folded, and wiring (slices of slices, of extensions, of
concatenations) is resolved on the way, so that a repeated sign bit is seen as the sign extension it is. Each
rewriting is an identity of bit vectors, valid for every value of its arguments, so a node always has the value of
the expression it was asked for.

Every operation is modulo 2^width of its node; ``less`` compares unsigned numbers. Wider values are tuples of
nodes, 64 bits each, least significant first (:mod:`hwsim.simulate.lanes.netlist`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

WORD = 64
"""The widest node."""

Key: TypeAlias = str | int


class Node(NamedTuple):
    """One value: what computes it, its width in bits, the nodes it is computed from, and constants.

    ``param`` is the value of a ``constant``, the lowest bit of a ``slice``, the name and part of an ``input``
    or a ``register``, the memory and part of a ``read``.
    """

    op: str
    width: int
    args: tuple[int, ...] = ()
    param: tuple[Key, ...] = ()


SOURCES = frozenset({"constant", "input", "register"})
"""Operations without arguments."""


@dataclass
class Form:
    """A growing graph of nodes; a node is known by its index."""

    nodes: list[Node] = field(default_factory=list)
    _known: dict[Node, int] = field(default_factory=dict)

    def _node(self, op: str, width: int, args: tuple[int, ...] = (), *param: Key) -> int:
        node = Node(op, width, args, param)
        if node not in self._known:
            self._known[node] = len(self.nodes)
            self.nodes.append(node)
        return self._known[node]

    def width(self, value: int) -> int:
        return self.nodes[value].width

    def known(self, value: int) -> int | None:
        """Return the number that a node is constantly, or nothing."""
        node = self.nodes[value]
        return int(node.param[0]) if node.op == "constant" else None

    def constant(self, number: int, width: int) -> int:
        return self._node("constant", width, (), number & ((1 << width) - 1))

    def input(self, name: str, width: int, part: int = 0) -> int:
        return self._node("input", width, (), name, part)

    def register(self, name: str, width: int, part: int = 0) -> int:
        return self._node("register", width, (), name, part)

    def read(self, memory: str, address: int, width: int, part: int = 0) -> int:
        """What a memory holds at an address at the beginning of the cycle."""
        return self._node("read", width, (address,), memory, part)

    # Logic

    def invert(self, a: int) -> int:
        node = self.nodes[a]
        if node.op == "constant":
            return self.constant(~int(node.param[0]), node.width)
        if node.op == "invert":
            return node.args[0]
        return self._node("invert", node.width, (a,))

    def both(self, a: int, b: int) -> int:
        return self._logic("and", a, b)

    def either(self, a: int, b: int) -> int:
        return self._logic("or", a, b)

    def differ(self, a: int, b: int) -> int:
        return self._logic("xor", a, b)

    def _logic(self, op: str, a: int, b: int) -> int:
        """AND, OR or XOR: folded where an argument is constant, the other one, or the other one inverted."""
        width, ones = self.width(a), (1 << self.width(a)) - 1
        a, b = sorted((a, b), key=lambda value: (self.nodes[value].op == "constant", value))
        x, y = self.known(a), self.known(b)
        if x is not None and y is not None:
            return self.constant({"and": x & y, "or": x | y, "xor": x ^ y}[op], width)
        if a == b:
            return self.constant(0, width) if op == "xor" else a
        if y == 0:
            return b if op == "and" else a
        if y == ones:
            return {"and": lambda: a, "or": lambda: b, "xor": lambda: self.invert(a)}[op]()
        if self._inverse(a, b):
            return self.constant(0 if op == "and" else ones, width)
        if op == "xor" and y is None:
            return self._parity(a, b)
        return self._node(op, width, (a, b))

    def _parity(self, a: int, b: int) -> int:
        """XOR with the inversions of both arguments outside."""
        odd = False
        stripped = []
        for value in (a, b):
            node = self.nodes[value]
            odd ^= node.op == "invert"
            stripped.append(node.args[0] if node.op == "invert" else value)
        one, other = sorted(stripped)
        result = self._node("xor", self.width(a), (one, other))
        return self.invert(result) if odd else result

    def _inverse(self, a: int, b: int) -> bool:
        one, other = self.nodes[a], self.nodes[b]
        return (one.op == "invert" and one.args == (b,)) or (other.op == "invert" and other.args == (a,))

    def select(self, condition: int, one: int, zero: int) -> int:
        """``one`` where the condition is 1, else ``zero``."""
        chosen = self.known(condition)
        if chosen is not None or one == zero:
            return one if chosen else zero
        if self.nodes[condition].op == "invert":
            return self.select(self.nodes[condition].args[0], zero, one)
        if self.width(one) == 1:
            if self.known(one) is not None:
                return (
                    self.either(condition, zero)
                    if self.known(one)
                    else self.both(self.invert(condition), zero)
                )
            if self.known(zero) is not None:
                return (
                    self.either(self.invert(condition), one)
                    if self.known(zero)
                    else self.both(condition, one)
                )
        return self._node("select", self.width(one), (condition, one, zero))

    # Arithmetic

    def add(self, a: int, b: int) -> int:
        return self._arithmetic("add", a, b)

    def subtract(self, a: int, b: int) -> int:
        return self.constant(0, self.width(a)) if a == b else self._arithmetic("sub", a, b)

    def multiply(self, a: int, b: int) -> int:
        return self._arithmetic("mul", a, b)

    def _arithmetic(self, op: str, a: int, b: int) -> int:
        width = self.width(a)
        if width == 1:
            return self.both(a, b) if op == "mul" else self.differ(a, b)
        if op != "sub":
            a, b = sorted((a, b), key=lambda value: (self.nodes[value].op == "constant", value))
        x, y = self.known(a), self.known(b)
        if x is not None and y is not None:
            return self.constant({"add": x + y, "sub": x - y, "mul": x * y}[op], width)
        if y == 0:
            return b if op == "mul" else a
        if y == 1 and op == "mul":
            return a
        return self._node(op, width, (a, b))

    def saturating_add(self, a: int, b: int) -> int:
        """The exact sum of two signed numbers, clamped into their signed range."""
        return self._node("saturate", self.width(a), (a, b))

    def equal(self, a: int, b: int) -> int:
        """Whether a is b, one bit."""
        x, y = self.known(a), self.known(b)
        if a == b or (x is not None and y is not None):
            return self.constant(a == b or x == y, 1)
        if self.width(a) == 1:
            return self.invert(self.differ(a, b))
        return self._node("equal", 1, (a, b) if a < b else (b, a))

    def less(self, a: int, b: int) -> int:
        """Whether a < b as unsigned numbers, one bit."""
        x, y = self.known(a), self.known(b)
        if a == b or y == 0:
            return self.constant(0, 1)
        if x is not None and y is not None:
            return self.constant(x < y, 1)
        if self.width(a) == 1:
            return self.both(self.invert(a), b)
        return self._node("less", 1, (a, b))

    def signed_less(self, a: int, b: int) -> int:
        """Whether a < b as two's complement numbers, one bit."""
        return self._node("signed_less", 1, (a, b)) if a != b else self.constant(0, 1)

    # Wiring

    def zero_extend(self, a: int, width: int) -> int:
        node = self.nodes[a]
        if node.width == width:
            return a
        if node.op == "constant":
            return self.constant(int(node.param[0]), width)
        return self._node("zext", width, (node.args[0] if node.op == "zext" else a,))

    def sign_extend(self, a: int, width: int) -> int:
        node = self.nodes[a]
        if node.width == width:
            return a
        if node.op == "constant":
            number = int(node.param[0])
            return self.constant(number - (number >> node.width - 1 << node.width), width)
        if node.op == "zext":
            return self.zero_extend(node.args[0], width)
        return self._node("sext", width, (node.args[0] if node.op == "sext" else a,))

    def slice(self, a: int, low: int, width: int) -> int:
        """Bits ``low`` to ``low + width - 1`` of a."""
        node = self.nodes[a]
        if low == 0 and width == node.width:
            return a
        match node.op:
            case "constant":
                return self.constant(int(node.param[0]) >> low, width)
            case "slice":
                return self.slice(node.args[0], int(node.param[0]) + low, width)
            case "concat":
                return self._slice_of_parts(node.args, low, width)
            case "zext" | "sext":
                return self._slice_of_extension(node, low, width)
            case "invert" if width == 1:
                return self.invert(self.slice(node.args[0], low, width))
        return self._node("slice", width, (a,), low)

    def _slice_of_extension(self, node: Node, low: int, width: int) -> int:
        inner = node.args[0]
        inside = self.width(inner)
        if low + width <= inside:
            return self.slice(inner, low, width)
        if node.op == "zext":
            return (
                self.constant(0, width)
                if low >= inside
                else self.zero_extend(self.slice(inner, low, inside - low), width)
            )
        start = min(low, inside - 1)
        return self.sign_extend(self.slice(inner, start, inside - start), width)

    def _slice_of_parts(self, parts: Sequence[int], low: int, width: int) -> int:
        chosen, position = [], 0
        for part in parts:
            size = self.width(part)
            first, last = max(low, position), min(low + width, position + size)
            if first < last:
                chosen.append(self.slice(part, first - position, last - first))
            position += size
        return self.concat(chosen)

    def concat(self, parts: Iterable[int]) -> int:
        """Parts side by side, the least significant first; what is an extension or a slice becomes one."""
        joined: list[int] = []
        for part in parts:
            node = self.nodes[part]
            for piece in node.args if node.op == "concat" else (part,):
                while joined and (merged := self._join(joined[-1], piece)) is not None:
                    joined.pop()
                    piece = merged
                joined.append(piece)
        if len(joined) == 1:
            return joined[0]
        width = sum(map(self.width, joined))
        if self.known(joined[-1]) == 0:
            return self.zero_extend(self.concat(joined[:-1]), width)
        return self._node("concat", width, tuple(joined))

    def _join(self, low: int, high: int) -> int | None:
        """Return two neighbours as one node, where there is one."""
        a, b = self.nodes[low], self.nodes[high]
        width = a.width + b.width
        if a.op == b.op == "constant":
            return self.constant(int(a.param[0]) | int(b.param[0]) << a.width, width)
        if b.op == "slice":
            whole, first = b.args[0], int(b.param[0])
            if a.op == "slice" and a.args[0] == whole and int(a.param[0]) + a.width == first:
                return self.slice(whole, int(a.param[0]), width)
        if b.width == 1 or b.op == "sext":
            sign = high if b.width == 1 else b.args[0]
            if self.width(sign) == 1 and self.sign(low) == sign:
                return self.sign_extend(low, width)
        return None

    def sign(self, a: int) -> int:
        """The most significant bit."""
        return self.slice(a, self.width(a) - 1, 1)

    def import_node(self, node: Node, args: Sequence[int]) -> int:
        """Return what a node of another form is here, from its arguments here; the folding is applied again."""
        match node.op:
            case "constant":
                return self.constant(int(node.param[0]), node.width)
            case "input" | "register":
                return self._node(node.op, node.width, (), *node.param)
            case "read":
                return self._node("read", node.width, tuple(args), *node.param)
            case "zext":
                return self.zero_extend(args[0], node.width)
            case "sext":
                return self.sign_extend(args[0], node.width)
            case "slice":
                return self.slice(args[0], int(node.param[0]), node.width)
            case "concat":
                return self.concat(args)
        made: int = getattr(self, METHODS[node.op])(*args)
        return made


METHODS: Mapping[str, str] = {
    "invert": "invert",
    "and": "both",
    "or": "either",
    "xor": "differ",
    "select": "select",
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "saturate": "saturating_add",
    "equal": "equal",
    "less": "less",
    "signed_less": "signed_less",
}
