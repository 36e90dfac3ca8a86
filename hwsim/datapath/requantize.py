"""From an accumulator to the next layer's integers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product as combinations

import pyrtl

from hwsim import arithmetic
from hwsim.datapath.adders import (
    Bit,
    Bits,
    add,
    any_of,
    bits_of,
    both,
    choose,
    clamp,
    differ,
    either,
    full_adder,
    invert,
    number,
    width_of,
    wire_of,
)
from hwsim.datapath.datapath import Register
from hwsim.datapath.multipliers import product
from hwsim.errors import HwsimError
from hwsim.formats import Format, Int, IntArray, Rounding
from hwsim.network import BIAS, MULTIPLIER, SHIFT


class ScaledAccumulator:
    """Ports and exact sum of every circuit behind an accumulator; a design rounds ``(sum * multiplier + bias) / 2^shift``."""

    accumulator: Int
    multiplier: Int
    bias: Int
    shift: Int

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
    def width(self) -> int:
        """Bits of the exact sum; more than 63 are refused."""
        return exact_width([(self.accumulator, self.multiplier)], self.bias)

    def total(self, ports: Mapping[str, Bits]) -> Bits:
        """Return the exact sum before the shift, :attr:`width` bits."""
        a, b = self.accumulator.signed, self.multiplier.signed
        terms = product(ports["accumulator"], a, ports["multiplier"], b, self.width)
        return add(terms + number(ports["bias"], self.bias.signed), self.width)


@dataclass(frozen=True)
class Requantize(ScaledAccumulator):
    """An accumulator scaled by a fixed-point constant, rounded once and clamped.

    ``output = clamp(round((accumulator * multiplier + bias) / 2^shift))``, combinational. The exact sum
    is one column compression of all partial products and the bias; the shifter keeps the bits that the
    output and its rounding can see.
    """

    accumulator: Int
    output: Int
    rounding: Rounding = Rounding.HALF_UP
    multiplier: Int = MULTIPLIER
    bias: Int = BIAS
    shift: Int = SHIFT

    def __post_init__(self) -> None:
        check_constants(self.shift, self.output)
        self.width  # noqa: B018  refuses sums that are too wide

    @property
    def outputs(self) -> dict[str, Int]:
        return {"output": self.output}

    def compute(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        accumulator, multiplier, bias, shift = (values[name] for name in self.inputs)
        output = arithmetic.requantize(accumulator, multiplier, bias, shift, self.rounding, self.output)
        return {"output": output}

    def connect(self, wires: Mapping[str, pyrtl.WireVector]) -> dict[str, pyrtl.WireVector]:
        ports = {name: bits_of(wire) for name, wire in wires.items()}
        return {
            "output": wire_of(round_and_clamp(self.total(ports), ports["shift"], self.rounding, self.output))
        }

    @staticmethod
    def variants() -> Iterator[Requantize]:
        """Every rounding on narrow operands that are covered whole, then the widths networks use."""
        small = Int(4, signed=False), Int(5), Int(3, signed=False)
        for rounding, output in combinations(Rounding, (Int(2), Int(3, signed=False))):
            yield Requantize(Int(4), output, rounding, *small)
        for rounding, output in combinations(Rounding, (Int(8), Int(8, signed=False), Int(16))):
            yield Requantize(Int(32), output, rounding)
        yield Requantize(Int(16), Int(4, signed=False))
        yield Requantize(Int(8, signed=False), Int(2))
        yield Requantize(
            Int(8), Int(8), Rounding.HALF_EVEN, Int(8), Int(8, signed=False), Int(1, signed=False)
        )


def check_constants(shift: Int, output: Int) -> None:
    """Refuse formats that :func:`round_and_clamp` does not have."""
    if shift.signed or shift.bits > 6:
        raise HwsimError(f"shift {shift} is out of range; give uint1 to uint6")
    if output.bits < 2:
        raise HwsimError(f"output {output} is out of range; give 2 bits or more")


def exact_width(factors: list[tuple[Int, Int]], bias: Int) -> int:
    """Return the width that holds every sum of products plus a bias; refuse more than 63 bits."""
    low, high = bias.minimum, bias.maximum
    for a, b in factors:
        corners = [x * y for x in (a.minimum, a.maximum) for y in (b.minimum, b.maximum)]
        low, high = low + min(corners), high + max(corners)
    width = width_of(low, high)
    if width > 63:
        raise HwsimError(
            f"the exact sum of a requantiser takes {width} bits here; narrow its operands to stay within 63"
        )
    return width


def round_and_clamp(total: Bits, shift: Bits, rounding: Rounding, output: Int) -> Bits:
    """Return ``clamp(round(total / 2^shift))`` of a two's complement sum, as bits of ``output``."""
    *window, sign = total
    bits = output.bits - output.signed
    if rounding is Rounding.FLOOR:
        quotient, _, outside = shift_right(window, sign, shift, bits, sticks=False)
        return clamp(quotient, sign, outside, output)
    ties = rounding is Rounding.HALF_EVEN
    (carry, *quotient), sticky, outside = shift_right([0, *window], sign, shift, 1 + bits, sticks=ties)
    if ties:
        carry = both(carry, either(sticky, quotient[0]))
    rounded: Bits = []
    for bit in quotient:
        bit, carry = full_adder(bit, carry, 0)
        rounded.append(bit)
    # A carry out of a positive quotient leaves the range; out of a negative one it turns -1 into 0.
    outside = either(outside, both(invert(sign), carry))
    negative = both(sign, either(outside, invert(carry)))
    return clamp(rounded, negative, outside, output)


def shift_right(window: Bits, sign: Bit, shift: Bits, reach: int, sticks: bool) -> tuple[Bits, Bit, Bit]:
    """Return the lowest ``reach`` bits of ``window >> shift``, whether a 1 was shifted out, and whether a
    bit above them differs from the sign; ``sticks`` asks for the second.

    A barrel shifter, the longest shift first. Each stage keeps only what the stages after it can still move
    into reach: what it loses above that stays out of reach. Above the window every bit is the sign.
    """
    outside: Bit = 0
    sticky: Bit = 0
    for stage in reversed(range(len(shift))):
        select, step = shift[stage], 1 << stage
        filled = [*window, *[sign] * step]
        if sticks:
            sticky = either(sticky, both(select, any_of(filled[:step])))
        keep = min(reach - 1 + step, len(window))
        differing = [differ(bit, sign) for bit in window[keep:]]
        outside = any_of([outside, *differing[step:], both(invert(select), any_of(differing[:step]))])
        window = [choose(select, filled[k + step], filled[k]) for k in range(keep)]
    return window + [sign] * (reach - len(window)), sticky, outside
