"""Two explorations and two points side by side, held against figures by hand and a published interval."""

import json
from dataclasses import replace

import pytest

import hwsim
import tiny
from hwsim.comparison import accuracy_interval, compare_points, compare_studies
from hwsim.cost.hardware import Part
from hwsim.errors import HwsimError
from hwsim.explore.evaluation import DesignPoint, Evaluation, LayerResult
from hwsim.report import StudyFacts
from hwsim.results import Results
from hwsim.steps.diff import compare


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        ((48, 80), (56, 70), 5.24, 33.39),
        ((3, 10), (9, 10), 17.05, 80.90),
        ((2, 7), (6, 7), 5.82, 80.62),
        ((0, 29), (5, 56), -3.81, 19.26),
        ((0, 10), (10, 10), 60.75, 100.0),
    ],
)
def test_intervals_are_those_of_newcombe_1998_table_ii(first, second, low, high):
    """Method 10, examples (a) to (h), which have the larger proportion first."""
    found = accuracy_interval(first, second)
    assert (round(found.low, 2), round(found.high, 2)) == (low, high)
    swapped = accuracy_interval(second, first)
    assert (swapped.low, swapped.high) == pytest.approx((-found.high, -found.low))


def point(name, correct, gates, bits="int4*uint4/int16", overflowed=0):
    """An evaluation of one layer with a given accuracy and gates."""
    part = Part("mac", "Mac()", 1, gates, 8, None, None, True)
    layer = LayerResult(name, "linear", bits, "int8", 10, 10, (part,), 5, 6, 7, 8, 100, overflowed)
    return Evaluation(
        0, DesignPoint(((name, bits),), "mac", f"{correct}"), correct, 100, 90, 400, 100, 1.0, (layer,)
    )


def results(*evaluations, objectives=("accuracy_loss", "gates"), **stamp):
    return Results(StudyFacts("t", "m", objectives, "", stamp), list(evaluations))


def test_fronts_are_held_against_each_other():
    """First: (loss 10, 50 gates) and (loss 0, 90); second: (loss 10, 40) which dominates one, and (loss 5, 95) which is dominated."""
    cheap, good = point("a", 80, 50.0), point("a", 90, 90.0)
    cheaper, middle = point("a", 80, 40.0, "int3*uint4/int16"), point("a", 85, 95.0)
    found = compare_studies(results(cheap, good, seed="1"), results(cheaper, middle, seed="2"))
    assert (found.fronts, found.joint) == ((2, 2), (1, 1))
    ((first,), (second,)) = found.dominated
    assert (first.point, first.by) == (cheap.point.key(), (cheaper.point.key(),))
    assert (second.point, second.by) == (middle.point.key(), (good.point.key(),))
    assert [(d.what, d.first, d.second) for d in found.facts] == [("seed", "1", "2")]
    assert found.volumes[2] >= max(found.volumes[:2]) and found.same == 0


def test_a_study_beside_itself_differs_in_nothing():
    one = results(point("a", 80, 50.0), point("a", 90, 90.0), seed="1")
    found = compare_studies(one, one)
    assert (found.facts, found.dominated, found.joint, found.same, found.changed) == (
        (),
        ((), ()),
        (2, 2),
        2,
        (),
    )
    assert found.volumes[0] == found.volumes[1] == found.volumes[2] > 0


def test_a_point_with_other_figures_in_both_studies_is_named():
    before, after = point("a", 80, 50.0), replace(point("a", 80, 50.0), file_bytes=99)
    assert compare_studies(results(before), results(after)).changed == (before.point.key(),)


def test_points_differ_layer_by_layer():
    first, second = point("a", 80, 50.0), point("a", 90, 40.0, "int3*uint4/int16", overflowed=3)
    found = compare_points(first, second, ["accuracy_loss", "gates"])
    ((layer, rows),) = [(c.layer, c.differences) for c in found.layers]
    told = {d.what: (d.first, d.second) for d in rows}
    assert layer == "a" and told == {
        "bits": ("int4*uint4/int16", "int3*uint4/int16"),
        "gates": (50.0, 40.0),
        "overflows": (0, 3),
    }
    assert found.dominates == "second" and found.accuracy.difference == 10 and found.accuracy.decided
    assert compare_points(second, first, ["accuracy_loss", "gates"]).dominates == "first"
    other = compare_points(first, point("b", 80, 50.0), ["gates"])
    assert [c.layer for c in other.layers] == ["a", "b"]
    assert {d.second for d in other.layers[0].differences} == {None}


def test_studies_without_a_common_objective_are_refused():
    with pytest.raises(HwsimError, match="no objective in common: gates and area; compare studies"):
        compare_studies(results(objectives=("gates",)), results(objectives=("area",)))


def test_the_command_compares_folders_and_points(tmp_path, monkeypatch):
    monkeypatch.chdir(tiny.write(tmp_path))
    explored = hwsim.explore_study("study.toml", "one")
    (tmp_path / "study.toml").write_text(tiny.STUDY.replace("seed = 3", "seed = 4"))
    hwsim.explore_study("study.toml", "two")
    done = tiny.hwsim("diff", "one", "two", "--json", cwd=tmp_path)
    told = json.loads(done.stdout)
    assert {"seed", "search"} <= {row["what"] for row in told["facts"]}
    assert told["evaluated"] == [10, 10] and told["changed"] == [] and told["same"] >= 8
    first, second = (e.point.key() for e in explored.evaluations[:2])
    done = tiny.hwsim("diff", f"one:{first}", f"two:{first[:9]}", cwd=tmp_path)
    assert "all layers are the same" in done.stdout and "undecided" in done.stdout, done.stderr
    assert compare(f"one:{first}", f"one:{second}").second == second
    for a, b, sentence in [
        ("one", f"two:{first}", "a folder and a design point; give two folders or two FOLDER:KEY"),
        ("one", "three", 'cannot read the results file "three/results.json"'),
        ("one:zz", "one:zz", '"zz" names no design point'),
    ]:
        with pytest.raises(HwsimError) as error:
            compare(a, b)
        assert sentence in str(error.value)
