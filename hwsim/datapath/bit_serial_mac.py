"""Multiply-accumulate that takes its weight bit by bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyrtl

from hwsim import arithmetic
from hwsim.datapath.adders import accumulate, bits_of, both, choose, differ, extend, wire_of
from hwsim.datapath.datapath import Register
from hwsim.datapath.mac import check_operands
from hwsim.errors import HwsimError
from hwsim.formats import Format, Int, IntArray, Overflow

_BIT = Int(1, signed=False)


@dataclass(frozen=True)
class BitSerialMac:
    """Accumulator plus weight times activation, one bit of the weight a cycle: no multiplier, an adder and a shift.

    The weight comes on ``weight``, lowest bit first, in as many cycles as it has bits; with its lowest bit ``first`` is
    1 and ``activation`` is taken, with its sign bit ``last`` is 1. ``shifted`` holds the activation times the next bit's
    power of two, which is added where the bit is 1, and subtracted where that is the sign. The sum wraps: between two
    products it is the exact sum fitted once, on the way through one it is not yet. ``first`` and ``last`` are the same
    for all circuits of an array, their counter is not in this one. Bit-serial by bit-parallel as in Judd et al., "Stripes"
    (MICRO 2016), there with serial activations: cycles fall with the width of the serial operand.
    """

    weight: Int
    activation: Int
    accumulator: Int
    overflow: Overflow = Overflow.WRAP

    def __post_init__(self) -> None:
        check_operands(self.weight, Int, self.activation, self.accumulator)
        if self.overflow is not Overflow.WRAP:
            raise HwsimError(
                f"a bit-serial sum cannot {self.overflow}: what it holds inside a product is not the sum; use wrap"
            )

    @property
    def inputs(self) -> dict[str, Format]:
        return {"activation": self.activation, "weight": _BIT, "first": _BIT, "last": _BIT}

    @property
    def registers(self) -> dict[str, Register]:
        bits = self.activation.bits + (not self.activation.signed) + self.weight.bits - 1
        return {
            "accumulator": Register(self.accumulator),
            "shifted": Register(Int(min(bits, self.accumulator.bits))),
        }

    @property
    def outputs(self) -> dict[str, Int]:
        return {}

    def compute(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        shifted = self.registers["shifted"].format
        addend = np.where(values["first"], values["activation"], values["shifted"])
        signed = np.where(values["last"], -addend, addend)
        total = values["accumulator"] + values["weight"] * signed
        return {
            "accumulator": arithmetic.fit(total, self.accumulator, Overflow.WRAP),
            "shifted": arithmetic.fit(2 * addend, shifted, Overflow.WRAP),
        }

    def connect(self, wires: Mapping[str, pyrtl.WireVector]) -> dict[str, pyrtl.WireVector]:
        activation, shifted = bits_of(wires["activation"]), bits_of(wires["shifted"])
        value = activation if self.activation.signed else [*activation, 0]
        pairs = zip(extend(value, len(shifted))[: len(shifted)], shifted, strict=True)
        addend = [choose(wires["first"], one, zero) for one, zero in pairs]
        minus = both(wires["weight"], wires["last"])
        added = [differ(both(bit, wires["weight"]), minus) for bit in addend]
        return {
            "accumulator": wire_of(accumulate(bits_of(wires["accumulator"]), added, minus)),
            "shifted": wire_of([0, *addend[:-1]]),
        }

    def cycles(self, products: int) -> int:
        """Return the clock cycles of a sum: one a bit of every weight."""
        return products * self.weight.bits

    def operands(self, activations: IntArray, weights: IntArray) -> dict[str, IntArray]:
        """Return the ports' values [cycles, lanes] of sums of activations and weights [products, lanes]."""
        bits = self.weight.bits
        codes = self.weight.encode(weights)
        serial = (codes[:, None] >> np.arange(bits)[:, None] & 1).reshape(-1, codes.shape[1])
        place, lanes = np.arange(len(serial))[:, None] % bits, serial.shape
        return {
            "activation": np.repeat(activations, bits, axis=0),
            "weight": serial,
            "first": np.broadcast_to(place == 0, lanes).astype(np.int64),
            "last": np.broadcast_to(place == bits - 1, lanes).astype(np.int64),
        }

    @staticmethod
    def variants() -> Iterator[BitSerialMac]:
        """The widths' corners, signed and unsigned activations, and a product wider than its accumulator."""
        for w, a, n in [(2, 2, 8), (3, 4, 12), (4, 8, 16), (8, 2, 17), (8, 8, 8), (8, 8, 32)]:
            for signed in (False, True):
                yield BitSerialMac(Int(w), Int(a, signed), Int(n))
