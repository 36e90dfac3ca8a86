"""Multiply-accumulate with power-of-two weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import pyrtl

from hwsim.datapath.adders import Bits, accumulate, any_of, bits_of, both, choose, differ, extend, wire_of
from hwsim.datapath.mac import MultiplyAccumulate, check_operands, fitted, sum_width
from hwsim.formats import Int, Overflow, PowerOfTwo


@dataclass(frozen=True)
class ShiftMac(MultiplyAccumulate):
    """Accumulator plus or minus a shifted activation: power-of-two weights, no multiplier.

    ``next = fit(accumulator + weight * activation)``: the exact sum, fitted once. The weight's exponent
    code drives a barrel shifter, its sign the carry-in of an add-or-subtract; exponent code 0 is a zero
    weight whatever its sign bit. Activations are 2 to 8 bits, accumulators signed with 8 to 32 bits.
    """

    weight: PowerOfTwo
    activation: Int
    accumulator: Int
    overflow: Overflow = Overflow.WRAP

    def __post_init__(self) -> None:
        check_operands(self.weight, PowerOfTwo, self.activation, self.accumulator)

    def connect(self, wires: Mapping[str, pyrtl.WireVector]) -> dict[str, pyrtl.WireVector]:
        *exponent, sign = bits_of(wires["weight"])
        width = sum_width(self.weight, self.activation, self.accumulator, self.overflow)
        shifted = shift_left(bits_of(wires["activation"]), self.activation.signed, exponent, width)
        # -x = ~x + 1: complement every bit, the sign itself is the 1. An unsigned magnitude gets the sign
        # as its top bit, so that its complement is negative.
        addend = [differ(bit, sign) for bit in shifted]
        if not self.activation.signed:
            addend.append(sign)
        total = accumulate(extend(bits_of(wires["accumulator"]), width), addend[:width], sign)
        return {"accumulator": wire_of(fitted(total, self.accumulator, self.overflow))}

    @staticmethod
    def variants() -> Iterator[ShiftMac]:
        """Every weight width with narrow and wide activations and accumulators, wrapping and saturating."""
        shapes = [(2, 2, 8), (3, 4, 8), (4, 8, 16), (4, 8, 32), (5, 8, 8), (5, 8, 32), (5, 3, 17)]
        for (w, a, n), signed, overflow in product(shapes, (False, True), Overflow):
            yield ShiftMac(PowerOfTwo(w), Int(a, signed), Int(n), overflow)


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
