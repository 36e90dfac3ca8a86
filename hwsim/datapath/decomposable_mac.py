"""Multiply-accumulate that splits into narrower ones: bit-level fusion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
import pyrtl

from hwsim import arithmetic
from hwsim.datapath.adders import (
    Bit,
    Bits,
    accumulate,
    add,
    bits_of,
    both,
    choose,
    differ,
    either,
    extend,
    full_adder,
    invert,
    number,
    width_of,
    wire_of,
)
from hwsim.datapath.datapath import Register
from hwsim.datapath.mac import check_operands, fitted
from hwsim.formats import Format, Int, IntArray, Overflow

WIDTHS = (8, 4, 2)
"""Operand widths of modes 0, 1 and 2."""

_WORD = Int(32, signed=False)
_SUM = 16
"""Bits of a two's complement number that holds every mode's sum of products."""


@dataclass(frozen=True)
class DecomposableMac:
    """Accumulator plus one 8x8 product, four 4x4 products or sixteen 2x2 products, by a ``mode`` of 0, 1 or 2.

    ``next = fit(accumulator + sum of products)``: the exact sum, fitted once. Operands lie side by side in words of 32
    bits, the first lowest; bits above those that a mode uses mean nothing, and mode 3 is mode 2. Weights are signed,
    activations signed as ``activation`` is. The widths of ``weight`` and ``activation`` are those that a layer brings: its
    sums run in the narrowest mode that holds both (:meth:`operands`), and the circuit is the same for all.

    The fusion unit of Sharma et al., "Bit Fusion" (ISCA 2018): sixteen 2-bit multipliers whose products are shifted and
    added as the mode says. The words are spread over the multipliers inside the circuit. Where their multipliers have
    sign bits of their own, here a product bit of negative weight is complemented and the constant that this needs
    (Baugh and Wooley, 1973) is added once for each mode.
    """

    weight: Int
    activation: Int
    accumulator: Int
    overflow: Overflow = Overflow.WRAP

    def __post_init__(self) -> None:
        check_operands(self.weight, Int, self.activation, self.accumulator)

    @property
    def mode(self) -> int:
        """The mode that a layer's widths need."""
        return max(k for k, bits in enumerate(WIDTHS) if bits >= max(self.weight.bits, self.activation.bits))

    @property
    def inputs(self) -> dict[str, Format]:
        return {"activation": _WORD, "weight": _WORD, "mode": Int(2, signed=False)}

    @property
    def registers(self) -> dict[str, Register]:
        return {"accumulator": Register(self.accumulator)}

    @property
    def outputs(self) -> dict[str, Int]:
        return {}

    def compute(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        exact = values["accumulator"]
        for mode, bits in enumerate(WIDTHS):
            form = Int(bits, self.activation.signed)
            chosen = values["mode"] == mode if mode < 2 else values["mode"] >= mode
            for place in range(0, bits * _count(mode), bits):
                field = (1 << bits) - 1
                activation = form.decode(values["activation"] >> place & field)
                exact = exact + chosen * activation * Int(bits).decode(values["weight"] >> place & field)
        return {"accumulator": arithmetic.fit(exact, self.accumulator, self.overflow)}

    def connect(self, wires: Mapping[str, pyrtl.WireVector]) -> dict[str, pyrtl.WireVector]:
        low, high = bits_of(wires["mode"])
        modes = _Modes(invert(either(low, high)), both(low, invert(high)), high)
        words = bits_of(wires["activation"]), bits_of(wires["weight"])
        quarters = {
            (i, j): modes.quarter(words, i, j, self.activation.signed) for i, j in product((0, 1), repeat=2)
        }
        middle = add([*number(quarters[0, 1], False), *number(quarters[1, 0], False)], 9)
        parts = [quarters[0, 0], _moved(middle, 4, modes.whole), _moved(quarters[1, 1], 8, modes.whole)]
        terms = [term for part in parts for term in number(part, False)]
        constant = modes.constant(self.activation.signed)
        products = add([*terms, *number(constant, False)], _SUM)
        total = accumulate(extend(bits_of(wires["accumulator"]), self._width), products[: self._width])
        return {"accumulator": wire_of(fitted(total, self.accumulator, self.overflow))}

    def cycles(self, products: int) -> int:
        """Return the clock cycles of a sum: as many products in each as the mode has."""
        return -(-products // _count(self.mode))

    def operands(self, activations: IntArray, weights: IntArray) -> dict[str, IntArray]:
        """Return the ports' values [cycles, lanes] of sums of activations and weights [products, lanes]."""
        bits, count = WIDTHS[self.mode], _count(self.mode)
        missing = -len(weights) % count
        ports = {}
        for name, values in (("activation", activations), ("weight", weights)):
            codes = values & ((1 << bits) - 1)
            whole = np.concatenate([codes, np.zeros((missing, *codes.shape[1:]), np.int64)])
            places = np.arange(count)[:, None] * bits
            ports[name] = (whole.reshape(-1, count, *codes.shape[1:]) << places).sum(axis=1)
        return {**ports, "mode": np.full_like(ports["weight"], self.mode)}

    @property
    def _width(self) -> int:
        """How many bits of the exact sum decide the accumulator's next value."""
        if self.overflow is Overflow.WRAP:
            return self.accumulator.bits
        reach = 1 << (_SUM - 1)
        return width_of(self.accumulator.minimum - reach, self.accumulator.maximum + reach)

    @staticmethod
    def variants() -> Iterator[DecomposableMac]:
        """Signed and unsigned activations, accumulators narrower and wider than the products, both overflows."""
        for signed, bits, overflow in product((False, True), (8, 16, 21, 32), Overflow):
            yield DecomposableMac(Int(8), Int(8, signed), Int(bits), overflow)


@dataclass(frozen=True)
class _Modes:
    """One wire for each mode: the whole 8x8 product, quarters of 4x4, sixteenths of 2x2."""

    whole: Bit
    quarters: Bit
    sixteenths: Bit

    def quarter(self, words: tuple[Bits, Bits], row: int, column: int, signed: bool) -> Bits:
        """Return the 8 bits of four 2-bit products of a quarter, shifted as a 4x4 product unless in sixteenths."""
        part = {
            (i, j): self.sixteenth(words, (row, i), (column, j), signed) for i, j in product((0, 1), repeat=2)
        }
        together = invert(self.sixteenths)
        middle = add([*number(part[0, 1], False), *number(part[1, 0], False)], 5)
        shifted = [part[0, 0], _moved(middle, 2, together), _moved(part[1, 1], 4, together)]
        return add([term for bits in shifted for term in number(bits, False)], 8)

    def sixteenth(
        self, words: tuple[Bits, Bits], row: tuple[int, int], column: tuple[int, int], signed: bool
    ) -> Bits:
        """Return the 4 bits of a 2-bit product, its bits of negative weight complemented."""
        place = 4 * (2 * row[0] + column[0])
        x = self._digit(words[0], row, place, 2 * place + 2 * (2 * row[1] + column[1]))
        y = self._digit(words[1], column, place, 2 * place + 2 * (2 * row[1] + column[1]))
        x_sign, y_sign = self._sign(row) if signed else 0, self._sign(column)
        low = both(x[0], y[0])
        crossed = differ(both(x[1], y[0]), x_sign), differ(both(x[0], y[1]), y_sign)
        high = differ(both(x[1], y[1]), differ(x_sign, y_sign))
        second, carry = full_adder(*crossed, 0)
        return [low, second, *full_adder(high, carry, 0)]

    def _digit(self, word: Bits, place: tuple[int, int], quarter: int, sixteenth: int) -> Bits:
        """Return two bits of an operand: of the only one, of a quarter's or of a sixteenth's."""
        whole, half = 4 * place[0] + 2 * place[1], quarter + 2 * place[1]
        return [
            _either(
                self.sixteenths, word[sixteenth + k], _either(self.quarters, word[half + k], word[whole + k])
            )
            for k in (0, 1)
        ]

    def _sign(self, place: tuple[int, int]) -> Bit:
        """Return whether the upper bit of a digit is its operand's sign."""
        if place[1] == 0:
            return self.sixteenths
        return 1 if place[0] else invert(self.whole)

    def constant(self, signed: bool) -> Bits:
        """Return what complementing bits of negative weight has added too much, negated, by mode."""
        wholes, quarters, sixteenths = (-_excess(bits, signed) % (1 << _SUM) for bits in WIDTHS)
        return [
            either(
                either(both(self.whole, wholes >> k & 1), both(self.quarters, quarters >> k & 1)),
                both(self.sixteenths, sixteenths >> k & 1),
            )
            for k in range(_SUM)
        ]


def _count(mode: int) -> int:
    """Return how many products a mode has."""
    return (8 // WIDTHS[mode]) ** 2


def _excess(bits: int, signed: bool) -> int:
    """Return the sum of 2^position over the product bits of negative weight, of all products of a width."""
    negative = [
        1 << i + j for i, j in product(range(bits), repeat=2) if (signed and i == bits - 1) != (j == bits - 1)
    ]
    return (8 // bits) ** 2 * sum(negative)


def _moved(bits: Bits, distance: int, chosen: Bit) -> Bits:
    """Return a number shifted up by a distance where chosen."""
    zeros: Bits = [0] * distance
    return [_either(chosen, one, zero) for one, zero in zip(zeros + bits, bits + zeros, strict=True)]


def _either(select: Bit, one: Bit, zero: Bit) -> Bit:
    assert isinstance(select, pyrtl.WireVector)
    return choose(select, one, zero)
