"""Decoder of a canonical Huffman code: one code word a cycle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyrtl

from hwsim.datapath.adders import Bit, Bits, any_of, bits_of, both, invert, wire_of
from hwsim.datapath.datapath import Register
from hwsim.datapath.word_stream import WORD_BITS, WordStream
from hwsim.errors import HwsimError
from hwsim.formats import Format, Int, IntArray

LONGEST = 31
"""Bits of the longest code, as in the compressed file."""


@dataclass(frozen=True)
class HuffmanDecode:
    """A canonical Huffman decoder: one code word a cycle from a bit stream, whatever its codes' lengths.

    ``lengths`` is the code's table as text, the length of each code word's code with 0 where it has none: "1,2,3,3". The
    stream comes in words of a bus (:class:`hwsim.datapath.word_stream.WordStream`). The codes are a tree of gates, a table in a
    memory is not modelled.
    """

    lengths: str
    word_bits: int = field(default=WORD_BITS, repr=False)

    def __post_init__(self) -> None:
        listed = self.lengths.split(",")
        if not all(text.isascii() and text.isdecimal() and int(text) <= LONGEST for text in listed):
            raise HwsimError(
                f'lengths "{self.lengths[:40]}" are no list of numbers up to {LONGEST}; write lengths=1,2,3,3, say'
            )
        if sum(1 << LONGEST - length for length in self._used) != 1 << LONGEST:
            raise HwsimError(
                f'lengths "{self.lengths[:40]}" are no complete prefix code; their shares 2^-length sum to 1'
            )
        _ = self._stream

    @property
    def _lengths(self) -> tuple[int, ...]:
        return tuple(map(int, self.lengths.split(",")))

    @property
    def _used(self) -> list[int]:
        return [length for length in self._lengths if length]

    @property
    def _stream(self) -> WordStream:
        return WordStream(max(self._used), min(self._used), self.word_bits)

    @property
    def inputs(self) -> dict[str, Format]:
        return {**self._stream.inputs}

    @property
    def registers(self) -> dict[str, Register]:
        return self._stream.registers

    @property
    def outputs(self) -> dict[str, Int]:
        symbol = max(1, (len(self._lengths) - 1).bit_length())
        return {"symbol": Int(symbol, signed=False), **self._stream.outputs}

    @property
    def _codes(self) -> list[tuple[int, int, int]]:
        """Each code word that has a code: its code's bits as a number, their count, and the word; ascending."""
        codes, value, last = [], -1, 0
        for length, symbol in sorted(
            (length, symbol) for symbol, length in enumerate(self._lengths) if length
        ):
            value = (value + 1) << length - last
            last = length
            codes.append((value, length, symbol))
        return codes

    def streams(self, codes: IntArray, _: IntArray | None = None) -> dict[str, IntArray]:
        """Return the ports' values [cycles] while code words [cycles] are decoded, whatever their channels' widths, from reset."""
        code = {symbol: f"{value:0{length}b}" for value, length, symbol in self._codes}
        text = "".join(code[symbol] for symbol in codes.tolist())
        bits = np.frombuffer(text.encode(), np.uint8) - np.uint8(ord("0"))
        return {"word": self._stream.shown(bits, np.array(self._lengths)[codes])}

    def compute(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        starts = [value << self._stream.longest - length for value, length, _ in self._codes]
        place = np.searchsorted(starts, self._stream.window(values), side="right") - 1
        _, lengths, symbols = (np.array(column, np.int64) for column in zip(*self._codes, strict=True))
        return {"symbol": symbols[place], **self._stream.after(values, lengths[place])}

    def connect(self, wires: Mapping[str, pyrtl.WireVector]) -> dict[str, pyrtl.WireVector]:
        bits = {name: bits_of(wire) for name, wire in wires.items()}
        leaves = _leaves(self._stream.window_bits(bits)[::-1], self._codes)
        length = _encoded(leaves, [code[1] for code in self._codes], self._stream.longest.bit_length())
        symbol = _encoded(leaves, [code[2] for code in self._codes], self.outputs["symbol"].bits)
        results = {"symbol": symbol, **self._stream.after_bits(bits, length)}
        return {name: wire_of(found) for name, found in results.items()}

    @staticmethod
    def variants() -> Iterator[HuffmanDecode]:
        """The shortest code, codes of one length, of every length up to six, of a few with gaps, and a bus of one byte."""
        yield HuffmanDecode("1,1")
        yield HuffmanDecode("2,2,2,2")
        yield HuffmanDecode("1,0,3,3,2")
        yield HuffmanDecode("6,6,5,4,3,2,1,0")
        yield HuffmanDecode("2,3,4,4,3,3,0,0,3,0,4,4,0,0,0,0")
        yield HuffmanDecode("3,3,3,3,2,2", word_bits=8)


def _leaves(window: Bits, codes: list[tuple[int, int, int]]) -> Bits:
    """Return, for each code, whether a window with the first bit in front begins with it: the code's tree in gates."""
    nodes: dict[tuple[int, int], Bit] = {(0, 0): 1}

    def begins(value: int, length: int) -> Bit:
        if (value, length) not in nodes:
            bit = window[length - 1]
            nodes[value, length] = both(begins(value >> 1, length - 1), bit if value & 1 else invert(bit))
        return nodes[value, length]

    return [begins(value, length) for value, length, _ in codes]


def _encoded(leaves: Bits, numbers: list[int], width: int) -> Bits:
    """Return the number of the leaf that is 1."""
    return [
        any_of(leaf for leaf, value in zip(leaves, numbers, strict=True) if value >> bit & 1)
        for bit in range(width)
    ]
