"""Batch-norm folding, in float64."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from hwsim.layers import BatchNorm, Convolution, Layer
from hwsim.models.builder import NORM_PARAMETERS, check_parameters
from hwsim.network import FloatArray, FloatNetwork

if TYPE_CHECKING:
    from torch import Tensor


def fold_batch_norm(network: FloatNetwork) -> FloatNetwork:
    """Return the same function without batch norm: weight' = weight * g, bias' = beta + (bias - mean) * g.

    g = gamma / sqrt(variance + epsilon), so a zero variance is divided by sqrt(epsilon). A batch norm that
    is the only reader of a layer with weights disappears into it (the layer takes the batch norm's place
    in the order and keeps its own name); any other becomes a depthwise 1x1 convolution of its own name,
    which is exact too. A network without batch norm comes back as it is.

    Raises :class:`HwsimError` where a parameter is missing, of another shape, or not finite.
    """
    parameters = {name: np.asarray(array, np.float64) for name, array in network.parameters.items()}
    check_parameters(network.layers, parameters)
    if not any(layer.kind == "batch_norm" for layer in network.layers):
        return network
    layers, folded = fold_layers(network.layers, parameters)
    return replace(network, layers=layers, parameters=folded)


Values = TypeVar("Values", FloatArray, "Tensor")
"""What parameters are made of: arrays, or torch's tensors, through which a gradient finds its way."""


def fold_layers(
    layers: tuple[Layer, ...], parameters: Mapping[str, Values]
) -> tuple[tuple[Layer, ...], dict[str, Values]]:
    """Return layers and parameters without batch norm, as :func:`fold_batch_norm` says; nothing is checked."""
    values = dict(parameters)
    folded: dict[str, Layer] = {}
    renamed: dict[str, str] = {}
    readers = Counter(name for layer in layers for name in set(layer.inputs))
    for layer in layers:
        source = layer.inputs[0]
        layer = replace(layer, inputs=tuple(renamed.get(name, name) for name in layer.inputs))
        if isinstance(layer.operator, BatchNorm):
            gain, offset = _affine(layer, layer.operator, values)
            producer = folded.get(layer.inputs[0])
            if producer is not None and producer.has_weights and readers[source] == 1:
                _scale(producer, gain, offset, values)
                renamed[layer.name] = producer.name
                layer = folded.pop(producer.name)
            else:
                channels = len(gain)
                layer = replace(layer, operator=Convolution(channels, (1, 1), groups=channels))
                values[f"{layer.name}.weight"] = gain.reshape(channels, 1, 1, 1)
                values[f"{layer.name}.bias"] = offset
        folded[layer.name] = layer
    return tuple(folded.values()), values


def weight_gains(network: FloatNetwork, parameters: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Return what folding multiplies each stored weight by, per output channel: gamma / sqrt(variance + epsilon)."""
    names = [layer.name for layer in network.layers if layer.has_weights]
    ones = {f"{name}.weight": np.ones((len(parameters[f"{name}.weight"]), 1, 1, 1)) for name in names}
    _, folded = fold_layers(network.layers, {**parameters, **ones})
    return {name: folded[f"{name}.weight"][:, 0, 0, 0] for name in names}


def _affine(layer: Layer, operator: BatchNorm, values: dict[str, Values]) -> tuple[Values, Values]:
    """Take a batch norm's parameters out; return them as gain and offset per channel."""
    gamma, beta, mean, variance = (values.pop(f"{layer.name}.{field}") for field in NORM_PARAMETERS)
    gain = gamma / (variance + operator.epsilon) ** 0.5
    return gain, beta - mean * gain


def _scale(producer: Layer, gain: Values, offset: Values, values: dict[str, Values]) -> None:
    weight, bias = f"{producer.name}.weight", f"{producer.name}.bias"
    values[weight] = values[weight] * gain[:, None, None, None]
    values[bias] = (values[bias] if bias in values else 0 * gain) * gain + offset
