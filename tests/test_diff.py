"""Two explorations and two points side by side, held against figures by hand and a published interval."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hwsim
import tiny
from hwsim.cli import main
from hwsim.comparison import accuracies, accuracy_interval, compare_points, compare_studies, paired_interval
from hwsim.cost.hardware import Part
from hwsim.errors import HwsimError
from hwsim.explore.evaluation import DesignPoint, Evaluation, LayerResult, marks
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


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [((1, 1, 7, 12), 2.6, 50.7), ((36, 2, 12, 0), 5.69, 34.04)],
)
def test_paired_intervals_are_published_ones(table, low, high):
    """Fagerland, Lydersen and Laake, "Statistical Analysis of Contingency Tables", 2017, chapter 8, airway responsiveness;
    Newcombe 1998, method 10 of paired data."""
    found = paired_interval(*table)
    digits = 1 if (low, high) == (2.6, 50.7) else 2
    assert (round(found.low, digits), round(found.high, digits)) == (low, high)
    both, first, second, neither = table
    swapped = paired_interval(both, second, first, neither)
    assert (swapped.low, swapped.high) == pytest.approx((-found.high, -found.low))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=90))
def test_accuracies_of_the_same_images_are_compared_image_by_image(pairs):
    first, second = (measured([pair[side] for pair in pairs]) for side in (0, 1))
    found = accuracies(first, second, ("t", "t"))
    only = tuple(sum(pair == alone for pair in pairs) for alone in ((True, False), (False, True)))
    assert found.only == only and found.unpaired == ""
    assert found.difference == pytest.approx(100 * (only[1] - only[0]) / len(pairs))
    assert -100 - 1e-9 <= found.low <= found.difference + 1e-9
    assert found.difference - 1e-9 <= found.high <= 100 + 1e-9


def test_agreeing_designs_differ_by_less_than_independent_ones():
    rights = [i % 10 > 0 for i in range(500)]
    first, second = measured(rights), measured([right and i != 7 for i, right in enumerate(rights)])
    paired, apart = (accuracies(first, second, tests) for tests in (("t", "t"), ("t", "u")))
    assert paired.high - paired.low < 0.4 * (apart.high - apart.low)
    assert apart.only is None and apart.unpaired == "the test images are others"
    unkept = accuracies(replace(first, right=""), second, ("t", "t"))
    assert unkept.unpaired == "the first did not keep which images were right; explore again"
    assert (unkept.low, unkept.high) == (apart.low, apart.high)


def measured(rights):
    """An evaluation with these images right."""
    made = point("a", sum(rights), 50.0)
    return replace(made, images=len(rights), right=marks(np.array(rights)))


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
    coded = replace(second, point=replace(second.point, coders=("huffman",)))
    ((_, rows),) = [(c.layer, c.differences) for c in compare_points(first, coded, ["gates"]).layers]
    assert ("coder", None, "huffman") in {(d.what, d.first, d.second) for d in rows}
    assert found.dominates == "second" and found.accuracy.difference == 10 and found.accuracy.decided
    assert compare_points(second, first, ["accuracy_loss", "gates"]).dominates == "first"
    other = compare_points(first, point("b", 80, 50.0), ["gates"])
    assert [c.layer for c in other.layers] == ["a", "b"]
    assert {d.second for d in other.layers[0].differences} == {None}


def test_studies_without_a_common_objective_are_refused():
    with pytest.raises(HwsimError, match="no objective in common: gates and area; compare studies"):
        compare_studies(results(objectives=("gates",)), results(objectives=("area",)))


def test_the_command_compares_folders_and_points(tmp_path, monkeypatch, capsys):
    """An exploration beside its own folder under another seed, of which one point was not evaluated."""
    monkeypatch.chdir(tiny.write(tmp_path))
    (tmp_path / "study.toml").write_text(tiny.STUDY.replace("budget = 10", "budget = 3"))
    explored = hwsim.explore_study("study.toml", "one")
    shutil.copytree("one", "two")
    told = json.loads(Path("one/results.json").read_text())
    told["facts"]["stamp"]["search"] = "evolve, seed 4, budget 3"
    told["evaluations"].pop()
    Path("two/results.json").write_text(json.dumps(told))
    Path("two/study.toml").write_text(Path("one/study.toml").read_text().replace("seed = 3", "seed = 4"))

    def said(*arguments):
        monkeypatch.setattr("sys.argv", ["hwsim", "diff", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        return capsys.readouterr().out

    told = json.loads(said("one", "two", "--json"))
    assert {"seed", "search"} == {row["what"] for row in told["facts"]}
    assert (told["evaluated"], told["changed"], told["same"]) == ([3, 2], [], 2)
    assert "image by image" in said("one", "two")
    first, second = (e.point.key() for e in explored.evaluations[:2])
    shown = said(f"one:{first}", f"two:{first[:9]}")
    assert "all layers are the same" in shown and "undecided" in shown
    assert "image by image: 0 right in the first alone, 0 in the second alone" in shown
    assert compare(f"one:{first}", f"one:{second}").second == second
    for a, b, sentence in [
        ("one", f"two:{first}", "a folder and a design point; give two folders or two FOLDER:KEY"),
        ("one", "three", 'cannot read the results file "three/results.json"'),
        ("one:zz", "one:zz", '"zz" names no design point'),
    ]:
        with pytest.raises(HwsimError) as error:
            compare(a, b)
        assert sentence in str(error.value)
