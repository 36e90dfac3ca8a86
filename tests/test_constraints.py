"""Constraints: designs within them, the nearest where there is none, and bounds that contradict each other."""

import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest

import tiny
from hwsim import cli
from hwsim.errors import HwsimError
from hwsim.explore.bench import Bench, open_bench
from hwsim.explore.constraints import keeps, missed, nearest, refuse_contradictions, refuse_unattainable
from hwsim.explore.evaluation import METRICS, pareto_front
from hwsim.explore.exploration import explore
from hwsim.explore.folder import STORE
from hwsim.explore.front import alone
from hwsim.explore.prices import Prices
from hwsim.explore.search import uniform
from hwsim.explore.searches import SEARCHES
from hwsim.explore.space import search_space
from hwsim.explore.study import read_study


@pytest.fixture(scope="module")
def folder(tmp_path_factory, working_in):
    folder = tiny.write(tmp_path_factory.mktemp("tiny"))
    return working_in(folder)


@pytest.fixture(scope="module")
def evaluations(folder):
    study = read_study(folder / "study.toml").model_copy(update={"budget": 12})
    return explore(study, folder / "all").evaluations


def hwsim(monkeypatch, capsys, folder, name, search, constraints, *options, given=""):
    text = (folder / "study.toml").read_text() + f"\n[constraints]\n{constraints}\n"
    (folder / f"{name}.toml").write_text(
        text.replace("budget = 10", f'budget = 12\nsearch = "{search}"\n{given}')
    )
    monkeypatch.setattr(sys, "argv", ["hwsim", "explore", f"{name}.toml", "-o", name, *options])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code, *capsys.readouterr()


def test_the_designs_within_a_budget_are_named(folder, evaluations, monkeypatch, capsys):
    gates = sorted(METRICS["gates"].of(e) for e in evaluations)[5]
    _, out, _ = hwsim(monkeypatch, capsys, folder, "within", "evolve", f"gates = {gates}", "--json")
    found = json.loads(out)
    expected = {e.point.key() for e in evaluations if METRICS["gates"].of(e) <= gates}
    assert found["within_constraints"] == [key for key in found["front"] if key in expected]
    assert "nearest" not in found


def test_where_no_design_is_within_a_bound_the_nearest_is_named_and_by_how_much_it_misses(
    folder, evaluations, monkeypatch, capsys
):
    bounds = "accuracy = 100\naccuracy_loss = 100"  # what only measuring tells
    status, out, _ = hwsim(monkeypatch, capsys, folder, "none", "evolve", bounds)
    best = max(evaluations, key=METRICS["accuracy"].of)
    accuracy = METRICS["accuracy"].of(best)
    assert status == 0
    assert (
        f"no design keeps the constraints; nearest is {best.point.key()}, which misses accuracy at least 100 by "
        f"{100 - accuracy:.7g} (has {accuracy:.7g})\n" in out
    )
    _, out, _ = hwsim(monkeypatch, capsys, folder, "none", "evolve", bounds, "--json")
    assert json.loads(out)["nearest_misses"] == {"accuracy": 100 - accuracy}


def test_a_design_within_a_bound_is_named_though_the_bound_is_on_no_objective(
    folder, evaluations, monkeypatch, capsys
):
    accuracy = max(METRICS["accuracy"].of(e) for e in evaluations)
    within = [e for e in evaluations if METRICS["accuracy"].of(e) == accuracy]
    _, out, _ = hwsim(
        monkeypatch,
        capsys,
        folder,
        "other",
        "evolve",
        f"accuracy = {accuracy}",
        "--json",
        given='objectives = ["gates"]',
    )
    found = json.loads(out)
    assert found["within_constraints"] == [e.point.key() for e in pareto_front(within, ("gates",))]
    assert set(found["front"]).isdisjoint(found["within_constraints"])


def test_the_nearest_misses_by_the_least_share(evaluations):
    bounds = {"accuracy": 101.0, "compression_ratio": 0.1}
    best = nearest(evaluations, bounds)
    accuracy = METRICS["accuracy"].of(best)
    assert accuracy == max(METRICS["accuracy"].of(e) for e in evaluations)
    assert not keeps(best, bounds) and keeps(best, {"compression_ratio": 0.1}) and keeps(best, {})
    assert missed(best, bounds) == {"accuracy": 101 - accuracy}


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize(
    ("metric", "share", "sentence"),
    [
        ("gates", 0.5, "no design of the space has gates at most .*: the best has (.*); loosen it to that"),
        (
            "compression_ratio",
            2,
            "no design of the space has compression_ratio at least .*: the best has (.*); ",
        ),
    ],
)
def test_a_bound_beyond_the_space_is_refused_before_anything_is_evaluated(
    folder, evaluations, monkeypatch, capsys, search, metric, share, sentence
):
    values = [METRICS[metric].of(e) for e in evaluations]
    best = min(values) if METRICS[metric].better == "lower" else max(values)
    name = f"beyond_{metric}_{search}"
    monkeypatch.setattr(Bench, "evaluate", None)
    for options in ([], ["--dry-run"]):
        status, _, err = hwsim(
            monkeypatch, capsys, folder, name, search, f"{metric} = {share * best}", *options
        )
        told = re.search(sentence, err)
        assert status == 2 and float(told[1].replace(",", "")) == pytest.approx(best, rel=0.03)
    assert not (folder / name / STORE).exists()


@pytest.mark.parametrize("quantizer", ["activations=min_max", "allocation=exact"])
def test_a_bound_at_the_best_of_a_space_is_not_beyond_it(folder, quantizer):
    text = re.sub("quantizers = .*", f'quantizers = ["{quantizer}"]', (folder / "study.toml").read_text())
    (folder / "best.toml").write_text(text)
    study = read_study(folder / "best.toml")
    bench = open_bench(study)
    space = search_space(study, bench.network)
    every = [bench.evaluate(0, point) for point in uniform(space, [], (), np.random.default_rng(0), 4)]
    for metric in ("gates", "compression_ratio", "bandwidth"):
        best = METRICS[metric].of(min(every, key=METRICS[metric].cost))
        bounded = replace(bench, study=study.model_copy(update={"constraints": {metric: best}}))
        refuse_contradictions(replace(space, bench=bounded))


def test_an_accuracy_above_100_percent_is_refused(folder, monkeypatch, capsys):
    status, _, err = hwsim(monkeypatch, capsys, folder, "perfect", "random", "accuracy = 100.5")
    assert status == 2 and "no design has accuracy at least 100.5; ask for at most 100" in err


def test_a_gain_that_would_take_more_than_all_images_is_refused(folder, monkeypatch, capsys):
    """The float network of this study is right on all of them."""
    status, _, err = hwsim(monkeypatch, capsys, folder, "gain", "random", "accuracy_loss = -0.5")
    said = "no design has accuracy_loss at most -0.5: with all images right it is 0; ask for that at least"
    assert status == 2 and said in err


def priced(*choices):
    """Prices of one choice, its places with these costs."""
    table = alone(0, np.array(choices, np.float64))
    same = (lambda x: x,) * len(choices[0])
    return [
        Prices(("mac", "", "", ""), (np.arange(len(choices)),), (table,), np.zeros(len(choices[0])), same)
    ]


def test_bounds_that_contradict_each_other_are_named_with_what_can_be_had():
    prices = priced([1, 9], [5, 5], [9, 1])
    refuse_unattainable(prices, {"gates": 5.0, "flip_flops": 5.0})
    both = "no design of the space has gates at most 4 and flip_flops at most 4"
    least = "loosen one to gates at most 9 or flip_flops at most 9"
    with pytest.raises(HwsimError, match=f"constraints contradict each other: {both}; {least}"):
        refuse_unattainable(prices, {"gates": 4.0, "flip_flops": 4.0})
    with pytest.raises(HwsimError, match="no design of the space has gates at most 0: the best has 1"):
        refuse_unattainable(prices, {"gates": 0.0, "flip_flops": 9.0})


def test_of_many_bounds_the_fewest_that_contradict_are_named():
    prices = priced([1, 1, 9], [9, 1, 1], [1, 9, 1])
    with pytest.raises(HwsimError, match="has gates at most 5 and flip_flops at most 5 and area at most 5; "):
        refuse_unattainable(prices, {"gates": 5.0, "flip_flops": 5.0, "area": 5.0})
    refuse_unattainable(prices, {"gates": 5.0, "flip_flops": 5.0, "area": 9.0})


@pytest.mark.parametrize("metric", ["energy", "area"])
def test_a_bound_on_what_is_not_measured_is_refused(folder, metric):
    text = (folder / "study.toml").read_text() + f"\n[constraints]\n{metric} = 5\n"
    (folder / "unmeasured.toml").write_text(text)
    with pytest.raises(HwsimError, match=metric):
        read_study(folder / "unmeasured.toml")


@pytest.mark.parametrize("text", ["gatse = 5", 'gates = "5"', "gates = nan", "gates = inf"])
def test_constraints_that_are_none_are_refused(folder, text):
    (folder / "wrong.toml").write_text(f'title = "T"\nmodel = "digits"\n[constraints]\n{text}\n')
    with pytest.raises(HwsimError, match="refused: "):
        read_study(folder / "wrong.toml")


def test_constraints_read_back_equal(folder):
    (folder / "some.toml").write_text(
        'title = "T"\nmodel = "digits"\n[constraints]\ngates = 5000\naccuracy = 97.5\n'
    )
    study = read_study(folder / "some.toml")
    (folder / "again.toml").write_text(study.to_toml())
    assert read_study(folder / "again.toml") == study
    assert study.constraints == {"gates": 5000.0, "accuracy": 97.5}
