"""Bits for each channel: against brute force, the published formula and the budgets."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.errors import HwsimError
from hwsim.quantize.allocation import least_error, paper

SPREADS = st.lists(st.floats(0, 1e6), min_size=1, max_size=5).map(np.array)


def error(spreads, widths):
    """Sum of the channels' errors, up to a factor."""
    return float((spreads**2 / 4.0 ** np.asarray(widths)).sum())


def exact(spreads, mean_bits, most=8):
    """The widths of least error within the bit budget."""
    return least_error(np.square(spreads)[:, None] / 4.0 ** np.arange(most + 1), mean_bits)


@given(SPREADS, st.integers(1, 4))
def test_no_other_widths_within_the_bit_budget_have_a_smaller_error(spreads, mean_bits):
    widths = exact(spreads, mean_bits, most=5)
    assert widths.sum() <= mean_bits * spreads.size
    others = (w for w in product(range(6), repeat=spreads.size) if sum(w) == mean_bits * spreads.size)
    assert error(spreads, widths) <= min(error(spreads, w) for w in others) * (1 + 1e-12)


def test_the_published_rule_worked_by_hand():
    # a^(2/3) = 1, 4, 16; their mean is 7 and log2 of their shares of it -2.81, -0.81, 1.19: for a target of
    # 4 bits [1, 3, 5], one too few on average, so that the search goes to 4.5 and finds [2, 4, 6].
    assert paper(np.array([1.0, 8.0, 64.0]), 4).tolist() == [2, 4, 6]
    assert paper(np.ones(7), 4).tolist() == [4] * 7


@pytest.mark.parametrize("spread", [0.4, 0.8, 1.5])
def test_the_search_repairs_the_mean_width_and_the_bit_budget_has_the_smaller_error(spread):
    rng = np.random.default_rng(0)
    for _ in range(20):
        spreads = np.exp(rng.normal(0, spread, 128))
        published, best = paper(spreads, 4), exact(spreads, 4)
        assert abs(published.mean() - 4) < 0.05
        # The levels' rule and the bits' optimum both beat one width for all, the optimum more.
        assert error(spreads, best) < error(spreads, published) < error(spreads, np.full(128, 4))


def test_a_power_of_two_of_spread_is_worth_one_bit():
    spreads = 2.0 ** np.arange(-3, 4)
    assert exact(spreads, 4).tolist() == [1, 2, 3, 4, 5, 6, 7]


@given(SPREADS, st.sampled_from([2, 3.5, 6]))
def test_widths_stay_within_their_limits(spreads, mean_bits):
    widths = paper(spreads, mean_bits, least=2, most=6)
    assert widths.min() >= 2 and widths.max() <= 6


@pytest.mark.parametrize(
    ("spreads", "mean_bits"), [([1.0], 9), ([1.0], -1), ([], 4), ([np.nan], 4), ([np.inf], 4), ([-1.0], 4)]
)
def test_a_budget_or_spreads_without_meaning_are_refused(spreads, mean_bits):
    with pytest.raises(HwsimError):
        paper(np.array(spreads), mean_bits)


# Mean squared error of 128 lognormal channels at 4 bits, relative to one width for all, of one draw each: the
# published rule with its search, and the optimum at the same bits.
@pytest.mark.parametrize(
    ("spread", "published", "optimum"),
    [(0.4, 0.838, 0.804), (0.6, 0.602, 0.556), (0.8, 0.383, 0.335), (1.0, 0.227, 0.184), (1.5, 0.047, 0.032)],
)
def test_the_bit_budgets_optimum_has_4_to_33_percent_less_error_than_the_published_rule(
    spread, published, optimum
):
    rng = np.random.default_rng(1)
    rows = []
    for spreads in np.exp(rng.normal(0, spread, (200, 128))):
        rows.append([error(spreads, rule(spreads, 4)) for rule in (paper, exact)])
        rows[-1] = np.array(rows[-1]) / error(spreads, np.full(128, 4))
    of_draws = np.array(rows)
    # A single draw is within a standard deviation of the mean; what one rule gains over the other varies less.
    assert (np.abs(of_draws.mean(axis=0) - [published, optimum]) < of_draws.std(axis=0)).all()
    gain = (of_draws[:, 1] / of_draws[:, 0]).mean()
    assert gain == pytest.approx(optimum / published, abs=0.02)
    assert 0.04 < 1 - gain < 0.34


def test_the_share_of_levels_of_two_normal_channels_is_that_of_the_cube_roots():
    """With a^(2/3) as 2 to 1, no other split of the levels than 2/3 to 1/3 has a smaller a^2 / levels^2."""
    spreads, levels = np.array([2.0**1.5, 1.0]), 30.0
    shares = np.linspace(0.01, 0.99, 9801)
    errors = spreads[0] ** 2 / (3 * (shares * levels) ** 2) + spreads[1] ** 2 / (
        3 * ((1 - shares) * levels) ** 2
    )
    assert shares[errors.argmin()] == pytest.approx(2 / 3, abs=1e-3)
    assert errors.min() == pytest.approx((spreads ** (2 / 3)).sum() ** 3 / (3 * levels**2), rel=1e-6)


ERRORS = (
    st.integers(1, 4)
    .flatmap(lambda n: st.lists(st.lists(st.integers(0, 50), min_size=5, max_size=5), min_size=n, max_size=n))
    .map(lambda rows: np.array(rows, float))
)


@given(ERRORS, st.sampled_from([0, 0.5, 1, 2, 3.5, 4]))
def test_no_widths_within_the_budget_have_less_of_any_errors(errors, mean_bits):
    widths = least_error(errors, mean_bits)
    channels = np.arange(len(errors))
    assert widths.sum() <= round(mean_bits * len(errors))
    others = (w for w in product(range(5), repeat=len(errors)) if sum(w) <= round(mean_bits * len(errors)))
    assert errors[channels, widths].sum() == min(errors[channels, list(w)].sum() for w in others)


@given(SPREADS, st.integers(1, 5))
def test_of_convex_errors_the_optimum_is_that_of_one_bit_after_the_other(spreads, mean_bits):
    errors = spreads[:, None] ** 2 / 4.0 ** np.arange(9)
    chosen = errors[np.arange(len(errors)), least_error(errors, mean_bits)].sum()
    assert chosen == pytest.approx(error(spreads, exact(spreads, mean_bits)), rel=1e-9)


def test_errors_that_are_not_finite_or_a_budget_beyond_the_widths_are_refused():
    for errors, mean_bits in ((np.zeros((2, 3)), 3), (np.full((2, 3), np.nan), 1), (np.zeros((2, 3)), -1)):
        with pytest.raises(HwsimError, match="channels of 0 to 2 bits cannot have"):
            least_error(errors, mean_bits)
