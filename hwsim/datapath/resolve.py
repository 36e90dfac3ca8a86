"""One number of a sum in carry-save form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyrtl

from hwsim import arithmetic
from hwsim.datapath.adders import ADDERS, bits_of, wire_of
from hwsim.datapath.datapath import Register
from hwsim.errors import HwsimError, unknown
from hwsim.formats import Format, Int, IntArray, Overflow


@dataclass(frozen=True)
class Resolve:
    """Sum plus carry, wrapping: the adder that a carry-save accumulator needs once for each output.

    ``output = wrap(sum + carry)``, combinational. Both are ``accumulator``'s bits, 8 to 32, signed. ``adder`` names
    what propagates the carries: ``ripple`` or ``kogge_stone``.
    """

    accumulator: Int
    adder: str = "ripple"

    def __post_init__(self) -> None:
        if (
            not isinstance(self.accumulator, Int)
            or not self.accumulator.signed
            or not 8 <= self.accumulator.bits <= 32
        ):
            raise HwsimError(f"accumulator {self.accumulator} is out of range; give int8 to int32")
        if self.adder not in ADDERS:
            raise unknown("adder", self.adder, ADDERS)

    @property
    def inputs(self) -> dict[str, Format]:
        return {"sum": self.accumulator, "carry": self.accumulator}

    @property
    def registers(self) -> dict[str, Register]:
        return {}

    @property
    def outputs(self) -> dict[str, Int]:
        return {"output": self.accumulator}

    def compute(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        return {"output": arithmetic.fit(values["sum"] + values["carry"], self.accumulator, Overflow.WRAP)}

    def connect(self, wires: Mapping[str, pyrtl.WireVector]) -> dict[str, pyrtl.WireVector]:
        total = ADDERS[self.adder](bits_of(wires["sum"]), bits_of(wires["carry"]), 0)
        return {"output": wire_of(total)}

    @staticmethod
    def variants() -> Iterator[Resolve]:
        """Narrow and wide accumulators by every adder."""
        for adder in ADDERS:
            for bits in (8, 17, 32):
                yield Resolve(Int(bits), adder)
