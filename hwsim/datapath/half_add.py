"""The residual addition in half precision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyrtl

from hwsim.datapath.adders import Bit, Bits, any_of, bits_of, both, differ, either, invert, ripple, wire_of
from hwsim.datapath.datapath import Register
from hwsim.datapath.half import Unpacked, constant, pack, select, unpack, with_sign
from hwsim.errors import HwsimError
from hwsim.formats import HALF, Format, Half, Int, IntArray
from hwsim.half import add_halves


@dataclass(frozen=True)
class HalfAdd:
    """A floating-point adder: first + second, rounded to nearest with ties to even, combinational.

    IEEE 754: subnormals, infinities and signed zeros; a NaN result is the quiet one. An unsigned output is 0
    where the sum is negative: the ReLU. The operands are compared, the smaller one is aligned with a guard, a
    round and a sticky bit, added or subtracted, and the sum normalised and rounded.
    """

    first: Half = HALF
    second: Half = HALF
    output: Half = HALF

    def __post_init__(self) -> None:
        if len({(form.exponent, form.fraction) for form in (self.first, self.second, self.output)}) > 1:
            raise HwsimError(
                f"operands {self.first} and {self.second} and the sum {self.output} differ in their widths; "
                "give them one exponent and one fraction width"
            )

    @property
    def inputs(self) -> dict[str, Format]:
        return {"first": self.first.pattern, "second": self.second.pattern}

    @property
    def registers(self) -> dict[str, Register]:
        return {}

    @property
    def outputs(self) -> dict[str, Int]:
        return {"output": self.output.pattern}

    def compute(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        operands = (self.first, self.second)
        return {"output": add_halves(values["first"], values["second"], operands, self.output)}

    def connect(self, wires: Mapping[str, pyrtl.WireVector]) -> dict[str, pyrtl.WireVector]:
        patterns = [bits_of(wires[name]) for name in self.inputs]
        first, second = (unpack(p, f) for p, f in zip(patterns, (self.first, self.second), strict=True))
        size = self.output.exponent + self.output.fraction
        swap = _below(patterns[0][:size], patterns[1][:size])
        large, small = (
            [select(swap, b, a) for a, b in zip(x, y, strict=True)]
            for x, y in (
                ([*first.exponent, *first.significand], [*second.exponent, *second.significand]),
                ([*second.exponent, *second.significand], [*first.exponent, *first.significand]),
            )
        )
        exponent, significand = large[: self.output.exponent], large[self.output.exponent :]
        distance = _difference(exponent, small[: self.output.exponent])
        subtract = differ(first.sign, second.sign)
        aligned = _aligned(small[self.output.exponent :], distance)
        total, _ = ripple(
            [0, 0, 0, *significand, 0], [differ(bit, subtract) for bit in [*aligned, 0]], subtract
        )
        raised, carry = ripple(exponent, constant(1, len(exponent)))
        fields = pack(total, [*raised, carry], self.output)
        # The sign of the larger operand; of an exact zero, minus only where both are negative.
        some = any_of(total)
        sign = both(select(swap, second.sign, first.sign), either(some, both(first.sign, second.sign)))
        return {"output": wire_of(self._special(first, second, fields, sign))}

    def _special(self, first: Unpacked, second: Unpacked, fields: Bits, sign: Bit) -> Bits:
        """Return the pattern with infinities and NaN put in."""
        infinite = either(first.infinite, second.infinite)
        opposite = both(both(first.infinite, second.infinite), differ(first.sign, second.sign))
        wrong = either(either(first.nan, second.nan), opposite)
        sign = select(infinite, select(first.infinite, first.sign, second.sign), sign)
        unbounded = constant(self.output.infinity, len(fields))
        chosen = [select(infinite, one, zero) for one, zero in zip(unbounded, fields, strict=True)]
        pattern = with_sign(chosen, sign, self.output)
        quiet = constant(self.output.nan, len(pattern))
        return [select(wrong, one, zero) for one, zero in zip(quiet, pattern, strict=True)]

    @staticmethod
    def variants() -> Iterator[HalfAdd]:
        """Narrow formats on all operands, then half precision, signed and behind a ReLU."""
        for widths in ((2, 1), (3, 2), (3, 3), (4, 3)):
            yield HalfAdd(Half(*widths), Half(*widths), Half(*widths))
        narrow, positive = Half(3, 3), Half(3, 3, signed=False)
        yield HalfAdd(narrow, positive, positive)
        yield HalfAdd(positive, positive, narrow)
        yield HalfAdd()
        yield HalfAdd(Half(), Half(signed=False), Half(signed=False))


def _below(a: Bits, b: Bits) -> Bit:
    """Return whether an unsigned number is below another one."""
    below: Bit = 0
    for x, y in zip(a, b, strict=True):
        below = select(differ(x, y), y, below)
    return below


def _difference(a: Bits, b: Bits) -> Bits:
    total, _ = ripple(a, [invert(bit) for bit in b], 1)
    return total


def _aligned(significand: Bits, distance: Bits) -> Bits:
    """Return a significand moved down, with two more bits and one that says whether any 1 was lost below them."""
    moved: Bits = [0, 0, *significand]
    sticky: Bit = 0
    for stage, chosen in enumerate(distance):
        step = min(1 << stage, len(moved))
        sticky = either(sticky, both(chosen, any_of(moved[:step])))
        moved = [
            select(chosen, one, zero) for one, zero in zip([*moved[step:], *[0] * step], moved, strict=True)
        ]
    return [sticky, *moved]
