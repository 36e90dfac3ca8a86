"""Traffic against a walk over every element, figures worked by hand, and what must hold for any layer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hwsim.bits import LayerBits
from hwsim.cost.traffic import LOOP_ORDERS, LayerTraffic, Memory, traffic
from hwsim.errors import HwsimError
from hwsim.formats import Int
from hwsim.layers import (
    INPUT,
    Add,
    AveragePool,
    Concatenate,
    Convolution,
    Flatten,
    Layer,
    Linear,
    MaxPool,
    Operator,
    PadChannels,
    Rescale,
    Slice,
)
from hwsim.network import IntegerLayer, QuantizedNetwork

CONSTANT_BITS = 16 + 48 + 6
LARGE = 1 << 30


def network_of(
    input_shape: tuple[int, int, int], *steps: tuple[str, Operator, tuple[str, ...], int], bits: int = 8
) -> QuantizedNetwork:
    """A network without numbers: (name, operator, inputs, output bits) each; weights of int4, input of ``bits``."""
    shapes, formats, items = {INPUT: input_shape}, {INPUT: Int(bits, signed=False)}, []
    for name, operator, inputs, output_bits in steps:
        layer = Layer(name, operator, inputs, tuple(shapes[n] for n in inputs))
        shapes[name], formats[name] = layer.output_shape, Int(output_bits)
        layer_bits = LayerBits(Int(4), formats[inputs[0]], Int(32)) if layer.has_weights else None
        items.append(IntegerLayer(layer, formats[name], 1.0, layer_bits))
    table = np.zeros((input_shape[0], 256), np.int64)
    return QuantizedNetwork("net", input_shape, formats[INPUT], 1.0, table, tuple(items))


def only(network: QuantizedNetwork, memory: Memory) -> LayerTraffic:
    return traffic(network, memory)[-1]


def bursts(bits: int, memory: Memory) -> int:
    count = 0
    while count * memory.burst_bits < bits:
        count += 1
    return count * memory.burst_bits // 8


def bytes_of_rows(rows: Iterable[tuple[int, int]], height: int, row_bits: int, memory: Memory) -> int:
    """Walk all rows of a tensor in storage order; each unbroken stretch of ``rows`` is a transfer."""
    wanted, total, run = set(rows), 0, 0
    for index in range(1 + max((c * height + y for c, y in wanted), default=-1) + 1):
        if divmod(index, height) in wanted:
            run += row_bits
        else:
            total, run = total + bursts(run, memory), 0
    return total


def taps(layer: Layer, outputs: Iterable[int], rows: Iterable[int]) -> Iterable[tuple[int, int, int]]:
    """Every input element (channel, row, column) that a product of the given outputs reads; padding left out."""
    convolution = layer.as_convolution
    channels, height, width = layer.input_shapes[0]
    out_channels, _, out_width = layer.output_shape
    (kh, kw), (sh, sw), (top, left, _, _) = convolution.kernel, convolution.stride, convolution.padding
    per_group, (dh, dw) = channels // convolution.groups, convolution.dilation
    for o in outputs:
        group = o * convolution.groups // out_channels
        for oy in rows:
            for ox in range(out_width):
                for c in range(group * per_group, (group + 1) * per_group):
                    for ky in range(kh):
                        for kx in range(kw):
                            y, x = oy * sh + ky * dh - top, ox * sw + kx * dw - left
                            if 0 <= y < height and 0 <= x < width:
                                yield c, y, x


def walk(
    layer: Layer, input_bits: int, memory: Memory, widths: list[int] | None = None
) -> tuple[int, int] | None:
    """Weight and input bytes of a layer by filling a buffer piece by piece; None where a piece does not fit.

    Weights have 4 bits, or ``widths`` and 4 bits that say so.
    """
    out_channels, out_height, _ = layer.output_shape
    _, height, width = layer.input_shapes[0]
    own = [4] * out_channels if widths is None else widths
    table = 0 if widths is None else 4
    channel_bits = [layer.products * bits + table + CONSTANT_BITS for bits in own]
    row_bits = width * input_bits
    room = memory.buffer_bytes * 8
    weights = inputs = 0
    pending = list(range(out_channels if memory.loop_order == "weights_outer" else out_height))
    while pending:
        piece: list[int] = []
        held: set[tuple[int, int]] = set()
        while pending:
            if memory.loop_order == "weights_outer":
                grown = held | {(pending[0], bit) for bit in range(channel_bits[pending[0]])}
                full = len(grown) > room
            else:
                grown = held | {(c, y) for c, y, _ in taps(layer, range(out_channels), [pending[0]])}
                full = len(grown) * row_bits > room
            if full:
                break
            held = grown
            piece.append(pending.pop(0))
        group = out_channels // layer.as_convolution.groups
        while memory.loop_order == "weights_outer" and pending and len(piece) > group and pending[0] % group:
            pending.insert(0, piece.pop())  # no part of a group behind whole groups
        if memory.loop_order == "weights_outer":
            held = {(o, bit) for o in piece for bit in range(channel_bits[o])}
        if not piece:
            return None
        if memory.loop_order == "weights_outer":
            weights += bursts(len(held), memory)
            needed = {(c, y) for c, y, _ in taps(layer, piece, range(out_height))}
        else:
            weights += bursts(sum(channel_bits), memory)
            needed = held
        inputs += bytes_of_rows(needed, height, row_bits, memory)
    return weights, inputs


@st.composite
def convolutions(draw: st.DrawFn) -> Layer:
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = tuple(draw(st.integers(0, k - 1)) for k in kernel * 2)
    shape = (groups * draw(st.integers(1, 3)), draw(st.integers(1, 7)), draw(st.integers(1, 5)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    dilation = draw(st.tuples(st.sampled_from([1, 1, 2]), st.sampled_from([1, 1, 3])))
    operator = Convolution(groups * draw(st.integers(1, 4)), kernel, stride, padding, groups, dilation)  # type: ignore[arg-type]
    height, width = operator.extent
    assume(shape[1] + padding[0] + padding[2] >= height and shape[2] + padding[1] + padding[3] >= width)
    layer = Layer("conv", operator, (INPUT,), (shape,))
    assume(any(taps(layer, [0], range(layer.output_shape[1]))))  # one that sees padding alone is none
    return layer


memories = st.builds(
    Memory,
    buffer_bytes=st.integers(1, 200),
    burst_bits=st.sampled_from([8, 24, 32, 64, 128]),
    loop_order=st.sampled_from(LOOP_ORDERS),
)


@settings(max_examples=300, deadline=None)
@given(convolutions(), memories, st.integers(2, 8), st.integers(2, 8), st.integers(0, 1000))
def test_traffic_equals_a_walk_over_every_element(layer, memory, input_bits, output_bits, seed):
    network = network_of(
        layer.input_shapes[0], ("conv", layer.operator, (INPUT,), output_bits), bits=input_bits
    )
    widths = None
    if seed % 2:
        width = np.random.default_rng(seed).integers(0, 9, layer.output_shape[0])
        network = replace(network, layers=(replace(network.layers[0], weight_width=width),))
        widths = width.tolist()
    expected = walk(layer, input_bits, memory, widths)
    if expected is None:
        with pytest.raises(HwsimError, match=r'layer "conv": .* more than the buffer'):
            traffic(network, memory)
    else:
        written = bursts(layer.outputs * output_bits, memory)
        assert only(network, memory) == LayerTraffic("conv", *expected, written)


@settings(max_examples=60, deadline=None)
@given(convolutions(), st.sampled_from([8, 64]))
def test_with_a_large_buffer_both_orders_move_everything_once_and_agree(layer, burst_bits):
    network = network_of(layer.input_shapes[0], ("conv", layer.operator, (INPUT,), 8))
    first, second = (only(network, Memory(LARGE, burst_bits, order)) for order in LOOP_ORDERS)
    assert first == second
    weight_bits = layer.output_shape[0] * (layer.products * 4 + CONSTANT_BITS)
    assert 0 <= 8 * first.weight_bytes - weight_bits < burst_bits


@settings(max_examples=60, deadline=None)
@given(convolutions(), memories)
def test_without_bursts_a_buffer_of_double_size_never_reads_more(layer, memory):
    memory = replace(memory, burst_bits=8)
    network = network_of(layer.input_shapes[0], ("conv", layer.operator, (INPUT,), 8))
    try:
        small = only(network, memory)
    except HwsimError:
        assume(False)
    double = only(network, replace(memory, buffer_bytes=2 * memory.buffer_bytes))
    assert double.weight_bytes <= small.weight_bytes and double.input_bytes <= small.input_bytes


def test_a_pointwise_layer_worked_by_hand():
    # 4 output channels of 16 weights of 4 bits and 70 bits of constants: 134 bits each, 17 bytes.
    # A buffer of 34 bytes holds two: two tiles of 268 bits = 5 bursts; 16 planes of 5x5 bytes twice.
    network = network_of((16, 5, 5), ("conv", Convolution(4, (1, 1)), (INPUT,), 4))
    assert only(network, Memory(34)) == LayerTraffic("conv", 2 * 5 * 8, 2 * 400, 56)


def test_channels_with_widths_of_their_own_are_stored_and_read_at_those():
    # Channels of 2 and 5 bits in planes of 4x3 elements: 24 and 60 bits written as one transfer of 11 bytes,
    # read row by row of 6 and 15 bits, all of them as one transfer.
    network = network_of(
        (1, 4, 3),
        ("conv", Convolution(2, (1, 1)), (INPUT,), 8),
        ("next", Convolution(1, (1, 1)), ("conv",), 8),
    )
    width, exponent = np.array([2, 5]), np.array([6, 0])
    first = replace(network.layers[0], width=width, exponent=exponent)
    stored, read = traffic(replace(network, layers=(first, *network.layers[1:])), Memory(LARGE, burst_bits=8))
    # Weights: 4 + 70 bits of constants + 7 of width and exponent a channel, 162 bits.
    assert stored == LayerTraffic("conv", 21, 12, 11)
    assert read.input_bytes == 11


def test_bands_of_a_3x3_layer_read_their_shared_rows_twice():
    # A row is 8 bytes. 5 output rows; a buffer of 4 rows serves the bands {0,1,2}, {3,4} (padding not held):
    # rows 0-3 and rows 2-4.
    network = network_of((1, 5, 8), ("conv", Convolution(1, (3, 3), padding=(1, 1, 1, 1)), (INPUT,), 8))
    assert only(network, Memory(32, 8, "inputs_outer")) == LayerTraffic("conv", 2 * 14, 4 * 8 + 3 * 8, 40)


def test_tiles_of_a_depthwise_layer_read_each_channel_once():
    network = network_of((6, 4, 4), ("conv", Convolution(6, (3, 3), groups=6), (INPUT,), 8))
    one_channel_a_tile = only(network, Memory(14, 8))
    assert one_channel_a_tile.input_bytes == 6 * 16
    assert one_channel_a_tile.weight_bytes == 6 * 14  # 36 + 70 bits


def test_a_strided_pointwise_layer_skips_whole_rows():
    network = network_of((1, 4, 8), ("conv", Convolution(1, (1, 1), stride=(2, 2)), (INPUT,), 8))
    assert only(network, Memory(LARGE)).input_bytes == 2 * 8


def test_a_linear_layer_reads_its_features_for_each_tile():
    network = network_of((10, 1, 1), ("linear", Linear(3), (INPUT,), 16))
    # 10 weights of 4 bits + 70 = 110 bits = 13.75 bytes a channel, one fits 14 bytes.
    assert only(network, Memory(14, 8)) == LayerTraffic("linear", 3 * 14, 3 * 10, 6)


def test_an_addition_reads_both_operands_and_its_constants():
    network = network_of(
        (2, 4, 4), ("scaled", Rescale(), (INPUT,), 6), ("add", Add(), (INPUT, "scaled"), 8), bits=4
    )
    scaled, add = traffic(network, Memory(1))
    assert scaled == LayerTraffic("scaled", 16, 16, 24)
    assert add == LayerTraffic("add", 16, 16 + 24, 32)  # 2 multipliers, 1 bias, 1 shift: 86 bits


@pytest.mark.parametrize("pool, constants", [(MaxPool, 0), (AveragePool, 16)])
def test_a_pool_reads_the_rows_its_windows_touch(pool, constants):
    network = network_of((3, 5, 8), ("pool", pool((2, 2), (2, 2)), (INPUT,), 8))
    assert only(network, Memory(1)) == LayerTraffic("pool", constants, 3 * 4 * 8, 24)


def test_views_move_nothing_and_their_reader_pays():
    # The shortcut of a ResNet: every other row and column, zero channels around it.
    network = network_of(
        (2, 4, 8),
        ("half", Slice((0, 0, 0), (2, 4, 8), (1, 2, 2)), (INPUT,), 8),
        ("padded", PadChannels(1, 1), ("half",), 8),
        ("scaled", Rescale(), ("padded",), 8),
    )
    half, padded, scaled = traffic(network, Memory(1))
    assert half == LayerTraffic("half", 0, 0, 0)
    assert padded == LayerTraffic("padded", 0, 0, 0)
    assert scaled == LayerTraffic("scaled", 16, 2 * 2 * 8, 32)


def test_a_slice_of_channels_reads_only_those():
    network = network_of(
        (6, 2, 4),
        ("part", Slice((1, 0, 0), (3, 2, 4), (1, 1, 1)), (INPUT,), 8),
        ("conv", Convolution(1, (1, 1)), ("part",), 8),
    )
    assert only(network, Memory(LARGE)).input_bytes == 16


def test_a_concatenation_is_read_from_its_tensors_in_a_transfer_each():
    network = network_of(
        (1, 1, 5),
        ("first", Rescale(), (INPUT,), 8),
        ("second", Rescale(), (INPUT,), 8),
        ("both", Concatenate(), ("first", "second"), 8),
        ("flat", Flatten(), ("both",), 8),
        ("linear", Linear(1), ("flat",), 8),
    )
    assert only(network, Memory(LARGE)).input_bytes == 8 + 8
    assert traffic(network, Memory(LARGE))[2:4] == (
        LayerTraffic("both", 0, 0, 0),
        LayerTraffic("flat", 0, 0, 0),
    )


def test_flattened_features_are_the_rows_of_their_tensor():
    network = network_of(
        (3, 3, 5), ("flat", Flatten(), (INPUT,), 8), ("linear", Linear(2), ("flat",), 8), bits=3
    )
    assert only(network, Memory(LARGE, 8)).input_bytes == 17  # 45 features of 3 bits


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"buffer_bytes": 0}, "at least 1 byte, not 0"),
        ({"burst_bits": 12}, "multiple of 8 bits, not 12"),
        ({"loop_order": "outer"}, 'unknown loop order "outer"; known: weights_outer, inputs_outer'),
    ],
)
def test_a_memory_that_cannot_be_is_refused(options, sentence):
    with pytest.raises(HwsimError, match=sentence):
        Memory(**options)
