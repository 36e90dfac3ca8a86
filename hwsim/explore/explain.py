"""Explaining a measured design: its neighbours' prices, its weights on their levels, its safe accumulators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from hwsim.certificate import certify
from hwsim.explore.bench import Bench, array_cycles
from hwsim.explore.evaluation import Evaluation
from hwsim.explore.explanation import BINS, Explanation, LayerWeights
from hwsim.explore.neighbours import steps
from hwsim.formats import Focused
from hwsim.network import QuantizedNetwork
from hwsim.quantize.fold import fold_batch_norm
from hwsim.quantize.settings import Settings, by_layer
from hwsim.quantize.weights import quantize_weight


def explain(bench: Bench, evaluation: Evaluation) -> Explanation:
    """Return the explanation of a measured design of a bench."""
    network = bench.quantized(evaluation.point)
    settings = Settings.parse(evaluation.point.quantizer)
    cycles = array_cycles(bench.study.of(evaluation.point), network)
    return Explanation(
        steps(bench, evaluation),
        tuple(_weights(bench, network, by_layer(network.bits, settings))),
        {certificate.layer: certificate.width for certificate in certify(network)},
        {name: cycles for name, cycles in cycles.items() if name in network.bits},
    )


def _weights(bench: Bench, network: QuantizedNetwork, own: Mapping[str, Settings]) -> Iterator[LayerWeights]:
    """Yield the weights of each layer; a focused one's step is no even one and so it has none."""
    folded = fold_batch_norm(bench.network)
    for item in network.layers:
        name = item.layer.name
        if item.bits is None or isinstance(item.bits.weight, Focused):
            continue
        weight = folded.parameters[f"{name}.weight"]
        scale = quantize_weight(weight, item.bits.weight, own[name]).scale
        edge = 1.1 * item.bits.weight.maximum
        inside = np.clip(weight / scale[:, None, None, None], -edge, edge)
        counts, _ = np.histogram(inside, BINS, (-edge, edge))
        yield LayerWeights(name, edge, " ".join(map(str, counts.tolist())))
