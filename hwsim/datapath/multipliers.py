"""Multiply-accumulate architectures, by name; each is a function from bits to bits."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hwsim.datapath.adders import (
    Bits,
    Term,
    accumulate,
    add,
    both,
    columns,
    compress,
    count,
    extend,
    invert,
    number,
    ripple,
    rows,
)


def product(a: Bits, a_signed: bool, b: Bits, b_signed: bool, width: int) -> list[Term]:
    """Return the partial products of two numbers modulo 2^width: one AND gate each, negative where one
    sign bit is in it."""
    return [
        Term(both(x.bit, y.bit), x.position + y.position, x.negative != y.negative)
        for y in number(b, b_signed)
        for x in number(a, a_signed)
        if x.position + y.position < width
    ]


def fused(weight: Bits, activation: Bits, signed: bool, accumulator: Bits, width: int) -> Bits:
    """accumulator + weight * activation modulo 2^width: one Dadda reduction, one ripple adder.

    The accumulator's bits above the product are counted up or down: one carry comes out of the reduction,
    one out of the adder, and the negative terms' constant takes one away.
    """
    bits = len(weight) + len(activation)
    terms = product(activation, signed, weight, True, width)
    if width <= bits:
        return add([*terms, *number(accumulator, True)], width)
    accumulator = extend(accumulator, width)
    *low, (one, *carries) = compress(columns([*terms, *number(accumulator[:bits], False)], bits + 1))
    assert one == 1 and len(carries) == 1
    total, carry = ripple(*rows(low))
    return total + count(accumulator[bits:], carry, invert(carries[0]))


def baugh_wooley(weight: Bits, activation: Bits, signed: bool, accumulator: Bits, width: int) -> Bits:
    """The same, but the product is added up by itself first; a second ripple adder accumulates it."""
    bits = min(len(weight) + len(activation), width)
    multiplied = add(product(activation, signed, weight, True, bits), bits)
    return accumulate(extend(accumulator, width), multiplied)


MULTIPLIERS: Mapping[str, Callable[[Bits, Bits, bool, Bits, int], Bits]] = {
    "fused": fused,
    "baugh_wooley": baugh_wooley,
}
