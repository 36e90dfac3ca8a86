"""What a framework's fake quantization would say of an integer network: float32, and no accumulator.

The same weights, scales and formats as the integer network's, each tensor dequantized: a layer is computed in
float32, divided by its output's scale, rounded (ties to even, as torch does) and clamped. The circuits differ
from it by the fixed-point constants of their requantisers, by ties, and by what their accumulators overflow.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from hwsim.formats import Half
from hwsim.layers import (
    INPUT,
    Add,
    AveragePool,
    Concatenate,
    Convolution,
    Flatten,
    Linear,
    MaxPool,
    PadChannels,
    Padding,
    Slice,
)
from hwsim.network import FloatArray, Images, IntegerLayer, QuantizedNetwork, look_up


class FakeQuantized:
    """An integer network in float32, ready to compute the logits of images."""

    def __init__(self, network: QuantizedNetwork) -> None:
        self.network = network
        self._scales = {INPUT: network.input_scale} | {i.layer.name: i.scale for i in network.layers}
        self._weights = {i.layer.name: self._weight(i) for i in network.layers if i.layer.has_weights}

    def logits(self, images: Images) -> FloatArray:
        """Return the real outputs [n, classes] for images uint8 [n, h, w, c]."""
        pixels = look_up(self.network.input_table, images) * self.network.input_scale
        tensors = {INPUT: torch.from_numpy(pixels).float()}
        last = {name: index for index, item in enumerate(self.network.layers) for name in item.layer.inputs}
        with torch.inference_mode():
            for index, item in enumerate(self.network.layers):
                inputs = [tensors[name] for name in item.layer.inputs]
                tensors[item.layer.name] = self._computed(item, inputs)
                for name in set(item.layer.inputs):
                    if last[name] == index:
                        del tensors[name]
        output: FloatArray = tensors[self.network.layers[-1].layer.name].flatten(1).double().numpy()
        return output

    def _weight(self, item: IntegerLayer) -> tuple[Tensor, Tensor]:
        """Return a layer's weights, with the sums of inputs it adds, and its biases, dequantized."""
        assert item.weight is not None and item.bias is not None and item.shift is not None
        assert item.multiplier is not None
        step = np.ldexp(item.scale, -item.shift if item.exponent is None else item.exponent - item.shift)
        exact = item.weight * item.multiplier[:, None, None, None]
        if item.masks is not None and item.mask_multiplier is not None:
            exact = exact + (item.masks * item.mask_multiplier[:, :, None, None, None]).sum(axis=0)
        weight = exact * (step / self._scales[item.layer.inputs[0]])[:, None, None, None]
        return torch.from_numpy(weight).float(), torch.from_numpy(item.bias * step).float()

    def _computed(self, item: IntegerLayer, inputs: list[Tensor]) -> Tensor:
        x = inputs[0]
        match item.layer.operator:
            case Convolution() | Linear():
                operator, (weight, bias) = item.layer.as_convolution, self._weights[item.layer.name]
                padded = _padded(x, operator.padding)
                x = functional.conv2d(padded, weight, bias, operator.stride, groups=operator.groups)
            case Add():
                x = x + inputs[1]
            case AveragePool(kernel, stride, padding):
                x = functional.avg_pool2d(_padded(x, padding), kernel, stride)
            case MaxPool(kernel, stride, padding):
                return functional.max_pool2d(_padded(x, padding, -torch.inf), kernel, stride)
            case Concatenate():
                return torch.cat(inputs, 1)
            case Flatten():
                return x.reshape(len(x), -1, 1, 1)
            case Slice(starts, stops, steps):
                return x[:, *(slice(*cut) for cut in zip(starts, stops, steps, strict=True))]
            case PadChannels(before, after):
                return functional.pad(x, (0, 0, 0, 0, before, after))
        return _rounded(item, x)


def _rounded(item: IntegerLayer, x: Tensor) -> Tensor:
    """Return the nearest values that a layer's output can hold, per channel where it has steps of its own."""
    if isinstance(item.output, Half):
        return (x if item.output.signed else x.relu()).half().float()
    exponent = np.zeros(1, np.int64) if item.exponent is None else item.exponent
    width = np.array([item.output.bits]) if item.width is None else item.width
    bits = np.maximum(width - item.output.signed, 0)
    low = -(1 << bits) * (item.output.signed & (width > 0))
    step, low, high = (
        torch.from_numpy(np.asarray(c, np.float64)).float()[:, None, None]
        for c in (item.scale * np.exp2(exponent), low, (1 << bits) - 1)
    )
    return torch.clamp(torch.round(x / step), low, high) * step


def _padded(x: Tensor, padding: Padding, value: float = 0.0) -> Tensor:
    top, left, bottom, right = padding
    return functional.pad(x, (left, right, top, bottom), value=value) if any(padding) else x
