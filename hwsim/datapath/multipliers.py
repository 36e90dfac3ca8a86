"""Multiply-accumulate architectures, by name: how partial products are made, reduced and accumulated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from hwsim.datapath.adders import (
    Adder,
    Bits,
    Term,
    accumulate,
    both,
    carry_save,
    columns,
    compress,
    count,
    differ,
    either,
    extend,
    invert,
    lines,
    number,
    ripple,
    rows,
    wallace,
)

Rows: TypeAlias = Sequence[Sequence[Term]]
"""Partial products, a row for each digit of the weight."""


def partial_products(a: Bits, a_signed: bool, b: Bits, b_signed: bool) -> Rows:
    """Return a row for each bit of b: one AND gate for every two bits, negative where one sign bit is in it."""
    return [
        [
            Term(both(x.bit, y.bit), x.position + y.position, x.negative != y.negative)
            for x in number(a, a_signed)
        ]
        for y in number(b, b_signed)
    ]


def product(a: Bits, a_signed: bool, b: Bits, b_signed: bool, width: int) -> list[Term]:
    """Return the partial products of two numbers modulo 2^width."""
    rows = partial_products(a, a_signed, b, b_signed)
    return [term for row in rows for term in row if term.position < width]


def conjoined(weight: Bits, activation: Bits, signed: bool) -> Rows:
    """One row for each bit of the weight: the activation or nothing (Baugh and Wooley, 1973)."""
    return partial_products(activation, signed, weight, True)


def recoded(weight: Bits, activation: Bits, signed: bool) -> Rows:
    """Radix-4 rows: -2, -1, 0, 1 or 2 times the activation for every two bits of the weight.

    A. D. Booth, "A signed binary multiplication technique", 1951; digits of two bits by O. L. MacSorley, "High-speed
    arithmetic in binary computers", 1961. A row is complemented where its digit is negative, and that digit's sign
    is the 1 that makes it a negative number: -x = ~x + 1; the digit 0 written as 111 is ~0 + 1, which is 0.
    """
    value = activation if signed else [*activation, 0]
    once, twice = [*value, value[-1]], [0, *value]
    digits = [0, *weight, weight[-1]]
    return [_row(once, twice, digits[place : place + 3], place) for place in range(0, len(weight), 2)]


def _row(once: Bits, twice: Bits, digit: Bits, place: int) -> list[Term]:
    below, low, high = digit
    one = differ(low, below)
    if high is low:  # the sign alone is left of the weight: the digit is -1, 0 or 1
        row = [both(one, x) for x in once[:-1]]
    else:
        two = both(differ(high, low), invert(one))
        row = [either(both(one, x), both(two, y)) for x, y in zip(once, twice, strict=True)]
    return [*number([differ(bit, high) for bit in row], True, place), Term(high, place)]


def by_columns(partial: Rows, width: int) -> tuple[Bits, Bits]:
    """Two rows by Dadda's reduction: as few adders as bring each column down in time."""
    return rows(compress(columns((term for row in partial for term in row), width)))


def by_rows(partial: Rows, width: int) -> tuple[Bits, Bits]:
    """Two rows by Wallace's reduction: each three rows become two, as early as possible."""
    return wallace(lines(partial, width))


@dataclass(frozen=True)
class Multiplier:
    """How a product is made: its partial products, their reduction, and whether the accumulator is reduced with them."""

    partial: Callable[[Bits, Bits, bool], Rows]
    reduce: Callable[[Rows, int], tuple[Bits, Bits]]
    merged: bool

    def product(
        self, weight: Bits, activation: Bits, signed: bool, width: int, add: Adder = accumulate
    ) -> Bits:
        """Return weight * activation modulo 2^width."""
        return add(*self.reduce(self.partial(weight, activation, signed), width), 0)

    def accumulate(
        self,
        weight: Bits,
        activation: Bits,
        signed: bool,
        accumulator: Bits,
        width: int,
        add: Adder = accumulate,
    ) -> Bits:
        """Return accumulator + weight * activation modulo 2^width.

        Merged, the accumulator is reduced with the partial products before the one adder that propagates carries;
        otherwise a second adder accumulates the product.
        """
        bits = len(weight) + len(activation)
        if not self.merged:
            product = self.product(weight, activation, signed, min(bits, width), add)
            return add(extend(accumulator, width), product, 0)
        partial = self.partial(weight, activation, signed)
        if width > bits and add is accumulate:
            return _counting(partial, extend(accumulator, width), bits)
        return add(*self.reduce([*partial, number(accumulator, True)], width), 0)

    def redundant(
        self, weight: Bits, activation: Bits, signed: bool, total: Bits, carry: Bits
    ) -> tuple[Bits, Bits]:
        """Return two numbers with the sum of total, carry and weight * activation, modulo 2^n for numbers of n bits."""
        partial, width = self.partial(weight, activation, signed), len(total)
        if self.merged:
            return self.reduce([*partial, number(total, True), number(carry, True)], width)
        first, second = self.reduce(partial, width)
        return carry_save(*carry_save(total, carry, first), second)


def _counting(partial: Rows, accumulator: Bits, bits: int) -> Bits:
    """Return accumulator + products of ``bits`` bits by one ripple adder of so many.

    The accumulator's bits above are counted up or down: one carry comes out of the reduction, one out of the adder,
    and the negative terms' constant takes one away.
    """
    terms = [term for row in partial for term in row]
    *low, (one, *carries) = compress(columns([*terms, *number(accumulator[:bits], False)], bits + 1))
    assert one == 1 and len(carries) == 1
    total, carry = ripple(*rows(low))
    return total + count(accumulator[bits:], carry, invert(carries[0]))


MULTIPLIERS: Mapping[str, Multiplier] = {
    "fused": Multiplier(conjoined, by_columns, merged=True),
    "baugh_wooley": Multiplier(conjoined, by_columns, merged=False),
    "wallace": Multiplier(conjoined, by_rows, merged=False),
    "booth": Multiplier(recoded, by_columns, merged=True),
}
"""``fused`` reduces the accumulator with the products, ``baugh_wooley`` accumulates a finished product, ``wallace``
the same with Wallace's reduction for Dadda's, and ``booth`` is fused with half as many partial products."""
