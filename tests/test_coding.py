"""Coders of code words: what goes in comes out, sizes are those of the definitions, hostile streams are refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.cost.coding import ans, huffman, indices
from hwsim.cost.coding.bitstream import Reader, pack, pack_each
from hwsim.errors import HwsimError


def joined(coded) -> Reader:
    return Reader(coded.tables + coded.indices + coded.values)


@st.composite
def words(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    """Code words of 1 to 10 bits, of any skew, often indices."""
    bits = draw(st.integers(1, 10))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    share = rng.random(1 << bits) ** draw(st.integers(1, 40)) + 1e-12
    share[0] += draw(st.sampled_from([0.0, 1.0, 100.0]))
    return rng.choice(1 << bits, draw(st.integers(1, 3000)), p=share / share.sum()), bits


@settings(max_examples=150, deadline=None)
@given(words())
def test_the_coded_words_come_back_and_nothing_is_left(drawn):
    codes, bits = drawn
    for coder in (huffman, ans):
        coded = coder.encode(codes, bits)
        if coded is not None:
            reader = joined(coded)
            np.testing.assert_array_equal(coder.decode(reader, codes.size, bits), codes, strict=True)
            assert not reader.left


@settings(max_examples=150, deadline=None)
@given(words(), st.integers(0, 1 << 32))
def test_sparse_words_of_many_widths_come_back_and_nothing_is_left(drawn, seed):
    codes, bits = drawn
    widths = np.random.default_rng(seed).integers(0, bits + 1, codes.size)
    codes = codes & (1 << widths) - 1
    for encode, decode in (
        (indices.encode_bitmap, indices.decode_bitmap),
        (indices.encode_runs, indices.decode_runs),
    ):
        reader = joined(encode(codes, widths))
        np.testing.assert_array_equal(decode(reader, widths), codes, strict=True)
        assert not reader.left


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 1 << 15), min_size=1, max_size=64), st.integers(0, 1 << 32))
def test_values_packed_at_widths_of_their_own_stand_one_behind_the_other(widths, seed):
    own = np.array(widths) % 16
    values = np.random.default_rng(seed).integers(0, 1 << own)
    text = "".join(f"{value:0{width}b}" for value, width in zip(values, own, strict=True) if width)
    content = pack_each(values, own)
    assert content == bytes(int(text[i : i + 8].ljust(8, "0"), 2) for i in range(0, len(text), 8))
    np.testing.assert_array_equal(Reader(content).unpack_each(own), values, strict=True)


def test_ans_of_two_equally_frequent_words_by_hand():
    # x = 2^16 takes word 1: 2 x + 1, then word 0: 2 (2 x + 1). Behind the precision, 1, the bits 11 of the two words
    # that occur, and 4 bits each for a frequency of one bit; no 16 bits went out.
    coded = ans.encode(np.array([0, 1]), 1)
    assert coded is not None
    assert coded.tables == bytes([1, 0b11000000, 0, 0])
    assert int.from_bytes(coded.values, "big") == 2 * (2 * 65536 + 1)


@settings(max_examples=150)
@given(st.lists(st.integers(0, 5000), min_size=2, max_size=64).filter(any), st.integers(0, 15))
def test_frequencies_are_whole_shares_of_what_occurs(counts, precision):
    given_counts = np.array(counts)
    if np.count_nonzero(given_counts) <= 1 << precision:
        found = ans.frequencies(given_counts, precision)
        assert found.sum() == 1 << precision
        np.testing.assert_array_equal(found > 0, given_counts > 0)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.97])
def test_ans_comes_within_a_hundredth_of_the_entropy_where_huffman_cannot(share):
    # A zero of more than half of all words still costs Huffman a whole bit.
    rng = np.random.default_rng(1)
    p = np.array([share, *np.full(15, (1 - share) / 15)])
    codes = rng.choice(16, 60_000, p=p)
    seen = np.bincount(codes, minlength=16) / codes.size
    entropy = -math.fsum(x * math.log2(x) for x in seen) * codes.size / 8
    coded, prefix = ans.encode(codes, 4), huffman.encode(codes, 4)
    assert coded is not None and prefix is not None
    assert entropy <= len(coded.values) and len(coded) < 1.01 * entropy + 40
    assert len(prefix.values) >= codes.size / 8 * max(entropy * 8 / codes.size, 1)


def test_runs_are_those_of_the_deep_compression_figure():
    # Han, Mao, Dally (ICLR 2016), figure 2: weights at 1, 4 and 15; with 3 bits a zero is stored at 12.
    assert indices._stops(np.array([1, 4, 15]), 3).tolist() == [1, 4, 12, 15]


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9, 0.99])
def test_sparse_sizes_are_those_of_the_definitions(sparsity):
    rng = np.random.default_rng(2)
    codes = np.where(rng.random(5000) < sparsity, 0, rng.integers(1, 16, 5000))
    widths = np.full(5000, 4)
    filled = np.count_nonzero(codes)
    assert len(indices.encode_bitmap(codes, widths)) == 625 + math.ceil(filled / 2)

    codes = codes[: np.flatnonzero(codes)[-1] + 1]  # zeros at the end are left out

    def entries(run_bits: int) -> int:
        """Count what is stored, one zero after the other."""
        run = stored = 0
        for code in codes:
            cut = bool(code) or run == (1 << run_bits) - 1
            run, stored = (0, stored + 1) if cut else (run + 1, stored)
        return stored

    best = min(math.ceil(entries(b) * b / 8) + math.ceil(entries(b) / 2) for b in range(1, 9))
    coded = indices.encode_runs(codes, widths[: codes.size])
    assert abs(len(coded.indices) + len(coded.values) - best) <= 1


@pytest.mark.parametrize(
    "content, sentence",
    [
        (b"\x10", r"shares of 2\^16"),
        (b"\x02\xf0\x00", "ends early"),
        (b"\x01\xc0\x01\x00\x00", "sum to 3"),
        (b"\x01\xc0\x00\x00\x00\x01\x00", "ends early"),
        (b"\x01\xc0\x00\xff\xff\xff\x7f", "ends early"),
        (b"\x01\xc0\x00\x00\x00\x01\x00\x00", "ends before its 3 weights"),
        (b"\x01\xc0\x00\x00\x00\x09\x00\x01", "does not end with its 3 weights"),
        (b"\x01\xc0\x00\x01\x00\x08\x00\x00\x00\x00", "does not end with its 3 weights"),
    ],
)
def test_a_hostile_ans_stream_is_refused_by_name(content, sentence):
    with pytest.raises(HwsimError, match=sentence):
        ans.decode(Reader(content), 3, 2)


@pytest.mark.parametrize(
    "content, sentence",
    [
        (b"\x00", "runs have 0 bits"),
        (b"\x09", "runs have 9 bits"),
        (b"\x01\xff\xff\xff\xff\xff\xff\xff\x7f", "ends early"),
        (b"\x08\x02\x01\x01", "lead to weight 3 of a layer that has 3"),
        (b"\x08\x01\x02", "ends early"),
    ],
)
def test_hostile_runs_are_refused_by_name(content, sentence):
    with pytest.raises(HwsimError, match=sentence):
        indices.decode_runs(Reader(content), np.full(3, 4))


def test_no_words_are_no_bytes():
    nothing = np.zeros(0, np.int64)
    assert pack(nothing, 5) == pack_each(nothing, nothing) == b""
    assert Reader(b"").unpack(0, 9).size == Reader(b"").unpack_each(nothing).size == 0
