"""The adder tree against multiply-accumulates of one product, against published practice, and its faults."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.bits import LayerBits
from hwsim.cost.synthesis import synthesize
from hwsim.datapath import multiply_accumulate
from hwsim.datapath.adder_tree import AdderTree
from hwsim.datapath.mac import Mac
from hwsim.errors import HwsimError
from hwsim.formats import Int, Overflow
from hwsim.simulate.circuit import run
from hwsim.steps.cost import make_datapath


@given(st.integers(2, 5), st.booleans(), st.integers(0, 2**32))
def test_a_wrapping_tree_sums_what_a_mac_sums_one_product_after_the_other(products, signed, seed):
    tree = AdderTree(Int(4), Int(3, signed), Int(9), products)
    rng = np.random.default_rng(seed)
    values = {name: form.decode(rng.integers(0, 1 << form.bits, 7)) for name, form in tree.inputs.items()}
    one = {
        name: np.stack([values[f"{name}{k}"] for k in range(products)], axis=1).ravel()
        for name in ("activation", "weight")
    }
    sums = run(Mac(Int(4), Int(3, signed), Int(9)), one)["accumulator"][products - 1 :: products]
    np.testing.assert_array_equal(run(tree, values)["accumulator"], sums)


def test_a_saturating_tree_saturates_once_a_cycle():
    # 3 * 100 - 2 * 100 = 100 in one cycle; product by product 127 is reached on the way and -73 left.
    tree = AdderTree(Int(8), Int(8), Int(8), 5, Overflow.SATURATE)
    values = {f"activation{k}": np.array([100, 100]) for k in range(5)}
    values |= {f"weight{k}": np.array([1 if k < 3 else -1, 1]) for k in range(5)}
    assert run(tree, values)["accumulator"].tolist() == [100, 127]


@pytest.mark.parametrize(
    ("weight", "activation", "products", "full_library"),
    [(8, 8, 4, 2592.7), (4, 4, 4, 957.7), (4, 8, 4, 1508.7), (4, 4, 8, 1567.3)],
)
def test_one_reduction_is_smaller_than_multipliers_with_a_tree_behind_them(
    weight, activation, products, full_library
):
    """NAND2 equivalents of Baugh-Wooley multipliers and a tree of adders, Yosys 0.70 and the whole Nangate library.

    The small library here reads within a tenth of the whole one.
    """
    cost = synthesize(AdderTree(Int(weight), Int(activation), Int(32), products))
    assert cost.equivalent
    assert 0.85 * full_library < cost.nand2_equivalents < 0.95 * full_library
    alone = synthesize(Mac(Int(weight), Int(activation), Int(32))).nand2_equivalents
    assert cost.nand2_equivalents < products * alone


def test_a_tree_is_made_from_text():
    tree = make_datapath("adder_tree", weight="int4", activation="uint8", accumulator="int24", products="9")
    assert tree == AdderTree(Int(4), Int(8, signed=False), Int(24), 9)


def test_what_an_adder_tree_does_not_have_is_refused():
    for products in (1, 65):
        with pytest.raises(HwsimError, match=f"sums 2 to 64 products, not {products}"):
            AdderTree(Int(8), Int(8), Int(32), products)
    with pytest.raises(HwsimError, match="weight int9 is out of range"):
        AdderTree(Int(9), Int(8), Int(32))
    with pytest.raises(HwsimError, match="cannot saturate as a network does; use wrap"):
        multiply_accumulate(LayerBits(Int(8), Int(8), Int(32), Overflow.SATURATE), "adder_tree")
    with pytest.raises(HwsimError, match=r"has the ports activation0, .* say their schedule"):
        multiply_accumulate(LayerBits(Int(8), Int(8), Int(32)), "output_stationary_array")
