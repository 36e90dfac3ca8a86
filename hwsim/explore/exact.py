"""The exact front of what designs cost and of what their accuracy is believed to be, measured where it tells most.

Costs are known beforehand: they are sums and maxima of tables, an energy nearly (:mod:`hwsim.explore.energy_prices`).
The accuracy is believed: a Gaussian process starts from what each choice does alone, additive over layers, and learns
from everything that was measured. The front of the costs and the additive part is merged exactly, for its mean and for
factors drawn from the posterior (W. R. Thompson, Biometrika 25, 1933). Of these points and the measured front's
neighbours those are measured next that, one after the other, promise the largest hypervolume that nothing yet measured
dominates, in expectation over the whole process (the criterion of M. Emmerich, K. Giannakoglou, B. Naujoks, IEEE
Transactions on Evolutionary Computation 10, 2006; one after the other is within 1 - 1/e of the best choice at once: G.
Nemhauser, L. Wolsey, M. Fisher, Mathematical Programming 14, 1978). Until a chosen point is measured it is believed at
its mean, in one step with it or under evaluation since an earlier one (D. Ginsbourger, R. Le Riche, L. Carraro, Kriging
is well-suited to parallelize optimization, 2010).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from hwsim.cost.configurations import Table
from hwsim.errors import HwsimError
from hwsim.explore.accuracy_model import AccuracyModel, accuracy_model, sensitivities
from hwsim.explore.bench import Bench
from hwsim.explore.energy_prices import refitted
from hwsim.explore.evaluation import LOSSES, METRICS, DesignPoint, Evaluation, costs_of
from hwsim.explore.front import alone, nondominated, pareto_merge
from hwsim.explore.prices import Prices, priced_objectives, prices
from hwsim.explore.search import SearchSpace, filled, uniform
from hwsim.explore.surrogate import Posterior, Scale
from hwsim.formats import IntArray
from hwsim.network import FloatArray

DRAWS = 4, 2
"""Models drawn from the posterior, beside its mean: while nothing is measured, and then."""

LONGEST_FRONT = 1500
"""Points that a front keeps on the way and at its end."""

NEIGHBOURS = 4096
"""Neighbours of the measured front that are looked at, of each branch."""

PLACES = 1024
"""Random places by which a hypervolume is counted."""

ROUNDS = 32
"""How often four times as many are drawn, until as many of them tell something."""

WIDER = 0.1
"""How much wider the box of the hypervolume is than the front, so that the ends count (H. Ishibuchi et al., How to specify a
reference point in hypervolume calculation, Evolutionary Computation 26, 2018)."""


def exact(
    space: SearchSpace,
    done: list[Evaluation],
    objectives: tuple[str, ...],
    rng: np.random.Generator,
    count: int,
) -> list[DesignPoint]:
    """The exact front of costs and of an accuracy model that learns: where measuring promises most."""
    if not done and not space.pending and count == 1:  # the first of all, whatever is known
        return uniform(space, done, objectives, rng, count)
    guide = guide_of(space, objectives)
    space = replace(space, left_out=guide.space.left_out)
    return filled(propose(guide, space, done, rng, count), space, done, rng, count)


def propose(
    guide: Guide, space: SearchSpace, done: list[Evaluation], rng: np.random.Generator, count: int
) -> list[DesignPoint]:
    """Return at most ``count`` points not tried yet: fewer where the fronts hold no more.

    The first of all is the uniform design of the most bits, which a report compares the others with.
    """
    first = [] if done or space.pending else uniform(space, done, guide.objectives, rng, 1)
    guide = guide.after(done)
    posterior = guide.model.believed(done)
    models = [posterior.mean, *(posterior.draw(rng) for _ in range(DRAWS[bool(done)]))]
    found = guide.candidates(models, done, space.tried(done) | set(first), rng)
    if not found:
        return first
    pending = guide.priced(space.pending)
    branch, choices = (np.array(part) for part in zip(*pending, *found, strict=True))
    promises = guide.promises(branch, choices)
    chosen = most_promising(
        promises,
        posterior,
        guide.measured(done),
        guide.model.scale,
        rng,
        count - len(first),
        pending=len(pending),
        limits=guide.limits,
    )
    return first + [guide.point(*found[place - len(pending)]) for place in chosen]


@dataclass(frozen=True, eq=False)
class Promises:
    """Costs of points that are known, [points, objectives], and the features of their loss, [points, factors]."""

    costs: FloatArray
    rows: FloatArray


def most_promising(
    promises: Promises,
    posterior: Posterior,
    measured: FloatArray,
    scale: Scale,
    rng: np.random.Generator,
    count: int,
    *,
    pending: int = 0,
    limits: FloatArray | None = None,
) -> list[int]:
    """Return the points whose measuring promises the largest dominated hypervolume, one after the other.

    ``measured`` holds known costs and lost images of the points already measured, [points, objectives + 1]. The volume
    is that of a box a tenth wider than the front of both, as far as expectations tell; it is counted at random places
    that no measured point dominates, but one that loses as little as may be. A point that is chosen counts as measured as
    expected, so that the next ones are chosen where it tells nothing; the first ``pending`` points were chosen before and
    are none of the ``count`` returned. What is beyond ``limits`` [objectives + 1] counts
    for nothing, where the box reaches below them.
    """
    mean, deviation = posterior.expected(promises.rows), np.sqrt(posterior.variance(promises.rows))
    hoped = np.column_stack([promises.costs, scale.lost(mean - deviation)])
    points = np.concatenate([np.column_stack([promises.costs, scale.lost(mean)]), measured])
    front = nondominated(points)
    low, high = points[front].min(axis=0), points[front].max(axis=0)
    high = np.where(high > low, high + WIDER * (high - low), low + 1.0)
    if limits is not None:
        high = np.where(limits > low, np.minimum(high, limits), high)
    some = nondominated(np.concatenate([hoped, measured]))
    some = np.union1d(some[some < len(hoped)], front[front < len(hoped)])
    some = np.union1d(np.arange(pending), some)
    costs, rows, mean = promises.costs[some], promises.rows[some], mean[some]
    places = _places(rng, low, high, measured, hoped[some])
    within = _below(costs, places[:, :-1])
    point, place = within.nonzero()
    beyond = scale.sums(scale.float_correct - places[:, -1])[place] - mean[point]
    counting = scale.variance(scale.correct(mean))
    left, chance = np.ones(len(places)), np.zeros(within.shape)
    chosen: list[int] = []
    for turn in range(min(pending + count, len(mean))):
        deviation = np.sqrt(posterior.variance(rows) + counting)
        chance[within] = ndtr(beyond / deviation[point])
        gain = chance @ left
        gain[chosen] = -1.0
        best = turn if turn < pending else int(gain.argmax())
        chosen.append(best)
        left *= 1 - chance[best]
        posterior = posterior.after(rows[best], counting[best])
    return [int(some[one]) for one in chosen[pending:]]


def _places(
    rng: np.random.Generator, low: FloatArray, high: FloatArray, measured: FloatArray, hoped: FloatArray
) -> FloatArray:
    """Return random places of a box that no measured point dominates and one hoped for does: :data:`PLACES` at most."""
    found = []
    for _ in range(ROUNDS):
        places = low + rng.random((4 * PLACES, len(low))) * (high - low)
        places = places[~_dominated(places, measured[nondominated(measured)])]
        found.append(places[_dominated(places, hoped)])
        if sum(map(len, found)) >= PLACES:
            break
    return np.concatenate(found)[:PLACES]


def _dominated(places: FloatArray, points: FloatArray) -> npt.NDArray[np.bool_]:
    """Return which places some point dominates."""
    return np.asarray(_below(points, places).any(axis=0))


def _below(points: FloatArray, places: FloatArray) -> npt.NDArray[np.bool_]:
    """Return where a point is nowhere above a place, [points, places]."""
    below = np.ones((len(points), len(places)), bool)
    for own, there in zip(points.T, places.T, strict=True):
        below &= own[:, None] <= there
    return below


Place = tuple[int, tuple[int, ...]]
"""A point as the index of its prices, its branch, and the place of each of the space's choices."""


@dataclass(frozen=True, eq=False)
class Guide:
    """What is known of a space before anything is evaluated."""

    space: SearchSpace
    objectives: tuple[str, ...]
    prices: tuple[Prices, ...]
    model: AccuracyModel

    def after(self, done: list[Evaluation]) -> Guide:
        """Return what is known of the costs once some points are evaluated."""
        known = refitted(self.prices, self.space, priced_objectives(self.objectives), done)
        return replace(self, prices=known)

    def rows(self, branch: IntArray, choices: IntArray) -> FloatArray:
        """Return the features of points."""
        texts = [self._quantizer(branch) for branch in range(len(self.prices))]
        layers = choices[:, self.space.choice_of]
        return self.model.features.of(np.array(texts, np.int64)[branch], layers)

    def candidates(
        self,
        models: list[FloatArray],
        done: list[Evaluation],
        tried: set[DesignPoint],
        rng: np.random.Generator,
    ) -> list[Place]:
        """Return points that were not tried.

        They are those on the fronts of some models, and those one choice away from the measured front, of many some drawn
        at random.
        """
        near = self._neighbours([done[place] for place in nondominated(self.measured(done))])
        found, known = list[Place](), set(self._placed(tried))
        for branch in range(len(self.prices)):
            fronts = [self.front(branch, model) for model in models]
            near[branch] = near[branch][self.prices[branch].within(near[branch])]
            some = rng.permutation(near[branch]) if len(near[branch]) > NEIGHBOURS else near[branch]
            rows = np.unique(np.concatenate([*fronts, some[:NEIGHBOURS]]), axis=0).tolist()
            found += [place for row in rows if (place := (branch, tuple(row))) not in known]
        return found

    def _neighbours(self, designs: list[Evaluation]) -> list[IntArray]:
        """Return, for each branch, the choices of designs of it with one changed and those of designs of others."""
        counts = self.space.counts
        found: list[list[IntArray]] = [[] for _ in self.prices]
        for design in designs:
            own = np.array(self.space.places(design.point), np.int64)
            for branch, price in enumerate(self.prices):
                found[branch].append(own[None])
                if price.shared == design.point.shared:
                    found[branch] += [
                        np.where(np.arange(len(own)) == number, np.arange(count)[:, None], own)
                        for number, count in enumerate(counts)
                    ]
        return [np.concatenate([np.zeros((0, len(counts)), np.int64), *rows]) for rows in found]

    def front(self, branch: int, factors: FloatArray) -> IntArray:
        """Return the choices on the front of a branch's known costs and of the loss that factors say."""
        price = self.prices[branch]
        losses = self.model.features.tables[self._quantizer(branch)]
        tables = [_widened(table) for table in price.tables]
        for number, table in zip(self.space.choice_of, losses, strict=True):
            loss = np.zeros((price.counts[number], len(price.start) + 1))
            loss[:, -1] = table[price.kept[number]] @ factors
            tables.append(alone(number, loss))
        places = pareto_merge(price.counts, tables, LONGEST_FRONT, price.largest).choices
        return np.stack([kept[column] for kept, column in zip(price.kept, places.T, strict=True)], axis=1)

    def point(self, branch: int, choices: Sequence[int]) -> DesignPoint:
        return self.space.point(self.space.bits(choices), *self.prices[branch].shared)

    def priced(self, points: Iterable[DesignPoint]) -> list[Place]:
        """Return the branch and choices of points, but of those without a price."""
        found = self._placed(points)
        return [(branch, own) for branch, own in found if self.prices[branch].within(np.array([own]))[0]]

    def _placed(self, points: Iterable[DesignPoint]) -> list[Place]:
        """Return the branch and choices of points of branches that have prices."""
        branches = {price.shared: branch for branch, price in enumerate(self.prices)}
        return [
            (branches[point.shared], tuple(self.space.places(point)))
            for point in points
            if point.shared in branches
        ]

    def _quantizer(self, branch: int) -> int:
        """Return the place of a branch's quantizer."""
        return self.model.quantizers.index(self.prices[branch].shared.quantizer)

    def promises(self, branch: IntArray, choices: IntArray) -> Promises:
        """Return what points are known to cost, and what their loss is believed from."""
        costs = np.zeros((len(choices), len(self.prices[0].start)))
        for place in range(len(self.prices)):
            costs[branch == place] = self.prices[place].of(choices[branch == place])
        return Promises(costs, self.rows(branch, choices))

    def distances(self, branch: int) -> list[FloatArray]:
        """Return how far each choice's places, [places], move the network's output alone: the sum over its layers."""
        found = [np.zeros(count) for count in self.space.counts]
        losses = self.model.features.tables[self._quantizer(branch)]
        for number, table in zip(self.space.choice_of, losses, strict=True):
            found[number] += table[:, 0]
        return found

    def distance(self, branch: int, choices: IntArray) -> FloatArray:
        """Return the sums of the distances of a branch's points."""
        columns = zip(self.distances(branch), choices.T, strict=True)
        return np.asarray(sum((own[column] for own, column in columns), np.zeros(len(choices))))

    @property
    def limits(self) -> FloatArray:
        """The most of each known cost and of lost images that the study's constraints allow."""
        assert self.space.bench is not None
        given, scale = self.space.bench.study.constraints or {}, self.model.scale
        bounds = {name: bound if METRICS[name].better == "lower" else -bound for name, bound in given.items()}
        known = [bounds.get(name, math.inf) for name in priced_objectives(self.objectives)]
        lost = [
            scale.images * bounds.get("accuracy_loss", math.inf) / 100,
            scale.float_correct + scale.images * bounds.get("accuracy", math.inf) / 100,
        ]
        return np.array([*known, min(lost)])

    def measured(self, done: list[Evaluation]) -> FloatArray:
        """Return known costs and lost images of evaluated points, [points, objectives + 1]."""
        lost = [float(e.float_correct - e.correct) for e in done]
        return np.column_stack([costs_of(done, priced_objectives(self.objectives)), lost])


def _widened(table: Table) -> Table:
    """Return a table with a last column of 0."""
    zero = np.zeros((*table.costs.shape[:-1], 1))
    return replace(table, costs=np.concatenate([table.costs, zero], axis=-1))


def guide_of(space: SearchSpace, objectives: tuple[str, ...]) -> Guide:
    """Return what is known of a space, measured and priced once, but of what is left out because it cannot be.

    Raises :class:`HwsimError` for a space without a bench, for objectives that are neither priced by tables nor the
    accuracy, and where nothing can be known.
    """
    bare = replace(space, set_aside=frozenset(), left_out=frozenset(), pending=())
    return _guide(bare, space.bench, objectives)


@lru_cache(maxsize=4)
def _guide(space: SearchSpace, bench: Bench | None, objectives: tuple[str, ...]) -> Guide:
    if bench is None or not set(objectives) & set(LOSSES):
        raise HwsimError(
            'search "exact" weighs the accuracy of a network against its costs; explore a study whose objectives name '
            "accuracy_loss, or choose another search"
        )
    costs, inquiry = priced_objectives(objectives), space.answers
    space = replace(space, inquiry=inquiry)
    model = accuracy_model(bench, space.layers, sensitivities(space))
    known = prices(space, costs)
    left_out = frozenset(inquiry.left_out)
    if not known:
        failed = next(iter(inquiry.left_out.values()))
        raise HwsimError(f"no design can be evaluated: {failed.reason}")
    return Guide(replace(space, left_out=left_out), objectives, known, model)
