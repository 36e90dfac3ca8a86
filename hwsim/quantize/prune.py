"""Pruning by magnitude: the smallest weights of a network become zero.

S. Han, J. Pool, J. Tran, W. J. Dally: Learning both weights and connections for efficient neural networks, NeurIPS 2015
(arXiv 1506.02626), in one step and without structure; the weights of all layers are compared with each other, so that layers
with many weights lose the most. Fine-tuning keeps zeros (:mod:`hwsim.quantize.fine_tune`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.network import FloatNetwork


def prune(network: FloatNetwork, sparsity: float) -> FloatNetwork:
    """Return the network with a share ``sparsity`` of its weights zero, those of least magnitude.

    Biases and batch norms are not pruned. The count is the nearest to the share; weights that are zero already are the
    first to count. Raises :class:`HwsimError` unless 0 <= sparsity < 1.
    """
    if not 0 <= sparsity < 1:
        raise HwsimError(
            f"a sparsity is at least 0 and below 1, not {sparsity}; 0.3 removes three weights of ten"
        )
    names = [f"{layer.name}.weight" for layer in network.layers if layer.has_weights]
    magnitudes = np.concatenate([np.abs(network.parameters[name]).ravel() for name in names])
    removed = np.zeros(magnitudes.size, np.bool_)
    removed[np.argsort(magnitudes, kind="stable")[: round(sparsity * magnitudes.size)]] = True
    ends = np.cumsum([network.parameters[name].size for name in names])
    masks = dict(zip(names, np.split(removed, ends[:-1]), strict=True))
    parameters = {
        name: np.where(masks[name].reshape(array.shape), 0.0, array) if name in masks else array
        for name, array in network.parameters.items()
    }
    return replace(network, parameters=parameters)


def sparsity_of(network: FloatNetwork) -> float:
    """Return the share of a network's weights that are zero."""
    weights = [network.parameters[f"{layer.name}.weight"] for layer in network.layers if layer.has_weights]
    return sum(int((w == 0).sum()) for w in weights) / sum(w.size for w in weights)
