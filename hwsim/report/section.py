"""What the page shows of one point of the front."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from markupsafe import Markup

from hwsim.cost.hardware import Part
from hwsim.cost.memory.hierarchy import Array
from hwsim.explore.clock import slowest_element
from hwsim.explore.evaluation import LayerResult
from hwsim.explore.explanation import Explanation, Step
from hwsim.report import wording
from hwsim.report.explained import Dominance, dominances
from hwsim.report.histograms import Histogram, histograms
from hwsim.report.svg import bar, spark
from hwsim.report.tradeoffs import Row

if TYPE_CHECKING:
    from hwsim.report import ArrayFacts

PARTS = (
    "mac",
    "resolve",
    "input_sum",
    "requantize",
    "requantize_sums",
    "add",
    "max_pool",
    "average_pool",
    "unpack",
    "huffman_decode",
    "bitmap_decode",
    "run_length_decode",
)
ENERGY = (
    "switching",
    "glitches",
    "flip_flops",
    "clock",
    "leakage",
    "registers",
    "DRAM",
    "buffer",
    "outer_buffer",
    "inner_buffer",
)
OTHER = "other"
TRAFFIC = ("weights", "inputs", "outputs")
Sizes = list[tuple[str, float]]


@dataclass(frozen=True)
class Stack:
    """Sizes by name, in their fixed order: a bar and the words for it."""

    sizes: tuple[tuple[str, float], ...]
    bar: Markup

    @property
    def total(self) -> float:
        return sum(size for _, size in self.sizes)

    @property
    def words(self) -> str:
        return ", ".join(
            f"{name.replace('_', ' ')} {wording.number(size)}" for name, size in self.sizes if size
        )


@dataclass(frozen=True)
class LayerRow:
    """A layer as a section shows it; ``widths`` are (bits, text) of weight, activation and accumulator.

    ``chosen`` are the coder and the quantizer that it has for itself.
    """

    result: LayerResult
    chosen: tuple[str, ...]
    widths: tuple[tuple[int, str], ...]
    gates: Stack
    traffic: Stack
    energy: Stack
    safe_bits: int
    array_cycles: int

    @property
    def safe(self) -> bool:
        """Whether no input overflows the accumulator."""
        return self.safe_bits <= self.widths[2][0]

    @property
    def intensity(self) -> float:
        """Multiply-accumulates for each byte of its traffic."""
        return self.result.macs / self.traffic.total if self.traffic.total else 0.0

    def used(self, array: ArrayFacts) -> float:
        """What the layer does of what the array's elements could do in its cycles, in percent."""
        return 100 * self.result.macs / (self.array_cycles * array.rows * array.columns)

    def bus(self, array: ArrayFacts) -> float:
        """How long the layer's traffic takes the bus to DRAM, in percent of its cycles."""
        return 100 * 8 * self.traffic.total / array.bus_bits / self.array_cycles


STEPS = (("weight", -1), ("weight", 1), ("activation", -1), ("activation", 1), ("accumulator", 1))
"""The changes that a section shows of each layer, in their order."""


@dataclass(frozen=True)
class LayerSteps:
    """What each of :data:`STEPS` changes in one layer, None where its format has no room for it."""

    layer: str
    steps: tuple[Step | None, ...]


@dataclass(frozen=True)
class Section:
    """A front point as its section shows it."""

    row: Row
    spark: Markup
    layers: tuple[LayerRow, ...]
    gates: tuple[tuple[str, float], ...]
    traffic: tuple[tuple[str, float], ...]
    energy: tuple[tuple[str, float], ...]
    dominances: tuple[Dominance, ...]
    overflowed: int
    sums: int
    unproved: tuple[tuple[str, str], ...]
    proved: int
    steps: tuple[LayerSteps, ...]
    histograms: tuple[Histogram, ...]
    array_cycles: Mapping[str, int]
    array: ArrayFacts | None
    slow: Part | None

    @property
    def certified(self) -> tuple[int, int] | None:
        """How many layers' accumulators no input overflows, of how many that are certified; None where none is."""
        known = [layer for layer in self.layers if layer.safe_bits and layer.widths]
        return (sum(layer.safe for layer in known), len(known)) if known else None


def sections(
    front: Sequence[Row], explanations: Mapping[str, Explanation], array: ArrayFacts | None = None
) -> list[Section]:
    """Return the sections of the front's points; bars of one kind are out of the largest layer of them all.

    ``array`` is that of the study, in which a point may have chosen another size.
    """
    layers = [layer for row in front for layer in row.evaluation.layers]
    longest = [
        max([1.0, *(sum(size for _, size in kind(layer)) for layer in layers)])
        for kind in (layer_gates, layer_traffic, layer_energy)
    ]
    nothing = Explanation((), (), {})
    return [_section(row, explanations.get(row.key, nothing), array, *longest) for row in front]


def _section(
    row: Row,
    explanation: Explanation,
    array: ArrayFacts | None,
    most_gates: float,
    most_traffic: float,
    most_energy: float,
) -> Section:
    layers = row.evaluation.layers
    if array is not None and row.evaluation.point.array:
        chosen = Array.parse(row.evaluation.point.array)
        array = replace(array, rows=chosen.rows, columns=chosen.columns)
    coders = row.evaluation.point.coder_of
    circuits = {(name, part.part, part.circuit): part.equivalent for name, part in row.evaluation.parts}
    return Section(
        row,
        spark([bits for bits in map(bit_widths, (layer.bits for layer in layers)) if bits]),
        tuple(
            LayerRow(
                layer,
                tuple(filter(None, (coders.get(layer.name), layer.own_quantizer))),
                _widths(layer),
                _stack(layer_gates(layer), most_gates),
                _stack(layer_traffic(layer), most_traffic),
                _stack(layer_energy(layer), most_energy),
                explanation.safe_bits.get(layer.name, 0),
                explanation.array_cycles.get(layer.name, 0),
            )
            for layer in layers
        ),
        _summed(layer_gates, layers),
        _summed(layer_traffic, layers),
        _summed(layer_energy, layers),
        tuple(dominances(row.evaluation)),
        sum(layer.overflowed for layer in layers),
        sum(layer.sums for layer in layers),
        tuple((layer, circuit) for (layer, _, circuit), proved in circuits.items() if not proved),
        len({circuit for (_, _, circuit), proved in circuits.items() if proved}),
        tuple(_steps(explanation.steps)),
        tuple(histograms(explanation.weights, {layer.name: layer.bits for layer in layers})),
        explanation.array_cycles,
        array,
        slowest_element(row.evaluation) if array or row.evaluation.array else None,
    )


def _steps(steps: Sequence[Step]) -> Iterator[LayerSteps]:
    found = {(step.layer, step.what, step.by): step for step in steps}
    for name in dict.fromkeys(step.layer for step in steps):
        yield LayerSteps(name, tuple(found.get((name, *change)) for change in STEPS))


def _stack(sizes: Sizes, longest: float) -> Stack:
    return Stack(tuple(sizes), bar(sizes, longest))


def bit_widths(text: str) -> tuple[int, ...]:
    """Return the bits of weight, activation and accumulator that a layer's text names; () where it names none.

    >>> bit_widths("int4*uint8/int16"), bit_widths("")
    ((4, 8, 16), ())
    """
    bits = wording.layer_bits(text)
    return () if bits is None else (bits.weight.bits, bits.activation.bits, bits.accumulator.bits)


def _widths(layer: LayerResult) -> tuple[tuple[int, str], ...]:
    bits = wording.layer_bits(layer.bits)
    if bits is None:
        return ()
    tail = "" if bits.overflow == "wrap" else " sat"
    texts = (str(bits.weight), str(bits.activation), f"{bits.accumulator}{tail}")
    return tuple(zip(bit_widths(layer.bits), texts, strict=True))


def layer_gates(layer: LayerResult) -> Sizes:
    """Return the gates of each part of a layer, in the parts' order."""
    sizes = dict.fromkeys((*PARTS, OTHER), 0.0)
    for part in layer.parts:
        sizes[part.part if part.part in PARTS else OTHER] += part.count * part.nand2_equivalents
    return list(sizes.items())


def layer_traffic(layer: LayerResult) -> Sizes:
    """Return the bytes per image of each kind that a layer moves."""
    return list(zip(TRAFFIC, (layer.weight_bytes, layer.input_bytes, layer.output_bytes), strict=True))


def layer_energy(layer: LayerResult) -> Sizes:
    """Return where the energy of a layer goes, in nJ an image; nothing where it was not measured."""
    sizes = dict.fromkeys((*ENERGY, OTHER), 0.0)
    for name, size in (layer.energy_pj or {}).items():
        known = name.replace(" ", "_")
        sizes[known if known in ENERGY else OTHER] += size / 1e3
    return list(sizes.items())


def _summed(
    kind: Callable[[LayerResult], Sizes], layers: Sequence[LayerResult]
) -> tuple[tuple[str, float], ...]:
    """Return the sizes of one kind over all layers, without what is nowhere."""
    sizes: dict[str, float] = {}
    for layer in layers:
        for name, size in kind(layer):
            sizes[name] = sizes.get(name, 0.0) + size
    return tuple((name, size) for name, size in sizes.items() if size)
