"""Decoder of weights behind a bitmap: one weight a cycle, zero or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyrtl

from hwsim.datapath.adders import bits_of, both, wire_of
from hwsim.datapath.datapath import Register
from hwsim.datapath.weight_stream import WeightStream
from hwsim.datapath.word_stream import WORD_BITS, WordStream
from hwsim.formats import Format, Int, IntArray


@dataclass(frozen=True)
class BitmapDecode:
    """A decoder of a bitmap and the weights of ``bits`` bits that are not zero: one code word a cycle.

    Two streams of words of a bus: the bitmap, a bit a cycle, and the weights, one where that bit is 1. ``mixed`` is as in
    :class:`hwsim.datapath.weight_stream.WeightStream`.
    """

    bits: int
    mixed: int = field(default=0, repr=False)
    word_bits: int = field(default=WORD_BITS, repr=False)

    def __post_init__(self) -> None:
        _ = self._weights

    @property
    def _bitmap(self) -> WordStream:
        return WordStream(1, 1, self.word_bits, "index_")

    @property
    def _weights(self) -> WeightStream:
        return WeightStream(self.bits, self.mixed, self.word_bits)

    @property
    def inputs(self) -> dict[str, Format]:
        return {**self._bitmap.inputs, **self._weights.inputs}

    @property
    def registers(self) -> dict[str, Register]:
        return self._bitmap.registers | self._weights.stream.registers

    @property
    def outputs(self) -> dict[str, Int]:
        taken = self._bitmap.outputs | self._weights.stream.outputs
        return {"symbol": Int(self.bits, signed=False), **taken}

    def streams(self, codes: IntArray, widths: IntArray | None = None) -> dict[str, IntArray]:
        """Return the ports' values [cycles] while code words [cycles] of channels of ``widths`` are decoded, from reset."""
        bitmap = self._bitmap.shown((codes != 0).astype(np.uint8), np.ones_like(codes))
        return {"index_word": bitmap, **self._weights.streams(codes, codes != 0, widths)}

    def compute(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        filled = self._bitmap.window(values)
        return {
            "symbol": self._weights.next(values) * filled,
            **self._bitmap.after(values, np.ones_like(filled)),
            **self._weights.after(values, filled),
        }

    def connect(self, wires: Mapping[str, pyrtl.WireVector]) -> dict[str, pyrtl.WireVector]:
        bits = {name: bits_of(wire) for name, wire in wires.items()}
        (filled,) = self._bitmap.window_bits(bits)
        results = {
            "symbol": [both(bit, filled) for bit in self._weights.next_bits(bits)],
            **self._bitmap.after_bits(bits, [1]),
            **self._weights.after_bits(bits, filled),
        }
        return {name: wire_of(found) for name, found in results.items()}

    @staticmethod
    def variants() -> Iterator[BitmapDecode]:
        """Widths that words of the bus hold whole, and others; a bus of one byte, and channels of several widths."""
        for bits in range(2, 9):
            yield BitmapDecode(bits)
        yield BitmapDecode(3, word_bits=8)
        yield BitmapDecode(4, mixed=1)
