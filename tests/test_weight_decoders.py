"""Decoders of weights as circuits: on the bytes that the compressed file's coders write, one weight a cycle."""

import numpy as np
import pytest

from hwsim.cost.coding import huffman, indices
from hwsim.cost.coding.bitstream import Coded, Reader, pack_each
from hwsim.cost.energy import circuit_energy
from hwsim.cost.operands import in_place
from hwsim.cost.technology import technology
from hwsim.datapath.bitmap_decode import BitmapDecode
from hwsim.datapath.huffman_decode import HuffmanDecode
from hwsim.datapath.run_length_decode import RunLengthDecode
from hwsim.datapath.unpack import Unpack
from hwsim.errors import HwsimError
from hwsim.simulate.circuit import run


def file_of(coder, codes, bits, widths):
    """A coder's bytes, its decoder, and the code words that the file's own decoder makes of them."""
    mixed = int(widths.min() < bits)
    match coder:
        case "packed":
            coded = Coded(values=pack_each(codes, widths))
            return coded, Unpack(bits, mixed), Reader(coded.values).unpack_each(widths)
        case "huffman":
            coded = huffman.encode(codes, bits)
            lengths = ",".join(map(str, huffman.code_lengths(codes, bits).tolist()))
            decoded = huffman.decode(Reader(coded.tables + coded.values), codes.size, bits)
            return coded, HuffmanDecode(lengths), decoded
        case "bitmap":
            coded = indices.encode_bitmap(codes, widths)
            decoded = indices.decode_bitmap(Reader(coded.indices + coded.values), widths)
            return coded, BitmapDecode(bits, mixed), decoded
    coded = indices.encode_runs(codes, widths)
    decoded = indices.decode_runs(Reader(coded.tables + coded.indices + coded.values), widths)
    return coded, RunLengthDecode(bits, coded.tables[0], mixed), decoded


def words_of(content, width):
    """Bytes as words of a bus, zeros behind their end."""
    padded = content + bytes(-len(content) % (width // 8) + width // 8)
    return np.frombuffer(padded, f">u{width // 8}").astype(np.uint64).view(np.int64)


def shown(decoder, coded, cycles, widths):
    """What stands at a decoder's ports where memories show the next word of the bytes until it is taken."""
    memory = {"word": words_of(coded.values, 64), "index_word": words_of(coded.indices, 64)}
    place, rows = dict.fromkeys(memory, 0), []
    state = {name: np.int64(0) for name in decoder.registers}
    for cycle in range(cycles):
        row = {
            name: widths[cycle] if name == "width" else memory[name][min(place[name], memory[name].size - 1)]
            for name in decoder.inputs
        }
        step = decoder.compute({**row, **state})
        rows.append(row)
        state = {name: step[name] for name in state}
        for name in memory.keys() & row.keys():
            place[name] += int(step[name.replace("word", "taken")])
    return {name: np.array([row[name] for row in rows]) for name in decoder.inputs}


CASES = [
    (coder, bits, zeros, mixed)
    for coder in ("packed", "huffman", "bitmap", "run_length")
    for bits, zeros, mixed in ((2, 0.3, 0), (3, 0.8, 0), (4, 0.97, 0), (5, 0.5, 1), (7, 0.9, 0), (8, 0.6, 0))
    if not (coder == "huffman" and mixed)
]


def sparse(bits, zeros, mixed, count=700):
    """Code words that are often zero, with a zero at the end, and the width of each one's channel."""
    rng = np.random.default_rng(bits)
    widths = np.repeat(rng.integers(0, bits + 1, count // 50), 50) if mixed else np.full(count, bits)
    share = (1.0 + np.arange(1 << bits)) ** -1.5
    codes = np.where(rng.random(count) < zeros, 0, rng.choice(1 << bits, count, p=share / share.sum()))
    codes &= (1 << widths) - 1
    codes[-3:] = 0
    return codes, widths


@pytest.mark.parametrize(("coder", "bits", "zeros", "mixed"), CASES)
def test_the_circuit_makes_a_weight_a_cycle_of_the_files_own_bytes(coder, bits, zeros, mixed):
    codes, widths = sparse(bits, zeros, mixed)
    coded, decoder, decoded = file_of(coder, codes, bits, widths)
    np.testing.assert_array_equal(decoded, codes)
    ports = shown(decoder, coded, codes.size, widths)
    seen = run(decoder, ports)
    signed = (
        np.where(codes >> np.maximum(widths - 1, 0) & 1, codes - (1 << widths), codes) if mixed else codes
    )
    np.testing.assert_array_equal(seen["symbol"], signed & (1 << bits) - 1)
    for port, content in (("taken", coded.values), ("index_taken", coded.indices)):
        if port in seen:
            assert 0 <= -(-len(content) // 8) - seen[port].sum() <= 1 or coder == "run_length"
    for name, words in decoder.streams(codes, widths).items():
        np.testing.assert_array_equal(words, ports[name])


@pytest.mark.parametrize(("coder", "bits", "zeros", "mixed"), CASES[1::3])
def test_the_mapped_netlist_decodes_the_files_bytes_too(
    coder, bits, zeros, mixed, synthesis_cache, monkeypatch
):
    """An energy is refused where an output or a flip-flop of the netlist has another value in any cycle."""
    monkeypatch.setenv("HWSIM_CACHE", str(synthesis_cache))
    codes, widths = sparse(bits, zeros, mixed, 300)
    coded, decoder, _ = file_of(coder, codes, bits, widths)
    ports = shown(decoder, coded, codes.size, widths)
    trace = in_place(decoder, {name: words[:, None] for name, words in ports.items()})
    found = circuit_energy(decoder, technology("open45"), trace)
    assert found.operation.total > 0
    np.testing.assert_array_equal(trace.outputs["symbol"][1:], run(decoder, ports)["symbol"])


@pytest.mark.parametrize("word_bits", [8, 16, 32, 64])
def test_a_narrower_bus_holds_less(word_bits):
    codes, widths = sparse(5, 0.5, 0)
    decoder = RunLengthDecode(5, 3, word_bits=word_bits)
    np.testing.assert_array_equal(run(decoder, decoder.streams(codes, widths))["symbol"], codes)
    bits = {name: register.format.bits for name, register in decoder.registers.items()}
    assert (bits.get("held", 0), bits["index_held"]) == (word_bits - 8, word_bits - 4)


def test_an_aligner_is_there_only_where_weights_lie_across_pieces():
    """By hand: 4 bits divide a word of 64; of 3 a piece of 4 leaves at most 3 over; of 6, a piece of 8 at most 7."""
    sizes = [
        {name: register.format.bits for name, register in Unpack(bits).registers.items()}
        for bits in (4, 3, 6)
    ]
    assert sizes[0] == {"held": 60, "left": 4}
    assert sizes[1] == {"held": 60, "left": 4, "buffer": 3, "filled": 2}
    assert sizes[2] == {"held": 56, "left": 3, "buffer": 7, "filled": 3}


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Unpack(0), "1 to 16 bits, not 0"),
        (lambda: BitmapDecode(17), "1 to 16 bits, not 17"),
        (lambda: RunLengthDecode(4, 9), "1 to 8 bits, not 9"),
        (lambda: Unpack(4, mixed=2), "not 2"),
        (lambda: BitmapDecode(4, word_bits=24), "8, 16, 32 or 64 bits"),
        (lambda: HuffmanDecode("1,2,3,4,5,6,7,8,9,9", word_bits=8), "no fewer than the 9"),
    ],
)
def test_parameters_of_no_decoder_are_refused(make, sentence):
    with pytest.raises(HwsimError, match=sentence):
        make()


@pytest.mark.parametrize(
    ("lengths", "sentence"),
    [
        ("", "no list of numbers"),
        ("1,x", "no list of numbers"),
        ("1,32", "no list of numbers up to 31"),
        ("1,-1", "no list of numbers"),
        ("0,0", "no complete prefix code"),
        ("1,0", "no complete prefix code"),
        ("1,1,1", "no complete prefix code"),
    ],
)
def test_lengths_of_no_code_are_refused(lengths, sentence):
    with pytest.raises(HwsimError, match=sentence):
        HuffmanDecode(lengths)
