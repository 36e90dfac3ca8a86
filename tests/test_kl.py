"""KL with tolerance, against a direct implementation of the sweep and the invariants of its definition."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hwsim.errors import HwsimError
from hwsim.formats import Int, IntArray, PowerOfTwo
from hwsim.quantize.kl import divergences, threshold
from hwsim.quantize.statistics import BINS, Statistics, row_statistics

HISTOGRAMS = hnp.arrays(np.int64, st.integers(16, 64), elements=st.integers(0, 30)).filter(
    lambda h: h.sum() > 0
)


def _direct(histogram: IntArray, kept: int, levels: int) -> float:
    """Return D(P || Q) bin by bin, as the slides of GTC 2017 describe the sweep."""
    p = histogram[:kept].astype(float)
    p[-1] += histogram[kept:].sum()
    q = np.zeros(kept)
    for level in range(levels):
        low, high = kept * level // levels, kept * (level + 1) // levels
        filled = p[low:high] > 0
        if filled.any():
            q[low:high][filled] = histogram[low:high].sum() / filled.sum()
    if not q.sum() or (q[p > 0] == 0).any():
        return math.inf
    p, q = p / p.sum(), q / q.sum()
    return float((p[p > 0] * np.log(p[p > 0] / q[p > 0])).sum())


@settings(deadline=None)
@given(HISTOGRAMS, st.sampled_from([2, 4, 8]))
def test_divergences_equal_the_sweep_bin_by_bin(histogram: IntArray, levels: int) -> None:
    direct = [_direct(histogram, kept, levels) for kept in range(levels, histogram.size + 1)]
    np.testing.assert_allclose(divergences(histogram, levels), direct, rtol=0, atol=1e-11)


def _tensor(values: np.ndarray) -> Statistics:
    statistics = row_statistics(values[None])
    magnitudes = np.abs(values[values != 0])
    bins = np.minimum((magnitudes / magnitudes.max() * BINS).astype(np.int64), BINS - 1)
    single = {
        name: getattr(statistics, name)[0] for name in ("minimum", "maximum", "mean", "deviation", "std")
    }
    return Statistics(values.size, **single, histogram=np.bincount(bins, minlength=BINS))


HEAVY = np.random.default_rng(3).standard_t(4, 400_000)


@pytest.mark.parametrize("target", [Int(8), Int(4), Int(2), Int(8, signed=False)])
def test_threshold_grows_with_the_tolerance_from_the_minimiser_to_min_max(target: Int) -> None:
    statistics = _tensor(HEAVY)
    levels = 1 << (target.bits - target.signed)
    curve = divergences(statistics.histogram, levels)
    tolerances = (1.0, 1.1, 1.3, 2.0, 5.0, 1e6, math.inf)
    thresholds = [float(threshold(statistics, target, t)) for t in tolerances]
    assert thresholds == sorted(thresholds)
    kept = [round(t / float(statistics.peak) * BINS) for t in thresholds]
    assert kept[0] - levels == curve.argmin()
    assert all(curve[k - levels] <= t * curve.min() for k, t in zip(kept, tolerances, strict=True))
    assert thresholds[-2:] == [float(statistics.peak)] * 2


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_tolerance_lowers_the_error_of_a_heavy_tailed_tensor(seed: int) -> None:
    """Hu, Zeng, Wu (2023): the classic minimiser clips too much; a tolerance of 1.3 repairs some of it."""
    values = np.random.default_rng(seed).standard_t(4, 400_000)
    statistics = _tensor(values)

    def error(t: float) -> float:
        scale = t / 127
        return float(np.square(np.clip(np.rint(values / scale), -127, 127) * scale - values).mean())

    classic, tolerant = (float(threshold(statistics, Int(8), t)) for t in (1.0, 1.3))
    assert classic < tolerant < float(statistics.peak)
    assert error(tolerant) < 0.9 * error(classic)


@settings(max_examples=20, deadline=None)
@given(st.integers(-30, 30), st.floats(1, 10))
def test_threshold_scales_with_the_values(exponent: int, tolerance: float) -> None:
    values = np.random.default_rng(3).laplace(0, 1, 5000)
    scaled = threshold(_tensor(values * 2.0**exponent), Int(4), tolerance)
    assert scaled == threshold(_tensor(values), Int(4), tolerance) * 2.0**exponent


def test_a_format_with_as_many_levels_as_bins_clips_nothing() -> None:
    statistics = _tensor(HEAVY)
    assert threshold(statistics, Int(16)) == statistics.peak


def test_a_tensor_of_one_value_keeps_it() -> None:
    statistics = _tensor(np.full(50, -3.0))
    assert threshold(statistics, Int(8)) == 3.0


def test_an_all_zero_tensor_has_threshold_zero() -> None:
    zero = np.array(0.0)
    assert threshold(Statistics(9, zero, zero, zero, zero, zero, np.zeros(BINS, np.int64)), Int(8)) == 0.0


@pytest.mark.parametrize("tolerance", [0.99, -1.0, math.nan])
def test_a_tolerance_below_one_is_refused(tolerance: float) -> None:
    with pytest.raises(HwsimError, match="factor of at least 1"):
        threshold(_tensor(HEAVY), Int(8), tolerance)


def test_weights_are_refused() -> None:
    with pytest.raises(HwsimError, match="choose min_max or aciq_laplace for weights"):
        threshold(row_statistics(np.ones((2, 9))), Int(8))
    with pytest.raises(HwsimError, match="choose min_max or aciq_laplace for weights"):
        threshold(_tensor(HEAVY), PowerOfTwo(4))
