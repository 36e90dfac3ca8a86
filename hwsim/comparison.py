"""Two explorations, or two design points, side by side: what differs in how they came about and in what they cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.explore.evaluation import (
    METRICS,
    Evaluation,
    LayerResult,
    Metric,
    dominates,
    known_metrics,
    marked,
    pareto_front,
)
from hwsim.report.convergence import hypervolume, scaled_costs
from hwsim.results import Results
from hwsim.simulate.inference import wilson


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same on both sides; None where a side does not have it."""

    what: str
    first: Any
    second: Any


@dataclass(frozen=True)
class Interval:
    """The second side's accuracy less the first's in percentage points, with its 95% interval.

    ``only`` are how many images the first alone and the second alone had right, where both ran the same ones; else None, and
    ``unpaired`` says why.
    """

    difference: float
    low: float
    high: float
    only: tuple[int, int] | None = None
    unpaired: str = ""

    @property
    def decided(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def accuracy_interval(first: tuple[int, int], second: tuple[int, int]) -> Interval:
    """Return the difference of two accuracies, each (correct, images), in points with its 95% interval.

    Newcombe's hybrid score interval for independent proportions. Of the same images the true interval is narrower,
    since most are right or wrong on both sides; counts alone do not say how many.

    Source: R. G. Newcombe, "Interval estimation for the difference between independent proportions: comparison of
    eleven methods", Statistics in Medicine 17, 1998, method 10.
    """
    p, q = (100 * correct / images for correct, images in (first, second))
    (p_low, p_high), (q_low, q_high) = wilson(*first), wilson(*second)
    gap = q - p
    return Interval(gap, gap - math.hypot(q - q_low, p_high - p), gap + math.hypot(q_high - q, p - p_low))


def paired_interval(both: int, first: int, second: int, neither: int) -> Interval:
    """Return the difference of two accuracies on the same images, of which ``both`` sides, one alone or ``neither`` had right.

    Newcombe's score interval for paired proportions, its correlation corrected for continuity where it is positive.

    Source: R. G. Newcombe, "Improved confidence intervals for the difference between binomial proportions based on paired
    data", Statistics in Medicine 17, 1998, 2635-2650, method 10.
    """
    images = both + first + second + neither
    rights = (both + first, both + second)
    p, q = (100 * right / images for right in rights)
    (p_low, p_high), (q_low, q_high) = (wilson(right, images) for right in rights)
    product = float(both * neither - first * second)
    spread = math.prod((*rights, *(images - right for right in rights)))
    if product > 0:
        product = max(product - images / 2, 0.0)
    phi = product / math.sqrt(spread) if spread else 0.0

    def reach(up: float, down: float) -> float:
        return math.sqrt(max(up**2 - 2 * phi * up * down + down**2, 0.0))

    gap = q - p
    only = (first, second)
    return Interval(gap, gap - reach(q - q_low, p_high - p), gap + reach(q_high - q, p - p_low), only)


def accuracies(first: Evaluation, second: Evaluation, tests: tuple[str | None, str | None]) -> Interval:
    """Return the difference of two designs' accuracies: paired where both were measured on the same test images.

    ``tests`` name the test images of the two sides, as a study's stamp does.
    """
    why = _unpaired(first, second, tests)
    if why:
        apart = accuracy_interval((first.correct, first.images), (second.correct, second.images))
        return replace(apart, unpaired=why)
    a, b = (marked(e.right, e.images) for e in (first, second))
    return paired_interval(*(int(np.sum(marks)) for marks in (a & b, a & ~b, ~a & b, ~a & ~b)))


def _unpaired(first: Evaluation, second: Evaluation, tests: tuple[str | None, str | None]) -> str:
    if tests[0] != tests[1] or first.images != second.images:
        return "the test images are others"
    sides = [side for side, e in (("first", first), ("second", second)) if not e.right]
    if sides:
        return f"the {' and the '.join(sides)} did not keep which images were right; explore again"
    return ""


@dataclass(frozen=True)
class Domination:
    """A point of one front and the points of the other that are nowhere worse and somewhere better."""

    point: str
    by: tuple[str, ...]


@dataclass(frozen=True)
class StudyComparison:
    """Two explorations: their facts, their fronts in the ``objectives`` that both have, and the points of both.

    ``volumes`` are the hypervolumes of the two fronts and of both together, on costs scaled by all of both.
    ``joint`` are how many points of each are on the front of both; equal costs count on both sides. ``same`` counts
    the design points that both evaluated, ``changed`` are those among them with other figures. ``best`` are the most accurate
    points of each front, the first of equals, and ``accuracy`` is the difference between these two.
    """

    objectives: tuple[str, ...]
    facts: tuple[Difference, ...]
    evaluated: tuple[int, int]
    fronts: tuple[int, int]
    joint: tuple[int, int]
    volumes: tuple[float, float, float]
    dominated: tuple[tuple[Domination, ...], tuple[Domination, ...]]
    same: int
    changed: tuple[str, ...]
    best: tuple[str, str]
    accuracy: Interval

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compare_studies(
    first: Results, second: Results, studies: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {})
) -> StudyComparison:
    """Return two explorations side by side; ``studies`` are their study files' tables.

    Raises :class:`HwsimError` where they have no objective in common.
    """
    objectives = tuple(name for name in first.facts.objectives if name in second.facts.objectives)
    if not objectives:
        raise HwsimError(
            f"the studies have no objective in common: {', '.join(first.facts.objectives)} and "
            f"{', '.join(second.facts.objectives)}; compare studies of the same objectives"
        )
    fronts = [pareto_front(results.evaluations, objectives) for results in (first, second)]
    costs = scaled_costs([*fronts[0], *fronts[1]], objectives)
    sizes = (len(fronts[0]), len(fronts[1]))
    parts = (costs[: sizes[0]], costs[sizes[0] :], costs)
    rows = [[tuple(row) for row in part] for part in parts]
    dominated = (
        tuple(_dominations(fronts[0], rows[0], fronts[1], rows[1])),
        tuple(_dominations(fronts[1], rows[1], fronts[0], rows[0])),
    )
    keys = [{e.point.key(): e for e in results.evaluations} for results in (first, second)]
    both = [key for key in keys[0] if key in keys[1]]
    return StudyComparison(
        objectives,
        tuple(_facts(first, second, studies)),
        (len(first.evaluations), len(second.evaluations)),
        sizes,
        (sizes[0] - len(dominated[0]), sizes[1] - len(dominated[1])),
        (hypervolume(parts[0]), hypervolume(parts[1]), hypervolume(parts[2])),
        dominated,
        len(both),
        tuple(key for key in both if _differ(keys[0][key], keys[1][key])),
        *_best(first, second, fronts),
    )


def _best(
    first: Results, second: Results, fronts: Sequence[Sequence[Evaluation]]
) -> tuple[tuple[str, str], Interval]:
    one, other = (max(front, key=lambda e: e.correct / e.images) for front in fronts)
    return (one.point.key(), other.point.key()), accuracies(one, other, tests(first, second))


def tests(first: Results, second: Results) -> tuple[str | None, str | None]:
    """Return what the stamps of two explorations say of their test images."""
    return first.facts.stamp.get("test"), second.facts.stamp.get("test")


Costs = tuple[float, ...]


def _dominations(
    front: Sequence[Evaluation], costs: Sequence[Costs], others: Sequence[Evaluation], theirs: Sequence[Costs]
) -> Iterator[Domination]:
    for e, cost in zip(front, costs, strict=True):
        by = tuple(o.point.key() for o, other in zip(others, theirs, strict=True) if dominates(other, cost))
        if by:
            yield Domination(e.point.key(), by)


def _differ(first: Evaluation, second: Evaluation) -> bool:
    metrics = known_metrics((first, second))
    return _figures(first, metrics) != _figures(second, metrics)


def _figures(evaluation: Evaluation, metrics: Mapping[str, Metric]) -> dict[str, float]:
    return {name: metric.of(evaluation) for name, metric in metrics.items()}


def _facts(
    first: Results, second: Results, studies: tuple[Mapping[str, Any], Mapping[str, Any]]
) -> Iterator[Difference]:
    """Yield what differs in the studies' files, models, objectives and stamps."""
    sides: list[dict[str, Any]] = []
    for results, study in zip((first, second), studies, strict=True):
        facts = results.facts
        stamped = {"model": facts.model, "objectives": list(facts.objectives)} | dict(facts.stamp)
        sides.append(dict(_flat(study)) | stamped)
    yield from _differing(*sides)


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested tables by their dotted names."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[Difference]:
    for what in dict.fromkeys([*first, *second]):
        if first.get(what) != second.get(what):
            yield Difference(what, first.get(what), second.get(what))


@dataclass(frozen=True)
class LayerComparison:
    """What one layer is and costs on the two sides, where that differs; of a layer that one lacks, all of it."""

    layer: str
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class PointComparison:
    """Two design points: their choices, every metric, the accuracies' difference, and the layers that differ."""

    first: str
    second: str
    choices: tuple[Difference, ...]
    metrics: tuple[Difference, ...]
    accuracy: Interval
    layers: tuple[LayerComparison, ...]
    dominates: str
    """"first" or "second" where that one is nowhere worse in the objectives and somewhere better, else ""."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compare_points(
    first: Evaluation,
    second: Evaluation,
    objectives: Sequence[str],
    tested: tuple[str | None, str | None] = (None, None),
) -> PointComparison:
    """Return two design points side by side; ``objectives`` decide whether one dominates the other.

    ``tested`` name the test images of each, so that accuracies on the same ones are compared image by image.
    """
    metrics = known_metrics((first, second))
    figures = (_figures(first, metrics), _figures(second, metrics))
    costs = [tuple(METRICS[name].cost(e) for name in objectives) for e in (first, second)]
    better = "first" if dominates(costs[0], costs[1]) else "second" if dominates(costs[1], costs[0]) else ""
    points = [e.point.shared._asdict() for e in (first, second)]
    layers = [
        {layer.name: _layer(layer, e.point.coder_of.get(layer.name, "")) for layer in e.layers}
        for e in (first, second)
    ]
    compared = (
        LayerComparison(name, tuple(_differing(layers[0].get(name, {}), layers[1].get(name, {}))))
        for name in dict.fromkeys([*layers[0], *layers[1]])
    )
    return PointComparison(
        first.point.key(),
        second.point.key(),
        tuple(_differing(*points)),
        tuple(Difference(name, figures[0][name], figures[1][name]) for name in metrics),
        accuracies(first, second, tested),
        tuple(layer for layer in compared if layer.differences),
        better,
    )


def _layer(layer: LayerResult, coder: str) -> dict[str, Any]:
    """Return what is compared of a layer: formats, what it chose besides them, gates, bytes and overflows."""
    chosen = {"quantizer": layer.own_quantizer, "coder": coder}
    return {what: choice for what, choice in chosen.items() if choice} | {
        "bits": layer.bits,
        "output": layer.output,
        "gates": round(sum(part.count * part.nand2_equivalents for part in layer.parts), 3),
        "moved bytes": layer.weight_bytes + layer.input_bytes + layer.output_bytes,
        "file bytes": layer.file_bytes,
        "overflows": layer.overflowed,
    }
