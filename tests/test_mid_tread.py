"""ACIQ's mid-tread levels for variable-length codes: against its error minimised by brute force, Laplace's own
entropy, and a network that computes as before where bins are many."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import laplace

from hwsim.cost.entropy import entropy_bits
from hwsim.data import load_split
from hwsim.models import load_model
from hwsim.models.forward import predict
from hwsim.quantize.calibrate import calibrate
from hwsim.quantize.mid_tread import activation_grid, bins, laplace_constant, weight_grid
from hwsim.quantize.statistics import Statistics
from hwsim.reproduce.coding import measure_coded

RNG = np.random.default_rng(7)


@pytest.mark.parametrize("count", [0.05, 0.7, 1.0, 5.3, 16.0, 39.4, 700.0])
@pytest.mark.parametrize("half", [False, True], ids=["whole range", "behind a ReLU"])
def test_the_constant_minimises_the_papers_error_in_any_real_number_of_bins(count, half):
    def error(a):
        return np.exp(-a) + a * a / (24 * count**2) if half else 2 * np.exp(-a) + a * a / (3 * count**2)

    best = minimize_scalar(error, bounds=(0, 40), method="bounded", options={"xatol": 1e-9}).x
    assert laplace_constant(np.array([2 * count if half else count]))[0] == pytest.approx(best, abs=1e-5)


def test_bins_have_the_budgets_sum_and_no_other_shares_have_a_smaller_error():
    spreads = RNG.lognormal(0, 1, 32)
    found = bins(spreads, 5.3)
    assert found.sum() == pytest.approx(32 * 2**5.3)
    least = np.sum(spreads**2 / (3 * found**2))
    assert least == pytest.approx(np.sum(spreads ** (2 / 3)) ** 3 / (3 * found.sum() ** 2))
    for _ in range(200):
        moved = (
            found + 0.01 * found.min() * (shift := RNG.normal(size=32)) - 0.01 * found.min() * shift.mean()
        )
        assert np.sum(spreads**2 / (3 * moved**2)) > least


def statistics(rows):
    """Statistics of channels [channels, values], and the grid's own view of them."""
    mean = rows.mean(axis=1)
    return Statistics(
        rows.shape[1],
        rows.min(axis=1),
        rows.max(axis=1),
        mean,
        np.abs(rows - mean[:, None]).mean(axis=1),
        rows.std(axis=1),
    )


def test_the_entropy_of_a_laplace_sample_is_that_of_its_distribution_in_the_bins():
    x = RNG.laplace(0, 2.0, (1, 400_000))
    grid = activation_grid(statistics(x), 5.4)
    found = entropy_bits(np.unique(grid.codes(x), return_counts=True)[1])
    edges = (np.arange(grid.low[0], grid.high[0]) + 0.5) * grid.step[0]
    shares = np.diff(laplace.cdf(np.concatenate([[-np.inf], edges, [np.inf]]), scale=2.0))
    assert found == pytest.approx(-(shares * np.log2(shares)).sum(), abs=0.01)
    assert found < 5.4 - 1
    assert (
        np.abs(grid.values(grid.codes(x)) - x)[np.abs(x) < grid.high[0] * grid.step[0]].max()
        <= grid.step[0] / 2 + 1e-12
    )


def test_zero_is_a_level_and_a_channel_that_never_varies_is_that_alone():
    rows = np.stack([np.full(9, 3.0), np.linspace(-1, 2, 9)])
    for grid in (activation_grid(statistics(rows), 3.0), weight_grid(rows, 3.0)):
        codes = grid.codes(rows.T)
        assert not codes[:, 0].any() and not grid.values(codes)[:, 0].any()
        assert (grid.codes(np.zeros((1, 2))) == 0).all() and np.isfinite(grid.values(codes)).all()


def test_a_network_with_many_bins_computes_as_before_and_fewer_bins_are_fewer_bits():
    network, test = load_model("digits"), load_split("digits", "test").part(slice(200))
    calibration = calibrate(network, load_split("digits", "calibration").images)
    exact = (predict(network, test) == test.labels).tolist()
    found = [measure_coded(network, calibration, test, bits) for bits in (3.0, 5.0, 12.0)]
    assert found[-1].correct == exact
    assert sum(found[0].correct) < sum(exact)
    for kind in ("activation_bits", "weight_bits"):
        bits = [getattr(coded, kind) for coded in found]
        assert bits == sorted(bits) and bits[1] < 5
