"""From an accumulator to half precision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyrtl

from hwsim.datapath.adders import add, bits_of, number, ripple, wire_of
from hwsim.datapath.datapath import Register
from hwsim.datapath.half import constant, negated_where, pack, with_sign
from hwsim.datapath.multipliers import product
from hwsim.datapath.requantize import exact_width
from hwsim.formats import HALF, Format, Half, Int, IntArray
from hwsim.half import to_half
from hwsim.network import BIAS, MULTIPLIER, SHIFT


@dataclass(frozen=True)
class ToHalf:
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
        self._width  # noqa: B018  refuses sums that are too wide

    @property
    def _width(self) -> int:
        return exact_width([(self.accumulator, self.multiplier)], self.bias)

    @property
    def inputs(self) -> dict[str, Format]:
        return {
            "accumulator": self.accumulator,
            "multiplier": self.multiplier,
            "bias": self.bias,
            "shift": self.shift,
        }

    @property
    def registers(self) -> dict[str, Register]:
        return {}

    @property
    def outputs(self) -> dict[str, Int]:
        return {"output": self.output.pattern}

    def compute(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        exact = values["accumulator"] * values["multiplier"] + values["bias"]
        return {"output": to_half(exact, values["shift"], self.output)}

    def connect(self, wires: Mapping[str, pyrtl.WireVector]) -> dict[str, pyrtl.WireVector]:
        ports = {name: bits_of(wire) for name, wire in wires.items()}
        operands = ports["accumulator"], self.accumulator.signed, ports["multiplier"], self.multiplier.signed
        terms = product(*operands, self._width)
        total = add(terms + number(ports["bias"], self.bias.signed), self._width)
        # As many bits as leave the leading one's exponent field at least 1 at the largest shift.
        highest = max(self._width, self.shift.maximum + 2 - self.output.bias)
        magnitude = negated_where(total, total[-1]) + [0] * (highest - self._width)
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
