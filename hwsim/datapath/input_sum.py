"""The sum of some of a layer's inputs, one input a cycle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyrtl

from hwsim import arithmetic
from hwsim.datapath.adders import accumulate, bits_of, both, width_of, wire_of
from hwsim.datapath.datapath import Register
from hwsim.errors import HwsimError
from hwsim.formats import Format, Int, IntArray, Overflow
from hwsim.network import MASK


@dataclass(frozen=True)
class InputSum:
    """The sum since reset of the activations whose ``weight``, one bit, is 1, wrapping.

    The port has the name of a multiply-accumulate's, so that it runs where that does. :func:`sum_format` gives
    the accumulator that never wraps.
    """

    activation: Int
    accumulator: Int

    def __post_init__(self) -> None:
        low, high = self.activation.bits + (not self.activation.signed), 40
        if not self.accumulator.signed or not low <= self.accumulator.bits <= high:
            raise HwsimError(
                f"accumulator {self.accumulator} is out of range; give int{low}, which holds one activation, to int{high}"
            )

    @property
    def inputs(self) -> dict[str, Format]:
        return {"activation": self.activation, "weight": MASK}

    @property
    def registers(self) -> dict[str, Register]:
        return {"accumulator": Register(self.accumulator)}

    @property
    def outputs(self) -> dict[str, Int]:
        return {}

    def compute(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        exact = values["accumulator"] + values["weight"] * values["activation"]
        return {"accumulator": arithmetic.fit(exact, self.accumulator, Overflow.WRAP)}

    def connect(self, wires: Mapping[str, pyrtl.WireVector]) -> dict[str, pyrtl.WireVector]:
        addend = [both(bit, wires["weight"]) for bit in bits_of(wires["activation"])]
        if not self.activation.signed:
            addend.append(0)
        return {"accumulator": wire_of(accumulate(bits_of(wires["accumulator"]), addend))}

    @staticmethod
    def variants() -> Iterator[InputSum]:
        """One activation up to 4096 of them, signed and unsigned, narrow and wide."""
        for bits, extra in ((2, 1), (4, 3), (8, 1), (8, 6), (8, 13)):
            for signed in (False, True):
                yield InputSum(Int(bits, signed), Int(bits + extra))


def sum_format(activation: Int, count: int) -> Int:
    """Return the signed format that holds every sum of up to ``count`` activations.

    >>> str(sum_format(Int(8, signed=False), 9))
    'int13'
    """
    return Int(width_of(count * activation.minimum, count * activation.maximum))
