"""Pruning by magnitude: the smallest weights of a network become zero.

S. Han, J. Pool, J. Tran, W. J. Dally: Learning both weights and connections for efficient neural networks, NeurIPS 2015
(arXiv 1506.02626), in one step and without structure. Where the weights of all layers are compared with each other, layers
with many weights lose the most. Fine-tuning keeps zeros (:mod:`hwsim.quantize.fine_tune`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError, unknown
from hwsim.network import FloatArray, FloatNetwork

SCOPES = ("network", "layer")


def prune(network: FloatNetwork, sparsity: float, *, scope: str = "network") -> FloatNetwork:
    """Return the network with a share ``sparsity`` of its weights zero, those of least magnitude.

    With scope "network" the weights of all layers are compared, with "layer" each layer loses that share of its own.
    Biases and batch norms are not pruned. The count is the nearest to the share; weights that are zero already are the
    first to count. Raises :class:`HwsimError` unless 0 <= sparsity < 1.
    """
    if not 0 <= sparsity < 1:
        raise HwsimError(
            f"a sparsity is at least 0 and below 1, not {sparsity}; 0.3 removes three weights of ten"
        )
    if scope not in SCOPES:
        raise unknown("scope of pruning", scope, SCOPES)
    names = [f"{layer.name}.weight" for layer in network.layers if layer.has_weights]
    weights = [network.parameters[name] for name in names]
    if scope == "layer":
        removed = [_smallest(weight.ravel(), sparsity) for weight in weights]
    else:
        together = _smallest(np.concatenate([weight.ravel() for weight in weights]), sparsity)
        removed = np.split(together, np.cumsum([weight.size for weight in weights])[:-1])
    pruned = {
        name: np.where(mask.reshape(weight.shape), 0.0, weight)
        for name, weight, mask in zip(names, weights, removed, strict=True)
    }
    return replace(network, parameters={**network.parameters, **pruned})


def _smallest(weights: FloatArray, share: float) -> npt.NDArray[np.bool_]:
    """Return where the smallest magnitudes are, of equal ones the first."""
    chosen = np.zeros(weights.size, np.bool_)
    chosen[np.argsort(np.abs(weights), kind="stable")[: round(share * weights.size)]] = True
    return chosen


def sparsity_of(network: FloatNetwork) -> float:
    """Return the share of a network's weights that are zero."""
    weights = [network.parameters[f"{layer.name}.weight"] for layer in network.layers if layer.has_weights]
    return sum(int((w == 0).sum()) for w in weights) / sum(w.size for w in weights)
