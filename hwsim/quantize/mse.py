"""MSE: the threshold with the least squared error on the very grid it is for.

The criterion is that of Choukroun, Kravchik, Yang, Kisilev: Low-bit quantization of neural networks for
efficient inference, 2019 (arXiv 1902.06822), which searches a grid of thresholds; here the minimum is exact.

With q(x, s) the level nearest to |x| / s, the squared error is sum(x^2) - 2 s A + s^2 B, A = sum(|x| q) and
B = sum(q^2). As the scale s falls, A and B change only where some |x| / s passes the middle of two levels:
sorting those places gives every A and B by running sums, and s = A / B is the best scale of each. The error
of that assignment is never below that of nearest levels at the same s, so the least of all of them is the
minimum. Thresholds above the largest magnitude are left out. Only the sorted middles know the format: evenly
spaced levels and powers of two are minimised alike.

Weights are minimised on their values (a row of more than 2^16 values on a histogram of as many bins),
activations on their histogram, the mass of each bin at its centre.
"""

from __future__ import annotations

import numpy as np

from hwsim.formats import Format, Int, IntArray
from hwsim.network import FloatArray
from hwsim.quantize.statistics import Statistics

_LONGEST_ROW = 1 << 16


def threshold(statistics: Statistics, target: Format) -> FloatArray:
    """MSE: the threshold with the least squared error on the format's own levels."""
    levels = magnitudes(target)
    peaks = statistics.peak.ravel()
    if statistics.rows is not None:
        samples = [_row(row, peak) for row, peak in zip(np.abs(statistics.rows), peaks, strict=True)]
    else:
        assert statistics.histogram is not None
        histograms = np.atleast_2d(statistics.histogram)
        if levels.size > histograms.shape[1]:
            return statistics.peak
        samples = [_binned(counts, peak) for counts, peak in zip(histograms, peaks, strict=True)]
    best = [_best(*sample, peak, levels) for sample, peak in zip(samples, peaks, strict=True)]
    return np.array(best).reshape(statistics.peak.shape)


def magnitudes(target: Format) -> FloatArray:
    """Return the magnitudes a format is used for, ascending from 0.

    >>> from hwsim.formats import PowerOfTwo
    >>> magnitudes(PowerOfTwo(3)).tolist()
    [0.0, 1.0, 2.0, 4.0]
    """
    if isinstance(target, Int):
        return np.arange(target.maximum + 1, dtype=np.float64)
    return target.levels[target.levels >= 0].astype(np.float64)


def _row(magnitude: FloatArray, peak: float) -> tuple[FloatArray, FloatArray]:
    """Return magnitudes and how often each occurs."""
    if magnitude.size <= _LONGEST_ROW:
        return magnitude, np.ones(magnitude.size)
    counts, _ = np.histogram(magnitude[magnitude > 0], _LONGEST_ROW, (0.0, peak or 1.0))
    return _binned(counts, peak)


def _binned(counts: IntArray, peak: float) -> tuple[FloatArray, FloatArray]:
    filled = np.flatnonzero(counts)
    centres = (filled + 0.5) * (peak / counts.size)
    return centres.astype(np.float64), counts[filled].astype(np.float64)


def _best(values: FloatArray, counts: FloatArray, peak: float, levels: FloatArray) -> float:
    """Return the threshold, at most ``peak``, of the least error of ``counts`` magnitudes ``values``.

    Values are in units of the peak; thresholds are scales times the largest level.
    """
    if not peak > 0:
        return peak
    values, largest = values / peak, levels[-1]
    passes = values[:, None] * (2 * largest / (levels[1:] + levels[:-1]))
    weighted = (counts * values)[:, None] * np.diff(levels)
    squares = counts[:, None] * np.diff(levels**2)
    reached = passes >= 1
    a, b = float(weighted[reached].sum()), float(squares[reached].sum())
    energy = float((counts * values**2).sum())
    ahead = ~reached & (passes > _narrowest(values, counts, error=energy - 2 * a / largest + b / largest**2))
    order = np.argsort(-passes[ahead], kind="stable")
    products = a + np.concatenate([[0.0], np.cumsum(weighted[ahead][order])])
    norms = b + np.concatenate([[0.0], np.cumsum(squares[ahead][order])])
    thresholds = np.minimum(products * largest / np.maximum(norms, np.finfo(float).tiny), 1.0)
    scales = thresholds / largest
    gains = (2 * scales * products - scales**2 * norms) / energy
    # Rounded, so that equal errors are equal: the widest threshold of those is taken.
    return float(thresholds[np.argmax(np.round(gains, 12))] * peak)


def _narrowest(values: FloatArray, counts: FloatArray, error: float) -> float:
    """Return a threshold below which clipping alone costs more than ``error``, which that of 1 costs in all."""
    low, high = 0.0, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        clipped = float((counts * np.maximum(values - middle, 0.0) ** 2).sum())
        low, high = (middle, high) if clipped > error else (low, middle)
    return low
