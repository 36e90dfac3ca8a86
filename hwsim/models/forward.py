"""A float network executed in float64 by torch: for calibration, accuracy and training.

Results depend on nothing but the network, the images and the number of torch threads, which is the caller's.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from hwsim.data import Split
from hwsim.errors import HwsimError
from hwsim.formats import IntArray
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
    FromHalf,
    Layer,
    Linear,
    MaxPool,
    PadChannels,
    Padding,
    Relu,
    Rescale,
    Slice,
)
from hwsim.network import FloatArray, FloatNetwork

Visit = Callable[[str, FloatArray], None]
Change = Callable[[str, Tensor], Tensor]
"""From a layer's name and its output to what its readers see."""


def tensors(network: FloatNetwork) -> dict[str, Tensor]:
    """Return a network's parameters as float64 tensors of their own."""
    return {name: torch.tensor(array) for name, array in network.parameters.items()}


def propagate(
    layers: tuple[Layer, ...],
    parameters: Mapping[str, Tensor],
    x: Tensor,
    training: bool = False,
    change: Change | None = None,
) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor [n, channels, height, width] by name, the input first, in network order.

    A tensor is let go after its last reader. In training, batch norm uses the batch's statistics and moves
    its running ones by a tenth, in place. ``change`` is applied to each layer's output.
    """
    last_reader = {name: index for index, layer in enumerate(layers) for name in layer.inputs}
    alive = {INPUT: x}
    yield INPUT, x
    for index, layer in enumerate(layers):
        output = apply_layer(layer, [alive[name] for name in layer.inputs], parameters, training)
        if change is not None:
            output = change(layer.name, output)
        alive[layer.name] = output
        for name in set(layer.inputs):
            if last_reader[name] == index:
                del alive[name]
        yield layer.name, output


def run(network: FloatNetwork, x: FloatArray, visit: Visit) -> None:
    """Call ``visit(name, values)`` for every tensor of the images ``x`` [n, c, h, w], keeping none of them."""
    with torch.inference_mode():
        for name, tensor in propagate(network.layers, tensors(network), _images(network, x)):
            visit(name, tensor.numpy())


@contextmanager
def single_threaded() -> Iterator[ThreadPoolExecutor]:
    """Yield a pool of as many threads as torch is set to use here, in each of which torch uses one.

    Results then depend on no number of threads. What still waits when an error leaves the block is dropped.
    """
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def forward(
    network: FloatNetwork, x: FloatArray, keep: Collection[str] | None = None
) -> dict[str, FloatArray]:
    """Return the tensors named in ``keep`` (all by default) for the images ``x`` [n, c, h, w]."""
    kept: dict[str, FloatArray] = {}

    def visit(name: str, values: FloatArray) -> None:
        if keep is None or name in keep:
            kept[name] = values

    run(network, x, visit)
    return kept


def logits(network: FloatNetwork, x: FloatArray) -> FloatArray:
    """Return the network's output [n, classes]."""
    name = network.layers[-1].name
    return forward(network, x, {name})[name].reshape(len(x), -1)


def predict(network: FloatNetwork, split: Split, batch: int = 100) -> IntArray:
    """Return the class of every image; the first of equal logits."""
    x = network.preprocessing.apply
    parts = (split.images[start : start + batch] for start in range(0, len(split), batch))
    return np.concatenate([logits(network, x(part)).argmax(axis=1) for part in parts]).astype(np.int64)


def accuracy(network: FloatNetwork, split: Split, batch: int = 100) -> tuple[int, int]:
    """Return how many images of a split the float network gets right, and how many there are."""
    classes = network.outputs
    if split.labels.max() >= classes:
        raise HwsimError(
            f"label {split.labels.max()} is beyond the network's {classes} classes; give its own data"
        )
    return int((predict(network, split, batch) == split.labels).sum()), len(split)


def _images(network: FloatNetwork, x: FloatArray) -> Tensor:
    if x.shape[1:] != network.input_shape:
        raise HwsimError(
            f"the network takes images [n, {', '.join(map(str, network.input_shape))}], not {list(x.shape)}"
        )
    return torch.from_numpy(np.ascontiguousarray(x, np.float64))


def apply_layer(
    layer: Layer, inputs: list[Tensor], parameters: Mapping[str, Tensor], training: bool = False
) -> Tensor:
    """Return a layer's output for its inputs [n, channels, height, width]."""
    x = inputs[0]
    weight, bias = (parameters.get(f"{layer.name}.{key}") for key in ("weight", "bias"))
    match layer.operator:
        case Convolution() | Linear():
            assert weight is not None
            return convolve(layer.as_convolution, x, weight, bias)
        case BatchNorm(epsilon):
            mean, variance = (parameters[f"{layer.name}.running_{key}"] for key in ("mean", "var"))
            return functional.batch_norm(x, mean, variance, weight, bias, training, 0.1, epsilon)
        case Relu():
            return functional.relu(x)
        case Clip(low, high):
            return x.clamp(low, high)
        case Add():
            return x + inputs[1]
        case Concatenate():
            return torch.cat(inputs, 1)
        case Flatten():
            return x.reshape(len(x), -1, 1, 1)
        case Slice(starts, stops, steps):
            return x[:, *(slice(*where) for where in zip(starts, stops, steps, strict=True))]
        case PadChannels(before, after):
            return functional.pad(x, (0, 0, 0, 0, before, after))
        case ChannelShuffle():
            return x[:, layer.moved_channels]
        case MaxPool(kernel, stride, padding):
            return functional.max_pool2d(pad(x, padding, -torch.inf), kernel, stride)
        case AveragePool(kernel, stride, padding):
            return functional.avg_pool2d(pad(x, padding, 0.0), kernel, stride)
        case Rescale() | FromHalf():
            return x


def pad(x: Tensor, padding: Padding, value: float) -> Tensor:
    """Return x [n, channels, height, width] with so many rows and columns of a value around it."""
    top, left, bottom, right = padding
    return functional.pad(x, (left, right, top, bottom), value=value) if any(padding) else x


def convolve(operator: Convolution, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the convolution of x [n, channels, height, width], padded as the operator says."""
    x = pad(x, operator.padding, 0.0)
    if operator.groups == x.shape[1] == operator.out_channels and torch.is_inference_mode_enabled():
        return _depthwise(x, weight, bias, operator)
    return functional.conv2d(
        x, weight, bias, operator.stride, dilation=operator.dilation, groups=operator.groups
    )


def _depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, operator: Convolution) -> Tensor:
    """Return a convolution of each channel by itself, tap by tap: in float64 twice as fast as torch's own.

    ``x`` is padded already.
    """
    stride, dilation = operator.stride, operator.dilation
    size = [(n - k) // s + 1 for n, k, s in zip(x.shape[2:], operator.extent, stride, strict=True)]
    output = (
        x.new_zeros((*x.shape[:2], *size)) if bias is None else bias[:, None, None].repeat(len(x), 1, *size)
    )
    for row, column in itertools.product(*map(range, operator.kernel)):
        rows, columns = (
            slice(tap * d, tap * d + s * (n - 1) + 1, s)
            for tap, d, s, n in zip((row, column), dilation, stride, size, strict=True)
        )
        output.addcmul_(x[:, :, rows, columns], weight[:, :, row, column, None])
    return output
