"""Proofs by decision diagrams over what two netlists share: never of two that differ, and of the adders they are for."""

import random

import numpy as np
import pytest

from hwsim.datapath import describe
from hwsim.datapath.apot_mac import ApotMac
from hwsim.datapath.mac import Mac
from hwsim.datapath.shift_mac import ShiftMac
from hwsim.formats import AdditivePowersOfTwo, Int, Overflow, PowerOfTwo
from hwsim.simulate.lanes import reduce
from hwsim.simulate.lanes.alike import Diagrams, alike
from hwsim.simulate.lanes.form import Form
from hwsim.simulate.lanes.proof import prove
from test_check import Changed, flip
from test_lanes_reduction import accumulate, operands

INPUTS = 6
UINT4 = Int(4, signed=False)


def random_form(source, gates):
    """A form of one-bit gates over six inputs; each operation as often as the others."""
    form = Form()
    places = [form.input("x", 1, k) for k in range(INPUTS)]
    for _ in range(gates):
        op = source.choice(["both", "either", "differ", "invert", "select"])
        count = {"invert": 1, "select": 3}.get(op, 2)
        places.append(getattr(form, op)(*source.choices(places[-12:], k=count)))
    return form, places


def truth_table(form, root):
    """The values of a gate in all 64 cases, computed gate by gate."""
    ones, table = (1 << (1 << INPUTS)) - 1, {}
    for number, node in enumerate(form.nodes):
        args = [table[arg] for arg in node.args]
        table[number] = {
            "constant": lambda node=node: ones * int(node.param[0]),
            "input": lambda node=node: sum(
                1 << row for row in range(1 << INPUTS) if row >> int(node.param[1]) & 1
            ),
            "invert": lambda a=args: a[0] ^ ones,
            "and": lambda a=args: a[0] & a[1],
            "or": lambda a=args: a[0] | a[1],
            "xor": lambda a=args: a[0] ^ a[1],
            "select": lambda a=args: a[2] ^ (a[0] & (a[1] ^ a[2])),
        }[node.op]()
    return table[root]


@pytest.mark.parametrize("seed", range(40))
def test_only_equal_functions_are_proved_equal(seed):
    """Pairs of gates of one random form, most of which share much: whatever is proved has one truth table."""
    source = random.Random(seed)
    form, places = random_form(source, 60)
    for _ in range(60):
        left, right = source.choices(places, k=2)
        if alike(form, [left], [right]):
            assert truth_table(form, left) == truth_table(form, right)


def test_sums_written_in_two_ways_are_proved_equal_and_a_fault_in_one_is_not():
    form = Form()
    a, b = ([form.input(name, 1, k) for k in range(12)] for name in "ab")
    sums, carry, others, generated = [], form.constant(0, 1), [], []
    for x, y in zip(a, b, strict=True):
        half = form.differ(x, y)
        sums.append(form.differ(half, carry))
        carry = form.either(form.both(x, y), form.both(half, carry))
    for k in range(12):  # each carry on its own, from the one place that generates it
        terms = form.constant(0, 1)
        for j in range(k):
            through = form.both(a[j], b[j])
            for m in range(j + 1, k):
                through = form.both(through, form.either(a[m], b[m]))
            terms = form.either(terms, through)
        generated.append(terms)
        others.append(form.differ(form.differ(a[k], b[k]), terms))
    assert alike(form, sums, others) and alike(form, others, sums)
    for k in range(1, 12):
        wrong = [*others[:k], form.differ(others[k], form.both(generated[k], a[k])), *others[k + 1 :]]
        assert not alike(form, sums, wrong)


def test_what_only_one_side_reads_is_free():
    form = Form()
    a, b = form.input("a", 1), form.register("b", 1)
    assert not alike(form, [a], [b]) and not alike(form, [form.both(a, b)], [a])
    assert alike(form, [form.select(b, a, a), form.constant(1, 1)], [a, form.constant(1, 1)])


def test_diagrams_are_canonical():
    made = Diagrams()
    a, b, c = map(made.variable, range(3))
    parity = made.gate("xor", [made.gate("xor", [a, b]), c])
    assert parity == made.gate("xor", [a, made.gate("xor", [c, b])])
    assert made.gate("invert", [made.gate("and", [a, b])]) == made.gate(
        "or", [made.gate("invert", [b]), made.gate("invert", [a])]
    )
    assert made.gate("select", [a, b, b]) == b and made.gate("and", [a, made.gate("invert", [a])]) == 0
    assert made.gate("or", [parity, made.gate("invert", [parity])]) == 1


def test_diagrams_that_grow_too_large_are_no_proof():
    form = Form()
    a, b = ([form.input(name, 1, k) for k in range(8)] for name in "ab")
    left = right = form.constant(0, 1)
    for x, y in zip(a, b, strict=True):
        left = form.either(left, form.both(x, y))
    for x, y in zip(reversed(a), reversed(b), strict=True):
        right = form.either(form.both(x, y), right)
    assert alike(form, [left], [right]) and not alike(form, [left], [right], limit=10)


TREES = [
    Mac(Int(4), UINT4, Int(32), Overflow.WRAP, "fused", "kogge_stone"),
    Mac(Int(4), UINT4, Int(32), Overflow.SATURATE, "booth", "kogge_stone", 2),
    Mac(Int(4), Int(4), Int(32), Overflow.SATURATE, "wallace", "kogge_stone"),
    ShiftMac(PowerOfTwo(3), UINT4, Int(32), Overflow.SATURATE, "kogge_stone"),
    ApotMac(AdditivePowersOfTwo(4), UINT4, Int(32), Overflow.WRAP, "kogge_stone"),
]


@pytest.mark.parametrize("datapath", TREES, ids=describe)
def test_adders_of_trees_into_wide_accumulators_run_as_arithmetic(datapath):
    found = prove(datapath)
    assert found is not None and found.meaning == prove(datapath.plain).meaning
    assert found.method.startswith(
        "equal by decision diagrams to the same with a plain adder; of that step run "
    )
    a, w = operands(datapath, 9, 40, 7)
    made = reduce(datapath, a, w)
    np.testing.assert_array_equal(made.values, accumulate(datapath, a, w)[0])
    assert made.step.startswith("proved arithmetic")


def test_a_fault_planted_in_such_an_adder_is_run_not_proved_away():
    datapath = TREES[0]
    for index in (3, 11, 17, 23, 31):
        assert prove(Changed(datapath, flip(index))) is None
