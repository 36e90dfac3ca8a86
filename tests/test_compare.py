"""Several explorations on one page: joint front, cheapest designs, what is refused, and the page in a browser."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
from pathlib import Path
from typing import Any

import moocore
import numpy as np
import pytest

from hwsim.cli import main
from hwsim.errors import HwsimError
from hwsim.explore.evaluation import METRICS, Evaluation, pareto_front
from hwsim.report import StudyFacts
from hwsim.report.compare import write_comparison
from hwsim.report.tables import column
from test_page import shown
from test_report import HOSTILE, OBJECTIVES, Page, evaluations, facts, renamed, study_of

Studies = list[tuple[StudyFacts, list[Evaluation]]]


def halves(count: int = 60) -> Studies:
    """One list of designs dealt out to two studies."""
    listed = evaluations(count)
    dealt = [[dataclasses.replace(e, index=i) for i, e in enumerate(listed[start::2])] for start in (0, 1)]
    return [
        (dataclasses.replace(facts(part), title=name), part) for name, part in zip("LR", dealt, strict=True)
    ]


def text_of(page: Page) -> str:
    return " ".join("".join(page.text).split())


def test_the_joint_front_is_that_of_all_designs(tmp_path: Path) -> None:
    studies = halves()
    text = text_of(Page(write_comparison(tmp_path, studies).read_text()))
    everything = [e for _, part in studies for e in part]
    joint = {id(e) for e in pareto_front(everything, OBJECTIVES)}
    of = [sum(id(e) in joint for e in part) for _, part in studies]
    assert f"Of all 60 designs, {len(joint)} are beaten by no other" in text
    assert f": {of[0]} of A, {of[1]} of B." in text


def test_the_share_of_the_hypervolume_is_that_of_moocore(tmp_path: Path) -> None:
    studies = halves()
    costs = [np.array([[METRICS[n].cost(e) for n in OBJECTIVES] for e in part]) for _, part in studies]
    every = np.vstack(costs)
    low, high = every.min(axis=0), every.max(axis=0)
    volume = moocore.Hypervolume(ref=high + 0.1 * (high - low))
    text = text_of(Page(write_comparison(tmp_path, studies).read_text()))
    for part in costs:
        assert f"{100 * volume(part) / volume(every):.1f}%" in text


def test_each_accepted_loss_names_the_cheapest_design_of_each_study(tmp_path: Path) -> None:
    studies = halves()
    text = text_of(Page(write_comparison(tmp_path, studies).read_text()))
    for letter, (_, part) in zip("AB", studies, strict=True):
        fitting = [e for e in part if METRICS["accuracy_loss"].of(e) <= 5]
        best = min(fitting, key=lambda e: (METRICS["gates"].of(e), METRICS["accuracy_loss"].of(e)))
        assert f"{letter}{best.index} {METRICS['gates'].of(best):,.0f} NAND2" in text


def test_studies_of_different_tasks_are_told_apart(tmp_path: Path) -> None:
    (first, part), (second, other) = halves()
    same = text_of(Page(write_comparison(tmp_path, [(first, part), (second, other)]).read_text()))
    changed = dataclasses.replace(second, model="another")
    apart = text_of(Page(write_comparison(tmp_path, [(first, part), (changed, other)]).read_text()))
    assert "studies differ" not in same and "The studies differ in network:" in apart


def test_objectives_are_those_that_all_studies_have(tmp_path: Path) -> None:
    (first, part), (second, other) = halves()
    fewer = dataclasses.replace(second, objectives=("gates", "accuracy_loss"))
    data = Page(write_comparison(tmp_path, [(first, part), (fewer, other)]).read_text()).data
    assert [data["metrics"][i]["name"] for i in data["objectives"]] == ["accuracy_loss", "gates"]
    apart = dataclasses.replace(second, objectives=("area", "accuracy_loss"))
    with pytest.raises(
        HwsimError, match=r"these have accuracy_loss, gates, bandwidth, .*; area, accuracy_loss"
    ):
        write_comparison(tmp_path, [(first, part), (apart, other)])
    with pytest.raises(HwsimError, match='"R" has no evaluation'):
        write_comparison(tmp_path, [(first, part), (second, [])])


def test_hostile_names_change_no_element_of_a_comparison(tmp_path: Path) -> None:
    cycle, plain = (f"{name}{i}" for i, name in enumerate(itertools.cycle(HOSTILE))), itertools.count()

    def page(folder: str, name: Any) -> Page:
        studies = [(study_of(part, name, len(HOSTILE)), renamed(part, name)) for _, part in halves(12)]
        return Page(write_comparison(tmp_path / folder, studies).read_text(encoding="utf-8"))

    attacked, calm = page("a", lambda: next(cycle)), page("b", lambda: f"name{next(plain)}")
    assert [(tag, list(a)) for tag, a in attacked.elements] == [(tag, list(a)) for tag, a in calm.elements]
    assert attacked.inside["script"] == calm.inside["script"]


def results(directory: Path, study: tuple[StudyFacts, list[Evaluation]]) -> Path:
    directory.mkdir()
    told, part = study
    fields = {"facts": dataclasses.asdict(told), "evaluations": [e.to_json() for e in part]}
    (directory / "results.json").write_text(json.dumps(fields))
    return directory


def test_the_command_compares_folders_and_refuses_what_would_be_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (str(results(tmp_path / n, s)) for n, s in zip("ab", halves(), strict=True))

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["hwsim", "report", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    assert run(first, second, "-o", str(tmp_path / "both"), "--json") == (
        0,
        json.dumps({"report": str(tmp_path / "both" / "index.html")}) + "\n",
    )
    status, said = run(first, second)
    assert status == 2 and "write hwsim report A, or hwsim report A B -o DIR" in " ".join(said.split())
    status, said = run(first, second, "-o", first)
    assert status == 2 and "is the folder of an exploration" in said
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["results.json"]


def test_both_fronts_are_drawn_in_their_colours(open_page: Any, tmp_path: Path) -> None:
    studies = halves()
    page = open_page(write_comparison(tmp_path, studies))
    page.uncheck("#close-up")
    fills = page.eval_on_selector_all(
        "#plot .mark.front", "all => all.map(m => m.style.getPropertyValue('--fill'))"
    )
    for number, (_, part) in enumerate(studies):
        assert fills.count(f"var(--kind-{number})") == len(pareto_front(part, OBJECTIVES))
    assert page.locator("#plot .curve").count() == 2 and not page.said
    gates = sorted(
        (METRICS["gates"].of(e), f"row-{'ab'[n]}-{e.point.key()}")
        for n, (_, p) in enumerate(studies)
        for e in p
    )
    page.click("#designs th[data-sort=gates] button")
    assert shown(page)[0] == gates[0][1] and column(METRICS["gates"]) == "gates_nand2"


def test_a_comparison_writes_figures_and_tables_the_same_each_time(tmp_path: Path) -> None:
    studies = halves()
    one, two = (write_comparison(tmp_path / name, studies).parent for name in ("one", "two"))
    files = {str(p.relative_to(one)): p.read_bytes() for p in sorted(one.rglob("*")) if p.is_file()}
    assert files == {str(p.relative_to(two)): p.read_bytes() for p in sorted(two.rglob("*")) if p.is_file()}
    drawn = {f"figures/front_{x}.{kind}" for x in OBJECTIVES[1:] for kind in ("svg", "pdf", "png")}
    assert set(files) == {"index.html", "evaluations.csv", "front.csv", *drawn}
    table = list(csv.DictReader(io.StringIO(files["evaluations.csv"].decode())))
    joint = {id(e) for e in pareto_front([e for _, part in studies for e in part], OBJECTIVES)}
    expected = [
        (letter, e.point.key(), id(e) in joint)
        for letter, (_, part) in zip("AB", studies, strict=True)
        for e in part
    ]
    assert [(row["study"], row["key"], row["joint_front"] == "1") for row in table] == expected
    front = list(csv.DictReader(io.StringIO(files["front.csv"].decode())))
    assert front == [row for row in table if row["joint_front"] == "1"]
    assert files["figures/front_gates.svg"].count(b"<use ") > 60
