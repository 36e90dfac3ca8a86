"""``hwsim cost``: a datapath from its parameters' texts, synthesised."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any, get_args, get_type_hints

from hwsim.bits import parse_overflow
from hwsim.cost.array import array_cost
from hwsim.cost.estimate import Estimate, estimate
from hwsim.cost.synthesis import Cost, known, synthesize
from hwsim.cost.technology import technology as technology_of
from hwsim.cost.yosys import check_limit
from hwsim.datapath import Datapath, load
from hwsim.datapath.systolic import SystolicArray
from hwsim.errors import HwsimError, unknown
from hwsim.formats import (
    Focused,
    Format,
    Half,
    Int,
    Levels,
    Overflow,
    Rounding,
    parse_format,
    parse_int,
    parse_tensor_format,
    parse_weight,
)


def make_datapath(name: str, **parameters: str) -> Datapath:
    """Return a datapath by name (or ``file.py:NAME``) with its parameters given as text.

    >>> make_datapath("mac", weight="int4", activation="uint8", accumulator="int16").multiplier
    'fused'
    """
    loaded = load(name)
    if not isinstance(loaded, type):
        if parameters:
            raise HwsimError(f'"{name}" is one finished circuit; leave out {", ".join(parameters)}')
        return loaded
    hints = get_type_hints(loaded)
    known = {f.name: hints[f.name] for f in fields(loaded)}
    for parameter in parameters:
        if parameter not in known:
            raise unknown(f"parameter of {name}", parameter, known)
    values = {parameter: _parse(parameter, text, known[parameter]) for parameter, text in parameters.items()}
    missing = [
        f.name for f in fields(loaded) if f.default is f.default_factory is MISSING and f.name not in values
    ]
    if missing:
        raise HwsimError(
            f"{name} needs its parameters {', '.join(missing)} too; give {' '.join(map(_option, missing))}"
        )
    return loaded(**values)  # type: ignore[no-any-return]


def _option(parameter: str) -> str:
    """Return how the command line gives a parameter."""
    own = parameter in ("weight", "activation", "accumulator", "overflow")
    return f"--{parameter} ..." if own else f"--set {parameter}=..."


def _parse(parameter: str, text: str, hint: Any) -> Any:
    """Return a parameter's value from its text, by the type the datapath declares for it."""
    if hint is Half:
        half = parse_tensor_format(text)
        if not isinstance(half, Half):
            raise HwsimError(f'{parameter} "{text}" is no floating-point format; write fp16 or ufp16')
        return half
    if hint is Int:
        return parse_int(text)
    if hint == Format or hint in get_args(Levels):
        return parse_format(text)
    if hint is Focused:
        return parse_weight(text)
    if hint is Overflow:
        return parse_overflow(text)
    if hint is Rounding:
        if text not in list(Rounding):
            raise unknown("rounding", text, Rounding)
        return Rounding(text)
    if hint is int:
        if not text.isdecimal():
            raise HwsimError(f'{parameter} "{text}" is no whole number')
        return int(text)
    return text


def cost_datapath(
    name: str,
    *,
    technology: str = "open45",
    liberty: str = "",
    mapping: str = "balanced",
    timeout_s: float = 120,
    **parameters: str,
) -> Cost:
    """Return the gates, area and critical path of a datapath, synthesised, beside its equivalence check.

    ``liberty`` is the path of a Liberty file to map to in place of a technology. What the package's characterisation or
    the user's cache holds is not synthesised again; the cost's ``origin`` says where it was found. A systolic array of
    more than 4 x 4 elements is the sum of its elements (:mod:`hwsim.cost.array`).
    """
    check_limit(timeout_s)
    target, datapath = technology_of(technology, liberty), make_datapath(name, **parameters)
    if isinstance(datapath, SystolicArray):
        return array_cost(datapath, target, mapping=mapping, timeout_s=timeout_s)
    return synthesize(datapath, target, mapping=mapping, timeout_s=timeout_s)


def estimate_datapath(
    name: str, *, technology: str = "open45", liberty: str = "", mapping: str = "balanced", **parameters: str
) -> Cost | Estimate:
    """Return a datapath's cost where it is known without synthesis, else an estimate with its leave-one-out error.

    ``liberty`` is as in :func:`cost_datapath`. Raises :class:`HwsimError` where too few circuits of its kind are
    characterised.
    """
    target, datapath = technology_of(technology, liberty), make_datapath(name, **parameters)
    if isinstance(datapath, SystolicArray):
        raise HwsimError(
            "an array has no estimate; leave out --estimate, or ask for its multiply-accumulate's"
        )
    return known(datapath, target, mapping=mapping) or estimate(datapath, target, mapping)
