"""A layer's weights as few shared values: k-means.

Han, Mao, Dally, "Deep Compression: Compressing Deep Neural Networks with Pruning, Trained Quantization and Huffman
Coding" (ICLR 2016), section 3: the weights that pruning left are clustered, the centroids spread evenly from the
smallest to the largest at first (their linear initialization, which found the best ones). They train the centroids
on; here they are those of the clusters.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hwsim.formats import IntArray
from hwsim.network import FloatArray

_STEPS = 100


class Codebook(NamedTuple):
    """Shared values [2^bits], the first of them 0, and which of them each weight is."""

    values: FloatArray
    chosen: IntArray

    @property
    def real(self) -> FloatArray:
        """The weights as floats."""
        return self.values[self.chosen]


def codebook(weights: FloatArray, bits: int) -> Codebook:
    """Return the weights with 2^bits - 1 shared values besides 0, which is that of pruned weights alone.

    The values are float32. There are fewer where fewer differ; the rest of the table is 0.
    """
    present = weights[weights != 0]
    table = np.zeros(1 << bits)
    if not present.size:
        return Codebook(table, np.zeros(weights.shape, np.int64))
    centroids = np.linspace(present.min(), present.max(), min((1 << bits) - 1, np.unique(present).size))
    for _ in range(_STEPS):
        nearest = _nearest(present, centroids)
        sizes = np.bincount(nearest, minlength=centroids.size)
        sums = np.bincount(nearest, present, minlength=centroids.size)
        moved = np.sort(np.where(sizes > 0, sums / np.maximum(sizes, 1), centroids))
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    centroids = centroids.astype(np.float32).astype(np.float64)
    table[1 : 1 + centroids.size] = centroids
    return Codebook(table, np.where(weights == 0, 0, 1 + _nearest(weights, centroids)))


def _nearest(weights: FloatArray, centroids: FloatArray) -> IntArray:
    """Return the index of the nearest of ascending centroids, the larger of two as near."""
    return np.searchsorted((centroids[1:] + centroids[:-1]) / 2, weights, side="right")
