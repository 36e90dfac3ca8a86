"""A stream of packed weights: each in the bits of its format, or in those of its channel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hwsim.datapath.adders import Bit, Bits, any_of, both, invert
from hwsim.datapath.half import constant
from hwsim.datapath.word_stream import WORD_BITS, WordStream
from hwsim.errors import HwsimError
from hwsim.formats import Int, IntArray

BITS_MAXIMUM = 16
WIDTH = Int(5, signed=False)


@dataclass(frozen=True)
class WeightStream:
    """Packed weights of ``bits`` bits, a weight a cycle in which one is asked for.

    With ``mixed`` 1 a channel has a width of its own, which its control gives at the port ``width``, 0 to ``bits``: that many
    bits are taken and extended by their sign.
    """

    bits: int
    mixed: int = 0
    word_bits: int = WORD_BITS
    name: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= BITS_MAXIMUM:
            raise HwsimError(
                f"a packed weight has 1 to {BITS_MAXIMUM} bits, not {self.bits}; write bits=4, say"
            )
        if self.mixed not in (0, 1):
            raise HwsimError(f"mixed is 1 where channels have widths of their own, else 0, not {self.mixed}")
        _ = self.stream

    @property
    def stream(self) -> WordStream:
        return WordStream(self.bits, 1 if self.mixed else self.bits, self.word_bits, self.name)

    @property
    def inputs(self) -> dict[str, Int]:
        return self.stream.inputs | ({"width": WIDTH} if self.mixed else {})

    def streams(
        self, codes: IntArray, asked: IntArray, widths: IntArray | None = None
    ) -> dict[str, IntArray]:
        """Return the ports' values [cycles] while those weights [cycles] that are ``asked`` for leave, of channels of ``widths``."""
        own = np.full_like(codes, self.bits) if widths is None else widths
        lengths = own * (np.asarray(asked) != 0)
        place = np.arange(self.bits)[::-1]
        bits = (codes[:, None] >> place & 1).astype(np.uint8)[place < lengths[:, None]]
        shown = {f"{self.name}word": self.stream.shown(bits, lengths)}
        return shown | ({"width": own} if self.mixed else {})

    def next(self, values: Mapping[str, IntArray]) -> IntArray:
        """Return the next weight's code word."""
        window = self.stream.window(values)
        if not self.mixed:
            return window
        width = np.minimum(values["width"], self.bits)
        signed = window - ((window >> self.bits - 1) << self.bits)
        extended: IntArray = (signed >> self.bits - width) * (width > 0) & (1 << self.bits) - 1
        return extended

    def after(self, values: Mapping[str, IntArray], asked: IntArray) -> dict[str, IntArray]:
        """Return the registers and outputs of a cycle in which a weight is taken where one is asked for."""
        width = np.minimum(values["width"], self.bits) if self.mixed else self.bits
        return self.stream.after(values, np.asarray(asked, np.int64) * width)

    def next_bits(self, wires: Mapping[str, Bits]) -> Bits:
        """Return :meth:`next` in gates."""
        window = self.stream.window_bits(wires)
        if not self.mixed:
            return window
        ways = [(self._is_width(wires, width), _extended(window, width)) for width in range(1, self.bits + 1)]
        return [any_of(both(chosen, bits[k]) for chosen, bits in ways) for k in range(self.bits)]

    def after_bits(self, wires: Mapping[str, Bits], asked: Bit = 1) -> dict[str, Bits]:
        """Return :meth:`after` in gates."""
        if not self.mixed:
            return self.stream.after_bits(wires, constant(self.bits, self.bits.bit_length()), asked)
        some = any_of(wires["width"])
        length = [
            any_of(self._is_width(wires, width) for width in range(1, self.bits + 1) if width >> k & 1)
            for k in range(self.bits.bit_length())
        ]
        return self.stream.after_bits(wires, length, both(some, asked))

    def _is_width(self, wires: Mapping[str, Bits], width: int) -> Bit:
        """Return whether a channel has a width; all numbers from ``bits`` on mean that."""
        given = wires["width"]
        if width < self.bits:
            exact: Bit = 1
            for bit, wanted in zip(given, constant(width, len(given)), strict=True):
                exact = both(exact, bit if wanted else invert(bit))
            return exact
        return invert(any_of([_none(given), *(self._is_width(wires, less) for less in range(1, width))]))


def _none(bits: Bits) -> Bit:
    return invert(any_of(bits))


def _extended(window: Bits, width: int) -> Bits:
    """Return the first ``width`` bits of a window, its lowest bit first, as a number with its sign extended."""
    return window[len(window) - width :] + [window[-1]] * (len(window) - width)
