"""Bits for each channel: against brute force, the published formula and the budgets."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.errors import HwsimError
from hwsim.quantize.allocation import exact, paper

SPREADS = st.lists(st.floats(0, 1e6), min_size=1, max_size=5).map(np.array)


def error(spreads, widths):
    """Sum of the channels' errors, up to a factor."""
    return float((spreads**2 / 4.0 ** np.asarray(widths)).sum())


@given(SPREADS, st.integers(1, 4))
def test_no_other_widths_within_the_bit_budget_have_a_smaller_error(spreads, mean_bits):
    widths = exact(spreads, mean_bits, least=0, most=5)
    assert widths.sum() == mean_bits * spreads.size
    others = (w for w in product(range(6), repeat=spreads.size) if sum(w) == widths.sum())
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
    for allocate in (paper, exact):
        widths = allocate(spreads, mean_bits, least=2, most=6)
        assert widths.min() >= 2 and widths.max() <= 6


@pytest.mark.parametrize(
    ("spreads", "mean_bits"), [([1.0], 9), ([1.0], -1), ([], 4), ([np.nan], 4), ([np.inf], 4), ([-1.0], 4)]
)
def test_a_budget_or_spreads_without_meaning_are_refused(spreads, mean_bits):
    for allocate in (paper, exact):
        with pytest.raises(HwsimError):
            allocate(np.array(spreads), mean_bits)
