"""What a search chooses from, and the searches that know nothing but what was evaluated.

A search is a pure function of the space, the evaluations so far and a seeded generator, so an interrupted
exploration continues exactly as it would have gone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from hwsim.explore.bench import Bench
from hwsim.explore.evaluation import Choice, DesignPoint, Evaluation, Shared, pareto_front, point_texts
from hwsim.explore.inquiry import Inquiry, in_this_process
from hwsim.explore.question import Branch


@dataclass(frozen=True)
class SearchSpace:
    """What a design point chooses from.

    ``layers`` maps each layer to the texts it may take, its LayerBits and behind them a coder and a quantizer of its own
    where the study chooses them; ``patterns`` are the uniform choices, each with the bits of every layer, the widest first. ``ties`` is the number of
    each layer's choice: layers of one number take the text at one place of their lists, and without it every layer chooses
    by itself. ``arrays`` and ``buffers`` hold "" alone where the study's tables say them. ``bench`` is what evaluates the
    points: a search may read its network, calibration and study, and evaluates nothing with it, but has questions about
    them answered by ``inquiry``. No search proposes again what is in ``set_aside``, which could not be evaluated,
    ``left_out`` or ``pending``: points under evaluation, in the order that they were proposed in.
    """

    layers: tuple[tuple[str, tuple[str, ...]], ...]
    patterns: tuple[tuple[str, ...], ...]
    datapaths: tuple[str, ...]
    quantizers: tuple[str, ...]
    ties: tuple[int, ...] = ()
    arrays: tuple[str, ...] = ("",)
    buffers: tuple[str, ...] = ("",)
    bench: Bench | None = field(default=None, compare=False, repr=False)
    inquiry: Inquiry | None = field(default=None, compare=False, repr=False)
    set_aside: frozenset[DesignPoint] = frozenset()
    left_out: frozenset[Branch] = frozenset()
    pending: tuple[DesignPoint, ...] = ()

    @property
    def answers(self) -> Inquiry:
        """What answers questions about the space: this process, where its exploration says nothing else."""
        assert self.bench is not None
        return self.inquiry or in_this_process(self.bench)

    @property
    def size(self) -> int:
        """Number of design points."""
        return math.prod(self.counts) * len(self.shared)

    @property
    def lists(self) -> tuple[tuple[str, ...], ...]:
        """What the layers of a design share, each a list to choose from, in the order of :class:`Shared`."""
        return self.datapaths, self.quantizers, self.arrays, self.buffers

    @property
    def shared(self) -> list[Shared]:
        """All that the layers of a design can share."""
        return [Shared(*chosen) for chosen in itertools.product(*self.lists)]

    @property
    def choice_of(self) -> tuple[int, ...]:
        """The number of each layer's choice."""
        return self.ties or tuple(range(len(self.layers)))

    @property
    def counts(self) -> tuple[int, ...]:
        """How many places each choice has."""
        found = {number: len(texts) for number, (_, texts) in zip(self.choice_of, self.layers, strict=True)}
        return tuple(found.values())

    def bits(self, places: Sequence[int]) -> tuple[str, ...]:
        """Return every layer's text, from the place of each choice."""
        return tuple(
            texts[places[number]] for number, (_, texts) in zip(self.choice_of, self.layers, strict=True)
        )

    def places(self, point: DesignPoint) -> list[int]:
        """Return the place of each choice of a point."""
        found = {
            number: texts.index(text)
            for number, (_, texts), text in zip(self.choice_of, self.layers, point_texts(point), strict=True)
        }
        return list(found.values())

    def reach(self, search: str) -> int:
        """Return the most points that a search proposes: all, or those alike in every layer for ``uniform``."""
        alike = len(self.patterns) * len(self.shared)
        return alike if search == "uniform" else self.size

    def point(
        self, texts: Iterable[str], datapath: str, quantizer: str, array: str = "", buffers: str = ""
    ) -> DesignPoint:
        """Return the point with every layer's choice as a text; an array and buffers left out are the space's first."""
        chosen = [Choice.parse(text) for text in texts]
        bits = tuple((name, own.bits) for (name, _), own in zip(self.layers, chosen, strict=True))
        _, *lists = zip(*chosen, strict=True)
        coders, quantizers = (tuple(own) if any(own) else () for own in lists)
        place = (array or self.arrays[0], buffers or self.buffers[0])
        return DesignPoint(bits, datapath, quantizer, coders, *place, quantizers)

    def offers(self, point: DesignPoint) -> bool:
        """Return whether a point is of no branch that is left out."""
        return not any(branch.holds(point) for branch in self.left_out)

    def tried(self, done: list[Evaluation]) -> set[DesignPoint]:
        """Return the points that are not to be proposed again: evaluated, under evaluation or set aside."""
        return {e.point for e in done}.union(self.set_aside, self.pending)


Search = Callable[
    [SearchSpace, list[Evaluation], tuple[str, ...], np.random.Generator, int], list[DesignPoint]
]
"""(space, evaluations so far, objectives, generator, count) -> at most ``count`` points not evaluated yet.

An empty list waits for the points that are pending, and ends the exploration where none are."""


def uniform(
    space: SearchSpace,
    done: list[Evaluation],
    objectives: tuple[str, ...],
    rng: np.random.Generator,
    count: int,
) -> list[DesignPoint]:
    """The same bits in every free layer: the widest first, then well spread over all of them."""
    seen = space.tried(done)
    return list(itertools.islice((p for p in _uniform_points(space) if p not in seen), count))


def _uniform_points(space: SearchSpace) -> Iterator[DesignPoint]:
    """All uniform points, ordered by the bit-reversal of their rank so that any beginning spreads over the space."""
    grid = list(itertools.product(space.patterns, space.shared))
    width = max(1, (len(grid) - 1).bit_length())
    order = sorted(range(len(grid)), key=lambda i: int(f"{i:0{width}b}"[::-1], 2))
    points = (space.point(pattern, *shared) for pattern, shared in map(grid.__getitem__, order))
    return filter(space.offers, points)


def random(
    space: SearchSpace,
    done: list[Evaluation],
    objectives: tuple[str, ...],
    rng: np.random.Generator,
    count: int,
) -> list[DesignPoint]:
    """Independent uniform draws of every layer's bits, without repetition."""
    return _distinct(lambda: _draw(space, rng), space, done, count)


def evolve(
    space: SearchSpace,
    done: list[Evaluation],
    objectives: tuple[str, ...],
    rng: np.random.Generator,
    count: int,
) -> list[DesignPoint]:
    """Up to 48 uniform points, then the front's members changed in a layer or two and crossed layer by layer."""
    left = _uniform_share(space) - len(done) - len(space.pending)
    if left > 0:
        start = uniform(space, done, objectives, rng, min(count, left))
        if start:
            return start
    front = [e.point for e in pareto_front(done, objectives)]
    if not front:
        return random(space, done, objectives, rng, count)
    return _distinct(lambda: _child(space, front, rng), space, done, count)


_UNIFORM_POINTS = 48


def _uniform_share(space: SearchSpace) -> int:
    return min(_UNIFORM_POINTS, space.reach("uniform"))


def _distinct(
    draw: Callable[[], DesignPoint], space: SearchSpace, done: list[Evaluation], count: int
) -> list[DesignPoint]:
    """Return ``count`` new points, all that are left if fewer: drawn, or the next in order once draws repeat."""
    seen = space.tried(done)
    draws = (draw() for _ in range(_DRAWS * count))
    new: dict[DesignPoint, None] = {}
    for point in itertools.chain(draws, _all_points(space)):
        if len(new) == count:
            break
        if point not in seen and space.offers(point):
            new[point] = None
    return list(new)


_DRAWS = 1000
"""Draws for each point wanted, before the points left are taken in order."""


def _all_points(space: SearchSpace) -> Iterator[DesignPoint]:
    """All points of the space in a fixed order, each made when it is asked for."""
    every = itertools.product(*map(range, space.counts))
    return (space.point(space.bits(places), *shared) for places in every for shared in space.shared)


def _draw(space: SearchSpace, rng: np.random.Generator) -> DesignPoint:
    places = [int(rng.integers(count)) for count in space.counts]
    return space.point(space.bits(places), *_shared(space, rng))


def _shared(space: SearchSpace, rng: np.random.Generator) -> Iterator[str]:
    """Draw one of each list that layers share; a list of one entry takes nothing from the generator."""
    return (choices[rng.integers(len(choices))] for choices in space.lists)


def _child(space: SearchSpace, front: list[DesignPoint], rng: np.random.Generator) -> DesignPoint:
    """Cross two members of the front choice by choice half of the time, then change one or two choices."""
    mother, father = (front[rng.integers(len(front))] for _ in range(2))
    counts = space.counts
    take = rng.random(len(counts)) < (0.5 if rng.random() < 0.5 else 1.0)
    pairs = zip(space.places(mother), space.places(father), take, strict=True)
    places = [m if t else f for m, f, t in pairs]
    shared: Iterable[str] = mother.shared
    for _ in range(rng.integers(1, 3)):
        changed = rng.integers(len(counts) + 1)
        if changed == len(counts):
            shared = tuple(_shared(space, rng))
        else:
            places[changed] = int(rng.integers(counts[changed]))
    return space.point(space.bits(places), *shared)


def filled(
    chosen: list[DesignPoint],
    space: SearchSpace,
    done: list[Evaluation],
    rng: np.random.Generator,
    count: int,
) -> list[DesignPoint]:
    """Return the points chosen, and where they are fewer than ``count`` others drawn at random."""
    if len(chosen) == count:
        return chosen
    others = _distinct(lambda: _draw(space, rng), space, done, count)
    return [*chosen, *(point for point in others if point not in chosen)][:count]
