"""An exploration: the design points a search proposes, evaluated batch by batch and kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from hwsim import files
from hwsim.catalogue import call, look_up
from hwsim.errors import HwsimError
from hwsim.explore.attempt import Attempt, Evaluate, Evaluators, SetAside, attempts, here
from hwsim.explore.beliefs import beliefs
from hwsim.explore.bench import Bench, open_bench
from hwsim.explore.constraints import refuse_contradictions
from hwsim.explore.evaluation import DesignPoint, Evaluation, pareto_front
from hwsim.explore.explanation import Beliefs
from hwsim.explore.folder import STORE, STUDY, claimed
from hwsim.explore.inquiry import Inquiry
from hwsim.explore.question import Branch
from hwsim.explore.search import BATCH, SEARCHES, SearchSpace
from hwsim.explore.space import search_space
from hwsim.explore.store import Store, open_store
from hwsim.explore.study import Study
from hwsim.network import FloatNetwork

LOADING, EVALUATING = "load", "evaluate design points"
"""Stages of an exploration, as its progress names them."""

Progress = Callable[[str, int, int], None]
"""Called with a stage, what is done of it and what is planned."""


@dataclass(frozen=True)
class Explored:
    """All evaluations of a study in order, how many came from the store, and the study's bench.

    ``set_aside`` are the points of the budget that could not be evaluated and the branches that its search left out;
    ``beliefs`` what guided it, where it has a model.
    """

    evaluations: list[Evaluation]
    reused: int
    bench: Bench
    set_aside: tuple[SetAside, ...] = ()
    beliefs: Beliefs | None = None

    @property
    def front(self) -> list[Evaluation]:
        """The evaluations that no other dominates in the study's objectives."""
        return pareto_front(self.evaluations, self.bench.study.objectives)


def explore(
    study: Study,
    directory: Path,
    *,
    evaluators: Evaluators = here,
    retry: bool = False,
    progress: Progress = lambda stage, done, planned: None,
) -> Explored:
    """Evaluate a study's budget of design points, keeping each in ``directory`` as soon as it is measured.

    What ``directory`` already holds is reused, and what was set aside stays so unless ``retry`` is chosen. The result
    does not depend on ``evaluators``. Raises :class:`HwsimError` for a folder that holds another study, another
    model's evaluations or files that are none of hwsim's, or that another exploration is at work in; for constraints that
    no design can keep; and where no point of the first batch can be evaluated.
    """
    with claimed(study, directory):
        progress(LOADING, 0, 1)
        bench = open_bench(study)
        space = replace(search_space(study, bench.network), bench=bench)
        with evaluators(bench) as evaluate:
            refuse_contradictions(replace(space, inquiry=Inquiry(evaluate)))
            files.write(directory / STUDY, study.to_toml())
            progress(LOADING, 1, 1)
            with open_store(directory / STORE) as store:
                refuse_another_model(store, bench.network, directory)
                if retry:
                    store.forget_set_aside()
                kept = _Kept(store, bench.stamp)
                space = replace(space, inquiry=Inquiry(evaluate, kept.left_out))
                return _evaluated(space, bench, kept, evaluate, progress)


def refuse_another_model(store: Store, network: FloatNetwork, directory: Path) -> None:
    """Refuse a store of another network's evaluations; a new store is told whose it is."""
    known, given = store.fact("model"), network.digest()
    if known is None:
        store.put_fact("model", given)
    elif known != given:
        raise HwsimError(
            f'"{directory}" holds evaluations of another model (sha256 {known[:12]}, this one has {given[:12]}); '
            "choose another folder with -o"
        )


def _evaluated(
    space: SearchSpace, bench: Bench, kept: _Kept, evaluate: Evaluate, progress: Progress
) -> Explored:
    """Return the evaluations of all that a search proposes; a batch begins when the one before has ended."""
    study, planned = bench.study, min(bench.study.budget, space.size)
    assert space.inquiry is not None
    left_out = space.inquiry.left_out
    done: list[Evaluation] = []
    aside: list[SetAside] = []
    reused = 0
    while batch := propose(study, space, done, aside):
        begun = len(done) + len(aside)
        found = {point: result for point in batch if (result := kept.get(point)) is not None}
        reused += sum(isinstance(result, Evaluation) for result in found.values())
        progress(EVALUATING, begun + len(found), planned)
        for made in attempts(evaluate, [point for point in batch if point not in found]):
            point = _point(made)
            found[point] = kept.put(made, begun + batch.index(point))
            progress(EVALUATING, begun + len(found), planned)
        for point in batch:
            result = found[point]
            if isinstance(result, Evaluation):
                done.append(replace(result, index=len(done)))
            else:
                aside.append(result)
        _refuse_failing_throughout(done, aside)
        kept.put_aside([result for result in found.values() if isinstance(result, SetAside)])
        kept.put_aside(left_out.values())
    progress(EVALUATING, len(done) + len(aside), len(done) + len(aside))
    return Explored(done, reused, bench, (*aside, *left_out.values()), beliefs(space, done))


def _refuse_failing_throughout(done: list[Evaluation], aside: list[SetAside]) -> None:
    """Raise where nothing could be evaluated: it is no design point then that is at fault."""
    if aside and not done:
        raise HwsimError(
            f"none of the first {len(aside)} design points can be evaluated; the first: {aside[0].reason}"
        )


def _point(made: Attempt | SetAside) -> DesignPoint:
    """Return the design point that something came of."""
    assert isinstance(made.point, DesignPoint)
    return made.point


def propose(
    study: Study, space: SearchSpace, done: list[Evaluation], aside: list[SetAside]
) -> list[DesignPoint]:
    """Return the next batch of a study's search; none where the budget is spent or the search has ended."""
    search = look_up("search", study.search, SEARCHES)
    begun = len(done) + len(aside)
    count = min(BATCH, study.budget - begun)
    if not count:
        return []
    rng = np.random.default_rng([study.seed, begun])
    space = replace(space, set_aside=frozenset(map(_point, aside)))
    what = f'search "{study.search}"'
    batch: list[DesignPoint] = call(what, search, space, list(done), study.objectives, rng, count)
    if len(batch) > count or len({*batch, *(e.point for e in done)}) < len(batch) + len(done):
        raise HwsimError(f"{what} proposes a point again or more than {count}; propose new points only")
    return [point for point in batch if point not in space.set_aside]


@dataclass(frozen=True)
class _Kept:
    """What a store holds of a bench's design points."""

    store: Store
    stamp: str

    def key(self, point: DesignPoint) -> str:
        return f"{self.stamp}-{point.key()}"

    def left_out(self, branch: Branch) -> SetAside | None:
        """Return how a branch was left out before, if it was."""
        failed = self.store.set_aside(self._key(branch))
        return None if failed is None else SetAside(branch, *failed)

    def _key(self, what: DesignPoint | Branch) -> str:
        return self.key(what) if isinstance(what, DesignPoint) else f"branch-{self.stamp}-{what.key()}"

    def get(self, point: DesignPoint) -> Evaluation | SetAside | None:
        """Return what is known of a point."""
        text = self.store.get(self.key(point))
        if text is not None:
            return _EVALUATION.validate_json(text)
        failed = self.store.set_aside(self.key(point))
        return None if failed is None else SetAside(point, *failed)

    def put(self, made: Attempt | SetAside, index: int) -> Evaluation | SetAside:
        """Keep an evaluation, the ``index``-th that was proposed, and return it; return a point set aside as it is."""
        if isinstance(made, SetAside):
            return made
        assert isinstance(made.result, Evaluation)
        evaluation = replace(made.result, index=index)
        text = json.dumps(evaluation.to_json(), allow_nan=False)
        self.store.put(self.key(evaluation.point), text, made.seconds)
        return evaluation

    def put_aside(self, items: Iterable[SetAside]) -> None:
        """Keep which points were set aside, and which branches left out."""
        for item in items:
            self.store.put_aside(self._key(item.point), item.tries, item.reason)


_EVALUATION = TypeAdapter(Evaluation)
