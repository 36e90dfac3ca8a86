"""Canonical Huffman code: whole bits a code word, behind a table with every code word's length.

Huffman, "A Method for the Construction of Minimum-Redundancy Codes", Proceedings of the IRE (1952); the
canonical form: Schwartz and Kallick, "Generating a Canonical Prefix Encoding", Communications of the ACM
(1964): codes of one length are consecutive, in the order of their symbols, so the lengths are the table.
"""

from __future__ import annotations

import numpy as np
from bitarray import bitarray
from bitarray.util import canonical_decode, canonical_huffman, int2ba

from hwsim.cost.coding.bitstream import Coded, Reader, damaged, number, pack
from hwsim.formats import IntArray

_LENGTH_BITS_MAXIMUM = 5
"""Code lengths take at most 5 bits: bitarray decodes codes of up to 31 bits."""


def code_lengths(codes: IntArray, bits: int) -> IntArray:
    """Return the Huffman code length of each of the 2^bits code words, 0 for one that does not occur.

    A single code word that occurs alone takes 1 bit.

    >>> code_lengths(np.array([0, 0, 0, 2, 2, 3]), 2).tolist()
    [1, 0, 2, 2]
    """
    return _lengths(np.bincount(codes.ravel(), minlength=1 << bits))


def _lengths(counts: IntArray) -> IntArray:
    lengths = np.zeros(counts.size, np.int64)
    code, _, _ = canonical_huffman({int(word): int(counts[word]) for word in np.flatnonzero(counts)})
    for word, bit_string in code.items():
        lengths[word] = len(bit_string)
    return lengths


def encode(codes: IntArray, bits: int) -> Coded | None:
    """Return code words of ``bits`` bits, [words], in canonical Huffman code; None where it is too deep to decode."""
    lengths = code_lengths(codes, bits)
    length_bits = int(lengths.max()).bit_length()
    if length_bits > _LENGTH_BITS_MAXIMUM:
        return None
    payload = bitarray()
    payload.encode(_canonical_code(lengths), codes.tolist())
    table = bytes([length_bits]) + pack(lengths, length_bits) + number(len(payload))
    return Coded(table, values=payload.tobytes())


def encoded_bytes(counts: IntArray) -> int | None:
    """Return how long :func:`encode` makes code words that occur ``counts`` times each, table included.

    >>> encoded_bytes(np.array([3, 0, 2, 1])) == len(encode(np.array([0, 0, 0, 2, 2, 3]), 2))
    True
    """
    lengths = _lengths(counts)
    length_bits, payload = int(lengths.max()).bit_length(), int((counts * lengths).sum())
    if length_bits > _LENGTH_BITS_MAXIMUM:
        return None
    return 1 + -(-length_bits * counts.size // 8) + len(number(payload)) + -(-payload // 8)


def decode(record: Reader, count: int, bits: int) -> IntArray:
    """Return ``count`` code words, the inverse of :func:`encode`."""
    length_bits = record.take(1)[0]
    if not 1 <= length_bits <= _LENGTH_BITS_MAXIMUM:
        raise damaged(f"its code lengths have {length_bits} bits")
    lengths = record.unpack(1 << bits, length_bits)
    used = lengths[lengths > 0]
    # Kraft's sum is 1 for a complete prefix code; a code word that occurs alone leaves half of it open.
    if int((np.int64(1) << (32 - used)).sum()) != 1 << 32 and used.tolist() != [1]:
        raise damaged("its code lengths are no prefix code")
    size = record.number()
    payload = bitarray()
    payload.frombytes(record.take(-(-size // 8)))
    symbols = canonical_decode(payload[:size], np.bincount(used).tolist(), _canonical_order(lengths))
    try:
        codes = np.fromiter(symbols, np.int64)
    except ValueError:
        raise damaged("its code ends within a code word") from None
    if codes.size != count:
        raise damaged(f"it holds {codes.size} weights of a layer that has {count}")
    return codes


def _canonical_order(lengths: IntArray) -> list[int]:
    """Return the code words that occur, by code length and value."""
    return sorted(np.flatnonzero(lengths).tolist(), key=lambda word: lengths[word])


def _canonical_code(lengths: IntArray) -> dict[int, bitarray]:
    code, value, length = {}, -1, 0
    for word in _canonical_order(lengths):
        value = (value + 1) << (int(lengths[word]) - length)
        length = int(lengths[word])
        code[word] = int2ba(value, length)
    return code
