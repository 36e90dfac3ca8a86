"""Multiply-accumulate with additive power-of-two weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import product

import pyrtl

from hwsim.datapath.adders import (
    Bit,
    Bits,
    any_of,
    bits_of,
    both,
    extend,
    invert,
    ripple,
)
from hwsim.datapath.mac import AddSubtract, architectures, check_architecture, check_operands
from hwsim.errors import HwsimError
from hwsim.formats import AdditivePowersOfTwo, Int, Overflow


@dataclass(frozen=True)
class ApotMac(AddSubtract):
    """Accumulator plus or minus a sum of shifted activations: additive power-of-two weights, no multiplier.

    ``next = fit(accumulator + weight * activation)``: the exact sum, fitted once. Each term of the weight selects one
    of its few shifts of the activation, or nothing; an adder sums the terms, two of them for ``apot4`` and ``apot5``,
    and the weight's sign is the carry-in of an add-or-subtract. Activations are 2 to 8 bits, accumulators signed
    with 8 to 32 bits. ``adder`` is ``ripple``, ``kogge_stone`` or ``carry_save`` and ``stages`` 1 or 2
    (:class:`MultiplyAccumulate`). Two terms are the multiplier of Li, Dong, Wang (ICLR 2020), section 2.2: two shifts and an addition.
    """

    weight: AdditivePowersOfTwo
    activation: Int
    accumulator: Int
    overflow: Overflow = Overflow.WRAP
    adder: str = field(default="ripple", repr=False)
    stages: int = field(default=1, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.weight, AdditivePowersOfTwo):
            raise HwsimError(f"weight {self.weight} is out of range; this circuit takes apot4 to apot7")
        check_operands(self.weight, AdditivePowersOfTwo, self.activation, self.accumulator, signed_bits=9)
        check_architecture(self.adder, self.stages, self.overflow)

    def connect(self, wires: Mapping[str, pyrtl.WireVector]) -> dict[str, pyrtl.WireVector]:
        *codes, sign = weight = bits_of(wires["weight"])
        activation, signed = bits_of(wires["activation"]), self.activation.signed
        # The widest product that is not negated; an unsigned one gets the sign as its top bit.
        size = (self.weight.maximum * max(self.activation.maximum, -self.activation.minimum)).bit_length()
        terms = []
        for exponents in self.weight.terms:
            places = len(exponents).bit_length()
            code, codes = codes[:places], codes[places:]
            shifted = _selected(activation, signed, exponents, code)
            terms.append(extend(shifted if signed else [*shifted, 0], size + 1)[: size + signed])
        magnitude = reduce(lambda x, y: ripple(x, y)[0], terms)
        return self.add_or_subtract(wires, magnitude, sign, any_of(weight[:-1]))

    @staticmethod
    def variants() -> Iterator[ApotMac]:
        """Every weight width with narrow and wide activations and accumulators, wrapping and saturating, and
        every adder and pipeline."""
        shapes = [(4, 2, 8), (4, 8, 16), (5, 4, 8), (5, 8, 16), (5, 8, 32), (6, 3, 17), (7, 8, 8), (7, 8, 32)]
        for (w, a, n), signed, overflow in product(shapes, (False, True), Overflow):
            yield ApotMac(AdditivePowersOfTwo(w), Int(a, signed), Int(n), overflow)
        shapes = [(4, 8, 16), (5, 8, 32), (7, 8, 8)]
        for (adder, stages, overflow), (w, a, n), signed in product(architectures(), shapes, (False, True)):
            yield ApotMac(AdditivePowersOfTwo(w), Int(a, signed), Int(n), overflow, adder, stages)


def _selected(activation: Bits, signed: bool, exponents: Sequence[int], code: Bits) -> Bits:
    """Return the activation times the power of two that a code names, 0 for code 0: one gate a shift and bit."""
    width = len(activation) + exponents[-1]
    fill: Bit = activation[-1] if signed else 0
    shifted = [([0] * e + activation + [fill] * width)[:width] for e in exponents]
    chosen = [_equals(code, k + 1) for k in range(len(exponents))]
    return [
        any_of(both(one, bits[k]) for one, bits in zip(chosen, shifted, strict=True)) for k in range(width)
    ]


def _equals(code: Bits, value: int) -> Bit:
    found: Bit = 1
    for place, bit in enumerate(code):
        found = both(found, bit if value >> place & 1 else invert(bit))
    return found
