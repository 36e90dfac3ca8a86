"""Decoder of a canonical Huffman code: one code word a cycle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyrtl

from hwsim.datapath.adders import Bit, Bits, accumulate, any_of, bits_of, both, either, invert, wire_of
from hwsim.datapath.datapath import Register
from hwsim.datapath.half import constant, select
from hwsim.errors import HwsimError
from hwsim.formats import Format, Int, IntArray

LONGEST = 31
"""Bits of the longest code, as in the compressed file."""


@dataclass(frozen=True)
class HuffmanDecode:
    """A canonical Huffman decoder: one code word a cycle from a bit stream, whatever its codes' lengths.

    ``lengths`` is the code's table as text, the length of each code word's code with 0 where it has none: "1,2,3,3". The
    stream comes in words of the longest length, highest bit first; a cycle with ``taken`` 1 takes ``word``, which it does
    where fewer bits than that are buffered. The codes are a tree of gates, a table in a memory is not modelled.
    """

    lengths: str

    def __post_init__(self) -> None:
        listed = self.lengths.split(",")
        if not all(text.isascii() and text.isdecimal() and int(text) <= LONGEST for text in listed):
            raise HwsimError(
                f'lengths "{self.lengths[:40]}" are no list of numbers up to {LONGEST}; write lengths=1,2,3,3, say'
            )
        used = [length for length in self._lengths if length]
        if sum(1 << LONGEST - length for length in used) != 1 << LONGEST:
            raise HwsimError(
                f'lengths "{self.lengths[:40]}" are no complete prefix code; their shares 2^-length sum to 1'
            )

    @property
    def _lengths(self) -> tuple[int, ...]:
        return tuple(map(int, self.lengths.split(",")))

    @property
    def _longest(self) -> int:
        return max(self._lengths)

    @property
    def inputs(self) -> dict[str, Format]:
        return {"word": Int(self._longest, signed=False)}

    @property
    def registers(self) -> dict[str, Register]:
        most = 2 * self._longest - 2
        return {
            "buffer": Register(Int(2 * self._longest - 1, signed=False)),
            "filled": Register(Int(max(1, most.bit_length()), signed=False)),
        }

    @property
    def outputs(self) -> dict[str, Int]:
        symbol = max(1, (len(self._lengths) - 1).bit_length())
        return {"symbol": Int(symbol, signed=False), "taken": Int(1, signed=False)}

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

    def words(self, symbols: IntArray) -> IntArray:
        """Return what stands at the port ``word`` while code words [cycles] are decoded, one a cycle from reset.

        It is the next word of their stream until it is taken; zeros are behind the end.
        """
        code = {symbol: f"{value:0{length}b}" for value, length, symbol in self._codes}
        texts, longest = [code[symbol] for symbol in symbols.tolist()], self._longest
        stream = "".join(texts) + "0" * 2 * longest
        shown, filled, place = [], 0, 0
        for text in texts:
            shown.append(int(stream[place : place + longest], 2))
            if filled < longest:
                place, filled = place + longest, filled + longest
            filled -= len(text)
        return np.array(shown, np.int64)

    def compute(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        word, buffer, filled = (np.asarray(values[name], np.int64) for name in ("word", "buffer", "filled"))
        longest, width = self._longest, 2 * self._longest - 1
        taken = (filled < longest).astype(np.int64)
        # A word enters behind the bits that are there, which are fewer than it has.
        whole = buffer | taken * (word << width - longest >> np.minimum(filled, longest))
        window = whole >> width - longest
        starts = [value << longest - length for value, length, _ in self._codes]
        place = np.searchsorted(starts, window, side="right") - 1
        _, lengths, symbols = (np.array(column, np.int64) for column in zip(*self._codes, strict=True))
        length = lengths[place]
        rest = (whole & (1 << width) - 1 >> length) << length
        left = filled + longest * taken - length
        return {"symbol": symbols[place], "taken": taken, "buffer": rest, "filled": left}

    def connect(self, wires: Mapping[str, pyrtl.WireVector]) -> dict[str, pyrtl.WireVector]:
        word, buffer, filled = (bits_of(wires[name]) for name in ("word", "buffer", "filled"))
        longest, width = self._longest, 2 * self._longest - 1
        taken = invert(_at_least(filled, longest))
        placed = [both(bit, taken) for bit in [0] * (width - longest) + word]
        low = filled[: (longest - 1).bit_length()]  # fewer than a word are there where one is taken
        whole = [either(a, b) for a, b in zip(buffer, _shifted(placed[::-1], low)[::-1], strict=True)]
        leaves = _leaves(whole[::-1], self._codes)
        length = _encoded(leaves, [code[1] for code in self._codes], longest.bit_length())
        symbol = _encoded(leaves, [code[2] for code in self._codes], self.outputs["symbol"].bits)
        more = [both(bit, taken) for bit in constant(longest, len(filled))]
        less = [invert(bit) for bit in [*length, *[0] * len(filled)][: len(filled)]]
        total = accumulate(accumulate(filled, more), less, 1)
        return {
            "symbol": wire_of(symbol),
            "taken": wire_of([taken]),
            "buffer": wire_of(_shifted(whole, length)),
            "filled": wire_of(total),
        }

    @staticmethod
    def variants() -> Iterator[HuffmanDecode]:
        """Codes of one length, of every length up to six, of a few with gaps, and the shortest code there is."""
        yield HuffmanDecode("1,1")
        yield HuffmanDecode("2,2,2,2")
        yield HuffmanDecode("1,0,3,3,2")
        yield HuffmanDecode("6,6,5,4,3,2,1,0")
        yield HuffmanDecode("2,3,4,4,3,3,0,0,3,0,4,4,0,0,0,0")


def _at_least(bits: Bits, least: int) -> Bit:
    """Return whether an unsigned number is a constant or more."""
    enough: Bit = 1
    for bit, wanted in zip(bits, constant(least, len(bits)), strict=True):
        enough = both(bit, enough) if wanted else either(bit, enough)
    return enough


def _shifted(bits: Bits, distance: Bits) -> Bits:
    """Return a number, its lowest bit first, shifted up by a distance, zeros behind it, in its own width."""
    for place, chosen in enumerate(distance):
        moved = ([0] * (1 << place) + bits)[: len(bits)]
        bits = [select(chosen, one, zero) for one, zero in zip(moved, bits, strict=True)]
    return bits


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
