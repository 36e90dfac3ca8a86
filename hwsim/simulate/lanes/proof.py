"""Proof that a datapath's netlist accumulates: for every register value and operand, one step equals the arithmetic.

Nothing is sampled. Up to 2^33 combinations of accumulator and operands are all run on the netlist, 512 at a time.
A wider accumulator is cut into a low part, at least as wide as the product, and a high part:

1. Every gate that does not depend on the high part is a function of the low part and the operands. All
   combinations of these are run. The gates on the border, those that the rest of the netlist reads, are of two
   kinds: some equal a bit of the low part's sum (checked in every combination), the few others are collected
   together with what the sum carries into the high part (-1, 0 or 1), as the set of all combinations that occur.
2. The rest of the netlist is a function of the high part and the border. It is run for every high part and
   every combination that occurs, and each bit of it must be the arithmetic's bit, for both values of
   the sum's bit at its place.

Together these are every case of the netlist, since a netlist's outputs depend on low part and operands through the
border alone.

Where neither is possible, as with an adder whose carries run in trees, a datapath may name a ``plain`` one of the same sums:
that one is proved, and the two netlists are proved to be equal (:mod:`hwsim.simulate.lanes.alike`).
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product as combinations

from hwsim import cache
from hwsim.datapath.datapath import Datapath, resolver
from hwsim.formats import Overflow
from hwsim.simulate.lanes.alike import alike
from hwsim.simulate.lanes.bits import blasted, reached, source_bit
from hwsim.simulate.lanes.form import SOURCES, Form, Node
from hwsim.simulate.lanes.sliced import ever
from hwsim.simulate.lanes.step import (
    Accumulation,
    Step,
    Sum,
    accumulations,
    arithmetic_step,
    decode_circuit,
    decoded,
    reduction_step,
    substituted,
)

_EXHAUSTIVE_BITS = 33
_BORDER = 4
"""Gates on the border besides bits of the sum."""

_MEASURE = "1"
"""Raise it when proofs are made differently, so that kept ones are not used."""


@dataclass(frozen=True)
class Proof:
    """The arithmetic a netlist was proved to have, and how."""

    meaning: Accumulation
    method: str


def prove(datapath: Datapath) -> Proof | None:
    """Return the accumulation a datapath's netlist is proved to be, or nothing where there is no proof.

    The registers of a pipeline are wires here. A sum that two registers hold is not proved, for it has twice as many
    bits. A proof is kept in the user's cache folder, under the netlist.
    """
    if not accumulations(datapath) or resolver(datapath):
        return None
    step = reduction_step(datapath)
    name = f"{_digest(datapath, step)}.json"
    kept = _recall(datapath, name)
    if kept is not None:
        return kept
    for meaning in accumulations(datapath):
        method = (
            _by_exhaustion(datapath, step, meaning)
            or _by_parts(datapath, step, meaning)
            or _by_plain(datapath, step, meaning)
        )
        if method:
            proof = {"meaning": str(meaning), "method": method}
            cache.remember(json.dumps(proof).encode(), "proofs", name)
            return Proof(meaning, method)
    return None


def _by_plain(datapath: Datapath, step: Step, meaning: Accumulation) -> str | None:
    plain = getattr(datapath, "plain", None)
    if plain in (None, datapath) or meaning not in accumulations(plain):
        return None
    proof, form = prove(plain), Form()
    if proof is None or proof.meaning != meaning:
        return None
    pair = [substituted(one, {}, form)[meaning.accumulator] for one in (step, reduction_step(plain))]
    bits, place = blasted(form, pair)
    if not alike(bits, place[pair[0]], place[pair[1]]):
        return None
    return f"equal by decision diagrams to the same with a plain adder; of that {proof.method}"


def _digest(datapath: Datapath, step: Step) -> str:
    content = [_MEASURE, step.form.nodes, step.next, {k: str(v) for k, v in datapath.inputs.items()}]
    content.append({name: str(register) for name, register in datapath.registers.items()})
    content.append([str(meaning) for meaning in accumulations(datapath)])
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _recall(datapath: Datapath, name: str) -> Proof | None:
    kept = cache.recall("proofs", name)
    if kept is None:
        return None
    proof = json.loads(kept)
    found = [meaning for meaning in accumulations(datapath) if str(meaning) == proof["meaning"]]
    return Proof(found[0], str(proof["method"])) if found else None


def _inputs(datapath: Datapath) -> dict[str, int]:
    return {name: form.bits for name, form in datapath.inputs.items()}


def _both(datapath: Datapath, step: Step, meaning: Accumulation) -> tuple[Form, list[tuple[int, int]]]:
    """Return a form with the next accumulator of the netlist and of the arithmetic, bit by bit, the same sources."""
    form = Form()
    netlist = substituted(step, {}, form)
    values = {
        name: decode_circuit(form, format_, form.input(name, format_.bits))
        for name, format_ in datapath.inputs.items()
    }
    arithmetic = substituted(arithmetic_step(datapath, meaning), values, form)
    pair = netlist[meaning.accumulator], arithmetic[meaning.accumulator]
    bits, place = blasted(form, pair)
    return bits, list(zip(place[pair[0]], place[pair[1]], strict=True))


def _sources(form: Form, datapath: Datapath, meaning: Accumulation) -> tuple[list[int], list[int]]:
    """Return the bits of the operands and of the accumulator."""
    operands = [
        source_bit(form, "input", name, 0, k) for name, bits in _inputs(datapath).items() for k in range(bits)
    ]
    size = datapath.registers[meaning.accumulator].format.bits
    return operands, [source_bit(form, "register", meaning.accumulator, 0, k) for k in range(size)]


def _by_exhaustion(datapath: Datapath, step: Step, meaning: Accumulation) -> str | None:
    form, pairs = _both(datapath, step, meaning)
    operands, accumulator = _sources(form, datapath, meaning)
    wrong = _any(form, [form.differ(a, b) for a, b in pairs])
    if _refuted(form, wrong):
        return None
    count = len(operands) + len(accumulator)
    if count > _EXHAUSTIVE_BITS or ever(form, [wrong], [*operands, *accumulator])[0]:
        return None
    return f"step run for all 2^{count} accumulators and operands"


def _any(form: Form, bits: Sequence[int]) -> int:
    total = form.constant(0, 1)
    for bit in bits:
        total = form.either(total, bit)
    return total


def _refuted(form: Form, wrong: int) -> bool:
    """Return whether a few thousand random cases show a difference already."""
    return bool(_simulated(form, [wrong], 1 << 12)[wrong])


def _simulated(form: Form, roots: Sequence[int], count: int) -> dict[int, int]:
    """Return every node's values in random cases, one a bit of an integer."""
    rng, ones = random.Random(0), (1 << count) - 1  # noqa: S311
    value: dict[int, int] = {}
    for number in sorted(reached(form, roots)):
        node = form.nodes[number]
        value[number] = _simulate(node, [value[arg] for arg in node.args], rng, count, ones)
    return value


def _simulate(node: Node, args: Sequence[int], rng: random.Random, count: int, ones: int) -> int:
    match node.op:
        case "constant":
            return ones * int(node.param[0])
        case "and":
            return args[0] & args[1]
        case "or":
            return args[0] | args[1]
        case "xor":
            return args[0] ^ args[1]
        case "invert":
            return args[0] ^ ones
        case "select":
            return args[2] ^ (args[0] & (args[1] ^ args[2]))
    return rng.getrandbits(count)


# By parts


def _by_parts(datapath: Datapath, step: Step, meaning: Accumulation) -> str | None:
    left, right = (decoded(datapath.inputs[port]) for port in (meaning.left, meaning.right))
    register = datapath.registers[meaning.accumulator].format
    total = Sum(Form(), left, right, register)
    for low in range(total.bits, total.bits + 3):
        count = low + sum(_inputs(datapath).values())
        if low >= register.bits or max(count, register.bits - low + _BORDER + 3) > _EXHAUSTIVE_BITS:
            return None
        if _prove_at(datapath, step, meaning, low):
            return f"step run for all 2^{count} low parts and operands, and for all high parts"
    return None


@dataclass(frozen=True)
class _Cut:
    """A netlist's bits cut below its high part: the border's gates that are bits of the sum, and the others."""

    sums: Mapping[int, tuple[int, bool]]
    """For a border gate, which bit of the sum it is and whether it is that bit's complement."""
    others: tuple[int, ...]


def _prove_at(datapath: Datapath, step: Step, meaning: Accumulation, low: int) -> bool:
    next_node = step.next[meaning.accumulator]
    form, place = blasted(step.form, [next_node])
    outputs = place[next_node]
    operands, accumulator = _sources(form, datapath, meaning)
    high = set(accumulator[low:])
    total, carries = _low_sum(form, datapath, meaning, low)
    border = _border(form, outputs, high)
    cut = _match(form, border, total)
    if len(cut.others) > _BORDER:
        return False
    occurring = _run_low(form, cut, total, carries, [*operands, *accumulator[:low]])
    return occurring is not None and _run_high(form, outputs, cut, occurring, meaning, accumulator, low)


def _low_sum(
    form: Form, datapath: Datapath, meaning: Accumulation, low: int
) -> tuple[list[int], tuple[int, int]]:
    """Return the bits of (low part + product) modulo 2^low, and whether it carries 1 and whether -1."""
    words = Form()
    values = []
    for port in (meaning.left, meaning.right):
        format_ = datapath.inputs[port]
        value = decode_circuit(words, format_, words.input(port, format_.bits))
        signed = decoded(format_).signed
        values.append(words.sign_extend(value, low + 2) if signed else words.zero_extend(value, low + 2))
    part = words.zero_extend(words.register(meaning.accumulator, low), low + 2)
    result = words.add(part, words.multiply(*values))
    bits, place = blasted(words, [result])
    joined: dict[int, int] = {}
    for number, node in enumerate(bits.nodes):
        joined[number] = form.import_node(node, [joined[arg] for arg in node.args])
    *total, carry, sign = [joined[bit] for bit in place[result]]
    # low + product lies in -2^low to 2^(low+1) - 1: the two upper bits are 00, 01 or 11.
    return total, (form.both(carry, form.invert(sign)), sign)


def _border(form: Form, outputs: Sequence[int], high: set[int]) -> list[int]:
    """Return the gates that do not depend on the high part, and are outputs or read by gates that do."""
    depends: set[int] = set()
    border: dict[int, None] = {}
    for number in sorted(reached(form, outputs)):
        node = form.nodes[number]
        if number in high or any(arg in depends for arg in node.args):
            depends.add(number)
            border.update(dict.fromkeys(arg for arg in node.args if arg not in depends))
    border.update(dict.fromkeys(output for output in outputs if output not in depends))
    return [number for number in border if form.nodes[number].op != "constant"]


def _match(form: Form, border: Sequence[int], total: Sequence[int]) -> _Cut:
    """Sort the border by what random cases suggest; what is suggested is checked by :func:`_run_low`."""
    count = 1 << 10
    value = _simulated(form, [*border, *total], count)
    ones = (1 << count) - 1
    places = {value[bit]: k for k, bit in enumerate(total)}
    sums = {}
    for gate in border:
        if value[gate] in places:
            sums[gate] = (places[value[gate]], False)
        elif value[gate] ^ ones in places:
            sums[gate] = (places[value[gate] ^ ones], True)
    return _Cut(sums, tuple(gate for gate in border if gate not in sums))


def _run_low(
    form: Form, cut: _Cut, total: Sequence[int], carries: tuple[int, int], inputs: Sequence[int]
) -> set[tuple[int, ...]] | None:
    """Return which values of the other gates and the carries occur together, or nothing where a match is wrong."""
    wrong = [form.differ(gate, total[place]) for gate, (place, odd) in cut.sums.items() if not odd]
    wrong += [form.invert(form.differ(gate, total[place])) for gate, (place, odd) in cut.sums.items() if odd]
    signals = (*cut.others, *carries)
    cases = list(combinations((0, 1), repeat=len(signals)))
    indicators = [_all(form, signals, case) for case in cases]
    failed, *occur = ever(form, [_any(form, wrong), *indicators], inputs)
    return None if failed else {case for case, found in zip(cases, occur, strict=True) if found}


def _all(form: Form, signals: Sequence[int], case: Sequence[int]) -> int:
    """Return whether every signal has its value of a case."""
    result = form.constant(1, 1)
    for signal, value in zip(signals, case, strict=True):
        result = form.both(result, signal if value else form.invert(signal))
    return result


def _run_high(
    form: Form,
    outputs: Sequence[int],
    cut: _Cut,
    occurring: set[tuple[int, ...]],
    meaning: Accumulation,
    accumulator: Sequence[int],
    low: int,
) -> bool:
    """Run the netlist above the border for every high part, every case that occurs, and both values of a sum bit.

    An output may depend on the sum bit of its own place only: then one bit can stand for the sum bits of all places.
    """
    upper, where = Form(), dict[int, int]()
    size = len(accumulator)
    part = [source_bit(upper, "register", meaning.accumulator, 0, k) for k in range(low, size)]
    where.update(zip(accumulator[low:], part, strict=True))
    bit = upper.input("sum", 1)
    signals = [upper.input("border", 1, k) for k in range(len(cut.others) + 2)]
    where.update(zip(cut.others, signals, strict=False))
    where.update({gate: upper.invert(bit) if odd else bit for gate, (_, odd) in cut.sums.items()})
    if not _places_agree(form, outputs, cut, low):
        return False
    _import(form, upper, where, outputs)
    expected = _expected(upper, part, signals[-2], signals[-1], bit, low, meaning.overflow)
    wrong = _any(
        upper, [upper.differ(where[found], wanted) for found, wanted in zip(outputs, expected, strict=True)]
    )
    possible = _any(upper, [_all(upper, signals, case) for case in occurring])
    return not ever(upper, [upper.both(wrong, possible)], [bit, *signals, *part])[0]


def _places_agree(form: Form, outputs: Sequence[int], cut: _Cut, low: int) -> bool:
    """Return whether output k reads no sum bit but that of place k, and none above the low part."""
    for place, output in enumerate(outputs):
        read, waiting = set[int](), [output]
        while waiting:
            gate = waiting.pop()
            if gate in cut.sums:
                read.add(cut.sums[gate][0])
            elif gate not in cut.others:
                waiting.extend(form.nodes[gate].args)
        if not read <= ({place} if place < low else set()):
            return False
    return True


def _import(form: Form, upper: Form, where: dict[int, int], outputs: Sequence[int]) -> None:
    """Rebuild in another form what lies above the border; ``where`` holds the border and the high part."""
    waiting = list(outputs)
    needed: set[int] = set()
    while waiting:
        gate = waiting.pop()
        if gate not in where and gate not in needed:
            needed.add(gate)
            waiting.extend(form.nodes[gate].args)
    for gate in sorted(needed):
        node = form.nodes[gate]
        assert node.op == "constant" or node.op not in SOURCES, "a source below the border is on the border"
        where[gate] = upper.import_node(node, [where[arg] for arg in node.args])


def _expected(
    form: Form, part: Sequence[int], one: int, minus: int, bit: int, low: int, overflow: Overflow
) -> list[int]:
    """Return the arithmetic's next accumulator from its high part, what is carried in, and one bit of the sum."""
    carry = [form.either(one, minus), *[minus] * len(part)]
    total: list[int] = []
    carried = form.constant(0, 1)
    for x, y in zip([*part, part[-1]], carry, strict=True):
        half = form.differ(x, y)
        total.append(form.differ(half, carried))
        carried = form.either(form.both(x, y), form.both(half, carried))
    *upper, sign = total
    if overflow is Overflow.WRAP:
        return [bit] * low + upper
    outside = form.differ(sign, upper[-1])
    clamped = [form.select(outside, form.invert(sign), value) for value in [bit] * low + upper[:-1]]
    return [*clamped, sign]
