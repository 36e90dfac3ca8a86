"""PyRTL blocks as forms: every net translated, wide wires split into parts of at most 64 bits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from graphlib import CycleError, TopologicalSorter
from typing import TypeAlias

import pyrtl

from hwsim.errors import HwsimError
from hwsim.simulate.lanes.form import WORD, Form

Parts: TypeAlias = tuple[int, ...]
"""A wire's nodes, 64 bits each but the last, least significant first."""


@dataclass(frozen=True)
class Write:
    """A memory's write port: after the cycle, ``data`` is at ``address`` where ``enable`` is 1."""

    memory: str
    address: int
    data: Parts
    enable: int


@dataclass
class Circuit:
    """A clocked circuit: its form, and which nodes are the wires, the registers' next values and the writes."""

    form: Form = field(default_factory=Form)
    inputs: dict[str, int] = field(default_factory=dict)
    """Width of each input."""
    registers: dict[str, int] = field(default_factory=dict)
    """Width of each register."""
    wires: dict[str, Parts] = field(default_factory=dict)
    """Every wire, by name, inputs and registers included."""
    next: dict[str, Parts] = field(default_factory=dict)
    """Each register's value after the cycle."""
    writes: list[Write] = field(default_factory=list)


def widths_of_parts(width: int) -> tuple[int, ...]:
    """Return the widths of a wire's parts.

    >>> widths_of_parts(130)
    (64, 64, 2)
    """
    return (*[WORD] * ((width - 1) // WORD), (width - 1) % WORD + 1)


def circuit_of(block: pyrtl.Block) -> Circuit:
    """Translate a block.

    Raises :class:`HwsimError` where a wire has no source or several, the logic has a loop, or a memory that is
    not declared asynchronous is read at an address that logic computes.
    """
    circuit = Circuit()
    form, wires = circuit.form, circuit.wires
    nets = in_order(block)
    _check_memories(block)
    for wire in sorted(block.wirevector_set, key=lambda wire: wire.name):
        sizes = widths_of_parts(len(wire))
        if isinstance(wire, pyrtl.Const):
            wires[wire.name] = _constant(form, wire.val, len(wire))
        elif isinstance(wire, pyrtl.Input):
            circuit.inputs[wire.name] = len(wire)
            wires[wire.name] = tuple(form.input(wire.name, size, k) for k, size in enumerate(sizes))
        elif isinstance(wire, pyrtl.Register):
            circuit.registers[wire.name] = len(wire)
            wires[wire.name] = tuple(form.register(wire.name, size, k) for k, size in enumerate(sizes))
    for net in nets:
        args = [wires[arg.name] for arg in net.args]
        if net.op == "@":
            address, data, (enable,) = args
            circuit.writes.append(Write(memory_name(net), form.concat(address), data, enable))
        elif net.op == "r":
            circuit.next[net.dests[0].name] = _fit(form, args[0], len(net.dests[0]))
        else:
            wires[net.dests[0].name] = _fit(form, _translate(form, net, args), len(net.dests[0]))
    return circuit


def memory_name(net: pyrtl.LogicNet) -> str:
    """Return by what a memory is known here: names of memories may repeat, their numbers don't."""
    return f"{net.op_param[1].name} {net.op_param[0]}"


def _check_memories(block: pyrtl.Block) -> None:
    try:
        block.sanity_check_memory_sync()
    except pyrtl.PyrtlError as error:
        raise HwsimError(
            f"{error}; declare the memory with asynchronous=True or put a register before its address"
        ) from None


def in_order(block: pyrtl.Block) -> list[pyrtl.LogicNet]:
    """Return a block's nets, each after those it depends on; the order depends on names only.

    Registers and memories cut every path: a register's value and what a memory holds are those at the
    beginning of the cycle.
    """
    nets = sorted(block.logic, key=_sort_key)
    driver = _drivers(block, nets)
    depends = {
        number: [
            driver[arg.name] for arg in net.args if arg.name in driver and nets[driver[arg.name]].op != "r"
        ]
        for number, net in enumerate(nets)
    }
    try:
        return [nets[number] for number in TopologicalSorter(depends).static_order()]
    except CycleError as error:
        loop = sorted({dest.name for number in error.args[1] for dest in nets[number].dests})
        raise HwsimError(
            f"the wires {', '.join(loop)} form a combinational loop; put a register into it"
        ) from None


def _sort_key(net: pyrtl.LogicNet) -> tuple[object, ...]:
    return [wire.name for wire in net.dests], net.op, [wire.name for wire in net.args], str(net.op_param)


def _drivers(block: pyrtl.Block, nets: Sequence[pyrtl.LogicNet]) -> dict[str, int]:
    """Return the number of the net that drives each wire; every wire that is read must have a source."""
    driver: dict[str, int] = {}
    for number, net in enumerate(nets):
        for wire in net.dests:
            if wire.name in driver or isinstance(wire, pyrtl.Input | pyrtl.Const):
                raise HwsimError(f'the wire "{wire.name}" is driven more than once; drive it once')
            driver[wire.name] = number
    needed = {wire.name: wire for net in nets for wire in net.args}
    needed |= {wire.name: wire for wire in block.wirevector_subset((pyrtl.Register, pyrtl.Output))}
    for name, wire in sorted(needed.items()):
        if name not in driver and not isinstance(wire, pyrtl.Input | pyrtl.Const):
            raise HwsimError(f'the wire "{name}" is undriven; connect it to a source with <<=')
    return driver


def _translate(form: Form, net: pyrtl.LogicNet, args: list[Parts]) -> Parts:
    """Return the value of one net, not yet cut to its wire; PyRTL's LogicNet defines the operations."""
    width = len(net.dests[0])
    match net.op:
        case "w":
            return args[0]
        case "~":
            return tuple(map(form.invert, args[0]))
        case "n":
            return tuple(form.invert(form.both(a, b)) for a, b in zip(*args, strict=True))
        case "&" | "|" | "^":
            gate = {"&": form.both, "|": form.either, "^": form.differ}[net.op]
            return tuple(gate(a, b) for a, b in zip(*args, strict=True))
        case "x":
            (condition,), zero, one = args
            return tuple(form.select(condition, a, b) for a, b in zip(one, zero, strict=True))
        case "c":
            return _pack(form, [part for arg in reversed(args) for part in arg])
        case "s":
            return _pack(form, [form.slice(args[0][k // WORD], k % WORD, 1) for k in net.op_param])
        case "+":
            return _add(form, _fit(form, args[0], width), _fit(form, args[1], width))
        case "-":
            return _subtract(form, _fit(form, args[0], width), _fit(form, args[1], width))
        case "*":
            return _multiply(form, args[0], args[1], width)
        case "<":
            return (_less(form, args[0], args[1]),)
        case ">":
            return (_less(form, args[1], args[0]),)
        case "=":
            return (reduce(form.both, (form.equal(a, b) for a, b in zip(*args, strict=True))),)
        case "m":
            address = form.concat(args[0])
            sizes = widths_of_parts(width)
            return tuple(form.read(memory_name(net), address, size, k) for k, size in enumerate(sizes))
        case _:
            raise HwsimError(f'the net "{net}" has the unknown operation "{net.op}"; use PyRTL\'s own')


def _constant(form: Form, number: int, width: int) -> Parts:
    sizes = widths_of_parts(width)
    return tuple(form.constant(number >> WORD * k, size) for k, size in enumerate(sizes))


def _pack(form: Form, pieces: Sequence[int]) -> Parts:
    """Cut pieces side by side, least significant first, into parts."""
    parts: list[int] = []
    pending: list[int] = []
    room = WORD
    for piece in pieces:
        size = form.width(piece)
        taken = min(size, room)
        pending.append(form.slice(piece, 0, taken))
        room -= taken
        if room == 0:
            parts.append(form.concat(pending))
            rest = size - taken
            pending = [form.slice(piece, taken, rest)] if rest else []
            room = WORD - rest
    return (*parts, form.concat(pending)) if pending else tuple(parts)


def _fit(form: Form, parts: Parts, width: int) -> Parts:
    """Cut a value off at a width, or fill it up with zeros."""
    fitted = []
    for k, size in enumerate(widths_of_parts(width)):
        if k >= len(parts):
            fitted.append(form.constant(0, size))
        elif form.width(parts[k]) >= size:
            fitted.append(form.slice(parts[k], 0, size))
        else:
            fitted.append(form.zero_extend(parts[k], size))
    return tuple(fitted)


def _add(form: Form, a: Parts, b: Parts) -> Parts:
    """The sum modulo 2^width; a carry leaves a part where a sum of two numbers is less than one of them."""
    total: list[int] = []
    carry = form.constant(0, 1)
    for x, y in zip(a, b, strict=True):
        half = form.add(x, y)
        full = form.add(half, form.zero_extend(carry, form.width(x)))
        carry = form.either(form.less(half, x), form.less(full, half))
        total.append(full)
    return tuple(total)


def _subtract(form: Form, a: Parts, b: Parts) -> Parts:
    """The difference modulo 2^width, borrowing from part to part."""
    difference: list[int] = []
    borrow = form.constant(0, 1)
    for x, y in zip(a, b, strict=True):
        half, extended = form.subtract(x, y), form.zero_extend(borrow, form.width(x))
        difference.append(form.subtract(half, extended))
        borrow = form.either(form.less(x, y), form.less(half, extended))
    return tuple(difference)


def _less(form: Form, a: Parts, b: Parts) -> int:
    less = form.constant(0, 1)
    for x, y in zip(a, b, strict=True):
        less = form.either(form.less(x, y), form.both(form.equal(x, y), less))
    return less


def _multiply(form: Form, a: Parts, b: Parts, width: int) -> Parts:
    """The product modulo 2^width; beyond 64 bits it is added up from products of 32-bit digits."""
    if width <= WORD:
        return (form.multiply(_fit(form, a, width)[0], _fit(form, b, width)[0]),)
    total = _constant(form, 0, width)
    for i, x in enumerate(_digits(form, a)):
        for j, y in enumerate(_digits(form, b)):
            if 32 * (i + j) < width:
                product = form.multiply(form.zero_extend(x, WORD), form.zero_extend(y, WORD))
                total = _add(form, total, _shifted(form, product, 32 * (i + j), width))
    return total


def _digits(form: Form, parts: Parts) -> Iterator[int]:
    for part in parts:
        for low in range(0, form.width(part), 32):
            yield form.slice(part, low, min(32, form.width(part) - low))


def _shifted(form: Form, word: int, places: int, width: int) -> Parts:
    below = [form.constant(0, size) for size in widths_of_parts(places)] if places else []
    return _fit(form, _pack(form, [*below, word]), width)
