"""Values as they come from users and as they lie in arrays: checked, cut into parts, put together."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyrtl

from hwsim.errors import HwsimError
from hwsim.simulate.lanes.analysis import storage_bits
from hwsim.simulate.lanes.form import WORD

Array: TypeAlias = npt.NDArray[Any]


class SimulationError(HwsimError, pyrtl.PyrtlError):  # type: ignore[misc]
    """A refused simulation: also a PyrtlError, so that it is caught where PyRTL's own simulators' errors are."""


class UnknownWireError(SimulationError, KeyError):
    """A wire that is not in the block: also a KeyError, which PyRTL's own simulators raise."""

    __str__ = Exception.__str__


shown = reprlib.repr
"""A refused value in an error: cut short."""


def wire_name(wire: Any) -> str:
    """Return a wire's name, given the wire or its name."""
    name = wire if isinstance(wire, str) else getattr(wire, "name", None)
    if not isinstance(name, str):
        raise SimulationError(f"{shown(wire)} is no wire; give a wire of the block or its name")
    return name


def by_name(values: Any, what: str) -> dict[str, Any]:
    """Return a mapping of wires, or of their names, with names alone."""
    if not isinstance(values, Mapping):
        raise SimulationError(f"{what} are {shown(values)}; give a mapping of wires to values")
    return {wire_name(wire): value for wire, value in values.items()}


def storage(width: int) -> npt.DTypeLike:
    """Return the integers of a width in memory."""
    return np.dtype(f"uint{storage_bits(width)}")


def array_of(name: str, values: Any) -> Array:
    """Return values as an array, Python's own integers as objects."""
    if isinstance(values, np.ndarray):
        return values
    try:
        return np.asarray(values, object)
    except ValueError:
        raise SimulationError(_RAGGED.format(name)) from None


_RAGGED = 'the values of "{}" are lists of different lengths; give as many for each cycle and lane'


def checked(name: str, values: Any, width: int) -> Array:
    """Return values as an array of integers that are patterns of ``width`` bits.

    A negative integer of at most ``width`` bits stands for its two's complement.
    """
    given = array_of(name, values)
    if given.dtype == np.bool_:
        given = given.astype(np.uint8)
    if given.dtype.kind not in "iu":
        _check_integers(name, given)
    if given.size == 0 or (given.dtype.kind == "u" and given.dtype.itemsize * 8 <= width):
        return given
    least, most = 0 if given.dtype.kind == "u" else int(given.min()), int(given.max())
    if least < -(1 << width - 1) or most >= 1 << width:
        wrong = least if least < -(1 << width - 1) else most
        raise SimulationError(f'the value {wrong} does not fit "{name}"; it has {width} bits')
    if given.dtype == object or (width > 64 and least < 0):
        given = np.asarray(given.astype(object) & ((1 << width) - 1), object)
        return given.astype(np.uint64) if width <= WORD else given
    if least < 0:
        given = given.astype(np.int64).view(np.uint64) & np.uint64((1 << width) - 1)
    return given.astype(object) if width > WORD else given


def _check_integers(name: str, given: Array) -> None:
    for value in given.flat:
        if isinstance(value, list | tuple | np.ndarray):
            raise SimulationError(_RAGGED.format(name))
        if given.dtype != object or not isinstance(value, int | np.integer):
            raise SimulationError(f'the value {value} of "{name}" is no integer; give integers')


def joined(parts: Sequence[Array], width: int) -> Array:
    """Return values from the arrays of their parts: uint64, or Python integers above 64 bits."""
    if width <= WORD:
        return parts[0].astype(np.uint64, copy=False)
    total = parts[0].astype(object)
    for k, part in enumerate(parts[1:], 1):
        total = total | part.astype(object) << WORD * k
    return total
