"""The exact Pareto front of costs that are sums or maxima over a network's layers, merged layer by layer.

A cost is the sum of terms, or the largest of them, each a table by the choices of a few layers: most by one layer's alone, some by two that share
a tensor. Layers are taken in order. What several layers decide together, by the largest of their ranks, is assumed with the
first of them and held against the others. After each layer, of two beginnings between which no later term can tell, one that costs
more in nothing and less in something rules the other out, whatever follows: neither a sum nor a maximum falls where a part
of it rises. What is left at the end is the front
(E. Rollon, J. Larrosa, Bucket elimination for multiobjective optimization problems, Journal of Heuristics 12, 2006).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import moocore
import numpy as np
import numpy.typing as npt

from hwsim.cost.configurations import Axis, Table, joined
from hwsim.formats import IntArray
from hwsim.network import FloatArray

_FINEST, _COARSEST = 12, 2
"""Powers of two of the boxes along each objective in which a front that is too long keeps one point each."""


def alone(layer: int, costs: FloatArray) -> Table:
    """Return the term of one layer's choices by themselves, from their costs [choices, objectives]."""
    return Table((((layer, tuple(range(len(costs)))),),), costs)


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
    """Return the Pareto front of the sums of terms over all choices; of points that cost the same, one.

    In the objectives ``largest`` a cost is the largest term in place of their sum, and none is below 0. ``counts`` are the
    choices of each layer. With a ``limit`` about as many points at most are kept after each layer,
    one in each box of a grid (M. Laumanns et al., Combining convergence and diversity in evolutionary multiobjective
    optimization, 2002), and the front's ends in every objective.
    """
    objectives = terms[0].costs.shape[-1]
    begun, exact = _Beginnings(np.zeros((1, 0), np.int64), np.zeros((1, objectives)), {}, {}), True
    shared = dict.fromkeys(axis for item in terms for axis in item.axes if len(axis) > 1)
    for layer, count in enumerate(counts):
        begun = begun.followed_by(_worthwhile(layer, count, terms))
        for axis in shared:
            begun = begun.along(axis) if layer in dict(axis) else begun
        for item in terms:
            if _known(item) == layer:
                entries = item.at([begun.place(axis) for axis in item.axes], len(begun.costs))
                begun = replace(begun, costs=joined(begun.costs, entries, largest))
        states = list(_states(begun, terms))
        kept = []
        for state in states:
            found = state[nondominated(begun.costs[state])]
            thinned = found if not limit else found[_spread(begun.costs[found], max(1, limit // len(states)))]
            exact &= len(thinned) == len(found)
            kept.append(thinned)
        begun = begun.rows(np.sort(np.concatenate(kept)))
    order = np.lexsort(begun.costs.T[::-1])
    return Front(begun.costs[order], begun.choices[order], exact)


@dataclass(frozen=True, eq=False)
class _Beginnings:
    """Choices of the first layers [rows, layers] and what they cost [rows, objectives].

    ``assumed`` is the place [rows] along each axis of several layers, ``reached`` whether one of those taken has that rank.
    """

    choices: IntArray
    costs: FloatArray
    assumed: Mapping[Axis, IntArray]
    reached: Mapping[Axis, npt.NDArray[np.bool_]]

    def rows(self, some: npt.NDArray[Any]) -> _Beginnings:
        """Return some of the rows."""
        of = ({axis: own[some] for axis, own in each.items()} for each in (self.assumed, self.reached))
        return _Beginnings(self.choices[some], self.costs[some], *of)

    def followed_by(self, own: IntArray) -> _Beginnings:
        """Return each row with each of the next layer's choices."""
        count = len(self.choices)
        longer = self.rows(np.repeat(np.arange(count), len(own)))
        return replace(longer, choices=np.column_stack([longer.choices, np.tile(own, count)]))

    def along(self, axis: Axis) -> _Beginnings:
        """Return the rows that a place along an axis is assumed for, with its first layer, or that still agree with theirs."""
        begun, taken = self if axis in self.assumed else self._assuming(axis), self.choices.shape[1]
        own, assumed = np.array(dict(axis)[taken - 1])[begun.choices[:, -1]], begun.assumed[axis]
        reached = begun.reached[axis] | (own == assumed)
        later = [rank for layer, ranks in axis if layer >= taken for rank in ranks]
        can = (own <= assumed) & (reached | np.isin(assumed, later))
        return replace(begun, reached={**begun.reached, axis: reached}).rows(can)

    def _assuming(self, axis: Axis) -> _Beginnings:
        """Return each row with each place along an axis, that no layer is known to have."""
        places, count = sorted({rank for _, ranks in axis for rank in ranks}), len(self.choices)
        longer = self.rows(np.repeat(np.arange(count), len(places)))
        unreached = np.zeros(len(longer.costs), bool)
        return replace(
            longer,
            assumed={**longer.assumed, axis: np.tile(places, count)},
            reached={**longer.reached, axis: unreached},
        )

    def place(self, axis: Axis) -> IntArray:
        """Return the place along an axis, as its first layer's choice tells or as it is assumed."""
        ((layer, ranks), *others) = axis
        return self.assumed[axis] if others else np.array(ranks)[self.choices[:, layer]]


def _known(item: Table) -> int:
    """Return the layer with which a term's places are known or assumed."""
    return max((axis[0][0] for axis in item.axes), default=0)


def nondominated(costs: FloatArray) -> IntArray:
    """Return the rows of costs [rows, objectives] that no other row dominates, ascending; of equal rows the first.

    >>> nondominated(np.array([[1.0, 3.0], [2.0, 3.0], [2.0, 1.0], [1.0, 3.0]])).tolist()
    [0, 2]
    """
    return np.flatnonzero(moocore.is_nondominated(costs, keep_weakly=False))


def _worthwhile(layer: int, count: int, terms: Sequence[Table]) -> IntArray:
    """Return a layer's choices without those that cost more than another one whatever the other layers choose."""
    own = [_seen(item, layer) for item in terms if layer in item.layers]
    if not own:
        return np.arange(min(count, 1))
    seen = np.column_stack(own)  # far more columns than a front has objectives
    seen = seen[:, np.ptp(seen, axis=0) > 0]
    below = np.array([(seen <= row).all(axis=1) for row in seen])
    equal = below & below.T
    return np.flatnonzero(~(below & ~equal | np.tril(equal, -1)).any(axis=1))


def _seen(item: Table, layer: int) -> FloatArray:
    """Return all costs of each choice of one of a term's layers, [choices, places that others leave and objectives]."""
    axes = [dict(axis) for axis in item.axes]
    count = next(len(axis[layer]) for axis in axes if layer in axis)
    index = []
    for place, axis in enumerate(axes):
        others = np.arange(item.costs.shape[place] if axis.keys() - {layer} else 1)
        along = [1] * len(axes)
        along[place] = -1
        own = np.array(axis.get(layer, (0,) * count))
        index.append(np.maximum(own[:, None], others).reshape(count, *along))
    return np.reshape(item.costs[tuple(index)], (count, -1))


def _states(begun: _Beginnings, terms: Sequence[Table]) -> Iterator[IntArray]:
    """Yield the rows between which nothing to come can tell: no open term, one of layers taken and layers to come, and no axis."""
    taken = begun.choices.shape[1]
    still = [axis for axis in begun.assumed if axis[-1][0] >= taken]
    told = (axis for item in terms if _known(item) >= taken for axis in item.axes if axis[0][0] < taken)
    keys: list[npt.NDArray[Any]] = [begun.place(axis) for axis in dict.fromkeys((*still, *told))]
    keys += [begun.reached[axis] for axis in still]
    if not keys:
        yield np.arange(len(begun.choices))
        return
    order = np.lexsort(keys)
    changes = np.any([key[order[1:]] != key[order[:-1]] for key in keys], axis=0)
    yield from np.split(order, np.flatnonzero(changes) + 1)


def _spread(costs: FloatArray, limit: int) -> IntArray:
    """Return about ``limit`` rows spread over a front: the best of each objective, and of each box the least sum."""
    if len(costs) <= limit:
        return np.arange(len(costs))
    low, high = costs.min(axis=0), costs.max(axis=0)
    scaled = (costs - low) / np.where(high > low, high - low, 1.0)
    order = np.argsort(scaled.sum(axis=1), kind="stable")
    first = _boxes(np.floor(scaled[order] * (1 << _FINEST)).astype(np.int64), limit)
    return np.unique(np.concatenate([order[first], costs.argmin(axis=0)]))


def _boxes(cells: IntArray, limit: int) -> IntArray:
    """Return the first row of each of ``limit`` boxes at most, or of the coarsest, from more rows of the finest grid's places.

    Boxes are whole numbers of finer ones, so that in one order, by the places' bits, the rows of any box are together.
    """
    bits = cells >> np.arange(_FINEST + 1)[:, None, None] & 1
    nested = np.lexsort((bits @ (1 << np.arange(cells.shape[1]))).astype(np.int16))
    apart = (cells[nested[1:]] ^ cells[nested[:-1]]).max(axis=1)
    coarse = min(int(np.partition(apart, -limit)[-limit]).bit_length(), _FINEST - _COARSEST)
    return np.asarray(np.minimum.reduceat(nested, np.flatnonzero(np.append(1, apart >> coarse))), np.int64)
