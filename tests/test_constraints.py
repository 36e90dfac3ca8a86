"""Constraints: designs within them, the nearest where there is none, and bounds that contradict each other."""

import json
import re
import sys

import pytest

import tiny
from hwsim import cli
from hwsim.errors import HwsimError
from hwsim.explore.constraints import bound_text, keeps, missed_text, nearest
from hwsim.explore.evaluation import METRICS
from hwsim.explore.exploration import explore
from hwsim.study import read_study


@pytest.fixture(scope="module")
def folder(tmp_path_factory, synthesis_cache):
    folder = tiny.write(tmp_path_factory.mktemp("tiny"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HWSIM_CACHE", str(synthesis_cache))
        yield folder


@pytest.fixture(scope="module")
def evaluations(folder):
    study = read_study(folder / "study.toml").model_copy(update={"budget": 12})
    return explore(study, folder / "all").evaluations


def hwsim(monkeypatch, capsys, folder, name, search, constraints, *options):
    text = (folder / "study.toml").read_text() + f"\n[constraints]\n{constraints}\n"
    (folder / f"{name}.toml").write_text(text.replace("budget = 10", f'budget = 12\nsearch = "{search}"'))
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


def test_where_no_design_is_within_a_budget_the_nearest_is_named(folder, evaluations, monkeypatch, capsys):
    status, out, _ = hwsim(monkeypatch, capsys, folder, "none", "evolve", "gates = 1\naccuracy = 0")
    least = min(evaluations, key=METRICS["gates"].of)
    assert status == 0
    assert f"no design keeps the constraints; nearest is {least.point.key()}: " in out
    assert "of gates at most 1\n" in out


def test_the_nearest_misses_by_the_least_share(evaluations):
    bounds = {"accuracy": 101.0, "compression_ratio": 0.1}
    best = nearest(evaluations, bounds)
    assert METRICS["accuracy"].of(best) == max(METRICS["accuracy"].of(e) for e in evaluations)
    assert not keeps(best, bounds) and keeps(best, {"compression_ratio": 0.1}) and keeps(best, {})
    assert missed_text(best, bounds).endswith("of accuracy at least 101")


@pytest.mark.parametrize(
    ("metric", "share", "sentence"),
    [
        ("gates", 0.5, "no design of the space has gates at most .*: the best has .*; loosen it or widen"),
        ("compression_ratio", 2.0, "no design of the space has compression_ratio at least .*: the best has"),
    ],
)
def test_a_bound_beyond_the_space_is_refused(
    folder, evaluations, monkeypatch, capsys, metric, share, sentence
):
    values = [METRICS[metric].of(e) for e in evaluations]
    bound = share * (min(values) if METRICS[metric].better == "lower" else max(values))
    status, _, err = hwsim(monkeypatch, capsys, folder, f"beyond_{metric}", "exact", f"{metric} = {bound}")
    assert status == 2
    assert re.search(sentence, err)


def test_bounds_that_contradict_each_other_are_both_named():
    import numpy as np

    from hwsim.explore.constraints import refuse_contradictions
    from hwsim.explore.front import alone
    from hwsim.explore.prices import Prices

    table = alone(0, np.array([[1.0, 9.0], [5.0, 5.0], [9.0, 1.0]]))
    price = Prices(("mac", "", "", ""), (("a", "b", "c"),), (table,), np.zeros(2), (lambda x: x, lambda x: x))
    refuse_contradictions([price], {"gates": 5.0, "flip_flops": 5.0})
    both = f"{bound_text('gates', 4)} and {bound_text('flip_flops', 4)}"
    with pytest.raises(
        HwsimError, match=f"contradict each other: no design of the space has {both}; loosen one"
    ):
        refuse_contradictions([price], {"gates": 4.0, "flip_flops": 4.0})
    with pytest.raises(HwsimError, match="no design of the space has gates at most 0: the best has 1"):
        refuse_contradictions([price], {"gates": 0.0, "flip_flops": 9.0})


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
