"""Workers: the bytes of the serial run with any number, whichever of them dies; points that never succeed."""

import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, suppress
from pathlib import Path

import pytest

import tiny
from at_work import all_ended, at_work
from forked import Forks
from hwsim import explore_study
from hwsim.errors import HwsimError
from hwsim.explore.attempt import here
from hwsim.explore.exploration import explore
from hwsim.explore.study import read_study
from hwsim.explore.workers import workers
from hwsim.results import read_results


@pytest.fixture
def place(tmp_path, monkeypatch, synthesis_cache):
    monkeypatch.setenv("HWSIM_CACHE", str(synthesis_cache))
    monkeypatch.chdir(tiny.write(tmp_path))
    return tmp_path


def stored(folder):
    """Every row of a store, without the seconds it took."""
    with closing(sqlite3.connect(folder / "evaluations.sqlite")) as connection:
        return sorted(connection.execute("SELECT key, digest, text FROM evaluations"))


def written(folder):
    """Every file that an exploration wrote but its store, by path; what a kill left unfinished is none of them."""
    return {
        str(path.relative_to(folder)): path.read_bytes().replace(folder.name.encode(), b"")
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".sqlite" and not path.name.startswith(".writing-")
    }


def children(of=None):
    """The workers that a process, this one if none is given, has started and not yet seen end."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == (of or os.getpid()) and b"hwsim.explore.worker" in (place / "cmdline").read_bytes():
                found.append(int(place.name))
        except (OSError, ValueError):
            continue
    return found


def test_two_workers_one_of_which_is_killed_write_the_bytes_of_the_serial_run(place):
    explore_study("study.toml", place / "one_by_one")
    killed = []

    def kill_one(stage, done, planned):
        if stage == "evaluate design points" and done == 3 and not killed:
            killed.append(children()[0])
            os.kill(killed[0], signal.SIGKILL)

    explored = explore_study("study.toml", place / "side_by_side", evaluators=workers(2), progress=kill_one)
    assert killed and not children()
    assert not explored.set_aside
    assert written(place / "side_by_side") == written(place / "one_by_one")
    assert stored(place / "side_by_side") == stored(place / "one_by_one")


@pytest.mark.slow
def test_any_number_of_workers_writes_the_same_bytes_though_twenty_are_killed(place):
    explore_study("study.toml", place / "one_by_one")
    killed, rng = [], random.Random(0)
    for count in (1, 2, 3, 4, 2, 3, 4):

        def kill_one(stage, done, planned):
            if stage == "evaluate design points" and done in (1, 3, 9) and children():
                killed.append(rng.choice(children()))
                os.kill(killed[-1], signal.SIGKILL)

        folder = place / str(len(killed)) / "side_by_side"
        explored = explore_study("study.toml", folder, evaluators=workers(count), progress=kill_one)
        assert not explored.set_aside
        assert stored(folder) == stored(place / "one_by_one")
        assert evaluations(folder) == evaluations(place / "one_by_one")
    assert len(set(killed)) >= 20


def evaluations(folder):
    return json.loads((folder / "results.json").read_text())["evaluations"]


UNEVEN = """
import random, time
from pathlib import Path
from hwsim.quantize.min_max import threshold

def waits(statistics, target):
    until = time.monotonic() + 100
    while not Path("others_ended").exists():
        assert time.monotonic() < until, "nobody goes on"
        time.sleep(0.01)
    return threshold(statistics, target)

def naps(statistics, target):
    time.sleep(random.random() / 20)
    return threshold(statistics, target)
"""


def one_waits(place, evaluators, folder):
    """The exploration of ten points, four in flight, whose third ends when five others have; the rest take no even time."""
    (place / "uneven.py").write_text(UNEVEN)
    names = [f"activations=uneven.py:naps tolerance={1 + n / 1000:g}" for n in range(10)]
    names[4] = "activations=uneven.py:waits"  # what uniform proposes third
    given = read_study(place / "study.toml")
    space = given.space.model_copy(update={"weights": ("int4",), "quantizers": tuple(names)})
    study = given.model_copy(update={"search": "uniform", "in_flight": 4, "space": space})

    def progress(stage, done, planned):
        if stage == "evaluate design points" and done == 5:
            (place / "others_ended").touch()

    explored = explore(study, folder, evaluators=evaluators, progress=progress)
    assert explored.evaluations[2].point.quantizer == names[4]
    assert len(explored.evaluations) == 10
    return explored.evaluations, stored(folder)


def test_while_one_worker_is_at_a_point_the_other_goes_on_with_those_proposed_after_it(place):
    spread = one_waits(place, workers(2), place / "spread")
    assert one_waits(place, here, place / "one_by_one") == spread


@pytest.mark.slow
def test_any_number_of_workers_at_uneven_points_stores_the_same_rows(place):
    spread = [one_waits(place, workers(count), place / str(count)) for count in (2, 3, 5, 1)]
    assert all(found == spread[0] for found in spread)


POISON = """
import os, signal, time
from hwsim.quantize.min_max import threshold

def ends(statistics, target):
    print("a line on standard output")
    os.kill(os.getpid(), signal.SIGSEGV)

def raises(statistics, target):
    with open("raised", "a") as file:
        file.write("x")
    raise RuntimeError("two\\nlines")

def sleeps(statistics, target):
    time.sleep(1000)

def prints(statistics, target):
    print("no answer", flush=True)
    return threshold(statistics, target)
"""


def poisoned(place, *names):
    """A study of one point for each quantizer, some of which never give a threshold."""
    (place / "own.py").write_text(POISON)
    quantizers = ["activations=min_max", *(f"activations=own.py:{name}" for name in names)]
    study = read_study(place / "study.toml")
    space = study.space.model_copy(update={"weights": ("int4",), "quantizers": tuple(quantizers)})
    return study.model_copy(update={"space": space})


def test_points_that_never_succeed_are_set_aside_and_the_exploration_goes_on(place):
    study = poisoned(place, "ends", "raises", "prints")
    explored = explore_study(study, place / "out", evaluators=workers(1))
    assert {e.point.quantizer for e in explored.evaluations} == {
        "activations=min_max",
        "activations=own.py:prints",
    }
    reasons = {item.point.quantizer: (item.tries, item.reason) for item in explored.set_aside}
    assert reasons == {
        "activations=own.py:ends": (3, "its process was ended by SIGSEGV"),
        "activations=own.py:raises": (3, "RuntimeError: two lines"),
    }
    assert (place / "raised").read_text() == "xxx"
    assert not children()

    results = json.loads((place / "out" / "results.json").read_text())
    assert {item["reason"] for item in results["set_aside"]} == {why for _, why in reasons.values()}
    for _, reason in reasons.values():
        assert sum(f"tried 3 times, {reason}." in note for note in results["facts"]["notes"]) == 1
        assert reason in (place / "out" / "index.html").read_text()

    again = explore_study(study, place / "out", evaluators=here)
    assert (again.set_aside, again.reused) == (explored.set_aside, 2)
    assert (place / "raised").read_text() == "xxx"


def test_a_point_set_aside_can_be_tried_again(place):
    study = poisoned(place, "raises")
    assert len(explore_study(study, place / "out").set_aside) == 1
    assert (place / "raised").read_text() == "xxx"
    explore_study(study, place / "out", retry=True)
    assert (place / "raised").read_text() == "xxxxxx"


def test_a_point_that_takes_too_long_is_set_aside(place):
    study = poisoned(place, "sleeps")
    assert explore_study(study.model_copy(update={"budget": 1}), place / "out").evaluations
    explored = explore_study(study, place / "out", evaluators=workers(1, timeout_s=1.0))
    (aside,) = explored.set_aside
    assert explored.reused == 1
    assert (aside.tries, aside.reason) == (3, "it took longer than 1 s")
    assert not children()


def test_where_no_point_can_be_evaluated_one_sentence_says_why_and_none_is_set_aside(place):
    study = poisoned(place, "raises")
    study = study.model_copy(
        update={"space": study.space.model_copy(update={"quantizers": study.space.quantizers[1:]})}
    )
    with pytest.raises(HwsimError, match=r"no design can be evaluated: RuntimeError: two lines"):
        explore_study(study, place / "out", evaluators=here)
    (place / "own.py").write_text(
        POISON.replace("raise RuntimeError", "return threshold(statistics, target) #")
    )
    assert not explore_study(study, place / "out", evaluators=here).set_aside


CRASHES = """
import os, signal
from dataclasses import dataclass
from hwsim.datapath.mac import Mac

@dataclass(frozen=True)
class Crashes(Mac):
    def connect(self, wires):
        if self.weight.bits == 3:
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().connect(wires)
"""


def crashing(place):
    """The tiny study with a datapath whose circuits with int3 weights end whatever makes them."""
    (place / "crashes.py").write_text(CRASHES)
    study = read_study(place / "study.toml")
    space = study.space.model_copy(
        update={"datapaths": ("mac", "crashes.py:Crashes"), "quantizers": ("activations=min_max",)}
    )
    return study.model_copy(update={"space": space, "search": "exact"})


def test_weights_that_crash_a_datapath_are_left_out_of_it_alone_and_the_rest_is_explored(place):
    study = crashing(place)
    explored = explore_study(study, place / "out", evaluators=workers(2))
    (aside,) = explored.set_aside
    assert str(aside) == (
        "all designs with int3 weights; crashes.py:Crashes; activations=min_max: tried 3 times, its process was "
        "ended by SIGSEGV"
    )
    chosen = [(e.point.datapath, "int3" in str(e.point.bits)) for e in explored.evaluations]
    assert sorted(chosen) == [("crashes.py:Crashes", False), ("mac", False)] + 3 * [("mac", True)]
    again = explore_study(study, place / "out", evaluators=here)
    assert (again.set_aside, again.reused) == (explored.set_aside, 5)
    assert read_results(place / "out").set_aside == explored.set_aside


@pytest.mark.slow
def test_what_is_left_out_does_not_depend_on_the_number_of_workers(place):
    for name, count in (("by_one", 1), ("by_three", 3)):
        explore_study(crashing(place), place / name, evaluators=workers(count))
    assert written(place / "by_one") == written(place / "by_three")


def test_a_worker_that_cannot_load_the_study_says_why_in_one_sentence(place, monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(HwsimError, match=r"no worker can be started \(its process ended with status 1\)"):
        explore_study("study.toml", place / "out", evaluators=workers(2))


HANGS_ONCE = """#!/bin/sh
[ -e {0}.hung ] || {{ touch {0}.hung; exec sleep 600; }}
exec {1} "$@"
"""


def test_a_worker_that_hangs_before_it_has_begun_is_ended_and_another_started(place, monkeypatch):
    script = place / "python"
    script.write_text(HANGS_ONCE.format(script, sys.executable))
    script.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(script))
    monkeypatch.setattr("hwsim.explore.workers.LOADING_S", 8.0)
    explored = explore_study("study.toml", place / "out", evaluators=workers(1))
    assert (place / "python.hung").exists() and not children()
    assert len(explored.evaluations) == 10 and not explored.set_aside


def test_workers_that_always_hang_before_they_have_begun_are_told_of(place, monkeypatch):
    script = place / "python"
    script.write_text("#!/bin/sh\nexec sleep 600\n")
    script.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(script))
    monkeypatch.setattr("hwsim.explore.workers.LOADING_S", 0.5)
    with pytest.raises(
        HwsimError, match=r"no worker can be started \(its process loaded for longer than 0.5 s\)"
    ):
        explore_study("study.toml", place / "out", evaluators=workers(2))


def test_files_that_change_meanwhile_are_told_in_one_sentence(place):
    def change(stage, done, planned):
        if stage == "load" and done:
            (place / "net.py").write_text(tiny.MODEL.replace("default_rng(0)", "default_rng(9)"))

    with pytest.raises(HwsimError, match="files of the study changed"):
        explore_study("study.toml", place / "out", evaluators=workers(1), progress=change)


# Command lines, killed and interrupted


@pytest.fixture(scope="module")
def forks(tmp_path_factory, synthesis_cache):
    server = Forks(tmp_path_factory.mktemp("home"), synthesis_cache)
    yield server
    server.close()


EXPLORE = ("explore", "study.toml", "-o", "out", "--workers")


@pytest.fixture(scope="module")
def fresh(forks, tmp_path_factory):
    """The files of an exploration that nothing interrupted, and the seconds it takes with two workers."""
    for name in ("first", "second"):
        folder = tiny.write(tmp_path_factory.mktemp(name))
        status, _, err, seconds = forks(folder, *EXPLORE, 2)
        assert status == 0, err
    return written(folder / "out"), seconds


def rows(folder):
    """Every row of the store of a folder, with the seconds it took: a point evaluated once more has another row."""
    path = folder / "out" / "evaluations.sqlite"
    if not path.exists():
        return set()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return set()
        found = connection.execute("SELECT key, digest, text, seconds FROM evaluations").fetchall()
    assert len({key for key, *_ in found}) == len(found)
    return set(found)


def wide(folder, points):
    """Write the tiny study with a budget of so many points, all of the same circuits."""
    study = tiny.write(folder) / "study.toml"
    quantizers = [f"activations=min_max tolerance={1 + n / 1000:g}" for n in range(points // 4)]
    space = re.sub("quantizers = .*", f"quantizers = {json.dumps(quantizers)}", study.read_text())
    study.write_text(space.replace("budget = 10", f'budget = {points}\nsearch = "random"'))
    return folder


@pytest.mark.parametrize("kills", [5, pytest.param(100, marks=pytest.mark.slow)])
def test_explorations_with_two_workers_are_killed_and_lose_nothing(forks, tmp_path, fresh, kills):
    points, rng, killed = 120, random.Random(kills), {"driver": 0, "worker": 0}
    whole = new_folder(tmp_path, "whole", points)
    assert forks(whole, *EXPLORE, 0)[0] == 0
    made, folder, before = 0, new_folder(tmp_path, "0", points), set()

    def kill():
        if found := sorted(at_work(folder)):
            victim = rng.choice([found[0], rng.choice(found)])  # the driver came first
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                killed["driver" if victim == found[0] else "worker"] += 1

    while sum(killed.values()) < kills:
        timer = threading.Timer(rng.uniform(0, 1.2) * fresh[1], kill)
        timer.start()
        status, _, err, _ = forks(folder, *EXPLORE, 2)
        timer.cancel()
        timer.join()
        assert status in (-signal.SIGKILL, 0), err
        assert "hwsim:" not in err
        assert all_ended(folder)
        assert before <= rows(folder)
        before = rows(folder)
        if len(before) == points:
            assert stored(folder / "out") == stored(whole / "out")
            made, before = made + points, set()
            folder = new_folder(tmp_path, str(made), points)
    status, out, err, _ = forks(folder, *EXPLORE, 2)
    assert status == 0, err
    assert f"{points - len(before)} evaluated now, {len(before)} reused" in out
    assert before <= rows(folder)
    assert written(folder / "out") == written(whole / "out")
    print(f"killed {killed}: {made + points} results, none lost or made twice")


def new_folder(place, name, points):
    """A folder with the tiny study, its budget so many points, all of the same circuits."""
    (place / name).mkdir()
    study = tiny.write(place / name) / "study.toml"
    quantizers = [f"activations=min_max tolerance={1 + n / 1000:g}" for n in range(points // 4)]
    space = re.sub("quantizers = .*", f"quantizers = {json.dumps(quantizers)}", study.read_text())
    study.write_text(space.replace("budget = 10", f'budget = {points}\nsearch = "random"'))
    return place / name


def known(forks, folder):
    """How many evaluations hwsim reads in the store of a folder."""
    status, out, err, _ = forks(folder, "explore", "study.toml", "-o", "out", "--dry-run", "--json")
    assert status == 0, err
    return json.loads(out)["in_store"]


def test_a_disk_that_fills_up_ends_workers_and_exploration_in_one_sentence(forks, tmp_path, fresh):
    tiny.write(tmp_path)
    status, out, err, _ = forks(tmp_path, *EXPLORE, 2, largest_file=60_000)
    assert (status, out) == (2, "")
    assert [line for line in err.splitlines() if line.startswith("hwsim: ")] == err.splitlines()[-1:]
    assert "free space and run again, what was evaluated is kept" in err
    assert all_ended(tmp_path)
    kept = known(forks, tmp_path)
    assert 0 < kept < 10
    status, out, err, _ = forks(tmp_path, *EXPLORE, 2)
    assert f"{10 - kept} evaluated now, {kept} reused" in out
    assert written(tmp_path / "out") == fresh[0]


FILLED = """
mount -t tmpfs -o size={size}k none out || exit 77
{hwsim} explore study.toml -o out --workers 2 >first.out 2>first.err
echo $? >first.status
{hwsim} explore study.toml -o out --dry-run --json >known
mount -o remount,size=8m none out
{hwsim} explore study.toml -o out --workers 2 >second.out && mkdir kept && cp -r out kept
"""


@pytest.mark.slow
@pytest.mark.parametrize("size", [8, 48, 120, 200])
def test_a_disk_of_its_own_that_fills_up_loses_nothing(tmp_path, synthesis_cache, fresh, size):
    (tiny.write(tmp_path) / "out").mkdir()
    hwsim = f"{sys.executable} -c 'from hwsim.cli import main; main()'"
    environment = os.environ | {"PYTHONPATH": tiny.PACKAGE, "HWSIM_CACHE": str(synthesis_cache)}
    script = ["unshare", "-Urm", "sh", "-c", FILLED.format(size=size, hwsim=hwsim)]
    done = subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, text=True)
    if not (tmp_path / "first.status").exists():
        pytest.skip(f"no disk of its own can be mounted here: {done.stderr}")
    err = (tmp_path / "first.err").read_text()
    assert ((tmp_path / "first.status").read_text(), (tmp_path / "first.out").read_text()) == ("2\n", "")
    assert [line for line in err.splitlines() if line.startswith("hwsim: ")] == err.splitlines()[-1:]
    kept = json.loads((tmp_path / "known").read_text())["in_store"]
    assert f"{10 - kept} evaluated now, {kept} reused" in (tmp_path / "second.out").read_text()
    assert written(tmp_path / "kept" / "out") == fresh[0]


@pytest.mark.parametrize(
    "part", [0.5, pytest.param(0.3, marks=pytest.mark.slow), pytest.param(0.8, marks=pytest.mark.slow)]
)
def test_an_interrupt_ends_the_workers_too(forks, tmp_path, fresh, part):
    tiny.write(tmp_path)
    status, out, err, _ = forks(tmp_path, *EXPLORE, 2, signal=signal.SIGINT, after_s=part * fresh[1])
    assert all_ended(tmp_path)
    if status:
        assert (status, out) == (130, "")
        assert err.splitlines()[-1].startswith("hwsim: interrupted")
    assert forks(tmp_path, *EXPLORE, 0)[0] == 0
    assert written(tmp_path / "out") == fresh[0]
