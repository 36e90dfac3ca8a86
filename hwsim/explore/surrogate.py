"""What the accuracy lost is believed to be: additive over layers from each choice alone, and what designs near show.

A choice of a layer, by itself, moves the network's distribution over the classes by a divergence; its square root d is
a distance. The model says of the share r of the float network's correct predictions (beyond chance) that a design keeps
that sqrt(-log r) is the sum over its layers of d times a factor, one factor for all, which a layer, a format of its
weights with the quantizer of its own, a width of its input and a quantizer each change a little, and beside the sum a part that designs share the more
the fewer layers differ between them: what layers do to each other. Factors and parts have Gaussian priors, so that the
belief is a Gaussian process with a kernel of both (C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine
Learning, 2006, sections 2.2 and 2.7); the numbers of the prior maximise the evidence (section 5.4) over a small grid.
The sums' fronts can be merged exactly; the parts correct what is expected of a design.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import cho_solve, solve_triangular

from hwsim.bits import LayerBits
from hwsim.explore.evaluation import Choice
from hwsim.formats import IntArray
from hwsim.network import FloatArray
from hwsim.quantize.alone import Effect

_GRID: dict[str, tuple[Any, ...]] = {
    "variation": (0.1, 0.2, 0.4, 0.8),
    "deviation": (0.003, 0.01, 0.03, 0.1),
    "apart": (0.015, 0.03, 0.06, 0.12, 0.24),
    "weights": (0.03, 0.1, 0.3, 1.0),
    "inputs": (0.03, 0.1, 0.3, 1.0),
}
"""What each number of a prior may be, in the order of its fields."""

_COUNTED = 0.3
"""Share of counting's variance that counts: designs are measured on the same images, which most of them get right alike."""

_NEAREST = 1e-6
"""The least distance: of a choice that changes nothing at all."""

_ALL, _LAYERS, _WEIGHTS, _INPUTS = range(4)
"""Groups of factors."""


@dataclass(frozen=True)
class Scale:
    """The link between correct predictions on a split and what adds up: sqrt(-log of the share kept beyond chance)."""

    images: int
    float_correct: int
    classes: int

    @property
    def chance(self) -> float:
        return 1 / self.classes

    def sums(self, correct: FloatArray) -> FloatArray:
        """Return what adds up, from how many images are right; negative for more than the float network."""
        best = self.float_correct / self.images - self.chance
        share = (correct / self.images - self.chance) / max(best, 0.5 / self.images)
        exponent = -np.log(np.maximum(share, 0.5 / self.images))
        return np.asarray(np.sign(exponent) * np.sqrt(np.abs(exponent)))

    def correct(self, sums: FloatArray) -> FloatArray:
        """Return how many images are right, from what adds up."""
        best = self.float_correct / self.images - self.chance
        return np.asarray(self.images * (self.chance + best * np.exp(-np.sign(sums) * sums**2)))

    def lost(self, sums: FloatArray) -> FloatArray:
        """Return how many images fewer are right than with the float network, from what adds up."""
        return self.float_correct - self.correct(sums)

    def variance(self, correct: FloatArray) -> FloatArray:
        """Return the variance of what adds up that comes of counting, for one image at least."""
        lost = np.maximum(np.abs(self.float_correct - correct), 1.0)
        beyond = np.maximum(correct - self.chance * self.images, 1.0)
        exponent = np.maximum(self.sums(correct) ** 2, 1 / self.images)
        return np.asarray(_COUNTED * lost / beyond**2 / (4 * exponent))


@dataclass(frozen=True, eq=False)
class Features:
    """The distance of every choice, placed under each factor that it has.

    ``tables[quantizer][layer]`` is [choices, factors], ``groups`` int64 [factors] which factor is that of all (0), and
    which a change of it by the layer (1), by its weights or the quantizer (2) or by its input (3); ``start`` is a first
    guess of the factor of all.
    """

    tables: tuple[tuple[FloatArray, ...], ...]
    groups: IntArray
    start: float

    def of(self, quantizers: IntArray, choices: IntArray) -> FloatArray:
        """Return the features [points, factors] of points: their quantizer and each layer's choice."""
        found = np.zeros((len(choices), len(self.groups)))
        for quantizer, tables in enumerate(self.tables):
            rows = np.flatnonzero(quantizers == quantizer)
            for layer, table in enumerate(tables):
                found[rows] += table[choices[rows, layer]]
        return found


def features(effects: Sequence[Sequence[Sequence[tuple[Choice, Effect]]]], scale: Scale) -> Features:
    """Return the features of choices: of each quantizer and layer its choices with their effects.

    ``scale`` is that of the images the effects were measured on.
    """
    names: dict[tuple[object, ...], int] = {("all",): 0}
    placed = [
        [
            [
                [names.setdefault(key, len(names)) for key in _factors(quantizer, layer, choice)]
                for choice, _ in given
            ]
            for layer, given in enumerate(layers)
        ]
        for quantizer, layers in enumerate(effects)
    ]
    tables = []
    for layers, places in zip(effects, placed, strict=True):
        rows = []
        for given, own in zip(layers, places, strict=True):
            table = np.zeros((len(given), len(names)))
            for choice, ((_, effect), factors) in enumerate(zip(given, own, strict=True)):
                table[choice, factors] = max(math.sqrt(effect.divergence), _NEAREST)
            rows.append(table)
        tables.append(tuple(rows))
    groups = np.array([_GROUPS[str(key[0])] for key in names])
    return Features(tuple(tables), groups, _start(effects, scale))


_GROUPS = {"all": _ALL, "quantizer": _WEIGHTS, "layer": _LAYERS, "weight": _WEIGHTS, "input": _INPUTS}


def _factors(quantizer: int, layer: int, choice: Choice) -> tuple[tuple[object, ...], ...]:
    bits = LayerBits.parse(choice.bits, signed=False)
    return (
        ("all",),
        ("quantizer", quantizer),
        ("layer", layer),
        ("weight", layer, str(bits.weight), choice.quantizer),
        ("input", layer, bits.activation.bits),
    )


def _start(effects: Sequence[Sequence[Sequence[tuple[Choice, Effect]]]], scale: Scale) -> float:
    """Return the factor that best explains what choices lose alone, by least squares; 1 where they lose nothing."""
    flat = [effect for layers in effects for given in layers for _, effect in given]
    distance = np.sqrt([effect.divergence for effect in flat])
    lost = np.maximum(
        scale.sums(scale.float_correct - np.array([float(effect.lost) for effect in flat])), 0.0
    )
    factor = float((distance * lost).sum() / max((distance**2).sum(), 1e-12))
    return float(f"{factor:.4g}") or 1.0


@dataclass(frozen=True, eq=False)
class Prior:
    """What is believed before anything is measured: factors that vary, and what designs are from their sum.

    ``variation`` is the standard deviation of a factor's changes as a share of the factor of all. A design's part beside the
    sum has the standard deviation ``apart``, and between two designs its correlation falls by exp(-``weights``) with each
    layer of other weights (and with another quantizer), by exp(-``inputs``) with each of another input. ``deviation`` is
    that of what no other design tells, as a share of the sum of distances and of the factor of all.
    """

    given: Features
    variation: float = 0.2
    deviation: float = 0.03
    apart: float = 0.06
    weights: float = 0.3
    inputs: float = 0.3

    @property
    def centre(self) -> FloatArray:
        """The factors expected."""
        return np.where(self.given.groups == _ALL, self.given.start, 0.0)

    @property
    def spread(self) -> FloatArray:
        """The factors' standard deviations."""
        return np.where(self.given.groups == _ALL, 1.0, self.variation) * self.given.start

    def covariance(self, first: FloatArray, second: FloatArray) -> FloatArray:
        """Return the covariances [first, second] of what adds up, for features [points, factors]."""
        unlike = sum(
            rate * _unlike(first[:, self.given.groups == group], second[:, self.given.groups == group])
            for group, rate in ((_WEIGHTS, self.weights), (_INPUTS, self.inputs))
        )
        return np.asarray((first * self.spread**2) @ second.T + self.apart**2 * np.exp(-unlike))

    def own(self, rows: FloatArray) -> FloatArray:
        """Return each design's variance that other designs tell of, for features [points, factors]."""
        return np.asarray(((rows * self.spread) ** 2).sum(axis=1) + self.apart**2)

    def noise(self, rows: FloatArray) -> FloatArray:
        """Return each design's variance that no other tells of, for features [points, factors]."""
        return np.asarray((self.deviation * self.given.start * rows[:, 0]) ** 2)


def _unlike(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return in how many places designs differ, [first, second], from features that only one format of each place has."""
    has, had = (first != 0).astype(float), (second != 0).astype(float)
    return np.asarray(has.sum(axis=1)[:, None] - has @ had.T)


@dataclass(frozen=True, eq=False)
class Posterior:
    """What is believed after points with features ``rows`` [points, factors] were measured.

    ``root`` is the Cholesky factor of their covariance and ``pull`` what that covariance makes of their distances from
    what was expected.
    """

    prior: Prior
    rows: FloatArray
    root: FloatArray
    pull: FloatArray

    @property
    def mean(self) -> FloatArray:
        """The factors expected: what is believed of any design, but for its part beside the sum."""
        return self.prior.centre + self.prior.spread**2 * (self.rows.T @ self.pull)

    def draw(self, rng: np.random.Generator) -> FloatArray:
        """Return factors drawn at random: from the prior, then moved as the measured points ask (G. Matheron's rule)."""
        drawn = self.prior.spread * rng.standard_normal(len(self.prior.spread))
        seen = self.rows @ drawn + self._beside(rng)
        moved = self.rows.T @ cho_solve((self.root, True), seen)
        return np.asarray(self.mean + drawn - self.prior.spread**2 * moved)

    def _beside(self, rng: np.random.Generator) -> FloatArray:
        """Return what measured points are from a sum, drawn at random."""
        sums = (self.rows * self.prior.spread**2) @ self.rows.T
        beside = np.linalg.cholesky(self.root @ self.root.T - sums + 1e-12 * np.eye(len(sums)))
        return np.asarray(beside @ rng.standard_normal(len(sums)))

    def expected(self, rows: FloatArray) -> FloatArray:
        """Return what is expected to add up, for features [points, factors]."""
        return np.asarray(rows @ self.prior.centre + self.prior.covariance(rows, self.rows) @ self.pull)

    def variance(self, rows: FloatArray) -> FloatArray:
        """Return the variance of what adds up, for features [points, factors]."""
        told = solve_triangular(self.root, self.prior.covariance(self.rows, rows), lower=True)
        return np.asarray(
            np.maximum(self.prior.own(rows) - (told**2).sum(axis=0), 0.0) + self.prior.noise(rows)
        )

    def after(self, row: FloatArray, counting: float) -> Posterior:
        """Return what is believed once a point is measured at its mean, its features [factors]."""
        point = row[None]
        told = solve_triangular(self.root, self.prior.covariance(self.rows, point), lower=True)[:, 0]
        left = self.prior.own(point) + self.prior.noise(point) + counting - told @ told
        count = len(self.rows)
        root = np.zeros((count + 1, count + 1))
        root[:count, :count], root[count, :count], root[count, count] = self.root, told, np.sqrt(left[0])
        return Posterior(self.prior, np.vstack([self.rows, point]), root, np.append(self.pull, 0.0))


def fit(given: Features, rows: FloatArray, sums: FloatArray, variance: FloatArray) -> Posterior:
    """Return the posterior after points with features [points, factors], what adds up and its variance.

    Each number of the prior in turn becomes that of a grid under which the evidence is largest, twice.
    """

    @functools.cache
    def fitted(numbers: tuple[float, ...]) -> tuple[float, Posterior]:
        return _fit(Prior(given, *numbers), rows, sums, variance)

    best = tuple(getattr(Prior, name) for name in _GRID)
    for place, values in [*enumerate(_GRID.values())] * (2 if len(rows) else 0):
        tried = ((*best[:place], value, *best[place + 1 :]) for value in values)
        best = max(best, *tried, key=lambda numbers: fitted(numbers)[0])
    return fitted(best)[1]


def _fit(prior: Prior, rows: FloatArray, sums: FloatArray, variance: FloatArray) -> tuple[float, Posterior]:
    """Return the log evidence with that of the prior's own numbers, up to a constant, and the posterior."""
    noise = variance + prior.noise(rows)
    root = np.asarray(np.linalg.cholesky(prior.covariance(rows, rows) + np.diag(noise)), np.float64)
    error = sums - rows @ prior.centre
    pull = np.asarray(cho_solve((root, True), error))
    unusual = sum(math.log(getattr(prior, name) / getattr(Prior, name)) ** 2 for name in _GRID)
    evidence = -(error @ pull) / 2 - np.log(np.diag(root)).sum() - unusual / 2
    return float(evidence), Posterior(prior, rows, root, pull)
