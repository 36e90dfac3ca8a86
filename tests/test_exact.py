"""The exact search: prices that are the evaluations', a model that is Gaussian regression, points that promise most."""

import sys
from dataclasses import replace

import moocore
import numpy as np
import pytest

import tiny
from hwsim.errors import HwsimError
from hwsim.explore import sensitivity
from hwsim.explore.evaluation import METRICS
from hwsim.explore.exact import Promises, most_promising
from hwsim.explore.exploration import explore
from hwsim.explore.prices import priced_objectives, prices
from hwsim.explore.search import SEARCHES
from hwsim.explore.space import search_space
from hwsim.explore.surrogate import Features, Posterior, Scale, fit
from hwsim.study import read_study

OBJECTIVES = ("accuracy_loss", "gates", "bandwidth", "compression_ratio", "flip_flops")


@pytest.fixture(scope="module")
def explored(tmp_path_factory, synthesis_cache):
    """Every point of the tiny space, evaluated in the order of the exact search."""
    folder = tiny.write(tmp_path_factory.mktemp("tiny"))
    text = (
        (folder / "study.toml")
        .read_text()
        .replace("budget = 10", f'budget = 100\nsearch = "exact"\nobjectives = {list(OBJECTIVES)}')
    )
    (folder / "study.toml").write_text(
        text.replace("activations = [4]", "activations = [3, 4]").replace('"int3", ', "")
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HWSIM_CACHE", str(synthesis_cache))
        yield explore(read_study(folder / "study.toml"), folder / "out")


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
        (costs,) = price.costs(sum(table.of(choices) for table in price.tables))
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
        SEARCHES["exact"](space, [], ("accuracy_loss", "gates"), rng, 1)
    with pytest.raises(HwsimError, match="knows no way to add up critical_path over layers; leave it out"):
        priced_objectives(("accuracy_loss", "critical_path"))


def test_the_scale_reads_back_what_it_gave():
    scale = Scale(500, 470, 10)
    correct = np.array([60.0, 100, 300, 465, 470, 480])
    np.testing.assert_allclose(scale.correct(scale.sums(correct)), correct)
    assert scale.sums(np.array([470.0]))[0] == 0
    assert np.isfinite(scale.sums(np.array([0.0]))).all() and np.isfinite(scale.variance(correct)).all()


def test_the_posterior_is_that_of_gaussian_process_regression():
    """The same belief in the space of points instead of factors: the dual form, with one kernel matrix."""
    rng = np.random.default_rng(1)
    groups = np.array([0, 1, 1, 1, 1])
    rows = np.abs(rng.normal(size=(12, 5)))
    sums, variance = rows @ rng.normal(1, 0.1, 5), rng.uniform(0.01, 0.1, 12)
    given = Features(((),), groups, 0.7)
    found = fit(given, rows, sums, variance)
    evidence = []
    for variation in (0.1, 0.2, 0.4):
        for deviation in (0.02, 0.05, 0.1, 0.2):
            prior = np.diag(np.where(groups == 0, 0.7, variation * 0.7) ** 2)
            kernel = rows @ prior @ rows.T + np.diag(variance + (deviation * 0.7 * rows[:, 0]) ** 2)
            error = sums - 0.7 * rows[:, 0]
            log = -(error @ np.linalg.solve(kernel, error) + np.linalg.slogdet(kernel)[1]) / 2
            evidence.append((log, deviation, prior, kernel))
    _, deviation, prior, kernel = max(evidence, key=lambda item: item[0])
    new = np.abs(rng.normal(size=(7, 5)))
    cross = new @ prior @ rows.T
    expected = 0.7 * new[:, 0] + cross @ np.linalg.solve(kernel, sums - 0.7 * rows[:, 0])
    spread = np.diag(new @ prior @ new.T - cross @ np.linalg.solve(kernel, cross.T))
    np.testing.assert_allclose(new @ found.mean, expected)
    np.testing.assert_allclose(found.variance(new), spread + (deviation * 0.7 * new[:, 0]) ** 2)


def test_a_point_measured_at_its_mean_narrows_the_belief_as_a_fit_does():
    rng = np.random.default_rng(2)
    given = Features(((),), np.array([0, 1, 1]), 1.0)
    rows = np.abs(rng.normal(size=(6, 3)))
    found = fit(given, rows, rows.sum(axis=1), np.full(6, 0.01))
    precision = found.root @ found.root.T
    added = found.after(rows[0], 0.3)
    noise = 0.3 + (found.deviation * rows[0, 0]) ** 2
    np.testing.assert_allclose(added.root @ added.root.T, precision + np.outer(rows[0], rows[0]) / noise)


@pytest.mark.parametrize("seed", range(5))
def test_of_points_that_are_certain_the_one_of_most_hypervolume_is_chosen(seed):
    rng = np.random.default_rng(seed)
    scale = Scale(10_000, 10_000, 2)
    lost = rng.integers(1, 5000, 40).astype(float)
    costs = rng.random((40, 2))
    sums = scale.sums(10_000 - lost)
    certain = Posterior(np.ones(1), np.full((1, 1), 1e9), 0.0)
    measured = np.column_stack([costs, lost])[:6]
    (best,) = most_promising(Promises(costs[6:], sums[6:, None]), certain, measured, scale, rng, 1)
    points = np.column_stack([costs, lost])
    front = points[moocore.is_nondominated(points)]
    low, high = front.min(axis=0), front.max(axis=0)

    def volume(rows):
        return moocore.hypervolume((rows - low) / (high - low), np.ones(3))

    gains = [volume(np.vstack([measured, points[6 + place]])) - volume(measured) for place in range(34)]
    assert gains[best] > 0.9 * max(gains)


def test_points_beyond_the_limits_are_chosen_last():
    scale = Scale(10_000, 10_000, 2)
    costs = np.linspace(0, 1, 12)
    lost = np.rint(4500 * (1 - costs) ** 2 + 10)
    certain = Posterior(np.ones(1), np.full((1, 1), 1e9), 0.0)
    promises = Promises(costs[:, None], scale.sums(10_000 - lost)[:, None])
    within = {place for place in range(12) if costs[place] <= 0.7 and lost[place] <= 2500}
    assert len(within) == 5
    rng = np.random.default_rng(0)
    nothing, limits = np.zeros((0, 2)), np.array([0.7, 2500.0])
    assert set(most_promising(promises, certain, nothing, scale, rng, 5, limits=limits)) == within
    assert set(most_promising(promises, certain, nothing, scale, rng, 5)) != within
