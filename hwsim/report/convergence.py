"""How the front grew: the hypervolume that the first evaluations of a study reached."""

from __future__ import annotations

from collections.abc import Sequence

import moocore
import numpy as np

from hwsim.explore.evaluation import Evaluation, costs_of
from hwsim.network import FloatArray

REFERENCE = 1.1
"""The reference point in every objective, where 0 is the best and 1 the worst value that any evaluation has."""


def scaled_costs(evaluations: Sequence[Evaluation], objectives: Sequence[str]) -> FloatArray:
    """Return the objectives with lower better, from 0 at the best to 1 at the worst of all, [evaluations, objectives]."""
    costs = costs_of(evaluations, tuple(objectives))
    low, high = costs.min(axis=0), costs.max(axis=0)
    scaled: FloatArray = (costs - low) / np.where(high > low, high - low, 1.0)
    return scaled


def hypervolume(costs: FloatArray) -> float:
    """Return what scaled costs dominate of the box up to :data:`REFERENCE`; 0 of none.

    Source: E. Zitzler, L. Thiele, "Multiobjective optimization using evolutionary algorithms: a comparative case
    study", PPSN V, 1998.

    >>> round(hypervolume(np.array([[0.1, 0.1]])), 12)
    1.0
    """
    return float(moocore.hypervolume(costs, ref=[REFERENCE] * costs.shape[1])) if len(costs) else 0.0


def convergence(costs: FloatArray, whole: float) -> list[float]:
    """Return the hypervolume of the first 1, 2, ... evaluations as shares of ``whole``."""
    front, share, shares = costs[:0], 0.0, []
    for row in costs:
        if not (front <= row).all(axis=1).any():
            front = np.vstack([front[~(front >= row).all(axis=1)], row])
            share = round(hypervolume(front) / whole, 5)
        shares.append(share)
    return shares
