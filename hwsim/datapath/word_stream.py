"""A stream of bits from the words of a bus: the word register and the aligner in front of every decoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwsim.datapath.adders import Bit, Bits, accumulate, both, count, either, invert
from hwsim.datapath.datapath import Register
from hwsim.datapath.half import constant, select
from hwsim.errors import HwsimError
from hwsim.formats import Int, IntArray

WORD_BITS = 64
"""Bits of a bus word, unless another width is given."""


def _uint(bits: int) -> Int:
    return Int(bits, signed=False)


@dataclass(frozen=True)
class WordStream:
    """The words of a bus as a stream of bits, the highest bit first, from which a cycle takes what it needs.

    A cycle takes no bits, or ``shortest`` to ``longest``. The port ``<name>word`` shows the next word until a cycle with
    ``<name>taken`` 1, the first with a bit of it. The *word register* holds the rest of that word and shifts it on a piece at a
    time: the smallest power of two of at least ``longest`` bits. The *aligner* holds the rest of a piece, and puts the
    next piece behind it when fewer than ``longest`` bits are there; it is left out where every take is a whole piece.
    """

    longest: int
    shortest: int
    word_bits: int = WORD_BITS
    name: str = ""

    def __post_init__(self) -> None:
        if self.word_bits not in (8, 16, 32, 64) or self.word_bits < self.longest:
            raise HwsimError(
                f"words of a bus have 8, 16, 32 or 64 bits, and no fewer than the {self.longest} that a cycle may take, not "
                f"{self.word_bits}; write word_bits={WORD_BITS}, say"
            )

    @property
    def _piece(self) -> int:
        return 1 << (self.longest - 1).bit_length()

    @property
    def _held(self) -> int:
        """Bits of the word register."""
        return self.word_bits - self._piece

    @property
    def _kept(self) -> int:
        """Bits of the aligner: what is left of a piece that the last bits before it did not fill."""
        whole = self.shortest == self._piece
        return 0 if whole else self.longest - 1 + self._piece - self.shortest

    @property
    def inputs(self) -> dict[str, Int]:
        return {f"{self.name}word": Int(self.word_bits, signed=self.word_bits == 64)}

    @property
    def outputs(self) -> dict[str, Int]:
        return {f"{self.name}taken": _uint(1)}

    @property
    def registers(self) -> dict[str, Register]:
        sizes = {
            "held": self._held,
            "left": (self.word_bits // self._piece).bit_length() - 1,
            "buffer": self._kept,
            "filled": self._kept.bit_length(),
        }
        return {f"{self.name}{name}": Register(_uint(bits)) for name, bits in sizes.items() if bits}

    def shown(self, stream: npt.NDArray[np.uint8], lengths: IntArray) -> IntArray:
        """Return what stands at the port in each cycle while ``lengths`` [cycles] of a stream's bits leave it, from reset.

        Zeros are behind the stream's end.
        """
        place, filled, numbers = 0, 0, []
        for length in lengths.tolist():
            numbers.append(-(-place // self.word_bits))
            if length and filled < self.longest:
                place, filled = place + self._piece, filled + self._piece
            filled -= length
        padded = np.zeros(self.word_bits * (max(numbers, default=0) + 1), np.uint8)
        padded[: stream.size] = stream[: padded.size]
        words = np.packbits(padded).view(f">u{self.word_bits // 8}").astype(np.uint64).view(np.int64)
        return words[np.array(numbers, np.int64)]

    def window(self, values: Mapping[str, IntArray]) -> IntArray:
        """Return the next ``longest`` bits as a number."""
        return self._whole(values) >> self._piece - 1 if self._kept else self._next_piece(values)

    def after(self, values: Mapping[str, IntArray], lengths: IntArray) -> dict[str, IntArray]:
        """Return the registers and outputs of a cycle that takes ``lengths`` bits."""
        lengths = np.asarray(lengths, np.int64)
        taken, results = lengths > 0, dict[str, IntArray]()
        if self._kept:
            buffer, filled = values[f"{self.name}buffer"], values[f"{self.name}filled"]
            asked, taken = taken, taken & (filled < self.longest)
            rest = self._whole(values) << np.maximum(lengths - self.shortest, 0) & (1 << self._kept) - 1
            left = filled + self._piece * taken - lengths & (1 << self._kept.bit_length()) - 1
            results = {"buffer": np.where(asked, rest, buffer), "filled": left}
        if self._held:
            held, left = values[f"{self.name}held"], values[f"{self.name}left"]
            rest = np.where(left == 0, values[f"{self.name}word"], held << self._piece)
            results["held"] = np.where(taken, rest & (1 << self._held) - 1, held)
            results["left"] = left - taken & self.word_bits // self._piece - 1
            taken = taken & (left == 0)
        results["taken"] = taken.astype(np.int64)
        return {f"{self.name}{name}": value for name, value in results.items()}

    def _next_piece(self, values: Mapping[str, IntArray]) -> IntArray:
        word, mask = np.asarray(values[f"{self.name}word"], np.int64), (1 << self._piece) - 1
        if not self._held:
            return word & mask
        held, left = values[f"{self.name}held"], values[f"{self.name}left"]
        kept = np.asarray(held, np.int64) >> self._held - self._piece
        return np.where(left == 0, word >> self._held, kept) & mask

    def _whole(self, values: Mapping[str, IntArray]) -> IntArray:
        """Return the bits of the aligner and behind them those of a piece that enters, in the width of both at most."""
        buffer, filled = values[f"{self.name}buffer"], np.asarray(values[f"{self.name}filled"], np.int64)
        enters = filled < self.longest
        piece = self._next_piece(values) << self.longest - 1 >> np.minimum(filled, self.longest)
        return np.asarray(buffer, np.int64) << self.shortest | piece * enters

    def window_bits(self, wires: Mapping[str, Bits]) -> Bits:
        """Return :meth:`window` in gates."""
        return self._whole_bits(wires)[-self.longest :] if self._kept else self._piece_bits(wires)

    def after_bits(self, wires: Mapping[str, Bits], length: Bits, asked: Bit = 1) -> dict[str, Bits]:
        """Return :meth:`after` in gates: ``length`` bits leave where ``asked``."""
        taken, results = asked, dict[str, Bits]()
        if self._kept:
            buffer, filled = wires[f"{self.name}buffer"], wires[f"{self.name}filled"]
            taken = both(asked, self._enters(filled))
            shifted = shifted_up(self._whole_bits(wires), length)[-self._kept :]
            results = {
                "buffer": _chosen(asked, shifted, buffer),
                "filled": self._filled(filled, length, asked),
            }
        if self._held:
            held, left = wires[f"{self.name}held"], wires[f"{self.name}left"]
            empty, moved = _is_zero(left), [0] * self._piece + held
            rest = _chosen(empty, wires[f"{self.name}word"][: self._held], moved[: self._held])
            results |= {"held": _chosen(taken, rest, held), "left": count(left, 0, taken)}
            taken = both(taken, empty)
        results["taken"] = [taken]
        return {f"{self.name}{name}": bits for name, bits in results.items()}

    def _filled(self, filled: Bits, length: Bits, asked: Bit) -> Bits:
        width, enters = len(filled), self._enters(filled)
        more = [both(bit, both(enters, asked)) for bit in constant(self._piece, width)]
        less = [invert(both(bit, asked)) for bit in [*length, *[0] * width][:width]]
        return accumulate(accumulate(filled, more), less, 1)

    def _enters(self, filled: Bits) -> Bit:
        return invert(_at_least(filled, self.longest))

    def _piece_bits(self, wires: Mapping[str, Bits]) -> Bits:
        word = wires[f"{self.name}word"]
        if not self._held:
            return word
        empty, held = _is_zero(wires[f"{self.name}left"]), wires[f"{self.name}held"]
        return _chosen(empty, word[-self._piece :], held[-self._piece :])

    def _whole_bits(self, wires: Mapping[str, Bits]) -> Bits:
        buffer, filled = wires[f"{self.name}buffer"], wires[f"{self.name}filled"]
        enters = self._enters(filled)
        placed = [0] * (self.longest - 1) + [both(bit, enters) for bit in self._piece_bits(wires)]
        low = filled[: (self.longest - 1).bit_length()]  # fewer than that are there where a piece enters
        down = shifted_up(placed[::-1], low)[::-1]
        return [either(a, b) for a, b in zip([0] * self.shortest + buffer, down, strict=True)]


def shifted_up(bits: Bits, distance: Bits) -> Bits:
    """Return a number, its lowest bit first, shifted up by a distance, zeros behind it, in its own width."""
    for place, chosen in enumerate(distance):
        moved = ([0] * (1 << place) + bits)[: len(bits)]
        bits = _chosen(chosen, moved, bits)
    return bits


def _chosen(condition: Bit, ones: Bits, zeros: Bits) -> Bits:
    return [select(condition, one, zero) for one, zero in zip(ones, zeros, strict=True)]


def _is_zero(bits: Bits) -> Bit:
    return invert(_at_least(bits, 1))


def _at_least(bits: Bits, least: int) -> Bit:
    """Return whether an unsigned number is a constant or more."""
    enough: Bit = 1
    for bit, wanted in zip(bits, constant(least, len(bits)), strict=True):
        enough = both(bit, enough) if wanted else either(bit, enough)
    return enough
