"""How much faster an exploration is on more processes: here, beside (`--workers`), and on a Dask cluster of this machine.

python tests/benchmarks/scaling.py [--quick] [--json]

The same exploration of the digits network is run on one thread, with one and two workers, and on clusters of one and two
workers, in turn and each by a process of its own. A speedup is the time on one thread over that of another way in the same
round, and its median over the rounds: of the whole exploration, and of what comes after its first eight points, when processes
have started, which is what a long exploration sees. Whatever the way, the store's rows must be the same: else the exit status is 1.

What two processes can gain depends on the machine and who else is at work there. So two busy loops are timed beside
one in every round (`two_loops`, 2 on two idle cores), and the load before and the cores stand with the figures. A worker
evaluates a point on as many threads as there are cores for each, one of a cluster on one. Eight points are in flight, and more are
proposed when half of them have ended, so that no worker waits for another before the last points.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

from dask_cluster import Cluster
from hwsim.explore.attempt import one_by_one
from hwsim.explore.cluster import cluster
from hwsim.explore.exploration import EVALUATING, explore
from hwsim.explore.folder import STORE
from hwsim.explore.study import Study
from hwsim.explore.workers import TIMEOUT_S, workers

ROUNDS, POINTS, QUICK_POINTS, FIRST = 3, 96, 12, 8
STUDY = """
title = "Scaling"
model = "digits"
search = "random"

[space]
weights = ["int4", "int8"]
activations = [8]
accumulators = ["int32"]
overflows = ["wrap"]
quantizers = ["activations=aciq_laplace"]
"""
LOOP = """
import time
start = time.perf_counter()
sum(i * i for i in range(4_000_000))
print(time.perf_counter() - start)
"""


@contextmanager
def one_thread(bench):
    """Evaluate in this process, on one thread."""
    yield one_by_one(bench, 1)


def _at(address, number):
    """A cluster, for which another limit of time is another errand: it starts processes of its own."""
    return cluster(address, timeout_s=TIMEOUT_S + number)


WAYS = {
    "one thread": lambda address, number: one_thread,
    "1 worker": lambda address, number: workers(1),
    "2 workers": lambda address, number: workers(2),
    "cluster of 1": _at,
    "cluster of 2": _at,
}


def two_loops():
    """How much more two processes get done than one, here and now."""
    (alone,), both = _loops(1), _loops(2)
    return 2 * alone / statistics.mean(both)


def _loops(count):
    running = [subprocess.Popen([sys.executable, "-c", LOOP], stdout=subprocess.PIPE) for _ in range(count)]
    return [float(process.communicate()[0]) for process in running]


def timed(points, folder, way, number, address):
    """The seconds of an exploration one way, those after its first points, and the rows of its store."""
    study = Study.model_validate(tomllib.loads(STUDY) | {"budget": points})
    begun, at = time.perf_counter(), {}

    def progress(stage, done, planned):
        if stage == EVALUATING:
            at.setdefault(done, time.perf_counter())

    explore(study, folder, evaluators=WAYS[way](address, number), progress=progress)
    with closing(sqlite3.connect(folder / STORE)) as connection:
        rows = sorted(connection.execute("SELECT key, digest, text FROM evaluations"))
    return time.perf_counter() - begun, at[points] - at[FIRST], rows


def apart(*arguments):
    """What :func:`timed` gives in a process of its own, which knows no circuit yet."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(timed, *arguments).result()


def measure(points, rounds, folder):
    os.environ["HWSIM_CACHE"] = str(folder / "cache")
    load = os.getloadavg()[0]
    # what is kept in the cache is there afterwards, whichever way it goes
    *_, expected = apart(points, folder / "first", "2 workers", 0, "")
    clusters = {f"cluster of {count}": _cluster(folder, count) for count in (1, 2)}
    whole, after, loops, same = {}, {}, [], True
    try:
        for number in range(rounds):
            loops.append(two_loops())
            for way in WAYS:
                address = clusters[way].address if way in clusters else ""
                seconds, rest, rows = apart(points, folder / f"{way} {number}", way, number, address)
                whole.setdefault(way, []).append(seconds)
                after.setdefault(way, []).append(rest)
                same = same and rows == expected
    finally:
        for one in clusters.values():
            one.close()
    return {
        "speedups": _speedups(whole),
        "speedups_after_first_points": _speedups(after),
        "two_loops": round(statistics.median(loops), 3),
        "seconds": {name: round(statistics.median(seconds), 2) for name, seconds in whole.items()},
        "same_rows": same,
        "evaluations": points,
        "rounds": rounds,
        "cores": os.cpu_count(),
        "load_before": round(load, 2),
    }


def _cluster(folder, count):
    place = folder / f"dask{count}"
    place.mkdir()
    return Cluster(place, folder / "cache", count)


def _speedups(seconds):
    base = seconds["one thread"]
    return {
        name: round(statistics.median(a / b for a, b in zip(base, other, strict=True)), 3)
        for name, other in seconds.items()
        if other is not base
    }


def main():
    options = argparse.ArgumentParser()
    for name in ("quick", "json"):
        options.add_argument(f"--{name}", action="store_true")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(
            QUICK_POINTS if given.quick else POINTS, 1 if given.quick else ROUNDS, Path(folder).resolve()
        )
    print(json.dumps(found) if given.json else json.dumps(found, indent=1))
    return sys.exit(0 if found["same_rows"] else "the store's rows differ between ways to evaluate")


if __name__ == "__main__":
    main()
