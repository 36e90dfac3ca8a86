"""From an accumulator to half precision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyrtl

from hwsim.datapath.adders import bits_of, ripple, wire_of
from hwsim.datapath.half import constant, negated_where, pack, with_sign
from hwsim.datapath.requantize import ScaledAccumulator
from hwsim.formats import HALF, Half, Int, IntArray
from hwsim.half import to_half
from hwsim.network import BIAS, MULTIPLIER, SHIFT


@dataclass(frozen=True)
class ToHalf(ScaledAccumulator):
    """An accumulator scaled by a fixed-point constant and rounded once to a floating-point number.

    ``output = half((accumulator * multiplier + bias) / 2^shift)``, to nearest with ties to even, combinational;
    too large a result is infinity. An unsigned output is 0 where the result is negative: the ReLU.
    """

    accumulator: Int
    output: Half = HALF
    multiplier: Int = MULTIPLIER
    bias: Int = BIAS
    shift: Int = SHIFT

    def __post_init__(self) -> None:
        self.width  # noqa: B018  refuses sums that are too wide

    @property
    def outputs(self) -> dict[str, Int]:
        return {"output": self.output.pattern}

    def compute(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        exact = values["accumulator"] * values["multiplier"] + values["bias"]
        return {"output": to_half(exact, values["shift"], self.output)}

    def connect(self, wires: Mapping[str, pyrtl.WireVector]) -> dict[str, pyrtl.WireVector]:
        ports = {name: bits_of(wire) for name, wire in wires.items()}
        total = self.total(ports)
        # As many bits as leave the leading one's exponent field at least 1 at the largest shift.
        highest = max(self.width, self.shift.maximum + 2 - self.output.bias)
        magnitude = negated_where(total, total[-1]) + [0] * (highest - self.width)
        top = highest - 1 + self.output.bias
        width = top.bit_length()
        shift = [1 - bit if isinstance(bit, int) else ~bit for bit in ports["shift"]]
        exponent, _ = ripple(constant(top, width), [*shift, *[1] * (width - len(shift))], 1)
        return {"output": wire_of(with_sign(pack(magnitude, exponent, self.output), total[-1], self.output))}

    @staticmethod
    def variants() -> Iterator[ToHalf]:
        """Narrow formats on operands that are covered whole, then half precision at the widths networks use."""
        small = Int(4, signed=False), Int(5), Int(3, signed=False)
        for output in (Half(3, 2), Half(3, 3, signed=False), Half(4, 3)):
            yield ToHalf(Int(4), output, *small)
        for bits, signed in ((32, True), (16, True), (8, False)):
            yield ToHalf(Int(bits, signed), Half(signed=signed))
