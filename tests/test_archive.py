"""A whole network in one compressed file: the same bytes back, a ledger of every byte, hostile files refused."""

from __future__ import annotations

import json
import time
import zlib
from dataclasses import replace

import numpy as np
import pytest

import networks
from hwsim.bits import LayerBits
from hwsim.cost.archive import FRAME_BYTES, MAGIC, Ledger, pack_network, unpack_network
from hwsim.cost.coding.bitstream import number
from hwsim.cost.compression import CODECS, CODERS, compress, decompress, layer_bytes, sealed
from hwsim.datapath.huffman_decode import HuffmanDecode
from hwsim.errors import HwsimError
from hwsim.formats import Int
from hwsim.layers import INPUT, Convolution, Layer
from hwsim.network import IntegerLayer, QuantizedNetwork, load, save, to_bytes
from hwsim.steps.compress import compress_network, decompress_network

KINDS_OF_NETWORK = {
    "plain": lambda: networks.every_kind(1),
    "channels": lambda: networks.every_kind(2, channels=True),
    "masks": lambda: networks.masked(networks.every_kind(3, channels=True)),
    "shared masks": lambda: networks.masked(networks.every_kind(4), shared=True),
}


@pytest.fixture(scope="module", params=KINDS_OF_NETWORK)
def network(request) -> QuantizedNetwork:
    return KINDS_OF_NETWORK[request.param]()


def sparse_network(sparsity: float, weights: int = 20_000) -> QuantizedNetwork:
    """A network of one layer with int4 weights, that share of them zero."""
    rng = np.random.default_rng(0)
    layer = Layer("conv", Convolution(8, (1, 1)), (INPUT,), ((weights // 8, 1, 1),))
    weight = rng.integers(-8, 8, layer.weight_shape)
    weight[rng.random(weight.shape) < sparsity] = 0
    constants = np.full(8, 40_000), np.zeros(8, np.int64), np.full(8, 20)
    item = IntegerLayer(layer, Int(8), 1.0, LayerBits(Int(4), Int(8), Int(32)), weight, *constants)
    table = rng.integers(-128, 128, (weights // 8, 256))
    return QuantizedNetwork("sparse", (weights // 8, 1, 1), Int(8), 1.0, table, (item,))


@pytest.mark.parametrize("codec", CODECS)
def test_a_network_comes_back_to_the_byte_under_every_codec(network, codec):
    content, ledger = pack_network(network, codec)
    assert to_bytes(unpack_network(content)) == to_bytes(network)
    assert pack_network(network, codec)[0] == content
    assert {layer.coder for layer in ledger.layers if layer.weights} <= {*CODECS[codec], "huffman"}


@pytest.mark.parametrize("codec", CODECS)
def test_the_lines_of_the_ledger_sum_to_the_file(network, codec):
    content, ledger = pack_network(network, codec)
    assert ledger.bytes == len(content)
    value = ledger.to_json()
    kinds = sum(sum(layer["bytes_by_kind"].values()) for layer in value["layers"])
    assert kinds + value["graph_bytes"] + value["input_table_bytes"] + FRAME_BYTES == len(content)
    assert all(layer.bytes == sum(layer.bytes_by_kind.values()) for layer in ledger.layers)
    json.dumps(value, allow_nan=False)


@pytest.mark.parametrize("codec", CODECS)
def test_the_parameters_alone_come_back_under_every_codec(network, codec):
    back = decompress(compress(network, codec))
    for item in network.layers:
        if item.weight is not None:
            np.testing.assert_array_equal(back[item.layer.name].weight, item.weight, strict=True)


def test_a_record_of_the_ledger_is_that_of_the_parameters_file(network):
    # The file whose size a report states: the same records, but for layers that only have widths of channels.
    _, ledger = pack_network(network)
    reported = layer_bytes(network)
    assert {x.layer: x.bytes for x in ledger.layers if x.layer in reported} == reported


def test_the_best_is_in_no_layer_above_any_coder_and_no_coder_below_its_bound(network):
    _, ledger = pack_network(network, "best")
    for layer in ledger.layers:
        if layer.weights:
            coded = sum(layer.bytes_by_kind[kind] for kind in ("tables", "indices", "weights"))
            assert min(layer.coders.values()) <= coded
            assert layer.coders["huffman"] >= layer.entropy_bytes
            assert layer.coders.get("ans", 1 << 40) >= layer.entropy_bytes


@pytest.mark.parametrize(
    ("sparsity", "smallest"), [(0.0, "packed"), (0.6, "ans"), (0.97, "ans"), (0.9999, "run_length")]
)
def test_the_smallest_coder_follows_the_share_of_zeros(sparsity, smallest):
    network = sparse_network(sparsity)
    content, ledger = pack_network(network, "best")
    (layer,) = ledger.layers
    assert layer.coder == smallest or layer.coders[layer.coder] == layer.coders[smallest]
    assert to_bytes(unpack_network(content)) == to_bytes(network)


def test_zeros_alone_take_a_sixteenth_of_a_bit_at_least():
    network = sparse_network(1.0)
    for codec in CODECS:
        content, ledger = pack_network(network, codec)
        (layer,) = ledger.layers
        assert to_bytes(unpack_network(content)) == to_bytes(network)
        assert min(layer.coders.values()) == 20_000 // 128
    assert set(layer.coders) == set(CODERS)


def test_channels_of_no_bits_are_not_packed_in_none():
    network = sparse_network(1.0)
    item = replace(network.layers[0], weight_width=np.zeros(8, np.int64))
    network = replace(network, layers=(item,))
    for codec in CODECS:
        content, ledger = pack_network(network, codec)
        assert "packed" not in ledger.layers[0].coders
        assert to_bytes(unpack_network(content)) == to_bytes(network)


def test_the_ledger_names_the_decoder_of_each_layer_in_huffman_code(network):
    _, ledger = pack_network(network)
    for layer in ledger.layers:
        assert bool(layer.code_lengths) == (layer.coder == "huffman")
        if layer.code_lengths and layer.code_lengths.replace("0", "").replace(",", "") != "1":
            HuffmanDecode(layer.code_lengths)


def test_a_codec_of_no_name_is_refused(network):
    with pytest.raises(HwsimError, match='unknown codec "zip"; known: huffman, ans, packed'):
        pack_network(network, "zip")


def test_a_file_goes_there_and_back(network, tmp_path):
    save(network, tmp_path / "net.safetensors")
    content, ledger = compress_network(tmp_path / "net.safetensors", "ans")
    (tmp_path / "net.hwz").write_bytes(content)
    save(decompress_network(tmp_path / "net.hwz"), tmp_path / "back.safetensors")
    assert (tmp_path / "back.safetensors").read_bytes() == (tmp_path / "net.safetensors").read_bytes()
    assert isinstance(ledger, Ledger) and load(tmp_path / "back.safetensors").name == network.name


def test_a_network_file_in_other_bytes_is_refused(network, tmp_path):
    path = tmp_path / "net.safetensors"
    content = to_bytes(network)
    size = int.from_bytes(content[:8], "little")
    path.write_bytes(
        (size + 8).to_bytes(8, "little") + content[8 : 8 + size] + b" " * 8 + content[8 + size :]
    )
    assert to_bytes(load(path)) == content
    with pytest.raises(HwsimError, match="has not the bytes that hwsim writes"):
        compress_network(path)


@pytest.fixture(scope="module")
def content() -> bytes:
    return pack_network(networks.masked(networks.every_kind(2, channels=True)), "best")[0]


def test_every_truncation_and_every_changed_byte_is_refused(content):
    rng = np.random.default_rng(0)
    mutants = [content[:end] for end in range(0, len(content), 3)] + [content + b"\0"]
    for place in rng.integers(0, len(content), 300):
        changed = bytearray(content)
        changed[place] ^= int(rng.integers(1, 256))
        mutants.append(bytes(changed))
    for mutant in mutants:
        with pytest.raises(HwsimError):
            unpack_network(mutant)


@pytest.mark.parametrize("codec", CODECS)
def test_behind_a_valid_checksum_damage_is_refused_or_is_another_network(codec):
    whole, ledger = pack_network(networks.every_kind(5, channels=True), codec)
    body, rng, refused = whole[:-4], np.random.default_rng(1), 0
    records = len(body) - ledger.record_bytes
    for trial in range(300):
        changed = bytearray(body if trial % 3 else body[: int(rng.integers(len(MAGIC), len(body)))])
        first = len(MAGIC) if trial % 2 else records
        for place in rng.integers(first, len(body), rng.integers(1, 4)):
            if place < len(changed):
                changed[place] = int(rng.integers(0, 256))
        try:
            to_bytes(unpack_network(sealed(bytes(changed))))
        except HwsimError:
            refused += 1
    assert refused > 100


def graph_of(text: bytes, size: int | None = None) -> bytes:
    deflated = zlib.compress(text)
    return sealed(MAGIC + number(len(text) if size is None else size) + number(len(deflated)) + deflated)


@pytest.mark.parametrize(
    "hostile, sentence",
    [
        (graph_of(b"[]"), "its graph is none of hwsim"),
        (graph_of(b"{"), "its graph is none of hwsim"),
        (graph_of(b"[" * 100_000), "its graph is none of hwsim"),
        (graph_of(b'{"input": "int8"}'), "ends early"),
        (graph_of(b"{}", 3), "another length than it says"),
        (graph_of(b"{}", 1), "another length than it says"),
        (graph_of(b"{}", 1 << 40), "above 67108864"),
        (graph_of(bytes(1 << 24), 1 << 20), "another length than it says"),
        (sealed(MAGIC + number(4) + number(4) + b"abcd"), "does not inflate"),
        (sealed(MAGIC + number(4) + number(1 << 60)), "ends early"),
        (b"HWSZ\x01", r"begins with b'HWSZ\\x02'"),
    ],
)
def test_a_hostile_graph_is_refused_by_name(hostile, sentence):
    started = time.monotonic()
    with pytest.raises(HwsimError, match=sentence):
        unpack_network(hostile)
    assert time.monotonic() < started + 2


def test_integers_of_a_layer_that_the_graph_has_not_are_refused():
    other = networks.every_kind(2, channels=True).layers[0]
    renamed = replace(other, layer=replace(other.layer, name="elsewhere"))
    plain = pack_network(networks.every_kind(2, channels=True))[0]
    record = compress(replace(networks.every_kind(2), layers=(renamed,)))[len(MAGIC) : -4]
    with pytest.raises(HwsimError, match='integers of "elsewhere", which is no layer of its graph'):
        unpack_network(sealed(plain[:-4] + record))
