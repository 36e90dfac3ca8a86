"""ONNX with QuantizeLinear and DequantizeLinear, for weights that fit 8 bits and tensors of at most 16."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hwsim.bundle.onnx_graph import Dialect, Graph, holding, model
from hwsim.formats import Int, IntArray
from hwsim.network import FloatArray, QuantizedNetwork

WEIGHT_BITS, TENSOR_BITS = 8, 16


def says(network: QuantizedNetwork) -> bool:
    """Return whether these nodes can say a network: weights that fit 8 bits as integers, tensors of at most 16."""
    weights = [holding(item) for item in network.layers if item.weight is not None]
    tensors = [network.input, *(item.output for item in network.layers)]
    return all(form.bits <= WEIGHT_BITS for form in weights) and all(
        isinstance(form, Int) and form.bits <= TENSOR_BITS for form in tensors
    )


def qdq_model(network: QuantizedNetwork, names: Mapping[str, str]) -> bytes:
    """Return a network as ONNX with QDQ nodes; widths between those of bytes are a Clip before QuantizeLinear."""
    return model(network, names, Dialect(_activation, _bytes, _weight))


def _container(form: Int) -> Int:
    return Int(8 if form.bits <= 8 else 16, form.signed)


def _zero(graph: Graph, form: Int, count: int) -> str:
    return graph.constant(np.zeros(count, _dtype(form)) if count > 1 else np.zeros((), _dtype(form)))


def _dtype(form: Int) -> np.dtype[np.integer]:
    return np.dtype(f"{'int' if form.signed else 'uint'}{_container(form).bits}")


def _scale(graph: Graph, scale: FloatArray) -> str:
    return graph.constant(scale.astype(np.float32).reshape(() if scale.size == 1 else -1))


def _activation(graph: Graph, x: str, form: Int, scale: FloatArray) -> str:
    if form.bits < _container(form).bits:
        single = scale.astype(np.float32).reshape(1, -1, 1, 1)
        x = graph.node("Min", x, graph.constant(single * np.float32(form.maximum)))
        x = graph.node("Max", x, graph.constant(single * np.float32(form.minimum)))
    return _bytes(graph, x, form, scale)


def _bytes(graph: Graph, x: str, form: Int, scale: FloatArray) -> str:
    """Append the two nodes for values that a format's bytes may clamp and its bits would not."""
    step, zero = _scale(graph, scale), _zero(graph, form, scale.size)
    return graph.node(
        "DequantizeLinear", graph.node("QuantizeLinear", x, step, zero, axis=1), step, zero, axis=1
    )


def _weight(graph: Graph, weight: IntArray, form: Int, scale: FloatArray) -> str:
    integers = graph.constant(weight.astype(_dtype(form)))
    many = scale if scale.size == len(weight) else np.repeat(scale, len(weight))
    step = graph.constant(many.astype(np.float32))
    return graph.node(
        "DequantizeLinear", integers, step, graph.constant(np.zeros(len(weight), _dtype(form))), axis=0
    )
