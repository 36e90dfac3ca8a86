"""LLVM code for a form: every node a vector of machine integers, one lane each.

A node of w bits is held in an integer of c >= w bits whose low w bits are its value. What is above them is known
by an interval that encloses the integer, read as signed: bits are masked off or sign-extended only where a reader
needs them and the interval does not already say so. The intervals are sound because each is computed with
exact arithmetic from the arguments' intervals, and given up (the whole range of c bits) wherever the machine
operation could wrap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from hwsim.simulate.lanes.analysis import containers
from hwsim.simulate.lanes.form import Form, Node

Kind: TypeAlias = Literal["any", "zero", "sign"]
"""What is above a node's bits: anything, zeros, or copies of its most significant bit."""


class Value(NamedTuple):
    """A machine integer: its name in the code, its bits, the interval it lies in, and whether lanes differ."""

    name: str
    bits: int
    low: int
    high: int
    vector: bool

    @property
    def interval(self) -> tuple[int, int]:
        return self.low, self.high


Source: TypeAlias = Callable[[Node, int | None], Value]
"""Loads an input, a register or a read, for one row."""


def whole(bits: int) -> tuple[int, int]:
    """Return the range of a machine integer; a single bit counts as 0 or 1."""
    return (0, 1) if bits == 1 else (-(1 << bits - 1), (1 << bits - 1) - 1)


def kind_interval(width: int, kind: Kind) -> tuple[int, int]:
    return (0, (1 << width) - 1) if kind == "zero" else (-(1 << width - 1), (1 << width - 1) - 1)


@dataclass
class Code:
    """Lines of LLVM's text form, numbered as they come; ``lanes`` values make a vector."""

    lanes: int
    lines: list[str] = field(default_factory=list)
    intrinsics: set[str] = field(default_factory=set)
    _count: int = 0

    def type(self, bits: int, vector: bool) -> str:
        return f"<{self.lanes} x i{bits}>" if vector and self.lanes > 1 else f"i{bits}"

    def put(self, text: str) -> str:
        """Add an instruction; return the name of its result."""
        self._count += 1
        name = f"%v{self._count}"
        self.lines.append(f"  {name} = {text}")
        return name

    def do(self, text: str) -> None:
        """Add an instruction without result."""
        self.lines.append(f"  {text}")

    def constant(self, number: int, bits: int, vector: bool) -> str:
        number &= (1 << bits) - 1
        literal = str(number) if bits == 1 else str(number - (number >> bits - 1 << bits))
        return f"splat (i{bits} {literal})" if vector and self.lanes > 1 else literal

    def spread(self, value: Value) -> Value:
        """Return a value with a copy in every lane."""
        if value.vector or self.lanes == 1:
            return value._replace(vector=True)
        if not value.name.startswith("%"):
            return value._replace(name=f"splat (i{value.bits} {value.name})", vector=True)
        kind = self.type(value.bits, True)
        first = self.put(f"insertelement {kind} poison, i{value.bits} {value.name}, i64 0")
        name = self.put(f"shufflevector {kind} {first}, {kind} poison, <{self.lanes} x i32> zeroinitializer")
        return value._replace(name=name, vector=True)

    def call(self, name: str, bits: int, vector: bool, args: Sequence[str]) -> str:
        """Call an intrinsic on arguments of the type of its result."""
        kind = self.type(bits, vector)
        suffix = f"v{self.lanes}i{bits}" if vector and self.lanes > 1 else f"i{bits}"
        self.intrinsics.add(f"declare {kind} @llvm.{name}.{suffix}({', '.join([kind] * len(args))})")
        return self.put(f"call {kind} @llvm.{name}.{suffix}({', '.join(f'{kind} {arg}' for arg in args)})")


@dataclass
class Translation:
    """The code of a form for some rows: nodes that differ between rows are computed once for each.

    ``row_wise`` says of an input or a register whether its value depends on the row.
    """

    form: Form
    code: Code
    source: Source
    row_wise: Callable[[Node], bool] = lambda node: False
    rows: int = 1

    def __post_init__(self) -> None:
        self._containers = containers(self.form)
        self._values: dict[tuple[int, int | None], Value] = {}
        self._variants: dict[tuple[int, int | None, int, Kind], Value] = {}
        self._by_row = [False] * len(self.form.nodes)
        for number, node in enumerate(self.form.nodes):
            own = node.op in ("input", "register", "read") and self.row_wise(node)
            self._by_row[number] = own or any(self._by_row[arg] for arg in node.args)

    def translate(self) -> None:
        """Emit every node: first what all rows share, then row by row."""
        for row in (None, *range(self.rows)):
            for number, node in enumerate(self.form.nodes):
                if self._by_row[number] == (row is not None) and node.op != "constant":
                    self._values[number, row] = self._emit(number, node, row)

    def value(self, number: int, row: int | None, bits: int, kind: Kind) -> Value:
        """Return a node in an integer of ``bits`` bits, with zeros, sign bits or anything above its own."""
        node = self.form.nodes[number]
        if node.op == "constant":
            return self._constant(node, bits, kind)
        row = row if self._by_row[number] else None
        if (number, row, bits, kind) not in self._variants:
            self._variants[number, row, bits, kind] = self._variant(number, row, bits, kind)
        return self._variants[number, row, bits, kind]

    def natural(self, number: int, row: int | None) -> Value:
        """Return a node as it was computed."""
        node = self.form.nodes[number]
        if node.op == "constant":
            return self._constant(node, self._containers[number], "any")
        return self._values[number, row if self._by_row[number] else None]

    def _constant(self, node: Node, bits: int, kind: Kind) -> Value:
        number = int(node.param[0]) & ((1 << node.width) - 1)
        if bits < node.width:
            number &= (1 << bits) - 1
        elif (kind != "zero" and node.width > 1) or (kind == "sign" and bits > 1):
            number -= number >> node.width - 1 << node.width
        literal = self.code.constant(number, bits, False)
        content = int(literal)
        return Value(literal, bits, content, content, False)

    def _variant(self, number: int, row: int | None, bits: int, kind: Kind) -> Value:
        kept = self.kept(self._values[number, row], self.form.width(number), kind)
        return self.converted(kept, bits, kind)

    def kept(self, value: Value, width: int, kind: Kind) -> Value:
        """Return a value in its own container with zeros or signs above its bits."""
        if kind == "any" or width == value.bits:
            return value
        low, high = kind_interval(width, kind)
        if low <= value.low and value.high <= high:
            return value
        code, type_ = self.code, self.code.type(value.bits, value.vector)

        def amount(number: int) -> str:
            return code.constant(number, value.bits, value.vector)

        if kind == "zero":
            name = code.put(f"and {type_} {value.name}, {amount((1 << width) - 1)}")
        else:
            up = code.put(f"shl {type_} {value.name}, {amount(value.bits - width)}")
            name = code.put(f"ashr {type_} {up}, {amount(value.bits - width)}")
        return Value(name, value.bits, low, high, value.vector)

    def converted(self, value: Value, bits: int, kind: Kind) -> Value:
        """Return a value in a container of another size; a wider one is filled as ``kind`` says."""
        if value.bits == bits:
            return value
        source, target = self.code.type(value.bits, value.vector), self.code.type(bits, value.vector)
        if value.bits > bits:
            low, high = whole(bits)
            kept = low <= value.low and value.high <= high
            name = self.code.put(f"trunc {source} {value.name} to {target}")
            return Value(name, bits, *(value.interval if kept else (low, high)), value.vector)
        if kind == "sign" or (kind == "any" and value.low < 0):
            name = self.code.put(f"sext {source} {value.name} to {target}")
            interval = (-1, 0) if value.bits == 1 else value.interval
            return Value(name, bits, *interval, value.vector)
        name = self.code.put(f"zext {source} {value.name} to {target}")
        interval = value.interval if value.low >= 0 else (0, (1 << value.bits) - 1)
        return Value(name, bits, *interval, value.vector)

    # One method a group of operations

    def _emit(self, number: int, node: Node, row: int | None) -> Value:
        bits = self._containers[number]
        match node.op:
            case "input" | "register" | "read":
                return self.source(node, row)
            case "zext":
                return self.value(node.args[0], row, bits, "zero")
            case "sext":
                return self.value(node.args[0], row, bits, "sign")
            case "slice":
                return self._slice(node, row, bits)
            case "concat":
                return self._concat(node, row, bits)
            case "equal" | "less" | "signed_less":
                return self._compare(node, row)
            case "select":
                return self._select(node, row, bits)
            case "saturate":
                return self._saturate(node, row, bits)
        return self._arithmetic(node, row, bits)

    def _together(self, values: Sequence[Value]) -> list[Value]:
        """Return operands of one instruction: all vectors, or none."""
        if any(value.vector for value in values):
            return [self.code.spread(value) for value in values]
        return list(values)

    def _arithmetic(self, node: Node, row: int | None, bits: int) -> Value:
        args = self._together([self.value(arg, row, bits, "any") for arg in node.args])
        vector = args[0].vector
        type_ = self.code.type(bits, vector)
        operation = "xor" if node.op == "invert" else node.op
        operands = [arg.name for arg in args]
        if node.op == "invert":
            operands.append(self.code.constant(-1, bits, vector))
        name = self.code.put(f"{operation} {type_} {', '.join(operands)}")
        low, high = _interval(node.op, args, bits)
        return Value(name, bits, low, high, vector)

    def _select(self, node: Node, row: int | None, bits: int) -> Value:
        condition = self.value(node.args[0], row, 1, "any")
        one, zero = (self.value(arg, row, bits, "any") for arg in node.args[1:])
        condition, one, zero = self._together([condition, one, zero])
        type_ = self.code.type(bits, one.vector)
        name = self.code.put(
            f"select {self.code.type(1, one.vector)} {condition.name}, {type_} {one.name}, {type_} {zero.name}"
        )
        return Value(name, bits, min(one.low, zero.low), max(one.high, zero.high), one.vector)

    def _saturate(self, node: Node, row: int | None, bits: int) -> Value:
        args = self._together([self.value(arg, row, bits, "sign") for arg in node.args])
        vector, low, high = args[0].vector, *kind_interval(node.width, "sign")
        if bits == node.width and bits <= 16:  # machines have an instruction for it
            name = self.code.call("sadd.sat", bits, vector, [arg.name for arg in args])
            return Value(name, bits, low, high, vector)
        type_ = self.code.type(bits, vector)
        if bits == node.width:
            return Value(self._clamped_sum(node, row, args, bits), bits, low, high, vector)
        total = self.code.put(f"add {type_} {args[0].name}, {args[1].name}")
        above = self.code.call("smax", bits, vector, [total, self.code.constant(low, bits, vector)])
        name = self.code.call("smin", bits, vector, [above, self.code.constant(high, bits, vector)])
        return Value(name, bits, low, high, vector)

    def _clamped_sum(self, node: Node, row: int | None, args: Sequence[Value], bits: int) -> str:
        """Return a saturating sum of two integers that fill their container.

        Where an addend's sign is that of a value which other sums share, the other addend is brought as near to
        the end of the range on that side as the sum may come, and then cannot leave it. Else the wrapped sum is
        replaced where its sign differs from both addends' signs.
        """
        for addend, other in ((1, 0), (0, 1)):
            sign = self._sign_source(node.args[addend], row)
            if sign is not None:
                return self._bounded_sum(args[addend].name, args[other].name, sign, bits, args[0].vector)
        return self._corrected_sum(args[0].name, args[1].name, bits, args[0].vector)

    def _sign_source(self, number: int, row: int | None) -> Value | None:
        """Return a factor that is negative where a product is, or zero where it is; the other is not negative."""
        node = self.form.nodes[number]
        if node.op == "sext":
            number, node = node.args[0], self.form.nodes[node.args[0]]
        if node.op != "mul" or not self._exact(number, row):
            return None
        one, other = (self.value(arg, row, self._containers[number], "any") for arg in node.args)
        return other if one.low >= 0 else one if other.low >= 0 else None

    def _exact(self, number: int, row: int | None) -> bool:
        """Return whether a product did not wrap in its container and lies within its bits as a signed number."""
        value = self.natural(number, row)
        factors = [self.value(arg, row, value.bits, "any") for arg in self.form.nodes[number].args]
        corners = [x * y for x in factors[0].interval for y in factors[1].interval]
        low, high = kind_interval(self.form.width(number), "sign")
        return low <= min(corners) and max(corners) <= high

    def _bounded_sum(self, addend: str, other: str, sign: Value, bits: int, vector: bool) -> str:
        code, type_ = self.code, self.code.type(bits, vector)
        sign = code.spread(sign) if vector else sign
        zero = code.constant(0, sign.bits, vector)
        down = code.put(f"icmp slt {code.type(sign.bits, vector)} {sign.name}, {zero}")
        mask = code.type(1, vector)
        least, most = (code.constant(end, bits, vector) for end in whole(bits))
        end = code.put(f"select {mask} {down}, {type_} {least}, {type_} {most}")
        bound = code.put(f"sub {type_} {end}, {addend}")
        low, high = (code.call(name, bits, vector, [other, bound]) for name in ("smin", "smax"))
        near = code.put(f"select {mask} {down}, {type_} {high}, {type_} {low}")
        return code.put(f"add {type_} {near}, {addend}")

    def _corrected_sum(self, a: str, b: str, bits: int, vector: bool) -> str:
        code, type_ = self.code, self.code.type(bits, vector)
        total = code.put(f"add {type_} {a}, {b}")
        signs = [code.put(f"xor {type_} {addend}, {total}") for addend in (a, b)]
        both = code.put(f"and {type_} {signs[0]}, {signs[1]}")
        outside = code.put(f"icmp slt {type_} {both}, {code.constant(0, bits, vector)}")
        sign = code.put(f"ashr {type_} {total}, {code.constant(bits - 1, bits, vector)}")
        end = code.put(f"xor {type_} {sign}, {code.constant(-1 << (bits - 1), bits, vector)}")
        return code.put(f"select {code.type(1, vector)} {outside}, {type_} {end}, {type_} {total}")

    def _compare(self, node: Node, row: int | None) -> Value:
        bits = max(self.natural(arg, row).bits for arg in node.args)
        width = self.form.width(node.args[0])
        kind: Kind = "sign" if node.op == "signed_less" else "zero"
        if node.op == "equal" and all(_lies(self.natural(arg, row), width, "sign") for arg in node.args):
            kind = "sign"
        args = self._together([self.value(arg, row, bits, kind) for arg in node.args])
        how = {"equal": "eq", "less": "ult", "signed_less": "slt"}[node.op]
        type_ = self.code.type(bits, args[0].vector)
        name = self.code.put(f"icmp {how} {type_} {args[0].name}, {args[1].name}")
        return Value(name, 1, 0, 1, args[0].vector)

    def _slice(self, node: Node, row: int | None, bits: int) -> Value:
        arg, low = node.args[0], int(node.param[0])
        value, width = self.natural(arg, row), self.form.width(arg)
        if low == 0 and bits > 1:
            return self.converted(value, bits, "any")
        type_ = self.code.type(value.bits, value.vector)

        def number(content: int) -> str:
            return self.code.constant(content, value.bits, value.vector)

        top = low + node.width == width
        signed = top and (width == value.bits or _lies(value, width, "sign"))
        if bits == 1:
            if signed:
                name = self.code.put(f"icmp slt {type_} {value.name}, {number(0)}")
            else:
                bit = self.code.put(f"and {type_} {value.name}, {number(1 << low)}")
                name = self.code.put(f"icmp ne {type_} {bit}, {number(0)}")
            return Value(name, 1, 0, 1, value.vector)
        if signed and value.low < 0:
            name = self.code.put(f"ashr {type_} {value.name}, {number(low)}")
            shifted = Value(name, value.bits, value.low >> low, value.high >> low, value.vector)
        else:
            name = self.code.put(f"lshr {type_} {value.name}, {number(low)}")
            interval = value.interval if value.low >= 0 else (0, (1 << value.bits) - 1)
            shifted = Value(name, value.bits, interval[0] >> low, interval[1] >> low, value.vector)
        return self.converted(shifted, bits, "any")

    def _concat(self, node: Node, row: int | None, bits: int) -> Value:
        position, total = 0, None
        for arg in node.args:
            last = arg == node.args[-1] and position + self.form.width(arg) == node.width
            part = self.value(arg, row, bits, "any" if last else "zero")
            shifted = self._shift_left(part, position)
            total = shifted if total is None else self._join(total, shifted)
            position += self.form.width(arg)
        assert total is not None
        return total

    def _shift_left(self, value: Value, places: int) -> Value:
        if places == 0:
            return value
        low, high = value.low << places, value.high << places
        if not value.name.startswith("%"):
            literal = self.code.constant(low, value.bits, False)
            return Value(literal, value.bits, int(literal), int(literal), False)
        amount = self.code.constant(places, value.bits, value.vector)
        name = self.code.put(f"shl {self.code.type(value.bits, value.vector)} {value.name}, {amount}")
        return Value(name, value.bits, *_fitting(low, high, value.bits), value.vector)

    def _join(self, one: Value, other: Value) -> Value:
        a, b = self._together([one, other])
        name = self.code.put(f"or {self.code.type(a.bits, a.vector)} {a.name}, {b.name}")
        return Value(name, a.bits, *_interval("or", [a, b], a.bits), a.vector)


def _lies(value: Value, width: int, kind: Kind) -> bool:
    low, high = kind_interval(width, kind)
    return width == value.bits or (low <= value.low and value.high <= high)


def _fitting(low: int, high: int, bits: int) -> tuple[int, int]:
    """Return an interval of exact results, or everything where they may not fit."""
    least, most = whole(bits)
    return (low, high) if least <= low and high <= most else (least, most)


def _interval(op: str, args: Sequence[Value], bits: int) -> tuple[int, int]:
    """Return an interval of an operation's results, read as signed."""
    if bits == 1:
        return 0, 1
    a = args[0]
    if op == "invert":
        return ~a.high, ~a.low
    b = args[1]
    match op:
        case "add":
            return _fitting(a.low + b.low, a.high + b.high, bits)
        case "sub":
            return _fitting(a.low - b.high, a.high - b.low, bits)
        case "mul":
            corners = [x * y for x in a.interval for y in b.interval]
            return _fitting(min(corners), max(corners), bits)
        case "and" if a.low >= 0 or b.low >= 0:
            return 0, min(value.high for value in (a, b) if value.low >= 0)
    size = max(
        number.bit_length()
        for value in (a, b)
        for number in (
            value.low if value.low >= 0 else ~value.low,
            value.high if value.high >= 0 else ~value.high,
        )
    )
    return (0 if a.low >= 0 and b.low >= 0 else -(1 << size)), (1 << size) - 1
