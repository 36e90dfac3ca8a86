"""Per-channel clipping behind a requantiser: each channel has a width and a step of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyrtl

from hwsim import arithmetic
from hwsim.datapath.adders import Bit, Bits, any_of, bits_of, both, choose, differ, either, invert, wire_of
from hwsim.datapath.datapath import Register
from hwsim.errors import HwsimError
from hwsim.formats import Format, Int, IntArray
from hwsim.network import EXPONENT, WIDTH


@dataclass(frozen=True)
class ChannelClamp:
    """A value clamped to its channel's width and shifted left to the scale that all channels share.

    ``output = clamp(value, width bits) * 2^exponent`` modulo the output's bits, combinational. Widths are
    signed where the value is; a width of 0 makes it 0, one beyond the value's bits leaves it as it is.
    """

    value: Int
    output: Int
    width: Int = WIDTH
    exponent: Int = EXPONENT

    def __post_init__(self) -> None:
        if self.value.signed != self.output.signed or self.value.bits > self.output.bits:
            raise HwsimError(
                f"value {self.value} is out of range; give the output's sign and at most its "
                f"{self.output.bits} bits"
            )
        if self.width.signed or self.exponent.signed or self.width.bits > 5 or self.exponent.bits > 3:
            raise HwsimError(
                f"width {self.width} or exponent {self.exponent} is out of range; give uint1 to uint5 and "
                "uint1 to uint3"
            )

    @property
    def inputs(self) -> dict[str, Format]:
        return {"value": self.value, "width": self.width, "exponent": self.exponent}

    @property
    def registers(self) -> dict[str, Register]:
        return {}

    @property
    def outputs(self) -> dict[str, Int]:
        return {"output": self.output}

    def compute(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        value, width, exponent = (values[name] for name in self.inputs)
        return {"output": arithmetic.channel_clamp(value, width, exponent, self.output)}

    def connect(self, wires: Mapping[str, pyrtl.WireVector]) -> dict[str, pyrtl.WireVector]:
        clamped = self._clamp(bits_of(wires["value"]), bits_of(wires["width"]))
        return {"output": wire_of(_shift_left(clamped, wires["exponent"], self.output))}

    def _clamp(self, value: Bits, width: Bits) -> Bits:
        """Return the value's bits clamped: those that the width has not are the sign, the others all saturate."""
        sign: Bit = 0
        if self.value.signed:
            sign, value = both(value[-1], any_of(width)), value[:-1]
        has = [_exceeds(width, place + self.value.signed) for place in range(len(value))]
        outside = any_of(both(differ(bit, sign), invert(kept)) for bit, kept in zip(value, has, strict=True))
        end = invert(sign)
        clamped: Bits = []
        for bit, kept in zip(value, has, strict=True):
            inside = either(both(bit, invert(outside)), both(end, outside))
            clamped.append(either(both(kept, inside), both(invert(kept), sign)))
        return [*clamped, sign] if self.value.signed else clamped

    @staticmethod
    def variants() -> Iterator[ChannelClamp]:
        """Values of 2 to 8 bits, signed and unsigned, all covered whole."""
        for signed in (False, True):
            for bits in range(2, 9):
                yield ChannelClamp(Int(bits, signed), Int(8, signed))
            yield ChannelClamp(Int(3, signed), Int(5, signed), Int(3, signed=False), Int(2, signed=False))


def _exceeds(number: Bits, limit: int) -> Bit:
    """Return whether an unsigned number is above a constant."""
    above: Bit = 0
    for place, bit in enumerate(number):
        above = both(bit, above) if limit >> place & 1 else either(bit, above)
    return above if limit >> len(number) == 0 else 0


def _shift_left(number: Bits, shift: pyrtl.WireVector, output: Int) -> Bits:
    """Return a number extended to the output's bits and shifted left, the bits above it lost."""
    filler = number[-1] if output.signed else 0
    moved: Bits = [*number, *[filler] * (output.bits - len(number))]
    for stage in range(len(shift)):
        step = min(1 << stage, output.bits)
        low: Bits = [0] * step + moved[: output.bits - step]
        moved = [choose(shift[stage], one, zero) for one, zero in zip(low, moved, strict=True)]
    return moved
