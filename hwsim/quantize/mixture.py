"""Two Gaussians fitted to the weights of a layer.

Zhao, Gao, Bates, Mullins, Xu, "Focused Quantization for Sparse CNNs" (NeurIPS 2019, arXiv 1903.03046), sections 3
and 4: what pruning by magnitude leaves of a layer has two modes. The mixture is found by expectation-maximization
(Dempster, Laird, Rubin, 1977) from the means and deviations of the negative and of the positive weights.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hwsim.network import FloatArray


class Mixture(NamedTuple):
    """Two Gaussians: mean, standard deviation and share of each, [2]; the first began as that of negative weights."""

    mean: FloatArray
    deviation: FloatArray
    share: FloatArray

    @property
    def pooled_deviation(self) -> float:
        """The one standard deviation that stands for both: the root of their mean variance, by share."""
        return float(np.sqrt((self.share * self.deviation**2).sum()))


GAIN = 1e-6
"""The search ends where a step raises the mean log-likelihood by less."""

_STEPS = 1000
_NARROWEST = 2.0**-20
"""A deviation, in those of all weights, below which a component would collapse onto equal weights."""


def fit_mixture(weights: FloatArray) -> Mixture | None:
    """Return the mixture of non-zero weights, or nothing where they are not of both signs or all alike."""
    weights = weights.ravel()
    negative, positive = weights[weights < 0], weights[weights > 0]
    if not (negative.size and positive.size) or weights.min() == weights.max():
        return None
    least = _NARROWEST * weights.std()
    halves = np.array([[half.mean(), max(half.std(), least)] for half in (negative, positive)])
    mixture, before = Mixture(halves[:, 0], halves[:, 1], np.array([0.5, 0.5])), -np.inf
    for _ in range(_STEPS):
        densities = _log_densities(weights, mixture)
        likelihood = np.logaddexp(*densities)
        if likelihood.mean() - before < GAIN:
            break
        before = likelihood.mean()
        mixture = _maximized(weights, np.exp(densities - likelihood), least)
    return mixture


def responsibilities(weights: FloatArray, mixture: Mixture) -> FloatArray:
    """Return the probability that each weight is of either component, [2, *weights.shape]."""
    densities = _log_densities(weights, mixture)
    shares: FloatArray = np.exp(densities - np.logaddexp(*densities))
    return shares


def separation(mixture: Mixture, variance: float) -> float:
    """Return the squared Wasserstein distance of the components by the variance of all weights.

    ((mean1 - mean2)^2 + (deviation1 - deviation2)^2) / variance: at most 4 where both have equal shares and deviations.
    """
    return float((np.diff(mixture.mean) ** 2 + np.diff(mixture.deviation) ** 2).item() / variance)


def _log_densities(weights: FloatArray, mixture: Mixture) -> FloatArray:
    """Return the log of each component's share times its density, [2, *weights.shape]; no common constant."""
    mean, deviation, share = (column.reshape(2, *[1] * weights.ndim) for column in mixture)
    densities: FloatArray = np.log(share / deviation) - ((weights - mean) / deviation) ** 2 / 2
    return densities


def _maximized(weights: FloatArray, shares: FloatArray, least: float) -> Mixture:
    """Return the mixture of greatest expected likelihood under the responsibilities [2, weights]."""
    total = np.maximum(shares.sum(axis=1), np.finfo(np.float64).tiny)
    mean = shares @ weights / total
    variance = (shares * (weights - mean[:, None]) ** 2).sum(axis=1) / total
    return Mixture(mean, np.maximum(np.sqrt(variance), least), total / weights.size)
