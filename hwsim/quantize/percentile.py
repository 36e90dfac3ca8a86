"""Percentile: the magnitude that a share of all values does not exceed.

Wu, Judd, Zhang, Isaev, Micikevicius: Integer quantization for deep learning inference: principles and
empirical evaluation, 2020 (arXiv 2004.09602), which compares 99.9 to 99.9999 percent. Zeros count as values.
Of an activation's histogram the threshold is the upper edge of the bin in which the percentile lies.
"""

from __future__ import annotations

import math

import numpy as np

from hwsim.errors import HwsimError
from hwsim.formats import Format
from hwsim.network import FloatArray
from hwsim.quantize.statistics import Statistics

PERCENT = 99.99


def threshold(statistics: Statistics, target: Format, percent: float = PERCENT) -> FloatArray:
    """Percentile: the smallest threshold that leaves at least ``percent`` of the values unclipped.

    Where that is 0, because so many values are zeros, nothing is clipped.
    """
    del target
    if not 0 < percent <= 100:
        raise HwsimError(f"a percentile is above 0 and at most 100, not {percent}; write 99.99, say")
    # Rounded, so that 99.99% of 20,000 values are 19,998 of them and not one more.
    needed = math.ceil(round(statistics.count * percent / 100, 6))
    if statistics.rows is not None:
        edge = np.sort(np.abs(statistics.rows), axis=-1)[..., needed - 1]
    else:
        edge = _edge(statistics, needed)
    return np.where(edge > 0, edge, statistics.peak)


def _edge(statistics: Statistics, needed: int) -> FloatArray:
    """Return the upper edge of the first bin up to which that many values lie; 0 if the zeros are enough."""
    histogram = statistics.histogram
    assert histogram is not None
    zeros = statistics.count - histogram.sum(axis=-1, keepdims=True)
    bins = (zeros + histogram.cumsum(axis=-1) < needed).sum(axis=-1) + 1
    kept: FloatArray = np.where(zeros[..., 0] >= needed, 0, bins) / histogram.shape[-1]
    return statistics.peak * kept
