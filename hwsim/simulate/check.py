"""The contract of a datapath: its circuit computes what its arithmetic says."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

import numpy as np

from hwsim.catalogue import reason
from hwsim.datapath import load
from hwsim.datapath.datapath import Datapath, describe, elaborate, resolved, resolver
from hwsim.errors import HwsimError
from hwsim.formats import Format, Int, IntArray
from hwsim.simulate.circuit import evaluate, run

EXHAUSTIVE_BITS = 16
"""Up to this many bits of operands and registers together, every point is checked."""

CYCLES = 256
"""So long the clocked circuit runs from reset."""

_CORNERS = 1 << 14


@dataclass(frozen=True)
class Counterexample:
    """The first operands at which circuit and arithmetic differ, and both values of one port."""

    operands: Mapping[str, int]
    port: str
    circuit: int
    arithmetic: int

    def __str__(self) -> str:
        given = ", ".join(f"{name}={value}" for name, value in self.operands.items())
        return f"{given}: {self.port} is {self.circuit} in the circuit, {self.arithmetic} in the arithmetic"


@dataclass(frozen=True)
class Check:
    """What one contract check covered and found."""

    datapath: str
    points: int
    exhaustive: bool
    counterexample: Counterexample | None

    def to_json(self) -> dict[str, Any]:
        """Return the check as plain JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        if self.counterexample is not None:
            return f"{self.datapath}: differs at {self.counterexample}"
        covered = "all there are" if self.exhaustive else "corners and random"
        return f"{self.datapath}: circuit == arithmetic at {self.points} points ({covered}), {CYCLES} cycles"


def check_datapath(text: str, *, seed: int = 0, samples: int = 1 << 14) -> Iterator[Check]:
    """Check a datapath by name or ``file.py:NAME``; a class in each of its ``variants()``."""
    found = load(text)
    if not isinstance(found, type):
        yield check(found, seed=seed, samples=samples)
        return
    if not hasattr(found, "variants"):
        raise HwsimError(f'"{text}" has no variants(); add one that yields the parameters to check')
    try:
        variants = list(found.variants())
    except Exception as error:
        raise HwsimError(f'the variants() of "{text}" fail: {reason(error)}') from error
    if not variants:
        raise HwsimError(f'the variants() of "{text}" are none; yield the parameters to check')
    for variant in variants:
        yield check(variant, seed=seed, samples=samples)


def check(datapath: Datapath, *, seed: int = 0, samples: int = 1 << 14) -> Check:
    """Hold a datapath's circuit against its arithmetic; stop at the first difference.

    One step of the combinational logic is evaluated on every pattern of operands and registers where they
    have at most 16 bits together; else on corners (extremes, zero, ones, powers of two and their
    neighbours), ``samples`` uniform and ``samples`` log-uniform patterns, and on every pattern of the
    operands where these alone have at most 16 bits. Then PyRTL runs the clocked circuit for some hundred
    cycles from reset. Patterns that encode no value of their own (a negative zero) are driven as well. The number
    that several registers hold together (``resolver``) is also held against the datapath that keeps it in one (``plain``).

    Raises :class:`HwsimError` where the datapath cannot be elaborated or its ``compute`` breaks its form.
    """
    if isinstance(datapath, type) or not (is_dataclass(datapath) and isinstance(datapath, Hashable)):
        raise HwsimError(f'"{datapath!r}" is no datapath; give a frozen dataclass with its parameters set')
    _check_ports(datapath)
    name = describe(datapath)
    rng = np.random.default_rng(seed)
    codes, exhaustive = _patterns(datapath, rng, samples)
    found = _check_step(datapath, codes) or _check_cycles(datapath, rng)
    return Check(name, len(next(iter(codes.values()))), exhaustive, found)


def _check_ports(datapath: Datapath) -> None:
    """Refuse ports and registers that are no formats."""
    try:
        formats = [*datapath.inputs.values(), *datapath.outputs.values(), *_state(datapath).values()]
    except Exception as error:
        raise HwsimError(f"the ports of {describe(datapath)} fail: {reason(error)}") from error
    if not all(isinstance(form, Format) for form in formats) or not datapath.inputs:
        raise HwsimError(
            f"the ports of {describe(datapath)} are {formats}; give inputs, outputs and registers formats, at least one input"
        )


def _state(datapath: Datapath) -> dict[str, Format]:
    return {name: register.format for name, register in datapath.registers.items()}


def _check_step(datapath: Datapath, codes: Mapping[str, IntArray]) -> Counterexample | None:
    formats = {**datapath.inputs, **_state(datapath)}
    values = {name: formats[name].decode(codes[name]) for name in formats}
    wires = evaluate(elaborate(datapath, cut_registers=True), codes)
    circuit = {name: form.decode(wires[name]) for name, form in datapath.outputs.items()}
    circuit |= {name: form.decode(wires[f"next_{name}"]) for name, form in _state(datapath).items()}
    return _compare(circuit, _arithmetic(datapath, values), values) or _check_sum(datapath, circuit, values)


def _check_sum(
    datapath: Datapath, circuit: Mapping[str, IntArray], values: Mapping[str, IntArray]
) -> Counterexample | None:
    """Hold the number that several registers are together against a datapath that keeps it in one."""
    if resolver(datapath) is None:
        return None
    plain, before = datapath.plain, resolved(datapath, values)  # type: ignore[attr-defined]
    return _compare(resolved(datapath, circuit), _arithmetic(plain, before), before)


def _check_cycles(datapath: Datapath, rng: np.random.Generator) -> Counterexample | None:
    inputs = {name: form.decode(_uniform(form, rng, CYCLES)) for name, form in datapath.inputs.items()}
    circuit = run(datapath, inputs)
    before = {
        name: np.concatenate([[register.reset], circuit[name][:-1]])
        for name, register in datapath.registers.items()
    }
    values = inputs | before
    return _compare(circuit, _arithmetic(datapath, values), values) or _check_sum(datapath, circuit, values)


def _arithmetic(datapath: Datapath, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
    """Return what ``compute`` says, refused where it is not one integer for each port and point."""
    name = describe(datapath)
    try:
        results = datapath.compute(values)
        arrays = {port: np.asarray(result) for port, result in dict(results).items()}
    except Exception as error:
        raise HwsimError(f"the compute of {name} fails: {reason(error)}") from error
    wanted = {*datapath.outputs, *datapath.registers}
    if set(arrays) != wanted:
        raise HwsimError(
            f"the compute of {name} returns {sorted(arrays)}; return its outputs and registers, {sorted(wanted)}"
        )
    shape = next(iter(values.values())).shape
    for port, array in arrays.items():
        if array.dtype.kind not in "iu" or array.shape not in (shape, ()):
            raise HwsimError(
                f"the compute of {name} returns {array.dtype} {array.shape} for {port}; return int64 {shape}"
            )
    return {port: np.broadcast_to(array, shape) for port, array in arrays.items()}


def _compare(
    circuit: Mapping[str, IntArray], arithmetic: Mapping[str, IntArray], values: Mapping[str, IntArray]
) -> Counterexample | None:
    for port, expected in arithmetic.items():
        wrong = np.flatnonzero(circuit[port] != expected)
        if wrong.size:
            point = wrong[0]
            operands = {name: int(column[point]) for name, column in values.items()}
            return Counterexample(operands, port, int(circuit[port][point]), int(expected[point]))
    return None


def _patterns(datapath: Datapath, rng: np.random.Generator, samples: int) -> tuple[dict[str, IntArray], bool]:
    """Return bit patterns for every input and register, and whether they are all that exist."""
    operands, state = dict(datapath.inputs), _state(datapath)
    formats = operands | state
    if _total(formats) <= EXHAUSTIVE_BITS:
        return _every(formats), True
    groups = [
        _corners(formats, rng),
        {name: _uniform(form, rng, samples) for name, form in formats.items()},
        {name: _scaled(form, rng, samples) for name, form in formats.items()},
    ]
    if _total(operands) <= EXHAUSTIVE_BITS:
        every = _every(operands)
        count = 1 << _total(operands)
        groups.append(every | {name: _scaled(form, rng, count) for name, form in state.items()})
    return {name: np.concatenate([group[name] for group in groups]) for name in formats}, False


def _total(formats: Mapping[str, Format]) -> int:
    return sum(form.bits for form in formats.values())


def _every(formats: Mapping[str, Format]) -> dict[str, IntArray]:
    """Return every combination of patterns."""
    index = np.arange(1 << _total(formats))
    codes = {}
    for name, form in formats.items():
        codes[name] = index & ((1 << form.bits) - 1)
        index = index >> form.bits
    return codes


def _uniform(form: Format, rng: np.random.Generator, count: int) -> IntArray:
    """Return random patterns; those of 64 bits as int64 holds them."""
    start = -(1 << 63) if form.bits == 64 else 0
    return rng.integers(start, start + (1 << form.bits), count)


def _scaled(form: Format, rng: np.random.Generator, count: int) -> IntArray:
    """Return patterns of values whose magnitudes are spread evenly over their logarithm."""
    codes = _uniform(form, rng, count)
    if not isinstance(form, Int):
        return codes
    return form.encode(form.decode(codes) >> rng.integers(0, form.bits, count))


def _corners(formats: Mapping[str, Format], rng: np.random.Generator) -> dict[str, IntArray]:
    """Return all combinations of corner values, or a random part of them where they are many."""
    corners = [_corner_codes(form) for form in formats.values()]
    combinations = np.prod([float(len(codes)) for codes in corners])
    if combinations <= _CORNERS:
        grid = [axis.ravel() for axis in np.meshgrid(*corners, indexing="ij")]
    else:
        grid = [rng.choice(codes, _CORNERS) for codes in corners]
    return dict(zip(formats, grid, strict=True))


def _corner_codes(form: Format) -> IntArray:
    if not isinstance(form, Int):
        return np.arange(1 << form.bits)
    powers = [1 << k for k in range(form.bits)]
    values = {form.minimum, form.minimum + 1, form.maximum, form.maximum - 1, 0}
    values |= {sign * power + one for power in powers for sign in (1, -1) for one in (-1, 0, 1)}
    fitting = sorted(value for value in values if form.minimum <= value <= form.maximum)
    return form.encode(np.array(fitting, np.int64))
