"""Memory traffic: the bytes each layer moves between external memory and the chip for one image.

What is stored, and how it is read:

- A tensor is stored packed at its format's bits, a channel with a width of its own at that, in the order
  (channel, row, column), the network's input in its integer format. The smallest piece read is a row: a row of which one element is needed is read
  whole, once in each pass over the tensor. Padding is not stored and not read.
- Each run of consecutive rows of a tensor is one transfer, rounded up to whole bursts. A transfer starts
  at a burst's border; bursts touched by a misaligned start are not modelled.
- A weighted layer stores each output channel's weights at the weight format's bits, or at the channel's own
  behind 4 bits that say how many, with the channel's requantiser constants behind them, and its masks at a bit
  a weight; focused symbols hold theirs, and a mask that all outputs share is part of the control. Constants of other layers are read once. All
  this counts as weights.
- flatten, slice, pad_channels, concatenate and channel_shuffle move nothing: whoever reads their result reads the
  rows of the tensors it is made of.

The on-chip buffer holds one operand of one weighted layer. With ``weights_outer`` it holds a tile of whole
output channels, as many as fit (whole groups, if one fits): each tile is read once and streams past it the
inputs of its own groups.
With ``inputs_outer`` it holds the input rows of a band of output rows, as many as fit: rows that two bands
share are read for both, and each band streams all weights. Rows inside a window and running sums are kept
beside the buffer. Every other layer reads its inputs once; every computing layer writes its output once.

The loop orders are the weight- and input-reuse patterns of Chen, Emer and Sze, "Eyeriss: A Spatial
Architecture for Energy-Efficient Dataflow for Convolutional Neural Networks" (ISCA 2016, section IV),
with one level of memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hwsim.errors import HwsimError, unknown
from hwsim.formats import Focused, IntArray
from hwsim.layers import (
    INPUT,
    AveragePool,
    Convolution,
    Flatten,
    Layer,
    MaxPool,
    Moving,
    Shape,
    Slice,
)
from hwsim.network import (
    BIAS,
    EXPONENT,
    MASK_MULTIPLIER,
    MULTIPLIER,
    SHIFT,
    WIDTH,
    IntegerLayer,
    QuantizedNetwork,
    constant_counts,
)

LOOP_ORDERS = ("weights_outer", "inputs_outer")

_ABSENT = -1


@dataclass(frozen=True)
class Memory:
    """The on-chip buffer, the width of a burst of the external memory, and which operand stays on chip."""

    buffer_bytes: int = 65536
    burst_bits: int = 64
    loop_order: str = "weights_outer"

    def __post_init__(self) -> None:
        if self.buffer_bytes < 1:
            raise HwsimError(f"the buffer holds at least 1 byte, not {self.buffer_bytes}; write 65536, say")
        if self.burst_bits < 8 or self.burst_bits % 8:
            raise HwsimError(
                f"a burst is a positive multiple of 8 bits, not {self.burst_bits}; write 64, say"
            )
        if self.loop_order not in LOOP_ORDERS:
            raise unknown("loop order", self.loop_order, LOOP_ORDERS)

    def burst_bytes(self, bits: int) -> int:
        """Return the bytes of one transfer of ``bits``.

        >>> Memory(burst_bits=64).burst_bytes(65)
        16
        """
        return -(-bits // self.burst_bits) * self.burst_bits // 8

    def fits(self, bits: int) -> bool:
        return bits <= 8 * self.buffer_bytes


@dataclass(frozen=True)
class LayerTraffic:
    """Bytes one layer moves per image, whole bursts."""

    layer: str
    weight_bytes: int
    input_bytes: int
    output_bytes: int


def traffic(network: QuantizedNetwork, memory: Memory) -> tuple[LayerTraffic, ...]:
    """Return every layer's bytes per image, in network order.

    Raises :class:`HwsimError` where one output channel's weights (``weights_outer``) or the input rows of
    one output row (``inputs_outer``) do not fit the buffer.
    """
    stored = _StoredRows(network)
    return tuple(_layer_traffic(item, stored, memory) for item in network.layers)


def layer_traffic(network: QuantizedNetwork, item: IntegerLayer, memory: Memory) -> LayerTraffic:
    """Return the bytes per image of one layer of a network; see :func:`traffic`."""
    return _layer_traffic(item, _StoredRows(network), memory)


def stored_constant_bits(item: IntegerLayer) -> int:
    """Return the bits of a layer's parameters besides its weights."""
    if item.layer.has_weights:
        return item.layer.output_shape[0] * channel_constant_bits(item)
    return _constant_bits(item)


def stored_bits(item: IntegerLayer) -> int:
    """Return the bits of a layer's weights, each at its own width, and of its constants."""
    constants = stored_constant_bits(item)
    if not item.layer.has_weights:
        return constants
    return int(weight_bits(item).sum()) * item.layer.products + constants


class _StoredRows:
    """The rows of all tensors of a network, numbered so that rows are consecutive only within one tensor.

    ``views`` maps a tensor to its row numbers [channels, rows] or, flattened, [features, 1]; padding is -1.
    ``bits`` holds each row's size. A view is the rows of the tensors it is made of.
    """

    def __init__(self, network: QuantizedNetwork) -> None:
        self._bits: list[IntArray] = []
        self._rows = 0
        self.views = {INPUT: self._store(network.input_shape, np.full(1, network.input.bits))}
        for item in network.layers:
            layer = item.layer
            view = _view(layer, [self.views[name] for name in layer.inputs])
            self.views[layer.name] = (
                self._store(layer.output_shape, item.stored_bits) if view is None else view
            )
        self.bits = np.concatenate(self._bits)

    def _store(self, shape: Shape, bits: IntArray) -> IntArray:
        """Store a tensor whose channels have ``bits``, one for each or one for all."""
        rows = shape[0] * shape[1]
        view = np.arange(self._rows, self._rows + rows, dtype=np.int64).reshape(shape[:2])
        row_bits = np.repeat(np.broadcast_to(bits, shape[0]), shape[1]) * shape[2]
        self._bits.append(np.append(row_bits, 0))
        self._rows += rows + 1  # a row that nobody reads keeps two tensors apart
        return view

    def read_bits(self, rows: IntArray) -> int:
        """Return the bits of the distinct ``rows``."""
        return int(self.bits[_distinct(rows)].sum())

    def read_bytes(self, rows: IntArray, memory: Memory) -> int:
        """Return the bytes of reading the distinct ``rows``, one transfer for each run of consecutive ones."""
        distinct = _distinct(rows)
        if not distinct.size:
            return 0
        starts = np.flatnonzero(np.diff(distinct, prepend=-2) != 1)
        return sum(memory.burst_bytes(int(bits)) for bits in np.add.reduceat(self.bits[distinct], starts))


def _distinct(rows: IntArray) -> IntArray:
    return np.unique(rows[rows != _ABSENT])


def _view(layer: Layer, inputs: list[IntArray]) -> IntArray | None:
    """Return the rows behind a layer that moves nothing; None for a layer that computes."""
    match layer.operator:
        case Flatten():
            return inputs[0].repeat(layer.input_shapes[0][2]).reshape(-1, 1)
        case Slice(starts, stops, steps):
            return inputs[0][layer.moved_channels, starts[1] : stops[1] : steps[1]]
        case operator if isinstance(operator, Moving):
            absent = np.full((1, layer.output_shape[1]), _ABSENT)
            rows: IntArray = np.concatenate([*inputs, absent])[layer.moved_channels]
            return rows
    return None


def _layer_traffic(item: IntegerLayer, stored: _StoredRows, memory: Memory) -> LayerTraffic:
    layer = item.layer
    views = [stored.views[name] for name in layer.inputs]
    if _view(layer, views) is not None:
        return LayerTraffic(layer.name, 0, 0, 0)
    if layer.has_weights and memory.loop_order == "weights_outer":
        weight_bytes, input_bytes = _weights_outer(item, views[0], stored, memory)
    elif layer.has_weights:
        weight_bytes, input_bytes = _inputs_outer(item, views[0], stored, memory)
    else:
        weight_bytes = memory.burst_bytes(_constant_bits(item))
        window = _window_rows(layer, 0, layer.output_shape[1])
        input_bytes = sum(stored.read_bytes(view[:, window], memory) for view in views)
    output_bits = int(item.stored_bits.sum()) * layer.outputs // layer.output_shape[0]
    return LayerTraffic(layer.name, weight_bytes, input_bytes, memory.burst_bytes(output_bits))


def _constant_bits(item: IntegerLayer) -> int:
    """Return the bits of a layer's constants; a max pool that only stores by width has none."""
    counts = constant_counts(item)
    constants = sum(count * form.bits for count, form in zip(counts, (MULTIPLIER, BIAS, SHIFT), strict=True))
    return constants + (item.layer.output_shape[0] * _clamp_bits(item) if counts[0] else 0)


def _channel_bits(item: IntegerLayer) -> IntArray:
    """Return the bits of each output channel: its weights (and their width), masks and requantiser's constants."""
    bits: IntArray = item.layer.products * weight_bits(item) + channel_constant_bits(item)
    return bits


def weight_bits(item: IntegerLayer) -> IntArray:
    """Return the bits in which a weight of each output channel is stored, those of its masks among them, [outputs]."""
    assert item.bits is not None
    masks, rows = (0, 0) if item.masks is None else item.masks.shape[:2]
    own = np.full(item.layer.output_shape[0], item.bits.weight.bits, np.int64)
    if item.weight_width is not None:
        own = item.weight_width
    focused = isinstance(item.bits.weight, Focused)
    bits: IntArray = own + (masks if rows > 1 and not focused else 0)
    return bits


def channel_constant_bits(item: IntegerLayer) -> int:
    """Return the bits of an output channel besides its weights: their width and its requantiser's constants."""
    masks = 0 if item.masks is None else len(item.masks)
    table = 0 if item.weight_width is None else WIDTH.bits
    constants = MULTIPLIER.bits + BIAS.bits + SHIFT.bits + masks * MASK_MULTIPLIER.bits
    return table + constants + _clamp_bits(item)


def _clamp_bits(item: IntegerLayer) -> int:
    """Return the bits of a channel's width and exponent, none where the channels have none."""
    return 0 if item.width is None else WIDTH.bits + EXPONENT.bits


def _window_rows(layer: Layer, first: int, last: int) -> IntArray:
    """Return the input rows, ascending, that output rows ``first`` to ``last`` - 1 need."""
    operator = layer.as_convolution if layer.has_weights else layer.operator
    if not isinstance(operator, Convolution | MaxPool | AveragePool):
        return np.arange(first, last, dtype=np.int64)
    tops = np.arange(first, last, dtype=np.int64) * operator.stride[0] - operator.padding[0]
    dilation = operator.dilation[0] if isinstance(operator, Convolution) else 1
    rows = np.unique(tops[:, None] + dilation * np.arange(operator.kernel[0], dtype=np.int64))
    return rows[(rows >= 0) & (rows < layer.input_shapes[0][1])]


def _weights_outer(
    item: IntegerLayer, view: IntArray, stored: _StoredRows, memory: Memory
) -> tuple[int, int]:
    layer, channel_bits = item.layer, _channel_bits(item)
    outputs, height, _ = layer.output_shape
    groups = layer.as_convolution.groups
    group_outputs, group_inputs = outputs // groups, view.shape[0] // groups
    window = _window_rows(layer, 0, height)
    tiles = list(_tiles(layer, channel_bits, group_outputs, memory))
    needed = Counter((a // group_outputs, -(-b // group_outputs)) for a, b in tiles)
    weight_bytes = sum(memory.burst_bytes(int(channel_bits[a:b].sum())) for a, b in tiles)
    input_bytes = sum(
        count * stored.read_bytes(view[a * group_inputs : b * group_inputs, window], memory)
        for (a, b), count in needed.items()
    )
    return weight_bytes, input_bytes


def _tiles(
    layer: Layer, channel_bits: IntArray, group_outputs: int, memory: Memory
) -> Iterator[tuple[int, int]]:
    """Yield the output channels (first, last + 1) that are in the buffer together; no part of a group behind whole ones."""
    ends = channel_bits.cumsum()
    first = 0
    while first < ends.size:
        held = 8 * memory.buffer_bytes + (ends[first - 1] if first else 0)
        last = int(np.searchsorted(ends, held, side="right"))
        if last == first:
            bits = int(channel_bits[first])
            raise _too_small(layer, "the weights of one output channel", bits, memory)
        if last - first > group_outputs:
            last -= last % group_outputs
        yield first, last
        first = last


def _inputs_outer(item: IntegerLayer, view: IntArray, stored: _StoredRows, memory: Memory) -> tuple[int, int]:
    bands = list(_bands(item.layer, view, stored, memory))
    weights = memory.burst_bytes(int(_channel_bits(item).sum()))
    return len(bands) * weights, sum(stored.read_bytes(band, memory) for band in bands)


def _bands(layer: Layer, view: IntArray, stored: _StoredRows, memory: Memory) -> Iterator[IntArray]:
    """Yield the rows of each band: output rows from the top, each band as high as the buffer allows."""
    height = layer.output_shape[1]
    first = 0
    while first < height:
        last = first
        band = view[:, :0]
        while last < height:
            grown = view[:, _window_rows(layer, first, last + 1)]
            bits = stored.read_bits(grown)
            if not memory.fits(bits):
                break
            band, last = grown, last + 1
        if last == first:
            raise _too_small(layer, "the input rows of one output row", bits, memory)
        yield band
        first = last


def _too_small(layer: Layer, what: str, bits: int, memory: Memory) -> HwsimError:
    other = LOOP_ORDERS[memory.loop_order == LOOP_ORDERS[0]]
    return HwsimError(
        f'layer "{layer.name}": {what} take {-(-bits // 8)} bytes, more than the buffer\'s '
        f"{memory.buffer_bytes}; give a larger buffer or the loop order {other}"
    )
