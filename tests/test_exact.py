"""The exact search: prices that are the evaluations', a model that is Gaussian regression, points that promise most."""

import sys
from dataclasses import replace

import moocore
import numpy as np
import pytest
from scipy.stats import multivariate_normal

import tiny
from hwsim.errors import HwsimError
from hwsim.explore import sensitivity
from hwsim.explore.attempt import one_by_one
from hwsim.explore.evaluation import METRICS
from hwsim.explore.exact import Promises, most_promising
from hwsim.explore.exploration import explore
from hwsim.explore.inquiry import Inquiry, in_this_process
from hwsim.explore.prices import priced_objectives, prices
from hwsim.explore.searches import SEARCHES
from hwsim.explore.space import search_space
from hwsim.explore.study import read_study
from hwsim.explore.surrogate import Features, Scale, fit

OBJECTIVES = ("accuracy_loss", "gates", "bandwidth", "compression_ratio", "flip_flops", "critical_path")


@pytest.fixture(scope="module")
def explored(tmp_path_factory, working_in):
    """Every point of the tiny space, evaluated in the order of the exact search."""
    folder = tiny.write(tmp_path_factory.mktemp("tiny"))
    text = (
        (folder / "study.toml")
        .read_text()
        .replace("budget = 10", f'budget = 100\nsearch = "exact"\nobjectives = {list(OBJECTIVES)}')
    )
    (folder / "study.toml").write_text(
        text.replace("activations = [4]", "activations = [3, 4]")
        .replace('"int3", ', "")
        .replace('"activations=aciq_gauss"', '"allocation=exact"')
        .replace('technology = "gates"', 'technology = "open45"')
    )
    working_in(folder)
    return explore(read_study(folder / "study.toml"), folder / "out")


def test_every_point_of_a_space_is_visited_once(explored):
    points = [e.point for e in explored.evaluations]
    assert len(points) == len(set(points)) == 2 * 2 * 3


def test_prices_are_those_of_the_evaluations(explored):
    bench = explored.bench
    space = replace(search_space(bench.study, bench.network), bench=bench)
    names = priced_objectives(OBJECTIVES)
    of = {price.shared: price for price in prices(space, names)}
    for e in explored.evaluations:
        price = of[e.point.shared]
        choices = np.array(
            [[texts.index(bits) for (_, texts), (_, bits) in zip(space.layers, e.point.bits, strict=True)]]
        )
        (costs,) = price.of(choices)
        for name, cost in zip(names, costs, strict=True):
            exact = name != "compression_ratio"  # a constant of a requantiser may take a byte more
            assert cost == pytest.approx(METRICS[name].cost(e), rel=1e-12 if exact else 0.05), name


def searched(name, explored, budget, set_aside=frozenset()):
    """The points of a search on the tiny space, told what was evaluated there."""
    bench = explored.bench
    space = replace(search_space(bench.study, bench.network), bench=bench, set_aside=set_aside)
    known, done = {e.point: e for e in explored.evaluations}, []
    while len(done) < budget:
        rng = np.random.default_rng([7, len(done)])
        points = SEARCHES[name](space, list(done), OBJECTIVES, rng, min(5, budget - len(done)))
        if not points:
            break
        done += [known[point] for point in points]
    return [e.point for e in done]


@pytest.mark.parametrize("name", ["exact", "greedy", "nsga2", "tpe"])
def test_a_search_is_a_function_of_what_was_evaluated_and_visits_every_point_once(name, explored):
    if name in ("nsga2", "tpe"):
        pytest.importorskip("optuna")
    points = searched(name, explored, 100)
    assert len(points) == len(set(points)) == 12
    assert searched(name, explored, 7) == points[:7] == searched(name, explored, 7)
    others = searched(name, explored, 100, frozenset(points[:2]))
    assert set(others) == set(points[2:])


def test_without_optuna_its_searches_name_what_to_install(explored, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(HwsimError, match=r"search \"tpe\" needs Optuna: pip install 'hwsim\[search\]'"):
        searched("tpe", explored, 1)


def test_greedy_goes_down_from_what_moves_the_network_least(explored):
    bench = explored.bench
    layers = dict(search_space(bench.study, bench.network).layers)
    first, *rest = searched("greedy", explored, 3)
    found = sensitivity.of_choices(bench, layers, first.quantizer)
    for name, bits in first.bits:
        assert found[name][bits].divergence == min(effect.divergence for effect in found[name].values())
    gates = {e.point: METRICS["gates"].cost(e) + METRICS["bandwidth"].cost(e) for e in explored.evaluations}
    steps = [point for point in (first, *rest) if point.quantizer == first.quantizer]
    assert sorted(steps, key=gates.get, reverse=True) == steps


def test_what_was_measured_of_a_layer_is_not_measured_again(explored, monkeypatch):
    bench = explored.bench
    (name, texts), *_ = search_space(bench.study, bench.network).layers
    first = sensitivity.of_choices(bench, {name: texts}, bench.study.space.quantizers[0])
    monkeypatch.setattr(sensitivity, "effects", None)
    assert sensitivity.of_choices(bench, {name: texts}, bench.study.space.quantizers[0]) == first


def test_objectives_that_do_not_add_up_are_refused(explored):
    space = search_space(explored.bench.study, explored.bench.network)
    rng = np.random.default_rng(0)
    with pytest.raises(HwsimError, match='search "exact" weighs the accuracy of a network against its costs'):
        SEARCHES["exact"](space, [], ("accuracy_loss", "gates"), rng, 2)
    with pytest.raises(
        HwsimError, match="has no prices of overflow_rate, which is known where it is measured"
    ):
        priced_objectives(("accuracy_loss", "overflow_rate"))


def test_designs_some_of_whose_layers_give_channels_of_activations_widths_are_left_out_by_name(explored):
    given = {
        "layer_quantizers": ("", "activation_granularity=channel"),
        "quantizers": ("activations=min_max", "activation_granularity=channel"),
    }
    study = explored.bench.study.model_copy(
        update={"space": explored.bench.study.space.model_copy(update=given)}
    )
    bench = replace(explored.bench, study=study)
    inquiry = in_this_process(bench)
    space = replace(search_space(study, bench.network), bench=bench, inquiry=inquiry)
    assert {price.shared.quantizer for price in prices(space, ("gates",))} == {given["quantizers"][1]}
    assert "whose layers quantize activations otherwise have no prices" in str([*inquiry.left_out.values()])


def test_questions_tell_how_many_of_them_are_answered(explored):
    told, bench = [], explored.bench
    inquiry = Inquiry(one_by_one(bench), progress=lambda *stage: told.append(stage))
    space = replace(search_space(bench.study, bench.network), bench=bench, inquiry=inquiry)
    found = prices(space, ("bandwidth",))
    assert told == [("price designs", done, len(found)) for done in range(len(found) + 1)]


def test_the_scale_reads_back_what_it_gave():
    scale = Scale(500, 470, 10)
    correct = np.array([60.0, 100, 300, 465, 470, 480])
    np.testing.assert_allclose(scale.correct(scale.sums(correct)), correct)
    assert scale.sums(np.array([470.0]))[0] == 0
    assert np.isfinite(scale.sums(np.array([0.0]))).all() and np.isfinite(scale.variance(correct)).all()


GIVEN = Features(((),), np.array([0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]), 0.7)
"""Factors of all, of two layers, and of two formats of the weights and two widths of the input of each."""


def designs(rng, count):
    """Features of random designs of two layers."""
    rows = np.zeros((count, 11))
    for row in rows:
        for layer in range(2):
            distance = rng.uniform(0.1, 1)
            own = [1 + layer, 3 + 2 * layer + rng.integers(2), 7 + 2 * layer + rng.integers(2)]
            row[[0, *own]] += distance
    return rows


def covariance(prior, first, second):
    """The covariance of two designs, term by term."""
    sums = sum(
        a * b * (0.7 * (1 if group == 0 else prior.variation)) ** 2
        for a, b, group in zip(first, second, GIVEN.groups, strict=True)
    )
    weights, inputs = (
        sum(bool(a) != bool(b) for a, b in zip(first[some], second[some], strict=True)) / 2
        for some in (slice(3, 7), slice(7, 11))
    )
    return sums + prior.apart**2 * np.exp(-prior.weights * weights - prior.inputs * inputs)


def conditioned(prior, rows, error, noise, new):
    """The mean and variance of new designs by conditioning one large Gaussian."""
    every = np.vstack([rows, new])
    whole = np.array([[covariance(prior, a, b) for b in every] for a in every])
    seen = len(rows)
    gain = whole[seen:, :seen] @ np.linalg.inv(whole[:seen, :seen] + np.diag(noise))
    left = whole[seen:, seen:] - gain @ whole[:seen, seen:]
    return 0.7 * new[:, 0] + gain @ error, np.diag(left) + (prior.deviation * 0.7 * new[:, 0]) ** 2


def fitted(seed):
    """A posterior of twelve designs, their distances from what was expected and their noise."""
    rng = np.random.default_rng(seed)
    rows = designs(rng, 12)
    sums, variance = rows @ rng.normal(0.4, 0.1, 11), rng.uniform(0.001, 0.01, 12)
    found = fit(GIVEN, rows, sums, variance)
    noise = variance + (found.prior.deviation * 0.7 * rows[:, 0]) ** 2
    return found, rows, sums - 0.7 * rows[:, 0], noise, designs(rng, 7)


def test_the_posterior_is_a_gaussian_conditioned_on_what_was_measured():
    found, *given, new = fitted(1)
    mean, variance = conditioned(found.prior, *given, new)
    np.testing.assert_allclose(found.expected(new), mean)
    np.testing.assert_allclose(found.variance(new), variance)


def test_fitting_makes_what_was_measured_more_likely():
    found, rows, error, noise, _ = fitted(3)
    start = fit(GIVEN, rows[:0], error[:0], noise[:0]).prior
    variance = noise - (found.prior.deviation * 0.7 * rows[:, 0]) ** 2

    def likelihood(prior):
        kernel = np.array([[covariance(prior, a, b) for b in rows] for a in rows])
        own = variance + (prior.deviation * 0.7 * rows[:, 0]) ** 2
        return multivariate_normal.logpdf(error, cov=kernel + np.diag(own))

    assert likelihood(found.prior) > likelihood(start)


def test_a_point_measured_as_expected_narrows_the_belief_alone():
    found, rows, error, noise, new = fitted(2)
    added = found.after(new[0], 0.3)
    own = 0.3 + (found.prior.deviation * 0.7 * new[0, 0]) ** 2
    (expected,) = found.expected(new[:1]) - 0.7 * new[0, 0]
    mean, variance = conditioned(
        found.prior, np.vstack([rows, new[:1]]), np.append(error, expected), np.append(noise, own), new
    )
    np.testing.assert_allclose(added.expected(new), found.expected(new))
    np.testing.assert_allclose(added.expected(new), mean)
    np.testing.assert_allclose(added.variance(new), variance)


def test_factors_drawn_are_those_of_the_belief():
    found, rows, _, noise, _ = fitted(4)
    rng = np.random.default_rng(0)
    drawn = np.array([found.draw(rng) for _ in range(20_000)])
    prior = np.diag((0.7 * np.where(GIVEN.groups == 0, 1, found.prior.variation)) ** 2)
    kernel = np.array([[covariance(found.prior, a, b) for b in rows] for a in rows]) + np.diag(noise)
    expected = prior - prior @ rows.T @ np.linalg.solve(kernel, rows @ prior)
    np.testing.assert_allclose(drawn.mean(axis=0), found.mean, atol=0.03)
    np.testing.assert_allclose(np.cov(drawn.T), expected, atol=0.03 * expected.max())


class Certain:
    """A belief without doubt: the one feature is what adds up."""

    def expected(self, rows):
        return rows[:, 0]

    def variance(self, rows):
        return np.full(len(rows), 1e-18)

    def after(self, row, counting):
        return self


@pytest.mark.parametrize("seed", range(5))
def test_of_points_that_are_certain_the_one_of_most_hypervolume_is_chosen(seed):
    rng = np.random.default_rng(seed)
    scale = Scale(10_000, 10_000, 2)
    lost = rng.integers(1, 5000, 40).astype(float)
    costs = rng.random((40, 2))
    sums = scale.sums(10_000 - lost)
    measured = np.column_stack([costs, lost])[:6]
    (best,) = most_promising(Promises(costs[6:], sums[6:, None]), Certain(), measured, scale, rng, 1)
    points = np.column_stack([costs, lost])
    front = points[moocore.is_nondominated(points)]
    low, high = front.min(axis=0), front.max(axis=0)

    def volume(rows):
        return moocore.hypervolume((rows - low) / (high - low), np.ones(3))

    gains = [volume(np.vstack([measured, points[6 + place]])) - volume(measured) for place in range(34)]
    assert gains[best] > 0.9 * max(gains)


@pytest.mark.parametrize("seed", range(5))
def test_points_chosen_in_two_steps_are_those_chosen_in_one_while_the_first_are_pending(seed):
    drawn = np.random.default_rng(seed)
    layers = [[drawn.random((3, 2)) for _ in range(4)]]
    given = Features(tuple(map(tuple, layers)), np.array([0, 1]), 1.0)
    choices = drawn.integers(0, 3, (40, 4))
    rows = given.of(np.zeros(40, np.int64), choices)
    scale = Scale(1000, 990, 10)
    posterior = fit(given, rows[:6], np.abs(drawn.normal(0.5, 0.2, 6)), np.full(6, 1e-4))
    costs = drawn.random((40, 2))
    measured = np.column_stack([costs[:6], drawn.integers(0, 300, 6)]).astype(float)

    def chosen(order, count, pending=0):
        promises = Promises(costs[order], rows[order])
        rng = np.random.default_rng(seed)
        found = most_promising(promises, posterior, measured, scale, rng, count, pending=pending)
        return [int(order[place]) for place in found]

    at_once = chosen(np.arange(6, 40), 6)
    first, then = at_once[:2], [place for place in range(6, 40) if place not in at_once[:2]]
    assert chosen(np.array([*first, *then]), 4, pending=2) == at_once[2:]


def test_points_beyond_the_limits_are_chosen_last():
    scale = Scale(10_000, 10_000, 2)
    costs = np.linspace(0, 1, 12)
    lost = np.rint(4500 * (1 - costs) ** 2 + 10)
    promises = Promises(costs[:, None], scale.sums(10_000 - lost)[:, None])
    within = {place for place in range(12) if costs[place] <= 0.7 and lost[place] <= 2500}
    assert len(within) == 5
    rng = np.random.default_rng(0)
    nothing, limits = np.zeros((0, 2)), np.array([0.7, 2500.0])
    assert set(most_promising(promises, Certain(), nothing, scale, rng, 5, limits=limits)) == within
    assert set(most_promising(promises, Certain(), nothing, scale, rng, 5)) != within
