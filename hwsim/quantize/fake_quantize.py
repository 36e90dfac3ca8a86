"""An integer network in float arithmetic that gradients pass through: the training form of :mod:`.integer`.

The same layers, rescales, formats and scales as the integer network's (:func:`hwsim.quantize.tensors.assign`) and the
same rounding of weights, so both agree up to the 16-bit constants of the requantisers and to ties. Rounding has the
derivative 1 (the straight-through estimator: Bengio, Leonard, Courville, 2013, arXiv 1308.3432), the clip at a
format's ends its own.

Batch norm is folded in the forward pass: weights are quantized as they are stored and multiplied by
gamma / sqrt(variance + epsilon) afterwards, so that gradients reach weight, gamma and beta. The running mean and variance
are those of the trained network and stay. The scale S of a weight is fixed; the folded weight's is
S |gamma| / sqrt(variance + epsilon) per channel (Hu, Zeng, Wu, 2023, arXiv 2303.07080, who fix S alike).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hwsim.bits import BitConfig
from hwsim.errors import HwsimError
from hwsim.formats import Focused, Format, Half, Int
from hwsim.layers import INPUT
from hwsim.models.forward import propagate
from hwsim.network import FloatArray, FloatNetwork
from hwsim.quantize.calibrate import Calibration
from hwsim.quantize.fold import fold_batch_norm, fold_layers, weight_gains
from hwsim.quantize.fuse import fuse_clamps, requantizes
from hwsim.quantize.settings import Settings
from hwsim.quantize.tensors import Assignment, assign
from hwsim.quantize.weights import quantize_weight, round_to


@dataclass(frozen=True, eq=False)
class FakeQuantized:
    """The fixed part of a network in training: what is rounded to which format at which scale.

    ``weight_scales`` are those of the stored weights [outputs], by layer. A batch norm without a layer with weights
    before it becomes a weight of its own, which its own scale always holds exactly: it has none here.
    """

    network: FloatNetwork
    bits: BitConfig
    assignment: Assignment
    requantizing: frozenset[str]
    weight_scales: Mapping[str, FloatArray]

    def forward(self, parameters: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Return the logits [n, classes] of images uint8 [n, h, w, c] under the stored parameters."""
        rounded = {f"{n}.weight": self._weight(n, parameters[f"{n}.weight"]) for n in self.weight_scales}
        _, folded = fold_layers(self.network.layers, {**parameters, **rounded})
        values = {name: tensor.float() for name, tensor in folded.items()}
        *_, (_, logits) = propagate(
            self.assignment.layers, values, self._pixels(images), change=self._requantize
        )
        return logits.flatten(1)

    def digest(self) -> str:
        """Return the SHA-256 of the network and of everything fixed, in hexadecimal."""
        digest = hashlib.sha256(self.network.digest().encode())
        tensors = [(name, str(t.format), t.scale) for name, t in sorted(self.assignment.tensors.items())]
        digest.update(json.dumps([self.bits.to_toml(), tensors]).encode())
        for name in sorted(self.weight_scales):
            digest.update(np.ascontiguousarray(self.weight_scales[name], "<f8").tobytes())
        return digest.hexdigest()

    def folded_scales(self, parameters: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """Return the scales of the folded weights under other parameters, by layer."""
        gains = weight_gains(self.network, parameters)
        scales = {name: scale * np.abs(gains[name]) for name, scale in self.weight_scales.items()}
        return {name: np.where(scale > 0, scale, 1.0) for name, scale in scales.items()}

    def _weight(self, name: str, weight: Tensor) -> Tensor:
        scale, target = self.weight_scales[name][:, None, None, None], self.bits[name].weight
        assert not isinstance(target, Focused)
        steps = weight.detach().numpy() / scale
        inside = torch.from_numpy(np.abs(steps) <= target.maximum + 0.5)
        return _straight_through(weight, torch.from_numpy(round_to(steps, target) * scale), inside)

    def _pixels(self, images: Tensor) -> Tensor:
        pixels = self.assignment.tensors[INPUT]
        assert isinstance(pixels.format, Int)
        steps = np.rint(self.network.preprocessing.values() / pixels.scale)
        table = np.clip(steps, pixels.format.minimum, pixels.format.maximum) * pixels.scale
        channels = torch.arange(images.shape[3])
        planes = torch.from_numpy(table).float()[channels, images.long()]
        return planes.movedim(3, 1)

    def _requantize(self, name: str, output: Tensor) -> Tensor:
        if name not in self.requantizing:
            return output
        tensor = self.assignment.tensors[name]
        if isinstance(tensor.format, Half):
            output = output if tensor.format.signed else output.relu()
            return _straight_through(output, output.half().to(output.dtype), torch.ones_like(output))
        return _round_and_clip(output, tensor.steps, *tensor.ends)


def fake_quantize(
    network: FloatNetwork, bits: BitConfig, calibration: Calibration, settings: Settings
) -> FakeQuantized:
    """Return a trained network in fake-quantized form, its scales those that :func:`quantize` would choose."""
    if settings.allocation != "none":
        raise HwsimError(
            f"fine-tuning keeps one width a weight; allocation={settings.allocation} is for networks as trained"
        )
    targets: dict[str, Format] = {}
    for name, item in bits.items():
        if isinstance(item.weight, Focused):
            raise HwsimError(
                f'layer "{name}" has {item.weight} weights, which are not fine-tuned; fine-tune the pruned network'
            )
        targets[name] = item.weight
    folded = fold_batch_norm(network)
    assignment = assign(fuse_clamps(folded), bits, calibration, settings)
    gains = weight_gains(network, network.parameters)
    scales: dict[str, FloatArray] = {}
    for name, gain in gains.items():
        weight = folded.parameters[f"{name}.weight"]
        fixed = calibration.weight_scales.get(name)
        scale = quantize_weight(weight, targets[name], settings, fixed).scale
        stored = np.abs(network.parameters[f"{name}.weight"]).max(axis=(1, 2, 3))
        unfolded = scale / np.where(gain == 0, 1.0, np.abs(gain))
        scales[name] = np.where(
            gain == 0, np.where(stored > 0, stored, 1.0) / targets[name].maximum, unfolded
        )
    requantizing = frozenset(layer.name for layer in assignment.layers if requantizes(layer))
    return FakeQuantized(network, bits, assignment, requantizing, scales)


def _straight_through(values: Tensor, rounded: Tensor, inside: Tensor) -> Tensor:
    """Return ``rounded``, whose gradient is handed to ``values`` where ``inside`` is set."""
    result: Tensor = _StraightThrough.apply(values, rounded, inside)  # type: ignore[no-untyped-call]
    return result


class _StraightThrough(torch.autograd.Function):
    """What :func:`_straight_through` does, in the form torch asks for."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, rounded: Tensor, inside: Tensor) -> Tensor:
        del values
        ctx.save_for_backward(inside)
        return rounded

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (inside,) = ctx.saved_tensors
        return gradient * inside, None, None


def _round_and_clip(values: Tensor, scale: FloatArray, low: FloatArray, high: FloatArray) -> Tensor:
    """Return the nearest multiples of each channel's scale, low to high times it; ties go up, as in a requantiser."""
    reciprocal, low_end, high_end, step = (
        torch.from_numpy(of_channel).to(values.dtype)[:, None, None]
        for of_channel in (1 / scale, low, high, scale)
    )
    steps = values.detach() * reciprocal
    clipped = steps.clamp(low_end, high_end)
    inside = clipped == steps
    return _straight_through(values, clipped.add_(0.5).floor_().mul_(step), inside)
