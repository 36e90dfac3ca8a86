"""Sparse indices: where the code words other than zero are, and these packed, each in its channel's width.

A *bitmap* has a bit for every code word. *Run lengths* are the zeros in front of each word, in as many bits as make
the whole smallest; a run too long for its bits passes through a zero that is stored as a word, and zeros at the end
are left out. All-zero bits are zero in every weight format, the pruned weight in focused symbols.

Run lengths: Han, Mao, Dally, "Deep Compression" (ICLR 2016), section 2 and figure 2, with 8 bits in convolutions and 5
in linear layers there.
"""

from __future__ import annotations

import numpy as np

from hwsim.cost.coding.bitstream import Coded, Reader, damaged, number, pack, pack_each
from hwsim.formats import IntArray

RUN_BITS_MAXIMUM = 8


def encode_bitmap(codes: IntArray, widths: IntArray) -> Coded:
    """Return code words, [words], each of its width, as a bitmap and the words that are not zero."""
    filled = codes != 0
    return Coded(indices=pack(filled.astype(np.int64), 1), values=pack_each(codes[filled], widths[filled]))


def decode_bitmap(record: Reader, widths: IntArray) -> IntArray:
    """Return a code word for each width, the inverse of :func:`encode_bitmap`."""
    codes = record.unpack(len(widths), 1)
    filled = codes > 0
    codes[filled] = record.unpack_each(widths[filled])
    return codes


def stored_runs(codes: IntArray, widths: IntArray) -> tuple[int, IntArray]:
    """Return the bits of a run that make code words, [words], each of its width, smallest, and which words are stored then."""
    places = np.flatnonzero(codes)
    stops = [_stops(places, run_bits) for run_bits in range(1, RUN_BITS_MAXIMUM + 1)]
    sizes = [bits * len(at) + int(widths[at].sum()) for bits, at in enumerate(stops, 1)]
    run_bits = int(np.argmin(sizes)) + 1
    return run_bits, stops[run_bits - 1]


def encode_runs(codes: IntArray, widths: IntArray) -> Coded:
    """Return code words, [words], each of its width, as the zeros in front of each and the words."""
    run_bits, at = stored_runs(codes, widths)
    runs = np.diff(at, prepend=-1) - 1
    return Coded(bytes([run_bits]) + number(len(at)), pack(runs, run_bits), pack_each(codes[at], widths[at]))


def decode_runs(record: Reader, widths: IntArray) -> IntArray:
    """Return a code word for each width, the inverse of :func:`encode_runs`."""
    run_bits = record.take(1)[0]
    if not 1 <= run_bits <= RUN_BITS_MAXIMUM:
        raise damaged(f"its runs have {run_bits} bits")
    at = (record.unpack(record.number(), run_bits) + 1).cumsum() - 1
    if at.size and at[-1] >= len(widths):
        raise damaged(f"its runs lead to weight {at[-1]} of a layer that has {len(widths)}")
    codes = np.zeros(len(widths), np.int64)
    codes[at] = record.unpack_each(widths[at])
    return codes


def _stops(places: IntArray, run_bits: int) -> IntArray:
    """Return the places to store: those given, and the zeros at which a longer run is cut."""
    longest = 1 << run_bits
    gaps = np.diff(places, prepend=-1)
    cuts = (gaps - 1) // longest
    first = (places - gaps).repeat(cuts)
    order = np.arange(len(first)) - (cuts.cumsum() - cuts).repeat(cuts)
    return np.sort(np.concatenate([places, first + (order + 1) * longest]))
