"""Weights rounded for their layer's real inputs: each makes up for the errors of those rounded before it.

E. Frantar, S. P. Singh, D. Alistarh: Optimal Brain Compression, NeurIPS 2022 (arXiv 2208.11580); E. Frantar, S. Ashkboos,
T. Hoefler, D. Alistarh: GPTQ, ICLR 2023 (arXiv 2210.17323). An output channel's squared error over inputs x is e' H e, with
the errors e of its weights and H = E[x x']. After a weight is rounded, the best real values of those not rounded yet follow
from H. Here they come in the equal form of J. Chee, Y. Cai, V. Kuleshov, C. De Sa (QuIP, NeurIPS 2023, arXiv 2307.13304,
theorem 6), without an inverse: with H = R R', R upper triangular, weight i is rounded after R_ji / R_ii e_j of each before
it is added. H's diagonal is damped by 1% of its mean, and weights with the largest inputs come first, as in GPTQ's code.

Then single weights move to another level where that alone lowers the same error, until none does (coordinate descent:
P. Nair, A. S. Suggala, CDQuant, 2024, arXiv 2406.17542, by cycles). The same is done from the nearest levels, and each output
channel takes the better of the two, so that none has a larger error than by rounding to the nearest. Inputs are the float network's, so that the integers
of a layer depend on no other layer's bits.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwsim.formats import IntArray
from hwsim.network import FloatArray
from hwsim.quantize.scales import rounded

DAMPING = 0.01
"""The share of the diagonal's mean that is added to it."""

SWEEPS = 8
"""Sweeps over the weights at most; two or three find nothing left to lower."""

Nearest = Callable[[FloatArray], FloatArray]
"""From values [groups, outputs of a group, ...] to the nearest levels of each output channel's grid."""


def compensated(steps: FloatArray, moments: FloatArray, nearest: Nearest) -> IntArray:
    """Return the levels of weights [groups, outputs of a group, taps] given in steps, int64; a zero stays zero.

    ``moments`` [groups, taps, taps] are the second moments of each group's inputs. The outputs of a group are rounded side
    by side; inputs whose moments are all zero are rounded to the nearest.
    """
    damped = _damped(moments)
    order = np.argsort(-_diagonal(damped), axis=1, kind="stable")
    damped = np.take_along_axis(np.take_along_axis(damped, order[:, :, None], 1), order[:, None], 2)
    steps = np.take_along_axis(steps, order[:, None], 2)
    begun = _level(steps, steps, nearest), fed_back(steps, damped, nearest)
    plain, made = (descended(steps, levels, damped, nearest) for levels in begun)
    better = _errors(steps - made, damped) <= _errors(steps - plain, damped)
    levels = np.where(better[:, :, None], made, plain)
    return np.take_along_axis(levels, np.argsort(order, axis=1)[:, None], 2).astype(np.int64)


def fed_back(steps: FloatArray, moments: FloatArray, nearest: Nearest) -> FloatArray:
    """Return the levels of weights rounded tap by tap in their order, each after the errors so far are fed back into it."""
    factor = np.linalg.cholesky(moments[:, ::-1, ::-1]).astype(np.float64)[:, ::-1, ::-1]
    # Row i holds what tap i takes of the errors before it.
    feedback = rounded((factor / _diagonal(factor)[:, None]).transpose(0, 2, 1))
    levels, errors = np.zeros_like(steps), np.zeros_like(steps)
    for tap in range(steps.shape[2]):
        owed = errors[:, :, :tap] @ feedback[:, tap, :tap, None]
        levels[:, :, tap] = _level(steps[:, :, tap], steps[:, :, tap] + owed[:, :, 0], nearest)
        errors[:, :, tap] = steps[:, :, tap] - levels[:, :, tap]
    return levels


def descended(steps: FloatArray, levels: FloatArray, moments: FloatArray, nearest: Nearest) -> FloatArray:
    """Return levels of no larger error, of which none can be changed alone to lower it (or after :data:`SWEEPS`)."""
    levels = levels.copy()
    pull = rounded(moments / _diagonal(moments)[:, None])
    # How far each weight is from where the errors of all would have it.
    pulled = (steps - levels) @ pull
    for _ in range(SWEEPS):
        settled = True
        for tap in range(steps.shape[2]):
            best = _level(steps[:, :, tap], levels[:, :, tap] + pulled[:, :, tap], nearest)
            group, row = np.nonzero(best != levels[:, :, tap])
            if group.size:
                settled = False
                pulled[group, row] += (levels[group, row, tap] - best[group, row])[:, None] * pull[group, tap]
                levels[group, row, tap] = best[group, row]
        if settled:
            break
    return levels


def _errors(errors: FloatArray, moments: FloatArray) -> FloatArray:
    """Return e' H e of each output channel, to 24 bits."""
    return rounded(((errors @ moments) * errors).sum(axis=2))


def _level(steps: FloatArray, wanted: FloatArray, nearest: Nearest) -> FloatArray:
    return np.where(steps == 0, 0.0, nearest(rounded(wanted)))


def _diagonal(moments: FloatArray) -> FloatArray:
    return np.diagonal(moments, axis1=1, axis2=2)


def _damped(moments: FloatArray) -> FloatArray:
    """Return moments in units of their diagonal's mean, so that they can be factored; an identity where they are zero."""
    mean = _diagonal(moments).mean(axis=1)[:, None, None]
    identity = np.eye(moments.shape[1])
    return np.where(mean > 0, moments / np.where(mean > 0, mean, 1.0) + DAMPING * identity, identity)


def left_over(moments: FloatArray, correction: bool | str) -> FloatArray:
    """Return the second moments of what a correction of the bias leaves of the inputs, [groups, taps, taps].

    ``moments`` [groups, taps + 1, taps + 1] are those of the inputs and a constant 1 behind them. Where a layer adds the
    mean error of its weights times the sum of its inputs, an error costs only what inputs differ from their mean; where it
    adds that sum's expectation, what they differ from the mean of the expected.
    """
    taps = moments.shape[1] - 1
    kept = np.broadcast_to(np.eye(taps, taps + 1), (len(moments), taps, taps + 1)).copy()
    if correction is True:
        kept[:, :, taps] -= moments[:, taps, :taps].mean(axis=1)[:, None]
    elif correction:
        kept[:, :, :taps] -= 1 / taps
    return kept @ moments @ kept.transpose(0, 2, 1)
