"""Float networks from ONNX files (opset 7 and later): convolutional classifiers in inference form.

A file is data: nothing in it is executed, no other file is read but its data files beside it, names stay text, and
declared sizes are checked before anything is allocated. What cannot be kept exactly is refused.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from hwsim import files
from hwsim.errors import HwsimError
from hwsim.layers import (
    INPUT,
    Add,
    AveragePool,
    BatchNorm,
    ChannelShuffle,
    Clip,
    Concatenate,
    Convolution,
    Flatten,
    Linear,
    MaxPool,
    Operator,
    PadChannels,
    Padding,
    Pair,
    Relu,
    Shape,
    Slice,
)
from hwsim.models.builder import NORM_PARAMETERS, Builder, ceiled, joined_padding, whole
from hwsim.models.onnx_constants import MALFORMED, as_array, constant_of, folded
from hwsim.models.onnx_external import take_external
from hwsim.network import FloatNetwork, Preprocessing

LARGEST_TENSOR = 1 << 28
"""A network with a tensor of more elements an image, or more parameters, is refused."""

_OLDEST_OPSET = 7
_NO_PADDING = (0, 0, 0, 0)
_ANY_BATCH = 1_000_003
"""What a free number of images counts as where a file computes with it: a prime that nothing else comes to."""


def load_onnx(
    path: Path,
    *,
    div: float | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> FloatNetwork:
    """Return the network of an ONNX file: one float input [n, channels, height, width], one output of classes.

    A softmax at the end is dropped, and a constant added to a convolution becomes its bias. Preprocessing,
    x = (pixel / div - mean) / std, is taken from the arguments, else from the file's metadata of these names
    (JSON numbers or lists); of three that are given in part, the others are 1, 0 and 1; a file
    without any is refused. Raises :class:`HwsimError` that names everything unsupported.
    """
    try:
        model = _parse(files.read(path, "ONNX file"))
        take_external(model, path.parent)
        build = _convert(model)
        given = _metadata(model) | {
            key: value for key, value in (("div", div), ("mean", mean), ("std", std)) if value is not None
        }
        return build.network(path.stem, _preprocessing(given, build.shapes[INPUT][0]))
    except HwsimError as error:
        raise HwsimError(f'cannot use "{path}": {error}') from None
    except MALFORMED as error:
        raise HwsimError(f'"{path}" is malformed ({type(error).__name__}); export it again') from None


def _parse(content: bytes) -> Any:
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # the protobuf library in use decides the class
        raise HwsimError(
            f"it is no ONNX file or is damaged ({type(error).__name__}); export it again"
        ) from None
    if not model.graph.node or len(model.graph.output) != 1:
        raise HwsimError(
            f"it has {len(model.graph.output)} outputs and {len(model.graph.node)} nodes; one output is needed"
        )
    return model


def _metadata(model: Any) -> dict[str, Any]:
    given = {}
    for entry in model.metadata_props:
        if entry.key in ("div", "mean", "std"):
            try:
                given[entry.key] = json.loads(entry.value)
            except (ValueError, RecursionError):
                raise HwsimError(
                    f"its metadata {entry.key} is {entry.value[:40]!r}; write a number or a list of numbers, 0.5 or [0.485, 0.456, 0.406]"
                ) from None
    return given


def _preprocessing(given: dict[str, Any], channels: int) -> Preprocessing:
    if not given:
        raise HwsimError(
            "it does not say how pixels become inputs; give div, mean and std, or write them as its metadata"
        )
    try:
        mean, std = (
            tuple(np.broadcast_to(np.array(given.get(key, default), np.float64), (channels,)).tolist())
            for key, default in (("mean", 0.0), ("std", 1.0))
        )
        return Preprocessing(float(given.get("div", 1.0)), mean, std)
    except HwsimError:
        raise
    except (TypeError, ValueError, OverflowError):
        raise HwsimError(
            f"its preprocessing {given} is not understood; give one number div, and mean and std for {channels} channels"
        ) from None


@dataclass(frozen=True)
class _Tensor:
    """A tensor of the file: the layer that makes it, its rank there, and zeros still to be put around it.

    At rank 5 it is read as [n, groups, channels / groups, height, width].
    """

    layer: str
    rank: int
    padding: Padding = _NO_PADDING
    groups: int = 1


class _Node:
    """One node with its attributes as Python values and its constant inputs as arrays."""

    def __init__(self, proto: Any, constants: dict[str, Any], opset: int) -> None:
        self.operator: str = proto.op_type
        self.inputs: list[str] = list(proto.input)
        self.outputs: list[str] = list(proto.output)
        self.output: str = proto.output[0]
        self.domain: str = proto.domain
        name: str | bytes = proto.name or self.output  # bytes where it is no UTF-8
        self.name = name.decode(errors="replace") if isinstance(name, bytes) else name
        self.attributes = {item.name: onnx.helper.get_attribute_value(item) for item in proto.attribute}
        self.opset = opset
        self._constants = constants

    def __str__(self) -> str:
        return f'{self.operator} "{self.name}"'

    def attribute(self, name: str, default: Any) -> Any:
        value = self.attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else value

    def refuse_unless(self, fits: bool, reason: str) -> None:
        if not fits:
            raise HwsimError(f"{self} {reason}")

    def require(self, name: str, *allowed: Any) -> None:
        """Refuse the node unless its attribute has one of the values; the first is the default."""
        value = self.attribute(name, allowed[0])
        self.refuse_unless(value in allowed, f"has {name} {value}; supported: {', '.join(map(str, allowed))}")

    def has(self, index: int) -> bool:
        return index < len(self.inputs) and bool(self.inputs[index])

    def is_constant(self, index: int) -> bool:
        return self.inputs[index] in self._constants

    def constant(self, index: int) -> npt.NDArray[Any]:
        """Return a constant input as float64 or int64."""
        self.refuse_unless(
            self.has(index) and self.is_constant(index),
            f"computes its input {index}, which must be a constant stored in the file",
        )
        return as_array(self._constants[self.inputs[index]])

    def argument(self, name: str, index: int, since: int) -> list[Any] | None:
        """Return a value that was an attribute before opset ``since`` and is an input from then on."""
        if self.opset >= since:
            return self.constant(index).reshape(-1).tolist() if self.has(index) else None
        value = self.attribute(name, None)
        return value if value is None or isinstance(value, list) else [value]


class _Import:
    """The state of one conversion: the layers so far and what each tensor of the file became."""

    def __init__(self, name: str, shape: Shape, batch: int | None, readers: Counter[str]) -> None:
        self.build = Builder(shape)
        self.batch = batch
        self.readers = readers
        self.tensors = {name: _Tensor(INPUT, 4)}
        self.stored = 0
        self.unsupported: dict[str, list[str]] = {}
        self.problems: list[str] = []
        self.unknown: set[str] = set()

    def padded(self, node: _Node, index: int = 0) -> _Tensor:
        """Return an input tensor whose outstanding zeros the caller takes over."""
        node.refuse_unless(node.has(index), f"has no input {index}")
        node.refuse_unless(not node.is_constant(index), "works on a constant; fold it before exporting")
        node.refuse_unless(
            node.inputs[index] in self.tensors, f'reads "{node.inputs[index]}", which nothing before it makes'
        )
        return self.tensors[node.inputs[index]]

    def tensor(self, node: _Node, index: int = 0, rank: int | None = None) -> _Tensor:
        tensor = self.unpadded(node, index)
        node.refuse_unless(
            tensor.rank < 5, "reads channels in groups; only a channel shuffle is supported there"
        )
        node.refuse_unless(rank in (None, tensor.rank), f"reads a tensor of rank {tensor.rank}, not {rank}")
        return tensor

    def unpadded(self, node: _Node, index: int = 0) -> _Tensor:
        """Return an input tensor, its channels in groups or not."""
        tensor = self.padded(node, index)
        node.refuse_unless(
            tensor.padding == _NO_PADDING,
            "reads a tensor padded in height or width; only a Conv and an AveragePool can",
        )
        return tensor

    def shape(self, tensor: _Tensor) -> Shape:
        return self.build.shapes[tensor.layer]

    def refuse_problems(self) -> None:
        """Refuse the file for everything in it that is not supported, by name."""
        wrong = "; ".join(f"{operator} {', '.join(names)}" for operator, names in self.unsupported.items())
        told = [f"not supported: {wrong}", *self.problems] if wrong else self.problems
        supported = f" (supported: {', '.join(sorted(SUPPORTED))})" if wrong else ""
        if told:
            raise HwsimError("; ".join(told) + supported)

    def same(self, node: _Node, tensor: _Tensor) -> None:
        """Let the node's output be a tensor that is there already."""
        self.tensors[node.output] = tensor

    def add(
        self,
        node: _Node,
        operator: Operator,
        *inputs: _Tensor,
        rank: int | None = None,
        parameters: Mapping[str, npt.ArrayLike] = MappingProxyType({}),
    ) -> _Tensor:
        """Append the layer of a node, its first output; nothing here grows with a declared size."""
        padding = getattr(operator, "padding", _NO_PADDING)
        channels, height, width = self.shape(inputs[0])
        padded = channels * (height + padding[0] + padding[2]) * (width + padding[1] + padding[3])
        name = self.build.add(node.name, operator, *(tensor.layer for tensor in inputs), **parameters)
        elements = math.prod(self.build.shapes[name])
        self.stored += sum(np.size(array) for array in parameters.values())
        largest = max(padded, elements, self.stored)
        node.refuse_unless(elements > 0, "has no outputs")
        node.refuse_unless(
            largest <= LARGEST_TENSOR, f"declares {largest} elements; the limit is {LARGEST_TENSOR}"
        )
        self.tensors[node.output] = made = _Tensor(name, rank or inputs[0].rank)
        return made


def _convert(model: Any) -> Builder:
    opset = max((item.version for item in model.opset_import if item.domain in _DOMAINS), default=0)
    if opset < _OLDEST_OPSET:
        raise HwsimError(f"its operator set is {opset}; export it with opset {_OLDEST_OPSET} or later")
    if model.graph.sparse_initializer:
        raise HwsimError("it stores sparse tensors; export it with dense ones")
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    output = model.graph.output[0].name
    nodes = _needed(model.graph, output, constants)
    readers = Counter(name for node in nodes for name in node.input) + Counter([output])
    name, shape, batch = _input(model.graph, constants)
    state = _Import(name, shape, batch, readers)
    for proto in nodes:
        if proto.output[0] not in constants:
            _take(state, proto, constants, opset, output)
    state.refuse_problems()
    made = state.tensors.get(output)
    if made is None or made.layer == INPUT or made.padding != _NO_PADDING:
        raise HwsimError(f'its output "{output}" is no computed tensor; export a classifier')
    return state.build


def _take(state: _Import, proto: Any, constants: dict[str, Any], opset: int, output: str) -> None:
    """Translate a node, fold it into a constant, or note why it is not supported."""
    node = _Node(proto, constants, opset)
    try:
        constant = folded(proto, constants, opset) if node.domain in _DOMAINS else None
        if constant is None and node.operator == "Shape":
            constant = _shape_of(state, node)
        if constant is not None:
            constants[node.output] = constant
        elif node.domain not in _DOMAINS or node.operator not in SUPPORTED:
            state.unknown.update(node.outputs)
            operator = f"{node.domain}.{node.operator}".removeprefix(".")
            state.unsupported.setdefault(operator, []).append(f'"{node.name}"')
        elif state.unknown.intersection(node.inputs):
            state.unknown.update(node.outputs)
        else:
            _translate(state, node, output)
    except HwsimError as error:
        state.unknown.update(node.outputs)
        state.problems.append(str(error))
    except MALFORMED as error:
        raise HwsimError(f"{node} is malformed ({type(error).__name__}); export it again") from None


def _translate(state: _Import, node: _Node, output: str) -> None:
    if node.operator in ("Softmax", "LogSoftmax"):
        _softmax(state, node, output)
    else:
        TRANSLATORS[node.operator](state, node)


def _shape_of(state: _Import, node: _Node) -> Any:
    """Return a tensor's shape as a constant, or nothing where the tensor is not known."""
    if state.unknown.intersection(node.inputs):
        return None
    x = state.tensor(node)
    sizes = (state.batch or _ANY_BATCH, *state.shape(x))[: x.rank]
    part = sizes[node.attribute("start", 0) : node.attribute("end", None)]
    return numpy_helper.from_array(np.array(part, np.int64), node.output)


_DOMAINS = ("", "ai.onnx")


def _needed(graph: Any, output: str, constants: dict[str, Any]) -> list[Any]:
    """Return the nodes that the output depends on, in the file's order, and collect the Constant nodes."""
    maker: dict[str, int] = {}
    for index, node in enumerate(graph.node):
        for name in filter(None, node.output):
            if name in maker or name in constants:
                raise HwsimError(f'two nodes make the tensor "{name}"; export it again')
            maker[name] = index
        if node.op_type == "Constant" and node.domain in _DOMAINS and len(node.output) == 1:
            constants[node.output[0]] = constant_of(node)
    waiting, needed = [output], set()
    while waiting:
        index = maker.get(waiting.pop(), -1)
        if index >= 0 and index not in needed:
            needed.add(index)
            waiting += graph.node[index].input
    nodes = [graph.node[index] for index in sorted(needed)]
    read = {name for node in nodes for name in node.input} | {output}
    for node in nodes:
        if node.op_type != "Split" and read.intersection(node.output[1:]) - {""}:
            raise HwsimError(
                f'the second output of {node.op_type} "{node.name}" is used; only first ones are supported'
            )
    return nodes


def _input(graph: Any, constants: dict[str, Any]) -> tuple[str, Shape, int | None]:
    """Return the input's name, shape without the batch, and the batch size if it is fixed."""
    inputs = [item for item in graph.input if item.name not in constants]
    if len(inputs) != 1:
        raise HwsimError(f"it has {len(inputs)} inputs; a network takes one batch of images")
    kind = inputs[0].type.tensor_type
    if kind.elem_type not in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16):
        raise HwsimError(f'its input "{inputs[0].name}" is no float tensor; export it with a float input')
    sizes = [size.dim_value for size in kind.shape.dim]
    if len(sizes) != 4 or min(sizes[1:]) < 1:
        shown = [size.dim_param or size.dim_value or "?" for size in kind.shape.dim]
        raise HwsimError(
            f"its input has the shape {shown}; export it with fixed channels, height and width: [n, c, h, w]"
        )
    if math.prod(sizes[1:]) > LARGEST_TENSOR:
        raise HwsimError(f"its input declares {sizes[1:]}, more than {LARGEST_TENSOR} elements")
    return inputs[0].name, (sizes[1], sizes[2], sizes[3]), sizes[0] if sizes[0] > 0 else None


# The operators.


def _pair(node: _Node, name: str, default: Sequence[int], least: int = 1) -> Pair:
    values = node.attribute(name, default)
    fits = (
        isinstance(values, Sequence)
        and len(values) == 2
        and all(isinstance(v, int) and v >= least for v in values)
    )
    node.refuse_unless(
        fits, f"has {name} {values}; two numbers from {least} are needed, only 2-D is supported"
    )
    return (values[0], values[1])


def _undilated(node: _Node) -> None:
    dilations = list(node.attribute("dilations", [1, 1]))
    node.refuse_unless(dilations == [1, 1], f"has dilations {dilations}; only 1 is supported in a pool")


def _windows(node: _Node, shape: Shape, kernel: Pair, around: Padding = _NO_PADDING) -> tuple[Pair, Padding]:
    """Return stride and padding of a window operator on an input of ``shape`` with zeros ``around`` it already.

    ``kernel`` is the window's extent, from its first tap to the last.
    """
    stride = _pair(node, "strides", (1, 1))
    mode = node.attribute("auto_pad", "NOTSET")
    node.require("auto_pad", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")
    if mode.startswith("SAME"):
        sides = []
        padded = (shape[1] + around[0] + around[2], shape[2] + around[1] + around[3])
        for size, k, s in zip(padded, kernel, stride, strict=True):
            total = max((-(-size // s) - 1) * s + k - size, 0)
            sides.append((total // 2, total - total // 2)[:: 1 if mode == "SAME_UPPER" else -1])
        return stride, joined_padding(around, (sides[0][0], sides[1][0], sides[0][1], sides[1][1]))
    pads = _NO_PADDING if mode == "VALID" else tuple(node.attribute("pads", _NO_PADDING))
    node.refuse_unless(
        len(pads) == 4 and min(pads) >= 0, f"has pads {list(pads)}; four numbers from 0 are needed"
    )
    return stride, joined_padding(around, pads)


def _conv(state: _Import, node: _Node) -> None:
    x, weight = state.padded(node), node.constant(1)
    node.refuse_unless(x.rank == 4 and weight.ndim == 4, "is not 2-D; only 2-D convolutions are supported")
    kernel = _pair(node, "kernel_shape", weight.shape[2:])
    groups = node.attribute("group", 1)
    channels = state.shape(x)[0]
    fits = groups >= 1 and channels == weight.shape[1] * groups and kernel == weight.shape[2:]
    node.refuse_unless(
        fits,
        f"has weights {list(weight.shape)} in {groups} groups for {channels} channels and a kernel {kernel}",
    )
    unplaced = Convolution(len(weight), kernel, groups=groups, dilation=_pair(node, "dilations", (1, 1)))
    stride, padding = _windows(node, state.shape(x), unplaced.extent, x.padding)
    bias = {"bias": node.constant(2)} if node.has(2) else {}
    convolution = replace(unplaced, stride=stride, padding=padding)
    state.add(node, convolution, x, parameters={"weight": weight} | bias)


def _gemm(state: _Import, node: _Node) -> None:
    x, weight = state.tensor(node, rank=2), node.constant(1)
    node.require("transA", 0)
    node.require("transB", 0, 1)
    alpha, beta = float(node.attribute("alpha", 1.0)), float(node.attribute("beta", 1.0))
    weight = alpha * (weight if node.attribute("transB", 0) else weight.T)
    bias = {"bias": beta * _per_channel(node, node.constant(2), 2, len(weight))} if node.has(2) else {}
    _linear(state, node, x, weight, **bias)


def _matmul(state: _Import, node: _Node) -> None:
    _linear(state, node, state.tensor(node, rank=2), node.constant(1).T)


def _linear(
    state: _Import, node: _Node, x: _Tensor, weight: npt.NDArray[Any], **bias: npt.NDArray[Any]
) -> None:
    features = state.shape(x)[0]
    node.refuse_unless(
        weight.ndim == 2 and weight.shape[1] == features,
        f"has weights {list(weight.shape)} for {features} features",
    )
    state.add(node, Linear(len(weight)), x, parameters={"weight": weight[:, :, None, None]} | bias)


def _per_channel(node: _Node, values: npt.NDArray[Any], rank: int, channels: int) -> npt.NDArray[Any]:
    """Return a constant that broadcasts against [n, channels, ...] as one value per channel."""
    try:
        wide = np.broadcast_to(values, (1, channels) + (1,) * (rank - 2))
    except ValueError:
        wide = None
    node.refuse_unless(
        wide is not None,
        f"adds a constant of shape {list(values.shape)}; one value a channel ({channels}) is supported",
    )
    assert wide is not None
    return wide.reshape(channels).astype(np.float64)


def _batch_norm(state: _Import, node: _Node) -> None:
    node.require("training_mode", 0)
    node.require("spatial", 1)
    parameters = {key: node.constant(index) for index, key in enumerate(NORM_PARAMETERS, start=1)}
    epsilon = float(node.attribute("epsilon", 1e-5))
    node.refuse_unless(math.isfinite(epsilon) and epsilon >= 0, f"has epsilon {epsilon}")
    state.add(node, BatchNorm(epsilon), state.tensor(node), parameters=parameters)


def _relu(state: _Import, node: _Node) -> None:
    state.add(node, Relu(), state.tensor(node))


def _clip(state: _Import, node: _Node) -> None:
    bounds = [node.argument(name, index, since=11) for index, name in enumerate(("min", "max"), start=1)]
    low, high = (
        float((bound or [default])[0]) for bound, default in zip(bounds, (-math.inf, math.inf), strict=True)
    )
    largest = float(np.finfo(np.float32).max)
    low, high = (-math.inf if low <= -largest else low), (math.inf if high >= largest else high)
    node.refuse_unless(low < high, f"clips to {low} .. {high}, which is empty")
    state.add(node, Relu() if (low, high) == (0.0, math.inf) else Clip(low, high), state.tensor(node))


def _add(state: _Import, node: _Node) -> None:
    for constant, other in ((0, 1), (1, 0)):
        if node.is_constant(constant):
            x = state.tensor(node, other)
            _add_constant(state, node, x, node.inputs[other], node.constant(constant))
            return
    first, second = (state.tensor(node, index) for index in (0, 1))
    node.refuse_unless(first.rank == second.rank, f"adds tensors of ranks {first.rank} and {second.rank}")
    state.add(node, Add(), first, second)


def _add_constant(state: _Import, node: _Node, x: _Tensor, name: str, values: npt.NDArray[Any]) -> None:
    """Fold a constant into the bias of the layer that makes ``x``, which nothing else may read."""
    maker = {layer.name: layer for layer in state.build.layers}.get(x.layer)
    folds = (
        maker is not None and (maker.has_weights or maker.kind == "batch_norm") and state.readers[name] == 1
    )
    node.refuse_unless(
        folds, "adds a constant; that is supported only right behind a layer with weights or a batch norm"
    )
    bias = _per_channel(node, values, x.rank, state.shape(x)[0])
    key = f"{x.layer}.bias"
    state.build.parameters[key] = state.build.parameters.get(key, np.zeros(len(bias))) + bias
    state.same(node, x)


def _ceiling(node: _Node, shape: Shape, kernel: Pair, stride: Pair, padding: Padding) -> Padding:
    node.require("ceil_mode", 0, 1)
    return ceiled(shape, kernel, stride, padding) if node.attribute("ceil_mode", 0) else padding


def _max_pool(state: _Import, node: _Node) -> None:
    x = state.tensor(node, rank=4)
    node.require("storage_order", 0)
    _undilated(node)
    kernel = _pair(node, "kernel_shape", ())
    stride, padding = _windows(node, state.shape(x), kernel)
    node.refuse_unless(
        all(pad < k for pad, k in zip(padding, kernel * 2, strict=True)),
        f"pads {padding} around a kernel {kernel}",
    )
    state.add(node, MaxPool(kernel, stride, _ceiling(node, state.shape(x), kernel, stride, padding)), x)


def _average_pool(state: _Import, node: _Node) -> None:
    x = state.padded(node)
    _undilated(node)
    kernel = _pair(node, "kernel_shape", ())
    stride, padding = _windows(node, state.shape(x), kernel, x.padding)
    exact = padding == x.padding or node.attribute("count_include_pad", 0) == 1
    node.refuse_unless(exact, "leaves padded places out of its means; export it with count_include_pad=1")
    node.refuse_unless(
        _ceiling(node, state.shape(x), kernel, stride, padding) == padding,
        "has ceil_mode 1 with a window beyond the input; export it with ceil_mode=0",
    )
    state.add(node, AveragePool(kernel, stride, padding), x)


def _global_pool(kind: type[AveragePool] | type[MaxPool]) -> Callable[[_Import, _Node], None]:
    def translate(state: _Import, node: _Node) -> None:
        x = state.tensor(node, rank=4)
        _, height, width = state.shape(x)
        state.add(node, kind((height, width), (height, width)), x)

    return translate


def _reduction(kind: type[AveragePool] | type[MaxPool]) -> Callable[[_Import, _Node], None]:
    def translate(state: _Import, node: _Node) -> None:
        x = state.tensor(node, rank=4)
        axes = node.argument("axes", 1, since=18)
        node.refuse_unless(
            axes is not None and sorted(axis % 4 for axis in axes) == [2, 3],
            f"reduces the axes {axes}; only height and width together are supported",
        )
        _, height, width = state.shape(x)
        rank = 4 if node.attribute("keepdims", 1) else 2
        state.add(node, kind((height, width), (height, width)), x, rank=rank)

    return translate


def _concat(state: _Import, node: _Node) -> None:
    tensors = [state.tensor(node, index) for index in range(len(node.inputs))]
    ranks = {tensor.rank for tensor in tensors}
    axis = node.attribute("axis", 1)
    node.refuse_unless(
        len(ranks) == 1 and axis % min(ranks) == 1, f"joins along axis {axis}; only channels are supported"
    )
    if len(tensors) == 1:
        state.same(node, tensors[0])
    else:
        state.add(node, Concatenate(), *tensors)


def _flatten(state: _Import, node: _Node) -> None:
    x = state.unpadded(node)
    axis = node.attribute("axis", 1)
    node.refuse_unless(axis % x.rank == 1, f"has axis {axis}; only 1 is supported")
    _to_rank_2(state, node, x)


def _to_rank_2(state: _Import, node: _Node, x: _Tensor) -> None:
    if x.rank == 2:
        state.same(node, x)
    else:
        state.add(node, Flatten(), x, rank=2)


def _reshape(state: _Import, node: _Node) -> None:
    """Keep a reshape to [n, features], one to the shape that is there already, and channels in groups."""
    x, target = state.unpadded(node), node.constant(1).reshape(-1).tolist()
    shape = state.shape(x)
    features = math.prod(shape)
    made = whole(target[1:], features)
    copied = [] if node.attribute("allowzero", 0) else [0]
    keeps_batch = target[:1] == [-1] and -1 not in target[1:]
    keeps_batch |= target[0] in (state.batch or _ANY_BATCH, *copied)
    grouped = len(made) == 4 and [made[0] * made[1], *made[2:]] == list(shape)
    node.refuse_unless(
        keeps_batch and (grouped or made in ([features], list(shape))),
        f"reshapes {list(shape)} to {['n' if size == _ANY_BATCH else size for size in target]}; only a flatten to [n, {features}]"
        " and the groups of a channel shuffle are supported",
    )
    if made == [features]:
        _to_rank_2(state, node, x)
    elif grouped:
        state.same(node, _Tensor(x.layer, 5, groups=made[0]))
    else:
        state.same(node, _Tensor(x.layer, 4))


def _transpose(state: _Import, node: _Node) -> None:
    """Make of groups and their channels, exchanged, a channel shuffle."""
    x, order = state.unpadded(node), node.attribute("perm", None)
    node.refuse_unless(
        x.rank == 5 and order == [0, 2, 1, 3, 4],
        f"orders axes as {order}; only the groups of a channel shuffle and their channels, [0, 2, 1, 3, 4], are supported",
    )
    shuffled = state.add(node, ChannelShuffle(x.groups), x)
    state.same(node, replace(shuffled, groups=state.shape(x)[0] // x.groups))


def _squeeze(state: _Import, node: _Node) -> None:
    x = state.tensor(node, rank=4)
    axes = node.argument("axes", 1, since=13)
    node.refuse_unless(
        axes is not None and sorted(axis % 4 for axis in axes) == [2, 3] and state.shape(x)[1:] == (1, 1),
        f"drops the axes {axes} of {list(state.shape(x))}; only a height and width of 1 together are supported",
    )
    _to_rank_2(state, node, x)


def _slice(state: _Import, node: _Node) -> None:
    x = state.tensor(node)
    shape = state.shape(x)
    starts, ends, axes, steps = (
        node.argument(name, index, since=10)
        for index, name in enumerate(("starts", "ends", "axes", "steps"), start=1)
    )
    node.refuse_unless(starts is not None and ends is not None, "has no starts or ends")
    assert starts is not None and ends is not None
    axes, steps = axes or list(range(len(starts))), steps or [1] * len(starts)
    where = [slice(0, size, 1) for size in shape]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis %= x.rank
        whole = axis == 0 and (start, step) == (0, 1) and end >= (1 << 31) - 1
        node.refuse_unless(
            whole or (axis > 0 and step > 0),
            f"slices axis {axis} by {step}; only channels, rows and columns forwards",
        )
        if not whole:
            where[axis - 1] = slice(*slice(start, end, step).indices(shape[axis - 1]))
    operator = Slice(*(tuple(getattr(part, key) for part in where) for key in ("start", "stop", "step")))
    state.add(node, operator, x)


def _split(state: _Import, node: _Node) -> None:
    """Make of each part of the channels a slice."""
    x = state.tensor(node)
    channels, height, width = state.shape(x)
    axis, sizes = node.attribute("axis", 0) % x.rank, node.argument("split", 1, since=13)
    equal = -(-channels // len(node.outputs))
    ends = np.cumsum(sizes or [equal] * len(node.outputs)).clip(max=channels).tolist()
    node.refuse_unless(
        axis == 1 and len(ends) == len(node.outputs) and ends[-1] == channels,
        f"splits axis {axis} into {sizes or len(node.outputs)}; only all {channels} channels",
    )
    parts = [
        state.add(node, Slice((start, 0, 0), (end, height, width), (1, 1, 1)), x)
        for start, end in pairwise([0, *ends])
    ]
    state.tensors.update(zip(node.outputs, parts, strict=True))


def _pad(state: _Import, node: _Node) -> None:
    """Keep zero channels as a layer; zeros around rows and columns wait for the convolution behind them."""
    x = state.padded(node)
    node.refuse_unless(x.rank == 4, "pads a tensor that is not [n, c, h, w]")
    node.require("mode", "constant")
    pads, value = (node.argument(name, index, since=11) for index, name in ((1, "pads"), (2, "value")))
    axes = node.argument("axes", 3, since=18) if node.opset >= 18 else None
    axes = [axis % 4 for axis in axes] if axes else [0, 1, 2, 3]
    node.refuse_unless(
        pads is not None and len(pads) == 2 * len(axes) and min(pads) >= 0 and not (value or [0])[0],
        f"pads {pads} with {value}; only zeros, and no cropping, are supported",
    )
    assert pads is not None
    before = dict.fromkeys(range(4), 0) | dict(zip(axes, pads, strict=False))
    after = dict.fromkeys(range(4), 0) | dict(zip(axes, pads[len(axes) :], strict=True))
    node.refuse_unless(not before[0] + after[0], "pads the batch")
    if before[1] + after[1]:
        inner = _Tensor(x.layer, 4)
        state.add(node, PadChannels(before[1], after[1]), inner)
        inner = state.tensors[node.output]
    else:
        inner = x
    around = joined_padding(x.padding, (before[2], before[3], after[2], after[3]))
    state.same(node, _Tensor(inner.layer, 4, around))


def _identity(state: _Import, node: _Node) -> None:
    state.same(node, state.padded(node))


def _dropout(state: _Import, node: _Node) -> None:
    training = node.has(2) and bool(node.constant(2).any())
    node.refuse_unless(not training, "is in training mode; export the network for inference")
    _identity(state, node)


def _softmax(state: _Import, node: _Node, output: str) -> None:
    x = state.tensor(node)
    axis = node.attribute("axis", -1 if node.opset >= 13 else 1)
    over_classes = axis % x.rank == 1 and state.shape(x)[1:] == (1, 1)
    node.refuse_unless(
        node.output == output and over_classes,
        "is not the last step over the classes; only there, where it changes no class, is it dropped",
    )
    state.same(node, x)


TRANSLATORS: dict[str, Callable[[_Import, _Node], None]] = {
    "Add": _add,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "Dropout": _dropout,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool(AveragePool),
    "GlobalMaxPool": _global_pool(MaxPool),
    "Identity": _identity,
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "Pad": _pad,
    "ReduceMax": _reduction(MaxPool),
    "ReduceMean": _reduction(AveragePool),
    "Relu": _relu,
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
}
"""What each supported ONNX operator becomes."""

SUPPORTED = {*TRANSLATORS, "Constant", "LogSoftmax", "Shape", "Softmax"}
"""Operators that a file may have; a softmax at the end is dropped, and what is computed of constants alone is folded."""
