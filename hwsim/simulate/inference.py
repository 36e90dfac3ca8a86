"""Integer inference: a whole network in exact integer arithmetic, layer by layer.

This is the reference the circuits are compared with at every layer's tensor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.arithmetic import Sums, channel_clamp, dot, requantize
from hwsim.errors import HwsimError
from hwsim.formats import HALF, Half, Int, IntArray, Overflow, Rounding
from hwsim.half import add_halves, from_half, to_half
from hwsim.layers import (
    INPUT,
    AveragePool,
    ChannelShuffle,
    Concatenate,
    Convolution,
    Flatten,
    FromHalf,
    MaxPool,
    PadChannels,
    Padding,
    Pair,
    Slice,
)
from hwsim.network import Images, ImageSequence, IntegerLayer, QuantizedNetwork, look_up

Overflowed = npt.NDArray[np.bool_]
Visit = Callable[[IntegerLayer, tuple[IntArray, ...], IntArray, Overflowed | None], None]
"""Called with each layer, its input tensors, its output tensor and, for layers with weights, which sums overflowed."""


def windows(
    x: IntArray, kernel: Pair, stride: Pair, padding: Padding, fill: int = 0, dilation: Pair = (1, 1)
) -> IntArray:
    """Return the windows of x [n, c, h, w] as a view [n, c, out height, out width, kernel height, kernel width]."""
    top, left, bottom, right = padding
    if any(padding):
        x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)
    extent = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    view: IntArray = np.lib.stride_tricks.sliding_window_view(x, extent, axis=(2, 3))
    return view[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def operands(x: IntArray, operator: Convolution) -> IntArray:
    """Return the activations of every sum, [groups, n * out height * out width, products], in summing order."""
    n, c = x.shape[:2]
    view = windows(x, operator.kernel, operator.stride, operator.padding, dilation=operator.dilation)
    height, width = view.shape[2:4]
    grouped = view.reshape(n, operator.groups, c // operator.groups, height, width, *operator.kernel)
    return grouped.transpose(1, 0, 3, 4, 2, 5, 6).reshape(operator.groups, n * height * width, -1)


def weight_operands(weight: IntArray, groups: int) -> IntArray:
    """Return weights [outputs, inputs of a group, kh, kw] as [groups, products, outputs of a group]."""
    return weight.reshape(groups, weight.shape[0] // groups, -1).transpose(0, 2, 1)


def per_output(sums: IntArray, item: IntegerLayer) -> IntArray:
    """Return the sums of a mask's outputs or groups, [n, outputs or groups, h, w], for each output of the layer."""
    return np.repeat(sums, item.layer.output_shape[0] // sums.shape[1], axis=1)


def _weighted(item: IntegerLayer, x: IntArray, rounding: Rounding) -> tuple[IntArray, Overflowed]:
    bits, weight = item.bits, item.weight
    assert bits is not None and weight is not None
    operator = item.layer.as_convolution
    activations = operands(x, operator)
    shape = (operator.groups, x.shape[0], *item.layer.output_shape[1:], -1)

    def planes(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return array.reshape(shape).transpose(1, 0, 4, 2, 3).reshape(shape[1], -1, *shape[2:4])

    def sums(of: IntArray, accumulator: Int, overflow: Overflow) -> Sums:
        return dot(activations, weight_operands(of, operator.groups), accumulator, overflow)

    products = sums(weight, bits.accumulator, bits.overflow)
    masked = [planes(sums(mask, _EXACT, Overflow.WRAP).values) for mask in item.mask_rows]
    output = _requantized(item, planes(products.values), rounding, masked)
    return output, planes(products.overflowed)


_EXACT = Int(63)


def _requantized(
    item: IntegerLayer, sums: IntArray, rounding: Rounding, masked: Sequence[IntArray] = ()
) -> IntArray:
    """Return a layer's output from its sums and masked sums; the constants are per channel or single."""
    assert item.multiplier is not None
    products = sums * item.multiplier[:, None, None]
    if item.mask_multiplier is not None:
        added = zip(masked, item.mask_multiplier[:, :, None, None], strict=True)
        products += sum(per_output(values, item) * constant for values, constant in added)
    return _fitted(item, products, rounding)


def _fitted(item: IntegerLayer, products: IntArray, rounding: Rounding) -> IntArray:
    """Return a layer's output from its sums, multiplied already."""
    bias, shift = (None if c is None else c[:, None, None] for c in (item.bias, item.shift))
    assert bias is not None and shift is not None
    if isinstance(item.requantized, Half):
        return to_half(products + bias, shift, item.requantized)
    output = requantize(products, np.ones(1, np.int64), bias, shift, rounding, item.requantized)
    return _clamped(item, output)


def _clamped(item: IntegerLayer, output: IntArray) -> IntArray:
    """Return a requantiser's output clamped channel by channel, where channels have widths of their own."""
    assert isinstance(item.output, Int)
    width, exponent = (None if c is None else c[:, None, None] for c in (item.width, item.exponent))
    return (
        output if width is None or exponent is None else channel_clamp(output, width, exponent, item.output)
    )


def compute_layer(
    item: IntegerLayer, inputs: tuple[IntArray, ...], rounding: Rounding
) -> tuple[IntArray, Overflowed | None]:
    """Return a layer's output tensor [n, c, h, w] and, for layers with weights, which sums overflowed."""
    layer, x = item.layer, inputs[0]
    match layer.operator:
        case _ if layer.has_weights:
            return _weighted(item, x, rounding)
        case MaxPool(kernel, stride, padding):
            return windows(x, kernel, stride, padding, fill=item.output.minimum).max(axis=(4, 5)), None
        case AveragePool(kernel, stride, padding):
            return _requantized(item, windows(x, kernel, stride, padding).sum(axis=(4, 5)), rounding), None
        case Concatenate():
            return np.concatenate(inputs, axis=1), None
        case Flatten():
            return x.reshape(x.shape[0], -1, 1, 1), None
        case Slice(starts, stops, steps):
            cuts = tuple(slice(*cut) for cut in zip(starts, stops, steps, strict=True))
            return x[(slice(None), *cuts)], None
        case PadChannels(before, after):
            return np.pad(x, ((0, 0), (before, after), (0, 0), (0, 0))), None
        case ChannelShuffle(groups):
            return x.reshape(len(x), groups, -1, *x.shape[2:]).swapaxes(1, 2).reshape(x.shape), None
        case _ if layer.kind == "add" and isinstance(item.output, Half):
            return add_halves(x, inputs[1], (HALF, HALF), item.output), None
        case FromHalf():
            assert item.multiplier is not None and item.shift is not None
            assert isinstance(item.requantized, Int)
            multiplier, shift = item.multiplier[:, None, None], item.shift[:, None, None]
            integers = from_half(x, HALF, multiplier, shift, rounding, item.requantized)
            return _clamped(item, integers), None
        case _ if layer.kind == "add":
            assert item.multiplier is not None
            return _fitted(item, x * item.multiplier[0] + inputs[1] * item.multiplier[1], rounding), None
        case _ if layer.kind == "rescale":
            return _requantized(item, x, rounding), None
    raise TypeError(f"an integer network holds no {layer.kind}")


Compute = Callable[[IntegerLayer, tuple[IntArray, ...], Rounding], tuple[IntArray, Overflowed | None]]
"""From a layer, its input tensors and the network's rounding to its output and, of sums, which overflowed."""


def run(
    network: QuantizedNetwork,
    images: Images,
    visit: Visit | None = None,
    *,
    compute: Compute = compute_layer,
) -> IntArray:
    """Return the network's output integers [n, outputs] for uint8 images [n, h, w, c].

    ``visit`` sees every layer in order; a tensor is dropped after its last reader. ``compute`` is what computes
    a layer: exact arithmetic, or circuits.
    """
    if images.ndim != 4 or images.dtype != np.uint8 or _planes(images) != network.input_shape:
        raise HwsimError(
            f"images are {images.dtype} {images.shape}; the network reads uint8 [images, height, width, channels] "
            f"with (channels, height, width) = {network.input_shape}"
        )
    last_reader = {name: index for index, item in enumerate(network.layers) for name in item.layer.inputs}
    tensors: dict[str, IntArray] = {INPUT: look_up(network.input_table, images)}
    for index, item in enumerate(network.layers):
        inputs = tuple(tensors[name] for name in item.layer.inputs)
        output, overflowed = compute(item, inputs, network.rounding)
        if visit is not None:
            visit(item, inputs, output, overflowed)
        tensors[item.layer.name] = output
        for name in set(item.layer.inputs):
            if last_reader[name] == index:
                del tensors[name]
    return tensors[network.layers[-1].layer.name].reshape(images.shape[0], -1)


def _planes(images: Images) -> tuple[int, ...]:
    return (images.shape[3], images.shape[1], images.shape[2])


@dataclass(frozen=True)
class Overflows:
    """Sums of one layer that left the accumulator's range on the way, of all sums, and by output channel."""

    layer: str
    sums: int
    overflowed: int
    by_channel: tuple[int, ...]


@dataclass(frozen=True)
class Difference:
    """The first value on which circuit and arithmetic disagree; ``where`` is (image, channel, row, column)."""

    layer: str
    part: str
    where: tuple[int, ...]
    circuit: int
    arithmetic: int

    def __str__(self) -> str:
        return (
            f"layer {self.layer}, {self.part} at (image, channel, row, column) {self.where}: "
            f"circuit {self.circuit}, arithmetic {self.arithmetic}"
        )


@dataclass(frozen=True)
class Accuracy:
    """Correct predictions (largest output, first of equals) and each layer's overflows over a split.

    ``classes`` are the predictions; ``difference`` is the first value on which the two implementations disagreed, where
    two were run.
    """

    correct: int
    images: int
    overflows: tuple[Overflows, ...]
    classes: tuple[int, ...]
    difference: Difference | None = None

    @property
    def percent(self) -> float:
        return 100 * self.correct / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """95% Wilson score interval of the percentage (Wilson, JASA 22:209, 1927)."""
        return wilson(self.correct, self.images)


def wilson(correct: int, n: int) -> tuple[float, float]:
    """Return the 95% Wilson score interval of correct / n, in percent."""
    z = 1.959963984540054
    centre = (correct + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(correct * (n - correct) / n + z * z / 4)
    return 100 * max(centre - half, 0.0), 100 * min(centre + half, 1.0)


def measure_accuracy(
    network: QuantizedNetwork,
    images: ImageSequence,
    labels: IntArray,
    *,
    compute: Compute = compute_layer,
    against: Compute | None = None,
    compared: int | None = None,
    progress: Callable[[int, int], None] = lambda done, planned: None,
) -> Accuracy:
    """Return accuracy and overflows over images; ``progress`` is told the images done and planned after every layer.

    Of the images that are on their way it counts the share of layers done.
    ``compute`` computes each layer. With ``against``, so does that one on the same inputs of the first ``compared``
    images, or of all, and both are compared at every output and every overflow.
    """
    if not len(images):
        raise HwsimError("the split holds no image; give at least one")
    weighted = [item.layer for item in network.layers if item.layer.has_weights]
    counts = {layer.name: np.zeros(layer.output_shape[0], np.int64) for layer in weighted}
    order = [item.layer.name for item in network.layers]
    classes, start, differences = list[int](), 0, list[Difference]()

    def visit(
        item: IntegerLayer, inputs: tuple[IntArray, ...], output: IntArray, over: Overflowed | None
    ) -> None:
        progress(start + len(output) * order.index(item.layer.name) // len(order), len(images))
        if over is not None:
            counts[item.layer.name] += over.sum(axis=(0, 2, 3))
        few = slice(None if compared is None else max(0, compared - start))
        if against is not None and not differences and len(output[few]):
            expected = against(item, tuple(x[few] for x in inputs), network.rounding)
            found = (output[few], None if over is None else over[few])
            differences.extend(_differences(item.layer.name, start, found, expected))

    batch = images_per_batch(network)
    for start in range(0, len(images), batch):
        outputs = run(network, images[start : start + batch], visit, compute=compute)
        classes += outputs.argmax(axis=1).tolist()
        progress(min(start + batch, len(images)), len(images))
    overflows = tuple(
        Overflows(
            layer.name,
            len(images) * layer.outputs,
            int(counts[layer.name].sum()),
            tuple(counts[layer.name].tolist()),
        )
        for layer in weighted
    )
    correct = int((np.array(classes) == labels).sum())
    return Accuracy(correct, len(images), overflows, tuple(classes), next(iter(differences), None))


def _differences(
    layer: str,
    first_image: int,
    circuit: tuple[IntArray, Overflowed | None],
    arithmetic: tuple[IntArray, Overflowed | None],
) -> Iterator[Difference]:
    """Yield the first place at which outputs differ, and the first at which overflows do."""
    for part, ours, theirs in zip(("output", "overflow"), circuit, arithmetic, strict=True):
        if ours is not None and theirs is not None and not np.array_equal(ours, theirs):
            image, *rest = (int(axis[0]) for axis in np.nonzero(ours != theirs))
            place = (image, *rest)
            yield Difference(layer, part, (first_image + image, *rest), int(ours[place]), int(theirs[place]))


def images_per_batch(network: QuantizedNetwork, budget_bytes: int = 1 << 27) -> int:
    """Return how many images keep the largest layer's operand matrix within a memory budget."""
    largest = max(
        (
            item.layer.products * math.prod(item.layer.output_shape[1:]) * item.layer.as_convolution.groups
            for item in network.layers
            if item.layer.has_weights
        ),
        default=1,
    )
    return max(1, budget_bytes // (8 * largest))
