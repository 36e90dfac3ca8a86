"""Half precision in exact integer arithmetic: conversions and addition, rounded once to nearest, ties to even.

IEEE 754-2008, binary16, with exponent and fraction widths as parameters. A result too large for a finite value is
infinity, a NaN is the one :attr:`hwsim.formats.Half.nan`; in an unsigned format a negative result is 0, which is
the ReLU. Values are bit patterns in int64 arrays; nothing here is a float.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hwsim.arithmetic import fit, shift_right
from hwsim.formats import Half, Int, IntArray, Overflow, Rounding


def to_half(values: IntArray, shift: IntArray | int, output: Half) -> IntArray:
    """Return the patterns of ``values / 2^shift``; magnitudes below 2^62, shifts 0 to 63.

    >>> to_half(np.array([3, -1, 1 << 40]), 1, Half()).tolist() == [0x3E00, 0xB800, 0x7C00]
    True
    """
    values, shift = np.asarray(values, np.int64), np.asarray(shift, np.int64)
    magnitude = np.abs(values)
    top = bit_length(magnitude) - 1
    # Bits below the last one of the result: of a normal number by its leading one, of a subnormal by the format.
    dropped = np.maximum(top - output.fraction, shift - output.point)
    aligned = np.asarray(magnitude << np.maximum(-dropped, 0), np.int64)
    kept = shift_right(aligned, np.maximum(dropped, 0), Rounding.HALF_EVEN)
    # The leading one of a normal number adds 1 to the exponent field, and a carry out of the rounding another.
    field = np.where(values == 0, 0, np.maximum(top - shift + output.bias, 1) - 1)
    pattern = np.minimum(kept + (field << output.fraction), output.infinity)
    return _signed(pattern, values < 0, output)


def add_halves(first: IntArray, second: IntArray, operands: tuple[Half, Half], output: Half) -> IntArray:
    """Return the patterns of first + second, which have the same widths as ``output`` and any signs.

    Infinities of opposite sign and NaN give NaN. A sum of exactly 0 is +0, but -0 of two negative zeros.
    """
    fixed = [_fixed(x, form) for x, form in zip((first, second), operands, strict=True)]
    signs = [_negative(x, form) for x, form in zip((first, second), operands, strict=True)]
    magnitudes = [_magnitude(x, form) for x, form in zip((first, second), operands, strict=True)]
    infinite = [x == output.infinity for x in magnitudes]
    negative = np.where(infinite[0], signs[0], signs[1])
    total = fixed[0] + fixed[1]
    pattern = to_half(total, output.point, output)
    pattern = np.where((total == 0) & signs[0] & signs[1], _signed(pattern, signs[0], output), pattern)
    unbounded = _signed(np.full_like(pattern, output.infinity), negative, output)
    pattern = np.where(infinite[0] | infinite[1], unbounded, pattern)
    wrong = infinite[0] & infinite[1] & (signs[0] != signs[1])
    wrong |= (magnitudes[0] > output.infinity) | (magnitudes[1] > output.infinity)
    return np.where(wrong, output.nan, pattern)


def from_half(
    patterns: IntArray, form: Half, multiplier: IntArray, shift: IntArray, rounding: Rounding, output: Int
) -> IntArray:
    """Return ``clamp(round(value * multiplier / 2^shift))``; infinities clamp, NaN is 0.

    Multipliers have at most 16 bits, shifts are 0 to 63.
    """
    exact = _fixed(patterns, form) * multiplier
    # A shift beyond 63 leaves of these 57 bits what one by 63 does.
    rounded = shift_right(exact, np.minimum(shift + form.point, 63), rounding)
    ends = np.where(_negative(patterns, form), output.minimum, output.maximum)
    clamped = fit(rounded, output, Overflow.SATURATE)
    magnitude = _magnitude(patterns, form)
    special = np.where(magnitude == form.infinity, ends, 0)
    return np.where(magnitude < form.infinity, clamped, special)


def bit_length(values: IntArray) -> IntArray:
    """Return the number of bits of non-negative values, 0 for 0.

    >>> bit_length(np.array([0, 1, 255, 1 << 61])).tolist()
    [0, 1, 8, 62]
    """
    rest, length = np.array(values, np.int64), np.zeros(np.shape(values), np.int64)
    for step in (32, 16, 8, 4, 2, 1):
        above = rest >> step > 0
        length += step * above
        rest = np.where(above, rest >> step, rest)
    return length + (rest > 0)


def _magnitude(patterns: IntArray, form: Half) -> IntArray:
    return patterns & ((1 << (form.exponent + form.fraction)) - 1)


def _negative(patterns: IntArray, form: Half) -> npt.NDArray[np.bool_]:
    negative: npt.NDArray[np.bool_] = patterns >> (form.exponent + form.fraction) > 0
    return negative


def _fixed(patterns: IntArray, form: Half) -> IntArray:
    """Return finite values times 2^point; of infinities and NaN anything."""
    magnitude = _magnitude(patterns, form)
    field, fraction = magnitude >> form.fraction, magnitude & ((1 << form.fraction) - 1)
    significand = np.where(field > 0, fraction | 1 << form.fraction, fraction)
    fixed: IntArray = significand << np.maximum(field - 1, 0)
    return np.where(_negative(patterns, form), -fixed, fixed)


def _signed(pattern: IntArray, negative: npt.NDArray[np.bool_], output: Half) -> IntArray:
    """Return patterns with their sign; what is negative is 0 in an unsigned format."""
    if not output.signed:
        return np.where(negative, 0, pattern)
    return pattern | negative.astype(np.int64) << (output.exponent + output.fraction)
