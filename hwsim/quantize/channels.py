"""Clipping and bits for each channel of an activation: the widths and power-of-two steps of its channels.

Banner, Nahshan, Soudry: Post training 4-bit quantization of convolutional networks for rapid-deployment,
NeurIPS 2019 (arXiv 1810.05723), sections 2 and 3, clip each channel at a threshold of its own and may share
out bits among them. Their channels have scales of their own; an integer sum over channels needs one scale.
Here a channel's step is that scale times 2^exponent: its integers are stored in ``width`` bits and enter the
sum shifted left, so that the operand of the circuit is as wide as the widest width plus exponent, at most
:data:`OPERAND_BITS`. A channel whose threshold asks for a step below the scale gets the scale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hwsim.formats import Int, IntArray
from hwsim.network import FloatArray
from hwsim.quantize import allocation
from hwsim.quantize.scales import rounded, scale_of
from hwsim.quantize.statistics import Statistics

OPERAND_BITS = 8
"""The widest operand that the multiply-accumulates take."""

Threshold = Callable[[Statistics, Int], FloatArray]
"""From the statistics of channels and a format to the threshold of each."""


@dataclass(frozen=True)
class Channels:
    """Width and exponent of each channel of a tensor, and the format that all channels would have without.

    A channel is clamped to ``width`` bits of the tensor's signedness and shifted left by ``exponent``.
    """

    target: Int
    width: tuple[int, ...]
    exponent: tuple[int, ...]

    def arrays(self) -> tuple[IntArray, IntArray]:
        """Return widths and exponents as int64 [channels]."""
        return np.array(self.width, np.int64), np.array(self.exponent, np.int64)


def widths(statistics: Statistics, target: Int, rule: str, threshold: Threshold) -> IntArray:
    """Return the width of each channel: that of ``target``, or shared out at that mean by an allocation rule.

    ``paper`` shares out levels by standard deviations, those of a ReLU's input where there is one, at 4 bits and
    below as its authors' code does; ``exact`` minimises the squared error of the thresholds on the channels'
    histograms. A channel of 0 bits is 0; so is a signed one of 1 bit, which is given none.
    """
    count = statistics.peak.size
    if rule == "exact":
        errors = [_errors_at(statistics, bits, target.signed, threshold) for bits in range(OPERAND_BITS + 1)]
        found = allocation.least_error(np.array(errors).T, target.bits)
    elif rule == "paper" and target.bits <= _PAPER_BITS:
        seen = statistics.before_relu or statistics
        found = allocation.paper(rounded(seen.std), target.bits)
    else:
        found = np.full(count, target.bits)
    return np.where(found > target.signed, found, 0)


_PAPER_BITS = 4


def _errors_at(statistics: Statistics, bits: int, signed: bool, threshold: Threshold) -> FloatArray:
    """Return each channel's squared error in so many bits, at the step that its threshold asks for."""
    seen, width = magnitudes([statistics]), np.full(statistics.peak.size, bits)
    if bits <= signed:
        return _errors(seen, np.ones(width.size), np.zeros_like(width))
    step = steps(statistics, width, signed, threshold)
    return _errors(seen, np.where(step > 0, step, 1.0), width - signed)


def steps(statistics: Statistics, width: IntArray, signed: bool, threshold: Threshold) -> FloatArray:
    """Return the step that each channel's threshold asks for at its width; 0 for a channel of zeros or of no bits."""
    found = np.zeros(width.size)
    for bits in np.unique(width[width > 0]):
        chosen = np.flatnonzero((width == bits) & (statistics.peak > 0))
        form = Int(int(bits), signed)
        limits = threshold(statistics.select(chosen), form) if chosen.size else np.zeros(0)
        found[chosen] = np.where(limits > 0, scale_of(limits, form), 0.0)
    return found


class Magnitudes(NamedTuple):
    """The largest magnitude of each channel and its histogram [channels, bins] up to there."""

    peak: FloatArray
    histogram: IntArray


def magnitudes(parts: Iterable[Statistics]) -> Magnitudes:
    """Return the magnitudes of the channels of several tensors, one behind the other."""
    peaks, histograms = zip(*((seen.peak, seen.histogram) for seen in parts), strict=True)
    return Magnitudes(np.concatenate(peaks), np.concatenate(histograms))


def shared_scale(
    seen: Magnitudes, asked: FloatArray, width: IntArray, signed: bool, ceiling: float
) -> tuple[float, IntArray]:
    """Return the scale of all channels together and the exponent of each, from the steps ``asked`` for.

    Four scales within an octave are tried, the first the smallest at which no channel needs more than
    :data:`OPERAND_BITS`; a channel's exponent is one of the two whose steps are next to the step asked for. Both
    are those of least squared error on the channels' histograms. ``ceiling`` is the end of a clip, beyond which
    no operand may reach.
    """
    live = asked > 0
    if not live.any():
        return 1.0, np.zeros(asked.size, np.int64)
    seen, steps, bits = Magnitudes(seen.peak[live], seen.histogram[live]), asked[live], width[live]
    smallest = np.ldexp(steps, bits - OPERAND_BITS).max()
    highest = ceiling / Int(OPERAND_BITS, signed).maximum
    candidates = rounded(np.minimum(smallest * 2.0 ** (np.arange(_SCALES) / _SCALES), highest))
    choices = [_exponents(seen, steps, bits, signed, float(scale)) for scale in np.unique(candidates)]
    _, scale, found = min(choices, key=lambda choice: choice[0])
    # A channel of zeros keeps the smallest exponent, and may need all the bits that others leave above it.
    common = min(int(found.min()), OPERAND_BITS - int(width[~live].max(initial=0)))
    exponent = np.zeros(asked.size, np.int64)
    exponent[live] = found - common
    return scale * 2.0**common, exponent


_SCALES = 4


def _exponents(
    seen: Magnitudes, steps: FloatArray, width: IntArray, signed: bool, scale: float
) -> tuple[float, float, IntArray]:
    """Return the squared error of a scale, the scale, and the better of two exponents for each channel."""
    _, above = np.frexp(steps / scale)
    candidates = [np.clip(above + side, 0, OPERAND_BITS - width).astype(np.int64) for side in (-1, 0)]
    low, high = (_errors(seen, np.ldexp(scale, k), width - signed) for k in candidates)
    return float(np.minimum(low, high).sum()), scale, np.where(low <= high, *candidates)


def _errors(seen: Magnitudes, step: FloatArray, magnitude_bits: IntArray) -> FloatArray:
    """Return each channel's squared error on its histogram, to 24 bits."""
    bins = seen.histogram.shape[1]
    centres = (np.arange(bins) + 0.5) / bins * seen.peak[:, None]
    levels = np.minimum(np.rint(centres / step[:, None]), (2.0**magnitude_bits - 1)[:, None])
    error = seen.histogram * np.square(centres - levels * step[:, None])
    return rounded(error.sum(axis=1))
