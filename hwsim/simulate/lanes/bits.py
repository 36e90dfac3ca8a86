"""Forms of single bits: every operation as gates, for 512 lanes in one vector of machine words.

The bits of an input or a register are inputs or registers of their own, numbered from its least significant bit.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

from hwsim.errors import HwsimError
from hwsim.simulate.lanes.form import METHODS, WORD, Form, Node

Bits = list[int]


def blasted(form: Form, roots: Iterable[int]) -> tuple[Form, dict[int, Bits]]:
    """Return a form of single bits, and the bits of each root in it, the least significant first."""
    roots = list(roots)
    needed = set(reached(form, roots))
    result = Form()
    bits: dict[int, Bits] = {}
    for number, node in enumerate(form.nodes):
        if number in needed:
            bits[number] = _bits(result, node, [bits[arg] for arg in node.args])
    return result, {root: bits[root] for root in roots}


def reached(form: Form, roots: Iterable[int]) -> list[int]:
    """Return all that the roots depend on and themselves, arguments first.

    One root after the other, and each argument right before what reads it where that is possible: few values
    wait for their readers at any time, so few leave the registers.
    """
    found: dict[int, None] = {}
    waiting = [(root, False) for root in reversed(list(roots))]
    while waiting:
        node, ready = waiting.pop()
        if ready:
            found.setdefault(node)
        elif node not in found:
            waiting.append((node, True))
            waiting.extend((arg, False) for arg in reversed(form.nodes[node].args) if arg not in found)
    return list(found)


def source_bit(form: Form, op: str, name: str, part: int, bit: int) -> int:
    """Return one bit of a source."""
    make = form.input if op == "input" else form.register
    return make(name, 1, WORD * part + bit)


def _bits(form: Form, node: Node, args: list[Bits]) -> Bits:
    width = node.width
    match node.op:
        case "constant":
            return [form.constant(int(node.param[0]) >> k, 1) for k in range(width)]
        case "input" | "register":
            return [
                source_bit(form, node.op, str(node.param[0]), int(node.param[1]), k) for k in range(width)
            ]
        case "invert":
            return [form.invert(bit) for bit in args[0]]
        case "and" | "or" | "xor":
            gate = getattr(form, METHODS[node.op])
            return [gate(a, b) for a, b in zip(*args, strict=True)]
        case "select":
            (condition,), one, zero = args
            return [form.select(condition, a, b) for a, b in zip(one, zero, strict=True)]
        case "add":
            return _sum(form, args[0], args[1], form.constant(0, 1))[:width]
        case "sub":
            return _difference(form, args[0], args[1])[:width]
        case "mul":
            return _product(form, args[0], args[1], width)
        case "saturate":
            return _saturated(form, args[0], args[1])
        case "equal":
            return [reduce(form.both, (form.invert(form.differ(a, b)) for a, b in zip(*args, strict=True)))]
        case "less":
            return [form.invert(_difference(form, args[0], args[1])[-1])]
        case "signed_less":
            return [form.invert(_difference(form, _flipped(form, args[0]), _flipped(form, args[1]))[-1])]
        case "zext":
            return args[0] + [form.constant(0, 1)] * (width - len(args[0]))
        case "sext":
            return args[0] + args[0][-1:] * (width - len(args[0]))
        case "slice":
            return args[0][int(node.param[0]) :][:width]
        case "concat":
            return [bit for arg in args for bit in arg]
    raise HwsimError(f"a memory cannot be run bit by bit ({node.param}); run the block in words")


def _sum(form: Form, a: Bits, b: Bits, carry: int) -> Bits:
    """Return a + b + carry, one bit longer."""
    total = []
    for x, y in zip(a, b, strict=True):
        half = form.differ(x, y)
        total.append(form.differ(half, carry))
        carry = form.either(form.both(x, y), form.both(half, carry))
    return [*total, carry]


def _difference(form: Form, a: Bits, b: Bits) -> Bits:
    """Return a - b and, above it, whether nothing was borrowed."""
    return _sum(form, a, [form.invert(bit) for bit in b], form.constant(1, 1))


def _flipped(form: Form, a: Bits) -> Bits:
    return [*a[:-1], form.invert(a[-1])]


def _product(form: Form, a: Bits, b: Bits, width: int) -> Bits:
    """Return a * b modulo 2^width, row by row; a repeated sign bit is taken once, as what it subtracts."""
    zero = form.constant(0, 1)
    a, b = sorted((a, b), key=lambda bits: len(set(bits)))
    total = [zero] * width
    for k, bit in enumerate(a[: len(a) - _repeated(a)]):
        row = [zero] * k + [form.both(bit, other) for other in b[: width - k]]
        total = _sum(form, total, row, zero)[:width]
    if _repeated(a):
        # Copies of the sign from place s up are worth -2^s modulo 2^width.
        place = len(a) - _repeated(a)
        row = [zero] * place + [form.both(a[-1], other) for other in b[: width - place]]
        total = _difference(form, total, row)[:width]
    return total


def _repeated(bits: Bits) -> int:
    """Return how many bits at the top are the same, if more than one."""
    count = 1
    while count < len(bits) and bits[-1 - count] == bits[-1]:
        count += 1
    return count if count > 1 else 0


def _saturated(form: Form, a: Bits, b: Bits) -> Bits:
    exact = _sum(form, [*a, a[-1]], [*b, b[-1]], form.constant(0, 1))[:-1]
    sign, outside = exact[-1], form.differ(exact[-1], exact[-2])
    clamped = [form.select(outside, form.invert(sign), bit) for bit in exact[:-2]]
    return [*clamped, sign]
