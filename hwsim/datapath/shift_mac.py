"""Multiply-accumulate with power-of-two weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product

import pyrtl

from hwsim.datapath.adders import Bits, any_of, bits_of, both, choose
from hwsim.datapath.mac import AddSubtract, architectures, check_architecture, check_operands
from hwsim.formats import Int, Overflow, PowerOfTwo


@dataclass(frozen=True)
class ShiftMac(AddSubtract):
    """Accumulator plus or minus a shifted activation: power-of-two weights, no multiplier.

    ``next = fit(accumulator + weight * activation)``: the exact sum, fitted once. The weight's exponent
    code drives a barrel shifter, its sign the carry-in of an add-or-subtract; exponent code 0 is a zero
    weight whatever its sign bit. Activations are 2 to 8 bits, accumulators signed with 8 to 32 bits. ``adder`` is
    ``ripple``, ``kogge_stone`` or ``carry_save`` and ``stages`` 1 or 2 (:class:`MultiplyAccumulate`).
    """

    weight: PowerOfTwo
    activation: Int
    accumulator: Int
    overflow: Overflow = Overflow.WRAP
    adder: str = field(default="ripple", repr=False)
    stages: int = field(default=1, repr=False)

    def __post_init__(self) -> None:
        check_operands(self.weight, PowerOfTwo, self.activation, self.accumulator, signed_bits=9)
        check_architecture(self.adder, self.stages, self.overflow)

    def connect(self, wires: Mapping[str, pyrtl.WireVector]) -> dict[str, pyrtl.WireVector]:
        *exponent, sign = bits_of(wires["weight"])
        activation, signed = bits_of(wires["activation"]), self.activation.signed
        shifted = shift_left(activation, signed, exponent, self.magnitude_width)
        return self.add_or_subtract(wires, shifted, sign, any_of(exponent))

    @staticmethod
    def variants() -> Iterator[ShiftMac]:
        """Every weight width with narrow and wide activations and accumulators, wrapping and saturating, and every
        adder and pipeline."""
        shapes = [(2, 2, 8), (3, 4, 8), (4, 8, 16), (4, 8, 32), (5, 8, 8), (5, 8, 32), (5, 3, 17)]
        for (w, a, n), signed, overflow in product(shapes, (False, True), Overflow):
            yield ShiftMac(PowerOfTwo(w), Int(a, signed), Int(n), overflow)
        shapes = [(2, 2, 8), (4, 8, 16), (4, 8, 32), (5, 8, 8)]
        for (adder, stages, overflow), (w, a, n), signed in product(architectures(), shapes, (False, True)):
            yield ShiftMac(PowerOfTwo(w), Int(a, signed), Int(n), overflow, adder, stages)


def shift_left(activation: Bits, signed: bool, exponent: Bits, width: int) -> Bits:
    """Return ``activation * 2^(exponent - 1)`` modulo 2^width, and 0 for exponent code 0.

    One row of multiplexers for each bit of the exponent, the shortest shift first. The activation, gated
    off for code 0, starts one place below the point, where nothing is left in the end.
    """
    nonzero = any_of(exponent)
    shifted = [both(nonzero, bit) for bit in activation]
    fill = shifted[-1] if signed else 0
    for stage, select in enumerate(exponent):
        step, first = 1 << stage, int(stage == len(exponent) - 1)
        low: Bits = [0] * step
        places = list(zip(low + shifted, shifted + [fill] * step, strict=True))[first : width + 1]
        shifted = [choose(select, one, zero) for one, zero in places]
    return shifted
