"""KL with tolerance: the largest threshold whose divergence is within a factor of the smallest.

Hu, Zeng, Wu: Bag of tricks with quantized convolutional neural networks for image classification, 2023
(arXiv 2303.07080), over the histogram sweep of Migacz: 8-bit inference with TensorRT, GTC 2017. Tolerance 1
is the classic method, a very large one min-max; the paper uses 1.3.

``tensorrt_threshold`` is that plain method, for comparison: always the minimiser, signed levels even where the
tensor is unsigned (128 at 8 bits), and half a bin width more.

Candidates are the first i of 2048 bins, for every i from the number of levels. P is those bins with the
clipped mass added to the last one; Q is the same bins without it, merged into levels and spread evenly over
the bins of P that are not empty. A signed format of b bits has 2^(b-1) levels of magnitude, an unsigned one
2^b. Our choices where the sources differ: the threshold is i bin widths, and there is no smoothing (a
candidate whose P has mass where Q has none is infinitely far).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from hwsim.errors import HwsimError
from hwsim.formats import Format, Int, IntArray
from hwsim.network import FloatArray
from hwsim.quantize.statistics import Statistics


def threshold(statistics: Statistics, target: Format, tolerance: float = 1.3) -> FloatArray:
    """KL with tolerance: the largest threshold whose divergence is at most tolerance times the smallest."""
    if not tolerance >= 1:
        raise HwsimError(
            f"the tolerance of kl is a factor of at least 1, not {tolerance}; 1 is the classic method"
        )
    levels = _levels(statistics, target)

    def kept(curve: FloatArray) -> float:
        limit = math.inf if math.isinf(tolerance) else tolerance * float(curve.min())
        return levels + int(np.flatnonzero(curve <= limit)[-1])

    return _kept(statistics, levels, kept)


def tensorrt_threshold(statistics: Statistics, target: Format) -> FloatArray:
    """KL as in TensorRT: the minimiser for signed levels, whatever the sign; no tolerance.

    The threshold is (i + 1/2) bin widths, as on the slides, but never above the largest magnitude.
    """
    levels = _levels(statistics, Int(target.bits) if isinstance(target, Int) else target)
    return _kept(statistics, levels, lambda curve: levels + int(curve.argmin()) + 0.5)


def _kept(statistics: Statistics, levels: int, kept: Callable[[FloatArray], float]) -> FloatArray:
    """Return the peak times the share of the bins that ``kept`` chooses from the divergences; channel by channel."""
    if statistics.peak.ndim:
        channels = (statistics.select(index) for index in range(statistics.peak.size))
        return np.array([_kept(channel, levels, kept) for channel in channels])
    curve = _curve(statistics, levels)
    if curve is None:
        return statistics.peak
    assert statistics.histogram is not None
    return statistics.peak * min(kept(curve) / statistics.histogram.size, 1.0)


def _levels(statistics: Statistics, target: Format) -> int:
    """Return how many magnitudes a format has, the zero counted."""
    if statistics.histogram is None or not isinstance(target, Int):
        raise HwsimError(
            "kl needs the histogram of an activation; choose min_max or aciq_laplace for weights"
        )
    return 1 << (target.bits - target.signed)


@lru_cache(maxsize=256)
def _curve(statistics: Statistics, levels: int) -> FloatArray | None:
    """Return the divergences; None where nothing can be clipped: bins no finer than levels, or all zeros."""
    histogram = statistics.histogram
    assert histogram is not None
    return divergences(histogram, levels) if levels < histogram.size and histogram.any() else None


def divergences(histogram: IntArray, levels: int) -> FloatArray:
    """Return D(P || Q) in nats for the first ``levels``, ``levels`` + 1, ... all bins, to 12 decimals.

    Sums over bins are differences of prefix sums: within one level Q is constant over P's bins, so that
    sum(p log q) needs the level's mass and mean alone.
    """
    counts = histogram.astype(np.float64)
    mass, bins = _prefix(counts), _prefix((counts > 0).astype(np.float64))
    entropy = _prefix(_times_log(counts, counts))
    kept = np.arange(levels, counts.size + 1)
    clipped = mass[-1] - mass[kept]
    last = counts[kept - 1] + clipped
    edges = kept[:, None] * np.arange(levels + 1) // levels
    in_level, filled = np.diff(mass[edges]), np.diff(bins[edges])
    filled[:, -1] += (counts[kept - 1] == 0) & (clipped > 0)
    in_p = in_level.copy()
    in_p[:, -1] += clipped
    with np.errstate(divide="ignore"):
        cross = _times_log(in_p, in_level / np.maximum(filled, 1)).sum(axis=1)
        total = np.log(mass[kept]) - np.log(mass[-1])
    p_log_p = entropy[kept - 1] + _times_log(last, last)
    with np.errstate(invalid="ignore"):
        curve = (p_log_p - cross) / mass[-1] + total
    # No mass at all in the kept bins is inf - inf: infinitely far as well.
    return np.maximum(np.round(np.where(mass[kept] > 0, curve, np.inf), 12), 0.0)


def _prefix(values: FloatArray) -> FloatArray:
    return np.concatenate([[0.0], np.cumsum(values)])


def _times_log(values: FloatArray, arguments: FloatArray) -> FloatArray:
    """Return values * log(arguments), 0 where a value is 0."""
    with np.errstate(divide="ignore"):
        logarithms = np.log(np.where(values > 0, arguments, 1.0))
    product: FloatArray = values * logarithms
    return np.where(values > 0, product, 0.0)
