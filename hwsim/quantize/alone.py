"""One layer of a network quantized, all others in float: what that does to the network's output.

Measured: the layer computes with its integers, and what follows it runs on in float. Estimated: to second order, the
divergence of the output's distribution is half the square of the change's product with the gradient of the
log-likelihood, expected over labels drawn from that distribution (the Fisher matrix in place of the Hessian; at the
layer's output as in Y. Li et al., BRECQ, ICLR 2021, arXiv 2102.05426, layer by layer as in Z. Dong et al., HAWQ,
ICCV 2019, arXiv 1905.03696). Nothing then needs to run but the layer itself.

Everything before the layer is that of the float network, which runs once for all changes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from hwsim.arithmetic import dot
from hwsim.bits import LayerBits, bit_config
from hwsim.data import Split
from hwsim.formats import Int, IntArray, Overflow, WeightFormat
from hwsim.layers import INPUT, Layer
from hwsim.models.forward import apply_layer, convolve, propagate, single_threaded, tensors
from hwsim.network import FloatArray, FloatNetwork, IntegerLayer, QuantizedNetwork
from hwsim.quantize.calibrate import Calibration, Progress
from hwsim.quantize.fold import fold_batch_norm
from hwsim.quantize.integer import quantize
from hwsim.quantize.settings import Settings

_WIDE = Int(32)
_ELEMENTS = 1 << 22
"""Elements of all tensors of a batch at most, unless one image has more."""

_DIGITS = 6
"""Significant digits that are kept of what was computed in float64: as many as every machine agrees on."""


@dataclass(frozen=True)
class Change:
    """What of a layer is quantized: its weights, its input, and the accumulator of their products; None is float.

    ``quantizer`` is what its settings differ in from the network's.
    """

    weight: WeightFormat | None = None
    activation: int | None = None
    accumulator: Int = _WIDE
    overflow: Overflow = Overflow.WRAP
    quantizer: str = ""

    @classmethod
    def of(cls, bits: LayerBits, quantizer: str = "") -> Change:
        """Return the change to all of a layer's bits."""
        return cls(bits.weight, bits.activation.bits, bits.accumulator, bits.overflow, quantizer)


@dataclass(frozen=True)
class Effect:
    """What a change of one layer does, over the images.

    ``divergence`` is the mean Kullback-Leibler divergence of the float network's distribution over the classes from
    the changed one's, in nats; ``estimated`` the same to second order from gradients; ``lost`` the images that the
    float network gets right less those that the changed one does; ``overflowed`` the share of sums that left the
    accumulator's range.
    """

    divergence: float
    estimated: float
    lost: int
    overflowed: float


def effects(
    network: FloatNetwork,
    changes: Mapping[str, Sequence[Change]],
    calibration: Calibration,
    split: Split,
    *,
    settings: Settings,
    progress: Progress | None = None,
) -> dict[str, dict[Change, Effect]]:
    """Return the effect of each change of each layer by itself, over a split of the calibration images.

    Deterministic, and the same on any number of threads: layers run side by side, torch on one thread in each.
    """
    subject = _Subject(fold_batch_norm(network), network, calibration, settings)
    for change in dict.fromkeys(change for given in changes.values() for change in given):
        subject.quantized(change)  # once, before layers ask for it side by side
    sums = {name: {change: np.zeros(4) for change in given} for name, given in changes.items()}
    size = max(1, _ELEMENTS // sum(math.prod(layer.output_shape) for layer in subject.folded.layers))
    steps = len(changes) * -(-len(split) // size)
    done = 0
    with single_threaded() as pool:
        for start in range(0, len(split), size):
            batch = _Batch(subject, split.part(slice(start, start + size)))
            for name, found in pool.map(lambda item, b=batch: (item[0], b.measure(*item)), changes.items()):
                for change, values in found.items():
                    sums[name][change] += values
                done += 1
                if progress is not None:
                    progress(done, steps)
    return {
        name: {change: _effect(values, len(split)) for change, values in found.items()}
        for name, found in sums.items()
    }


def _effect(values: FloatArray, images: int) -> Effect:
    divergence, estimated, lost, overflowed = values
    return Effect(
        _kept(divergence / images), _kept(estimated / images), int(lost), _kept(overflowed / images)
    )


def _kept(value: float) -> float:
    return float(f"{max(value, 0.0):.{_DIGITS - 1}e}")


class _Subject:
    """A folded network with its integers under each uniform weight format, activation width and quantizer."""

    def __init__(
        self, folded: FloatNetwork, network: FloatNetwork, calibration: Calibration, settings: Settings
    ) -> None:
        self.folded, self.network, self.calibration, self.settings = folded, network, calibration, settings
        self.values = tensors(folded)
        self.layers = {layer.name: layer for layer in folded.layers}
        self._integers: dict[tuple[WeightFormat, int, str], QuantizedNetwork] = {}

    def quantized(self, change: Change) -> QuantizedNetwork:
        """Return the network with the formats and the quantizer of a change in every layer."""
        weight, activation, own = change.weight or Int(8), change.activation or 8, change.quantizer
        if (weight, activation, own) not in self._integers:
            bits = bit_config(
                (layer, LayerBits(weight, Int(activation, signed), _WIDE))
                for layer, signed in self.folded.signed_inputs().items()
            )
            self._integers[weight, activation, own] = quantize(
                self.network, bits, self.calibration, settings=self.settings.of_layer(own)
            )
        return self._integers[weight, activation, own]

    def integers(self, name: str, change: Change) -> tuple[IntegerLayer, _Grid]:
        """Return a layer's integers and the grid of its input."""
        network = self.quantized(change)
        items = {item.layer.name: item for item in network.layers}
        item = items[name]
        (source,) = item.layer.inputs
        if source == INPUT:
            return item, _Grid(network.input_scale, network.input)
        given = items[source]
        assert isinstance(given.output, Int)
        return item, _Grid(given.scale, given.output, given.width, given.exponent)


@dataclass(frozen=True, eq=False)
class _Grid:
    """The integers that a tensor has: real value = integer * scale, its channels in steps of 2^exponent."""

    scale: float
    form: Int
    width: IntArray | None = None
    exponent: IntArray | None = None

    def integers(self, x: Tensor) -> Tensor:
        """Return the integers of real values [n, channels, height, width]."""
        channels = x.shape[1]
        widths = np.full(channels, self.form.bits) if self.width is None else self.width
        step = torch.from_numpy(
            np.ldexp(1.0, np.zeros(channels, int) if self.exponent is None else self.exponent)
        )
        forms = [Int(bits, self.form.signed) if bits else None for bits in widths.tolist()]
        low, high = (
            torch.tensor([float(getattr(form, end)) if form else 0.0 for form in forms])[:, None, None]
            for end in ("minimum", "maximum")
        )
        step = step[:, None, None]
        return torch.clamp(torch.round(x / (self.scale * step)), low, high) * step


class _Batch:
    """A few images: every tensor of the float network, and the gradients at the outputs of its layers with weights."""

    def __init__(self, subject: _Subject, split: Split) -> None:
        self.subject, self.labels = subject, torch.from_numpy(np.asarray(split.labels))
        folded = subject.folded
        x = torch.from_numpy(folded.preprocessing.apply(split.images[:]))
        weighted = [layer.name for layer in folded.layers if layer.has_weights]
        with torch.enable_grad():
            x.requires_grad_()
            kept = dict(propagate(folded.layers, subject.values, x))
            logits = kept[folded.layers[-1].name].flatten(1)
            self.gradients = _gradients(logits, {name: kept[name] for name in weighted})
        self.kept = {name: tensor.detach() for name, tensor in kept.items()}
        self.log_likely = logits.detach().log_softmax(1)
        self.right = (logits.argmax(1) == self.labels).sum().item()

    def measure(self, name: str, changes: Sequence[Change]) -> dict[Change, FloatArray]:
        """Return the sums over the images of what an :class:`Effect` of each change holds."""
        found: dict[Change, FloatArray] = {}
        exact: dict[Change, FloatArray] = {}
        with torch.inference_mode():
            for change in changes:
                output, overflowed = self._changed(self.subject.layers[name], change)
                wide = replace(change, accumulator=_WIDE, overflow=Overflow.WRAP)
                if overflowed:
                    found[change] = self._measure(name, output, overflowed)
                else:
                    exact[wide] = found[change] = (
                        exact[wide] if wide in exact else self._measure(name, output, 0.0)
                    )
        return found

    def _measure(self, name: str, output: Tensor, overflowed: float) -> FloatArray:
        moved = self.gradients[name] * (output - self.kept[name])
        estimated = moved.flatten(2).sum(2).square().sum().item() / 2
        logits = self._rest(name, output).flatten(1)
        likely = self.log_likely
        divergence = (likely.exp() * (likely - logits.log_softmax(1))).sum().item()
        lost = self.right - (logits.argmax(1) == self.labels).sum().item()
        return np.array([divergence, estimated, lost, overflowed * len(self.labels)])

    def _rest(self, name: str, output: Tensor) -> Tensor:
        """Return the network's output where a layer has another one; what does not depend on it is not computed."""
        changed = {name: output}
        for layer in self.subject.folded.layers:
            if layer.name != name and any(source in changed for source in layer.inputs):
                inputs = [changed.get(source, self.kept[source]) for source in layer.inputs]
                changed[layer.name] = apply_layer(layer, inputs, self.subject.values)
        return changed[self.subject.folded.layers[-1].name]

    def _changed(self, layer: Layer, change: Change) -> tuple[Tensor, float]:
        """Return a layer's output with its change, not yet rounded, and the share of sums that overflowed."""
        x = self.kept[layer.inputs[0]]
        item, grid = self.subject.integers(layer.name, change)
        operands = x / grid.scale if change.activation is None else grid.integers(x)
        if change.weight is None:
            return apply_layer(layer, [operands * grid.scale], self.subject.values), 0.0
        assert item.weight is not None
        sums = convolve(layer.as_convolution, operands, _tensor(item.weight), None)
        if change.activation is None:
            return _requantized(layer, item, operands, sums), 0.0
        fitted = _fitted(layer, operands, item.weight, sums, change)
        return _requantized(layer, item, operands, fitted), (fitted != sums).double().mean().item()


def _gradients(logits: Tensor, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return sqrt(p(y)) d log p(y) / d output for every class y, [classes, n, ...], of each output."""
    likely = logits.log_softmax(1)
    found: dict[str, list[Tensor]] = {name: [] for name in outputs}
    for label in range(logits.shape[1]):
        of_label = torch.autograd.grad(likely[:, label].sum(), list(outputs.values()), retain_graph=True)
        root = (likely[:, label].detach() / 2).exp()[:, None, None, None]
        for name, gradient in zip(outputs, of_label, strict=True):
            found[name].append(root * gradient)
    return {name: torch.stack(gradients) for name, gradients in found.items()}


def _tensor(integers: IntArray) -> Tensor:
    return torch.from_numpy(integers.astype(np.float64))


def _fitted(layer: Layer, operands: Tensor, weight: IntArray, sums: Tensor, change: Change) -> Tensor:
    """Return sums as an accumulator holds them; one that saturates does so on the way, product by product."""
    accumulator = change.accumulator
    if change.overflow is Overflow.WRAP:
        return (sums - accumulator.minimum).remainder(2.0**accumulator.bits) + accumulator.minimum
    operator = layer.as_convolution
    reach = convolve(operator, operands.abs(), _tensor(abs(weight)), None).max().item()
    if reach <= accumulator.maximum:
        return sums
    top, left, bottom, right = operator.padding
    padded = functional.pad(operands, (left, right, top, bottom))
    walked = functional.unfold(padded, operator.kernel, operator.dilation, stride=operator.stride).to(
        torch.int64
    )
    images, places = len(sums), walked.shape[2]
    grouped = walked.reshape(images, operator.groups, -1, places).permute(1, 0, 3, 2).flatten(1, 2).numpy()
    weights = weight.reshape(operator.groups, len(weight) // operator.groups, -1).transpose(0, 2, 1)
    values = dot(grouped, weights, accumulator, Overflow.SATURATE).values
    planes = torch.from_numpy(values.astype(np.float64)).reshape(operator.groups, images, places, -1)
    return planes.permute(1, 0, 3, 2).reshape(*sums.shape)


def _requantized(layer: Layer, item: IntegerLayer, operands: Tensor, sums: Tensor) -> Tensor:
    """Return the real values that a layer's requantiser rounds, from its sums and those of its inputs."""
    assert item.multiplier is not None and item.bias is not None and item.shift is not None
    multiplier, bias = (_tensor(constant)[:, None, None] for constant in (item.multiplier, item.bias))
    products = sums * multiplier + bias
    if item.mask_multiplier is not None:
        for mask, constant in zip(item.mask_rows, item.mask_multiplier, strict=True):
            masked = _masked(layer, operands, mask)
            products = products + masked * _tensor(constant)[:, None, None]
    return products * torch.from_numpy(np.ldexp(item.scale, -item.shift))[:, None, None]


def _masked(layer: Layer, operands: Tensor, mask: IntArray) -> Tensor:
    """Return the sums of a mask's inputs for each output of a layer."""
    operator = replace(layer.as_convolution, out_channels=len(mask))
    sums = convolve(operator, operands, _tensor(mask), None)
    return sums.repeat_interleave(layer.output_shape[0] // len(mask), dim=1)
