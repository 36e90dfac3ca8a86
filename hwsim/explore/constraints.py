"""Bounds on metrics: which designs keep them, which come nearest, and which no design of a space can keep together."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from hwsim.errors import HwsimError
from hwsim.explore.evaluation import METRICS, Evaluation
from hwsim.explore.front import pareto_merge
from hwsim.explore.prices import Prices
from hwsim.network import FloatArray

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
    return all(METRICS[name].cost(evaluation) <= cost for name, cost in _costs(constraints).items())


def nearest(evaluations: Sequence[Evaluation], constraints: Constraints) -> Evaluation:
    """Return the design that misses the bounds by least: the sum of what it misses each by, as a share of the bound."""

    def missed(evaluation: Evaluation) -> float:
        return sum(
            max(0.0, METRICS[name].cost(evaluation) - cost) / max(abs(cost), 1e-9)
            for name, cost in _costs(constraints).items()
        )

    return min(evaluations, key=missed)


def missed_text(evaluation: Evaluation, constraints: Constraints) -> str:
    """Return the bounds that a design misses, each with what it has."""
    return " and ".join(
        f"{METRICS[name].of(evaluation):,.7g} of {bound_text(name, constraints[name])}"
        for name, cost in _costs(constraints).items()
        if METRICS[name].cost(evaluation) > cost
    )


def refuse_contradictions(branches: Sequence[Prices], constraints: Constraints) -> None:
    """Refuse bounds on priced metrics that no design of a space keeps, saying which one, or which two together.

    ``branches`` price the metrics of ``constraints``, in that order.
    """
    costs = np.concatenate([_front(price) for price in branches])
    bounds = np.array(list(_costs(constraints).values()))
    for place, (name, bound) in enumerate(constraints.items()):
        if costs[:, place].min() > bounds[place]:
            best = abs(costs[:, place].min()) if METRICS[name].better == "higher" else costs[:, place].min()
            raise HwsimError(
                f"no design of the space has {bound_text(name, bound)}: the best has {best:,.7g}; loosen it or widen the space"
            )
    for pair in itertools.combinations(range(len(bounds)), 2):
        if not (costs[:, pair] <= bounds[list(pair)]).all(axis=1).any():
            both = " and ".join(
                bound_text(name, constraints[name]) for name in np.array(list(constraints))[list(pair)]
            )
            raise HwsimError(
                f"the constraints contradict each other: no design of the space has {both}; loosen one"
            )
    if not (costs <= bounds).all(axis=1).any():
        everything = ", ".join(itertools.starmap(bound_text, constraints.items()))
        raise HwsimError(f"no design of the space has all of {everything}; loosen one")


def _front(price: Prices) -> FloatArray:
    return price.costs(pareto_merge(price.counts, price.tables).costs)


def _costs(constraints: Constraints) -> dict[str, float]:
    return {name: bound if METRICS[name].better == "lower" else -bound for name, bound in constraints.items()}
