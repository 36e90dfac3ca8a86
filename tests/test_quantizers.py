"""Clipping methods against the exact error of finite quantisers: quadrature, published tables, samples."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import laplace as laplace_distribution
from scipy.stats import norm

from hwsim.errors import HwsimError
from hwsim.formats import AdditivePowersOfTwo, Format, Int, PowerOfTwo
from hwsim.quantize import kl, mse, percentile
from hwsim.quantize.aciq import (
    fitted_threshold,
    gauss_constant,
    gauss_threshold,
    laplace_constant,
    laplace_threshold,
)
from hwsim.quantize.settings import QUANTIZERS, Settings
from hwsim.quantize.statistics import BINS, Statistics, row_statistics
from hwsim.quantize.weights import round_to

NODES, WEIGHTS = np.polynomial.legendre.leggauss(24)
TAIL = np.concatenate([np.arange(0, 12, 0.5), np.arange(12, 61, 4.0)])


def gauss(x):
    return np.exp(-x * x / 2) / np.sqrt(2 * np.pi)


def laplace(x):
    return np.exp(-np.abs(x)) / 2


VARIANCE = {gauss: 1.0, laplace: 2.0}
CONSTANT = {gauss: gauss_constant, laplace: laplace_constant}


def moments(density, bounds):
    """Return the zeroth, first and second moment of each interval, by Gauss-Legendre quadrature."""
    middle, half = (bounds[1:] + bounds[:-1]) / 2, (bounds[1:] - bounds[:-1]) / 2
    x = middle[:, None] + half[:, None] * NODES
    mass = density(x) * WEIGHTS * half[:, None]
    return np.array([(mass * x**power).sum(axis=1) for power in range(3)])


def cells(density, levels):
    """Return the moments of the values nearest to each level."""
    middles = (levels[1:] + levels[:-1]) / 2
    bounds = np.unique(np.concatenate([middles[0] - TAIL, middles, [0.0], middles[-1] + TAIL]))
    owner = np.searchsorted(middles, (bounds[1:] + bounds[:-1]) / 2)
    parts = moments(density, bounds)
    return np.array([np.bincount(owner, part, levels.size) for part in parts])


def error(density, levels):
    """Return the exact squared error of the quantiser with these levels, as a share of the variance."""
    mass, first, second = cells(density, levels)
    return float((second - 2 * levels * first + levels**2 * mass).sum()) / VARIANCE[density]


def midrise(a, bits):
    return (np.arange(2**bits) + 0.5) * 2 * a / 2**bits - a


def affine(a, bits):
    """Levels of the authors' grid over [-a, a]: zero is one of them."""
    return (np.arange(2**bits) - 2 ** (bits - 1)) * 2 * a / (2**bits - 1)


def symmetric(a, bits):
    """Levels of this project's signed integers: 2^bits - 1 of them."""
    top = 2 ** (bits - 1) - 1
    return np.arange(-top, top + 1) * a / top


@cache
def optimum(density, grid, bits):
    found = minimize_scalar(
        lambda a: error(density, grid(a, bits)), bounds=(0.3, 16), method="bounded", options={"xatol": 1e-6}
    )
    return float(found.x), float(found.fun)


@cache
def lloyd_max(density, bits):
    """Return the error of the best quantiser of any levels, by Lloyd's iteration from the uniform one."""
    levels = midrise(optimum(density, midrise, bits)[0], bits)
    for _ in range(4000):
        mass, first, _ = cells(density, levels)
        centroids = first / mass
        if np.abs(centroids - levels).max() < 1e-10:
            break
        levels = centroids
    return error(density, levels)


# Squared error over variance and where it is least, of 2^bits bins tiling [-a, a] and of the authors' affine
# grid, computed independently of this code to the digits given; Gauss midrise also in Max (1960), table II.
EXACT = [
    (gauss, 2, 0.118846, 1.9914, 0.0752, 0.149431, 1.5726, 0.0170, 0.1174818),
    (gauss, 3, 0.037440, 2.3441, 0.0399, 0.040638, 2.1064, 0.0021, 0.0345478),
    (gauss, 4, 0.011543, 2.6816, 0.0167, 0.011864, 2.5396, 0.0004, 0.0095010),
    (gauss, 5, 0.003495, 3.0102, 0.0061, 0.003526, 2.9263, 0.0001, 0.0025047),
    (laplace, 2, 0.196302, 3.0756, 0.0139, 0.206995, 2.5756, 0.0136, 0.1761949),
    (laplace, 3, 0.071748, 4.1348, 0.0111, 0.071995, 3.7739, 0.0029, 0.0544760),
    (laplace, 4, 0.025351, 5.2156, 0.0058, 0.025260, 4.9601, 0.0008, 0.0153725),
    (laplace, 5, 0.008713, 6.3354, 0.0024, 0.008691, 6.1657, 0.0002, 0.0041022),
]
CASES = pytest.mark.parametrize(
    ("density", "bits", "tiled", "tiled_a", "tiled_excess", "grid", "grid_a", "grid_excess", "best"),
    EXACT,
    ids=[f"{density.__name__}{bits}" for density, bits, *_ in EXACT],
)


@CASES
def test_exact_errors_and_optima_of_uniform_quantisers(
    density, bits, tiled, tiled_a, tiled_excess, grid, grid_a, grid_excess, best
):
    for levels, least, place, excess in (
        (midrise, tiled, tiled_a, tiled_excess),
        (affine, grid, grid_a, grid_excess),
    ):
        a, found = optimum(density, levels, bits)
        assert found == pytest.approx(least, rel=1e-4)
        assert a == pytest.approx(place, abs=2e-3)
        at_constant = error(density, levels(CONSTANT[density](bits), bits))
        assert at_constant / found - 1 == pytest.approx(excess, abs=2e-4)


@pytest.mark.parametrize(("bits", "published"), [(2, 0.1188), (3, 0.03744), (4, 0.01154)])
def test_uniform_optima_of_a_normal_variable_are_those_of_max_1960(bits, published):
    assert optimum(gauss, midrise, bits)[1] == pytest.approx(published, rel=1e-3)


@CASES
def test_no_uniform_quantiser_beats_lloyd_max_and_none_the_rate_distortion_bound(
    density, bits, tiled, tiled_a, tiled_excess, grid, grid_a, grid_excess, best
):
    del tiled_a, tiled_excess, grid_a, grid_excess
    bound = 4.0**-bits if density is gauss else np.e / np.pi * 4.0**-bits  # Shannon's lower bound
    assert bound < lloyd_max(density, bits) < min(tiled, grid)
    assert lloyd_max(density, bits) == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize(
    ("density", "bits", "place"),
    [(gauss, 2, 1.2240), (gauss, 4, 2.4739), (laplace, 2, 2.0), (laplace, 4, 4.8199)],
)
def test_the_symmetric_grid_wants_a_smaller_threshold_than_aciqs(density, bits, place):
    a, least = optimum(density, symmetric, bits)
    assert a == pytest.approx(place, abs=1e-3)
    assert a < CONSTANT[density](bits)
    if bits == 2:
        loss = error(density, symmetric(CONSTANT[density](bits), bits)) / least - 1
        assert loss == pytest.approx({gauss: 0.34, laplace: 0.18}[density], abs=0.01)


# Behind a ReLU only the non-negative half is left: levels 0 to 2^bits - 1 for |x|, which are those of the
# symmetric grid at one bit more.
@pytest.mark.parametrize(
    ("density", "places", "losses"),
    [
        (laplace, (3.4864, 4.8199, 6.0980), (0.034, 0.007, 0.002)),
        (gauss, (1.9523, 2.4739, 2.8987), (0.044, 0.008, 0.0015)),
    ],
)
def test_exact_optimum_behind_a_relu_and_what_aciqs_constant_loses(density, places, losses):
    for bits, place, loss in zip((2, 3, 4), places, losses, strict=True):
        a, least = optimum(density, symmetric, bits + 1)
        assert a == pytest.approx(place, abs=1e-3)
        at_constant = error(density, symmetric(CONSTANT[density](bits + 1), bits + 1))
        assert at_constant / least - 1 == pytest.approx(loss, abs=1e-3)


def squared_error(values, threshold, target):
    scale = threshold / target.maximum
    return float(np.square(round_to(values / scale, target) * scale - values).mean())


@pytest.mark.parametrize("bits", [2, 3, 4, 5])
@pytest.mark.parametrize("density", [gauss, laplace], ids=["gauss", "laplace"])
def test_a_million_samples_have_the_exact_error_at_aciqs_threshold_and_at_the_least(density, bits):
    # One sample in each of a million equally likely intervals: few plain ones reach the tails.
    shares = (np.arange(1_000_000) + np.random.default_rng(bits).random(1_000_000)) / 1_000_000
    values = (norm if density is gauss else laplace_distribution).ppf(shares)
    target = Int(bits)
    for a in (CONSTANT[density](bits), optimum(density, symmetric, bits)[0]):
        measured = squared_error(values, a, target) / VARIANCE[density]
        assert measured == pytest.approx(error(density, symmetric(a, bits)), rel=0.01)
    found = float(mse.threshold(tensor(values), target))
    least = optimum(density, symmetric, bits)[1]
    assert squared_error(values, found, target) / VARIANCE[density] == pytest.approx(least, rel=0.01)


def tensor(values):
    """Statistics of an activation with these values."""
    seen = row_statistics(values[None])
    magnitudes = np.abs(values[values != 0])
    bins = np.minimum((magnitudes / magnitudes.max(initial=1e-300) * BINS).astype(np.int64), BINS - 1)
    names = ("minimum", "maximum", "mean", "deviation", "std")
    return Statistics(
        values.size,
        **{name: getattr(seen, name)[0] for name in names},
        histogram=np.bincount(bins, minlength=BINS),
    )


FORMATS = st.sampled_from(
    [
        *(Int(2), Int(3), Int(4), Int(8), Int(3, signed=False)),
        *(PowerOfTwo(2), PowerOfTwo(3), PowerOfTwo(4), AdditivePowersOfTwo(4), AdditivePowersOfTwo(5)),
    ]
)


@settings(deadline=None, max_examples=60)
@given(
    FORMATS, st.integers(1, 40), st.integers(0, 10**6), st.sampled_from(["normal", "standard_t", "sparse"])
)
def test_no_threshold_has_a_smaller_error_than_mses(target: Format, count: int, seed: int, kind: str) -> None:
    draw = np.random.default_rng(seed)
    values = draw.standard_t(3, count) if kind == "standard_t" else draw.normal(size=count)
    if kind == "sparse":
        values *= draw.random(count) < 0.3
    if not target.signed:
        values = np.abs(values)
    row = row_statistics(values[None])
    found = float(mse.threshold(row, target)[0])
    peak = float(row.peak[0])
    assert 0 <= found <= peak
    if peak == 0:
        return
    middles = mse.magnitudes(target)[1:] / 2 + mse.magnitudes(target)[:-1] / 2
    # Between two places where a value changes its level, the error is a parabola: its ends and a fine grid.
    passes = (np.abs(values)[:, None] / middles).ravel() * target.maximum
    tried = np.concatenate([passes[(passes > 0) & (passes <= peak)], np.linspace(0.001, 1, 1500) * peak])
    least = min(squared_error(values, t, target) for t in tried)
    assert squared_error(values, found, target) <= least * (1 + 1e-9) + 1e-18


def test_mse_by_histogram_is_near_mse_by_values() -> None:
    values = np.random.default_rng(0).standard_t(4, 50_000)
    for target in (Int(3), Int(4), Int(8), PowerOfTwo(4), AdditivePowersOfTwo(4)):
        binned, exact = (
            mse.threshold(tensor(values), target),
            mse.threshold(row_statistics(values[None]), target),
        )
        assert squared_error(values, float(binned), target) <= 1.002 * squared_error(
            values, float(exact[0]), target
        )


def test_mse_of_a_long_row_is_that_of_its_values() -> None:
    values = np.random.default_rng(1).normal(size=(1 << 16) + 1)
    found = float(mse.threshold(row_statistics(values[None]), Int(4))[0])
    shorter = float(mse.threshold(row_statistics(values[None, :-1]), Int(4))[0])
    assert found == pytest.approx(shorter, rel=1e-2)


@pytest.mark.parametrize("values", [np.zeros(5), np.full(7, -3.0)])
@pytest.mark.parametrize("method", [mse.threshold, percentile.threshold])
def test_a_tensor_of_one_value_is_not_clipped(method, values) -> None:
    for target in (Int(4), PowerOfTwo(3)):
        assert method(row_statistics(values[None]), target)[0] == np.abs(values[0])
        found = method(tensor(values), target)
        assert np.abs(values[0]) * (1 - 1 / BINS) <= found <= np.abs(values[0])


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(sorted(set(QUANTIZERS))), st.integers(-30, 30), st.booleans())
def test_every_quantizer_scales_with_the_values(name: str, exponent: int, weights: bool) -> None:
    if weights and name.startswith("kl"):
        return
    values = np.random.default_rng(5).laplace(0.1, 1, 3000)
    method, target = QUANTIZERS[name], Int(4)
    make = (lambda v: row_statistics(v[None])) if weights else tensor
    np.testing.assert_array_equal(
        method(make(values * 2.0**exponent), target), method(make(values), target) * 2.0**exponent
    )


@pytest.mark.parametrize("name", sorted(QUANTIZERS))
def test_no_quantizer_goes_beyond_the_largest_magnitude(name: str) -> None:
    seen = tensor(np.random.default_rng(7).uniform(-1, 1, 5000))
    for target in (Int(4), Int(8), Int(8, signed=False), Int(16)):
        assert 0 < QUANTIZERS[name](seen, target) <= seen.peak


def test_the_percentile_leaves_its_share_unclipped_and_no_smaller_threshold_does() -> None:
    values = np.random.default_rng(2).standard_t(4, 20_000)
    values[:3000] = 0.0
    for percent in (50.0, 99.0, 99.9, 99.99, 100.0):
        weights = float(percentile.threshold(row_statistics(values[None]), Int(8), percent)[0])
        assert (np.abs(values) <= weights).sum() >= round(200 * percent)
        assert (np.abs(values) < weights).sum() < round(200 * percent)
        seen = tensor(values)
        edge = float(percentile.threshold(seen, Int(8), percent))
        assert weights <= edge * (1 + 1e-12) <= weights + float(seen.peak) / BINS * (1 + 1e-9)


def test_a_percentile_below_the_share_of_zeros_clips_nothing() -> None:
    values = np.where(np.arange(1000) < 900, 0.0, np.arange(1000.0))
    assert percentile.threshold(row_statistics(values[None]), Int(8), 80.0)[0] == 999
    assert percentile.threshold(tensor(values), Int(8), 80.0) == 999


@pytest.mark.parametrize("percent", ["0", "-1", "100.1", "nan"])
def test_a_percent_beyond_a_hundred_is_refused(percent: str) -> None:
    with pytest.raises(HwsimError, match=r"above 0 and at most 100, not .*; write 99.99, say"):
        Settings.parse(f"activations=percentile percent={percent}")
    with pytest.raises(HwsimError, match="above 0 and at most 100"):
        percentile.threshold(tensor(np.ones(3)), Int(8), float(percent))


def test_the_settings_percent_reaches_both_tensors() -> None:
    chosen = Settings.parse("weights=percentile activations=percentile percent=90")
    assert str(chosen).endswith("elementwise=8 percent=90.0") and Settings.parse(str(chosen)) == chosen
    values = np.random.default_rng(3).normal(size=1000)
    assert chosen.weight_quantizer(row_statistics(values[None]), Int(4))[0] == pytest.approx(1.645, abs=0.15)
    assert chosen.activation_quantizer(tensor(values), Int(4)) == pytest.approx(1.645, abs=0.15)


def test_plain_kl_is_tolerance_one_at_signed_levels_and_half_a_bin_more() -> None:
    seen = tensor(np.random.default_rng(3).standard_t(4, 400_000))
    bin_width = float(seen.peak) / BINS
    plain = kl.tensorrt_threshold(seen, Int(8))
    assert plain == pytest.approx(float(kl.threshold(seen, Int(8), 1.0)) + bin_width / 2)
    assert plain == kl.tensorrt_threshold(seen, Int(8, signed=False))
    curve = kl.divergences(seen.histogram, 128)
    assert float(plain) / bin_width - 128 == pytest.approx(curve.argmin() + 0.5)


@pytest.mark.parametrize("behind_relu", [False, True])
def test_the_prior_by_fit_is_the_one_the_sample_was_drawn_from(behind_relu: bool) -> None:
    draw = np.random.default_rng(0)
    for values, method in (
        (draw.laplace(0.2, 2.0, 20_000), laplace_threshold),
        (draw.normal(0.2, 2.0, 20_000), gauss_threshold),
    ):
        seen = tensor(values)
        if behind_relu:
            seen = replace(tensor(np.maximum(values, 0)), before_relu=seen)
        assert fitted_threshold(seen, Int(4)) == method(seen, Int(4))


def test_the_border_between_the_priors_is_where_their_likelihoods_are_equal() -> None:
    normal = np.random.default_rng(1).normal(size=(40, 300))
    values = np.sign(normal) * np.abs(normal) ** np.linspace(0.5, 2, 40)[:, None]
    seen = row_statistics(values)
    likelier = [
        laplace_distribution.logpdf(row, row.mean(), b).sum() > norm.logpdf(row, row.mean(), s).sum()
        for row, b, s in zip(values, seen.deviation, seen.std, strict=True)
    ]
    chosen = fitted_threshold(seen, Int(3))
    expected = np.where(likelier, laplace_threshold(seen, Int(3)), gauss_threshold(seen, Int(3)))
    assert 0 < sum(likelier) < 40
    np.testing.assert_array_equal(chosen, expected)


@pytest.mark.parametrize("name", sorted(n for n in QUANTIZERS if not n.startswith("kl")))
@pytest.mark.parametrize("factor", [1e-310, 1e-200, 1e-30, 1e30, 1e200])
def test_weights_of_any_size_have_thresholds_of_that_size(name: str, factor: float) -> None:
    rows = np.random.default_rng(0).laplace(size=(3, 200))
    rows[1] = 0.0
    found, plain = (QUANTIZERS[name](row_statistics(r), Int(4)) for r in (rows * factor, rows))
    np.testing.assert_allclose(found / factor, plain, rtol=1e-2 if factor == 1e-310 else 1e-9)
    assert plain[1] == 0
