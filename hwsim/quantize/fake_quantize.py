"""An integer network in float arithmetic that gradients pass through: the training form of :mod:`.integer`.

The same layers, rescales, formats and scales as the integer network's (:func:`hwsim.quantize.tensors.assign`) and the
same rounding of weights, so both agree up to the 16-bit constants of the requantisers and to ties. Rounding has the
derivative 1 (the straight-through estimator: Bengio, Leonard, Courville, 2013, arXiv 1308.3432), the clip at a
format's ends its own.

Batch norm is folded in the forward pass: weights are quantized as they are stored and multiplied by
gamma / sqrt(variance + epsilon) afterwards, so that gradients reach weight, gamma and beta. The running mean and variance
are those of the trained network and stay. What a weight is rounded to is fixed (:mod:`hwsim.quantize.grid`). A correction
of bias is that of the weights as they are in each step, so that what the circuits add is what was trained; no gradient
passes through it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hwsim.bits import BitConfig
from hwsim.formats import Focused, Half, Int
from hwsim.layers import INPUT
from hwsim.models.forward import propagate
from hwsim.network import FloatArray, FloatNetwork
from hwsim.quantize.bias_correction import correction, expected_input_sum
from hwsim.quantize.calibrate import Calibration
from hwsim.quantize.fold import fold_batch_norm, fold_layers, weight_gains
from hwsim.quantize.fuse import fuse_clamps, requantizes
from hwsim.quantize.grid import Grid, grid_of
from hwsim.quantize.integer import check_focused, check_trained
from hwsim.quantize.settings import Settings, by_layer
from hwsim.quantize.tensors import Assignment, assign


@dataclass(frozen=True, eq=False)
class FakeQuantized:
    """The fixed part of a network in training: what is rounded to which format at which scale.

    ``grids`` are those of the weights by layer. A batch norm without a layer with weights before it becomes a weight of its
    own once it is folded, which a scale of its own holds exactly: it has a grid only where it has none.
    ``input_sums`` are the expected sums of inputs that an absorbed correction of the means is multiplied with.
    """

    network: FloatNetwork
    bits: BitConfig
    settings: Settings
    assignment: Assignment
    requantizing: frozenset[str]
    grids: Mapping[str, Grid]
    input_sums: Mapping[str, FloatArray]

    @cached_property
    def own(self) -> dict[str, Settings]:
        """The settings of each layer with weights."""
        return by_layer(self.bits, self.settings)

    def forward(self, parameters: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Return the logits [n, classes] of images uint8 [n, h, w, c] under the stored parameters."""
        stored = {layer.name for layer in self.network.layers if layer.has_weights}
        _, folded = fold_layers(self.network.layers, self._rounded(stored, parameters))
        folded = self._rounded(self.grids.keys() - stored, folded)
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
        for name in sorted(self.grids):
            digest.update(np.ascontiguousarray(self.grids[name].scale, "<f8").tobytes())
        digest.update("".join(self._particulars()).encode())
        return digest.hexdigest()

    def _particulars(self) -> Iterator[str]:
        """Yield what else is fixed where a setting asks for more than scales."""
        if self.settings.bias_correction:
            yield f"bias_correction={self.settings.bias_correction}"
        for name, tensor in sorted(self.assignment.tensors.items()):
            if tensor.channels is not None:
                yield f"{name}: {tensor.channels}"
        for name, grid in sorted(self.grids.items()):
            if grid.width is not None:
                yield f"{name}: {grid.width.tolist()}"
            if isinstance(grid.target, Focused):
                masks = b"" if grid.masks is None else np.packbits(grid.masks).tobytes()
                yield f"{name}: {grid.exponents} {grid.means} {hashlib.sha256(masks).hexdigest()}"

    def _rounded(self, names: Iterable[str], parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the parameters with the weights of some layers on their grids, and corrected as they will be."""
        values = dict(parameters)
        for name in sorted(names):
            grid, weight = self.grids[name], parameters[f"{name}.weight"]
            stored = weight.detach().numpy()
            real = grid.round(stored).real
            how = self.own[name].bias_correction
            if how:
                factor, offset = correction(stored, real, mean_only=how == "mean")
                real = real * factor[:, None, None, None]
                if how is True:
                    bias = values.get(f"{name}.bias", torch.zeros(len(real), dtype=torch.float64))
                    values[f"{name}.bias"] = bias + torch.from_numpy(offset * self.input_sums[name])
                else:
                    real = real + offset[:, None, None, None]
            inside = torch.from_numpy(grid.reaches(stored))
            values[f"{name}.weight"] = _straight_through(weight, torch.from_numpy(real), inside)
        return values

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
    """Return a trained network in fake-quantized form, its formats, scales and widths those that :func:`quantize` chooses."""
    own = by_layer(bits, settings)
    for name, item in bits.items():
        check_focused(name, item.weight, own[name])
        check_trained(own[name])
    folded = fold_batch_norm(network)
    fused = fuse_clamps(folded)
    assignment = assign(fused, bits, calibration, settings)
    return FakeQuantized(
        network,
        bits,
        settings,
        assignment,
        frozenset(layer.name for layer in assignment.layers if requantizes(layer)),
        _grids(network, folded, bits, calibration, own),
        _input_sums(assignment, calibration, own),
    )


def _grids(
    network: FloatNetwork,
    folded: FloatNetwork,
    bits: BitConfig,
    calibration: Calibration,
    own: Mapping[str, Settings],
) -> dict[str, Grid]:
    """Return the grid of each layer with weights: the one it was trained on before, or that of its quantizer."""
    gains, grids = weight_gains(network, network.parameters), dict(calibration.grids)
    for name, item in bits.items():
        exact = own[name].granularity == "channel" and own[name].allocation == "none"
        if name in gains:
            found = network.parameters[f"{name}.weight"], gains[name]
        elif exact and not isinstance(item.weight, Focused):
            continue
        else:
            weight = folded.parameters[f"{name}.weight"]
            found = weight, np.ones(len(weight))
        grids.setdefault(name, grid_of(*found, item.weight, own[name]))
    return grids


def _input_sums(
    assignment: Assignment, calibration: Calibration, own: Mapping[str, Settings]
) -> dict[str, FloatArray]:
    """Return the expected sum of the inputs of each output channel, by layer whose correction is absorbed."""
    names = {name: tensor.float_name for name, tensor in assignment.tensors.items()}
    return {
        layer.name: expected_input_sum(layer, calibration.channel_means(names[layer.inputs[0]]))
        for layer in assignment.layers
        if layer.has_weights and own[layer.name].bias_correction is True
    }


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
