"""The loop over cycles and lanes: a form's registers, inputs, outputs and memories in arrays, one lane beside the other.

Lanes are taken a vector at a time. A cycle reads everything first (inputs, registers, memories), computes, and
then writes outputs, registers and memories, so that the old values are seen throughout a cycle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hwsim.simulate.lanes.analysis import containers, narrowed, storage_bits
from hwsim.simulate.lanes.codegen import Code, Translation, Value, kind_interval
from hwsim.simulate.lanes.form import Form, Node
from hwsim.simulate.lanes.machine import Kernel, addresses, compile_kernel, has_feature, module_text

Array = npt.NDArray[Any]


class Place(NamedTuple):
    """An array that a kernel works on: ``role`` and ``name`` say whose, ``part`` which 64 bits of it."""

    role: str
    name: str
    part: int


class Port(NamedTuple):
    """A memory's write port, after narrowing."""

    places: tuple[Place, ...]
    address: int
    data: tuple[int, ...]
    enable: int


@dataclass(frozen=True)
class Program:
    """What a kernel computes every cycle.

    ``streams`` are kept of every cycle, ``holds`` of the last one, ``state`` becomes the registers' value.
    ``words`` says how many words a lane's own memories have; all others are read by all lanes from one array. A
    stream's integers have ``stream_bits`` at least.
    """

    form: Form
    streams: dict[Place, int] = field(default_factory=dict)
    holds: dict[Place, int] = field(default_factory=dict)
    state: dict[Place, int] = field(default_factory=dict)
    writes: Sequence[Port] = ()
    words: Mapping[str, int] = field(default_factory=dict)
    stream_bits: int = 8

    def narrowed(self) -> Program:
        """Return the program without what nobody reads."""
        roots = [*self.streams.values(), *self.holds.values(), *self.state.values()]
        roots += [node for port in self.writes for node in (port.address, *port.data, port.enable)]
        form, place = narrowed(self.form, roots)
        return Program(
            form,
            {key: place[root] for key, root in self.streams.items()},
            {key: place[root] for key, root in self.holds.items()},
            {key: place[root] for key, root in self.state.items()},
            [
                Port(port.places, place[port.address], tuple(place[d] for d in port.data), place[port.enable])
                for port in self.writes
            ],
            self.words,
            self.stream_bits,
        )


_LARGE = 4000
"""Nodes from which on a vector has fewer lanes, so that compiling stays quick."""


def lanes_of(form: Form, lanes: int) -> int:
    """Return how many lanes a vector has: some registers full of the widest integers, a power of two."""
    widest = max((bits for bits in containers(form)), default=8)
    size = max(8, 1024 // max(8, widest)) if len(form.nodes) < _LARGE else 8
    return min(size, 64, 1 << (lanes - 1).bit_length())


@dataclass(frozen=True)
class Loop:
    """A compiled program and the arrays it works on, in the order of their addresses."""

    kernel: Kernel
    places: tuple[Place, ...]
    vector: int
    """Lanes are a multiple of this."""

    def run(self, arrays: Mapping[Place, Array], cycles: int, lanes: int) -> None:
        """Run all cycles of all lanes.

        Arrays are [lanes] for registers and holds, [cycles, lanes] for inputs and streams, for memories
        [lanes / vector, addresses, vector], or [addresses] where all lanes share one.
        """
        Bound(self, arrays, lanes).run(0, cycles)


class Bound:
    """A loop and the arrays that it works on, ready to run some of the cycles."""

    def __init__(self, loop: Loop, arrays: Mapping[Place, Array], lanes: int) -> None:
        self.kernel, self.lanes = loop.kernel, lanes
        self._arrays = [_NOWHERE if place == SCRATCH else arrays[place] for place in loop.places]
        self._table = addresses(self._arrays)
        pairs = list(zip(loop.places, self._arrays, strict=True))
        self._steps = np.array([a.strides[0] if p.role in _BY_CYCLE else 0 for p, a in pairs], np.uint64)
        lane_bytes = sum(a.nbytes // lanes for p, a in pairs if p.role == "register" or a.ndim == 3)
        self._block = max(1, _STATE_BYTES // max(1, lane_bytes) // loop.vector) * loop.vector

    def run(self, first: int, last: int) -> None:
        """Run the cycles from ``first`` to before ``last``."""
        if first >= last:
            return
        table = self._table + np.uint64(first) * self._steps
        self.kernel.call(table.ctypes.data, last - first, self.lanes, self._block)


_BY_CYCLE = frozenset({"input", "stream"})
"""Whose arrays have a row a cycle."""

_STATE_BYTES = 1 << 14
"""Lanes of so many bytes in all are run through all cycles before the next lanes: they stay in the first cache."""

PARAMETERS = ("ptr %table", "i64 %cycles", "i64 %lanes", "i64 %block")
"""A loop's: where its arrays are, and how many lanes are run through all cycles before the next ones."""


TABLE_OCTETS = 256
"""Octets that a shared memory's array has at least, so that it can be looked up in as a whole."""

SCRATCH = Place("scratch", "", 0)
"""Where a disabled memory write goes."""

_NOWHERE = np.zeros(1, np.uint64)


def compile_loop(program: Program, lanes: int) -> Loop:
    """Compile a narrowed program for some number of lanes."""
    vector = lanes_of(program.form, lanes)
    writer = _Writer(program, Code(vector))
    lines = writer.lines()
    text = module_text("run", PARAMETERS, lines, sorted(writer.code.intrinsics))
    speed = 1 if len(program.form.nodes) > _LARGE else 2
    return Loop(compile_kernel(text, "run", len(PARAMETERS), speed), tuple(writer.places), vector)


class _Writer:
    def __init__(self, program: Program, code: Code) -> None:
        self.program, self.code = program, code
        self.places: dict[Place, int] = {}
        self.translation = Translation(program.form, code, self._source)

    def lines(self) -> list[str]:
        program, code = self.program, self.code
        self.translation.translate()
        for place, root in program.streams.items():
            self._store(root, place, "%at", program.stream_bits)
        for place, root in program.holds.items():
            self._store(root, place, "%tile")
        next_values = [(self._stored(root), place, root) for place, root in program.state.items()]
        for value, place, root in next_values:
            self._put(value, storage_bits(program.form.width(root)), place, "%tile")
        for port in program.writes:
            self._write(port)
        step = code.lanes
        return [
            "entry:",
            *(line for place, k in self.places.items() for line in self._pointer(place, k)),
            "  br label %next_block",
            "next_block:",
            "  %first = phi i64 [0, %entry], [%after, %end_block]",
            "  %after = add i64 %first, %block",
            "  %inside = icmp ult i64 %after, %lanes",
            "  %last = select i1 %inside, i64 %after, i64 %lanes",
            "  br label %next_cycle",
            "next_cycle:",
            "  %cycle = phi i64 [0, %next_block], [%cycle_after, %end_cycle]",
            "  %row = mul i64 %cycle, %lanes",
            "  br label %body",
            "body:",
            "  %tile = phi i64 [%first, %next_cycle], [%tile_after, %body]",
            "  %at = add i64 %row, %tile",
            *code.lines,
            f"  %tile_after = add i64 %tile, {step}",
            "  %more = icmp ult i64 %tile_after, %last",
            "  br i1 %more, label %body, label %end_cycle",
            "end_cycle:",
            "  %cycle_after = add i64 %cycle, 1",
            "  %again = icmp ult i64 %cycle_after, %cycles",
            "  br i1 %again, label %next_cycle, label %end_block",
            "end_block:",
            "  br i1 %inside, label %next_block, label %end",
            "end:",
            "  ret void",
        ]

    def _pointer(self, place: Place, index: int) -> list[str]:
        return [
            f"  %e{index} = getelementptr ptr, ptr %table, i64 {index}",
            f"  %p{index} = load ptr, ptr %e{index}",
        ]

    def _address(self, place: Place, bits: int, index: str) -> str:
        number = self.places.setdefault(place, len(self.places))
        return self.code.put(f"getelementptr i{bits}, ptr %p{number}, i64 {index}")

    def _source(self, node: Node, row: int | None) -> Value:
        if node.op == "read":
            return self._read(node)
        place = Place(node.op, str(node.param[0]), int(node.param[1]))
        return self._load(place, node.width, "%at" if node.op == "input" else "%tile")

    def _load(self, place: Place, width: int, index: str) -> Value:
        bits = storage_bits(width)
        type_ = self.code.type(bits, True)
        name = self.code.put(f"load {type_}, ptr {self._address(place, bits, index)}, align {bits // 8}")
        return self._loaded(name, width)

    def _loaded(self, name: str, width: int) -> Value:
        """Return a value as it lies in memory: zeros above its bits."""
        bits = storage_bits(width)
        if width == 1:
            name = self.code.put(f"trunc {self.code.type(8, True)} {name} to {self.code.type(1, True)}")
            return Value(name, 1, 0, 1, True)
        low, high = kind_interval(width, "zero" if width < bits else "sign")
        return Value(name, bits, low, high, True)

    def _stored(self, root: int, least: int = 8) -> Value:
        bits = max(least, storage_bits(self.program.form.width(root)))
        return self.code.spread(self.translation.value(root, None, bits, "zero"))

    def _store(self, root: int, place: Place, index: str, least: int = 8) -> None:
        value = self._stored(root, least)
        self._put(value, value.bits, place, index)

    def _put(self, value: Value, bits: int, place: Place, index: str) -> None:
        address = self._address(place, bits, index)
        self.code.do(f"store {self.code.type(bits, True)} {value.name}, ptr {address}, align {bits // 8}")

    def _indices(self, address: int, memory: str) -> Callable[[int], str]:
        """Return what emits a lane's index of an address into a memory's array."""
        code, words = self.code, self.program.words.get(memory)
        if words is None:
            return self._elements(code.spread(self.translation.value(address, None, 64, "zero")).name, 64)
        bits = 32 if words * code.lanes < 1 << 31 else 64
        start = code.put(f"mul i64 %tile, {words}")
        row = code.spread(self.translation.value(address, None, bits, "zero")).name
        type_, step = code.type(bits, True), code.constant(code.lanes, bits, True)
        index = self._elements(code.put(f"mul {type_} {row}, {step}"), bits)

        def of_lane(lane: int) -> str:
            wide = index(lane) if bits == 64 else code.put(f"zext i{bits} {index(lane)} to i64")
            total = code.put(f"add i64 {start}, {wide}")
            return code.put(f"add i64 {total}, {lane}") if lane else total

        return of_lane

    def _elements(self, vector: str, bits: int) -> Callable[[int], str]:
        """Return what emits a lane's integer of a vector: right before its use, so that few wait for theirs."""
        code, type_ = self.code, self.code.type(bits, True)
        if code.lanes == 1:
            return lambda lane: vector
        return lambda lane: code.put(f"extractelement {type_} {vector}, i64 {lane}")

    def _read(self, node: Node) -> Value:
        memory, bits, code = str(node.param[0]), storage_bits(node.width), self.code
        place = Place("memory", memory, int(node.param[1]))
        if self._is_table(node) and code.lanes > 1:
            return self._look_up(node, place)
        result = "poison"
        index = self._indices(node.args[0], memory)
        for lane in range(code.lanes):
            address = self._address(place, bits, index(lane))
            element = code.put(f"load i{bits}, ptr {address}, align {bits // 8}")
            if code.lanes == 1:
                return self._loaded(element, node.width)
            result = code.put(
                f"insertelement {code.type(bits, True)} {result}, i{bits} {element}, i64 {lane}"
            )
        return self._loaded(result, node.width)

    def _is_table(self, node: Node) -> bool:
        """Return whether a ROM of octets fits four vectors, in which this machine looks up 64 octets at once."""
        small = node.width <= 8 and self.program.form.width(node.args[0]) <= 8
        return small and str(node.param[0]) not in self.program.words and has_feature("avx512vbmi")

    def _look_up(self, node: Node, place: Place) -> Value:
        code, octets = self.code, "<64 x i8>"
        index = code.spread(self.translation.value(node.args[0], None, 8, "zero")).name
        if code.lanes < 64:
            some = code.type(8, True)
            order = ", ".join(f"i32 {min(k, code.lanes)}" for k in range(64))
            index = code.put(f"shufflevector {some} {index}, {some} zeroinitializer, <64 x i32> <{order}>")
        quarters = []
        for quarter in range(TABLE_OCTETS // 64):
            address = self._address(place, 8, str(64 * quarter))
            quarters.append(code.put(f"load {octets}, ptr {address}, align 1"))
        name = "llvm.x86.avx512.vpermi2var.qi.512"
        code.intrinsics.add(f"declare {octets} @{name}({octets}, {octets}, {octets})")
        halves = [
            code.put(f"call {octets} @{name}({octets} {low}, {octets} {index}, {octets} {high})")
            for low, high in zip(quarters[::2], quarters[1::2], strict=True)
        ]
        upper = code.put(f"icmp slt {octets} {index}, zeroinitializer")
        found = code.put(f"select <64 x i1> {upper}, {octets} {halves[1]}, {octets} {halves[0]}")
        if code.lanes < 64:
            first = ", ".join(f"i32 {k}" for k in range(code.lanes))
            found = code.put(
                f"shufflevector {octets} {found}, {octets} poison, <{code.lanes} x i32> <{first}>"
            )
        return self._loaded(found, node.width)

    def _write(self, port: Port) -> None:
        code, form = self.code, self.program.form
        index = self._indices(port.address, port.places[0].name)
        enable = code.spread(self.translation.value(port.enable, None, 1, "any")).name
        scratch = self._address(SCRATCH, 8, "0")
        mask = code.type(1, True)
        for place, part in zip(port.places, port.data, strict=True):
            bits = storage_bits(form.width(part))
            data = self._elements(self._stored(part).name, bits)
            for lane in range(code.lanes):
                address = self._address(place, bits, index(lane))
                chosen = (
                    enable if code.lanes == 1 else code.put(f"extractelement {mask} {enable}, i64 {lane}")
                )
                target = code.put(f"select i1 {chosen}, ptr {address}, ptr {scratch}")
                code.do(f"store i{bits} {data(lane)}, ptr {target}, align 1")
