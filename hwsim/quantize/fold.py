"""Batch-norm folding, in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwsim.layers import BatchNorm, Convolution, Layer
from hwsim.models.builder import NORM_PARAMETERS, check_parameters
from hwsim.network import FloatArray, FloatNetwork


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
    folded: dict[str, Layer] = {}
    renamed: dict[str, str] = {}
    for layer in network.layers:
        source = layer.inputs[0]
        layer = replace(layer, inputs=tuple(renamed.get(name, name) for name in layer.inputs))
        if isinstance(layer.operator, BatchNorm):
            gain, offset = _affine(layer, layer.operator, parameters)
            producer = folded.get(layer.inputs[0])
            if producer is not None and producer.has_weights and len(network.consumers(source)) == 1:
                _scale(producer, gain, offset, parameters)
                renamed[layer.name] = producer.name
                layer = folded.pop(producer.name)
            else:
                channels = gain.size
                layer = replace(layer, operator=Convolution(channels, (1, 1), groups=channels))
                parameters[f"{layer.name}.weight"] = gain.reshape(channels, 1, 1, 1)
                parameters[f"{layer.name}.bias"] = offset
        folded[layer.name] = layer
    return replace(network, layers=tuple(folded.values()), parameters=parameters)


def _affine(
    layer: Layer, operator: BatchNorm, parameters: dict[str, FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Take a batch norm's parameters out; return them as gain and offset per channel."""
    gamma, beta, mean, variance = (parameters.pop(f"{layer.name}.{field}") for field in NORM_PARAMETERS)
    gain = gamma / np.sqrt(variance + operator.epsilon)
    return gain, beta - mean * gain


def _scale(producer: Layer, gain: FloatArray, offset: FloatArray, parameters: dict[str, FloatArray]) -> None:
    weight, bias = f"{producer.name}.weight", f"{producer.name}.bias"
    parameters[weight] = parameters[weight] * gain[:, None, None, None]
    parameters[bias] = parameters.get(bias, np.zeros(gain.size)) * gain + offset
