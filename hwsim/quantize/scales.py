"""Scales, and the integer constants of a requantiser."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hwsim.errors import HwsimError
from hwsim.formats import Format, IntArray
from hwsim.network import MULTIPLIER, FloatArray

SIGNIFICAND_BITS = 24


def rounded(values: FloatArray) -> FloatArray:
    """Return values with a 24-bit significand, half to even.

    What comes from sums over data is rounded so right away: their last digits may differ between
    processors, and everything computed from them afterwards does not.

    >>> float(rounded(np.array(1 / 3))) == float(np.float32(1 / 3))
    True
    """
    significand, exponent = np.frexp(values)
    result: FloatArray = np.ldexp(
        np.rint(np.ldexp(significand, SIGNIFICAND_BITS)), exponent - SIGNIFICAND_BITS
    )
    return result


def scale_of(threshold: FloatArray | float, target: Format) -> FloatArray:
    """Return the scale that maps a threshold to the format's largest value; 1 where the threshold is 0."""
    wrong = np.asarray(threshold)[~(np.isfinite(threshold) & (np.asarray(threshold) >= 0))]
    if wrong.size:
        raise HwsimError(
            f"a quantizer gave the threshold {wrong.flat[0]}; a threshold is finite and not negative"
        )
    scale = rounded(np.asarray(threshold) / target.maximum)
    return np.where(scale > 0, scale, 1.0)


class Requantizer(NamedTuple):
    """clamp(round((sum(x_i * multiplier_i) + bias) / 2^shift)), int64 each, flat."""

    multiplier: IntArray
    bias: IntArray
    shift: IntArray


_LARGEST_SHIFT = 47
_BIAS_EXPONENT = 46


def requantizer(layer: str, ratios: FloatArray, offsets: FloatArray) -> Requantizer:
    """Return the integers of out = sum(x_i * ratio_i) + offset, per channel; ratios [channels, operands].

    The largest multiplier of a channel is in [2^15, 2^16), unless the shift would pass 47 or the offset
    would not fit the bias: then the shift is as large as they allow, and a 32-bit sum off by at most 2^-17
    output steps or 2^-16 of the offset. The offset itself is rounded to 2^-shift. A ratio or an offset beyond
    what a shift of 0 holds is refused.
    """
    _, exponent = np.frexp(ratios.max(axis=1))
    _, offset_exponent = np.frexp(offsets)
    shift = np.minimum(16 - exponent.astype(np.int64), _LARGEST_SHIFT)
    shift = np.where(offsets == 0, shift, np.minimum(shift, _BIAS_EXPONENT - offset_exponent))
    # A ratio just below a power of two rounds to 2^16: one bit less holds it.
    shift -= np.rint(np.ldexp(ratios.max(axis=1), shift)) > MULTIPLIER.maximum
    if not np.isfinite(ratios).all() or not np.isfinite(offsets).all() or shift.min() < 0:
        raise HwsimError(
            f'layer "{layer}" would be scaled by {ratios.max():.3g} and moved by {np.abs(offsets).max():.3g} steps '
            "of its output, more than a requantiser holds; its output is almost constant in calibration, "
            "give more or other images or choose min_max"
        )
    return Requantizer(
        np.rint(np.ldexp(ratios, shift[:, None])).astype(np.int64).ravel(),
        np.rint(np.ldexp(offsets, shift)).astype(np.int64),
        shift,
    )
