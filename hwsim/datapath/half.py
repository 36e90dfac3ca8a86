"""Floating point as gates: taking a pattern apart, and normalising and rounding a magnitude into one."""

from __future__ import annotations

from typing import NamedTuple

from hwsim.datapath.adders import Bit, Bits, any_of, both, choose, differ, either, full_adder, invert, ripple
from hwsim.formats import Half


class Unpacked(NamedTuple):
    """A pattern's sign, its exponent field with 1 for a subnormal, its significand with the leading bit, and what
    it is if it is no finite number."""

    sign: Bit
    exponent: Bits
    significand: Bits
    infinite: Bit
    nan: Bit


def unpack(pattern: Bits, form: Half) -> Unpacked:
    """Return the parts of a pattern."""
    fraction, field = pattern[: form.fraction], pattern[form.fraction : form.fraction + form.exponent]
    normal, special = any_of(field), invert(any_of(invert(bit) for bit in field))
    some = any_of(fraction)
    return Unpacked(
        pattern[-1] if form.signed else 0,
        [either(field[0], invert(normal)), *field[1:]],
        [*fraction, normal],
        both(special, invert(some)),
        both(special, some),
    )


def pack(magnitude: Bits, exponent: Bits, form: Half) -> Bits:
    """Return exponent and fraction fields of a magnitude, rounded to nearest even; infinity where it is too large.

    ``exponent`` is the field that a leading one in the magnitude's last bit would have, at least 1: it is counted
    down while the magnitude moves up, at most to 1, where a number without that bit is subnormal.
    """
    room = decrement(exponent)
    magnitude, room = _normalised([0] * max(0, form.fraction + 2 - len(magnitude)) + magnitude, room)
    *below, guard = magnitude[: -form.fraction - 1]
    kept = magnitude[-form.fraction - 1 :]
    # Without a leading one the field is 0: there was no room left, or there is no one at all.
    field = [both(bit, kept[-1]) for bit in room]
    up = both(guard, either(any_of(below), kept[0]))
    fraction, carry = _incremented(kept[:-1], up)
    wide = [*field, *[0] * (form.exponent + 1 - len(field))]
    total, _ = ripple(wide, [kept[-1], *[0] * (len(wide) - 1)], carry)
    return _finite_or_infinite(fraction, total, form)


def _finite_or_infinite(fraction: Bits, field: Bits, form: Half) -> Bits:
    low, high = field[: form.exponent], any_of(field[form.exponent :])
    infinite = either(high, invert(any_of(invert(bit) for bit in low)))
    return [*(both(bit, invert(infinite)) for bit in fraction), *(either(bit, infinite) for bit in low)]


def _incremented(bits: Bits, carry: Bit) -> tuple[Bits, Bit]:
    total: Bits = []
    for bit in bits:
        bit, carry = full_adder(bit, carry, 0)
        total.append(bit)
    return total, carry


def decrement(number: Bits) -> Bits:
    """Return a number that is not 0 less 1."""
    total, _ = ripple(number, [1] * len(number))
    return total


def _normalised(magnitude: Bits, room: Bits) -> tuple[Bits, Bits]:
    """Return a magnitude moved up until its last bit is 1 or as far as there is room, and the room that is left."""
    for stage in reversed(range((len(magnitude) - 1).bit_length())):
        step = 1 << stage
        if step >= len(magnitude):
            continue
        moves = both(invert(any_of(magnitude[-step:])), any_of(room[stage:]))
        moved = [0] * step + magnitude[:-step]
        magnitude = [select(moves, one, zero) for one, zero in zip(moved, magnitude, strict=True)]
        rest, _ = ripple(room[stage:], [moves] * len(room[stage:]))
        room = [*room[:stage], *rest]
    return magnitude, room


def select(condition: Bit, one: Bit, zero: Bit) -> Bit:
    """``one`` where ``condition`` is 1, else ``zero``; the condition may be a constant."""
    if isinstance(condition, int):
        return one if condition else zero
    return choose(condition, one, zero)


def with_sign(fields: Bits, sign: Bit, form: Half) -> Bits:
    """Return a pattern of fields and sign; 0 for a negative number in an unsigned format."""
    if form.signed:
        return [*fields, sign]
    return [both(bit, invert(sign)) for bit in fields]


def constant(value: int, width: int) -> Bits:
    """Return the bits of a constant."""
    return [value >> k & 1 for k in range(width)]


def negated_where(bits: Bits, negative: Bit) -> Bits:
    """Return a two's complement number, negated modulo its width where ``negative`` is 1."""
    total, _ = _incremented([differ(bit, negative) for bit in bits], negative)
    return total
