"""ACIQ's constants and thresholds, against published values and against direct minimisation."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from scipy.special import erf
from scipy.stats import norm

from hwsim.errors import HwsimError
from hwsim.formats import Int, PowerOfTwo
from hwsim.quantize.aciq import gauss_constant, gauss_threshold, laplace_constant, laplace_threshold
from hwsim.quantize.statistics import Statistics, row_statistics

# optimal_alpha.ipynb of the authors' AnalyticalScaleForIntegerQuantization, to its precision of 1e-5 recomputed.
LAPLACE = (
    1.04990889, 1.86281686, 2.83068299, 3.89722946, 5.02864014, 6.20476633, 7.41312621, 8.64561998, 9.89675977,
    11.16268502,
)  # fmt: skip
GAUSS = (
    0.76577507, 1.23990527, 1.71063517, 2.15159274, 2.55913646, 2.93620061, 3.28691422, 3.61511422, 3.92403549,
    4.21632983,
)  # fmt: skip


@pytest.mark.parametrize("bits", range(10))
def test_constants_equal_the_authors_tables(bits: int) -> None:
    assert laplace_constant(bits) == pytest.approx(LAPLACE[bits], abs=1e-6)
    assert gauss_constant(bits) == pytest.approx(GAUSS[bits], abs=1e-6)


def test_three_bits_are_3_897_and_not_the_3_86_of_the_authors_readme() -> None:
    assert round(laplace_constant(3), 3) == 3.897


@pytest.mark.parametrize("bits", range(2, 9))
def test_constants_minimise_the_papers_expected_error(bits: int) -> None:
    def laplace(a: float) -> float:
        return float(2 * np.exp(-a) + a * a / (3 * 4**bits))

    def gauss(a: float) -> float:
        density = np.sqrt(2 / np.pi) * a * np.exp(-a * a / 2)
        return float((1 + a * a) * (1 - erf(a / np.sqrt(2))) - density + a * a / (3 * 4**bits))

    for error, constant in ((laplace, laplace_constant(bits)), (gauss, gauss_constant(bits))):
        best = minimize_scalar(error, bounds=(0.1, 20), method="bounded", options={"xatol": 1e-9}).x
        assert constant == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize("bits", range(2, 9))
def test_behind_a_relu_the_constant_minimises_the_half_range_error(bits: int) -> None:
    best = minimize_scalar(
        lambda a: np.exp(-a) + a * a / (24 * 4**bits),
        bounds=(0.1, 20),
        method="bounded",
        options={"xatol": 1e-9},
    ).x
    rectified = _rectified(mean=0.0, deviation=1.0)
    assert laplace_threshold(rectified, Int(bits, signed=False)) == pytest.approx(best, abs=1e-5)


# Max, Quantizing for minimum distortion, IRE Trans. IT-6:7 (1960), table II: optimum uniform quantizers of a
# normal variable; and by how much the exact error at ACIQ's constant exceeds it.
@pytest.mark.parametrize(
    ("bits", "max_1960", "excess"), [(2, 0.1188, 0.0752), (3, 0.03744, 0.0399), (4, 0.01154, 0.0167)]
)
def test_exact_error_at_the_gauss_constant_is_near_max_1960(
    bits: int, max_1960: float, excess: float
) -> None:
    error = _uniform_error(gauss_constant(bits), 2**bits)
    assert error >= max_1960 * (1 - 1e-3)
    assert error / max_1960 - 1 == pytest.approx(excess, abs=2e-3)


def _uniform_error(edge: float, levels: int) -> float:
    """Return the squared error of a standard normal variable in equal bins over [-edge, edge]."""
    bounds = np.linspace(-edge, edge, levels + 1)
    bounds[0], bounds[-1] = -12, 12
    middles = (np.arange(levels) + 0.5) * 2 * edge / levels - edge
    return sum(
        quad(lambda x, middle=middle: (x - middle) ** 2 * norm.pdf(x), low, high)[0]
        for low, high, middle in zip(bounds[:-1], bounds[1:], middles, strict=True)
    )


def _statistics(mean: float, deviation: float, peak: float = 1e9) -> Statistics:
    edge, spread = np.array(peak), np.array(deviation)
    return Statistics(1000, -edge, edge, np.array(mean), spread, spread)


def _rectified(mean: float, deviation: float, peak: float = 1e9) -> Statistics:
    after = replace(_statistics(0.3, 0.2, peak), minimum=np.array(0.0))
    return replace(after, before_relu=_statistics(mean, deviation, peak))


@pytest.mark.parametrize(("mean", "lift"), [(-1.0, 0.0), (0.5, 0.5)])
def test_behind_a_relu_the_range_begins_at_the_mean_if_positive_and_uses_the_relus_input(
    mean: float, lift: float
) -> None:
    threshold = laplace_threshold(_rectified(mean, deviation=2.0), Int(4, signed=False))
    assert threshold == pytest.approx(lift + 2.0 * LAPLACE[5], abs=1e-6)


def test_a_signed_format_behind_a_relu_has_one_bit_of_magnitude_less() -> None:
    rectified = _rectified(0.0, 1.0)
    assert gauss_threshold(rectified, Int(5)) == gauss_threshold(rectified, Int(4, signed=False))


def test_threshold_is_the_magnitude_of_the_mean_and_the_constant_deviation() -> None:
    assert laplace_threshold(_statistics(-0.25, 2.0), Int(4)) == pytest.approx(
        0.25 + 2 * LAPLACE[4], abs=1e-6
    )


@settings(deadline=None)
@given(st.floats(0.01, 100), st.floats(-10, 10), st.floats(0, 10), st.integers(2, 8), st.booleans())
def test_thresholds_never_exceed_the_largest_magnitude(
    peak: float, mean: float, deviation: float, bits: int, signed: bool
) -> None:
    for statistics in (_statistics(mean, deviation, peak), _rectified(mean, deviation, peak)):
        assert 0 <= laplace_threshold(statistics, Int(bits, signed)) <= peak


@settings(deadline=None)
@given(st.integers(-20, 20), st.integers(2, 8))
def test_thresholds_scale_with_the_values(exponent: int, bits: int) -> None:
    rows = np.random.default_rng(bits).laplace(0.1, 1.0, (3, 500))
    for method in (laplace_threshold, gauss_threshold):
        scaled = method(row_statistics(rows * 2.0**exponent), Int(bits))
        np.testing.assert_array_equal(
            scaled, method(row_statistics(rows), Int(bits)) * 2.0**exponent, strict=True
        )


@pytest.mark.parametrize("bits", [4, 6])
def test_clipping_lowers_the_error_of_a_laplace_sample(bits: int) -> None:
    rows = np.random.default_rng(0).laplace(0, 1, (1, 100_000))
    statistics, target = row_statistics(rows), Int(bits)

    def error(threshold: float) -> float:
        scale = threshold / target.maximum
        return float(
            np.square(np.clip(np.rint(rows / scale), -target.maximum, target.maximum) * scale - rows).mean()
        )

    assert error(float(laplace_threshold(statistics, target)[0])) < 0.9 * error(float(statistics.peak[0]))


def test_power_of_two_levels_are_refused() -> None:
    with pytest.raises(HwsimError, match="evenly spaced levels, not for pow2x4; choose min_max"):
        laplace_threshold(_statistics(0, 1), PowerOfTwo(4))
