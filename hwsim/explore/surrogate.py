"""An additive model of the accuracy lost: a prior from each choice alone, refitted from what was measured.

A choice of a layer, by itself, moves the network's distribution over the classes by a divergence; its square root d is
a distance. The model says of the share r of the float network's correct predictions (beyond chance) that a design keeps
that sqrt(-log r) is the sum over its layers of d times a factor: one factor for all, which a layer, a format of its
weights, a width of its input and a quantizer each change a little. That is a linear model with Gaussian priors, and its
posterior follows in closed form (C. M. Bishop, Pattern Recognition and Machine Learning, 2006, section 3.3); how much
factors vary, and how far designs are from any sum, maximises the evidence over a small grid (section 3.4). Additive over
layers, its fronts can be merged exactly.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwsim.bits import LayerBits
from hwsim.formats import IntArray
from hwsim.network import FloatArray
from hwsim.quantize.alone import Effect

_VARIATIONS = (0.1, 0.2, 0.4)
"""Standard deviations of a factor's changes, as shares of the factor of all."""

_DEVIATIONS = (0.02, 0.05, 0.1, 0.2)
"""Standard deviations of designs from the sum, as shares of the sum of distances and of the factor of all."""


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
        """Return the variance of what adds up that comes of counting: that of one image at least."""
        lost = np.maximum(np.abs(self.float_correct - correct), 1.0)
        beyond = np.maximum(correct - self.chance * self.images, 1.0)
        exponent = np.maximum(self.sums(correct) ** 2, 1 / self.images)
        return np.asarray(lost / beyond**2 / (4 * exponent))


@dataclass(frozen=True, eq=False)
class Features:
    """The distance of every choice, placed under each factor that it has.

    ``tables[quantizer][layer]`` is [choices, factors], ``groups`` int64 [factors] which factor is that of all (0) and
    which a change of it (1); ``start`` is a first guess of the factor of all.
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


def features(effects: Sequence[Sequence[Sequence[tuple[LayerBits, Effect]]]], scale: Scale) -> Features:
    """Return the features of choices: of each quantizer and layer the bits and the effects of its choices.

    ``scale`` is that of the images the effects were measured on.
    """
    names: dict[tuple[object, ...], int] = {("all",): 0}
    placed = [
        [
            [
                [names.setdefault(key, len(names)) for key in _factors(quantizer, layer, bits)]
                for bits, _ in given
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
                table[choice, factors] = math.sqrt(effect.divergence)
            rows.append(table)
        tables.append(tuple(rows))
    groups = np.ones(len(names), np.int64)
    groups[0] = 0
    return Features(tuple(tables), groups, _start(effects, scale))


def _factors(quantizer: int, layer: int, bits: LayerBits) -> tuple[tuple[object, ...], ...]:
    return (
        ("all",),
        ("quantizer", quantizer),
        ("layer", layer),
        ("weight", layer, str(bits.weight)),
        ("input", layer, bits.activation.bits),
    )


def _start(effects: Sequence[Sequence[Sequence[tuple[LayerBits, Effect]]]], scale: Scale) -> float:
    """Return the factor that best explains what choices lose alone, by least squares; 1 where they lose nothing."""
    flat = [effect for layers in effects for given in layers for _, effect in given]
    distance = np.sqrt([effect.divergence for effect in flat])
    lost = np.maximum(
        scale.sums(scale.float_correct - np.array([float(effect.lost) for effect in flat])), 0.0
    )
    factor = float((distance * lost).sum() / max((distance**2).sum(), 1e-12))
    return float(f"{factor:.4g}") or 1.0


@dataclass(frozen=True, eq=False)
class Posterior:
    """What is believed of the factors: Gaussian with ``mean`` and the Cholesky factor ``root`` of the precision.

    ``deviation`` is the standard deviation of designs from the sum, as a share of the sum of their distances.
    """

    mean: FloatArray
    root: FloatArray
    deviation: float

    def draw(self, rng: np.random.Generator) -> FloatArray:
        """Return factors drawn at random."""
        return self.mean + np.linalg.solve(self.root.T, rng.standard_normal(len(self.mean)))

    def variance(self, rows: FloatArray) -> FloatArray:
        """Return the variance of what adds up, for features [points, factors]."""
        spread = np.linalg.solve(self.root, rows.T)
        return np.asarray((spread**2).sum(axis=0) + (self.deviation * rows[:, 0]) ** 2)

    def after(self, row: FloatArray, counting: float) -> Posterior:
        """Return what is believed once a point is measured at its mean, its features [factors]."""
        noise = (self.deviation * row[0]) ** 2 + counting
        precision = self.root @ self.root.T + np.outer(row, row) / noise
        return Posterior(self.mean, np.asarray(np.linalg.cholesky(precision)), self.deviation)


def fit(given: Features, rows: FloatArray, sums: FloatArray, variance: FloatArray) -> Posterior:
    """Return the posterior after points with features [points, factors], what adds up and its variance."""
    fits = [
        _fit(given, rows, sums, variance, variation, deviation)
        for variation, deviation in itertools.product(_VARIATIONS, _DEVIATIONS if len(rows) else (0.1,))
    ]
    middle = len(fits) // 2
    return max(fits, key=lambda found: found[0])[1] if len(rows) else fits[middle][1]


def _fit(
    given: Features,
    rows: FloatArray,
    sums: FloatArray,
    variance: FloatArray,
    variation: float,
    deviation: float,
) -> tuple[float, Posterior]:
    """Return the log evidence, up to a constant, and the posterior under one prior."""
    prior = np.where(given.groups == 0, 1.0, variation) * given.start
    centre = np.where(given.groups == 0, given.start, 0.0)
    deviation *= given.start
    noise = variance + (deviation * rows[:, 0]) ** 2
    precision = np.diag(prior**-2) + (rows / noise[:, None]).T @ rows
    root: FloatArray = np.asarray(np.linalg.cholesky(precision), np.float64)
    error = sums - rows @ centre
    pulled = rows.T @ (error / noise)
    moved = np.linalg.solve(root.T, np.linalg.solve(root, pulled))
    fitted = (error**2 / noise).sum() - pulled @ moved
    volume = np.log(noise).sum() + 2 * np.log(prior).sum() + 2 * np.log(np.diag(root)).sum()
    return float(-(fitted + volume) / 2), Posterior(centre + moved, root, deviation)
