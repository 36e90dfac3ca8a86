"""Bits for each channel of a tensor: the published rule for a budget of levels, and the optimum for one of bits.

A channel of spread a in M bits has a rounding error in proportion to a^2 / 4^M (its clipping threshold being
in proportion to a). Banner, Nahshan, Soudry: Post training 4-bit quantization of convolutional networks for
rapid-deployment, NeurIPS 2019 (arXiv 1810.05723), section 3, share out a number of *levels*, which makes the
levels of a channel grow with a^(2/3). Memory and bandwidth are paid in *bits*: then the optimum grows with a.
"""

from __future__ import annotations

import numpy as np

from hwsim.errors import HwsimError
from hwsim.formats import IntArray
from hwsim.network import FloatArray

_STEPS = 10
_TOLERANCE = 0.01


def paper(spreads: FloatArray, mean_bits: float, *, least: int = 0, most: int = 8) -> IntArray:
    """The published rule: widths M = round(log2(levels * a^(2/3) / sum of a^(2/3))), int64 of the spreads' shape.

    Equations 10 and 11, with the search of the authors' code: there are channels * 2^target levels, and
    target moves by half of what the mean width misses ``mean_bits`` by, ten times or until that is within
    0.01. The mean width may so miss ``mean_bits`` a little. Widths are clamped to ``least`` .. ``most``.
    """
    _check(spreads, mean_bits, least, most)
    shares = np.cbrt(np.square(spreads))
    if not shares.any():
        shares = np.ones_like(shares)
    with np.errstate(divide="ignore"):
        logarithms = np.log2(shares * (shares.size / shares.sum()))
    target, widths = float(mean_bits), np.zeros(shares.shape)
    for _ in range(_STEPS):
        widths = np.clip(np.rint(target + logarithms), least, most)
        missing = mean_bits - widths.mean()
        if abs(missing) <= _TOLERANCE:
            break
        target += missing / 2
    return widths.astype(np.int64)


def least_error(errors: FloatArray, mean_bits: float) -> IntArray:
    """The exact optimum for any errors: ``errors`` [channels, widths 0, 1, ...] are those of each channel.

    Within channels * ``mean_bits`` bits in all, by dynamic programming over the channels, so that the errors
    need not be convex: those of a symmetric integer grid, on which one bit is worth nothing, are not. Of
    equal errors the fewest bits of the last channels are taken. Returns int64 [channels].

    >>> least_error(np.array([[9.0, 9.0, 1.0], [4.0, 4.0, 3.0]]), 1).tolist()
    [2, 0]
    """
    channels, widths = errors.shape
    if not 0 <= mean_bits < widths or not np.isfinite(errors).all():
        raise HwsimError(f"channels of 0 to {widths - 1} bits cannot have {mean_bits} on average")
    budget = round(channels * mean_bits)
    least = np.zeros(budget + 1)
    chosen = np.zeros((channels, budget + 1), np.int8)
    for channel in range(channels):
        totals = np.full((widths, budget + 1), np.inf)
        for width in range(min(widths, budget + 1)):
            totals[width, width:] = least[: budget + 1 - width] + errors[channel, width]
        chosen[channel] = totals.argmin(axis=0)
        least = totals.min(axis=0)
    result = np.zeros(channels, np.int64)
    for channel in reversed(range(channels)):
        result[channel] = chosen[channel, budget]
        budget -= int(result[channel])
    return result


def _check(spreads: FloatArray, mean_bits: float, least: int, most: int) -> None:
    if not least <= mean_bits <= most:
        raise HwsimError(f"channels of {least} to {most} bits cannot have {mean_bits} on average")
    if not spreads.size or not np.isfinite(spreads).all() or spreads.min() < 0:
        raise HwsimError(
            f"bits are shared out by spreads that are finite and not negative, not {spreads.tolist()}"
        )
