"""What a list of evaluations says: the front, the curve of any two metrics with its knee, the best trade-offs."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

import numpy as np

from hwsim.explore.evaluation import METRICS, Evaluation, costs_of, known_metrics
from hwsim.explore.front import nondominated
from hwsim.formats import IntArray
from hwsim.network import FloatArray
from hwsim.report.wording import layer_bits

ACCEPTED_LOSSES = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Accuracy losses in percentage points for which the report names the cheapest design."""


CLOSE_UP = 10.0
"""The accuracy loss in percentage points up to which drawings go at first, where some designs lose far more."""

_BLOCK = 256
"""Designs held against a front at a time."""


@dataclass(frozen=True)
class Row:
    """An evaluation as the report shows it: its metrics' values and, off the front, the first point there to beat it.

    A point of the front has no ``beaten_by``. Of points with equal costs the first stays on the front; the
    others are ``equal`` to it.
    """

    evaluation: Evaluation
    name: str
    key: str
    values: dict[str, float]
    on_front: bool
    beaten_by: str = ""
    equal: bool = False

    def cost(self, metric: str) -> float:
        """Return a metric's value with lower always better."""
        value = self.values[metric]
        return value if METRICS[metric].better == "lower" else -value


def rows(evaluations: Sequence[Evaluation], objectives: tuple[str, ...]) -> list[Row]:
    """Return the evaluations in their order, judged against the front of the objectives."""
    costs = costs_of(evaluations, objectives)
    front = nondominated(costs)
    metrics = known_metrics(evaluations)
    first = _first_to_beat(costs, costs[front])
    found = []
    for place, (e, beaten) in enumerate(zip(evaluations, first.tolist(), strict=True)):
        beater = int(front[beaten])
        values = {name: metric.of(e) for name, metric in metrics.items()}
        row = Row(e, f"P{e.index}", e.point.key(), values, beater == place)
        if beater != place:
            equal = bool((costs[beater] == costs[place]).all())
            row = replace(row, beaten_by=f"P{evaluations[beater].index}", equal=equal)
        found.append(row)
    return found


def _first_to_beat(costs: FloatArray, front: FloatArray) -> IntArray:
    """Return the first place on a front that costs as little in everything, of each row of costs [rows, objectives]."""
    found = np.empty(len(costs), np.int64)
    for start in range(0, len(costs), _BLOCK):
        block = costs[start : start + _BLOCK]
        found[start : start + _BLOCK] = (front[None] <= block[:, None]).all(axis=2).argmax(axis=1)
    return found


def thinned(listed: Sequence[Row], named: Set[str], most: int) -> list[Row]:
    """Return the rows of the keys ``named``, then of the front, then the others, each evenly spaced, up to ``most`` in order."""
    ranks = [0 if row.key in named else 1 if row.on_front else 2 for row in listed]
    kept: list[int] = []
    for rank in range(3):
        places = [place for place, own in enumerate(ranks) if own == rank]
        room = min(most - len(kept), len(places))
        kept += [places[number * len(places) // room] for number in range(room)]
    return [listed[place] for place in sorted(kept)]


def front_order(listed: Sequence[Row], objectives: tuple[str, ...]) -> list[Row]:
    """Return the points of the front, the best in the first objective first."""
    return sorted((r for r in listed if r.on_front), key=lambda r: tuple(r.cost(name) for name in objectives))


def curve(listed: Sequence[Row], x: str, y: str) -> list[int]:
    """Return the indices of the points that no other beats in metrics ``x`` and ``y``, by ascending value of x."""
    best: list[int] = []
    for index in sorted(range(len(listed)), key=lambda i: (listed[i].cost(x), listed[i].cost(y), i)):
        if not best or listed[index].cost(y) < listed[best[-1]].cost(y):
            best.append(index)
    return sorted(best, key=lambda i: listed[i].values[x])


def knee(listed: Sequence[Row], x: str, y: str) -> int | None:
    """Return the index of the point of the two metrics' curve that lies farthest below its chord.

    Both costs are scaled to 0..1 over the curve; the chord joins its two ends. None where no point lies
    below the chord. Source: I. Das, "On characterizing the knee of the Pareto curve based on
    normal-boundary intersection", Structural Optimization 18, 1999.
    """
    points = curve(listed, x, y)
    if len(points) < 3:
        return None
    (x_low, x_high), (y_low, y_high) = (
        (min(costs), max(costs)) for costs in ([listed[i].cost(name) for i in points] for name in (x, y))
    )

    def height(index: int) -> float:
        row = listed[index]
        return (row.cost(x) - x_low) / (x_high - x_low) + (row.cost(y) - y_low) / (y_high - y_low)

    lowest = min(points, key=height)
    return lowest if height(lowest) < 1 - 1e-9 else None


def reference(listed: Sequence[Row]) -> Row:
    """Return the point with the most weight and activation bits, of these the most accurate, then the first."""
    return max(listed, key=lambda r: (_operand_bits(r.evaluation), r.evaluation.correct))


def _operand_bits(evaluation: Evaluation) -> int:
    parsed = (layer_bits(text) for _, text in evaluation.point.bits)
    return sum(bits.weight.bits + bits.activation.bits for bits in parsed if bits is not None)


@dataclass(frozen=True)
class Choice:
    """The cheapest point of the front, by ``price``, whose accuracy loss is at most ``accepted`` points."""

    accepted: float
    row: Row
    overlaps: bool
    """Whether its accuracy's 95% interval overlaps that of the reference."""


def price(objectives: tuple[str, ...]) -> str:
    """Return the objective that choices are cheapest in: the first that is no accuracy, "" where there is none."""
    return next((name for name in objectives if name not in ("accuracy_loss", "accuracy")), "")


def choices(listed: Sequence[Row], objectives: tuple[str, ...]) -> list[Choice]:
    """Return the cheapest point for each accepted loss, each point once, at its smallest accepted loss."""
    found: dict[str, Choice] = {}
    cost = price(objectives)
    base = reference(listed)
    for accepted in ACCEPTED_LOSSES if cost else ():
        fitting = [r for r in listed if r.on_front and r.values["accuracy_loss"] <= accepted]
        if fitting:
            row = min(fitting, key=lambda r: (r.cost(cost), r.values["accuracy_loss"]))
            overlaps = row.evaluation.interval[1] >= base.evaluation.interval[0]
            found.setdefault(row.key, Choice(accepted, row, overlaps))
    return list(found.values())


def gain(row: Row, base: Row, metric: str) -> float | None:
    """Return how many times better a point is than another in a metric, below 1 if worse; None if not defined."""
    value, other = row.values[metric], base.values[metric]
    if value <= 0 or other <= 0:
        return None
    return other / value if METRICS[metric].better == "lower" else value / other
