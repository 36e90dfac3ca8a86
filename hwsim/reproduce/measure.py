"""One network's accuracy from its circuits, its fake-quantized predictions beside them, kept once measured."""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwsim import cache
from hwsim.data import Split
from hwsim.errors import HwsimError
from hwsim.explore.bench import COMPARED_IMAGES
from hwsim.formats import IntArray
from hwsim.network import FloatNetwork, QuantizedNetwork
from hwsim.reproduce.fake import FakeQuantized
from hwsim.simulate.circuits import Circuits
from hwsim.simulate.inference import compute_layer, images_per_batch, measure_accuracy, wilson

Progress = Callable[[int, int], None]

_COMPARED_MACS = 4_000_000_000
"""Multiply-accumulates of the images on which circuits are compared with arithmetic at every output and overflow."""

MEASURE = 1
"""Raised whenever a measurement of an unchanged network would change: what was kept is then not recalled."""


@dataclass(frozen=True, eq=False)
class Measured:
    """Which images a network classifies correctly, [images] booleans, and what it took.

    ``fake`` is the same of its fake-quantized form and ``differing`` counts the images they classify differently;
    ``overflowed`` of ``sums`` left an accumulator's range, by layer. A float network has neither.
    """

    correct: npt.NDArray[np.bool_]
    seconds: float
    fake: npt.NDArray[np.bool_] | None = None
    differing: int = 0
    sums: Mapping[str, int] | None = None
    overflowed: Mapping[str, int] | None = None

    @property
    def images(self) -> int:
        return len(self.correct)

    @property
    def percent(self) -> float:
        return 100 * float(self.correct.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """95% Wilson score interval of the percentage."""
        return wilson(int(self.correct.sum()), self.images)


def measure(
    network: QuantizedNetwork, test: Split, *, progress: Progress = lambda done, planned: None
) -> Measured:
    """Return what a network's circuits make of a split, and its fake-quantized form.

    Raises :class:`HwsimError` where circuits and arithmetic differ on the first images. What was measured is
    kept in the user's cache folder under the network's and the images' digests.
    """
    key = _key("circuits", network.digest(), test.digest())
    kept = _recall(key)
    if kept is not None:
        return kept
    circuits = Circuits(network, threads=os.cpu_count() or 1)
    began = time.perf_counter()
    found = measure_accuracy(
        network,
        test.images,
        test.labels,
        compute=circuits.compute,
        against=compute_layer,
        compared=_compared(network),
        progress=progress,
    )
    if found.difference is not None:
        raise HwsimError(f'circuit and arithmetic differ in network "{network.name}": {found.difference}')
    seconds = round(time.perf_counter() - began, 1)
    classes, faked = np.array(found.classes), _fake_classes(network, test)
    measured = Measured(
        classes == test.labels,
        seconds,
        faked == test.labels,
        int((classes != faked).sum()),
        {layer.layer: layer.sums for layer in found.overflows},
        {layer.layer: layer.overflowed for layer in found.overflows},
    )
    _remember(key, measured)
    return measured


def _compared(network: QuantizedNetwork) -> int:
    """Return on how many images circuits are compared with arithmetic: a few seconds' worth of a large network."""
    macs = sum(item.layer.macs for item in network.layers)
    return min(COMPARED_IMAGES, max(1, _COMPARED_MACS // macs))


def _fake_classes(network: QuantizedNetwork, test: Split) -> IntArray:
    fake, batch = FakeQuantized(network), images_per_batch(network)
    starts = range(0, len(test), batch)
    return np.concatenate([fake.logits(test.images[k : k + batch]).argmax(axis=1) for k in starts])


def measure_float(
    network: FloatNetwork, test: Split, *, progress: Progress = lambda done, planned: None
) -> Measured:
    """Return what a float network makes of a split, in float64."""
    from hwsim.models.forward import predict

    key = _key("float", network.digest(), test.digest())
    kept = _recall(key)
    if kept is not None:
        return kept
    began, parts, batch = time.perf_counter(), list[IntArray](), 100
    for start in range(0, len(test), batch):
        parts.append(predict(network, test.part(slice(start, start + batch)), batch))
        progress(min(start + batch, len(test)), len(test))
    measured = Measured(np.concatenate(parts) == test.labels, round(time.perf_counter() - began, 1))
    _remember(key, measured)
    return measured


@dataclass(frozen=True)
class Gain:
    """How many points more of the same images one measurement gets right than another, with its 95% interval.

    Of paired samples: only images that one gets right and the other wrong count (McNemar, Psychometrika 12:153,
    1947), the interval that of the difference of two paired proportions.
    """

    points: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Whether a gain is confirmed, refuted, or not decided by these images."""
        return "confirmed" if self.low > 0 else "refuted" if self.high < 0 else "undecided"

    def __str__(self) -> str:
        return f"{self.points:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def gain(of: Measured, over: Measured) -> Gain:
    """Return by how much the first is better than the second, over the same images."""
    if of.images != over.images:
        raise HwsimError(f"{of.images} and {over.images} images cannot be compared in pairs; take the same")
    n = of.images
    won, lost = int((of.correct & ~over.correct).sum()), int((over.correct & ~of.correct).sum())
    half = 1.959963984540054 * (won + lost - (won - lost) ** 2 / n) ** 0.5 / n
    mean = (won - lost) / n
    return Gain(100 * mean, 100 * (mean - half), 100 * (mean + half))


def _key(*parts: str) -> str:
    return hashlib.sha256(json.dumps([MEASURE, *parts]).encode()).hexdigest() + ".npz"


def _remember(key: str, measured: Measured) -> None:
    facts = {
        "seconds": measured.seconds,
        "differing": measured.differing,
        "sums": measured.sums,
        "overflowed": measured.overflowed,
    }
    arrays = {"correct": measured.correct, "facts": np.frombuffer(json.dumps(facts).encode(), np.uint8)}
    if measured.fake is not None:
        arrays["fake"] = measured.fake
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    cache.remember(buffer.getvalue(), "measured", key)


def _recall(key: str) -> Measured | None:
    kept = cache.recall("measured", key)
    if kept is None:
        return None
    with np.load(io.BytesIO(kept), allow_pickle=False) as arrays:
        facts = json.loads(arrays["facts"].tobytes())
        return Measured(arrays["correct"], fake=arrays.get("fake"), **facts)
