"""Dot products with constant weights: the fewest digits, every sum exact, gates beside measured and published ones."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.cost import synthesize
from hwsim.datapath.constant_dot import ConstantDot, signed_digits
from hwsim.errors import HwsimError
from hwsim.formats import Int
from hwsim.simulate.circuit import run_lanes


@cache
def fewest(number):
    """How few powers of two have a number as their sum or difference: an odd one takes 1 from it or gives it 1."""
    if number < 2:
        return number
    if number % 2 == 0:
        return fewest(number // 2)
    return 1 + min(fewest((number - 1) // 2), fewest((number + 1) // 2))


def test_the_signed_digits_of_a_number_are_its_fewest_and_never_side_by_side():
    for value in range(-(1 << 12), (1 << 12) + 1):
        digits = signed_digits(value)
        assert sum(sign << place for place, sign in digits) == value
        assert len(digits) == fewest(abs(value))
        places = [place for place, _ in digits]
        assert all(upper - lower > 1 for lower, upper in pairwise(places))


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(-(1 << 15), 1 << 15), min_size=1, max_size=20),
    st.integers(2, 8),
    st.booleans(),
    st.sampled_from(["ripple", "kogge_stone"]),
)
def test_any_constants_are_multiplied_and_summed_exactly(weights, bits, signed, adder):
    activation = Int(bits, signed)
    datapath = ConstantDot.of(weights, activation, adder)
    ends = np.array([activation.minimum, activation.maximum])
    x = np.random.default_rng(len(weights)).integers(*ends, (50, len(weights)), endpoint=True)
    # The two extreme sums, which the output is only just wide enough for.
    x[0], x[1] = np.where(np.array(weights) > 0, *ends), np.where(np.array(weights) > 0, *ends[::-1])
    inputs = {f"activation{k}": column[None] for k, column in enumerate(x.T)}
    np.testing.assert_array_equal(run_lanes(datapath, inputs)["output"], x @ np.array(weights))
    form = datapath.outputs["output"]
    half = Int(form.bits - 1) if form.bits > 1 else None
    assert half is None or max(x @ weights) > half.maximum or min(x @ weights) < half.minimum


def gates(draw, activation, count=16):
    """NAND2 equivalents a product of a dot product with drawn weights, mapped for area."""
    cost = synthesize(ConstantDot.of(draw(np.random.default_rng(1), count), activation), mapping="smallest")
    assert cost.equivalent
    return cost.nand2_equivalents / count


@pytest.mark.parametrize("activation", [Int(8), Int(8, signed=False)], ids=str)
def test_powers_of_two_cost_what_was_measured_elsewhere_and_what_focused_quantization_states(activation):
    def draw(rng, count):
        return rng.choice([-1, 1], count) << rng.integers(0, 7, count)

    # 46 to 49 NAND2 equivalents a product, of other generators with Yosys 0.70 for area, 16 products of 8 bits; and
    # 275.2 million gates for the 5.76 million products of a layer of 3-bit shifts, unrolled: 47.8 each (Zhao et al.,
    # "Focused Quantization for Sparse CNNs", NeurIPS 2019, its table of gates, where shifts are wires too).
    assert gates(draw, activation) == pytest.approx(47.8, rel=0.06)


@pytest.mark.parametrize(("bits", "measured", "programmable"), [(8, 150, 504), (4, 73, 253), (2, 31, 129)])
def test_narrow_constants_cost_a_fraction_of_a_multiplier(bits, measured, programmable):
    # The same measurement of 16 uniform weights as signed digits, and of 16 multipliers in their place. Here
    # each part of the range has as many weights.
    def draw(rng, count):
        return (
            rng.permutation(((np.arange(count) + rng.random(count)) * (1 << bits) // count).astype(int))
            - half
        )

    half = 1 << bits - 1
    found = gates(draw, Int(8))
    assert found == pytest.approx(measured, rel=0.25)
    assert found < programmable / 3


@pytest.mark.parametrize(
    ("weights", "activation", "adder", "sentence"),
    [
        ("1,x", Int(8), "ripple", 'weights "1,x" are no list of integers; write weights=3,-5,0,64, say'),
        ("", Int(8), "ripple", 'weights "" are no list of integers'),
        ("1\n,2", Int(8), "ripple", "are no list of integers"),
        (
            "40000",
            Int(8),
            "ripple",
            "1 weights up to 40000 are out of range; give up to 256 from -32768 to 32768",
        ),
        (",".join("1" * 257), Int(8), "ripple", "257 weights up to 1 are out of range"),
        ("1", Int(9), "ripple", "activation int9 is out of range"),
        ("1", Int(8), "fast", 'unknown adder "fast"; known: ripple, kogge_stone'),
    ],
)
def test_a_dot_product_that_cannot_be_is_refused(weights, activation, adder, sentence):
    with pytest.raises(HwsimError) as refused:
        ConstantDot(weights, activation, adder)
    assert sentence in str(refused.value)
