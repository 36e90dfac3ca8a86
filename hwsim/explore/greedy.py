"""Greedy mixed precision: from the widest design one layer at a time gives up what costs most and matters least.

As automatic mixed precision tools do (A. Siddegowda et al., Neural network quantization with AI model efficiency
toolkit, 2022, arXiv 2201.08442): every choice is ranked by what it does alone, and what is measured corrects nothing.
With several costs a step is ranked by their weighted sum; a path down under equal weights is followed by paths under
weights drawn at random.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np

from hwsim.explore.evaluation import DesignPoint, Evaluation
from hwsim.explore.exact import Guide, guide_of
from hwsim.explore.search import SearchSpace, filled
from hwsim.formats import IntArray
from hwsim.network import FloatArray

_PATHS = 64
"""Paths followed for all that layers can share."""


def greedy(
    space: SearchSpace,
    done: list[Evaluation],
    objectives: tuple[str, ...],
    rng: np.random.Generator,
    count: int,
) -> list[DesignPoint]:
    """From the widest design down, each step the layer that saves most for the least effect alone."""
    guide = guide_of(space, objectives)
    space = replace(space, left_out=guide.space.left_out)
    return filled(_on_paths(guide, space.tried(done), count), space, done, rng, count)


def _on_paths(guide: Guide, tried: set[DesignPoint], count: int) -> list[DesignPoint]:
    """Return the next points of the paths that were not tried: at most ``count``, fewer where the paths end."""
    new: dict[DesignPoint, None] = {}
    for number in range(_PATHS):
        for branch in range(len(guide.prices)):
            for choices in _path(guide, branch, number):
                point = guide.point(branch, choices.tolist())
                if point not in tried:
                    new[point] = None
                if len(new) == count:
                    return list(new)
    return list(new)


@lru_cache(maxsize=4 * _PATHS)
def _path(guide: Guide, branch: int, number: int) -> tuple[IntArray, ...]:
    """Return the choices of every design on one path down, the design that loses least first."""
    objectives = len(guide.prices[branch].start)
    weights = np.random.default_rng(number).dirichlet(np.ones(objectives)) if number else np.ones(objectives)
    return tuple(_steps(guide, branch, weights))


def _steps(guide: Guide, branch: int, weights: FloatArray) -> Iterator[IntArray]:
    distances, price = guide.distances(branch), guide.prices[branch]
    here = np.array([kept[own[kept].argmin()] for own, kept in zip(distances, price.kept, strict=True)])
    scale = np.abs(price.spread(here[None]))[0]
    while True:
        yield here
        others = np.array(
            [_moved(here, layer, choice) for layer, kept in enumerate(price.kept) for choice in kept]
        )
        saved = ((price.spread(here[None]) - price.spread(others)) / scale) @ weights
        added = guide.distance(branch, others) - guide.distance(branch, here[None])
        better = np.flatnonzero(saved > 1e-12)
        if not better.size:
            return
        here = others[better[(added[better] / saved[better]).argmin()]]


def _moved(choices: IntArray, layer: int, choice: int) -> IntArray:
    moved = choices.copy()
    moved[layer] = choice
    return moved
