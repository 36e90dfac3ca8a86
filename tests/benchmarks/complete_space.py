"""A space of which every design was evaluated, and what searches find of its front, told what is kept in place of a measurement."""

import itertools
from dataclasses import replace

import moocore
import numpy as np

from hwsim.cost.compression import float32_bytes
from hwsim.explore.evaluation import METRICS
from hwsim.explore.exploration import propose
from hwsim.explore.space import search_space


def space_of(bench):
    return replace(search_space(bench.study, bench.network), bench=bench)


def every_point(space):
    choices = (texts for _, texts in space.layers)
    return [space.point(bits, *space.shared[0]) for bits in itertools.product(*choices)]


class CompleteSpace:
    """Every design of a bench's space with what is kept of it; a benchmark says how that is an ``evaluation``.

    Hypervolumes are of costs scaled so that the true front spans 0 to 1 in every objective, up to 1.1.
    """

    def __init__(self, bench, kept, objectives=()):
        self.bench, self.space = bench, space_of(bench)
        self.rows = dict(zip(every_point(self.space), kept, strict=True))
        self.float32_bytes = float32_bytes(bench.quantized(next(iter(self.rows))))
        self.objectives = objectives or bench.study.objectives
        costs = self.costs([self.evaluation(point, 0) for point in self.rows])
        self.front = costs[moocore.is_nondominated(costs, keep_weakly=False)]
        self.low, self.high = self.front.min(axis=0), self.front.max(axis=0)
        self.volume = self.hypervolume(self.front)

    def costs(self, evaluations):
        return np.array([[METRICS[name].cost(e) for name in self.objectives] for e in evaluations])

    def hypervolume(self, costs):
        return moocore.hypervolume((costs - self.low) / (self.high - self.low), np.full(costs.shape[1], 1.1))

    def share(self, evaluations):
        """The part of the true front's hypervolume that some evaluations dominate."""
        return self.hypervolume(self.costs(evaluations)) / self.volume


def searched(truth, name, seed, budget):
    """The evaluations of a search, which knows those that an exploration knows."""
    given = {"search": name, "seed": seed, "budget": budget, "objectives": truth.objectives}
    study, proposed = truth.bench.study.model_copy(update=given), []
    while len(proposed) < budget:
        known = max(0, len(proposed) - study.in_flight // 2)
        pending = [e.point for e in proposed[known:]]
        points = propose(study, truth.space, proposed[:known], [], pending)
        proposed += [truth.evaluation(point, len(proposed) + place) for place, point in enumerate(points)]
    return proposed
