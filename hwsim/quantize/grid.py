"""What the weights of a layer are rounded to while they are trained: levels and scales that stay as they were chosen.

Scales are fixed as by Hu, Zeng, Wu (Bag of Tricks with Quantized Convolutional Neural Networks, 2023, arXiv 2303.07080),
and with them the widths of channels that bits were shared out among. Of a focused layer (Zhao, Gao, Bates, Mullins, Xu,
Focused Quantization for Sparse CNNs, NeurIPS 2019, arXiv 1903.03046, section 4, who fit the mixture anew every few epochs)
each weight keeps its component, and both components their means and powers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hwsim.formats import Focused, Int, IntArray, WeightFormat
from hwsim.network import FloatArray
from hwsim.quantize.focused import focus, round_to_shift
from hwsim.quantize.settings import Settings
from hwsim.quantize.weights import IntegerWeight, quantize_weight, round_to


@dataclass(frozen=True, eq=False)
class Grid:
    """The levels of a layer's weights as they are stored; batch norm multiplies a channel by its factor afterwards.

    ``scale`` [outputs] is what the integers are multiples of, ``width`` [outputs] their bits where these were shared out
    among the channels. A focused layer has ``exponents`` powers of two and, if it is recentralized, ``masks``
    [2, *shape], 1 where a weight is centred on the first and the second of two ``means``.
    """

    target: WeightFormat
    scale: FloatArray
    width: IntArray | None = None
    exponents: int = 0
    masks: IntArray | None = None
    means: tuple[int, int] | None = None

    def steps(self, weight: FloatArray) -> FloatArray:
        """Return stored weights [outputs, ...] in units of the scale, from the mean that each is centred on."""
        steps: FloatArray = weight / self.scale[:, None, None, None]
        if self.masks is not None and self.means is not None:
            steps = steps - np.tensordot(self.means, self.masks, axes=1)
        return steps

    def round(self, weight: FloatArray) -> IntegerWeight:
        """Return the levels next to stored weights."""
        steps = self.steps(weight)
        if self.masks is not None and self.means is not None:
            values = round_to_shift(steps, self.exponents) * self.masks.sum(axis=0)
            means = np.outer(self.means, np.ones(len(weight), np.int64))
            return IntegerWeight(values, self.scale, masks=self.masks, means=means)
        return IntegerWeight(self.nearest(steps), self.scale, self.width)

    def reaches(self, weight: FloatArray) -> npt.NDArray[np.bool_]:
        """Return which stored weights the levels reach: beyond, where they clip, no gradient passes."""
        focused = isinstance(self.target, Focused)
        end = 1.5 * 2.0 ** (self.exponents - 1) if focused else self._largest[:, None, None, None] + 0.5
        reached: npt.NDArray[np.bool_] = np.abs(self.steps(weight)) <= end
        return reached

    def nearest(self, steps: FloatArray) -> IntArray:
        """Return the levels next to values [outputs, ...] in units of the scale, each centred on its mean."""
        if isinstance(self.target, Focused):
            return round_to_shift(steps, self.exponents)
        if self.width is None:
            return round_to(steps, self.target)
        largest = self._largest.reshape(-1, *[1] * (steps.ndim - 1))
        return np.clip(np.rint(steps), -largest, largest).astype(np.int64)

    @cached_property
    def _largest(self) -> FloatArray:
        """The largest level of each channel, [outputs]; a focused layer has powers instead."""
        return _largest(self.target, self.width, len(self.scale))


def grid_of(weight: FloatArray, gain: FloatArray, target: WeightFormat, settings: Settings) -> Grid:
    """Return the grid that stored weights are quantized on, each output channel being multiplied by its ``gain``."""
    if isinstance(target, Focused):
        form = focus(weight, target, threshold=settings.separation, components=settings.components)
        scale = np.full(len(weight), form.scale)
        return Grid(target, scale, None, form.exponents, form.masks, form.means)
    integers = quantize_weight(weight * gain[:, None, None, None], target, settings)
    stored = np.abs(weight).max(axis=(1, 2, 3))
    own = np.where(stored > 0, stored, 1.0) / np.maximum(_largest(target, integers.width, len(weight)), 1)
    unfolded = integers.scale / np.where(gain == 0, 1.0, np.abs(gain))
    return Grid(target, np.where(gain == 0, own, unfolded), integers.width)


def _largest(target: WeightFormat, width: IntArray | None, channels: int) -> FloatArray:
    assert not isinstance(target, Focused)
    if width is None:
        return np.full(channels, float(target.maximum))
    return np.array([float(Int(bits).maximum) if bits else 0.0 for bits in width.tolist()])
