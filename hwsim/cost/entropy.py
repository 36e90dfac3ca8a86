"""Entropy: what a variable-length code of a network's integers could come down to, in bits a value.

Banner, Nahshan, Soudry (NeurIPS 2019) report the bits of their variable-length code so: the Shannon entropy of
all integers of a tensor, not the length of a coded file, and the mean over tensors weighted by their values. A
Huffman code takes up to a bit a value more, and its table (:mod:`hwsim.cost.compression` counts both).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hwsim.errors import HwsimError
from hwsim.formats import IntArray
from hwsim.network import ImageSequence, IntegerLayer, QuantizedNetwork
from hwsim.simulate.inference import images_per_batch, run


def entropy_bits(counts: IntArray) -> float:
    """Return the Shannon entropy of values that occur ``counts`` times each, in bits a value; 0 for no values.

    >>> entropy_bits(np.array([4, 2, 1, 1, 0]))
    1.75
    """
    filled = counts[counts > 0]
    shares = filled / max(1, int(filled.sum()))
    return float((shares * -np.log2(shares)).sum())


@dataclass(frozen=True)
class Entropies:
    """Bits a value of each layer's weights and of the activations it reads, over ``images`` images.

    The means are over all values: a layer counts as often as it has weights, or reads activations.
    """

    images: int
    weights: Mapping[str, float]
    activations: Mapping[str, float]
    mean_weight: float
    mean_activation: float


def measure_entropies(network: QuantizedNetwork, images: ImageSequence) -> Entropies:
    """Return the entropies of a network's integers, activations as they are on uint8 images [n, h, w, c]."""
    if not len(images):
        raise HwsimError("entropy is measured over at least one image; give one")
    weighted = [item for item in network.layers if item.weight is not None]
    formats = network.formats()
    read = {item.layer.name: formats[item.layer.inputs[0]] for item in weighted}
    counts = {name: np.zeros(1 << form.bits, np.int64) for name, form in read.items()}

    def visit(item: IntegerLayer, inputs: tuple[IntArray, ...], *_: object) -> None:
        if item.layer.name in counts:
            form = read[item.layer.name]
            counts[item.layer.name] += np.bincount(inputs[0].ravel() - form.minimum, minlength=1 << form.bits)

    batch = images_per_batch(network)
    for start in range(0, len(images), batch):
        run(network, images[start : start + batch], visit)
    weight_counts = {
        item.layer.name: np.array(list(Counter(item.weight.ravel().tolist()).values()))
        for item in weighted
        if item.weight is not None
    }
    return Entropies(
        len(images),
        {name: entropy_bits(seen) for name, seen in weight_counts.items()},
        {name: entropy_bits(seen) for name, seen in counts.items()},
        _mean(weight_counts),
        _mean(counts),
    )


def _mean(counts: Mapping[str, IntArray]) -> float:
    values = {name: int(seen.sum()) for name, seen in counts.items()}
    return sum(entropy_bits(counts[name]) * n for name, n in values.items()) / max(1, sum(values.values()))
