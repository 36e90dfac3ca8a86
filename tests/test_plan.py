"""``hwsim explore --dry-run``: what it says of an exploration is so, and it leaves everything as it was."""

import json
import sqlite3
import sys
from contextlib import closing

import pytest

import tiny
from hwsim import cli
from hwsim.errors import HwsimError
from hwsim.explore.exploration import explore
from hwsim.explore.plan import plan
from hwsim.explore.searches import SEARCHES
from hwsim.explore.study import read_study
from hwsim.results import write_results


@pytest.fixture
def place(tmp_path, monkeypatch, synthesis_cache):
    monkeypatch.setenv("HWSIM_CACHE", str(synthesis_cache))
    monkeypatch.chdir(tiny.write(tmp_path))
    return tmp_path


@pytest.fixture
def hwsim(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["hwsim", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code, *capsys.readouterr()

    return run


def everything(folder):
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("search", SEARCHES)
def test_a_dry_run_counts_space_and_evaluations_and_touches_nothing(place, hwsim, search):
    text = (place / "study.toml").read_text()
    (place / "study.toml").write_text(text.replace("budget = 10", f'budget = 100\nsearch = "{search}"'))
    before = everything(place)
    status, out, err = hwsim("explore", "study.toml", "-o", "out", "--dry-run", "--json")
    assert status == 0, err
    found = json.loads(out)
    # 2 layers of 2 weight formats, 3 quantizers; alike in both layers: 2 times 3
    assert found["space"] == 12
    assert found["planned"] == found["left"] == (6 if search == "uniform" else 12)
    assert found["in_store"] == 0
    assert 0 < found["seconds"][0] <= found["seconds"][1]
    assert "two designs measured now on 40 of 40 test images" in found["seconds_from"]
    assert everything(place) == before


def test_a_dry_run_of_a_folder_counts_what_it_holds_by_the_seconds_that_took(place, hwsim):
    study = read_study(place / "study.toml")
    explored = explore(study.model_copy(update={"budget": 4}), place / "out")
    write_results(explored, place / "out")
    with closing(sqlite3.connect(place / "out" / "evaluations.sqlite")) as connection:
        connection.execute("UPDATE evaluations SET seconds = 30")
        connection.commit()
    before = everything(place)
    _, out, _ = hwsim("explore", "study.toml", "-o", "out", "--dry-run", "--json", "--workers", "3")
    found = json.loads(out)
    assert (found["planned"], found["in_store"], found["left"]) == (10, 4, 6)
    assert found["seconds"] == [60.0, 60.0]  # 6 of 30 s by 3
    assert found["seconds_from"] == "the mean of 4 evaluations in the store"
    _, out, _ = hwsim("explore", "study.toml", "-o", "out", "--dry-run")
    assert "space: 12 designs\n" in out
    assert '10 planned by search "exact", 4 of them in the store, 6 left' in out
    assert "time: 3 min with 1 worker, 30 s an evaluation" in out
    assert everything(place) == before


def test_the_disk_said_is_that_of_store_and_results(place):
    study = read_study(place / "study.toml").model_copy(update={"budget": 12})
    said = plan(study, place / "out", threads=1).disk_bytes
    write_results(explore(study, place / "out"), place / "out")
    took = sum((place / "out" / name).stat().st_size for name in ("evaluations.sqlite", "results.json"))
    assert 0.5 < said / took < 2


def test_a_store_that_was_left_with_its_log_is_read_whole(place):
    from hwsim.explore.store import open_store

    study = read_study(place / "study.toml")
    explore(study.model_copy(update={"budget": 4}), place / "out")
    with open_store(place / "out" / "evaluations.sqlite") as store:
        store.connection.execute("DELETE FROM evaluations WHERE rowid > 3")
        left = {path.name: path.read_bytes() for path in (place / "out").glob("evaluations.sqlite*")}
    assert len(left["evaluations.sqlite-wal"]) > 0
    for name, content in left.items():
        (place / "out" / name).write_bytes(content)
    assert plan(study, place / "out", threads=1).kept == 3


def test_a_point_set_aside_is_left_only_where_it_is_tried_again(place):
    from hwsim.explore.store import open_store

    study = read_study(place / "study.toml")
    explored = explore(study.model_copy(update={"budget": 4}), place / "out")
    with open_store(place / "out" / "evaluations.sqlite") as store:
        store.put_aside(f"{explored.bench.stamp}-0", 3, "it fails")
    given = plan(study, place / "out", threads=1)
    assert (given.kept, given.set_aside, given.left) == (4, 1, 5)
    assert plan(study, place / "out", threads=1, retry=True).left == 6


def test_what_an_exploration_refuses_its_dry_run_refuses(place):
    study = read_study(place / "study.toml")
    explore(study.model_copy(update={"budget": 1}), place / "out")
    with pytest.raises(HwsimError, match="holds another study"):
        plan(study.model_copy(update={"seed": 4}), place / "out", threads=1)
    (place / "net.py").write_text(tiny.MODEL.replace("default_rng(0)", "default_rng(9)"))
    with pytest.raises(HwsimError, match="holds evaluations of another model"):
        plan(study, place / "out", threads=1)


def test_without_a_folder_only_a_dry_run_is_possible(place, hwsim):
    status, out, err = hwsim("explore", "study.toml")
    assert (status, out) == (2, "")
    assert "need a folder; give one with -o" in err
    assert hwsim("explore", "study.toml", "--dry-run")[0] == 0
