"""An exploration: the design points a search proposes, evaluated one by one and kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from hwsim import files
from hwsim.catalogue import call, look_up
from hwsim.errors import HwsimError
from hwsim.explore.bench import Bench, open_bench
from hwsim.explore.evaluation import DesignPoint, Evaluation, pareto_front
from hwsim.explore.folder import STORE, STUDY, refuse_other
from hwsim.explore.search import SEARCHES, SearchSpace
from hwsim.explore.space import search_space
from hwsim.explore.store import Store, open_store
from hwsim.study import Study

BATCH = 8
"""Design points proposed at a time; part of the result, like the seed."""

LOADING, EVALUATING = "load", "evaluate design points"
"""Stages of an exploration, as its progress names them."""

Progress = Callable[[str, int, int], None]
"""Called with a stage, what is done of it and what is planned."""


@dataclass(frozen=True)
class Explored:
    """All evaluations of a study in order, how many came from the store, and the study's bench."""

    evaluations: list[Evaluation]
    reused: int
    bench: Bench

    @property
    def front(self) -> list[Evaluation]:
        """The evaluations that no other dominates in the study's objectives."""
        return pareto_front(self.evaluations, self.bench.study.objectives)


def explore(
    study: Study, directory: Path, *, progress: Progress = lambda stage, done, planned: None
) -> Explored:
    """Evaluate a study's budget of design points, keeping each in ``directory`` as soon as it is measured.

    What ``directory`` already holds is reused. A folder that holds another study, or files that are none of
    hwsim's, is refused.
    """
    refuse_other(study, directory)
    progress(LOADING, 0, 1)
    bench = open_bench(study)
    space = replace(search_space(study, bench.network), bench=bench)
    files.write(directory / STUDY, study.to_toml())
    progress(LOADING, 1, 1)
    planned = min(study.budget, space.size)
    evaluations: list[Evaluation] = []
    reused = 0
    with open_store(directory / STORE) as store:
        for point in _proposals(study, space, evaluations):
            progress(EVALUATING, len(evaluations), planned)
            evaluation = _stored(store, bench, point, len(evaluations))
            if evaluation is None:
                evaluation = bench.evaluate(len(evaluations), point)
                store.put(_key(bench, point), json.dumps(evaluation.to_json(), allow_nan=False))
            else:
                reused += 1
            evaluations.append(evaluation)
    progress(EVALUATING, len(evaluations), len(evaluations))
    return Explored(evaluations, reused, bench)


def _proposals(study: Study, space: SearchSpace, done: list[Evaluation]) -> Iterator[DesignPoint]:
    """Yield points batch by batch; the caller appends each one's evaluation to ``done`` before the next."""
    search = look_up("search", study.search, SEARCHES)
    while len(done) < study.budget:
        rng = np.random.default_rng([study.seed, len(done)])
        count = min(BATCH, study.budget - len(done))
        what = f'search "{study.search}"'
        batch = call(what, search, space, list(done), study.objectives, rng, count)
        if len(batch) > count or len({*batch, *(e.point for e in done)}) < len(batch) + len(done):
            raise HwsimError(f"{what} proposes a point again or more than {count}; propose new points only")
        if not batch:
            return
        yield from batch


def _key(bench: Bench, point: DesignPoint) -> str:
    return f"{bench.stamp}-{point.key()}"


def _stored(store: Store, bench: Bench, point: DesignPoint, index: int) -> Evaluation | None:
    text = store.get(_key(bench, point))
    return None if text is None else replace(_EVALUATION.validate_json(text), index=index)


_EVALUATION = TypeAdapter(Evaluation)
