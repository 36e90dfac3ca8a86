"""Calibration: the statistics of every tensor of a float network over a few images."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.formats import IntArray
from hwsim.layers import Clip, Relu
from hwsim.network import FloatArray, FloatNetwork, ImageSequence
from hwsim.quantize.fold import fold_batch_norm
from hwsim.quantize.fuse import fuse_clamps
from hwsim.quantize.grid import Grid
from hwsim.quantize.statistics import BINS, CHANNEL_BINS, Statistics

Progress = Callable[[int, int], None]
"""Called with the images done and the images to do; every image is seen twice."""

LARGEST_BATCH = 1 << 22
"""Elements of a batch's largest tensor at most, unless one image has more: memory is reused while it is in the cache."""

CHUNK = 1 << 16
"""Values whose spread is taken at once."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Statistics of every tensor of a folded network, and of each of its channels.

    ``network`` is the folded network's digest, ``images`` how many images were seen. ``grids`` are what weights are
    rounded to, by layer, in a network that was trained so; other weights get theirs from the quantizer. ``moments`` are the
    second moments of each layer's inputs (:mod:`hwsim.quantize.moments`), of a calibration that was asked for them.
    """

    network: str
    images: int
    statistics: Mapping[str, Statistics]
    channels: Mapping[str, Statistics]
    grids: Mapping[str, Grid] = field(default_factory=dict)
    moments: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)

    def channel_means(self, tensor: str) -> FloatArray:
        """Return the mean of each channel of a tensor."""
        return self.channels[tensor].mean


def calibrate(
    network: FloatNetwork, images: ImageSequence, *, batch: int = 16, progress: Progress | None = None
) -> Calibration:
    """Return the statistics of the network, batch norm folded, over uint8 images [n, h, w, channels].

    Two passes in float64: ranges and means, then deviations from the means and histograms; what a ReLU or clip alone
    reads gets no histogram, for it is no tensor of the integer network. ``batch`` is the
    most images that run at once; fewer do where they are large. Batches run on as many threads as torch is set
    to use and are added in the images' order, so that their number changes nothing. That the images come from
    the calibration split and never from the test split is the caller's duty. Raises :class:`HwsimError` for no
    images, images of another shape, and values that overflow on the way.
    """
    folded = fold_batch_norm(network)
    _check_images(folded, images)
    shapes = [folded.input_shape, *(layer.output_shape for layer in folded.layers)]
    batch = min(batch, max(1, LARGEST_BATCH // max(map(math.prod, shapes))))
    total = 2 * len(images)
    tell = progress or (lambda done, planned: None)
    ranges = sweep(folded, images, batch, _range, lambda done: tell(done, total))
    read = set(fuse_clamps(folded).float_names.values())
    histograms = {name: _Histograms(seen) for name, seen in ranges.items() if name in read}
    spreads = sweep(
        folded,
        images,
        batch,
        lambda name, values: _spread(values, ranges[name], histograms.get(name)),
        lambda done: tell(len(images) + done, total),
    )
    tensors = {name: _tensor(seen, spreads[name], histograms.get(name)) for name, seen in ranges.items()}
    channels = {name: _channels(seen, spreads[name], histograms.get(name)) for name, seen in ranges.items()}
    for statistics in (tensors, channels):
        tell_relus(folded, statistics)
    return Calibration(folded.digest(), len(images), tensors, channels)


def tell_relus(network: FloatNetwork, statistics: dict[str, Statistics]) -> None:
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


@dataclass(frozen=True, eq=False)
class _Range:
    """What the first pass sees of one tensor [n, c, h, w]; arrays are [c], and batches add up."""

    minimum: FloatArray
    maximum: FloatArray
    count: int
    sums: FloatArray

    def __add__(self, other: _Range) -> _Range:
        return _Range(
            np.minimum(self.minimum, other.minimum),
            np.maximum(self.maximum, other.maximum),
            self.count + other.count,
            self.sums + other.sums,
        )

    @property
    def mean(self) -> float:
        return float(self.sums.sum()) / (self.count * self.sums.size)

    @property
    def peaks(self) -> FloatArray:
        """max |x| of each channel."""
        return np.maximum(np.abs(self.minimum), np.abs(self.maximum))


def _range(name: str, values: FloatArray) -> _Range:
    low, high = values.min(axis=_WITHIN_CHANNEL), values.max(axis=_WITHIN_CHANNEL)
    if not (np.isfinite(low) & np.isfinite(high)).all():
        raise HwsimError(
            f'tensor "{name}" is not finite on the calibration images; check the weights before it'
        )
    return _Range(low, high, values.size // values.shape[1], values.sum(axis=_WITHIN_CHANNEL))


class _Histograms:
    """Histograms of one tensor and of its channels, filled by all threads: counts add up in any order."""

    def __init__(self, seen: _Range) -> None:
        peaks = seen.peaks
        self.width = (peaks.max() or 1.0) / BINS
        self.channel_width = np.where(peaks > 0, peaks, 1.0) / CHANNEL_BINS
        # The peak itself falls behind the last bin until the end.
        self.tensor = np.zeros(BINS + 1, np.int64)
        self.channels = np.zeros((peaks.size, CHANNEL_BINS + 1), np.int64)
        self.lock = threading.Lock()

    def add(self, part: FloatArray, first: int, scratch: FloatArray) -> None:
        """Count the magnitudes of ``part`` [n, channels, places], zeros left out; its channels are those from ``first``."""
        count = part.shape[1]
        zeros = (part == 0).sum(axis=(0, 2))
        bins = np.abs(np.divide(part, self.width, out=scratch).astype(np.int32))
        found = np.bincount(bins.ravel(), minlength=BINS + 1)
        widths = self.channel_width[first : first + count, None]
        bins = np.abs(np.divide(part, widths, out=scratch).astype(np.int32))
        bins += (np.arange(count, dtype=np.int32) * (CHANNEL_BINS + 1))[:, None]
        by_channel = np.bincount(bins.ravel(), minlength=count * (CHANNEL_BINS + 1))
        with self.lock:
            self.tensor += found
            self.tensor[0] -= zeros.sum()
            self.channels[first : first + count] += by_channel.reshape(count, -1)
            self.channels[first : first + count, 0] -= zeros


@dataclass(frozen=True, eq=False)
class _Spread:
    """What the second pass sees of one tensor besides its histograms; batches add up."""

    deviations: float
    channel_deviations: FloatArray
    channel_squares: FloatArray

    def __add__(self, other: _Spread) -> _Spread:
        return _Spread(
            self.deviations + other.deviations,
            self.channel_deviations + other.channel_deviations,
            self.channel_squares + other.channel_squares,
        )


def _spread(values: FloatArray, seen: _Range, histograms: _Histograms | None) -> _Spread:
    """Return the spread about the means of the first pass, as many channels at a time as fit the cache."""
    planes = values.reshape(*values.shape[:2], -1)
    count, channels, places = planes.shape
    step = max(1, CHUNK // (count * places))
    means = seen.sums[:, None] / seen.count
    deviations, by_channel, squares = 0.0, np.empty(channels), np.empty(channels)
    for first in range(0, channels, step):
        part, here = planes[:, first : first + step], slice(first, first + step)
        scratch = np.empty(part.shape)
        deviations += float(np.abs(np.subtract(part, seen.mean, out=scratch), out=scratch).sum())
        np.abs(np.subtract(part, means[here], out=scratch), out=scratch)
        by_channel[here] = scratch.sum(axis=(0, 2))
        squares[here] = np.square(scratch, out=scratch).sum(axis=(0, 2))
        if histograms is not None:
            histograms.add(part, first, scratch)
    return _Spread(deviations, by_channel, squares)


def _tensor(seen: _Range, spread: _Spread, histograms: _Histograms | None) -> Statistics:
    count = seen.count * seen.sums.size
    # Steiner: the squares about the tensor's mean are those about the channels' and those of the channels' means.
    between = np.square(seen.sums / seen.count - seen.mean).sum() * seen.count
    return Statistics(
        count=count,
        minimum=seen.minimum.min(),
        maximum=seen.maximum.max(),
        mean=np.array(seen.mean),
        deviation=np.array(spread.deviations / count),
        std=np.array(np.sqrt((spread.channel_squares.sum() + between) / count)),
        histogram=None if histograms is None else _with_peak(histograms.tensor),
    )


def _channels(seen: _Range, spread: _Spread, histograms: _Histograms | None) -> Statistics:
    return Statistics(
        count=seen.count,
        minimum=seen.minimum,
        maximum=seen.maximum,
        mean=seen.sums / seen.count,
        deviation=spread.channel_deviations / seen.count,
        std=np.sqrt(spread.channel_squares / seen.count),
        histogram=None if histograms is None else _with_peak(histograms.channels),
    )


def _with_peak(counts: IntArray) -> IntArray:
    """Return a histogram whose last bin holds the peak."""
    counts[..., -2] += counts[..., -1]
    return counts[..., :-1]


class Summable(Protocol):
    """What batches add up to."""

    def __add__(self, other: Self, /) -> Self: ...


Seen = TypeVar("Seen", bound=Summable)


def sweep(
    network: FloatNetwork,
    images: ImageSequence,
    batch: int,
    see: Callable[[str, FloatArray], Seen],
    progress: Callable[[int], None],
) -> dict[str, Seen]:
    """Return for every tensor the sum of what ``see`` makes of its values in each batch."""
    # torch is loaded where a network runs: what only quantizes with a given calibration does without it.
    from hwsim.models.forward import run, single_threaded

    def work(start: int) -> dict[str, Seen]:
        seen: dict[str, Seen] = {}
        part = images[start : start + batch]
        run(network, network.preprocessing.apply(part), lambda name, x: seen.update({name: see(name, x)}))
        return seen

    total: dict[str, Seen] = {}
    starts = range(0, len(images), batch)
    with single_threaded() as pool:
        for start, seen in zip(starts, pool.map(work, starts), strict=True):
            total = {name: total[name] + one if total else one for name, one in seen.items()}
            progress(min(start + batch, len(images)))
    return total
