"""Bias correction of weights: exact with a sum of the inputs, or absorbed into the requantiser.

Banner, Nahshan, Soudry (NeurIPS 2019), section 4: quantized weights of a channel should have the mean and
the norm of the float ones. Their equation 13 leaves part of the mean's error; we use the form of their code,
w' = xi (q - mean(q)) + mean(w) with xi = |w - mean(w)| / |q - mean(q)|, which restores both exactly.

Such weights are off the integer grid. We change no integer: a channel's output is xi times the integer sum,
plus (mean(w) - xi mean(q)) times the sum of its inputs. The first factor goes into the channel's multiplier,
which is exact. For the second there are three ways:

- ``mean`` and ``full``: the layer sums its inputs as well, once for all outputs of a group, and multiplies that
  by a constant for each output before its one rounding. Both factors are exact to the 16 bits of a multiplier.
  ``mean`` leaves xi at 1, as in every published command of the authors (-bcw). Circuits of that sum and a wider
  requantiser are the price.
- absorbed: the expectation of the second term over the calibration images goes into the bias, which is the
  approximation that makes it free.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hwsim.layers import Convolution, Layer
from hwsim.network import FloatArray
from hwsim.quantize.scales import rounded


class Correction(NamedTuple):
    """Per output channel: the factor xi of the sum and what is added per unit of the sum of inputs."""

    factor: FloatArray
    offset: FloatArray


def correction(weight: FloatArray, quantized: FloatArray, *, mean_only: bool = False) -> Correction:
    """Return the correction of dequantized weights; both arrays are [channels, ...].

    The factor is 1 where a channel's quantized weights are all equal, and of all channels with ``mean_only``.
    Both are rounded to 24 bits.
    """
    float_rows, quantized_rows = (array.reshape(len(array), -1) for array in (weight, quantized))
    mean, quantized_mean = float_rows.mean(axis=1), quantized_rows.mean(axis=1)
    norm, quantized_norm = _norm(float_rows, mean), _norm(quantized_rows, quantized_mean)
    varies = (quantized_norm > 0) & (not mean_only)
    factor = rounded(np.where(varies, norm / np.where(varies, quantized_norm, 1.0), 1.0))
    return Correction(factor, rounded(mean - factor * quantized_mean))


def _norm(rows: FloatArray, mean: FloatArray) -> FloatArray:
    norm = np.sqrt(np.square(rows - mean[:, None]).sum(axis=1))
    # The mean of equal values can be off by a rounding, which is no variation.
    return np.where(rows.min(axis=1) == rows.max(axis=1), 0.0, norm)


def expected_input_sum(layer: Layer, channel_means: FloatArray) -> FloatArray:
    """Return the expected sum of the inputs of one output, per output channel.

    ``channel_means`` are those of the layer's input. A tap in the padding is zero: each tap counts for the
    share of output positions at which it is inside; the mean inside is taken to be the channel's.
    """
    operator = layer.as_convolution
    shares = _shares(layer, operator)
    groups = channel_means.reshape(operator.groups, -1).sum(axis=1) * shares.sum()
    return np.repeat(groups, operator.out_channels // operator.groups)


def _shares(layer: Layer, operator: Convolution) -> FloatArray:
    """Return, for each tap [kernel height, kernel width], the share of output positions that see no padding."""
    axes = []
    for axis in (0, 1):
        size, outputs = layer.input_shapes[0][axis + 1], layer.output_shape[axis + 1]
        first = np.arange(outputs)[:, None] * operator.stride[axis] - operator.padding[axis]
        position = first + operator.dilation[axis] * np.arange(operator.kernel[axis])
        axes.append(((position >= 0) & (position < size)).mean(axis=0))
    shares: FloatArray = np.multiply.outer(axes[0], axes[1])
    return shares
