"""The decomposable multiply-accumulate against the circuits it takes the place of, and published areas."""

import numpy as np
import pytest

from hwsim.cost.synthesis import synthesize
from hwsim.datapath.adder_tree import AdderTree
from hwsim.datapath.decomposable_mac import WIDTHS, DecomposableMac
from hwsim.datapath.mac import Mac
from hwsim.errors import HwsimError
from hwsim.formats import Int, Overflow
from hwsim.simulate.circuit import run

CYCLES = 300


def operands(bits, signed, seed=0):
    """Operands of every product of a mode [products, cycles] and the words that hold them, noise above."""
    rng = np.random.default_rng(seed)
    count, used = (8 // bits) ** 2, bits * (8 // bits) ** 2
    values, words = {}, {}
    for name, form in (("activation", Int(bits, signed)), ("weight", Int(bits))):
        codes = rng.integers(0, 1 << bits, (count, CYCLES))
        places = np.arange(count)[:, None] * bits
        values[name] = form.decode(codes)
        words[name] = (codes << places).sum(axis=0) | rng.integers(0, 1 << 32 - used, CYCLES) << used
    return values, words


@pytest.mark.parametrize("overflow", Overflow)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("mode", "bits"), [(0, 8), (1, 4), (2, 2)])
def test_each_mode_accumulates_what_circuits_of_its_width_do(mode, bits, signed, overflow):
    values, words = operands(bits, signed)
    form = Int(bits, signed)
    if bits == 8:
        alone = Mac(Int(8), form, Int(17), overflow)
        separate = {name: value[0] for name, value in values.items()}
    else:
        alone = AdderTree(Int(bits), form, Int(17), len(values["weight"]), overflow)
        separate = {f"{name}{k}": row for name, value in values.items() for k, row in enumerate(value)}
    found = run(DecomposableMac(Int(8, signed), Int(17), overflow), {**words, "mode": np.full(CYCLES, mode)})
    np.testing.assert_array_equal(found["accumulator"], run(alone, separate)["accumulator"], strict=True)


def test_the_mode_may_change_every_cycle():
    mac = DecomposableMac(Int(8), Int(32))
    words, expected = {"activation": [], "weight": [], "mode": []}, []
    for cycle in range(60):
        mode = cycle % 3
        values, taken = operands(WIDTHS[mode], True, seed=cycle)
        for name in taken:
            words[name].append(taken[name][0])
        words["mode"].append(mode)
        expected.append((values["activation"] * values["weight"])[:, 0].sum())
    found = run(mac, {name: np.array(column) for name, column in words.items()})
    np.testing.assert_array_equal(found["accumulator"], np.cumsum(expected))


def test_the_fusion_unit_stands_beside_the_published_one():
    """Sharma et al., Bit Fusion, ISCA 2018, RTL synthesis at 45 nm: the unit 1733 um2, their 8-bit MAC 687.6, 2.52 times.

    Theirs keeps a sign bit in each of the sixteen multipliers and has 8x4, 8x2 and 4x2 besides; this one has the three
    square modes and one constant a mode for the signs, and is smaller by a quarter.
    """
    unit, alone = synthesize(DecomposableMac(Int(8), Int(32))), synthesize(Mac(Int(8), Int(8), Int(32)))
    assert unit.equivalent and unit.flip_flops == 32
    assert unit.area_um2 < 1733
    assert 1.6 < unit.area_um2 / alone.area_um2 < 1733 / 687.6
    # Sixteen circuits of their own for 2x2 products would be twice as large, four for 4x4 products smaller.
    quarters, sixteenths = (synthesize(Mac(Int(bits), Int(bits), Int(16))).area_um2 for bits in (4, 2))
    assert 4 * quarters < unit.area_um2 < 16 * sixteenths / 2


def test_what_cannot_be_split_is_refused():
    with pytest.raises(HwsimError, match="activation int4 is out of range; give int8 or uint8"):
        DecomposableMac(Int(4), Int(32))
    with pytest.raises(HwsimError, match="accumulator int33 is out of range"):
        DecomposableMac(Int(8), Int(33))
