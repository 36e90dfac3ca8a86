"""Values as they come from users and as they lie in arrays: checked, cut into parts, put together."""

from __future__ import annotations

from collections.abc import Sequence
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


def storage(width: int) -> npt.DTypeLike:
    """Return the integers of a width in memory."""
    return np.dtype(f"uint{storage_bits(width)}")


def checked(name: str, values: Any, width: int) -> Array:
    """Return values as an array of integers that are patterns of ``width`` bits.

    A negative integer of at most ``width`` bits stands for its two's complement.
    """
    given = values if isinstance(values, np.ndarray) else np.asarray(values, object)
    if given.dtype == np.bool_:
        given = given.astype(np.uint8)
    integral = given.dtype.kind in "iu" or (
        given.dtype == object and all(isinstance(value, int | np.integer) for value in given.flat)
    )
    if not integral:
        raise SimulationError(f'the values of "{name}" are {given.dtype}; give integers')
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


def joined(parts: Sequence[Array], width: int) -> Array:
    """Return values from the arrays of their parts: uint64, or Python integers above 64 bits."""
    if width <= WORD:
        return parts[0].astype(np.uint64, copy=False)
    total = parts[0].astype(object)
    for k, part in enumerate(parts[1:], 1):
        total = total | part.astype(object) << WORD * k
    return total
