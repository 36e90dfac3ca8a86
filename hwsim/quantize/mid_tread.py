"""ACIQ's quantizer for variable-length codes: mid-tread levels, real-valued numbers of bins a channel.

Banner, Nahshan, Soudry: Post training 4-bit quantization of convolutional networks for rapid-deployment, NeurIPS 2019
(arXiv 1810.05723). An entropy coder does not ask for a power of two of levels, so that a channel takes the share of
bins that its spread asks for, unrounded, and clips where the expected error of a Laplace tensor in that many bins is
least. The levels are whole multiples of the channel's step, zero among them; a code word is the multiple.

Deviations. Ranges come from calibration, the authors' from the batch that is coded. Their code words at the edges are
fractions where a range is no whole number of steps; here the nearest whole multiple is the edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import lambertw

from hwsim.formats import IntArray
from hwsim.network import FloatArray
from hwsim.quantize.statistics import Statistics


def bins(spreads: FloatArray, mean_bits: float) -> FloatArray:
    """Return the real number of bins of each channel: shares of channels * 2^mean_bits by spread^(2/3), equation 10.

    >>> bins(np.array([8.0, 1.0]), 2.0).round(3)
    array([6.4, 1.6])
    """
    shares: FloatArray = np.cbrt(np.square(spreads))
    if not shares.any():
        shares = np.ones_like(shares)
    shares *= spreads.size * 2.0**mean_bits / shares.sum()
    return shares


def laplace_constant(bins: FloatArray) -> FloatArray:
    """Return the optimal a/b of Laplace(0, b) tensors in real numbers of bins: W0(3 bins^2), from equation 6."""
    return np.asarray(lambertw(3.0 * np.square(bins)).real, np.float64)


@dataclass(frozen=True, eq=False)
class MidTread:
    """A grid for each channel: the whole multiples ``low`` .. ``high`` of ``step``, arrays [channels]."""

    step: FloatArray
    low: IntArray
    high: IntArray

    def codes(self, x: FloatArray) -> IntArray:
        """Return the nearest multiples, clipped, of a tensor [n, channels, ...]."""
        step, low, high = (
            values.reshape(-1, *[1] * (x.ndim - 2)) for values in (self.step, self.low, self.high)
        )
        return np.clip(np.rint(x / step), low, high).astype(np.int64)

    def values(self, codes: IntArray) -> FloatArray:
        """Return what codes [n, channels, ...] stand for."""
        step = np.where(np.isfinite(self.step), self.step, 0.0)
        values: FloatArray = codes.astype(np.float64) * step.reshape(-1, *[1] * (codes.ndim - 2))
        return values


def activation_grid(statistics: Statistics, mean_bits: float) -> MidTread:
    """Return the grid of an activation from its channels' statistics; where it is never negative, from 0.

    Behind a ReLU they are those of its input, as for :func:`hwsim.quantize.aciq.laplace_threshold`. A channel that never
    varies keeps zero alone.
    """
    seen = statistics.before_relu or statistics
    counts = bins(seen.std, mean_bits)
    if (statistics.minimum < 0).any():
        clip = laplace_constant(counts) * seen.deviation
        return _grid(seen.mean - clip, seen.mean + clip, counts)
    clip = laplace_constant(2 * counts) * seen.deviation
    return _grid(np.zeros_like(clip), np.maximum(seen.mean, 0.0) + clip, counts)


def weight_grid(rows: FloatArray, mean_bits: float) -> MidTread:
    """Return the grid of weights [channels, values], which spans the whole range of a channel."""
    return _grid(rows.min(axis=1), rows.max(axis=1), bins(rows.std(axis=1), mean_bits))


def _grid(low: FloatArray, high: FloatArray, counts: FloatArray) -> MidTread:
    varies = (counts > 0) & (high > low)
    step = np.where(varies, (high - low) / np.where(varies, counts, 1.0), np.inf)
    first, last = (np.rint(edge / step).astype(np.int64) for edge in (low, high))
    return MidTread(step, first, last)
