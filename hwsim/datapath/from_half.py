"""From half precision to the next layer's integers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product as combinations

import pyrtl

from hwsim.datapath.adders import Bits, add, bits_of, both, invert, ripple, wire_of
from hwsim.datapath.datapath import Register
from hwsim.datapath.half import constant, negated_where, select, unpack
from hwsim.datapath.multipliers import product
from hwsim.datapath.requantize import check_constants, round_and_clamp
from hwsim.errors import HwsimError
from hwsim.formats import Format, Half, Int, IntArray, Rounding
from hwsim.half import from_half
from hwsim.network import MULTIPLIER, SHIFT


@dataclass(frozen=True)
class FromHalf:
    """A floating-point number scaled by a fixed-point constant, rounded once and clamped to an integer.

    ``output = clamp(round(value * multiplier / 2^shift))``, combinational; infinities clamp, NaN is 0. The product
    of the significand is moved down by the shift less the exponent.
    """

    value: Half
    output: Int
    rounding: Rounding = Rounding.HALF_UP
    multiplier: Int = MULTIPLIER
    shift: Int = SHIFT

    def __post_init__(self) -> None:
        check_constants(self.shift, self.output)
        if self.multiplier.signed or self.multiplier.bits > 16:
            raise HwsimError(f"multiplier {self.multiplier} is out of range; give uint1 to uint16")

    @property
    def inputs(self) -> dict[str, Format]:
        return {"value": self.value.pattern, "multiplier": self.multiplier, "shift": self.shift}

    @property
    def registers(self) -> dict[str, Register]:
        return {}

    @property
    def outputs(self) -> dict[str, Int]:
        return {"output": self.output}

    def compute(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        patterns, multiplier, shift = (values[name] for name in self.inputs)
        return {"output": from_half(patterns, self.value, multiplier, shift, self.rounding, self.output)}

    def connect(self, wires: Mapping[str, pyrtl.WireVector]) -> dict[str, pyrtl.WireVector]:
        pattern, multiplier, shift = (bits_of(wires[name]) for name in self.inputs)
        form = self.value
        parts = unpack(pattern, form)
        width = len(parts.significand) + len(multiplier)
        magnitude = add(product(parts.significand, False, multiplier, False, width), width)
        # The largest exponent moves nothing down: the product stands that much above the integers.
        total = negated_where([0] * (form.bias - form.fraction) + magnitude + [0], parts.sign)
        distance = _distance(shift, parts.exponent)
        result = round_and_clamp(total, distance, self.rounding, self.output)
        ends = [
            select(parts.sign, low, high)
            for low, high in zip(
                constant(self.output.minimum, self.output.bits),
                constant(self.output.maximum, self.output.bits),
                strict=True,
            )
        ]
        result = [select(parts.infinite, end, bit) for end, bit in zip(ends, result, strict=True)]
        return {"output": wire_of([both(bit, invert(parts.nan)) for bit in result])}

    @staticmethod
    def variants() -> Iterator[FromHalf]:
        """Narrow formats on operands that are covered whole, then half precision at the widths networks use."""
        small = Int(4, signed=False), Int(3, signed=False)
        for rounding, value in combinations(Rounding, (Half(3, 2), Half(4, 3, signed=False))):
            yield FromHalf(value, Int(4), rounding, *small)
        for output, signed in ((Int(8), True), (Int(8, signed=False), False), (Int(16), True)):
            yield FromHalf(Half(signed=signed), output)


def _distance(shift: Bits, exponent: Bits) -> Bits:
    """Return shift + the largest exponent of a finite number - exponent: 2^n - 2 - e is the complement less 1."""
    width = max(len(shift), len(exponent)) + 1
    wide = [*shift, *[0] * (width - len(shift))]
    flipped = [*(invert(bit) for bit in exponent), *[0] * (width - len(exponent))]
    total, _ = ripple(wide, flipped)
    total, _ = ripple(total, [1] * width)
    return total
