"""One clock cycle of a datapath as a form, straight from its netlist or from its arithmetic.

A step's inputs and registers are single nodes (at most 64 bits). Where an input's format is not an integer in two's
complement, the arithmetic step takes its decoded values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from hwsim.datapath.adders import width_of
from hwsim.datapath.datapath import Datapath, describe, elaborate, latency, resolver
from hwsim.errors import HwsimError
from hwsim.formats import Format, Int, Overflow
from hwsim.simulate.lanes.bits import reached
from hwsim.simulate.lanes.form import WORD, Form
from hwsim.simulate.lanes.netlist import circuit_of


@dataclass(frozen=True)
class Step:
    """A form with the value after the cycle of every register, and of every output port during it.

    ``inputs`` are the formats of what the form's inputs hold. ``reset`` and ``signed`` tell of every register
    what it begins with, as a pattern of its bits, and how it is read.
    """

    form: Form
    inputs: Mapping[str, Int]
    next: Mapping[str, int]
    reset: Mapping[str, int]
    signed: Mapping[str, bool]


def netlist_step(datapath: Datapath) -> Step:
    """Return the step of a datapath's own netlist; its inputs hold bit patterns."""
    circuit = circuit_of(elaborate(datapath, cut_registers=True))
    form, place = Form(), dict[int, int]()
    for number, node in enumerate(circuit.form.nodes):
        if node.op == "input" and node.param[0] in datapath.registers:
            place[number] = form.register(str(node.param[0]), node.width)
        else:
            place[number] = form.import_node(node, [place[arg] for arg in node.args])
    wires = {name: circuit.wires[f"next_{name}"] for name in datapath.registers}
    wires |= {name: circuit.wires[name] for name in datapath.outputs}
    if any(len(parts) > 1 for parts in wires.values()):
        raise HwsimError(f"a register or output has more than {WORD} bits; split it")
    formats = {**{name: r.format for name, r in datapath.registers.items()}, **datapath.outputs}
    return Step(
        form,
        {
            name: Int(form_.bits, isinstance(form_, Int) and form_.signed)
            for name, form_ in datapath.inputs.items()
        },
        {name: place[parts[0]] for name, parts in wires.items()},
        {name: _reset(datapath, name) for name in wires},
        {name: formats[name].signed for name in wires},
    )


def results(datapath: Datapath) -> tuple[str, ...]:
    """Return the registers that a reduction ends in: what a resolver reads, the only one, or the accumulator."""
    behind = resolver(datapath)
    if behind is not None:
        return tuple(behind.inputs)
    return tuple(datapath.registers) if len(datapath.registers) == 1 else ("accumulator",)


def reduction_step(datapath: Datapath) -> Step:
    """Return the step of a datapath's netlist in which the registers of its pipeline are wires.

    Registers that only operands feed, and that only the sum reads, delay all products alike: without them the
    same sum is there ``latency`` cycles earlier (C. E. Leiserson and J. B. Saxe, "Retiming synchronous circuitry",
    1991). Raises :class:`HwsimError` for a latency that comes of anything else.
    """
    step = netlist_step(datapath)
    if not latency(datapath):
        return step
    held = [name for name in datapath.registers if name not in results(datapath)]
    kept = {name: step.next[name] for name in step.next if name not in held}
    made = _sources(step, (step.next[name] for name in held))
    read = _sources(step, kept.values())
    if latency(datapath) != 1 or not made <= set(datapath.inputs) or not read <= set(datapath.registers):
        raise _no_pipeline(datapath)
    form = Form()
    before = {name: form.constant(step.reset[name], _width(datapath, name)) for name in datapath.registers}
    first = substituted(step, before, form)
    if any(form.known(first[name]) != step.reset[name] for name in kept):
        raise _no_pipeline(datapath)
    form = Form()
    operands = substituted(step, {}, form)
    whole = substituted(step, {name: operands[name] for name in held}, form)
    return replace(step, form=form, next={name: whole[name] for name in kept})


def _sources(step: Step, roots: Iterable[int]) -> set[str]:
    """Return the inputs and registers that nodes of a step depend on."""
    nodes = (step.form.nodes[number] for number in reached(step.form, roots))
    return {str(node.param[0]) for node in nodes if node.op in ("input", "register")}


def _width(datapath: Datapath, name: str) -> int:
    return datapath.registers[name].format.bits


def _no_pipeline(datapath: Datapath) -> HwsimError:
    return HwsimError(
        f"{describe(datapath)} has a latency of {latency(datapath)}, but is no pipeline of one stage; let registers "
        "of operands alone feed the accumulator, which keeps its reset value where they have theirs"
    )


def _reset(datapath: Datapath, name: str) -> int:
    if name not in datapath.registers:
        return 0
    register = datapath.registers[name]
    return register.reset & ((1 << register.format.bits) - 1)


_WIDEST = 40
"""Bits of an accumulator, or of a product, of which a node of 64 bits holds the exact sum."""


@dataclass(frozen=True)
class Accumulation:
    """``accumulator = fit(accumulator + left * right)``: the arithmetic that a datapath may be proved to have."""

    accumulator: str
    left: str
    right: str
    overflow: Overflow


def accumulations(datapath: Datapath) -> tuple[Accumulation, ...]:
    """Return the arithmetic a datapath may have by its ports: two inputs, one signed accumulator, nothing else."""
    ends = results(datapath)
    whole = len(datapath.registers) == len(ends) or latency(datapath) > 0
    if len(datapath.inputs) != 2 or not whole or datapath.outputs or not set(ends) <= set(datapath.registers):
        return ()
    name, (left, right) = _result(datapath), datapath.inputs
    register = accumulator_format(datapath)
    sizes = register.bits, sum(decoded(form).bits + 1 for form in datapath.inputs.values())
    if not register.signed or max(sizes) > _WIDEST:
        return ()
    stated = getattr(datapath, "overflow", None)
    kinds = [stated] if isinstance(stated, Overflow) else list(Overflow)
    return tuple(Accumulation(name, left, right, kind) for kind in kinds)


def _result(datapath: Datapath) -> str:
    ends = results(datapath)
    return ends[0] if len(ends) == 1 else "accumulator"


def accumulator_format(datapath: Datapath) -> Int:
    """Return the format of a reduction's result."""
    behind = resolver(datapath)
    return behind.outputs["output"] if behind else datapath.registers[_result(datapath)].format


def accumulator(form: Form, datapath: Datapath, values: Mapping[str, int]) -> int:
    """Return a reduction's result in a form, from the values of its registers there; a resolver's netlist adds it up."""
    behind = resolver(datapath)
    if behind is None:
        return values[_result(datapath)]
    return substituted(netlist_step(behind), values, form)["output"]


def decoded(form: Format) -> Int:
    """Return the integer format of a format's values."""
    if isinstance(form, Int):
        return form
    return Int(width_of(form.minimum, form.maximum))


def arithmetic_step(datapath: Datapath, meaning: Accumulation) -> Step:
    """Return the step of an accumulation on decoded inputs: one multiplication, one addition, one fit."""
    register = datapath.registers[meaning.accumulator]
    formats = {name: decoded(form) for name, form in datapath.inputs.items()}
    form = Form()
    factors = [_value(form, formats[name], form.input(name, formats[name].bits)) for name in formats]
    total = Sum(form, formats[meaning.left], formats[meaning.right], register.format)
    accumulator = form.register(meaning.accumulator, register.format.bits)
    result = total.fitted(accumulator, factors[0], factors[1], meaning.overflow)
    return Step(
        form,
        formats,
        {meaning.accumulator: result},
        {meaning.accumulator: _reset(datapath, meaning.accumulator)},
        {meaning.accumulator: True},
    )


def _value(form: Form, format_: Int, code: int) -> int:
    """Return a two's complement number of an integer format's bits: one more where it is unsigned."""
    return code if format_.signed else form.zero_extend(code, format_.bits + 1)


class Sum:
    """The exact sum of an accumulator and a product, in a form, and how it is fitted."""

    def __init__(self, form: Form, left: Int, right: Int, accumulator: Int) -> None:
        self.form, self.accumulator = form, accumulator
        corners = [x * y for x in (left.minimum, left.maximum) for y in (right.minimum, right.maximum)]
        self.bits = width_of(min(corners), max(corners))

    def fitted(self, accumulator: int, left: int, right: int, overflow: Overflow) -> int:
        """Return ``fit(accumulator + left * right)`` for two's complement factors."""
        form, bits = self.form, self.accumulator.bits
        product = form.multiply(form.sign_extend(left, self.bits), form.sign_extend(right, self.bits))
        if overflow is Overflow.WRAP:
            fitting = form.slice(product, 0, bits) if self.bits > bits else form.sign_extend(product, bits)
            return form.add(accumulator, fitting)
        if self.bits <= bits:
            return form.saturating_add(accumulator, form.sign_extend(product, bits))
        return clamped(form, self.exact(accumulator, product), self.accumulator)

    def exact(self, accumulator: int, product: int) -> int:
        width = max(self.bits, self.accumulator.bits) + 1
        return self.form.add(self.form.sign_extend(accumulator, width), self.form.sign_extend(product, width))


def clamped(form: Form, total: int, target: Int) -> int:
    """Return a wide two's complement number clamped into a format."""
    width = form.width(total)
    low, high = form.constant(target.minimum, width), form.constant(target.maximum, width)
    above = form.select(form.signed_less(total, low), low, total)
    within = form.select(form.signed_less(high, above), high, above)
    return form.slice(within, 0, target.bits)


def decode_circuit(form: Form, format_: Format, code: int) -> int:
    """Return the value of a bit pattern, in the bits of its :func:`decoded` format."""
    if isinstance(format_, Int):
        return code
    width = decoded(format_).bits
    values = format_.decode(np.arange(1 << format_.bits)).tolist()
    chosen = [form.constant(value & ((1 << width) - 1), width) for value in values]
    for k in range(format_.bits):
        bit = form.slice(code, k, 1)
        chosen = [form.select(bit, one, zero) for zero, one in zip(chosen[::2], chosen[1::2], strict=True)]
    return chosen[0]


def substituted(step: Step, values: Mapping[str, int], form: Form) -> dict[str, int]:
    """Return a step's next values in another form, some inputs and registers replaced by nodes of that form."""
    place: dict[int, int] = {}
    for number, node in enumerate(step.form.nodes):
        if node.op in ("input", "register") and node.param[0] in values:
            place[number] = values[str(node.param[0])]
        else:
            place[number] = form.import_node(node, [place[arg] for arg in node.args])
    return {name: place[node] for name, node in step.next.items()}


OBSERVERS = ("overflow", "extremes")
"""What a reduction can watch besides its result."""


def observed(step: Step, datapath: Datapath, meaning: Accumulation | None, observe: frozenset[str]) -> Step:
    """Return a step with registers that watch one of its own.

    ``overflow`` is not 0 once an exact sum has left the accumulator's range, whatever the step made of it; it needs
    a ``meaning``, of which only the ports count. ``minimum`` and ``maximum`` are the extreme values after a cycle.
    """
    form = Form()
    following = substituted(step, {}, form)
    reset, signed = dict(step.reset), dict(step.signed)
    if "overflow" in observe:
        assert meaning is not None
        outside = _outside(form, step, datapath, meaning)
        following["overflow"] = form.either(form.register("overflow", form.width(outside)), outside)
        reset["overflow"], signed["overflow"] = 0, False
    if "extremes" in observe:
        register, result = accumulator_format(datapath), accumulator(form, datapath, following)
        less = form.signed_less if register.signed else form.less
        for name, start in (("minimum", register.maximum), ("maximum", register.minimum)):
            kept = form.register(name, register.bits)
            pair = (result, kept) if name == "minimum" else (kept, result)
            following[name] = form.select(less(*pair), result, kept)
            reset[name], signed[name] = start & ((1 << register.bits) - 1), register.signed
    return replace(step, form=form, next=following, reset=reset, signed=signed)


def _meaning(form: Form, step: Step, datapath: Datapath, port: str) -> int:
    """Return the value on an input port, which the step takes as a pattern or decoded."""
    given = step.inputs[port]
    node = form.input(port, given.bits)
    if not isinstance(datapath.inputs[port], Int) and not given.signed:
        return decode_circuit(form, datapath.inputs[port], node)
    return node


def _outside(form: Form, step: Step, datapath: Datapath, meaning: Accumulation) -> int:
    """Return what is not 0 where accumulator + left * right is outside the accumulator's range."""
    ports = meaning.left, meaning.right
    formats = [decoded(datapath.inputs[port]) for port in ports]
    total = Sum(form, formats[0], formats[1], accumulator_format(datapath))
    state = {name: form.register(name, _width(datapath, name)) for name in results(datapath)}
    before = accumulator(form, datapath, state)
    left, right = (
        _value(form, format_, _meaning(form, step, datapath, port))
        for port, format_ in zip(ports, formats, strict=True)
    )
    wrapped = total.fitted(before, left, right, Overflow.WRAP)
    if total.bits <= total.accumulator.bits:
        saturated = total.fitted(before, left, right, Overflow.SATURATE)
        return form.differ(wrapped, saturated)
    product = form.multiply(form.sign_extend(left, total.bits), form.sign_extend(right, total.bits))
    exact = total.exact(before, product)
    return form.invert(form.equal(exact, form.sign_extend(wrapped, form.width(exact))))
