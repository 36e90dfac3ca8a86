"""What an exploration would take, told before it begins: nothing is evaluated for its result and no folder is touched."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from hwsim.explore.bench import COMPARED_IMAGES, Bench, Given, open_bench
from hwsim.explore.constraints import refuse_contradictions
from hwsim.explore.evaluation import DesignPoint, Evaluation
from hwsim.explore.exploration import refuse_another_model
from hwsim.explore.folder import STORE, at_rest
from hwsim.explore.search import SearchSpace
from hwsim.explore.space import search_space
from hwsim.explore.store import Store, open_store
from hwsim.explore.study import Study
from hwsim.quantize import once

_SAMPLE = 4 * COMPARED_IMAGES
"""Images that one design point is measured on where a test split has more."""


@dataclass(frozen=True)
class Seconds:
    """What one evaluation takes at least and at most, and how that is known."""

    least: float
    most: float
    basis: str


@dataclass(frozen=True)
class Plan:
    """An exploration beforehand.

    ``size`` designs are in the space, of which ``planned`` are to be evaluated and ``kept`` already are, ``set_aside``
    were given up. ``row_bytes`` is the text of one evaluation in the store; ``in_flight`` is the study's.
    """

    size: int
    planned: int
    kept: int
    set_aside: int
    seconds: Seconds
    row_bytes: int
    in_flight: int

    def seconds_of(self, workers: int) -> tuple[float, float]:
        """Return the least and most seconds that the evaluations left take some workers.

        At least as many points as may be are under evaluation, at most half of them: more are proposed when the others have
        ended.
        """
        half = max(1, self.in_flight // 2)
        least = self.left * self.seconds.least / min(workers, self.in_flight)
        return least, self.left * self.seconds.most / min(workers, half)

    @property
    def left(self) -> int:
        """Evaluations that are still to be made."""
        return max(0, self.planned - self.kept - self.set_aside)

    @property
    def disk_bytes(self) -> int:
        """Bytes of the store and of ``results.json`` in the end, which grow with the evaluations."""
        return int(self.planned * self.row_bytes * (_STORE_OVERHEAD + _RESULTS_OVERHEAD))


_STORE_OVERHEAD, _RESULTS_OVERHEAD = 1.1, 1.6
"""Bytes of SQLite's pages, and of indented JSON with the front explained, for one byte of an evaluation's text."""


def plan(study: Study, directory: Path | None, *, threads: int, retry: bool = False) -> Plan:
    """Return what exploring a study into ``directory`` (a new folder if None) would take, ``threads`` at work on a point.

    A point's time is the mean of those in the folder's store; where it has none, two designs are measured on a part of the
    test images. With ``retry`` what was set aside counts as left. Raises :class:`HwsimError` as
    :func:`hwsim.explore.exploration.explore` does for the folder and the constraints.
    """
    with _stored(study, directory) as store:
        bench = open_bench(study)
        space = replace(search_space(study, bench.network), bench=bench)
        refuse_contradictions(space)
        kept, aside, times, row_bytes = 0, 0, list[float](), 0
        if store and directory:
            refuse_another_model(store, bench.network, directory)
            kept, aside = store.counted(bench.stamp)
            aside = 0 if retry else aside
            times, row_bytes = store.measured()
    planned = min(study.budget, space.reach(study.search))
    if times:
        mean, basis = sum(times) / len(times), f"the mean of {len(times)} evaluations in the store"
        seconds = Seconds(mean, mean, basis)
    else:
        seconds, evaluation = measured(bench, _two_points(space), threads)
        row_bytes = row_bytes or len(json.dumps(evaluation.to_json()))
    return Plan(
        space.size, planned, min(kept, planned), min(aside, planned), seconds, row_bytes, study.in_flight
    )


@contextmanager
def _stored(study: Study, directory: Path | None) -> Iterator[Store | None]:
    """Open a copy of a folder's store, log included: the store itself is neither locked nor written."""
    if directory is None or not at_rest(study, directory) or not (directory / STORE).exists():
        yield None
        return
    with tempfile.TemporaryDirectory() as scratch:
        for path in directory.glob(f"{STORE}*"):
            shutil.copyfile(path, Path(scratch, path.name))
        with open_store(Path(scratch, STORE), named=directory / STORE) as store:
            yield store


def _two_points(space: SearchSpace) -> tuple[DesignPoint, DesignPoint]:
    """Return two uniform designs of different widths, the same where there is but one."""
    places = (len(space.patterns) // 2, len(space.patterns) // 4)
    first, second = (
        space.point(space.patterns[place], space.datapaths[0], space.quantizers[-1]) for place in places
    )
    return first, second


def measured(
    bench: Bench, points: tuple[DesignPoint, DesignPoint], threads: int
) -> tuple[Seconds, Evaluation]:
    """Return what evaluating a point takes, all of its circuits known or all new, and what an evaluation looks like.

    The first point is what is known, the second new: what a process does once falls to the first. On a test split of more
    than 256 images the time of 64 and of 256 is extended to all.
    """
    given = Given(0, once.to_bytes(bench.calibration))
    images = len(bench.test)
    few = images if images <= _SAMPLE else COMPARED_IMAGES

    def timed(point: DesignPoint, count: int) -> tuple[float, Evaluation]:
        part = replace(bench, test=bench.test.part(slice(count)), given=given)
        start = time.monotonic()
        found = part.evaluate(0, point, threads=threads)
        return time.monotonic() - start, found

    _, evaluation = timed(points[0], few)
    known, _ = timed(points[0], few)
    new, _ = timed(points[1], few)
    rest = 0.0
    if few < images:
        rest = max(0.0, timed(points[0], _SAMPLE)[0] - known) / (_SAMPLE - few) * (images - few)
    basis = (
        f"two designs measured now on {min(images, _SAMPLE)} of {images} test images, one with its circuits known and one "
        "with all of them new"
    )
    return Seconds(known + rest, max(new, known) + rest, basis), evaluation
