"""Reader of packed weights: one weight a cycle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyrtl

from hwsim.datapath.adders import bits_of, wire_of
from hwsim.datapath.datapath import Register
from hwsim.datapath.weight_stream import WeightStream
from hwsim.datapath.word_stream import WORD_BITS
from hwsim.formats import Format, Int, IntArray


@dataclass(frozen=True)
class Unpack:
    """A reader of packed weights of ``bits`` bits: one code word a cycle, whatever place it has in the words of a bus.

    With ``mixed`` 1 channels have widths of their own (:class:`hwsim.datapath.weight_stream.WeightStream`).
    """

    bits: int
    mixed: int = field(default=0, repr=False)
    word_bits: int = field(default=WORD_BITS, repr=False)

    def __post_init__(self) -> None:
        _ = self._weights

    @property
    def _weights(self) -> WeightStream:
        return WeightStream(self.bits, self.mixed, self.word_bits)

    @property
    def inputs(self) -> dict[str, Format]:
        return {**self._weights.inputs}

    @property
    def registers(self) -> dict[str, Register]:
        return self._weights.stream.registers

    @property
    def outputs(self) -> dict[str, Int]:
        return {"symbol": Int(self.bits, signed=False), **self._weights.stream.outputs}

    def streams(self, codes: IntArray, widths: IntArray | None = None) -> dict[str, IntArray]:
        """Return the ports' values [cycles] while code words [cycles] of channels of ``widths`` are read, from reset."""
        return self._weights.streams(codes, np.ones_like(codes), widths)

    def compute(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        symbol = self._weights.next(values)
        return {"symbol": symbol, **self._weights.after(values, np.ones_like(symbol))}

    def connect(self, wires: Mapping[str, pyrtl.WireVector]) -> dict[str, pyrtl.WireVector]:
        bits = {name: bits_of(wire) for name, wire in wires.items()}
        results = {"symbol": self._weights.next_bits(bits), **self._weights.after_bits(bits)}
        return {name: wire_of(found) for name, found in results.items()}

    @staticmethod
    def variants() -> Iterator[Unpack]:
        """Widths that words of the bus hold whole, and others; a bus of one byte, and channels of several widths."""
        for bits in range(2, 9):
            yield Unpack(bits)
        yield Unpack(3, word_bits=8)
        yield Unpack(4, mixed=1)
        yield Unpack(5, mixed=1, word_bits=16)
