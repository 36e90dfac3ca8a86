"""The exact front: that of every combination listed, and every point of it proved by an integer program."""

import functools
import itertools

import moocore
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from hwsim.cost.configurations import Table, joined
from hwsim.explore.front import alone, nondominated, pareto_merge

rows = st.integers(1, 4).flatmap(
    lambda width: st.lists(
        st.lists(st.integers(0, 5), min_size=width, max_size=width), min_size=1, max_size=60
    )
)


def stays(costs):
    """The rows that no other is nowhere above, but for equal ones behind them, pair by pair."""
    below = (costs[None] <= costs[:, None]).all(axis=2)
    equal = below & below.T
    return np.flatnonzero(~(below & ~equal | np.tril(equal, -1)).any(axis=1))


@settings(max_examples=200, deadline=None)
@given(rows)
def test_a_row_stays_unless_another_is_nowhere_above_it(found):
    costs = np.array(found, float)
    np.testing.assert_array_equal(nondominated(costs), stays(costs))


@pytest.mark.parametrize("objectives", [1, 2, 3, 4, 5])
def test_many_rows_stay_by_the_same_rule(objectives):
    costs = np.random.default_rng(0).integers(0, 30, (2000, objectives)).astype(float)
    np.testing.assert_array_equal(nondominated(costs), stays(costs))


def test_of_no_rows_none_stays():
    assert nondominated(np.zeros((0, 3))).tolist() == []


@st.composite
def networks(draw):
    """Choices of each layer, terms of up to three axes of one to three layers, and which costs are maxima."""
    counts = draw(st.lists(st.integers(1, 3), min_size=1, max_size=5))
    objectives = draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    terms = [
        alone(i, rng.integers(0, 6, (count, objectives)).astype(float)) for i, count in enumerate(counts)
    ]
    for _ in range(draw(st.integers(0, 5))):
        axes = tuple(
            tuple(
                (layer, tuple(rng.integers(0, 3, counts[layer]).tolist()))
                for layer in sorted(layers[: rng.integers(1, 4)])
            )
            for layers in (rng.permutation(len(counts)).tolist() for _ in range(rng.integers(0, 4)))
        )
        terms.append(Table(axes, rng.integers(0, 6, (*[3] * len(axes), objectives)).astype(float)))
    return counts, terms, draw(st.lists(st.integers(0, objectives - 1), unique=True))


def joined_terms(terms, choices, largest):
    return functools.reduce(lambda a, b: joined(a, b, largest), (term.of(choices) for term in terms))


@settings(max_examples=200, deadline=None)
@given(networks())
def test_the_front_is_that_of_all_combinations(network):
    counts, terms, largest = network
    every = np.array(list(itertools.product(*map(range, counts))))
    costs = np.stack([term.of(every) for term in terms])
    columns = [
        costs[..., place].max(axis=0) if place in largest else costs[..., place].sum(axis=0)
        for place in range(costs.shape[-1])
    ]
    costs = np.stack(columns, axis=1)
    expected = costs[nondominated(costs)]
    front = pareto_merge(counts, terms, largest=largest)
    assert front.exact
    np.testing.assert_array_equal(front.costs, expected[np.lexsort(expected.T[::-1])])
    np.testing.assert_array_equal(joined_terms(terms, front.choices, largest), front.costs)


def twenty_one_layers(seed=0):
    """Loss and bits of 21 layers at seven widths: an error that falls with the width, and weights times width."""
    rng = np.random.default_rng(seed)
    widths = np.arange(2, 9)
    return [
        alone(
            i,
            np.column_stack([np.rint(rng.exponential() * 1e6 * 4.0**-widths), rng.integers(1, 400) * widths]),
        )
        for i in range(21)
    ]


def test_each_point_of_a_front_is_proved_by_an_integer_program():
    """HiGHS minimises the loss under each point's cost: no other choice of widths does better."""
    terms = twenty_one_layers()
    front = pareto_merge([7] * 21, terms)
    assert front.exact and len(front.costs) > 1000
    loss, size = (np.concatenate([term.costs[:, objective] for term in terms]) for objective in (0, 1))
    one_each = LinearConstraint(np.kron(np.eye(21), np.ones(7)), 1, 1)
    for place in range(0, len(front.costs), len(front.costs) // 8):
        within = LinearConstraint(size[None], ub=front.costs[place, 1])
        solved = milp(
            loss,
            integrality=np.ones(147),
            bounds=Bounds(0, 1),
            constraints=[one_each, within],
            options={"mip_rel_gap": 0},
        )
        assert solved.success and solved.fun == pytest.approx(front.costs[place, 0], rel=1e-6)


def test_each_point_of_a_front_with_a_maximum_is_proved_by_an_integer_program():
    """HiGHS minimises the loss under a point's size and delay, a variable that no layer's own delay exceeds."""
    rng = np.random.default_rng(1)
    counts, count = [5] * 12, 60
    terms = [
        alone(
            i,
            np.column_stack(
                [term.costs[:5], np.cumsum(rng.integers(1, 9, 5))]  # loss, size, delay
            ),
        )
        for i, term in enumerate(twenty_one_layers(2)[:12])
    ]
    front = pareto_merge(counts, terms, largest=[2])
    assert front.exact and len(front.costs) > 100
    loss, size, delay = (
        np.concatenate([term.costs[:, objective] for term in terms]) for objective in range(3)
    )
    own = np.kron(np.eye(12), np.ones(5))
    chosen = LinearConstraint(np.column_stack([own, np.zeros(12)]), 1, 1)
    slowest = LinearConstraint(np.column_stack([own * delay, -np.ones(12)]), ub=0)
    for place in range(0, len(front.costs), len(front.costs) // 12):
        within = LinearConstraint(np.append(size, 0)[None], ub=front.costs[place, 1])
        solved = milp(
            np.append(loss, 0),
            integrality=np.append(np.ones(count), 0),
            bounds=Bounds(0, np.append(np.ones(count), front.costs[place, 2])),
            constraints=[chosen, slowest, within],
            options={"mip_rel_gap": 0},
        )
        assert solved.success and solved.fun == pytest.approx(front.costs[place, 0], rel=1e-6)


def test_a_limited_front_is_part_of_the_sums_and_near_the_exact_one():
    terms = twenty_one_layers(1)
    exact = pareto_merge([7] * 21, terms)
    few = pareto_merge([7] * 21, terms, limit=200)
    assert not few.exact
    assert len(few.costs) <= 300
    np.testing.assert_array_equal(sum(term.of(few.choices) for term in terms), few.costs)
    ends = exact.costs.max(axis=0) + 1
    scale = ends - exact.costs.min(axis=0)
    share = moocore.hypervolume(few.costs / scale, ends / scale) / moocore.hypervolume(
        exact.costs / scale, ends / scale
    )
    assert share > 0.99
