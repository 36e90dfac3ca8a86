"""Sums of scaled operands, rounded once: the residual addition at integer scale."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product as combinations

import pyrtl

from hwsim import arithmetic
from hwsim.datapath.adders import add, bits_of, number, wire_of
from hwsim.datapath.datapath import Register
from hwsim.datapath.multipliers import product
from hwsim.datapath.requantize import check_constants, exact_width, round_and_clamp
from hwsim.formats import Format, Int, IntArray, Overflow, Rounding
from hwsim.network import BIAS, MULTIPLIER, SHIFT


class ScaledSum:
    """Ports, arithmetic and circuit of every scaled sum; a design names its operands.

    ``output = clamp(round((sum(operand * operand_multiplier) + bias) / 2^shift))``, combinational; all partial
    products and the bias are one column compression.
    """

    output: Int
    rounding: Rounding
    bias: Int
    shift: Int

    def __post_init__(self) -> None:
        check_constants(self.shift, self.output)
        self._width  # noqa: B018  refuses sums that are too wide

    @property
    def operands(self) -> dict[str, tuple[Int, Int]]:
        """The formats of every operand and of its multiplier."""
        raise NotImplementedError

    @property
    def _width(self) -> int:
        return exact_width(list(self.operands.values()), self.bias)

    @property
    def inputs(self) -> dict[str, Format]:
        return {
            **{name: operand for name, (operand, _) in self.operands.items()},
            **{f"{name}_multiplier": multiplier for name, (_, multiplier) in self.operands.items()},
            "bias": self.bias,
            "shift": self.shift,
        }

    @property
    def registers(self) -> dict[str, Register]:
        return {}

    @property
    def outputs(self) -> dict[str, Int]:
        return {"output": self.output}

    def compute(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        exact = values["bias"] + sum(values[name] * values[f"{name}_multiplier"] for name in self.operands)
        rounded = arithmetic.shift_right(exact, values["shift"], self.rounding)
        return {"output": arithmetic.fit(rounded, self.output, Overflow.SATURATE)}

    def connect(self, wires: Mapping[str, pyrtl.WireVector]) -> dict[str, pyrtl.WireVector]:
        ports = {name: bits_of(wire) for name, wire in wires.items()}
        terms = number(ports["bias"], self.bias.signed)
        for name, (operand, multiplier) in self.operands.items():
            constant = ports[f"{name}_multiplier"]
            terms += product(ports[name], operand.signed, constant, multiplier.signed, self._width)
        total = add(terms, self._width)
        return {"output": wire_of(round_and_clamp(total, ports["shift"], self.rounding, self.output))}


@dataclass(frozen=True)
class Add(ScaledSum):
    """Two tensors' integers brought to one scale and added, rounded once and clamped.

    ``output = clamp(round((first * first_multiplier + second * second_multiplier + bias) / 2^shift))``,
    combinational; all partial products and the bias are one column compression.
    """

    first: Int
    second: Int
    output: Int
    rounding: Rounding = Rounding.HALF_UP
    multiplier: Int = MULTIPLIER
    bias: Int = BIAS
    shift: Int = SHIFT

    @property
    def operands(self) -> dict[str, tuple[Int, Int]]:
        return {"first": (self.first, self.multiplier), "second": (self.second, self.multiplier)}

    @staticmethod
    def variants() -> Iterator[Add]:
        """Every rounding on narrow operands that are covered whole, then the widths networks use."""
        small = Int(2, signed=False), Int(4), Int(2, signed=False)
        for rounding in Rounding:
            yield Add(Int(3), Int(2, signed=False), Int(3), rounding, *small)
        for rounding, signed in combinations(Rounding, (False, True)):
            yield Add(Int(8), Int(8, signed=False), Int(8, signed), rounding)
        yield Add(Int(2), Int(7), Int(16))
