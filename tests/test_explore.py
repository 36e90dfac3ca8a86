"""Exploration: searches, the front, the store, and results that no interruption changes."""

import itertools
import random
import signal
import sqlite3
from contextlib import closing
from dataclasses import replace

import moocore
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from forked import Forks, job
from hwsim.errors import HwsimError, MachineError
from hwsim.explore.evaluation import DesignPoint, Evaluation, LayerResult, Part, dominates, pareto_front
from hwsim.explore.exploration import explore
from hwsim.explore.folder import claimed
from hwsim.explore.search import SearchSpace
from hwsim.explore.searches import SEARCHES
from hwsim.explore.store import _digest, open_store
from hwsim.explore.study import Study, read_study

OBJECTIVES = ("accuracy_loss", "gates", "compression_ratio")


def evaluation(point, correct=1, gates=1.0, file_bytes=1, index=0):
    part = Part("mac", "Mac()", 1, gates, 0, None, None, True)
    layer = LayerResult("a", "linear", "", "int16", 1, 1, (part,), 1, 1, 1, 1, 1, 0)
    return Evaluation(index, point, correct, 100, 100, 1000, file_bytes, 1.0, (layer,))


# Searches


@st.composite
def spaces(draw):
    layers = draw(st.integers(1, 3))
    choices = [f"int{n}*uint8/int16" for n in range(2, 2 + draw(st.integers(1, 4)))]
    fixed = draw(st.lists(st.booleans(), min_size=layers, max_size=layers))
    taken = tuple((f"l{i}", tuple(choices[:1] if f else choices)) for i, f in enumerate(fixed))
    patterns = dict.fromkeys(
        tuple(own[min(k, len(own) - 1)] for _, own in taken) for k in range(len(choices))
    )
    names = st.sampled_from([("a",), ("a", "b")])
    return SearchSpace(taken, tuple(patterns), draw(names), draw(names))


def explored(name, space, budget, seed=0, step=5, pending=0):
    """The points that a search proposes while some are pending, each given costs that follow from the point alone."""
    done = []
    while len(done) < budget:
        rng, known = np.random.default_rng([seed, len(done)]), max(0, len(done) - pending)
        where = replace(space, pending=tuple(e.point for e in done[known:]))
        points = SEARCHES[name](where, done[:known], OBJECTIVES, rng, min(step, budget - len(done)))
        if not points:
            break
        assert len(points) <= min(step, budget - len(done))
        for point in points:
            costs = np.random.default_rng(int(point.key(), 16)).integers(1, 20, 3)
            done.append(evaluation(point, *map(int, costs), index=len(done)))
    return [e.point for e in done]


@pytest.mark.parametrize("name", ["random", "evolve"])
@settings(max_examples=15, deadline=None)
@given(space=spaces(), seed=st.integers(0, 99), pending=st.integers(0, 9))
def test_a_search_with_a_large_budget_visits_every_point_of_the_space_once(name, space, seed, pending):
    points = explored(name, space, 10_000, seed, pending=pending)
    every = {
        space.point(bits, datapath, quantizer)
        for *bits, datapath, quantizer in itertools.product(
            *(choices for _, choices in space.layers), space.datapaths, space.quantizers
        )
    }
    assert len(points) == len(set(points)) == space.size
    assert set(points) == every


@pytest.mark.parametrize("name", ["random", "evolve"])
@settings(max_examples=15, deadline=None)
@given(space=spaces(), data=st.data())
def test_a_search_proposes_every_point_but_those_set_aside(name, space, data):
    every = explored(name, space, 10_000)
    aside = data.draw(st.sets(st.sampled_from(every)))
    left = explored(name, replace(space, set_aside=frozenset(aside)), 10_000)
    assert len(left) == len(set(left))
    assert set(left) == set(every) - aside


@settings(max_examples=50, deadline=None)
@given(space=spaces())
def test_uniform_visits_every_pattern_with_every_datapath_and_quantizer_once(space):
    points = explored("uniform", space, 10_000)
    expected = set(
        itertools.starmap(space.point, itertools.product(space.patterns, space.datapaths, space.quantizers))
    )
    assert len(points) == len(expected)
    assert set(points) == expected


@pytest.mark.parametrize("name", ["evolve", "uniform", "random"])
@settings(max_examples=10, deadline=None)
@given(space=spaces(), budget=st.integers(0, 40), seed=st.integers(0, 2**63 - 1))
def test_a_search_is_deterministic_and_keeps_to_its_budget(name, space, budget, seed):
    points = explored(name, space, budget, seed)
    assert len(points) <= budget
    assert points == explored(name, space, budget, seed)


def test_a_search_ends_promptly_in_a_space_too_large_to_list():
    layers = tuple((f"l{i}", tuple(f"int{n}*uint8/int16" for n in range(2, 9))) for i in range(60))
    space = SearchSpace(layers, (tuple(choices[0] for _, choices in layers),), ("mac",), ("",))
    for name in ("random", "evolve"):
        assert len(set(explored(name, space, 40))) == 40


# The front


costs = st.lists(st.tuples(*[st.integers(0, 6)] * 3), max_size=40)


@settings(max_examples=200, deadline=None)
@given(costs)
def test_the_front_is_that_of_moocore(points):
    evaluations = [
        evaluation(DesignPoint((), str(i), ""), 100 - loss, gates, 1 + size, i)
        for i, (loss, gates, size) in enumerate(points)
    ]
    front = pareto_front(evaluations, ("accuracy_loss", "gates", "file_bytes"))
    expected = moocore.is_nondominated(np.array(points, float), keep_weakly=False) if points else []
    assert [e.index for e in front] == np.flatnonzero(expected).tolist()


@settings(max_examples=100, deadline=None)
@given(costs)
def test_every_point_off_the_front_is_beaten_by_one_on_it(points):
    evaluations = [evaluation(DesignPoint((), str(i), ""), *p, i) for i, p in enumerate(points)]
    front = pareto_front(evaluations, ("accuracy", "gates"))
    on = {(-p[0], p[1]) for p in (points[e.index] for e in front)}
    for correct, gates, _ in points:
        assert (-correct, gates) in on or any(dominates(other, (-correct, gates)) for other in on)
    assert not any(dominates(a, b) for a in on for b in on)


# The store


def test_the_store_returns_what_was_put_and_nothing_else(tmp_path):
    with open_store(tmp_path / "s") as store:
        store.put("a", "1")
        store.put("a", "2")
        assert store.get("b") is None
    with open_store(tmp_path / "s") as store:
        assert store.get("a") == "2"


def test_a_row_that_was_changed_counts_as_missing(tmp_path):
    with open_store(tmp_path / "s") as store:
        store.put("a", "12345")
        store.connection.execute("UPDATE evaluations SET text = '12346'")
        assert store.get("a") is None


def test_a_store_logs_ahead_and_is_one_process_s_at_a_time(tmp_path):
    with open_store(tmp_path / "s") as store:
        store.put("a", "1", 0.5)
        assert store.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert not (tmp_path / "s-shm").exists()
        with pytest.raises(HwsimError, match="in use"), open_store(tmp_path / "s"):
            pass
        store.put("b", "2")
    with open_store(tmp_path / "s") as store:
        assert (store.get("a"), store.get("b")) == ("1", "2")
        assert store.measured()[0] == [0.5]


def test_where_no_file_can_be_logged_ahead_a_store_keeps_its_rollback_journal(tmp_path, monkeypatch):
    connect = sqlite3.connect

    def without_write_ahead_logging(path, **options):  # the memory of a process is such a place
        return connect(":memory:", **options)

    monkeypatch.setattr(sqlite3, "connect", without_write_ahead_logging)
    with open_store(tmp_path / "s") as store:
        assert store.connection.execute("PRAGMA journal_mode").fetchone() == ("memory",)
        store.put("a", "1")
        assert store.get("a") == "1"


def test_a_key_set_aside_after_no_number_of_tries_is_tried_again(tmp_path):
    with open_store(tmp_path / "s") as store:
        store.put_aside("a", 3, "why")
        store.put_aside("b", "many", "why")
        assert (store.set_aside("a"), store.set_aside("b")) == ((3, "why"), None)


@pytest.mark.parametrize("content", [b"no database" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_file_that_is_no_store_is_refused_and_left(tmp_path, content):
    path = tmp_path / "s"
    path.write_bytes(content)
    with pytest.raises(HwsimError, match="cannot be used"), open_store(path):
        pass
    assert path.read_bytes() == content


@pytest.mark.parametrize("statement", ["CREATE TABLE other (x)", "PRAGMA user_version = 7"])
def test_another_programs_database_is_refused_and_left(tmp_path, statement):
    connection = sqlite3.connect(tmp_path / "s")
    connection.execute("CREATE TABLE evaluations (x)")
    connection.execute(statement)
    connection.close()
    before = (tmp_path / "s").read_bytes()
    with pytest.raises(HwsimError, match="schema"), open_store(tmp_path / "s"):
        pass
    assert (tmp_path / "s").read_bytes() == before


def test_a_store_with_flipped_bytes_never_returns_another_text(tmp_path):
    rng = np.random.default_rng(0)
    with open_store(tmp_path / "s") as store:
        for i in range(40):
            store.put(f"key{i}", f"{i} " * 60)
    content = (tmp_path / "s").read_bytes()
    for _ in range(300):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << rng.integers(8)
        (tmp_path / "t").write_bytes(damaged)
        try:
            with open_store(tmp_path / "t") as store:
                found = [store.get(f"key{i}") for i in range(40)]
        except HwsimError:
            continue
        assert all(text in (None, f"{i} " * 60) for i, text in enumerate(found))


# Whole explorations


@pytest.fixture(scope="module")
def forks(tmp_path_factory, synthesis_cache):
    server = Forks(tmp_path_factory.mktemp("home"), synthesis_cache)
    yield server
    server.close()


EXPLORE = ("explore", "study.toml", "-o", "out", "--workers", "0")


@pytest.fixture(scope="module")
def fresh(forks, tmp_path_factory):
    """The files of an exploration that nothing interrupted, and the seconds it took with its circuits known."""
    for name in ("first", "second"):
        folder = tiny.write(tmp_path_factory.mktemp(name))
        status, out, err, seconds = forks(folder, *EXPLORE)
        assert status == 0, err
        assert "10 evaluated now, 0 reused" in out
    return contents(folder), seconds


def contents(folder):
    """Every file of the exploration but the store, by path."""
    paths = (folder / "out").rglob("*")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in paths
        if path.is_file() and "sqlite" not in path.name and not path.name.startswith(".writing-")
    }


def rows(folder):
    with closing(sqlite3.connect(folder / "out" / "evaluations.sqlite")) as connection:
        return [key for (key,) in connection.execute("SELECT key FROM evaluations")]


def finish(forks, folder, fresh):
    """Run to the end and compare with the uninterrupted run; return how many evaluations were reused."""
    status, out, err, _ = forks(folder, *EXPLORE)
    assert status == 0, err
    assert contents(folder) == fresh
    assert len(rows(folder)) == len(set(rows(folder))) == 10
    now, reused = _counts(out)
    assert now + reused == 10
    return reused


def _counts(out):
    words = next(line for line in out.splitlines() if "reused" in line).replace(",", " ").split()
    return int(words[words.index("evaluated") - 1]), int(words[words.index("reused") - 1])


def test_a_fresh_exploration_gives_the_same_bytes_again(forks, tmp_path, fresh):
    assert finish(forks, tiny.write(tmp_path), fresh[0]) == 0


def test_a_second_run_evaluates_nothing(forks, tmp_path, fresh):
    tiny.write(tmp_path)
    finish(forks, tmp_path, fresh[0])
    assert finish(forks, tmp_path, fresh[0]) == 10


@pytest.mark.parametrize("kills", [6, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_explorations_go_on_and_lose_nothing(forks, tmp_path, fresh, kills):
    rng = random.Random(kills)
    number = stored = 0
    while kills:
        folder = tmp_path / str(number)
        folder.mkdir()
        tiny.write(folder)
        for _ in range(rng.randint(1, min(3, kills))):
            before = set(rows(folder)) if stored else set()
            status, _, err, _ = forks(
                folder, *EXPLORE, signal=signal.SIGKILL, after_s=rng.uniform(0, fresh[1])
            )
            assert status in (-signal.SIGKILL, 0)
            assert "hwsim:" not in err
            stored = (folder / "out" / "evaluations.sqlite").exists()
            assert not stored or before <= set(rows(folder))
            kills -= 1
        kept = len(rows(folder)) if stored else 0
        assert finish(forks, folder, fresh[0]) == kept
        number, stored = number + 1, 0


@pytest.mark.slow
def test_explorations_killed_while_circuits_are_synthesised_go_on(forks, tmp_path, fresh):
    rng = random.Random(0)
    for number in range(10):
        folder = tmp_path / str(number)
        folder.mkdir()
        tiny.write(folder)
        cache = {"HWSIM_CACHE": str(folder / "cache")}
        for _ in range(3):
            forks(folder, *EXPLORE, signal=signal.SIGKILL, after_s=rng.uniform(0, 4), **cache)
        finish(forks, folder, fresh[0])


@pytest.mark.parametrize(
    ("number", "part"),
    [(signal.SIGINT, 0.2), (signal.SIGTERM, 0.5), (signal.SIGHUP, 0.3), (signal.SIGINT, 0.9)],
)
def test_an_interrupt_ends_with_one_line_and_status_130(forks, tmp_path, fresh, number, part):
    tiny.write(tmp_path)
    status, out, err, _ = forks(tmp_path, *EXPLORE, signal=number, after_s=part * fresh[1])
    if status:
        assert (status, out) == (130, "")
        assert err.splitlines()[-1].startswith("hwsim: interrupted")
        assert "Traceback" not in err
    finish(forks, tmp_path, fresh[0])


def test_a_disk_that_fills_up_at_any_size_ends_with_one_sentence_and_is_gone_on_from(forks, tmp_path, fresh):
    largest = max(map(len, fresh[0].values()))
    limits = [0, 500, 14_000, 60_000, largest - 1]
    for limit in limits:
        folder = tmp_path / str(limit)
        folder.mkdir()
        tiny.write(folder)
        status, out, err, _ = forks(folder, *EXPLORE, largest_file=limit)
        assert (status, out) == (2, ""), err
        assert err.splitlines()[-1].startswith("hwsim: ")
        assert sum(line.startswith("hwsim:") for line in err.splitlines()) == 1
        assert not list(folder.rglob(".writing-*"))
        assert all(fresh[0][path] == content for path, content in contents(folder).items())
    for limit in limits[1::2]:
        finish(forks, tmp_path / str(limit), fresh[0])


@pytest.mark.slow
def test_a_write_that_fails_on_the_disk_whichever_it_is_leaves_whole_files(forks, tmp_path, fresh):
    for count in itertools.count(1):
        folder = tmp_path / str(count)
        folder.mkdir()
        tiny.write(folder)
        status, out, err, _ = forks(folder, *EXPLORE, failing_write=count)
        if not status:
            break
        assert (status, out) == (2, "")
        assert err.splitlines()[-1].startswith("hwsim: cannot write")
        assert not list(folder.rglob(".writing-*"))
        assert all(fresh[0][path] == content for path, content in contents(folder).items())
        finish(forks, folder, fresh[0])
    assert count > 10


def test_of_two_explorations_of_one_folder_the_second_is_told_in_one_sentence(forks, tmp_path, fresh):
    tiny.write(tmp_path)
    results = forks.together(*[job(tmp_path, *EXPLORE)] * 2)
    assert sorted(status for status, *_ in results) == [0, 2], results
    _, out, err, _ = max(results)
    assert out == ""
    assert err.splitlines()[-1].startswith('hwsim: another exploration is at work in "out"')
    assert contents(tmp_path) == fresh[0]
    assert finish(forks, tmp_path, fresh[0]) == 10


@pytest.mark.parametrize("error", [None, MachineError("the disk is full")])
def test_a_folder_that_is_moved_while_it_is_explored_is_told_of_whatever_came_of_it(tmp_path, error):
    (tmp_path / "out").mkdir()
    told = pytest.raises(HwsimError, match="moved or removed while it was explored; run again with -o")
    with told, claimed(Study(title="t", model="digits"), tmp_path / "out"):
        (tmp_path / "out").rename(tmp_path / "elsewhere")
        (tmp_path / "out").mkdir()
        if error:
            raise error


def test_a_store_of_another_model_is_refused_and_left(forks, tmp_path, fresh):
    tiny.write(tmp_path)
    finish(forks, tmp_path, fresh[0])
    (tmp_path / "net.py").write_text(tiny.MODEL.replace("default_rng(0)", "default_rng(9)"))
    before = rows(tmp_path)
    status, out, err, _ = forks(tmp_path, *EXPLORE)
    assert (status, out) == (2, "")
    assert 'hwsim: "out" holds evaluations of another model' in err.splitlines()[-1]
    assert (contents(tmp_path), rows(tmp_path)) == (fresh[0], before)


@pytest.mark.parametrize("seed", ["0", pytest.param("1234", marks=pytest.mark.slow)])
def test_results_do_not_depend_on_the_hash_seed_or_the_place(tmp_path, synthesis_cache, fresh, seed):
    folder = tmp_path / "another place"
    folder.mkdir()
    elsewhere = {
        "PYTHONHASHSEED": seed,
        "LC_ALL": "C",
        "TZ": "Asia/Tokyo",
        "HWSIM_CACHE": str(synthesis_cache),
    }
    done = tiny.hwsim(*EXPLORE, cwd=tiny.write(folder), **elsewhere)
    assert done.returncode == 0, done.stderr
    assert contents(folder) == fresh[0]


def test_a_damaged_row_is_evaluated_again(forks, tmp_path, fresh):
    tiny.write(tmp_path)
    finish(forks, tmp_path, fresh[0])
    with closing(
        sqlite3.connect(tmp_path / "out" / "evaluations.sqlite", isolation_level=None)
    ) as connection:
        connection.execute(
            "UPDATE evaluations SET text = replace(text, '\"correct\": ', '\"correct\": 1') WHERE rowid = 3"
        )
        key = connection.execute("SELECT key FROM evaluations WHERE rowid = 5").fetchone()[0]
        foreign = (_digest(key, "{}"), "{}", key)  # whole, and another program's
        connection.execute("UPDATE evaluations SET digest = ?, text = ? WHERE key = ?", foreign)
    assert finish(forks, tmp_path, fresh[0]) == 8


def test_an_exploration_ends_where_the_space_does(forks, tmp_path):
    tiny.write(tmp_path)
    study = tmp_path / "study.toml"
    study.write_text(study.read_text().replace("budget = 10", 'budget = 1000\nsearch = "random"'))
    status, out, err, _ = forks(tmp_path, *EXPLORE)
    assert status == 0, err
    assert _counts(out) == (12, 0)


def test_a_larger_budget_goes_on_with_what_the_folder_holds(tmp_path, monkeypatch, synthesis_cache):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HWSIM_CACHE", str(synthesis_cache))
    study = read_study(tiny.write(tmp_path) / "study.toml").model_copy(update={"budget": 3})
    explore(study, tmp_path / "grown")
    grown = explore(study.model_copy(update={"budget": 6}), tmp_path / "grown")
    at_once = explore(study.model_copy(update={"budget": 6}), tmp_path / "at_once")
    assert grown.reused == 3
    assert grown.evaluations == at_once.evaluations
