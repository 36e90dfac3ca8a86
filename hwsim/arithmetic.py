"""The exact integer semantics every circuit is held against: sum exactly, then fit once.

All values are int64 arrays; nothing here is a float except where a float64 product is proved exact.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hwsim.formats import Int, IntArray, Overflow, Rounding

_EXACT_FLOAT64 = 1 << 53


def fit(values: IntArray, target: Int, overflow: Overflow) -> IntArray:
    """Return ``values`` wrapped modulo 2^bits or saturated into ``target`` (at most 63 bits).

    >>> fit(np.array([130, -129]), Int(8), Overflow.WRAP).tolist()
    [-126, 127]
    >>> fit(np.array([130, -129]), Int(8), Overflow.SATURATE).tolist()
    [127, -128]
    """
    if overflow is Overflow.SATURATE:
        return np.clip(values, target.minimum, target.maximum)
    return target.decode(np.asarray(values, np.int64) & ((1 << target.bits) - 1))


def shift_right(values: IntArray, shift: IntArray | int, rounding: Rounding) -> IntArray:
    """Return ``values / 2^shift`` rounded once; ``shift`` is 0 to 63.

    >>> [int(shift_right(np.array(5), 1, mode)) for mode in Rounding]
    [2, 3, 2]
    """
    values, shift = np.asarray(values, np.int64), np.asarray(shift, np.int64)
    quotient = values >> shift
    if rounding is Rounding.FLOOR:
        return quotient
    # The last bit dropped is worth a half; a shift by zero drops nothing.
    below = np.maximum(shift - 1, 0)
    half = values >> below & (shift > 0)
    if rounding is Rounding.HALF_EVEN:
        tie = values & ((np.int64(1) << below) - 1) == 0
        half &= ~tie | (quotient & 1)
    return quotient + half


def requantize(
    accumulator: IntArray,
    multiplier: IntArray,
    bias: IntArray,
    shift: IntArray,
    rounding: Rounding,
    output: Int,
) -> IntArray:
    """Return ``clamp(round((accumulator * multiplier + bias) / 2^shift))`` in ``output``; one rounding.

    The arguments broadcast. The exact intermediate must stay below 2^62 in magnitude, which holds for
    accumulators up to 32 bits, multipliers up to 16 and biases up to 49.
    """
    exact = np.asarray(accumulator, np.int64) * multiplier + bias
    return fit(shift_right(exact, shift, rounding), output, Overflow.SATURATE)


def channel_clamp(values: IntArray, width: IntArray, exponent: IntArray, output: Int) -> IntArray:
    """Return values clamped to ``width`` bits of the output's signedness, times 2^exponent; a width of 0 is zero.

    The arguments broadcast. What does not fit ``output`` wraps: its bits hold every width plus its exponent.

    >>> channel_clamp(np.array([9, -9]), np.array([3, 4]), np.array([2, 0]), Int(8)).tolist()
    [12, -8]
    """
    levels = (np.int64(1) << np.asarray(width, np.int64)) >> int(output.signed)
    clamped = np.clip(values, -levels * output.signed, np.maximum(levels - 1, 0))
    return fit(clamped << exponent, output, Overflow.WRAP)


class Sums(NamedTuple):
    """Accumulators after the last product, and which of them left their range on the way."""

    values: IntArray
    overflowed: npt.NDArray[np.bool_]


def dot(activations: IntArray, weights: IntArray, accumulator: Int, overflow: Overflow) -> Sums:
    """Sum ``activations[..., m, k] * weights[..., k, n]`` over k in ascending order, fitting after every addition.

    Leading axes (groups) are equal in both. Returns values [..., m, n] and, for each, whether any of its
    k additions left the accumulator's range. With WRAP the value is the exact sum, fitted once; with
    SATURATE the order of k is part of the result.

    Where the positive and the negative products of one sum each stay in range, no prefix of it can
    leave: those sums are exact matrix products. Only the others walk through k one by one.
    """
    reach = int(np.abs(activations).max(initial=0)) * int(np.abs(weights).sum(axis=-2).max(initial=0))
    if reach > _EXACT_FLOAT64:
        raise OverflowError(
            f"a sum of products can reach {reach}, beyond the 2^53 that float64 holds exactly"
        )
    a, w = activations.astype(np.float64), weights.astype(np.float64)
    exact = (a @ w).astype(np.int64)
    values = fit(exact, accumulator, overflow)
    overflowed = np.zeros(exact.shape, np.bool_)
    if reach > accumulator.maximum:
        # |a| @ |w| is the sum of the positive products plus that of the negated negative ones.
        magnitude = (np.abs(a, out=a) @ np.abs(w)).astype(np.int64)
        suspect = (magnitude + exact) // 2 > accumulator.maximum
        suspect |= (magnitude - exact) // 2 > -accumulator.minimum
        places = np.nonzero(suspect)
        values[places], overflowed[places] = _walk(activations, weights, places, accumulator, overflow)
    return Sums(values, overflowed)


_TERMS_AT_A_TIME = 1 << 18
"""Products kept at once while walking: few enough for the cache, enough to hide the cost of a call."""


def _walk(
    activations: IntArray,
    weights: IntArray,
    places: tuple[IntArray, ...],
    accumulator: Int,
    overflow: Overflow,
) -> Sums:
    """Accumulate the sums at ``places`` (indices into [..., m, n]) term by term."""
    count = places[0].size
    values, overflowed = np.zeros(count, np.int64), np.zeros(count, np.bool_)
    columns = np.ascontiguousarray(np.swapaxes(weights, -1, -2))
    step = max(1, _TERMS_AT_A_TIME // max(1, activations.shape[-1]))
    add_up = _wrapping if overflow is Overflow.WRAP else _saturating
    for start in range(0, count, step):
        part = slice(start, start + step)
        *groups, m, n = (index[part] for index in places)
        products = np.ascontiguousarray((activations[(*groups, m)] * columns[(*groups, n)]).T)
        values[part], overflowed[part] = add_up(products, accumulator)
    return Sums(values, overflowed)


def _wrapping(products: IntArray, accumulator: Int) -> Sums:
    """Add up products [k, sums] with wrap: every wrapped prefix is the exact one, fitted."""
    prefixes = fit(np.cumsum(products, axis=0), accumulator, Overflow.WRAP)
    products[1:] += prefixes[:-1]
    return Sums(prefixes[-1], (products != prefixes).any(axis=0))


def _saturating(products: IntArray, accumulator: Int) -> Sums:
    """Add up products [k, sums] with saturation, where every step depends on the one before."""
    running = np.zeros(products.shape[1], np.int64)
    overflowed = np.zeros(products.shape[1], np.bool_)
    for product in products:
        product += running
        running = np.minimum(np.maximum(product, accumulator.minimum), accumulator.maximum)
        overflowed |= running != product
    return Sums(running, overflowed)
