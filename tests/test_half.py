"""Half precision against numpy.float16 and fractions; its circuits at the places where floating point goes wrong."""

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.datapath import elaborate
from hwsim.datapath.from_half import FromHalf
from hwsim.datapath.half_add import HalfAdd
from hwsim.datapath.to_half import ToHalf
from hwsim.errors import HwsimError
from hwsim.formats import HALF, Half, Int, Rounding, parse_tensor_format
from hwsim.half import add_halves, from_half, to_half
from hwsim.simulate.circuit import evaluate

# Zeros, the smallest and largest subnormals and normals, ones, their neighbours, infinities, NaN; and the negatives.
CORNERS = [0, 1, 2, 0x3FE, 0x3FF, 0x400, 0x401, 0x7FF, 0x800, 0x3BFF, 0x3C00, 0x3C01]
CORNERS += [0x4C00, 0x6800, 0x7BFE, 0x7BFF, 0x7C00, 0x7C01, 0x7E00, 0x7FFF]
CORNERS = np.array([sign | code for code, sign in product(CORNERS, (0, 0x8000))])


def floats(patterns):
    return np.asarray(patterns).astype(np.uint16).view(np.float16)


def patterns(values):
    """The patterns of float16 values, every NaN the one that the arithmetic returns."""
    return np.where(np.isnan(values), HALF.nan, values.view(np.uint16).astype(np.int64))


def pairs(count=200_000):
    """Pairs of corners, of any patterns, and of patterns near each other, so that much cancels."""
    rng = np.random.default_rng(0)
    first, second = (grid.ravel() for grid in np.meshgrid(CORNERS, CORNERS))
    a, b = rng.integers(0, 1 << 16, (2, count))
    near = a ^ rng.integers(0, 1 << 13, count) ^ (rng.integers(0, 2, count) << 15)
    return np.concatenate([first, a, a]), np.concatenate([second, b, near])


def test_sums_are_those_of_numpy():
    a, b = pairs()
    with np.errstate(all="ignore"):
        expected = patterns(floats(a) + floats(b))
    np.testing.assert_array_equal(add_halves(a, b, (HALF, HALF), HALF), expected, strict=True)


def test_the_adders_circuit_sums_as_numpy_does():
    a, b = pairs(30_000)
    with np.errstate(all="ignore"):
        expected = patterns(floats(a) + floats(b))
    found = evaluate(elaborate(HalfAdd()), {"first": a, "second": b})["output"]
    np.testing.assert_array_equal(found, expected, strict=True)


def test_integers_are_converted_as_numpy_does():
    rng = np.random.default_rng(1)
    values = rng.integers(-(2**53), 2**53, 200_000) >> rng.integers(0, 53, 200_000)
    shift = rng.integers(0, 64, values.size)
    with np.errstate(over="ignore"):
        expected = patterns(np.ldexp(values.astype(np.float64), -shift).astype(np.float16))
    np.testing.assert_array_equal(to_half(values, shift, HALF), expected, strict=True)


def test_every_half_way_point_between_two_neighbours_goes_to_the_even_one():
    finite = np.arange(HALF.infinity - 1)
    scale = 2.0**25
    middle = (floats(finite).astype(np.float64) + floats(finite + 1).astype(np.float64)) / 2 * scale
    exact = middle.astype(np.int64)
    assert (exact == middle).all()
    np.testing.assert_array_equal(to_half(exact, 25, HALF), finite + (finite & 1), strict=True)
    # Half a step above the largest finite number is infinity; just below it is not.
    edge = (65504 + 16) * (1 << 20)
    assert to_half(np.array([edge, edge - 1]), 20, HALF).tolist() == [HALF.infinity, HALF.infinity - 1]


def near(low, high):
    return st.one_of(st.integers(low, high), st.sampled_from([low, high, 0, 1]))


@given(near(-(1 << 31), (1 << 31) - 1), near(0, 65535), near(-(1 << 47), (1 << 47) - 1), near(0, 63))
def test_an_accumulator_is_rounded_once(accumulator, multiplier, bias, shift):
    names = ("accumulator", "multiplier", "bias", "shift")
    values = dict(zip(names, map(np.array, (accumulator, multiplier, bias, shift)), strict=True))
    found = float(floats(ToHalf(Int(32)).compute(values)["output"][None])[0])
    exact = Fraction(accumulator * multiplier + bias, 2**shift)
    if abs(exact) >= 65520:
        assert found == math.copysign(math.inf, exact)
        return
    # No neighbour is nearer; a tie has the even pattern.
    step = Fraction(2) ** max(math.frexp(abs(found))[1] - 11, -24)
    assert abs(Fraction(found) - exact) <= step / 2
    if abs(Fraction(found) - exact) == step / 2:
        assert Fraction(found) / step % 2 == 0


ROUND = {
    Rounding.FLOOR: math.floor,
    Rounding.HALF_UP: lambda x: math.floor(x + Fraction(1, 2)),
    Rounding.HALF_EVEN: round,
}


@given(st.one_of(st.integers(0, 65535), st.sampled_from(CORNERS.tolist())), near(0, 65535), near(0, 63))
@pytest.mark.parametrize("rounding", Rounding)
def test_a_half_becomes_the_rounded_and_clamped_product(rounding, pattern, multiplier, shift):
    arrays = map(np.array, (multiplier, shift))
    found = int(from_half(np.array(pattern), HALF, *arrays, rounding, Int(8)))
    value = float(floats([pattern])[0])
    if math.isnan(value):
        assert found == 0
    elif math.isinf(value):
        assert found == (127 if value > 0 else -128)
    else:
        exact = ROUND[rounding](Fraction(value) * multiplier / 2**shift)
        assert found == min(max(exact, -128), 127)


def test_the_circuit_from_half_is_right_at_the_corners_of_every_shift():
    grid = np.meshgrid(CORNERS, [0, 1, 1 << 15, 65535], np.arange(64), indexing="ij")
    pattern, multiplier, shift = (axis.ravel() for axis in grid)
    datapath = FromHalf(HALF, Int(8))
    values = {"value": pattern, "multiplier": multiplier, "shift": shift}
    found = evaluate(elaborate(datapath), values)["output"]
    np.testing.assert_array_equal(Int(8).decode(found), datapath.compute(values)["output"], strict=True)


def test_an_unsigned_result_is_the_relu_of_the_signed_one():
    a, b = pairs(20_000)
    signed = add_halves(a, b, (HALF, HALF), HALF)
    unsigned = add_halves(a, b, (HALF, HALF), Half(signed=False))
    expected = np.where(signed >> 15, 0, signed)
    np.testing.assert_array_equal(unsigned, expected, strict=True)


@pytest.mark.parametrize("text", ["fp16", "ufp16", "e3m2", "ue4m3", "int8", "uint4"])
def test_a_tensors_format_is_its_text(text):
    assert str(parse_tensor_format(text)) == text


@pytest.mark.parametrize("widths", [(1, 1), (6, 10), (5, 11), (3, 4), (5, 0)])
def test_widths_that_a_float_cannot_have_are_refused(widths):
    with pytest.raises(HwsimError, match="out of range"):
        Half(*widths)


def test_an_adder_of_two_widths_is_refused():
    with pytest.raises(HwsimError, match="differ in their widths"):
        HalfAdd(HALF, Half(3, 2), HALF)
