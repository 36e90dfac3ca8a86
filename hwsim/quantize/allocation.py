"""Bits for each channel of a tensor: the published rule for a budget of levels, and the optimum for one of bits.

A channel of spread a in M bits has a rounding error in proportion to a^2 / 4^M (its clipping threshold being
in proportion to a). Banner, Nahshan, Soudry: Post training 4-bit quantization of convolutional networks for
rapid-deployment, NeurIPS 2019 (arXiv 1810.05723), section 3, share out a number of *levels*, which makes the
levels of a channel grow with a^(2/3). Memory and bandwidth are paid in *bits*: then the optimum grows with a.
"""

from __future__ import annotations

from heapq import heapify, heapreplace

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


def exact(spreads: FloatArray, mean_bits: float, *, least: int = 0, most: int = 8) -> IntArray:
    """The exact optimum: widths of least total error sum(a^2 / 4^M) within channels * ``mean_bits`` bits.

    Bit after bit goes where the error is largest (the first of equals), which is optimal because each bit
    of a channel gains a quarter of the one before. Int64 of the spreads' shape, each ``least`` to ``most``.

    >>> exact(np.array([1.0, 2.0, 8.0]), 4).tolist()
    [3, 4, 5]
    """
    _check(spreads, mean_bits, least, most)
    widths = np.full(spreads.shape, least, np.int64)
    waiting = [(-float(spread), index) for index, spread in enumerate(spreads)]
    heapify(waiting)
    for _ in range(round(spreads.size * mean_bits) - spreads.size * least):
        spread, index = waiting[0]
        widths[index] += 1
        # A full channel waits behind all others.
        heapreplace(waiting, (spread / 2 if widths[index] < most else 1.0, index))
    return widths


def _check(spreads: FloatArray, mean_bits: float, least: int, most: int) -> None:
    if not least <= mean_bits <= most:
        raise HwsimError(f"channels of {least} to {most} bits cannot have {mean_bits} on average")
    if not spreads.size or not np.isfinite(spreads).all() or spreads.min() < 0:
        raise HwsimError(
            f"bits are shared out by spreads that are finite and not negative, not {spreads.tolist()}"
        )
