"""Bounds on metrics: which designs keep them, which come nearest, and which no design of a space can keep together."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.explore.bench import Bench
from hwsim.explore.evaluation import METRICS, OF_ELEMENTS, Evaluation
from hwsim.explore.front import pareto_merge
from hwsim.explore.prices import ESTIMATED, Prices, few_arrays, prices
from hwsim.explore.pricing import PRICED
from hwsim.explore.search import SearchSpace
from hwsim.network import FloatArray

_LONGEST_FRONT = 20_000
"""Points that a front of constrained costs may have on the way, after each layer."""

_CODED, _ROUNDING = 1e-2, 1e-6
"""Shares that a price may be off by: that of a coded file, whose constants may take a byte more, and any other."""

Constraints = Mapping[str, float]
"""A bound by metric: the most of what is better low, the least of what is better high."""


def bound_text(name: str, bound: float) -> str:
    """Return a bound in words.

    >>> bound_text("gates", 5000.0), bound_text("accuracy", 97.5)
    ('gates at most 5,000', 'accuracy at least 97.5')
    """
    return f"{name} at {'most' if METRICS[name].better == 'lower' else 'least'} {bound:,.7g}"


def keeps(evaluation: Evaluation, constraints: Constraints) -> bool:
    """Return whether a design keeps every bound."""
    return not missed(evaluation, constraints)


def nearest(evaluations: Sequence[Evaluation], constraints: Constraints) -> Evaluation:
    """Return the design that misses the bounds by least: the sum of what it misses each by, as a share of the bound."""
    return min(
        evaluations,
        key=lambda e: sum(
            by / max(abs(constraints[name]), 1e-9) for name, by in missed(e, constraints).items()
        ),
    )


def missed(evaluation: Evaluation, constraints: Constraints) -> dict[str, float]:
    """Return the bounds that a design misses and by how much."""
    over = {name: METRICS[name].cost(evaluation) - cost for name, cost in _costs(constraints).items()}
    return {name: by for name, by in over.items() if by > 0}


def missed_text(evaluation: Evaluation, constraints: Constraints) -> str:
    """Return the bounds that a design misses, each with by how much and what it has."""
    return " and ".join(
        f"{bound_text(name, constraints[name])} by {by:,.7g} (has {METRICS[name].of(evaluation):,.7g})"
        for name, by in missed(evaluation, constraints).items()
    )


def refuse_contradictions(space: SearchSpace) -> None:
    """Refuse constraints that no design of a space keeps, as far as that is known before anything is measured.

    That is so of what prices come to, one metric alone or several together, and of an accuracy above 100%. Of more
    metrics than an exact front has room for, and of metrics without prices, measuring alone can tell.
    """
    assert space.bench is not None
    constraints = space.bench.study.constraints or {}
    if constraints.get("accuracy", 0) > 100:
        raise HwsimError(
            f"no design has {bound_text('accuracy', constraints['accuracy'])}; ask for at most 100"
        )
    known = PRICED.keys() - {*ESTIMATED}
    if {*OF_ELEMENTS} & constraints.keys() and not few_arrays(space):
        known -= {*OF_ELEMENTS}
    _refuse_impossible_gain(space.bench, constraints.get("accuracy_loss", 0))
    bounds = {name: bound for name, bound in constraints.items() if name in known}
    if not bounds:
        return
    inquiry = space.answers.apart()
    branches = prices(replace(space, inquiry=inquiry), tuple(bounds))
    if not inquiry.left_out:
        refuse_unattainable(branches, bounds)


def _refuse_impossible_gain(bench: Bench, bound: float) -> None:
    """Refuse an accuracy loss so far below 0 that more than all images would have to be right."""
    if bound < 0 and bound < (least := 100 * (bench.float_correct / len(bench.test) - 1)):
        raise HwsimError(
            f"no design has {bound_text('accuracy_loss', bound)}: with all images right it is {least:,.7g}; ask for that at least"
        )


def refuse_unattainable(branches: Sequence[Prices], bounds: Constraints) -> None:
    """Refuse bounds that no design keeps by its prices: the fewest bounds of which that is so are named.

    ``branches`` price the metrics of ``bounds``, in that order.
    """
    for count in range(1, len(bounds) + 1):
        told = True
        for places in itertools.combinations(range(len(bounds)), count):
            some = {name: bounds[name] for name in np.array([*bounds])[list(places)]}
            costs, exact = _front(branches, places)
            kept = (costs <= _limits(some)).all(axis=1).any()
            if exact and not kept:
                raise _contradiction(some, costs)
            told &= exact or bool(kept)
        if not told:
            return


def _contradiction(bounds: Constraints, costs: FloatArray) -> HwsimError:
    """Return what says that no point of a front keeps all bounds, though one keeps all but any one of them."""
    wanted = " and ".join(itertools.starmap(bound_text, bounds.items()))
    kept = costs <= _limits(bounds)
    best = [
        abs(costs[np.delete(kept, place, axis=1).all(axis=1), place].min()) for place in range(len(bounds))
    ]
    if len(bounds) == 1:
        return HwsimError(
            f"no design of the space has {wanted}: the best has {best[0]:,.7g}; loosen it to that or widen the space"
        )
    nearest = " or ".join(bound_text(name, value) for name, value in zip(bounds, best, strict=True))
    return HwsimError(
        f"the constraints contradict each other: no design of the space has {wanted}; loosen one to {nearest}"
    )


def _front(branches: Sequence[Prices], places: Sequence[int]) -> tuple[FloatArray, bool]:
    """Return the front of some of the priced costs over all branches, and whether it is the whole one."""
    found, exact = [], True
    for price in branches:
        tables = [replace(table, costs=table.costs[..., list(places)]) for table in price.tables]
        largest = [place for place, own in enumerate(places) if own in price.largest]
        front = pareto_merge(price.counts, tables, _LONGEST_FRONT, largest)
        scale = tuple(price.scale[place] for place in places)
        found.append(replace(price, start=price.start[list(places)], scale=scale).costs(front.costs))
        exact &= front.exact
    return np.concatenate(found), exact


def _limits(bounds: Constraints) -> FloatArray:
    """Return the most that priced costs may be where a design may still keep the bounds."""
    off = [_CODED if PRICED[name] == PRICED["file_bytes"] else _ROUNDING for name in bounds]
    costs = np.array(list(_costs(bounds).values()))
    return np.asarray(costs + np.array(off) * np.abs(costs))


def _costs(constraints: Constraints) -> dict[str, float]:
    return {name: bound if METRICS[name].better == "lower" else -bound for name, bound in constraints.items()}
