"""Entropy: what a variable-length code of a network's integers could come down to, in bits a value.

Banner, Nahshan, Soudry (NeurIPS 2019) report the bits of their variable-length code so: the Shannon entropy of
all integers of a tensor, not the length of a coded file, and the mean over tensors weighted by their values. Beside it
stands what a real code takes, its table included: of weights the layer's part of the coded file
(:mod:`hwsim.cost.compression`), of activations a Huffman code of its own for each tensor, or packing if that is shorter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hwsim.cost.coding.huffman import encoded_bytes
from hwsim.cost.compression import record_of
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

    ``coded_weights`` and ``coded_activations`` are those of a code. The means are over all values: a layer counts as often
    as it has weights, or reads activations.
    """

    images: int
    weights: Mapping[str, float]
    activations: Mapping[str, float]
    mean_weight: float
    mean_activation: float
    coded_weights: Mapping[str, float]
    coded_activations: Mapping[str, float]
    mean_coded_weight: float
    mean_coded_activation: float


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
    weights = {name: entropy_bits(seen) for name, seen in weight_counts.items()}
    activations = {name: entropy_bits(seen) for name, seen in counts.items()}
    coded_weights = {item.layer.name: _coded_weights(item) for item in weighted}
    coded_activations = {name: _coded_bits(seen, read[name].bits) for name, seen in counts.items()}
    return Entropies(
        len(images),
        weights,
        activations,
        mean_over_values(weights, weight_counts),
        mean_over_values(activations, counts),
        coded_weights,
        coded_activations,
        mean_over_values(coded_weights, weight_counts),
        mean_over_values(coded_activations, counts),
    )


def _coded_weights(item: IntegerLayer) -> float:
    """Return the bits a weight that a layer's weights take in the coded file."""
    assert item.weight is not None
    record = record_of(item, "huffman")
    return 8 * sum(record.bytes_of(kind) for kind in ("tables", "indices", "weights")) / item.weight.size


def _coded_bits(counts: IntArray, bits: int) -> float:
    """Return the bits a value that a Huffman code of values of so many ``bits`` takes, or packing."""
    values = int(counts.sum())
    coded = encoded_bytes(counts)
    return bits if coded is None else min(float(bits), 8 * coded / values)


def mean_over_values(bits: Mapping[str, float], counts: Mapping[str, IntArray]) -> float:
    """Return the mean over all values of bits a value, by tensor."""
    values = {name: int(seen.sum()) for name, seen in counts.items()}
    return sum(bits[name] * n for name, n in values.items()) / max(1, sum(values.values()))
