"""The layers of a design under the roof of its memory: work for each byte against work a second."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hwsim.explore.evaluation import Evaluation
from hwsim.report.section import layer_traffic
from hwsim.report.wording import number

WIDTH, HEIGHT, LEFT, BOTTOM = 560.0, 250.0, 60.0, 205.0


@dataclass(frozen=True)
class Dot:
    """A layer's place, in units of the drawing; ``share`` is what it takes of the design's traffic, in percent."""

    layer: str
    x: float
    y: float
    share: float
    words: str


@dataclass(frozen=True)
class Tick:
    """A place along an axis and what stands there."""

    at: float
    words: str


@dataclass(frozen=True)
class Roofline:
    """Layers by multiply-accumulates a byte and a second, both axes logarithmic, under the design's bandwidth.

    A layer on the roof, from (``roof[0]``, ``roof[1]``) to (``roof[2]``, ``roof[3]``), would take all of the design's
    traffic, one at a tenth of its height a tenth. Source: S. Williams, A. Waterman, D. Patterson, "Roofline: an
    insightful visual performance model for multicore architectures", Communications of the ACM 52, 2009.
    """

    dots: tuple[Dot, ...]
    named: tuple[Dot, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    roof: tuple[float, float, float, float]


def roofline(evaluation: Evaluation) -> Roofline | None:
    """Return the roofline of a design's layers that multiply; None where fewer than two do."""
    moved = {layer.name: sum(size for _, size in layer_traffic(layer)) for layer in evaluation.layers}
    layers = [layer for layer in evaluation.layers if layer.macs and moved[layer.name]]
    if len(layers) < 2:
        return None
    pace, total = evaluation.images_per_second, sum(moved.values())
    found = [(layer, layer.macs / moved[layer.name], layer.macs * pace) for layer in layers]
    intensities = [intensity for _, intensity, _ in found]
    low, high = min(intensities) / 1.6, max(intensities) * 1.6
    rates = [rate for *_, rate in found]
    bottom, top = min(rates) / 1.8, max(*rates, total * pace * min(intensities)) * 2.5

    def x(intensity: float) -> float:
        return LEFT + (WIDTH - LEFT - 10) * math.log(intensity / low) / math.log(high / low)

    def y(rate: float) -> float:
        return BOTTOM - (BOTTOM - 8) * math.log(rate / bottom) / math.log(top / bottom)

    start, end = max(low, bottom / (total * pace)), min(high, top / (total * pace))
    dots = [
        Dot(
            layer.name,
            x(intensity),
            y(rate),
            100 * moved[layer.name] / total,
            f"{number(intensity)} MACs a byte",
        )
        for layer, intensity, rate in found
    ]
    return Roofline(
        tuple(dots),
        tuple(_named(dots)),
        tuple(Tick(x(value), number(value)) for value in _ticks(low, high)),
        tuple(Tick(y(value), number(value / 1e6)) for value in _ticks(bottom, top)),
        (x(start), y(start * total * pace), x(end), y(end * total * pace)),
    )


def _named(dots: Sequence[Dot]) -> list[Dot]:
    """Return up to three dots that take most of the traffic and whose names have room beside one another."""
    found: list[Dot] = []
    for dot in sorted(dots, key=lambda dot: -dot.share):
        if len(found) < 3 and all(abs(dot.y - other.y) > 15 or abs(dot.x - other.x) > 130 for other in found):
            found.append(dot)
    return found


def _ticks(low: float, high: float) -> Sequence[float]:
    """Return the powers of ten between two values, with 2 and 5 times those where they are fewer than three."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 2, 5)):
        ticks = [factor * 10.0**decade for decade in decades for factor in factors]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) >= 3:
            break
    return inside
