"""The loop over the cycles of a reduction: registers in vector registers, operands shared between lanes.

Lanes form a tile of rows (output positions) times columns (output channels), one vector a row. An operand that
depends on the row only is a scalar, one that depends on the column only a vector that all rows share, as in the
micro-kernel of a matrix product; what is computed of either alone is computed once a cycle. In cycle k a row's
operand lies at ``base[row] + offset[k]`` of its array, so that a convolution reads its input where it lies. Narrow
operands that lie side by side are widened a tile at a time: a machine copies what is in memory into all lanes of a
vector faster than what it must extend first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from hwsim.formats import Int
from hwsim.simulate.lanes.analysis import containers, narrowed, storage_bits
from hwsim.simulate.lanes.codegen import Code, Kind, Source, Translation, Value, kind_interval, whole
from hwsim.simulate.lanes.form import Form, Node
from hwsim.simulate.lanes.machine import VECTOR_BITS, Kernel, compile_kernel, module_text
from hwsim.simulate.lanes.step import Step

Axis: TypeAlias = Literal["row", "column", "both"]

_REGISTERS = 16
"""Vector registers for the state of a tile; of 32, the others hold operands and what is between."""

WIDENED = 32
"""Values that are widened at once; a row has so many at least."""


@dataclass(frozen=True)
class Operand:
    """How an input's values lie in memory: along which axes they differ, and their machine integer.

    Where ``widened_from`` is not 0, a row's values lie side by side in integers of so many bits. One operand, which
    depends on the row alone, may be widened.
    """

    axis: Axis
    bits: int
    signed: bool
    widened_from: int = 0


@dataclass(frozen=True)
class Tile:
    """A compiled reduction of ``rows`` x ``columns`` lanes.

    ``call(table, cycles, share, last, stride)`` with the addresses of the next row that nobody has taken (int64); for
    each input in order, of its values and, unless it is a column operand, its base and offset tables (int64), or,
    of an operand that is widened, its base table and room for ``rows`` x cycles wide integers; then, for each of
    ``results``, of values in ``result_bits`` machine bits, one row ``stride`` after the other. Until there are no
    rows before ``last`` it takes and runs a ``share`` of them, in whole tiles; calls at once divide them up.
    """

    kernel: Kernel
    rows: int
    columns: int
    inputs: tuple[str, ...]
    results: tuple[str, ...]
    result_bits: Mapping[str, int]


def compile_tile(step: Step, operands: Mapping[str, Operand], columns: int) -> Tile:
    """Compile a step for at most ``columns`` columns."""
    writer = _Writer(step, operands, columns)
    text = writer.text()
    return Tile(
        compile_kernel(text, "reduce", 5, 3),
        writer.rows,
        writer.code.lanes,
        tuple(operands),
        tuple(step.next),
        {name: storage_bits(step.form.width(node)) for name, node in step.next.items()},
    )


class _Writer:
    def __init__(self, step: Step, operands: Mapping[str, Operand], columns: int) -> None:
        roots = list(step.next.values())
        self.form, place = narrowed(step.form, roots)
        self.next = {name: place[node] for name, node in step.next.items()}
        self.step, self.operands = step, operands
        self.widened = next(((k, o) for k, o in enumerate(operands.values()) if o.widened_from), None)
        self.before = "widening" if self.widened else "rows"
        widest = max([8, *containers(self.form), *(_bits(self.form, node) for node in self.next.values())])
        lanes = min(2 * VECTOR_BITS // widest, max(1, 1 << (columns - 1).bit_length()))
        self.code = Code(lanes)
        state = sum(max(8, _bits(self.form, node)) for node in self.next.values())
        vectors = max(1, -(-lanes * state // VECTOR_BITS))
        self.rows = max(1, min(_REGISTERS // vectors, _REGISTERS))
        self.kinds = self._register_kinds()

    def _register_kinds(self) -> dict[str, Kind]:
        """Return what is above each register's bits at the end of a cycle, if it was so at its beginning.

        With the reset value stored in the same way this holds in every cycle, by induction. Signs are tried first,
        then zeros; a register of which neither is known gets whatever the cycle leaves.
        """
        kinds: dict[str, Kind] = dict.fromkeys(self.next, "sign")
        while True:
            translation = Translation(
                self.form, Code(self.code.lanes), self._symbolic(kinds), self._differs, 1
            )
            translation.translate()
            failing = [
                name
                for name, node in self.next.items()
                if not self._lies(
                    translation.value(node, 0, _bits(self.form, node), "any"), node, kinds[name]
                )
            ]
            if not failing:
                return kinds
            for name in failing:
                kinds[name] = "zero" if kinds[name] == "sign" else "any"

    def _lies(self, value: Value, node: int, kind: Kind) -> bool:
        if kind == "any" or value.bits == 1 or value.bits == self.form.width(node):
            return True
        low, high = kind_interval(self.form.width(node), kind)
        return low <= value.low and value.high <= high

    def _symbolic(self, kinds: Mapping[str, Kind]) -> Source:
        def source(node: Node, row: int | None) -> Value:
            if node.op == "register":
                return self._register(node, kinds[str(node.param[0])], "%symbol")
            operand = self.operands[str(node.param[0])]
            return self._content("%symbol", node, operand, operand.axis != "row")

        return source

    def _register(self, node: Node, kind: Kind, name: str) -> Value:
        bits = _container(node.width)
        if bits == 1:
            return Value(name, 1, 0, 1, True)
        interval = whole(bits) if kind == "any" or node.width == bits else kind_interval(node.width, kind)
        return Value(name, bits, *interval, True)

    def _content(self, name: str, node: Node, operand: Operand, vector: bool) -> Value:
        low, high = _range(Int(node.width, operand.signed))
        if operand.bits == node.width:
            low, high = whole(operand.bits)
        return Value(name, operand.bits, low, high, vector)

    def _differs(self, node: Node) -> bool:
        return node.op == "register" or self.operands[str(node.param[0])].axis != "column"

    # The code

    def text(self) -> str:
        code = self.code
        registers = [(name, row) for name in self.next for row in range(self.rows)]
        translation = Translation(self.form, code, self._source, self._differs, self.rows)
        translation.translate()
        results = {
            (name, row): code.spread(
                translation.value(self.next[name], row, _bits(self.form, self.next[name]), "any")
            )
            for name, row in registers
        }
        phis = [
            f"  {self._state(name, row)} = phi {self._type(name)} [{self._reset(name)}, %{self.before}], "
            f"[{results[name, row].name}, %body]"
            for name, row in registers
        ]
        body = code.lines
        code.lines = []
        self._stores(translation, results)
        lines = [
            "entry:",
            *self._tables(),
            "  br label %taking",
            "taking:",
            "  %first = atomicrmw add ptr %next, i64 %share monotonic",
            "  %some = icmp ult i64 %first, %last",
            "  br i1 %some, label %taken, label %end",
            "taken:",
            "  %after = add i64 %first, %share",
            "  %all = icmp ult i64 %last, %after",
            "  %until = select i1 %all, i64 %last, i64 %after",
            "  br label %rows",
            "rows:",
            "  %row = phi i64 [%first, %taken], [%row_after, %end_rows]",
            *self._bases(),
            *(self._widening(*self.widened) if self.widened else ["  br label %body"]),
            "body:",
            f"  %cycle = phi i64 [0, %{self.before}], [%cycle_after, %body]",
            *phis,
            *body,
            "  %cycle_after = add nuw nsw i64 %cycle, 1",
            "  %again = icmp ult i64 %cycle_after, %cycles",
            "  br i1 %again, label %body, label %end_rows",
            "end_rows:",
            *code.lines,
            f"  %row_after = add i64 %row, {self.rows}",
            "  %more = icmp ult i64 %row_after, %until",
            "  br i1 %more, label %rows, label %taking",
            "end:",
            "  ret void",
        ]
        parameters = ["ptr noalias %table", "i64 %cycles", "i64 %share", "i64 %last", "i64 %stride"]
        return module_text("reduce", parameters, lines, sorted(code.intrinsics))

    def _type(self, name: str) -> str:
        return self.code.type(_bits(self.form, self.next[name]), True)

    def _state(self, name: str, row: int) -> str:
        return f"%{_identifier(self, name)}_{row}"

    def _reset(self, name: str) -> str:
        node = self.next[name]
        width, bits, number = self.form.width(node), _bits(self.form, node), self.step.reset[name]
        if self.kinds[name] == "sign" and bits > 1:
            number -= number >> width - 1 << width
        return self.code.constant(number, bits, True)

    def _tables(self) -> list[str]:
        """Load the addresses: of the next row; of each input its values and tables; then of the results."""
        names = [
            "%next",
            *(f"%{part}{k}" for k, name in enumerate(self.operands) for part in self._parts(name)),
        ]
        names += [f"%result{k}" for k in range(len(self.next))]
        lines = []
        for index, name in enumerate(names):
            lines.append(f"  {name}_entry = getelementptr ptr, ptr %table, i64 {index}")
            lines.append(f"  {name} = load ptr, ptr {name}_entry")
        return lines

    def _parts(self, name: str) -> tuple[str, ...]:
        operand = self.operands[name]
        if operand.axis == "column":
            return ("values",)
        return ("values", "base", "wide" if operand.widened_from else "offset")

    def _bases(self) -> list[str]:
        """Compute where each row's operands begin."""
        lines = []
        for k, operand in enumerate(self.operands.values()):
            for row in range(self.rows) if operand.axis != "column" else ():
                at = f"{k}_{row}"
                lines += [
                    f"  %index{at} = add i64 %row, {row}",
                    f"  %entry{at} = getelementptr i64, ptr %base{k}, i64 %index{at}",
                    f"  %start{at} = load i64, ptr %entry{at}",
                    f"  %begin{at} = getelementptr i{operand.widened_from or operand.bits}, ptr %values{k}, "
                    f"i64 %start{at}",
                ]
        return lines

    def _widening(self, k: int, operand: Operand) -> list[str]:
        """Widen an operand of a tile's rows; the last values of a row are taken together with some before them."""
        narrow, wide = (f"<{WIDENED} x i{bits}>" for bits in (operand.widened_from, operand.bits))
        lines = [
            "  br label %widening",
            "widening:",
            "  %done = phi i64 [0, %rows], [%done_after, %widening]",
            f"  %most = sub i64 %cycles, {WIDENED}",
            "  %ends = icmp ult i64 %most, %done",
            "  %from = select i1 %ends, i64 %most, i64 %done",
        ]
        for row in range(self.rows):
            lines += [
                f"  %narrow_place{row} = getelementptr i{operand.widened_from}, ptr %begin{k}_{row}, i64 %from",
                f"  %narrow{row} = load {narrow}, ptr %narrow_place{row}, align 1",
                f"  %wider{row} = {'sext' if operand.signed else 'zext'} {narrow} %narrow{row} to {wide}",
                f"  %wide_start{row} = mul i64 %cycles, {row}",
                f"  %wide_row{row} = getelementptr i{operand.bits}, ptr %wide{k}, i64 %wide_start{row}",
                f"  %wide_place{row} = getelementptr i{operand.bits}, ptr %wide_row{row}, i64 %from",
                f"  store {wide} %wider{row}, ptr %wide_place{row}, align {operand.bits // 8}",
            ]
        return [
            *lines,
            f"  %done_after = add i64 %done, {WIDENED}",
            "  %unfinished = icmp ult i64 %done_after, %cycles",
            "  br i1 %unfinished, label %widening, label %body",
        ]

    def _source(self, node: Node, row: int | None) -> Value:
        name = str(node.param[0])
        if node.op == "register":
            return self._register(node, self.kinds[name], self._state(name, row or 0))
        k, operand = list(self.operands).index(name), self.operands[name]
        vector = operand.axis != "row"
        if operand.axis == "column":
            at = self.code.put(f"mul i64 %cycle, {self.code.lanes}")
            address = self.code.put(f"getelementptr i{operand.bits}, ptr %values{k}, i64 {at}")
        else:
            start, at = f"%begin{k}_{row}", "%cycle"
            if operand.widened_from:
                start = f"%wide_row{row}"
            else:
                entry = self.code.put(f"getelementptr i64, ptr %offset{k}, i64 %cycle")
                at = self.code.put(f"load i64, ptr {entry}")
            address = self.code.put(f"getelementptr i{operand.bits}, ptr {start}, i64 {at}")
        type_ = self.code.type(operand.bits, vector)
        loaded = self.code.put(f"load {type_}, ptr {address}, align {operand.bits // 8}")
        if node.width == 1:
            small = self.code.put(f"trunc {type_} {loaded} to {self.code.type(1, vector)}")
            return Value(small, 1, 0, 1, vector)
        return self._content(loaded, node, operand, vector)

    def _stores(self, translation: Translation, results: Mapping[tuple[str, int], Value]) -> None:
        """Store every register with zeros or signs above its bits, as it is read."""
        code = self.code
        for k, (name, node) in enumerate(self.next.items()):
            kind: Kind = "sign" if self.step.signed[name] else "zero"
            bits = storage_bits(self.form.width(node))
            for row in range(self.rows):
                kept = translation.kept(results[name, row], self.form.width(node), kind)
                value = translation.converted(kept, bits, kind)
                index = code.put(f"add i64 %row, {row}")
                at = code.put(f"mul i64 {index}, %stride")
                address = code.put(f"getelementptr i{bits}, ptr %result{k}, i64 {at}")
                code.do(f"store {code.type(bits, True)} {value.name}, ptr {address}, align {bits // 8}")


def _container(width: int) -> int:
    return 1 if width == 1 else storage_bits(width)


def _bits(form: Form, node: int) -> int:
    return _container(form.width(node))


def _range(format_: Int) -> tuple[int, int]:
    return format_.minimum, format_.maximum


def _identifier(writer: _Writer, name: str) -> str:
    return f"state{list(writer.next).index(name)}"
