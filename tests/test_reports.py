"""The checked-in reports are what the commands produce, and the README's example runs."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hwsim.explore.exploration import explore
from hwsim.explore.study import read_study
from hwsim.results import redraw_report, write_results

ROOT = Path(__file__).parent.parent
REPORTS = sorted(path.parent for path in ROOT.glob("reports/*/results.json"))


def data_files(directory):
    """Every file of a report folder but the store, as bytes by relative path."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and ".sqlite" not in path.name
    }


def test_the_demo_produces_the_checked_in_report_byte_for_byte(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "designs", "designs")
    directory = Path("reports/digits")
    explored = explore(read_study(Path("designs/digits.toml")), directory)
    write_results(explored, directory, "hwsim explore designs/digits.toml -o reports/digits")
    produced, expected = data_files(directory), data_files(ROOT / directory)
    assert list(produced) == list(expected)
    for name, content in produced.items():
        assert content == expected[name], f"{name} differs from the checked-in file"
    assert explored.reused == 0


@pytest.mark.parametrize("report", REPORTS, ids=lambda path: path.name)
def test_a_checked_in_report_is_redrawn_from_its_results_to_the_same_bytes(tmp_path, report):
    shutil.copy(report / "results.json", tmp_path)
    redraw_report(tmp_path)
    redrawn = data_files(tmp_path)
    assert {"index.html", "front.csv", "evaluations.csv", "figures/front_gates.svg"} <= set(redrawn)
    assert redrawn == {name: content for name, content in data_files(report).items() if name in redrawn}


@pytest.mark.parametrize("report", REPORTS, ids=lambda path: path.name)
def test_a_checked_in_report_belongs_to_its_study(report):
    assert read_study(report / "study.toml") == read_study(ROOT / "designs" / f"{report.name}.toml")


def test_a_checked_in_report_names_no_machine():
    for report in REPORTS:
        text = "".join(path.read_text() for path in (report / "results.json", report / "study.toml"))
        assert not re.search(r"(/home/|/root|/tmp|/work)", text)


def test_the_quick_start_of_the_readme_runs_and_prints_what_it_says(tmp_path):
    blocks = re.findall(
        r"```python\n(.*?)```\n\n```text\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    assert len(blocks) == 1
    code, printed = blocks[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert run.stdout == printed
