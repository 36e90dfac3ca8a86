"""Weights as integers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hwsim.formats import Format, IntArray, PowerOfTwo
from hwsim.network import FloatArray
from hwsim.quantize.scales import scale_of
from hwsim.quantize.settings import Settings
from hwsim.quantize.statistics import row_statistics


class IntegerWeight(NamedTuple):
    """Integers of a weight's shape and the scale of each output channel: real value = integer * scale."""

    values: IntArray
    scale: FloatArray


def quantize_weight(
    weight: FloatArray, target: Format, settings: Settings, scale: FloatArray | None = None
) -> IntegerWeight:
    """Return the integers of a weight [outputs, inputs, kernel height, kernel width], at a ``scale`` [outputs] if given.

    The threshold is the largest magnitude of the format: int4 holds -7..7, pow2x4 0 and +-1, +-2, ... +-64.
    Integers round half to even; a power of two is the nearest level, the larger of two as near.
    """
    if scale is None:
        channels = len(weight)
        rows = weight.reshape(channels, -1) if settings.granularity == "channel" else weight.reshape(1, -1)
        threshold = settings.weight_quantizer(row_statistics(rows), target)
        scale = np.broadcast_to(scale_of(threshold, target), channels)
    return IntegerWeight(round_to(weight / scale[:, None, None, None], target), scale)


def round_to(values: FloatArray, target: Format) -> IntArray:
    """Return the nearest values of a format, its most negative one left out if its opposite is not there.

    >>> round_to(np.array([2.5, 2.9, 3.1, -9.0]), PowerOfTwo(3)).tolist()
    [2, 2, 4, -4]
    """
    if not isinstance(target, PowerOfTwo):
        return np.clip(np.rint(values), -target.maximum, target.maximum).astype(np.int64)
    levels = target.levels[target.levels >= 0]
    nearest = levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, np.abs(values), side="right")]
    return np.where(values < 0, -nearest, nearest)
