"""The integer semantics against Python's unbounded integers and fractions."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hwsim.arithmetic import dot, fit, requantize, shift_right
from hwsim.formats import Int, Overflow, Rounding


def accumulate(activations, weights, accumulator, overflow):
    """One sum in Python integers: the value, and whether any addition left the range."""
    total, overflowed = 0, False
    for a, w in zip(activations.tolist(), weights.tolist(), strict=True):
        total += a * w
        overflowed |= not accumulator.minimum <= total <= accumulator.maximum
        if overflow is Overflow.SATURATE:
            total = min(max(total, accumulator.minimum), accumulator.maximum)
        else:
            total = (total - accumulator.minimum) % (1 << accumulator.bits) + accumulator.minimum
    return total, overflowed


@given(
    hnp.arrays(np.int64, (2, 3, 17), elements=st.integers(-128, 255)),
    hnp.arrays(np.int64, (2, 17, 4), elements=st.integers(-128, 127)),
    st.sampled_from([8, 12, 16, 17, 32]),
    st.sampled_from(Overflow),
)
def test_a_dot_product_is_the_step_by_step_sum_of_python_integers(activations, weights, bits, overflow):
    sums = dot(activations, weights, Int(bits), overflow)
    for g, m, n in np.ndindex(2, 3, 4):
        value, overflowed = accumulate(activations[g, m], weights[g, :, n], Int(bits), overflow)
        assert (sums.values[g, m, n], sums.overflowed[g, m, n]) == (value, overflowed)


def test_saturation_depends_on_the_order_and_wrapping_does_not():
    # 64 products whose exact sum is -39221, summed in five orders (Bag of Tricks discussion, INT16).
    rng = np.random.default_rng(3)
    products = rng.integers(-30000, 30000, 64)
    products[-1] += -39221 - products.sum()
    wrapped, saturated = set(), set()
    for _ in range(5):
        order = rng.permutation(products)
        ones = np.ones((1, 64), np.int64)
        wrapped.add(int(dot(ones, order[:, None], Int(16), Overflow.WRAP).values[0, 0]))
        saturated.add(int(dot(ones, order[:, None], Int(16), Overflow.SATURATE).values[0, 0]))
    assert wrapped == {26315}
    assert len(saturated) > 1


# How many products of w and a bits can never leave 16 bits: unsigned activations, signed ones from
# -(2^(a-1) - 1), and signed ones that reach -2^(a-1), which requantization gives them. Weights are restricted
# to +-(2^(w-1) - 1). "w + a <= 14" admits all but the last of these, so it is no proof for most layers.
SAFE_PRODUCTS = [
    (6, 8, 4, 8, 8),
    (7, 7, 4, 8, 8),
    (8, 6, 4, 8, 8),
    (5, 8, 8, 17, 17),
    (4, 8, 18, 36, 36),
    (4, 4, 312, 668, 585),
    (2, 8, 128, 258, 255),
    (8, 8, 1, 2, 2),
]


@pytest.mark.parametrize(
    ("weight_bits", "activation_bits", "unsigned", "restricted", "signed"), SAFE_PRODUCTS
)
def test_the_number_of_products_that_never_overflow_int16(
    weight_bits, activation_bits, unsigned, restricted, signed
):
    weights = np.arange(1 - (1 << (weight_bits - 1)), 1 << (weight_bits - 1))
    ranges = {
        unsigned: np.arange(1 << activation_bits),
        restricted: np.arange(1 - (1 << (activation_bits - 1)), 1 << (activation_bits - 1)),
        signed: np.arange(-(1 << (activation_bits - 1)), 1 << (activation_bits - 1)),
    }
    for products, activations in ranges.items():
        # The most extreme pair of all, repeated: no other choice of operands leaves the range sooner.
        every = np.multiply.outer(activations, weights)
        for extreme in (every.argmin(), every.argmax()):
            a, w = np.unravel_index(extreme, every.shape)
            for count, expected in ((products, False), (products + 1, True)):
                sums = dot(
                    np.full((1, count), activations[a]),
                    np.full((count, 1), weights[w]),
                    Int(16),
                    Overflow.WRAP,
                )
                # 2^15 is in range only below zero, so the positive extreme decides.
                if every.flat[extreme] > 0 or not expected:
                    assert bool(sums.overflowed.any()) is expected


def test_a_sum_beyond_float64_is_refused():
    with pytest.raises(OverflowError):
        dot(np.array([[1 << 40]]), np.array([[1 << 20]]), Int(32), Overflow.WRAP)


@given(st.integers(-(1 << 61), 1 << 61), st.integers(0, 62), st.sampled_from(Rounding))
def test_a_right_shift_rounds_like_fractions(value, shift, rounding):
    exact = Fraction(value, 1 << shift)
    expected = {
        Rounding.FLOOR: floor(exact),
        Rounding.HALF_UP: floor(exact + Fraction(1, 2)),
        Rounding.HALF_EVEN: round(exact),
    }[rounding]
    assert int(shift_right(np.array(value), shift, rounding)) == expected


@given(
    st.integers(-(1 << 31), (1 << 31) - 1),
    st.integers(0, 65535),
    st.integers(-(1 << 47), (1 << 47) - 1),
    st.integers(0, 62),
)
def test_requantization_rounds_once_and_clamps(accumulator, multiplier, bias, shift):
    exact = Fraction(accumulator * multiplier + bias, 1 << shift)
    expected = min(max(floor(exact + Fraction(1, 2)), 0), 255)
    arrays = (np.array(x) for x in (accumulator, multiplier, bias, shift))
    assert int(requantize(*arrays, Rounding.HALF_UP, Int(8, signed=False))) == expected


@given(st.integers(-(1 << 40), 1 << 40), st.integers(2, 40))
def test_wrapping_is_congruent_and_saturating_is_nearest(value, bits):
    form = Int(bits)
    wrapped = int(fit(np.array(value), form, Overflow.WRAP))
    assert form.minimum <= wrapped <= form.maximum and (wrapped - value) % (1 << bits) == 0
    assert int(fit(np.array(value), form, Overflow.SATURATE)) == min(max(value, form.minimum), form.maximum)
