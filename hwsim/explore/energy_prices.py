"""Prices of energy that measured designs have moved.

An energy is the sum of what memories take, which is known beforehand, and of what circuits take, which their gates tell
nearly (:mod:`hwsim.cost.energy_estimate`). An evaluation says what each layer's circuits take. The log of how far that is from
the estimate is believed to be a sum of effects: one of all circuits, one of what a design's layers share, and one of each layer.
They are those of a ridge regression (A. Hoerl, R. Kennard, Technometrics 12, 1970) with a penalty of 1: an effect is the mean of
what the others leave, as if one layer more had left nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from hwsim.cost.energy import Energy
from hwsim.explore.evaluation import Evaluation, Shared
from hwsim.explore.prices import Prices
from hwsim.explore.search import SearchSpace

_CIRCUITS = (*Energy().parts, "registers")
"""Where the energy of a layer goes that its memories do not take."""

_Keys = tuple[tuple[str, ...], ...]
"""The names of the effects on a layer's circuits."""


def refitted(
    prices: tuple[Prices, ...], space: SearchSpace, objectives: Sequence[str], done: Sequence[Evaluation]
) -> tuple[Prices, ...]:
    """Return prices of some objectives with the energy that designs are believed to take, once some are measured."""
    of = {price.shared: price for price in prices if price.circuits}
    seen = [one for e in done if e.point.shared in of for one in _seen(of[e.point.shared], space, e)]
    if not seen:
        return prices
    effects = _fitted(seen)
    return tuple(_moved(price, objectives.index("energy"), effects) for price in prices)


def _keys(shared: Shared, layer: str) -> _Keys:
    return (), shared, (layer,)


def _seen(price: Prices, space: SearchSpace, design: Evaluation) -> Iterator[tuple[_Keys, float]]:
    """Yield the log of what each layer's circuits take over what they are estimated at, for a measured design."""
    choices = np.array([space.places(design.point)])
    if not price.within(choices).all():
        return
    places = price.places(choices)
    energies = {layer.name: layer.energy_pj or {} for layer in design.layers}
    for table, estimates in zip(price.tables, price.circuits, strict=False):
        estimated = float(replace(table, costs=estimates[..., None]).of(places)[0, 0])
        measured = 1e3 * sum(energies.get(table.name, {}).get(part, 0.0) for part in _CIRCUITS)
        if estimated > 0 and measured > 0:
            yield _keys(price.shared, table.name), math.log(measured / estimated)


def _fitted(seen: Sequence[tuple[_Keys, float]]) -> Mapping[tuple[str, ...], float]:
    """Return the effects by name."""
    names = tuple(dict.fromkeys(key for keys, _ in seen for key in keys))
    has = np.array([[name in keys for name in names] for keys, _ in seen], float)
    logs = np.array([log for _, log in seen])
    effects = np.linalg.solve(has.T @ has + np.eye(len(names)), has.T @ logs)
    return dict(zip(names, effects.tolist(), strict=True))


def _moved(price: Prices, place: int, effects: Mapping[tuple[str, ...], float]) -> Prices:
    """Return prices with their circuits' energies, in the objective at ``place``, times what the effects come to."""
    tables = list(price.tables)
    for number, (table, estimates) in enumerate(zip(price.tables, price.circuits, strict=False)):
        factor = math.exp(sum(effects.get(key, 0.0) for key in _keys(price.shared, table.name)))
        costs = table.costs.copy()
        costs[..., place] += (factor - 1) * estimates
        tables[number] = replace(table, costs=costs)
    return replace(price, tables=tuple(tables))
