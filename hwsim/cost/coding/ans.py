"""Range coder of asymmetric numeral systems (rANS): fractions of a bit a code word, near the entropy.

The encoder is a number x that code word s, of frequency f among 2^precision and c in the code words before it,
changes to floor(x / f) 2^precision + c + x mod f; the decoder undoes that, last in, first out. x stays in [2^16, 2^32):
what would leave it goes out 16 bits at a time. Frequencies are a layer's own, static, in front of it: a bit for every
code word saying whether it occurs, and of those that do the frequency's bits, as their number less one in 4 bits and what
follows the leading one. The precision is the one whose table and words together are smallest.

Duda, "Asymmetric numeral systems", arXiv:1311.2540 (2013), section 2 (range variant); Giesen, "Interleaved
entropy coders", arXiv:1402.3392 (2014), for the renormalisation by words.
"""

from __future__ import annotations

import numpy as np

from hwsim.cost.coding.bitstream import Coded, Reader, damaged, number, pack, pack_each
from hwsim.formats import IntArray

PRECISION_MAXIMUM = 15
"""Frequencies are shares of at most 2^15."""

_WORD_BITS = 16
_LOW = 1 << _WORD_BITS
_LENGTH_BITS = 4


def frequencies(counts: IntArray, precision: int) -> IntArray:
    """Return whole frequencies that sum to 2^precision, at least 1 where a count is above 0, else 0.

    Each count's share rounded down, what is left over to the largest remainders; where the ones that were raised
    to 1 are too many, the largest frequency gives. There must be at most 2^precision counts above 0.

    >>> frequencies(np.array([6, 0, 1, 1]), 2).tolist(), frequencies(np.array([98, 1, 1]), 2).tolist()
    ([2, 0, 1, 1], [2, 1, 1])
    """
    share, remainder = np.divmod(counts << precision, int(counts.sum()))
    whole = np.maximum(share, counts > 0)
    remainder[share < whole] = 0
    over = int(whole.sum()) - (1 << precision)
    whole[np.argsort(-remainder, kind="stable")[: max(0, -over)]] += 1
    while over > 0:
        largest = int(whole.argmax())
        given = min(over, max(1, int(whole[largest]) // 8))
        whole[largest] -= given
        over -= given
    return whole


def encode(codes: IntArray, bits: int) -> Coded | None:
    """Return code words of ``bits`` bits, [words], as one rANS stream; None where too many of them differ."""
    counts = np.bincount(codes, minlength=1 << bits)
    least = int(np.count_nonzero(counts) - 1).bit_length()
    choices = [(p, frequencies(counts, p)) for p in range(least, PRECISION_MAXIMUM + 1)]
    if not choices:
        return None
    precision, chosen = min(choices, key=lambda choice: _expected_bits(counts, *choice))
    state, words = _push(codes, chosen, precision)
    table = bytes([precision]) + _table(chosen) + number(len(words))
    return Coded(table, values=state.to_bytes(4, "big") + np.array(words, ">u2").tobytes())


def decode(record: Reader, count: int, bits: int) -> IntArray:
    """Return ``count`` code words, the inverse of :func:`encode`."""
    precision = record.take(1)[0]
    if precision > PRECISION_MAXIMUM:
        raise damaged(f"its frequencies are shares of 2^{precision}")
    frequency = _read_table(record, bits)
    if int(frequency.sum()) != 1 << precision:
        raise damaged(f"its frequencies sum to {frequency.sum()}, not to 2^{precision}")
    size = record.number()
    state = int.from_bytes(record.take(4), "big")
    words = np.frombuffer(record.take(2 * size), ">u2").tolist()
    return _pop(state, words, frequency, precision, count)


def _expected_bits(counts: IntArray, precision: int, frequency: IntArray) -> float:
    """Return the bits of code words and table at a precision."""
    used = frequency > 0
    held = np.log2(frequency[used])
    return float((counts[used] * (precision - held)).sum() + (_LENGTH_BITS + np.floor(held)).sum())


def _table(frequency: IntArray) -> bytes:
    used = frequency[frequency > 0]
    length = np.frexp(used)[1].astype(np.int64) - 1
    occurs = pack((frequency > 0).astype(np.int64), 1)
    return occurs + pack(length, _LENGTH_BITS) + pack_each(used, length)


def _read_table(record: Reader, bits: int) -> IntArray:
    frequency = record.unpack(1 << bits, 1)
    length = record.unpack(int(frequency.sum()), _LENGTH_BITS)
    frequency[frequency > 0] = (np.int64(1) << length) + record.unpack_each(length)
    return frequency


def _push(codes: IntArray, frequency: IntArray, precision: int) -> tuple[int, list[int]]:
    """Return the last state and the words that went out, in the order in which the decoder takes them."""
    below = frequency.cumsum() - frequency
    backwards = codes[::-1]
    words, x = [], _LOW
    for f, c in zip(frequency[backwards].tolist(), below[backwards].tolist(), strict=True):
        if x >= f << 32 - precision:
            words.append(x & _LOW - 1)
            x >>= _WORD_BITS
        q, r = divmod(x, f)
        x = (q << precision) + c + r
    return x, words[::-1]


def _pop(x: int, words: list[int], frequency: IntArray, precision: int, count: int) -> IntArray:
    """Return the code words of a stream; refused unless it ends where the encoder began, all words taken."""
    slots = np.arange(len(frequency)).repeat(frequency)
    place = np.arange(1 << precision) - (frequency.cumsum() - frequency)[slots]
    code, f, offset = slots.tolist(), frequency[slots].tolist(), place.tolist()
    mask, codes, taken = (1 << precision) - 1, [0] * count, iter(words)
    try:
        for index in range(count):
            slot = x & mask
            codes[index] = code[slot]
            x = f[slot] * (x >> precision) + offset[slot]
            if x < _LOW:
                x = x << _WORD_BITS | next(taken)
    except StopIteration:
        raise damaged(f"its stream ends before its {count} weights") from None
    if x != _LOW or next(taken, None) is not None:
        raise damaged(f"its stream does not end with its {count} weights")
    return np.array(codes, np.int64)
