"""An integer network as ONNX: every tensor quantized where the circuits do, by the dialect's nodes.

The graph computes in float32 what the circuits compute in integers. A requantiser's multiplier, bias and shift are its
weights' scales and its bias: ``sum * multiplier / 2^shift`` of integers is the sum of products of dequantized values,
in units of the output's scale. Left out, because ONNX has no node for them: accumulators that overflow, and the
rounding of ties, which here go to even. Half precision is refused.

Pixels come in as they are stored, but by planes: uint8 [images, channels, height, width]; their table is a Gather.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from hwsim.errors import HwsimError
from hwsim.formats import Int, IntArray
from hwsim.layers import (
    INPUT,
    AveragePool,
    ChannelShuffle,
    Concatenate,
    Flatten,
    MaxPool,
    PadChannels,
    Padding,
    Slice,
)
from hwsim.network import FloatArray, IntegerLayer, QuantizedNetwork

OPSET, IR_VERSION = 21, 10
"""Opset 21 has QuantizeLinear into 16 bits."""

PIXELS = "pixels"


@dataclass
class Graph:
    """Nodes and constants under construction; names are given by number."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def constant(self, array: npt.NDArray[Any]) -> str:
        """Return the name of a new constant."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Return the output's name of a new node."""
        name = f"t{len(self.nodes)}"
        made = helper.make_node(kind, inputs, [name], name=f"{name}_{kind}", domain=domain, **attributes)
        self.nodes.append(made)
        return name


Activation = Callable[[Graph, str, Int, FloatArray], str]
"""Appends the quantization of a tensor to a format at a scale, one or [channels], and returns its name."""

Weight = Callable[[Graph, IntArray, Int, FloatArray], str]
"""Appends weights of a format with a scale for each output channel and returns their name."""


@dataclass(frozen=True)
class Dialect:
    """How a family of tools says that a tensor is quantized; ``domain`` is that of its own operators, if any."""

    activation: Activation
    moved: Activation
    """The same for values that are in the format already: readers want to see it said behind every node."""
    weight: Weight
    domain: str = ""


def model(network: QuantizedNetwork, names: Mapping[str, str], dialect: Dialect) -> bytes:
    """Return an integer network as an ONNX file; ``names`` are the identifiers of its layers.

    Each tensor that a layer makes has the layer's identifier. Raises :class:`HwsimError` for half precision.
    """
    graph = Graph()
    tensors = {INPUT: _input(graph, network, dialect)}
    scales = {INPUT: np.array([network.input_scale])}
    for item in network.layers:
        name = item.layer.name
        inputs = [tensors[source] for source in item.layer.inputs]
        made = _layer(graph, item, inputs, [scales[source] for source in item.layer.inputs], dialect)
        graph.nodes[-1].output[0] = tensors[name] = names[name]
        assert made
        scales[name] = np.array([item.scale])
    last = network.layers[-1]
    graph.node("Flatten", tensors[last.layer.name], axis=1)
    graph.nodes[-1].output[0] = "scores"
    shape = ["images", *network.input_shape]
    proto = helper.make_graph(
        graph.nodes,
        "network",
        [helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["images", last.layer.outputs])],
        graph.constants,
    )
    opsets = [helper.make_opsetid("", OPSET)]
    opsets += [helper.make_opsetid(dialect.domain, 1)] if dialect.domain else []
    made_model = helper.make_model(proto, opset_imports=opsets, ir_version=IR_VERSION, producer_name="hwsim")
    content: bytes = made_model.SerializeToString(deterministic=True)
    return content


def scores_scale(network: QuantizedNetwork) -> float:
    """Return what a score of the ONNX file is for one step of the network's last integers."""
    return float(np.float32(network.layers[-1].scale))


def _input(graph: Graph, network: QuantizedNetwork, dialect: Dialect) -> str:
    """Append the table from pixels to dequantized integers."""
    channels = network.input_shape[0]
    offsets = graph.constant((256 * np.arange(channels, dtype=np.int32)).reshape(1, channels, 1, 1))
    table = graph.constant((network.input_table * np.float64(network.input_scale)).astype(np.float32).ravel())
    index = graph.node("Add", graph.node("Cast", PIXELS, to=TensorProto.INT32), offsets)
    values = graph.node("Gather", table, index, axis=0)
    return dialect.activation(graph, values, network.input, np.array([network.input_scale]))


def _layer(
    graph: Graph, item: IntegerLayer, inputs: list[str], scales: list[FloatArray], dialect: Dialect
) -> str:
    """Append a layer: what it computes on dequantized values, then the quantization of its output."""
    if not isinstance(item.output, Int):
        raise HwsimError(
            f"tensors of {item.output} have no quantization in ONNX; quantize with placement=integer"
        )
    layer, x = item.layer, inputs[0]
    match layer.operator:
        case _ if layer.has_weights:
            return _quantized(graph, item, _weighted(graph, item, x, scales[0], dialect), dialect)
        case MaxPool(kernel, stride, padding):
            options: dict[str, Any] = {
                "kernel_shape": list(kernel),
                "strides": list(stride),
                "pads": list(padding),
            }
            return _moved(graph, item, graph.node("MaxPool", x, **options), dialect)
        case AveragePool(kernel, stride, padding):
            mean = graph.node(
                "AveragePool",
                _zero_padded(graph, x, padding),
                kernel_shape=list(kernel),
                strides=list(stride),
            )
            window = kernel[0] * kernel[1]
            factor = _factor(item, item.multiplier, scales[0]) * window
            return _quantized(graph, item, _scaled(graph, item, mean, factor), dialect)
        case Concatenate():
            return _moved(graph, item, graph.node("Concat", *inputs, axis=1), dialect)
        case Flatten():
            flat = graph.node("Reshape", x, graph.constant(np.array([0, -1, 1, 1])))
            return _moved(graph, item, flat, dialect)
        case Slice(starts, stops, steps):
            cuts = [graph.constant(np.array(part)) for part in (starts, stops, (1, 2, 3), steps)]
            return _moved(graph, item, graph.node("Slice", x, *cuts), dialect)
        case PadChannels(before, after):
            around = graph.constant(np.array([0, before, 0, 0, 0, after, 0, 0]))
            return _moved(graph, item, graph.node("Pad", x, around), dialect)
        case ChannelShuffle(groups):
            channels, *size = layer.output_shape
            grouped = graph.constant(np.array([0, groups, channels // groups, *size]))
            turned = graph.node("Transpose", graph.node("Reshape", x, grouped), perm=[0, 2, 1, 3, 4])
            shuffled = graph.node("Reshape", turned, graph.constant(np.array([0, channels, *size])))
            return _moved(graph, item, shuffled, dialect)
        case _ if layer.kind == "add":
            assert item.multiplier is not None
            first, second = (
                _scaled(graph, item, name, _factor(item, item.multiplier[k : k + 1], scale), biased=k == 0)
                for k, (name, scale) in enumerate(zip(inputs, scales, strict=True))
            )
            return _quantized(graph, item, graph.node("Add", first, second), dialect)
        case _ if layer.kind == "rescale":
            factor = _factor(item, item.multiplier, scales[0])
            return _quantized(graph, item, _scaled(graph, item, x, factor), dialect)
    raise HwsimError(f"a {layer.kind} has no node in ONNX; quantize with placement=integer")


def _step(item: IntegerLayer) -> FloatArray:
    """Return what one unit of a layer's exact sum is worth at its output, before the shift's rounding."""
    assert item.shift is not None
    exponent = 0 if item.exponent is None else item.exponent
    return item.scale * np.exp2(np.asarray(exponent - item.shift, np.float64))


def _factor(item: IntegerLayer, multiplier: IntArray | None, scale: FloatArray) -> FloatArray:
    """Return by what a layer multiplies a dequantized operand: about 1 where only the scale changes."""
    assert multiplier is not None
    return np.asarray(multiplier * _step(item) / scale)


def _scaled(graph: Graph, item: IntegerLayer, x: str, factor: FloatArray, biased: bool = True) -> str:
    """Append an operand's multiplication and, where it is not zero, the layer's bias."""
    assert item.bias is not None
    scaled = graph.node("Mul", x, graph.constant(_planes(factor)))
    bias = item.bias * _step(item)
    return graph.node("Add", scaled, graph.constant(_planes(bias))) if biased and bias.any() else scaled


def _planes(values: FloatArray) -> npt.NDArray[np.float32]:
    """Return one value, or one a channel, as a float32 array that broadcasts over [n, c, h, w]."""
    return values.astype(np.float32).reshape(1, -1, 1, 1)


def _weighted(graph: Graph, item: IntegerLayer, x: str, scale: FloatArray, dialect: Dialect) -> str:
    """Append the convolution of a layer with weights, its bias and its sums of inputs."""
    assert item.weight is not None and item.multiplier is not None and item.bias is not None
    operator = item.layer.as_convolution
    options: dict[str, Any] = {
        "kernel_shape": list(operator.kernel),
        "strides": list(operator.stride),
        "pads": list(operator.padding),
        "group": operator.groups,
    }
    if operator.dilation != (1, 1):
        options["dilations"] = list(operator.dilation)
    factor = np.asarray(item.multiplier * _step(item) / scale)
    dead = factor == 0
    weight = np.where(dead[:, None, None, None], 0, item.weight)
    weights = dialect.weight(graph, weight, holding(item), np.where(dead, 1.0, factor))
    sums = graph.node("Conv", x, weights, **options)
    if item.masks is not None:
        sums = graph.node("Add", sums, graph.node("Conv", x, _mask_weights(graph, item, scale), **options))
    # A bias of the convolution's own would be rounded to its integers' scale by runtimes, onnxruntime among them.
    return graph.node("Add", sums, graph.constant(_planes(item.bias * _step(item))))


def _mask_weights(graph: Graph, item: IntegerLayer, scale: FloatArray) -> str:
    """Return the constant weights whose convolution is a layer's sums of inputs."""
    assert item.masks is not None and item.mask_multiplier is not None
    factor = item.mask_multiplier * _step(item) / scale
    total = (item.masks * factor[:, :, None, None, None]).sum(axis=0)
    return graph.constant(total.astype(np.float32))


def holding(item: IntegerLayer) -> Int:
    """Return the integer format of a layer's weights: their own, or the narrowest that holds their powers of two."""
    assert item.bits is not None and item.weight is not None
    if isinstance(item.bits.weight, Int):
        return item.bits.weight
    return Int(int(np.abs(item.weight).max(initial=1)).bit_length() + 1)


def _zero_padded(graph: Graph, x: str, padding: Padding) -> str:
    if not any(padding):
        return x
    top, left, bottom, right = padding
    return graph.node("Pad", x, graph.constant(np.array([0, 0, top, left, 0, 0, bottom, right])))


def _moved(graph: Graph, item: IntegerLayer, x: str, dialect: Dialect) -> str:
    assert isinstance(item.output, Int)
    return dialect.moved(graph, x, item.output, np.array([item.scale]))


def _quantized(graph: Graph, item: IntegerLayer, x: str, dialect: Dialect) -> str:
    """Append the clamp to the channels' own widths, where they have them, and the quantization of an output."""
    assert isinstance(item.output, Int)
    if item.width is None or item.exponent is None:
        return dialect.activation(graph, x, item.output, np.array([item.scale]))
    signed = item.output.signed
    levels = (np.int64(1) << item.width) >> int(signed)
    steps = item.scale * np.exp2(item.exponent.astype(np.float64))
    low, high = (-levels * signed) * steps, np.maximum(levels - 1, 0) * steps
    clamped = graph.node("Min", x, graph.constant(_planes(high)))
    clamped = graph.node("Max", clamped, graph.constant(_planes(low)))
    widest = Int(max(2, int(item.width.max())), signed)
    return dialect.activation(graph, clamped, widest, steps)
