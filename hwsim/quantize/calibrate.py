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
from hwsim.quantize.statistics import BINS, Statistics

Progress = Callable[[int, int], None]
"""Called with the images done and the images to do; every image is seen twice."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Statistics of every tensor of a folded network, and the mean of each of its channels.

    ``network`` is the folded network's digest, ``images`` how many images were seen. ``weight_scales`` are the scales of
    weights, per output channel and by layer, that the network was trained at; other weights get theirs from the
    quantizer.
    """

    network: str
    images: int
    statistics: Mapping[str, Statistics]
    channel_means: Mapping[str, FloatArray]
    weight_scales: Mapping[str, FloatArray] = field(default_factory=dict)


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
    statistics = {name: spread.statistics() for name, spread in spreads.items()}
    for layer in folded.layers:
        if isinstance(layer.operator, Relu) or (isinstance(layer.operator, Clip) and layer.operator.low == 0):
            before = statistics[layer.inputs[0]]
            statistics[layer.name] = replace(statistics[layer.name], before_relu=before)
    means = {name: seen.channel_sums / seen.per_channel for name, seen in ranges.items()}
    return Calibration(folded.digest(), len(images), statistics, means)


def _check_images(network: FloatNetwork, images: ImageSequence) -> None:
    channels, height, width = network.input_shape
    if images.dtype != np.uint8 or images.shape[1:] != (height, width, channels):
        raise HwsimError(
            f"calibration images are {images.dtype} {list(images.shape)}; "
            f"the network takes uint8 [images, {height}, {width}, {channels}]"
        )
    if not len(images):
        raise HwsimError("the calibration set is empty; give at least one image")


@dataclass
class _Range:
    """First pass over one tensor."""

    minimum: float = np.inf
    maximum: float = -np.inf
    count: int = 0
    per_channel: int = 0
    channel_sums: FloatArray = field(default_factory=lambda: np.zeros(1))

    def add(self, name: str, values: FloatArray) -> None:
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise HwsimError(
                f'tensor "{name}" is not finite on the calibration images; check the weights before it'
            )
        self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
        self.count += values.size
        self.per_channel += values.size // values.shape[1]
        self.channel_sums = self.channel_sums + values.sum(axis=(0, 2, 3))

    @property
    def mean(self) -> float:
        return float(self.channel_sums.sum()) / self.count

    @property
    def peak(self) -> float:
        return max(abs(self.minimum), abs(self.maximum))


@dataclass
class _Spread:
    """Second pass over one tensor."""

    seen: _Range
    deviations: float = 0.0
    squares: float = 0.0
    histogram: IntArray = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def add(self, values: FloatArray) -> None:
        centred = np.abs(values - self.seen.mean)
        self.deviations += float(centred.sum())
        self.squares += float(np.square(centred).sum())
        magnitudes = np.abs(values[values != 0])
        if self.seen.peak > 0:
            magnitudes = magnitudes / self.seen.peak * BINS
        bins = np.minimum(magnitudes.astype(np.int64), BINS - 1)
        self.histogram += np.bincount(bins, minlength=BINS)

    def statistics(self) -> Statistics:
        seen = self.seen
        return Statistics(
            count=seen.count,
            minimum=np.array(seen.minimum),
            maximum=np.array(seen.maximum),
            mean=np.array(seen.mean),
            deviation=np.array(self.deviations / seen.count),
            std=np.array(np.sqrt(self.squares / seen.count)),
            histogram=self.histogram,
        )
