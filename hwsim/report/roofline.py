"""The layers of a design under a roof: work for each byte moved against work a second."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwsim.explore.evaluation import Evaluation
from hwsim.report.section import layer_traffic
from hwsim.report.wording import number

if TYPE_CHECKING:
    from hwsim.report import ArrayFacts

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 560.0, 250.0, 76.0, 10.0, 205.0
MOST_NAMES = 8


@dataclass(frozen=True)
class Dot:
    """A layer's place, in units of the drawing; ``share`` is what it takes of the traffic, or of the array's cycles, in
    percent."""

    layer: str
    x: float
    y: float
    share: float
    words: str

    @property
    def anchor(self) -> str:
        """Which end of its name stands at the dot."""
        return "start" if self.x < 0.6 * WIDTH else "end"

    @property
    def name_x(self) -> float:
        return self.x + (8 if self.anchor == "start" else -8)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The rectangle that the name takes: left, top, right, bottom."""
        long = 7.2 * len(self.layer)
        left = self.name_x - (0 if self.anchor == "start" else long)
        return left, self.y - 9, left + long, self.y + 7


@dataclass(frozen=True)
class Tick:
    """A place along an axis and what stands there."""

    at: float
    words: str


@dataclass(frozen=True)
class Roofline:
    """Layers by multiply-accumulates a byte and a second, both axes logarithmic, under ``roof``, a line of (x, y).

    On an array the roof is its bus up to the array's peak. Else it is the memory at the design's whole bandwidth: a layer on
    it would take all of the traffic, one at a tenth of its height a tenth. Source: S. Williams, A. Waterman, D. Patterson,
    "Roofline: an insightful visual performance model for multicore architectures", Communications of the ACM 52, 2009.
    """

    dots: tuple[Dot, ...]
    named: tuple[Dot, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    roof: tuple[tuple[float, float], ...]
    array: ArrayFacts | None


def roofline(
    evaluation: Evaluation, array: ArrayFacts | None = None, cycles: Mapping[str, int] | None = None
) -> Roofline | None:
    """Return the roofline of a design's layers that multiply; None where fewer than two do.

    With an ``array`` and its ``cycles`` by layer the rates are those of the array, else those of the study's throughput.
    """
    moved = {layer.name: sum(size for _, size in layer_traffic(layer)) for layer in evaluation.layers}
    layers = [layer for layer in evaluation.layers if layer.macs and moved[layer.name]]
    if len(layers) < 2:
        return None
    intensities = {layer.name: layer.macs / moved[layer.name] for layer in layers}
    if array is not None and cycles and all(cycles.get(layer.name) for layer in layers):
        shares = {layer.name: float(cycles[layer.name]) for layer in layers}
        rates = {layer.name: layer.macs / cycles[layer.name] * array.clock_mhz * 1e6 for layer in layers}
        slope, peak = array.bytes_per_second, array.macs_per_second
        corners = [peak / slope]
    else:
        array, shares = None, {name: moved[name] for name in intensities}
        rates = {layer.name: layer.macs * evaluation.images_per_second for layer in layers}
        slope, peak, corners = sum(moved.values()) * evaluation.images_per_second, math.inf, []
    whole = sum(shares.values()) if array is not None else sum(moved.values())
    across = _Axis([*intensities.values(), *corners], 1.6, (LEFT, WIDTH - 10))
    highest = peak if array is not None else slope * min(intensities.values())
    up = _Axis([*rates.values(), highest], 2.0, (BOTTOM, TOP))
    dots = [
        Dot(
            name,
            across.at(intensity),
            up.at(rates[name]),
            100 * shares[name] / whole,
            f"{number(intensity)} MACs a byte",
        )
        for name, intensity in intensities.items()
    ]
    turns = [max(across.low, up.low / slope), *corners, min(across.high, up.high / slope)]
    if array is not None:
        turns[-1] = across.high
    return Roofline(
        tuple(dots),
        tuple(_named(dots)),
        tuple(Tick(across.at(value), number(value)) for value in across.ticks()),
        tuple(Tick(up.at(value), number(value / 1e6)) for value in up.ticks()),
        tuple((across.at(turn), up.at(min(peak, turn * slope))) for turn in turns),
        array,
    )


class _Axis:
    """A logarithmic axis around some values, from one place to another."""

    def __init__(self, values: Sequence[float], margin: float, ends: tuple[float, float]) -> None:
        self.low, self.high, self.ends = min(values) / margin, max(values) * margin, ends

    def at(self, value: float) -> float:
        start, end = self.ends
        return start + (end - start) * math.log(value / self.low) / math.log(self.high / self.low)

    def ticks(self) -> Sequence[float]:
        """Return the powers of ten, with 2 and 5 times those where they are fewer than three."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for factors in ((1,), (1, 2, 5)):
            ticks = [factor * 10.0**decade for decade in decades for factor in factors]
            inside = [tick for tick in ticks if self.low <= tick <= self.high]
            if len(inside) >= 3:
                break
        return inside


def _named(dots: Sequence[Dot]) -> list[Dot]:
    """Return the dots that take most and whose names have room beside one another and all dots."""
    found: list[Dot] = []
    for dot in sorted(dots, key=lambda dot: -dot.share):
        left, top, right, bottom = dot.box
        free = all(
            other.x + 5 < left or other.x - 5 > right or other.y + 5 < top or other.y - 5 > bottom
            for other in dots
            if other is not dot
        )
        apart = all(
            box[2] < left or box[0] > right or box[3] < top or box[1] > bottom
            for box in (other.box for other in found)
        )
        if free and apart and len(found) < MOST_NAMES and left > LEFT - 4 and right < WIDTH:
            found.append(dot)
    return found
