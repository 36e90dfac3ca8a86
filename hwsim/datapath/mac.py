"""Multiply-accumulate of integers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
import pyrtl

from hwsim import arithmetic
from hwsim.datapath.adders import Bits, bits_of, saturate, width_of, wire_of
from hwsim.datapath.datapath import Register
from hwsim.datapath.multipliers import MULTIPLIERS
from hwsim.errors import HwsimError, unknown
from hwsim.formats import Format, Int, IntArray, Overflow


class MultiplyAccumulate:
    """Ports and arithmetic of every multiply-accumulate; a design adds its formats and its circuit."""

    weight: Format
    activation: Int
    accumulator: Int
    overflow: Overflow

    @property
    def inputs(self) -> dict[str, Format]:
        return {"activation": self.activation, "weight": self.weight}

    @property
    def registers(self) -> dict[str, Register]:
        return {"accumulator": Register(self.accumulator)}

    @property
    def outputs(self) -> dict[str, Int]:
        return {}

    def compute(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        exact = values["accumulator"] + values["weight"] * values["activation"]
        return {"accumulator": arithmetic.fit(exact, self.accumulator, self.overflow)}


@dataclass(frozen=True)
class Mac(MultiplyAccumulate):
    """Accumulator plus weight times activation, one product a cycle, wrapping or saturating.

    ``next = fit(accumulator + weight * activation)``: the exact sum, fitted once. Weights are signed,
    activations signed or unsigned, 2 to 8 bits each; accumulators are signed, 8 to 32 bits. ``multiplier``
    names the architecture: ``fused``, ``baugh_wooley``, ``wallace`` or ``booth``
    (:data:`hwsim.datapath.multipliers.MULTIPLIERS`).
    """

    weight: Int
    activation: Int
    accumulator: Int
    overflow: Overflow = Overflow.WRAP
    multiplier: str = "fused"

    def __post_init__(self) -> None:
        check_operands(self.weight, Int, self.activation, self.accumulator)
        if self.multiplier not in MULTIPLIERS:
            raise unknown("multiplier", self.multiplier, MULTIPLIERS)

    def connect(self, wires: Mapping[str, pyrtl.WireVector]) -> dict[str, pyrtl.WireVector]:
        weight, activation, accumulator = (
            bits_of(wires[name]) for name in ("weight", "activation", "accumulator")
        )
        multiplier = MULTIPLIERS[self.multiplier]
        width = sum_width(self.weight, self.activation, self.accumulator, self.overflow)
        total = multiplier.accumulate(weight, activation, self.activation.signed, accumulator, width)
        return {"accumulator": wire_of(fitted(total, self.accumulator, self.overflow))}

    @staticmethod
    def variants() -> Iterator[Mac]:
        """The widths' corners with every other parameter, and a product wider than its accumulator."""
        shapes = [(2, 2, 8), (2, 8, 16), (4, 4, 16), (8, 2, 17), (8, 8, 8), (8, 8, 32), (5, 7, 12)]
        for (w, a, n), signed, overflow, multiplier in product(shapes, (False, True), Overflow, MULTIPLIERS):
            yield Mac(Int(w), Int(a, signed), Int(n), overflow, multiplier)


def check_operands(weight: Format, kind: type[Format], activation: Int, accumulator: Int) -> None:
    """Refuse formats that a multiply-accumulate circuit does not have."""
    if not isinstance(weight, kind) or not weight.signed or not 2 <= weight.bits <= 8:
        example = "int4" if kind is Int else "pow2x4"
        raise HwsimError(f"weight {weight} is out of range; this circuit takes 2 to 8 bits like {example}")
    if not isinstance(activation, Int) or not 2 <= activation.bits <= 8:
        raise HwsimError(f"activation {activation} is out of range; give int2 to int8 or uint2 to uint8")
    check_accumulator(accumulator)


def check_accumulator(accumulator: Int) -> None:
    """Refuse an accumulator that is unsigned or has not 8 to 32 bits."""
    if not isinstance(accumulator, Int) or not accumulator.signed or not 8 <= accumulator.bits <= 32:
        raise HwsimError(f"accumulator {accumulator} is out of range; give int8 to int32")


def sum_width(weight: Format, activation: Int, accumulator: Int, overflow: Overflow) -> int:
    """Return how many bits of the exact sum decide the accumulator's next value."""
    if overflow is Overflow.WRAP:
        return accumulator.bits
    corners = np.outer([weight.minimum, weight.maximum], [activation.minimum, activation.maximum])
    return width_of(
        accumulator.minimum + min(0, int(corners.min())), accumulator.maximum + int(corners.max())
    )


def fitted(total: Bits, accumulator: Int, overflow: Overflow) -> Bits:
    """Return a sum of :func:`sum_width` bits fitted to the accumulator."""
    return total if overflow is Overflow.WRAP else saturate(total, accumulator)
