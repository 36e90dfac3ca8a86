"""A Dask cluster evaluates the bytes of the serial run, whatever of it is lost; what it lacks is told in one sentence."""

import json
import sqlite3
import sys
import time
from contextlib import closing
from dataclasses import asdict, replace
from importlib.metadata import version

import pytest

import tiny
from dask_cluster import Cluster
from hwsim import cli, explore_study
from hwsim.errors import HwsimError
from hwsim.explore import errand
from hwsim.explore.attempt import Attempt, here
from hwsim.explore.bench import open_bench
from hwsim.explore.cluster import cluster, refuse_other_versions
from hwsim.explore.errand import Errand
from hwsim.explore.space import search_space
from hwsim.explore.study import read_study
from hwsim.explore.worker import Job
from test_workers import children, one_waits, poisoned, stored, written

pytest.importorskip("distributed", reason="the extra cluster is not installed")


@pytest.fixture(scope="module")
def place(tmp_path_factory, working_in):
    return working_in(tiny.write(tmp_path_factory.mktemp("study")))


@pytest.fixture(scope="module")
def serial(place):
    """The folder of an exploration in this process."""
    explore_study("study.toml", place / "serial")
    return place / "serial"


@pytest.fixture(scope="module")
def two(tmp_path_factory, synthesis_cache):
    """A cluster of two workers."""
    started = Cluster(tmp_path_factory.mktemp("dask"), synthesis_cache)
    yield started
    started.close()


@pytest.fixture
def lone(tmp_path, synthesis_cache):
    """A scheduler without workers."""
    started = Cluster(tmp_path, synthesis_cache, workers=0)
    yield started
    started.close()


def at(done, act):
    """A progress that acts once so many design points are known."""

    def progress(stage, now, planned):
        if stage == "evaluate design points" and now >= done:
            act.pop()() if act else None

    return progress


def rows(folder):
    with closing(sqlite3.connect(folder / "evaluations.sqlite")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return {key for (key,) in connection.execute("SELECT key FROM evaluations")}


def test_two_workers_of_a_cluster_write_the_bytes_of_the_serial_run(place, serial, two):
    explored = explore_study("study.toml", place / "spread", evaluators=cluster(two.address))
    assert (explored.set_aside, explored.reused) == ((), 0)
    assert written(place / "spread") == written(serial)
    assert {"results.json", "front.csv", "index.html"} <= written(serial).keys()
    assert stored(place / "spread") == stored(serial)


def test_while_one_worker_is_at_a_point_the_other_goes_on_with_those_proposed_after_it(place, two):
    spread = one_waits(place, cluster(two.address), place / "uneven")
    assert one_waits(place, here, place / "even") == spread


def test_a_worker_that_is_lost_costs_no_point(place, serial, two):
    kill = [lambda: two.kill(two.workers.pop(0))]
    explored = explore_study(
        "study.toml", place / "wounded", evaluators=cluster(two.address), progress=at(2, kill)
    )
    assert not kill
    assert not explored.set_aside
    assert written(place / "wounded") == written(serial)
    assert stored(place / "wounded") == stored(serial)
    two.workers.append(two.worker())


@pytest.mark.slow
def test_points_that_never_succeed_are_set_aside_and_cost_no_worker(place, two):
    study = poisoned(place, "ends", "raises", "prints")
    before = [worker.pid for worker in two.workers]
    explored = explore_study(study, place / "poisoned", evaluators=cluster(two.address))
    assert len(explored.evaluations) == 2
    reasons = {item.point.quantizer: (item.tries, item.reason) for item in explored.set_aside}
    assert reasons == {
        "activations=own.py:ends": (3, "its process was ended by SIGSEGV"),
        "activations=own.py:raises": (3, "RuntimeError: two lines"),
    }
    assert [worker.pid for worker in two.workers if worker.poll() is None] == before


@pytest.mark.slow
def test_when_workers_and_then_the_scheduler_are_lost_the_rest_goes_on_without(place, serial, lone):
    folder = place / "orphaned"
    with pytest.raises(HwsimError, match=r"has had no worker for 0\.5 s; start some \(dask worker tcp://127"):
        explore_study("study.toml", folder, evaluators=cluster(lone.address, wait_s=0.5))

    only = lone.worker()
    with pytest.raises(HwsimError, match="has had no worker for 1 s"):
        explore_study(
            "study.toml",
            folder,
            evaluators=_patient(lone.address, 1.0),
            progress=at(2, [lambda: lone.kill(only)]),
        )
    kept = rows(folder)
    assert 2 <= len(kept) < 10

    last = lone.worker()
    with pytest.raises(HwsimError, match=r"was lost; what was evaluated is kept: run again"):
        explore_study(
            "study.toml",
            folder,
            evaluators=cluster(lone.address),
            progress=at(len(kept) + 2, [lambda: lone.kill(lone.scheduler)]),
        )
    lone.kill(last)
    assert kept < rows(folder)
    kept = rows(folder)
    assert len(kept) < 10
    assert explore_study("study.toml", folder).reused == len(kept)
    assert written(folder) == written(serial)
    assert stored(folder) == stored(serial)


def _patient(address, wait_s):
    """A cluster whose first worker may take a minute to come, and that is given up ``wait_s`` after it was lost."""
    from hwsim.explore.cluster import threads

    until = time.monotonic() + 60
    while not threads(address):
        assert time.monotonic() < until
    return cluster(address, wait_s=wait_s)


# What a worker lacks, asked of one in this process


@pytest.fixture
def asked(place):
    """An errand of the study, and a point of it as text."""
    bench = open_bench(read_study(place / "study.toml"))
    space = search_space(bench.study, bench.network)
    point = space.point(space.patterns[0], space.datapaths[0], space.quantizers[0])
    job = json.dumps(asdict(Job.of(bench, 1)))
    return Errand(version("hwsim"), str(place), bench.stamp, 60.0, job), json.dumps(asdict(point))


def refusal(given, point):
    result = Attempt.from_text(errand.run(given.to_text(), point)).result
    assert result.kind == "machine"
    return result.reason


def test_a_worker_with_another_hwsim_says_both_versions(asked):
    given, point = asked
    found = refusal(replace(given, version="9.9"), point)
    assert found == (
        f"a worker of the cluster refuses: it has hwsim {version('hwsim')}, the exploration 9.9; install one version on all"
    )


def test_a_worker_that_lacks_the_folder_names_it(asked):
    given, point = asked
    assert 'it has no folder "/no/such/folder", where' in refusal(
        replace(given, folder="/no/such/folder"), point
    )


@pytest.mark.parametrize("missing", ["net.py", "images.npz"])
def test_a_worker_that_lacks_a_file_names_it(asked, tmp_path, missing):
    given, point = asked
    tiny.write(tmp_path)
    (tmp_path / missing).unlink()
    assert f'"{missing}"' in refusal(replace(given, folder=str(tmp_path)), point)


def test_a_worker_with_other_images_refuses(asked, tmp_path):
    given, point = asked
    tiny.write(tmp_path)
    (tmp_path / "net.py").write_text(tiny.MODEL.replace("default_rng(0)", "default_rng(9)"))
    assert "files of the study changed, or are others" in refusal(replace(given, folder=str(tmp_path)), point)


def test_a_process_with_nothing_to_do_ends(asked, monkeypatch):
    monkeypatch.setattr(errand, "REST_S", 0.1)
    given, point = asked
    before = set(children())
    assert Attempt.from_text(errand.run(given.to_text(), point)).result.images == 40
    until = time.monotonic() + 10
    while set(children()) - before and time.monotonic() < until:
        time.sleep(0.02)
    assert not set(children()) - before
    assert not errand._resting.get(given.to_text())


# What the command line refuses


def hwsim(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["hwsim", "explore", "study.toml", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code, *capsys.readouterr()


def test_a_scheduler_that_is_not_there_is_told_in_one_sentence_and_loses_nothing(
    place, serial, monkeypatch, capsys
):
    monkeypatch.setattr("hwsim.explore.cluster.CONNECT_S", 0.5)
    before, kept = written(serial), stored(serial)
    status, out, err = hwsim(monkeypatch, capsys, "-o", "serial", "--cluster", "tcp://127.0.0.1:1")
    assert (status, out) == (2, "")
    assert err.startswith("hwsim: no Dask scheduler answers at tcp://127.0.0.1:1 (")
    assert err.count("\n") == 1
    assert (written(serial), stored(serial)) == (before, kept)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "8786",
        "127.0.0.1:8786",
        "tcp://:8786",
        "tcp://host",
        "http://127.0.0.1:8786",
        "inproc://a/1",
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:65536",
    ],
)
def test_what_is_no_address_of_a_scheduler_is_refused(place, monkeypatch, capsys, address):
    status, out, err = hwsim(monkeypatch, capsys, "-o", "none", "--cluster", address)
    assert (status, out) == (2, "")
    assert f'hwsim: "{address}" is no address of a Dask scheduler; write tcp://127.0.0.1:8786' in err
    assert not (place / "none").exists()


def test_workers_here_and_a_cluster_exclude_each_other(place, monkeypatch, capsys):
    options = ("-o", "none", "--workers", "2", "--cluster", "tcp://127.0.0.1:8786")
    status, _, err = hwsim(monkeypatch, capsys, *options)
    assert status == 2
    assert "by --workers here or by a --cluster; give one of them" in err


def test_without_dask_one_sentence_says_what_to_install(place, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "distributed", None)
    status, _, err = hwsim(monkeypatch, capsys, "--dry-run", "--cluster", "tcp://127.0.0.1:8786")
    assert (status, err) == (2, "hwsim: --cluster needs Dask: pip install 'hwsim[cluster]'\n")


def test_a_dry_run_counts_with_the_threads_of_the_cluster(place, serial, two, monkeypatch, capsys):
    _, out, _ = hwsim(monkeypatch, capsys, "-o", "serial", "--dry-run", "--json", "--cluster", two.address)
    assert json.loads(out)["workers"] == 2


def told(python="3.11.7.final.0", **packages):
    return {
        "host": [["python", python], ["OS", "Linux"]],
        "packages": {"dask": "1", "distributed": "1"} | packages,
    }


def test_other_versions_are_named_with_whose_they_are():
    same = {"client": told(), "scheduler": told("3.11.2.final.0"), "workers": {"tcp://a:1": told()}}
    refuse_other_versions(same)
    with pytest.raises(
        HwsimError, match=r"cluster's scheduler has distributed 2, this program 1; install one"
    ):
        refuse_other_versions(same | {"scheduler": told(distributed="2")})
    with pytest.raises(HwsimError, match=r"worker tcp://a:1 has Python 3\.12, this program 3\.11"):
        refuse_other_versions(same | {"workers": {"tcp://a:1": told("3.12.0.final.0")}})
