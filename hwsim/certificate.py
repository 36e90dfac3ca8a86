"""Which accumulators no input can overflow, decided exactly from a network's integer weights.

A sum's activations lie each in a range of its own: that of the pixel table for the network's input, that of
the tensor's format behind a requantiser. They are chosen independently, so the largest value that the first k
products of a channel can reach is the sum of the k largest single products, and the bound is reached: a channel
is proved exactly where no choice of activations overflows it, and where one does, it is given as a witness.
Wrapping and saturating accumulators have the same certificate: neither acts before the first overflow.

The bound for unsigned activations is that of Colbert, Pappalardo and Petri-Koenig (A2Q, ICCV 2023) with each
channel's positive and negative weights kept apart; theirs, on the sum of magnitudes, is sufficient only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from hwsim.bits import LayerBits
from hwsim.errors import HwsimError
from hwsim.formats import Int, IntArray
from hwsim.layers import INPUT, Layer, MaxPool, Moving
from hwsim.network import IntegerLayer, QuantizedNetwork


class Range(NamedTuple):
    """The least and the largest integer that each channel of a tensor can hold, int64 [channels] each."""

    low: IntArray
    high: IntArray


@dataclass(frozen=True, eq=False)
class Certificate:
    """What one layer's accumulators can reach, whatever the input.

    ``low`` and ``high`` [outputs] are the least and the largest exact sum of any first k products.
    """

    layer: str
    bits: LayerBits
    products: int
    low: IntArray
    high: IntArray

    @property
    def unsafe(self) -> IntArray:
        """The channels that some input overflows, ascending."""
        accumulator = self.bits.accumulator
        return np.flatnonzero((self.low < accumulator.minimum) | (self.high > accumulator.maximum))

    @property
    def proved(self) -> bool:
        """Whether no input overflows any channel."""
        return not self.unsafe.size

    @property
    def width(self) -> int:
        """The narrowest accumulator, in bits, that no input overflows."""
        return max(int(~self.low.min()).bit_length(), int(self.high.max()).bit_length()) + 1

    @property
    def within_rule(self) -> bool:
        """Whether weight and activation bits together are at most 14: the rule of Hu, Zeng, Wu (2023) for int16.

        It promises nothing: 4 products of 6 and 8 bits can already overflow 16.
        """
        return self.bits.weight.bits + self.bits.activation.bits <= 14

    def to_json(self) -> dict[str, Any]:
        """Return what it says as plain JSON values."""
        return {
            "layer": self.layer,
            "bits": str(self.bits),
            "products": self.products,
            "proved": self.proved,
            "narrowest_accumulator_bits": self.width,
            "unsafe_channels": self.unsafe.tolist(),
            "within_14_bit_rule": self.within_rule,
        }

    def __str__(self) -> str:
        if self.proved:
            narrower = self.width < self.bits.accumulator.bits
            return f"proved safe; {self.width} bits would do" if narrower else "proved safe"
        return (
            f"unsafe: {self.unsafe.size} of {self.low.size} channels can overflow; {self.width} bits are safe"
        )


def certify(network: QuantizedNetwork) -> tuple[Certificate, ...]:
    """Return the certificate of every layer with weights, in network order."""
    ranges = tensor_ranges(network)
    return tuple(
        _certificate(item, ranges[item.layer.inputs[0]]) for item in network.layers if item.layer.has_weights
    )


def witness(network: QuantizedNetwork, layer: str, channel: int) -> IntArray | None:
    """Return activations [products], in summing order, that overflow a channel's accumulator; None if none does."""
    item = next(
        (item for item in network.layers if item.layer.name == layer and item.weight is not None), None
    )
    if item is None or item.bits is None:
        raise HwsimError(f'network "{network.name}" has no layer "{layer}" with weights')
    if not 0 <= channel < item.layer.output_shape[0]:
        raise HwsimError(f'layer "{layer}" has {item.layer.output_shape[0]} outputs, no output {channel}')
    weight, low, high = (
        array[channel] for array in _terms(item, tensor_ranges(network)[item.layer.inputs[0]])
    )
    accumulator = item.bits.accumulator
    upwards: IntArray = np.where(weight > 0, high, low)
    downwards: IntArray = np.where(weight > 0, low, high)
    if np.cumsum(weight * upwards).max() > accumulator.maximum:
        return upwards
    return downwards if np.cumsum(weight * downwards).min() < accumulator.minimum else None


def narrowed(network: QuantizedNetwork) -> QuantizedNetwork:
    """Return the network with each layer's accumulator at the narrowest width that is proved safe.

    It computes the same as with accumulators of any greater width. Raises :class:`HwsimError` where a layer
    needs more than the 32 bits that an accumulator has.
    """
    certificates = {certificate.layer: certificate for certificate in certify(network)}
    return replace(network, layers=tuple(_narrowed(item, certificates) for item in network.layers))


def _narrowed(item: IntegerLayer, certificates: Mapping[str, Certificate]) -> IntegerLayer:
    if item.bits is None:
        return item
    width = max(certificates[item.layer.name].width, NARROWEST)
    try:
        return replace(item, bits=replace(item.bits, accumulator=Int(width)))
    except HwsimError as error:
        raise HwsimError(f'layer "{item.layer.name}" needs {width} bits to be proved safe: {error}') from None


NARROWEST = 8
"""An accumulator has at least this many bits (:class:`hwsim.bits.LayerBits`)."""


class _Constant:
    """The format of a channel that is stored in no bits: its integers are 0."""

    minimum = maximum = 0


_CONSTANT = _Constant()


def tensor_ranges(network: QuantizedNetwork) -> dict[str, Range]:
    """Return what each channel of every tensor can hold."""
    table = network.input_table
    ranges = {INPUT: Range(table.min(axis=1), table.max(axis=1))}
    for item in network.layers:
        ranges[item.layer.name] = _output_range(item, [ranges[name] for name in item.layer.inputs])
    return ranges


def _output_range(item: IntegerLayer, inputs: list[Range]) -> Range:
    layer = item.layer
    if isinstance(layer.operator, MaxPool):
        return inputs[0]
    if isinstance(layer.operator, Moving):
        ends = (np.concatenate([*end, [0]]) for end in zip(*inputs, strict=True))
        return Range(*(end[layer.moved_channels] for end in ends))
    forms = [Int(bits, item.output.signed) if bits else _CONSTANT for bits in item.stored_bits.tolist()]
    low, high = (np.array([getattr(form, end) for form in forms]) for end in ("minimum", "maximum"))
    return Range(*(end << (0 if item.exponent is None else item.exponent) for end in (low, high)))


def _certificate(item: IntegerLayer, source: Range) -> Certificate:
    assert item.bits is not None
    weight, low, high = _terms(item, source)
    ends = weight * low, weight * high
    lowest, highest = (np.cumsum(pick(*ends), axis=1) for pick in (np.minimum, np.maximum))
    # The register holds 0 before the first product.
    low, high = np.minimum(lowest.min(axis=1), 0), np.maximum(highest.max(axis=1), 0)
    return Certificate(item.layer.name, item.bits, item.layer.products, low, high)


def _terms(item: IntegerLayer, source: Range) -> tuple[IntArray, IntArray, IntArray]:
    """Return the weights of every output in summing order and the range of the activation each meets, [outputs, products]."""
    layer, weight = item.layer, item.weight
    assert weight is not None
    low, high = (_met(layer, end) for end in source)
    if any(layer.as_convolution.padding):
        low, high = np.minimum(low, 0), np.maximum(high, 0)
    return weight.reshape(len(weight), -1), low, high


def _met(layer: Layer, channels: IntArray) -> IntArray:
    """Return what each product of each output meets of values given for each input channel, [outputs, products]."""
    outputs, _, height, width = layer.weight_shape
    groups = layer.as_convolution.groups
    rows = np.repeat(channels.reshape(groups, -1), height * width, axis=1)
    return np.repeat(rows, outputs // groups, axis=0)
