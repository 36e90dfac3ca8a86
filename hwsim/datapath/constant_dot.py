"""A dot product with weights that never change: the multipliers of an unrolled layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyrtl

from hwsim.datapath.adders import ADDERS, Term, bits_of, columns, compress, number, rows, width_of, wire_of
from hwsim.datapath.datapath import Register
from hwsim.errors import HwsimError, unknown
from hwsim.formats import Format, Int, IntArray

MOST_PRODUCTS = 256
LARGEST = 1 << 15
"""The largest magnitude of a weight."""


@dataclass(frozen=True)
class ConstantDot:
    """The sum of activations times constant weights, combinational and exact: no multiplier, shifts are wiring.

    ``output = weight0 * activation0 + weight1 * activation1 + ...`` for up to 256 ``weights``, written ``3,-5,0,64``,
    each of a magnitude up to 2^15; the output is as wide as the sum can be. Each weight becomes the signed digits that
    are fewest, no two of them side by side (G. W. Reitwieser, "Binary arithmetic", 1960), so that a power of two is one
    shifted activation and a weight of b bits at most (b + 1) / 2 of them. All of them are one reduction by columns
    (Dadda) with one adder behind it, by ``adder``: ``ripple`` or ``kogge_stone``. Nothing is shared between outputs.
    """

    weights: str
    activation: Int
    adder: str = "ripple"

    def __post_init__(self) -> None:
        listed = self.weights.split(",")
        if not all(
            text.removeprefix("-").isdecimal() and text.isascii() and len(text) < 8 for text in listed
        ):
            raise HwsimError(
                f'weights "{self.weights[:40]}" are no list of integers; write weights=3,-5,0,64, say'
            )
        if len(listed) > MOST_PRODUCTS or max(map(abs, self.constants)) > LARGEST:
            raise HwsimError(
                f"{len(listed)} weights up to {max(map(abs, self.constants))} are out of range; "
                f"give up to {MOST_PRODUCTS} from {-LARGEST} to {LARGEST}"
            )
        if not isinstance(self.activation, Int) or not 2 <= self.activation.bits <= 8:
            raise HwsimError(
                f"activation {self.activation} is out of range; give int2 to int8 or uint2 to uint8"
            )
        if self.adder not in ADDERS:
            raise unknown("adder", self.adder, ADDERS)

    @staticmethod
    def of(weights: Sequence[int] | IntArray, activation: Int, adder: str = "ripple") -> ConstantDot:
        """Return the dot product with a sequence of weights: an output channel's, say."""
        return ConstantDot(",".join(str(int(weight)) for weight in weights), activation, adder)

    @property
    def constants(self) -> tuple[int, ...]:
        """The weights."""
        return tuple(map(int, self.weights.split(",")))

    @property
    def products(self) -> int:
        """How many products one result sums."""
        return len(self.constants)

    @property
    def inputs(self) -> dict[str, Format]:
        return {f"activation{k}": self.activation for k in range(self.products)}

    @property
    def registers(self) -> dict[str, Register]:
        return {}

    @property
    def outputs(self) -> dict[str, Int]:
        ends = [sorted((w * self.activation.minimum, w * self.activation.maximum)) for w in self.constants]
        return {"output": Int(width_of(sum(least for least, _ in ends), sum(most for _, most in ends)))}

    def compute(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        products = (weight * values[f"activation{k}"] for k, weight in enumerate(self.constants))
        total: IntArray = sum(products, start=0 * values["activation0"])
        return {"output": total}

    def connect(self, wires: Mapping[str, pyrtl.WireVector]) -> dict[str, pyrtl.WireVector]:
        width = self.outputs["output"].bits
        terms = [
            Term(bit, position, negative != (digit < 0))
            for k, weight in enumerate(self.constants)
            for place, digit in signed_digits(weight)
            for bit, position, negative in number(
                bits_of(wires[f"activation{k}"]), self.activation.signed, place
            )
        ]
        first, second = rows(compress(columns(terms, width)))
        return {"output": wire_of(ADDERS[self.adder](first, second, 0))}

    @staticmethod
    def variants() -> Iterator[ConstantDot]:
        """One weight and many, of few digits and of most, zeros, powers of two, signed and unsigned activations."""
        lists = [
            "1",
            "0",
            "-128",
            "85,-86,127,0",
            "3,-5,7",
            "1,-2,4,-8,16,-32,64,0,-1,2",
            "-43,91,-117,5,33,-2,77,-6",
        ]
        for activation in (Int(2), Int(4, signed=False), Int(8), Int(8, signed=False)):
            for weights in lists:
                yield ConstantDot(weights, activation)
        yield ConstantDot("32768,-32768,21845", Int(8), "kogge_stone")
        yield ConstantDot("-7,9,-31,100", Int(5, signed=False), "kogge_stone")


def signed_digits(value: int) -> list[tuple[int, int]]:
    """Return the places and signs of a number's fewest signed digits, the lowest first.

    >>> signed_digits(7), signed_digits(-6)
    ([(0, -1), (3, 1)], [(1, 1), (3, -1)])
    """
    digits, place = [], 0
    while value:
        if value & 1:
            digit = 2 - (value & 3)  # +1 before ..01, -1 before ..11: the next digit is 0
            digits.append((place, digit))
            value -= digit
        value >>= 1
        place += 1
    return digits
