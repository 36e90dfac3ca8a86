"""The exact Pareto front of costs that are sums or maxima over a network's layers, merged layer by layer.

A cost is the sum of terms, or the largest of them, each a table by the choices of a few layers: most by one layer's alone, some by two that share
a tensor. Layers are taken in order. After each, of two beginnings between which no later term can tell, one that costs
more in nothing and less in something rules the other out, whatever follows: neither a sum nor a maximum falls where a part
of it rises. What is left at the end is the front
(E. Rollon, J. Larrosa, Bucket elimination for multiobjective optimization problems, Journal of Heuristics 12, 2006).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwsim.cost.configurations import Table, joined
from hwsim.formats import IntArray
from hwsim.network import FloatArray

_BLOCK = 512
_FINEST, _COARSEST = 12, 2
"""Powers of two of the boxes along each objective in which a front that is too long keeps one point each."""


def alone(layer: int, costs: FloatArray) -> Table:
    """Return the term of one layer's choices by themselves, from their costs [choices, objectives]."""
    return Table((layer,), (np.arange(len(costs)),), costs)


@dataclass(frozen=True, eq=False)
class Front:
    """Points that no other dominates, in order of their costs: ``costs`` [points, objectives], ``choices`` [points, layers].

    ``exact`` is whether it is the whole front; otherwise points next to others that stayed were left out on the way.
    """

    costs: FloatArray
    choices: IntArray
    exact: bool


def pareto_merge(
    counts: Sequence[int], terms: Sequence[Table], limit: int = 0, largest: Sequence[int] = ()
) -> Front:
    """Return the Pareto front of the sums of terms over all choices; of points that cost the same, the first one.

    In the objectives ``largest`` a cost is the largest term in place of their sum, and none is below 0. ``counts`` are the
    choices of each layer. With a ``limit`` about as many points at most are kept after each layer,
    one in each box of a grid (M. Laumanns et al., Combining convergence and diversity in evolutionary multiobjective
    optimization, 2002), and the front's ends in every objective.
    """
    objectives = terms[0].costs.shape[-1]
    costs, choices, exact = np.zeros((1, objectives)), np.zeros((1, 0), np.int64), True
    for layer, count in enumerate(counts):
        own = _worthwhile(layer, count, terms)
        rows = np.repeat(np.arange(len(choices)), len(own))
        choices = np.column_stack([choices[rows], np.tile(own, len(choices))])
        costs = costs[rows]
        for item in terms:
            if max(item.layers, default=0) == layer:
                costs = joined(costs, item.of(choices), largest)
        states = list(
            _states(
                choices,
                [item for item in terms if item.layers and min(item.layers) <= layer < max(item.layers)],
            )
        )
        kept = []
        for state in states:
            found = state[nondominated(costs[state])]
            thinned = found if not limit else found[_spread(costs[found], max(1, limit // len(states)))]
            exact &= len(thinned) == len(found)
            kept.append(thinned)
        order = np.sort(np.concatenate(kept))
        costs, choices = costs[order], choices[order]
    order = np.lexsort(costs.T[::-1])
    return Front(costs[order], choices[order], exact)


def nondominated(costs: FloatArray) -> IntArray:
    """Return the rows of costs [rows, objectives] that no other row dominates, ascending; of equal rows the first.

    >>> nondominated(np.array([[1.0, 3.0], [2.0, 3.0], [2.0, 1.0], [1.0, 3.0]])).tolist()
    [0, 2]
    """
    order = np.lexsort(costs.T[::-1])
    ranked = costs[order]
    fresh = np.ones(len(order), bool)
    fresh[1:] = (ranked[1:] != ranked[:-1]).any(axis=1)
    order, ranked = order[fresh], ranked[fresh]
    return np.sort(order[_undominated_pairs(ranked) if costs.shape[1] <= 2 else _undominated(ranked)])


def _undominated_pairs(ranked: FloatArray) -> npt.NDArray[np.bool_]:
    """Return which rows of one or two sorted, distinct objectives stay: those whose last is lower than all before."""
    last: FloatArray = ranked[:, -1]
    best = np.minimum.accumulate(last)
    kept = np.ones(len(last), bool)
    kept[1:] = last[1:] < best[:-1]
    return kept


def _undominated(ranked: FloatArray) -> npt.NDArray[np.bool_]:
    """Return which sorted, distinct rows stay: a row is dominated by earlier ones only, since it is not less in the first."""
    kept = np.ones(len(ranked), bool)
    front = ranked[:0]
    for start in range(0, len(ranked), _BLOCK):
        block = ranked[start : start + _BLOCK]
        stays = ~_covered(block, front)
        places = start + np.flatnonzero(stays)
        block = block[stays]
        earlier = np.tri(len(block), k=-1, dtype=bool)
        among = ~_any(_below(block, block) & earlier)
        kept[start : start + _BLOCK] = False
        kept[places[among]] = True
        front = np.concatenate([front, block[among]])
    return kept


def _covered(rows: FloatArray, front: FloatArray) -> npt.NDArray[np.bool_]:
    """Return which rows a front dominates."""
    return _any(_below(rows, front))


def _any(found: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return in which rows something is found."""
    return np.asarray(found.any(axis=1))


def _below(rows: FloatArray, others: FloatArray) -> npt.NDArray[np.bool_]:
    """Return, [rows, others], which others are nowhere above a row in any objective but the first."""
    below = np.ones((len(rows), len(others)), bool)
    for objective in range(1, rows.shape[1]):
        below &= others[None, :, objective] <= rows[:, None, objective]
    return below


def _worthwhile(layer: int, count: int, terms: Sequence[Table]) -> IntArray:
    """Return a layer's choices without those that cost more than another one whatever the other layers choose."""
    seen = [_seen(item, layer) for item in terms if layer in item.layers]
    return nondominated(np.column_stack(seen)) if seen else np.arange(min(count, 1))


def _seen(item: Table, layer: int) -> FloatArray:
    """Return all costs of each choice of one of a term's layers, [choices, other classes and objectives]."""
    place = item.layers.index(layer)
    rows = np.moveaxis(item.costs, place, 0)[item.classes[place]]
    return rows.reshape(len(rows), -1)


def _states(choices: IntArray, open_terms: Sequence[Table]) -> Iterator[IntArray]:
    """Yield the rows between which no open term, one of layers taken and layers to come, can tell."""
    taken = choices.shape[1]
    keys = [
        own[choices[:, layer]]
        for item in open_terms
        for layer, own in zip(item.layers, item.classes, strict=True)
        if layer < taken
    ]
    if not keys:
        yield np.arange(len(choices))
        return
    _, state = np.unique(np.column_stack(keys), axis=0, return_inverse=True)
    order = np.argsort(state, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(state[order])) + 1)


def _spread(costs: FloatArray, limit: int) -> IntArray:
    """Return about ``limit`` rows spread over a front: the best of each objective, and of each box the least sum."""
    if len(costs) <= limit:
        return np.arange(len(costs))
    low, high = costs.min(axis=0), costs.max(axis=0)
    scaled = (costs - low) / np.where(high > low, high - low, 1.0)
    order = np.argsort(scaled.sum(axis=1), kind="stable")
    for power in range(_FINEST, _COARSEST - 1, -1):
        boxes = np.floor(scaled[order] * (1 << power)).astype(np.int64)
        _, first = np.unique(boxes, axis=0, return_index=True)
        if len(first) <= limit:
            break
    return np.unique(np.concatenate([order[first], costs.argmin(axis=0)]))
