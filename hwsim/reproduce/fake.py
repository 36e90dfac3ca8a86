"""What a framework's fake quantization would say of an integer network: float32, and no accumulator.

The same weights, scales and formats as the integer network's, each tensor dequantized: a layer is computed in
float32, divided by its output's scale, rounded (ties to even, as torch does) and clamped. The circuits differ
from it by the fixed-point constants of their requantisers, by ties, and by what their accumulators overflow.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hwsim.formats import Half
from hwsim.layers import INPUT
from hwsim.models.forward import propagate
from hwsim.network import FloatArray, Images, IntegerLayer, QuantizedNetwork, look_up
from hwsim.quantize.fuse import requantizes


class FakeQuantized:
    """An integer network in float32, ready to compute the logits of images."""

    def __init__(self, network: QuantizedNetwork) -> None:
        self.network = network
        self._parameters = _parameters(network)
        self._requantizing = {i.layer.name: i for i in network.layers if requantizes(i.layer)}

    def logits(self, images: Images) -> FloatArray:
        """Return the real outputs [n, classes] for images uint8 [n, h, w, c]."""
        pixels = look_up(self.network.input_table, images) * self.network.input_scale
        layers = tuple(item.layer for item in self.network.layers)
        with torch.inference_mode():
            *_, (_, output) = propagate(
                layers, self._parameters, torch.from_numpy(pixels).float(), change=self._rounded
            )
        real: FloatArray = output.flatten(1).double().numpy()
        return real

    def _rounded(self, name: str, x: Tensor) -> Tensor:
        return _rounded(self._requantizing[name], x) if name in self._requantizing else x


def _parameters(network: QuantizedNetwork) -> dict[str, Tensor]:
    """Return the weights of every layer, with the sums of inputs it adds, and its biases, dequantized."""
    scales = {INPUT: network.input_scale} | {item.layer.name: item.scale for item in network.layers}
    found = {}
    for item in network.layers:
        if item.weight is None:
            continue
        assert item.bias is not None and item.shift is not None and item.multiplier is not None
        step = np.ldexp(item.scale, -item.shift if item.exponent is None else item.exponent - item.shift)
        exact = item.weight * item.multiplier[:, None, None, None]
        if item.masks is not None and item.mask_multiplier is not None:
            exact = exact + (item.masks * item.mask_multiplier[:, :, None, None, None]).sum(axis=0)
        weight = exact * (step / scales[item.layer.inputs[0]])[:, None, None, None]
        found[f"{item.layer.name}.weight"] = torch.from_numpy(weight).float()
        found[f"{item.layer.name}.bias"] = torch.from_numpy(item.bias * step).float()
    return found


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
