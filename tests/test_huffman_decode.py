"""The Huffman decoder as a circuit: it decodes what the compressed file's coder wrote, one code word a cycle."""

import numpy as np
import pytest

from hwsim.cost.coding import huffman
from hwsim.datapath.huffman_decode import HuffmanDecode
from hwsim.errors import HwsimError
from hwsim.simulate.circuit import run


def decoder_of(codes, bits):
    return HuffmanDecode(",".join(map(str, huffman.code_lengths(codes, bits).tolist())))


def words_of(stream, longest, count):
    """A byte stream as ``count`` words of ``longest`` bits, zeros behind its end."""
    bits = np.unpackbits(np.frombuffer(stream, np.uint8))
    padded = np.zeros(count * longest, np.int64)
    padded[: bits.size] = bits[: padded.size]
    return padded.reshape(count, longest) @ (1 << np.arange(longest)[::-1])


@pytest.mark.parametrize(("bits", "skew"), [(1, 0), (3, 1), (4, 3), (6, 1), (8, 3)])
def test_the_circuit_decodes_a_code_word_a_cycle_from_the_coders_stream(bits, skew):
    rng = np.random.default_rng(bits)
    share = (1 + np.arange(1 << bits)) ** -float(skew)
    codes = rng.choice(1 << bits, 600, p=share / share.sum())
    coded, decoder = huffman.encode(codes, bits), decoder_of(codes, bits)
    longest = decoder.inputs["word"].bits
    words = words_of(coded.values, longest, codes.size + 1)
    # The memory in front: it shows the next word, and moves on where the decoder took one.
    shown, state, place = [], {name: np.int64(0) for name in decoder.registers}, 0
    for _ in codes:
        step = decoder.compute({"word": words[place], **state})
        shown.append(words[place])
        place += int(step["taken"])
        state = {name: step[name] for name in state}
    seen = run(decoder, {"word": np.array(shown)})
    np.testing.assert_array_equal(seen["symbol"], codes)
    moved = np.concatenate([[0], seen["taken"].cumsum()[:-1]])
    np.testing.assert_array_equal(words[moved], shown)
    used = len(coded.values) * 8
    assert used - 8 - longest < seen["taken"].sum() * longest - seen["filled"][-1] <= used


def test_a_code_of_one_length_has_no_more_buffer_than_two_words():
    decoder = HuffmanDecode("3,3,3,3,3,3,3,3")
    assert {name: register.format.bits for name, register in decoder.registers.items()} == {
        "buffer": 5,
        "filled": 3,
    }


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
