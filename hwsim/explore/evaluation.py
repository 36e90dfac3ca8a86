"""One result row: a design point and everything measured at it; and the metrics read from it."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hwsim.cost.hardware import Part as Part
from hwsim.explore.front import nondominated
from hwsim.simulate.inference import wilson

EVALUATOR_VERSION = 3
"""Raised whenever a measured value of an unchanged design point would change: old results are then not reused."""


class Shared(NamedTuple):
    """What all layers of a design share; array and buffers are "" where the study chooses none."""

    datapath: str
    quantizer: str
    array: str
    buffers: str


Layers = tuple[tuple[str, tuple[str, ...]], ...]
"""The texts that each layer may have, in network order."""


@dataclass(frozen=True)
class DesignPoint:
    """One choice in a study's space: each layer's bits, the datapath that runs them and the quantizer.

    ``bits`` holds (layer name, LayerBits text) in network order; ``quantizer`` is the text of the
    quantizer's settings. ``coders`` is the coder of each layer's weights, where the study chooses one; without it the
    file is in Huffman code and the weights that move are packed. ``array`` and ``buffers`` are the texts of the array that
    layers run on and of its memories, where the study chooses them. ``layer_quantizers`` has what differs from the quantizer
    for each layer, where the study lets layers choose.
    """

    bits: tuple[tuple[str, str], ...]
    datapath: str
    quantizer: str
    coders: tuple[str, ...] = ()
    array: str = ""
    buffers: str = ""
    layer_quantizers: tuple[str, ...] = ()

    @property
    def shared(self) -> Shared:
        """What all of its layers share."""
        return Shared(self.datapath, self.quantizer, self.array, self.buffers)

    @property
    def coder_of(self) -> dict[str, str]:
        """The coder of each layer that has one, by name."""
        named = zip((name for name, _ in self.bits), self.coders, strict=False)
        return {name: coder for name, coder in named if coder}

    @property
    def hardware(self) -> str:
        """The datapath, and behind it array and buffers where the study chooses them."""
        return " ".join(filter(None, (self.datapath, self.array, self.buffers)))

    def key(self) -> str:
        """Return 16 hexadecimal digits that identify the point, equal on every machine."""
        return hashlib.blake2b(json.dumps(plain(self)).encode(), digest_size=8).hexdigest()

    def label(self) -> str:
        """Return the point in a few words: the bits if all layers agree, else how many layers have which."""
        counts: dict[str, int] = {}
        for text in point_texts(self):
            counts[text] = counts.get(text, 0) + 1
        parts = [text if count == len(self.bits) else f"{count}x {text}" for text, count in counts.items()]
        return f"{', '.join(parts)}; {self.hardware}; {self.quantizer}"


@dataclass(frozen=True)
class LayerResult:
    """What one layer of the integer network costs per image, and what its accumulators did on the split.

    Sizes are bytes per image (``file_bytes``: of the compressed weight file). ``overflowed`` counts sums
    that left the accumulator's range on the way, of ``sums``. ``energy_pj`` is the energy of an image by where it goes,
    ``array_cycles`` what an image takes on the design's array, where the study asks for them; ``own_quantizer`` what differs
    from the design's quantizer.
    """

    name: str
    kind: str
    bits: str
    output: str
    macs: int
    weights: int
    parts: tuple[Part, ...]
    weight_bytes: int
    input_bytes: int
    output_bytes: int
    file_bytes: int
    sums: int
    overflowed: int
    energy_pj: dict[str, float] | None = None
    array_cycles: int = 0
    own_quantizer: str = ""


@dataclass(frozen=True)
class ArrayResult:
    """The one array that the layers of a design run on after each other, where the study asks for it.

    ``buffers_bytes`` are its buffers, the outer one first, ``buffers_um2`` their area; ``elements`` are its circuits
    (:mod:`hwsim.cost.shared_array`). Elements and area are there where the study names a metric of :data:`OF_ELEMENTS`.
    """

    clock_mhz: float
    buffers_bytes: tuple[int, ...]
    elements: tuple[Part, ...] = ()
    buffers_um2: float = 0.0


@dataclass(frozen=True)
class Evaluation:
    """A design point with everything measured at it; the order of evaluation is ``index``.

    The accuracy is that of the compiled circuits, which took ``circuit_cycles`` clock cycles for every output of
    every image; on the first ``compared_images`` they were compared with exact arithmetic at every output and
    overflow. A point whose circuits differ is no evaluation but an error. ``right`` says which images were right, as
    :func:`marks` writes them; "" where that was not kept.
    """

    index: int
    point: DesignPoint
    correct: int
    images: int
    float_correct: int
    float32_bytes: int
    file_bytes: int
    images_per_second: float
    layers: tuple[LayerResult, ...]
    circuit_cycles: int = 0
    compared_images: int = 0
    right: str = ""
    array: ArrayResult | None = None

    @property
    def frame_bytes(self) -> int:
        """Bytes of the compressed file that are no layer's."""
        return self.file_bytes - sum(layer.file_bytes for layer in self.layers)

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of the accuracy in percent."""
        return wilson(self.correct, self.images)

    @property
    def parts(self) -> Iterator[tuple[str, Part]]:
        """Every circuit with its layer's name, those of an array behind all others."""
        yield from ((layer.name, part) for layer in self.layers for part in layer.parts)
        yield from (("array", part) for part in (self.array.elements if self.array else ()))

    def to_json(self) -> dict[str, Any]:
        return plain(self)


def marks(right: npt.NDArray[np.bool_]) -> str:
    """Return marks [images] as hexadecimal digits, four images each, the first image in the highest bit of the first.

    >>> marks(np.array([True, False, True, True, True]))
    'b8'
    """
    return np.packbits(right).tobytes().hex()[: -(-len(right) // 4)]


def marked(text: str, images: int) -> npt.NDArray[np.bool_]:
    """Return the marks that :func:`marks` wrote, [images].

    >>> marked("b8", 5).tolist()
    [True, False, True, True, True]
    """
    packed = np.frombuffer(bytes.fromhex(text + "0" * (len(text) % 2)), np.uint8)
    return np.unpackbits(packed)[:images].astype(np.bool_)


class Choice(NamedTuple):
    """What one layer chooses: its bits and, where the study lets it choose them, a coder and a quantizer of its own.

    The text is what a search's space holds.

    >>> Choice.parse("int4*uint8/int16 huffman weights=mse")
    Choice(bits='int4*uint8/int16', coder='huffman', quantizer='weights=mse')
    """

    bits: str
    coder: str = ""
    quantizer: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, self))

    @classmethod
    @functools.cache  # a search parses the same few texts for every point
    def parse(cls, text: str) -> Choice:
        """Return the choice that a text names."""
        bits, *words = text.split()
        coder = words.pop(0) if words and "=" not in words[0] else ""
        return cls(bits, coder, " ".join(words))


def point_texts(point: DesignPoint) -> list[str]:
    """Return what each layer of a point chooses."""
    none = ("",) * len(point.bits)
    columns = (bits for _, bits in point.bits), point.coders or none, point.layer_quantizers or none
    return [str(Choice(*row)) for row in zip(*columns, strict=True)]


def plain(value: Any) -> dict[str, Any]:
    """Return a dataclass as plain data, without what only some studies ask for where it is empty."""
    return asdict(value, dict_factory=_without_what_is_not_asked_for)


_ASKED_FOR = {
    "energy_pj",
    "array",
    "array_cycles",
    "buffers",
    "buffers_um2",
    "elements",
    "energies",
    "right",
    "coders",
    "layer_quantizers",
    "own_quantizer",
}
"""Fields that some results have not: no energy objective, array, coders or quantizers of layers, images not kept; then they
are not written."""


def _without_what_is_not_asked_for(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in fields if value or name not in _ASKED_FOR}


@dataclass(frozen=True)
class Metric:
    """A figure of an evaluation: its name, unit, whether "lower" or "higher" is better, and how it is read."""

    name: str
    unit: str
    better: str
    of: Callable[[Evaluation], float]
    title: str

    def cost(self, evaluation: Evaluation) -> float:
        """Return the figure with lower always better: what searches and fronts compare."""
        value = self.of(evaluation)
        return value if self.better == "lower" else -value


def _gates(evaluation: Evaluation) -> float:
    return sum(part.count * part.nand2_equivalents for layer in evaluation.layers for part in layer.parts)


def _flip_flops(evaluation: Evaluation) -> float:
    return sum(part.count * part.flip_flops for layer in evaluation.layers for part in layer.parts)


def _area(evaluation: Evaluation) -> float:
    return (
        sum(part.count * (part.area_um2 or 0.0) for layer in evaluation.layers for part in layer.parts) / 1e6
    )


def _critical_path(evaluation: Evaluation) -> float:
    return max(
        (part.critical_path_ps or 0.0 for layer in evaluation.layers for part in layer.parts), default=0.0
    )


def traffic_bytes(evaluation: Evaluation) -> int:
    """Return the bytes read and written per image."""
    return sum(layer.weight_bytes + layer.input_bytes + layer.output_bytes for layer in evaluation.layers)


def _overflow_rate(evaluation: Evaluation) -> float:
    sums = sum(layer.sums for layer in evaluation.layers)
    return 1e6 * sum(layer.overflowed for layer in evaluation.layers) / max(sums, 1)


def _energy(evaluation: Evaluation) -> float:
    return sum(sum((layer.energy_pj or {}).values()) for layer in evaluation.layers) / 1e6


def _latency(evaluation: Evaluation) -> float:
    if evaluation.array is None:
        return 0.0
    return sum(layer.array_cycles for layer in evaluation.layers) / evaluation.array.clock_mhz


def _buffer_bytes(evaluation: Evaluation) -> int:
    return sum(evaluation.array.buffers_bytes) if evaluation.array else 0


def _array_gates(evaluation: Evaluation) -> float:
    elements = evaluation.array.elements if evaluation.array else ()
    return sum(part.count * part.nand2_equivalents for part in elements)


def _array_area(evaluation: Evaluation) -> float:
    if evaluation.array is None:
        return 0.0
    elements = sum(part.count * (part.area_um2 or 0.0) for part in evaluation.array.elements)
    return (elements + evaluation.array.buffers_um2) / 1e6


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "accuracy_loss",
            "points",
            "lower",
            lambda e: 100 * (e.float_correct - e.correct) / e.images,
            "Top-1 accuracy lost against the float network, percentage points on the test split",
        ),
        Metric(
            "gates",
            "NAND2",
            "lower",
            _gates,
            "Logic gates of all circuits, NAND2 equivalents, flip-flops included",
        ),
        Metric(
            "bandwidth",
            "MB/s",
            "lower",
            lambda e: traffic_bytes(e) * e.images_per_second / 1e6,
            "Memory traffic at the study's throughput",
        ),
        Metric(
            "compression_ratio",
            "x",
            "higher",
            lambda e: e.float32_bytes / e.file_bytes,
            "Float32 bytes of the parameters over the bytes of the compressed file",
        ),
        Metric(
            "accuracy",
            "%",
            "higher",
            lambda e: 100 * e.correct / e.images,
            "Top-1 accuracy on the test split",
        ),
        Metric("flip_flops", "bits", "lower", _flip_flops, "Flip-flops of all circuits"),
        Metric("area", "mm2", "lower", _area, "Cell area of all circuits"),
        Metric("critical_path", "ps", "lower", _critical_path, "Slowest circuit's critical path"),
        Metric("file_bytes", "bytes", "lower", lambda e: e.file_bytes, "Compressed file"),
        Metric(
            "overflow_rate", "ppm", "lower", _overflow_rate, "Sums that overflowed on the way, per million"
        ),
        Metric(
            "energy",
            "uJ",
            "lower",
            _energy,
            "Energy of an image: circuits on its operands, registers, buffers and DRAM; as an objective only",
        ),
        Metric(
            "latency",
            "us",
            "lower",
            _latency,
            "Time of an image on the array, layer after layer, at the clock",
        ),
        Metric("buffer_bytes", "bytes", "lower", _buffer_bytes, "On-chip buffers of the array"),
        Metric(
            "array_gates",
            "NAND2",
            "lower",
            _array_gates,
            "Logic gates of the one array that all layers run on, its elements as wide as the widest of them",
        ),
        Metric("array_area", "mm2", "lower", _array_area, "Cell area of that array and area of its buffers"),
    )
}


LOSSES = ("accuracy_loss", "accuracy")
"""Metrics of what a network still gets right, which searches believe before they are measured."""

MEASURED_ALONE = ("overflow_rate",)
"""Metrics that nothing tells before they are measured; all others but the losses follow from prices, energy nearly."""

OF_ELEMENTS = ("array_gates", "array_area")
"""Metrics of an array's circuits: measured where the study names one of them."""

OF_AN_ARRAY = ("latency", "buffer_bytes", *OF_ELEMENTS)
"""Metrics of the array that all layers run on: measured where the study asks for one of them or chooses its array."""

_MEASURED: dict[str, Callable[[Evaluation], bool]] = {
    "energy": lambda e: any(layer.energy_pj is not None for layer in e.layers),
    "latency": lambda e: any(layer.array_cycles for layer in e.layers),
    "buffer_bytes": lambda e: e.array is not None,
    **dict.fromkeys(OF_ELEMENTS, lambda e: bool(e.array and e.array.elements)),
}
"""Whether an evaluation has a figure that only some studies ask for."""


def known_metrics(evaluations: Iterable[Evaluation]) -> dict[str, Metric]:
    """Return the metrics that all evaluations have a figure of: some are measured where a study asks for them."""
    listed = list(evaluations)
    lacking = {name for name, known in _MEASURED.items() if not listed or not all(map(known, listed))}
    return {name: metric for name, metric in METRICS.items() if name not in lacking}


def dominates(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    """Return whether costs ``first`` are nowhere higher and somewhere lower than ``second``.

    >>> dominates((1, 2), (1, 3)), dominates((1, 2), (1, 2))
    (True, False)
    """
    return first != second and all(a <= b for a, b in zip(first, second, strict=True))


def pareto_front(evaluations: list[Evaluation], objectives: tuple[str, ...]) -> list[Evaluation]:
    """Return the evaluations no other dominates, in order; of equal costs the first one stays."""
    return [evaluations[place] for place in nondominated(costs_of(evaluations, objectives))]


def costs_of(evaluations: Iterable[Evaluation], objectives: tuple[str, ...]) -> npt.NDArray[np.float64]:
    """Return what evaluations cost, [evaluations, objectives], lower always better."""
    costs = [[METRICS[name].cost(e) for name in objectives] for e in evaluations]
    return np.array(costs, np.float64).reshape(-1, len(objectives))
