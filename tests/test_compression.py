"""The compressed file: what goes in comes out, Shannon's bounds hold, and a damaged file is refused in a sentence."""

from __future__ import annotations

import math
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import networks
from hwsim.bits import LayerBits
from hwsim.cost.coding.huffman import code_lengths
from hwsim.cost.compression import (
    FRAME_BYTES,
    MAGIC,
    Parameters,
    compress,
    decompress,
    float32_bytes,
    layer_bytes,
)
from hwsim.errors import HwsimError
from hwsim.formats import AdditivePowersOfTwo, Format, Int, PowerOfTwo
from hwsim.layers import INPUT, Convolution, Flatten, Layer
from hwsim.network import BIAS, MULTIPLIER, SHIFT, IntegerLayer, QuantizedNetwork

FIELDS = ("weight", "multiplier", "bias", "shift", "width", "exponent", "weight_width")


def network_of(*items: IntegerLayer) -> QuantizedNetwork:
    return QuantizedNetwork("net", (1, 1, 1), Int(8), 1.0, np.zeros((1, 256), np.int64), items)


def convolution(name: str, weight: np.ndarray, form: Format, constants: object = None) -> IntegerLayer:
    outputs, inputs, *kernel = weight.shape
    layer = Layer(name, Convolution(outputs, tuple(kernel)), (INPUT,), ((inputs, *kernel),))
    fill = constants or (np.full(outputs, 40_000), np.zeros(outputs, np.int64), np.full(outputs, 20))
    return IntegerLayer(layer, Int(8), 1.0, LayerBits(form, Int(8), Int(32)), weight, *fill)


def assert_same(network: QuantizedNetwork, decoded: dict[str, Parameters]) -> None:
    assert list(decoded) == [item.layer.name for item in network.layers if item.bias is not None]
    for item in network.layers:
        for field in FIELDS if item.layer.name in decoded else ():
            expected, found = getattr(item, field), getattr(decoded[item.layer.name], field)
            if expected is None:
                assert found is None
            else:
                np.testing.assert_array_equal(found, expected, strict=True)


@st.composite
def layers(draw: st.DrawFn, name: str) -> IntegerLayer:
    form = draw(
        st.one_of(
            st.builds(Int, st.integers(2, 8)),
            st.builds(PowerOfTwo, st.integers(2, 5)),
            st.builds(AdditivePowersOfTwo, st.integers(4, 7)),
        )
    )
    shape = (
        draw(st.integers(1, 6)),
        draw(st.integers(1, 6)),
        draw(st.integers(1, 3)),
        draw(st.integers(1, 3)),
    )
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    some = form.decode(rng.integers(0, 1 << form.bits, draw(st.integers(1, 8))))
    weight = rng.choice(some, shape, p=(p := rng.random(some.size) ** 4 + 1e-9) / p.sum())
    spread = draw(st.integers(0, 47))
    constants = (
        rng.integers(0, MULTIPLIER.maximum, shape[0], endpoint=True),
        rng.integers(-1 << spread, (1 << spread) - 1, shape[0], endpoint=True),
        rng.integers(0, SHIFT.maximum, shape[0], endpoint=True),
    )
    width = None
    if isinstance(form, Int) and draw(st.booleans()):
        width = rng.integers(0, form.bits + 1, shape[0])
        own = width[:, None, None, None]
        weight = np.where(own > 0, weight >> form.bits - own, 0)
    return replace(convolution(name, weight, form, constants), weight_width=width)


@settings(max_examples=150, deadline=None)
@given(st.data(), st.lists(st.text(max_size=6).filter(str.isprintable), unique=True, max_size=4))
def test_a_network_comes_back_identical_and_its_layers_sum_to_the_file(data, names):
    network = network_of(*(data.draw(layers(name)) for name in names))
    content = compress(network)
    assert_same(network, decompress(content))
    assert sum(layer_bytes(network).values()) + FRAME_BYTES == len(content)
    assert compress(network) == content


@pytest.mark.parametrize("channels", [False, True])
def test_every_kind_of_layer_comes_back_identical(channels):
    network = networks.every_kind(1, channels=channels)
    assert_same(network, decompress(compress(network)))
    assert "rescaled" in layer_bytes(network) and "flat" not in layer_bytes(network)


def test_the_corners_of_every_constant_come_back():
    constants = tuple(np.array([form.minimum, form.maximum]) for form in (MULTIPLIER, BIAS, SHIFT))
    network = network_of(convolution("c", np.array([[[[-8]]], [[[7]]]]), Int(4), constants))
    assert_same(network, decompress(compress(network)))


@pytest.mark.parametrize("form, value", [(Int(8), -128), (Int(2), 0), (PowerOfTwo(5), -(1 << 14))])
def test_equal_weights_take_one_bit_each(form, value):
    def size(count: int) -> int:
        return len(compress(network_of(convolution("c", np.full((1, count, 1, 1), value), form))))

    network = network_of(convolution("c", np.full((1, 800, 1, 1), value), form))
    assert_same(network, decompress(compress(network)))
    assert size(8 * 1000) - size(8 * 900) == 100


def test_a_network_without_parameters_is_the_frame_alone():
    flat = IntegerLayer(Layer("flat", Flatten(), (INPUT,), ((1, 1, 1),)), Int(8), 1.0)
    assert len(compress(network_of(flat))) == FRAME_BYTES and decompress(compress(network_of(flat))) == {}


def test_uniform_weights_are_packed_at_their_format():
    weight = np.arange(-8, 8).repeat(100).reshape(16, 100, 1, 1)
    network = network_of(convolution("c", weight, Int(4)))
    record = layer_bytes(network)["c"]
    # Name and format 7 bytes, length 2, shape 4, method 1; multiplier 2+32, bias 2+2, shift 2+10 bytes.
    assert record == 7 + 2 + 4 + 1 + 1600 // 2 + 34 + 4 + 12


def test_channels_with_widths_of_their_own_are_packed_at_those_behind_a_table():
    # Channels of 100 weights of 1, 8 and 2 bits that no Huffman code makes smaller, and one of no bits.
    rng = np.random.default_rng(0)
    rows = [rng.integers(-(1 << w - 1), 1 << w - 1, 100) if w else np.zeros(100, int) for w in (1, 8, 2, 0)]
    weight = np.stack(rows).astype(np.int64).reshape(4, 100, 1, 1)
    wide = convolution("c", weight, Int(8))
    narrow = replace(wide, weight_width=np.array([1, 8, 2, 0]))
    assert_same(network_of(narrow), decompress(compress(network_of(narrow))))
    constants = layer_bytes(network_of(replace(wide, weight=weight[:, :1])))["c"] - 4
    # 1,100 bits in 138 bytes and a table of 4 x 4 bits; the record's length needs a second byte.
    assert layer_bytes(network_of(narrow))["c"] == constants + 138 + 2 + 1


def test_a_layer_of_channels_of_no_bits_takes_a_bit_a_weight():
    nothing = convolution("c", np.zeros((2, 800, 1, 1), np.int64), Int(2))
    network = network_of(replace(nothing, weight_width=np.zeros(2, np.int64)))
    assert_same(network, decompress(compress(network)))
    assert 200 < layer_bytes(network)["c"] < 240


@settings(max_examples=200)
@given(st.lists(st.integers(1, 5000), min_size=2, max_size=64))
def test_huffman_needs_at_least_the_entropy_and_less_than_a_bit_more(counts):
    codes = np.repeat(np.arange(len(counts)), counts)
    share = np.array(counts) / sum(counts)
    lengths = code_lengths(codes, 6)
    assert math.fsum(2.0**-length for length in lengths if length) == 1
    entropy = -math.fsum(share * np.log2(share))
    mean = math.fsum(share * lengths[: len(counts)])
    assert entropy - 1e-9 <= mean < entropy + 1


def test_huffman_lengths_of_a_textbook_example():
    # Cormen, Leiserson, Rivest, Stein, "Introduction to Algorithms", section 16.3: 224 (thousand) bits.
    counts = [45, 13, 12, 16, 9, 5]
    lengths = code_lengths(np.repeat(np.arange(6), counts), 3)
    assert lengths.tolist() == [1, 3, 3, 3, 4, 4, 0, 0]
    assert int(lengths[:6] @ counts) == 224


def test_a_code_too_deep_for_the_decoder_is_packed():
    counts = [1, 1]
    while len(counts) < 33:
        counts.append(counts[-1] + counts[-2])
    weight = np.repeat(np.arange(-16, 17), counts).astype(np.int64)[None, :, None, None]
    network = network_of(convolution("c", weight, Int(8)))
    content = compress(network)
    assert len(content) > weight.size
    assert_same(network, decompress(content))


def test_float32_bytes_count_weights_and_a_bias_for_each_output_channel():
    # conv 4x2x3x3, depthwise 4x1x3x2, grouped 6x2x1x1, scores 5x36.
    features = next(i.layer for i in networks.every_kind().layers if i.layer.name == "scores").products
    weights = 72 + 24 + 12 + 5 * features
    assert float32_bytes(networks.every_kind()) == 4 * (weights + 4 + 4 + 6 + 5)


def sealed(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(4, "little")


@pytest.fixture(scope="module")
def content() -> bytes:
    return compress(networks.every_kind(2))


def test_every_truncation_and_every_changed_byte_is_refused(content):
    rng = np.random.default_rng(0)
    mutants = [content[:end] for end in range(len(content))] + [content + b"\0"]
    for place in rng.integers(0, len(content), 600):
        changed = bytearray(content)
        changed[place] ^= int(rng.integers(1, 256))
        mutants.append(bytes(changed))
    for mutant in mutants:
        with pytest.raises(HwsimError):
            decompress(mutant)


def test_behind_a_valid_checksum_damage_is_refused_or_decodes_in_proportion(content):
    rng = np.random.default_rng(1)
    body = content[:-4]
    refused = 0
    for trial in range(3000):
        changed = bytearray(body if trial % 3 else body[: int(rng.integers(len(MAGIC), len(body)))])
        for place in rng.integers(len(MAGIC), max(len(changed), len(MAGIC) + 1), rng.integers(1, 4)):
            if place < len(changed):
                changed[place] = int(rng.integers(0, 256))
        try:
            decoded = decompress(sealed(bytes(changed)))
        except HwsimError:
            refused += 1
        else:
            arrays = [getattr(p, field) for p in decoded.values() for field in FIELDS]
            assert sum(a.size for a in arrays if a is not None) <= 8 * len(changed)
    assert refused > 1000


RECORD_OF_NO_WEIGHT = b"\x01a\x00"


@pytest.mark.parametrize(
    "record, sentence",
    [
        (b"\x01a\x04int4" + b"\xff\xff\xff\xff\x7f" * 4 + b"\0", "larger than the file"),
        (b"\x01a\x04int4\x00\x01\x01\x01\x00", "is empty"),
        (b"\x01a\x05int64\x01\x01\x01\x01\x01\x05", "at most 16 bits"),
        (b"\x01a\x05float\x01\x01\x01\x01\x00\x00", 'unknown number format "float"'),
        (b"\x01a\x04int4\x01\x01\x01\x01\x02\x00", "coded by method 2"),
        (b"\x01a\x04int4\x01\x01\x01\x01\x06\x00", "coded by method 6"),
        (b"\x01a\x04int4\x01\x01\x01\x01\x08\x00", "coded by method 8"),
        (b"\x01a\x04int4\x01\x01\x01\x01\x04\x50\x00", "channels of int4 have up to 5 bits"),
        (b"\x01a\x06pow2x4\x01\x01\x01\x01\x04\x40\x00", "channels of pow2x4 have up to 4 bits"),
        (b"\x01a\x04int4\x01\x07\x01\x01\x04\x00\x00", "7 weights are packed in 0 bits"),
        (b"\x01a\x04int2\x01\x01\x01\x01\x01\x00", "code lengths have 0 bits"),
        (b"\x01a\x04int2\x01\x01\x01\x01\x01\x01\xe0\x01\x00", "no prefix code"),
        (b"\x01a\x04int2\x01\x01\x01\x01\x01\x02\x6c\x01\x80\0\0\0", "no prefix code"),
        (b"\x01a\x04int2\x01\x01\x01\x01\x01\x02\x6f\x01\x80\0\0\0", "within a code word"),
        (b"\x01a\x04int2\x02\x01\x01\x01\x01\x01\x80\x01\x00\0\0\0", "holds 1 weights of a layer that has 2"),
        (RECORD_OF_NO_WEIGHT + b"\x01\x11\0\0\0\0\0", "a constant of uint16 has 17 bits"),
        (RECORD_OF_NO_WEIGHT + b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x01", "ends early"),
        (RECORD_OF_NO_WEIGHT + b"\xff" * 10, "more than 63 bits"),
        (RECORD_OF_NO_WEIGHT + b"\0\0\0\0\0\0", "behind its last value"),
        (b"\x02\xff\xff\0\0\0\0", "no UTF-8"),
    ],
)
def test_a_hostile_record_is_refused_by_name(record, sentence):
    with pytest.raises(HwsimError, match=sentence):
        decompress(sealed(MAGIC + bytes([len(record)]) + record))


def test_a_layer_that_comes_twice_is_refused():
    record = bytes([len(RECORD_OF_NO_WEIGHT) + 3]) + RECORD_OF_NO_WEIGHT + b"\0\0\0"
    assert list(decompress(sealed(MAGIC + record))) == ["a"]
    with pytest.raises(HwsimError, match='two layers are named "a"'):
        decompress(sealed(MAGIC + record * 2))


@pytest.mark.parametrize("other", [b"", b"PK\x03\x04", MAGIC[:-1] + b"\x02" + bytes(8)])
def test_another_file_is_refused(other):
    with pytest.raises(HwsimError, match="a compressed network begins with"):
        decompress(other)


def test_a_weight_outside_its_format_is_not_written():
    item = convolution("c", np.full((1, 1, 1, 1), 7), Int(4))
    with pytest.raises(HwsimError, match="do not fit int4"):
        compress(network_of(replace(item, weight=np.full((1, 1, 1, 1), 8))))
