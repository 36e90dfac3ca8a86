"""Calibration: the statistics of every tensor of a float network over a few images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.formats import IntArray
from hwsim.layers import Clip, Relu
from hwsim.network import FloatArray, FloatNetwork, ImageSequence
from hwsim.quantize.fold import fold_batch_norm
from hwsim.quantize.statistics import BINS, CHANNEL_BINS, Statistics

Progress = Callable[[int, int], None]
"""Called with the images done and the images to do; every image is seen twice."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Statistics of every tensor of a folded network, and of each of its channels.

    ``network`` is the folded network's digest, ``images`` how many images were seen. ``weight_scales`` are the scales of
    weights, per output channel and by layer, that the network was trained at; other weights get theirs from the
    quantizer.
    """

    network: str
    images: int
    statistics: Mapping[str, Statistics]
    channels: Mapping[str, Statistics]
    weight_scales: Mapping[str, FloatArray] = field(default_factory=dict)

    def channel_means(self, tensor: str) -> FloatArray:
        """Return the mean of each channel of a tensor."""
        return self.channels[tensor].mean


def calibrate(
    network: FloatNetwork, images: ImageSequence, *, batch: int = 16, progress: Progress | None = None
) -> Calibration:
    """Return the statistics of the network, batch norm folded, over uint8 images [n, h, w, channels].

    Two passes in float64, in the images' order: ranges and means, then deviations from the means and
    histograms. That the images come from the calibration split and never from the test split is the
    caller's duty. Raises :class:`HwsimError` for no images, images of another shape, and values that
    overflow on the way.
    """
    # torch is loaded where a network runs: what only quantizes with a given calibration does without it.
    from hwsim.models.forward import run

    folded = fold_batch_norm(network)
    _check_images(folded, images)
    total = 2 * len(images)
    ranges: dict[str, _Range] = {}
    spreads: dict[str, _Spread] = {}

    def see_range(name: str, values: FloatArray) -> None:
        ranges.setdefault(name, _Range()).add(name, values)

    def see_spread(name: str, values: FloatArray) -> None:
        spreads.setdefault(name, _Spread(ranges[name])).add(values)

    for done, see in ((0, see_range), (len(images), see_spread)):
        for start in range(0, len(images), batch):
            part = images[start : start + batch]
            run(folded, folded.preprocessing.apply(part), see)
            if progress is not None:
                progress(done + start + len(part), total)
    tensors = {name: spread.tensor() for name, spread in spreads.items()}
    channels = {name: spread.channels() for name, spread in spreads.items()}
    for statistics in (tensors, channels):
        _tell_relus(folded, statistics)
    return Calibration(folded.digest(), len(images), tensors, channels)


def _tell_relus(network: FloatNetwork, statistics: dict[str, Statistics]) -> None:
    """Give the outputs of ReLUs, and of clips from 0, the statistics of what is before them."""
    for layer in network.layers:
        if isinstance(layer.operator, Relu) or (isinstance(layer.operator, Clip) and layer.operator.low == 0):
            before = statistics[layer.inputs[0]]
            statistics[layer.name] = replace(statistics[layer.name], before_relu=before)


def _check_images(network: FloatNetwork, images: ImageSequence) -> None:
    channels, height, width = network.input_shape
    if images.dtype != np.uint8 or images.shape[1:] != (height, width, channels):
        raise HwsimError(
            f"calibration images are {images.dtype} {list(images.shape)}; "
            f"the network takes uint8 [images, {height}, {width}, {channels}]"
        )
    if not len(images):
        raise HwsimError("the calibration set is empty; give at least one image")


_WITHIN_CHANNEL = (0, 2, 3)


@dataclass
class _Range:
    """First pass over one tensor [n, c, h, w]; arrays are [c]."""

    minimum: FloatArray = field(default_factory=lambda: np.full(1, np.inf))
    maximum: FloatArray = field(default_factory=lambda: np.full(1, -np.inf))
    count: int = 0
    per_channel: int = 0
    channel_sums: FloatArray = field(default_factory=lambda: np.zeros(1))

    def add(self, name: str, values: FloatArray) -> None:
        low, high = values.min(axis=_WITHIN_CHANNEL), values.max(axis=_WITHIN_CHANNEL)
        if not (np.isfinite(low) & np.isfinite(high)).all():
            raise HwsimError(
                f'tensor "{name}" is not finite on the calibration images; check the weights before it'
            )
        self.minimum, self.maximum = np.minimum(self.minimum, low), np.maximum(self.maximum, high)
        self.count += values.size
        self.per_channel += values.size // values.shape[1]
        self.channel_sums = self.channel_sums + values.sum(axis=_WITHIN_CHANNEL)

    @property
    def mean(self) -> float:
        return float(self.channel_sums.sum()) / self.count

    @property
    def channel_means(self) -> FloatArray:
        return self.channel_sums / self.per_channel

    @property
    def peaks(self) -> FloatArray:
        """max |x| of each channel."""
        return np.maximum(np.abs(self.minimum), np.abs(self.maximum))


class _Spread:
    """Second pass over one tensor [n, c, h, w]."""

    def __init__(self, seen: _Range) -> None:
        self.seen = seen
        self.deviations, self.squares = 0.0, 0.0
        self.histogram = np.zeros(BINS, np.int64)
        channels = seen.peaks.size
        self.channel_deviations, self.channel_squares = np.zeros(channels), np.zeros(channels)
        self.channel_histograms = np.zeros((channels, CHANNEL_BINS), np.int64)

    def add(self, values: FloatArray) -> None:
        centred = np.abs(values - self.seen.mean)
        self.deviations += float(centred.sum())
        self.squares += float(np.square(centred).sum())
        centred = np.abs(values - self.seen.channel_means[:, None, None])
        self.channel_deviations += centred.sum(axis=_WITHIN_CHANNEL)
        self.channel_squares += np.square(centred).sum(axis=_WITHIN_CHANNEL)
        places = np.flatnonzero(values)
        magnitudes = np.abs(values.ravel()[places])
        channels = places // math.prod(values.shape[2:]) % values.shape[1]
        self.histogram += _histogram(magnitudes, self.seen.peaks.max(), BINS)
        self.channel_histograms += _histograms(magnitudes, channels, self.seen.peaks)

    def tensor(self) -> Statistics:
        seen = self.seen
        return Statistics(
            count=seen.count,
            minimum=seen.minimum.min(),
            maximum=seen.maximum.max(),
            mean=np.array(seen.mean),
            deviation=np.array(self.deviations / seen.count),
            std=np.array(np.sqrt(self.squares / seen.count)),
            histogram=self.histogram,
        )

    def channels(self) -> Statistics:
        seen = self.seen
        return Statistics(
            count=seen.per_channel,
            minimum=seen.minimum,
            maximum=seen.maximum,
            mean=seen.channel_means,
            deviation=self.channel_deviations / seen.per_channel,
            std=np.sqrt(self.channel_squares / seen.per_channel),
            histogram=self.channel_histograms,
        )


def _histogram(magnitudes: FloatArray, peak: float, bins: int) -> IntArray:
    """Return how many magnitudes above 0 lie in each of equal bins from 0 to ``peak``."""
    found = np.minimum((magnitudes / peak * bins).astype(np.int64), bins - 1)
    return np.bincount(found, minlength=bins)


def _histograms(magnitudes: FloatArray, channels: IntArray, peaks: FloatArray) -> IntArray:
    """Return the histogram of each channel, [channels, CHANNEL_BINS], of magnitudes above 0."""
    bins = np.minimum((magnitudes / peaks[channels] * CHANNEL_BINS).astype(np.int64), CHANNEL_BINS - 1)
    counts = np.bincount(channels * CHANNEL_BINS + bins, minlength=peaks.size * CHANNEL_BINS)
    return counts.reshape(-1, CHANNEL_BINS)
