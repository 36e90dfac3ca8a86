"""Sums as gates: full adders, Dadda's and Wallace's compression, adders with carry-in by name, saturation.

A number is a list of bits, least significant first. A bit is a one-bit wire or the constant 0 or 1;
constants are folded where they meet a gate, so that no gate is spent on them. A signed number's last
bit weighs -2^(n-1); every negative weight enters a sum by -b*2^k = (1 - b)*2^k - 2^k: the complemented
bit and a constant (Baugh and Wooley, "A two's complement parallel array multiplication algorithm", 1973).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from typing import NamedTuple, TypeAlias

import pyrtl

from hwsim.formats import Int

Bit: TypeAlias = pyrtl.WireVector | int
Bits: TypeAlias = list[Bit]


class Term(NamedTuple):
    """One bit of a sum, worth ``bit * 2^position``, or its negative."""

    bit: Bit
    position: int
    negative: bool = False


def bits_of(wire: pyrtl.WireVector) -> Bits:
    """Return the bits of a wire."""
    return [wire[k] for k in range(len(wire))]


def extend(bits: Bits, width: int) -> Bits:
    """Return a two's complement number in ``width`` bits, at least as many as it has."""
    return bits + [bits[-1]] * (width - len(bits))


def wire_of(bits: Bits) -> pyrtl.WireVector:
    """Return the bits side by side as one wire."""
    return pyrtl.concat_list([pyrtl.Const(bit, 1) if isinstance(bit, int) else bit for bit in bits])


def invert(a: Bit) -> Bit:
    return 1 - a if isinstance(a, int) else ~a


def both(a: Bit, b: Bit) -> Bit:
    """a AND b."""
    if isinstance(a, int):
        return b if a else 0
    return both(b, a) if isinstance(b, int) else a & b


def either(a: Bit, b: Bit) -> Bit:
    """a OR b."""
    if isinstance(a, int):
        return 1 if a else b
    return either(b, a) if isinstance(b, int) else a | b


def differ(a: Bit, b: Bit) -> Bit:
    """a XOR b."""
    if isinstance(a, int):
        return invert(b) if a else b
    return differ(b, a) if isinstance(b, int) else a ^ b


def choose(select: pyrtl.WireVector, one: Bit, zero: Bit) -> Bit:
    """``one`` where ``select`` is 1, else ``zero``."""
    if one is zero:
        return one
    if isinstance(zero, int):
        return either(invert(select), one) if zero else both(select, one)
    if isinstance(one, int):
        return either(select, zero) if one else both(invert(select), zero)
    return pyrtl.select(select, one, zero)


def any_of(bits: Iterable[Bit]) -> Bit:
    """Whether any bit is 1."""
    return reduce(either, bits, 0)


def full_adder(a: Bit, b: Bit, c: Bit) -> tuple[Bit, Bit]:
    """Return (sum, carry) of three bits in five gates; fewer where a bit is constant."""
    wires = [bit for bit in (a, b, c) if not isinstance(bit, int)]
    ones = sum(bit for bit in (a, b, c) if isinstance(bit, int))
    if len(wires) == 3:
        half = a ^ b
        return half ^ c, (a & b) | (half & c)
    if len(wires) == 2:
        x, y = wires
        return (~(x ^ y), x | y) if ones else (x ^ y, x & y)
    if wires:
        return differ(wires[0], ones & 1), (0, wires[0], 1)[ones]
    return ones & 1, ones >> 1


def ripple(a: Sequence[Bit], b: Sequence[Bit], carry: Bit = 0) -> tuple[Bits, Bit]:
    """Return a + b + carry for two n-bit numbers as n bits and the last carry."""
    total: Bits = []
    for x, y in zip(a, b, strict=True):
        bit, carry = full_adder(x, y, carry)
        total.append(bit)
    return total, carry


def count(number: Sequence[Bit], up: Bit, down: Bit) -> Bits:
    """Return number + up - down modulo 2^n: a bit changes where all below it were at their end."""
    moves = differ(up, down)
    total: Bits = []
    for bit in number[:-1]:
        total.append(differ(bit, moves))
        moves = both(moves, differ(bit, down))
    return [*total, differ(number[-1], moves)]


def accumulate(total: Sequence[Bit], addend: Sequence[Bit], carry: Bit = 0) -> Bits:
    """Return total + addend + carry modulo 2^n for an n-bit total and a two's complement addend of at most n bits.

    Above the addend, its sign and the carry out of it make -1, 0 or 1: those bits are counted up or down.
    """
    size = min(len(addend), len(total) - 1)
    low, carry = ripple(total[:size], addend[:size], carry)
    if size < len(addend):
        return [*low, differ(differ(total[-1], addend[-1]), carry)]
    return low + count(total[size:], carry, addend[-1])


def kogge_stone(total: Sequence[Bit], addend: Sequence[Bit], carry: Bit = 0) -> Bits:
    """Return what :func:`accumulate` does, every carry from its own tree of log2(n) levels.

    P. M. Kogge and H. S. Stone, "A parallel algorithm for the efficient solution of a general class of recurrence
    equations", 1973. A cell joins two neighbouring groups of bits: together they carry where the upper one does, or
    where it passes on what the lower one carries.
    """
    pairs = list(zip(total, extend(list(addend), len(total)), strict=True))
    passes = [differ(a, b) for a, b in pairs]
    carries = [both(a, b) for a, b in pairs[:-1]]
    if carries:
        carries[0] = either(carries[0], both(passes[0], carry))
    through, span = passes[:-1], 1
    while span < len(carries):
        groups = range(span, len(carries))
        joined = [either(carries[k], both(through[k], carries[k - span])) for k in groups]
        wider = [both(through[k], through[k - span]) for k in groups[span:]]
        carries[span:], through[2 * span :], span = joined, wider, 2 * span
    return [differ(bit, below) for bit, below in zip(passes, [carry, *carries], strict=True)]


Adder: TypeAlias = Callable[[Bits, Bits, Bit], Bits]

ADDERS: Mapping[str, Adder] = {"ripple": accumulate, "kogge_stone": kogge_stone}
"""Adders that propagate carries: the smallest, and the one of least depth."""


def number(bits: Sequence[Bit], signed: bool, position: int = 0) -> list[Term]:
    """Return the terms of a number shifted left by ``position``."""
    last = len(bits) - 1
    return [Term(bit, position + k, signed and k == last) for k, bit in enumerate(bits)]


def add(terms: Iterable[Term], width: int) -> Bits:
    """Return the sum of terms modulo 2^width: Dadda compression to two rows, then one ripple adder."""
    first, second = rows(compress(columns(terms, width)))
    return accumulate(first, second)


def columns(terms: Iterable[Term], width: int) -> list[Bits]:
    """Return the bits of a sum modulo 2^width by position, its constant gathered in at most one bit each."""
    placed: list[Bits] = [[] for _ in range(width)]
    constant = 0
    for term in terms:
        bit, added = _positive(term, width)
        constant += added
        if not isinstance(bit, int):
            placed[term.position].append(bit)
    for position, column in enumerate(placed):
        if constant >> position & 1:
            column.insert(0, 1)
    return placed


def _positive(term: Term, width: int) -> tuple[Bit, int]:
    """Return the bit that a term adds modulo 2^width at its position, and a constant that it adds besides."""
    bit, position, negative = term
    negative = negative and position < width - 1  # -2^(width-1) is 2^(width-1) modulo 2^width
    constant = -(negative << position)
    if isinstance(bit, int):
        return 0, constant + ((bit ^ negative) << position)
    if position >= width:
        return 0, constant
    return (~bit if negative else bit), constant


def lines(rows: Iterable[Iterable[Term]], width: int) -> list[Bits]:
    """Return rows of terms as numbers of ``width`` bits with the same sum modulo 2^width.

    A bit whose place in its own number is taken goes into the next one where that is free, the constant's last.
    """
    placed: list[Bits] = []
    constant = 0
    for first, row in enumerate(rows):
        placed.extend([0] * width for _ in range(first + 1 - len(placed)))
        for term in row:
            bit, added = _positive(term, width)
            constant += added
            if not isinstance(bit, int):
                _put(placed, first, bit, term.position, width)
    for position in range(width):
        if constant >> position & 1:
            _put(placed, 0, 1, position, width)
    return placed


def _put(placed: list[Bits], first: int, bit: Bit, position: int, width: int) -> None:
    free = (
        k
        for k in range(first, len(placed))
        if isinstance(placed[k][position], int) and not placed[k][position]
    )
    k = next(free, len(placed))
    if k == len(placed):
        placed.append([0] * width)
    placed[k][position] = bit


def wallace(numbers: list[Bits]) -> tuple[Bits, Bits]:
    """Return two numbers with the same sum modulo 2^n as any count of n-bit numbers.

    C. S. Wallace, "A suggestion for a fast multiplier", 1964: in every stage each three numbers become two, at once
    and wherever bits meet; one or two that are left over wait for the next stage.
    """
    while len(numbers) > 2:
        whole = len(numbers) - len(numbers) % 3
        pairs = (carry_save(*numbers[k : k + 3]) for k in range(0, whole, 3))
        numbers = [half for pair in pairs for half in pair] + numbers[whole:]
    zero: Bits = [0] * max(map(len, numbers), default=0)
    first, second = (*numbers, zero, zero)[:2]
    return first, second


def carry_save(a: Bits, b: Bits, c: Bits) -> tuple[Bits, Bits]:
    """Return two numbers with the sum of three modulo 2^n: a full adder a bit, and no carry from one to the next."""
    pairs = [full_adder(x, y, z) for x, y, z in zip(a, b, c, strict=True)]
    return [total for total, _ in pairs], [0, *(carry for _, carry in pairs[:-1])]


def rows(columns: Iterable[Bits]) -> tuple[Bits, Bits]:
    """Return columns of at most two bits as two numbers."""
    filled = [[*column, 0, 0] for column in columns]
    return [column[0] for column in filled], [column[1] for column in filled]


def compress(columns: list[Bits]) -> list[Bits]:
    """Return columns of the same sum (modulo 2^columns) of at most two bits each.

    L. Dadda, "Some schemes for parallel multipliers", 1965: each stage brings the heights down to the
    next of 2, 3, 4, 6, 9, 13, ... with as few adders as possible. The last column needs only sums.
    """
    heights = [2]
    while heights[-1] < max(map(len, columns)):
        heights.append(heights[-1] * 3 // 2)
    for height in reversed(heights):
        columns = _stage(columns, height)
    return columns


def _stage(columns: list[Bits], height: int) -> list[Bits]:
    reduced: list[Bits] = []
    carries: Bits = []
    for column in columns[:-1]:
        waiting, done, carries = list(column), carries, []
        while len(waiting) + len(done) > height:
            three = len(waiting) + len(done) > height + 1
            a, b, c = ((waiting or done).pop(0) if needed else 0 for needed in (True, True, three))
            bit, carry = full_adder(a, b, c)
            done.append(bit)
            carries.append(carry)
        reduced.append(waiting + done)
    last = columns[-1] + carries
    while len(last) > height:
        last.append(differ(last.pop(0), last.pop(0)))
    return [*reduced, last]


def width_of(minimum: int, maximum: int) -> int:
    """Return the two's complement width that holds every integer from minimum to maximum.

    >>> width_of(-128, 127), width_of(-1, 128)
    (8, 9)
    """
    return max((-minimum - 1 if minimum < 0 else 0).bit_length(), maximum.bit_length()) + 1


def saturate(bits: Bits, target: Int) -> Bits:
    """Return a two's complement number of at least ``target.bits + 1`` bits clamped into ``target``."""
    sign, upper = bits[-1], bits[target.bits - target.signed : -1]
    outside = any_of(differ(bit, sign) for bit in upper)
    return clamp(bits[: target.bits - target.signed], sign, outside, target)


def clamp(bits: Bits, sign: Bit, outside: Bit, target: Int) -> Bits:
    """Return ``target``'s bits of a number, from its low bits, its sign and whether it is out of range."""
    high = both(invert(sign), outside)
    kept = invert(both(sign, outside) if target.signed else sign)
    clamped = [either(high, both(kept, bit)) for bit in bits]
    return [*clamped, sign] if target.signed else clamped
