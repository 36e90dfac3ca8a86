"""Architectures of multipliers: their adders as published, their sizes beside measured ones."""

from collections import Counter

import numpy as np
import pyrtl
import pytest

from hwsim.cost import synthesize
from hwsim.datapath import elaborate
from hwsim.datapath.adders import Term, bits_of, wire_of
from hwsim.datapath.mac import Mac
from hwsim.datapath.multipliers import MULTIPLIERS, by_columns, by_rows, partial_products
from hwsim.formats import Int
from hwsim.simulate.circuit import evaluate


def reduced(size, reduce):
    """How many full and half adders bring the partial products of two unsigned numbers down to two rows."""
    block = pyrtl.Block()
    with pyrtl.set_working_block(block, no_sanity_check=True):
        x, y = (bits_of(pyrtl.Input(size, name)) for name in "xy")
        rows = partial_products(x, False, y, False)
        products = Counter(net.op for net in block.logic)
        reduce(rows, 2 * size)
        gates = Counter(net.op for net in block.logic) - products
    full = gates["|"]
    half = gates["^"] - 2 * full
    assert gates["&"] == 2 * full + half
    return full, half


@pytest.mark.parametrize("size", [4, 8, 16, 32])
def test_daddas_reduction_has_its_published_adders(size):
    # W. J. Townsend, E. E. Swartzlander and J. A. Abraham, "A comparison of Dadda and Wallace multiplier delays",
    # 2003: N^2 - 4N + 3 full adders and N - 1 half adders.
    assert reduced(size, by_columns) == (size * size - 4 * size + 3, size - 1)


def test_wallaces_reduction_of_eight_by_eight_has_its_published_adders():
    # R. S. Waters and E. E. Swartzlander, "A reduced complexity Wallace multiplier reduction", IEEE Transactions on
    # Computers, 2010: 38 full and 15 half adders in the original reduction of 8 by 8 bits.
    assert reduced(8, by_rows) == (38, 15)


def test_wallaces_rows_of_any_number_keep_their_sum():
    block = pyrtl.Block()
    with pyrtl.set_working_block(block, no_sanity_check=True):
        bits = bits_of(pyrtl.Input(10, "x"))
        for rows in range(8):
            partial = [
                [Term(bits[(3 * row + k) % 10], row + k, (row + k) % 3 == 0) for k in range(5)]
                for row in range(rows)
            ]
            for which, half in enumerate(by_rows(partial, 9)):
                pyrtl.Output(9, f"y{rows}_{which}").__ilshift__(wire_of(half or [0] * 9))
    x = np.arange(1024)
    found = evaluate(block, {"x": x})
    for rows in range(8):
        exact = sum(
            (x >> (3 * row + k) % 10 & 1) * (-1 if (row + k) % 3 == 0 else 1) << row + k
            for row in range(rows)
            for k in range(5)
        )
        np.testing.assert_array_equal((found[f"y{rows}_0"] + found[f"y{rows}_1"]) % 512, exact % 512)


def test_booth_makes_half_as_many_rows_and_is_right_where_both_operands_are_most_negative():
    eight = [0] * 8
    assert [len(MULTIPLIERS[name].partial(eight, eight, True)) for name in ("fused", "booth")] == [8, 4]
    for signed, activation in ((True, -128), (False, 255)):
        mac = Mac(Int(8), Int(8, signed), Int(32), multiplier="booth")
        wires = {
            "weight": np.array([128]),
            "activation": np.array([activation & 255]),
            "accumulator": np.array([5]),
        }
        found = evaluate(elaborate(mac, cut_registers=True), wires)["next_accumulator"]
        assert found == (5 - 128 * activation) % (1 << 32)


@pytest.mark.parametrize(("multiplier", "measured"), [("fused", 864), ("booth", 872)])
def test_gates_stand_beside_those_measured_of_the_same_function_elsewhere(multiplier, measured):
    # Yosys 0.70 and a full 45 nm library on structures by others: a merged Dadda 8x8 MAC with 32 bits at 864 NAND2
    # equivalents, and 872 where Yosys itself recodes a signed product (-booth). Mapping alone moves these by 15%.
    cost = synthesize(Mac(Int(8), Int(8), Int(32), multiplier=multiplier))
    assert cost.equivalent
    assert cost.nand2_equivalents == pytest.approx(measured, rel=0.15)
