"""An exploration: the design points a search proposes, evaluated while it proposes more, and kept."""

from __future__ import annotations

import contextlib
import json
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from hwsim import files
from hwsim.catalogue import call, look_up
from hwsim.errors import HwsimError
from hwsim.explore.attempt import Attempt, Evaluate, Evaluators, Progress, SetAside, Waiting, attempts, here
from hwsim.explore.beliefs import beliefs
from hwsim.explore.bench import Bench, open_bench
from hwsim.explore.constraints import refuse_contradictions
from hwsim.explore.evaluation import DesignPoint, Evaluation, pareto_front
from hwsim.explore.explanation import Beliefs
from hwsim.explore.folder import STORE, STUDY, claimed
from hwsim.explore.inquiry import Inquiry
from hwsim.explore.question import Branch
from hwsim.explore.search import SearchSpace
from hwsim.explore.searches import SEARCHES
from hwsim.explore.space import search_space
from hwsim.explore.store import Store, open_store
from hwsim.explore.study import Study
from hwsim.network import FloatNetwork

LOADING, EVALUATING = "load", "evaluate design points"
"""Stages of an exploration, as its progress names them."""


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
    no design can keep; and where none of the first points can be evaluated.
    """
    with claimed(study, directory):
        progress(LOADING, 0, 1)
        bench = open_bench(study)
        space = replace(search_space(study, bench.network), bench=bench)
        with evaluators(bench) as evaluate:
            refuse_contradictions(replace(space, inquiry=Inquiry(evaluate, progress=progress)))
            files.write(directory / STUDY, study.to_toml())
            progress(LOADING, 1, 1)
            with open_store(directory / STORE) as store:
                refuse_another_model(store, bench.network, directory)
                if retry:
                    store.forget_set_aside()
                kept = _Kept(store, bench.stamp)
                space = replace(space, inquiry=Inquiry(evaluate, kept.left_out, progress))
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
    """Return the evaluations of all that a search proposes, which goes on while points are under evaluation."""
    order, planned = _Order(bench.study, space, kept), min(bench.study.budget, space.size)
    order.extend()
    progress(EVALUATING, len(order.found), planned)
    for made in attempts(evaluate, order.waiting):
        order.take(made)
        progress(EVALUATING, len(order.found), planned)
        order.extend()
    _refuse_failing_throughout(order.done, order.aside)
    progress(EVALUATING, len(order.found), len(order.found))
    known = [order.known[e.point] for e in order.done]
    aside = (*order.aside, *order.left_out)
    return Explored(order.done, order.reused, bench, aside, beliefs(space, order.done, known))


class _Order:
    """The points proposed so far, one after the other, and what is ``found`` of them; ``waiting`` are those nobody is at yet.

    No time changes the order. Once all but the last ones, half of those that may be in flight, have ended, the other half is
    proposed from what those came to (``done`` and ``aside``), and the last ones are pending, whether they have ended or
    not. ``known`` is how many were done when a point was proposed.
    """

    def __init__(self, study: Study, space: SearchSpace, kept: _Kept) -> None:
        self._study, self._space, self._kept = study, space, kept
        self._points: list[DesignPoint] = []
        self._allowed = study.in_flight // 2
        self.found: dict[DesignPoint, Evaluation | SetAside] = {}
        self.waiting: Waiting = deque()
        self.done: list[Evaluation] = []
        self.aside: list[SetAside] = []
        self.known: dict[DesignPoint, int] = {}
        self.reused = 0

    @property
    def left_out(self) -> Iterable[SetAside]:
        """The branches that the search left out so far."""
        assert self._space.inquiry is not None
        return self._space.inquiry.left_out.values()

    @property
    def _pending(self) -> list[DesignPoint]:
        return self._points[len(self.done) + len(self.aside) :]

    def extend(self) -> None:
        """Propose as many steps as can be; where a search has no more to propose, what is pending may tell it of more."""
        while self._learn(max(0, len(self._pending) - self._allowed)):
            pending = self._pending
            new = propose(self._study, self._space, self.done, self.aside, pending)
            if not new and not pending:
                return
            self._allowed = self._study.in_flight // 2 if new else 0
            for point in new:
                self._add(point)

    def _add(self, point: DesignPoint) -> None:
        """Have the next point evaluated, unless the store knows it."""
        self._points.append(point)
        self.known[point] = len(self.done)
        if (result := self._kept.get(point)) is None:
            self.waiting.append(point)
        else:
            self.found[point] = result
            self.reused += isinstance(result, Evaluation)

    def take(self, made: Attempt | SetAside) -> None:
        """Keep what a pending point came to."""
        point = _point(made)
        place = self._points.index(point, len(self.done) + len(self.aside))
        self.found[point] = self._kept.put(made, place)

    def _learn(self, count: int) -> bool:
        """Return whether the first ``count`` pending points have ended, which are then pending no more."""
        new = self._pending[:count]
        if not all(point in self.found for point in new):
            return False
        for result in map(self.found.__getitem__, new):
            if isinstance(result, Evaluation):
                self.done.append(replace(result, index=len(self.done)))
            else:
                self.aside.append(result)
        _refuse_failing_throughout(self.done, self.aside, FAILING)
        if self.done:
            self._kept.put_aside([*self.aside, *self.left_out])
        return True


FAILING = 8
"""How many points that fail, and none before them that does not, say that it is no design point that is at fault."""


def _refuse_failing_throughout(done: list[Evaluation], aside: list[SetAside], fewest: int = 1) -> None:
    """Raise where that many points, and all so far, cannot be evaluated."""
    if len(aside) >= fewest and not done:
        raise HwsimError(
            f"none of the first {len(aside)} design points can be evaluated; the first: {aside[0].reason}"
        )


def _point(made: Attempt | SetAside) -> DesignPoint:
    """Return the design point that something came of."""
    assert isinstance(made.point, DesignPoint)
    return made.point


def propose(
    study: Study,
    space: SearchSpace,
    done: list[Evaluation],
    aside: list[SetAside],
    pending: Sequence[DesignPoint],
) -> list[DesignPoint]:
    """Return the next points of a study's search: none where the budget is spent or the search knows of none."""
    search = look_up("search", study.search, SEARCHES)
    begun = len(done) + len(aside) + len(pending)
    count = min(study.in_flight - len(pending), study.budget - begun)
    if not count:
        return []
    rng = np.random.default_rng([study.seed, begun])
    space = replace(space, set_aside=frozenset(map(_point, aside)), pending=tuple(pending))
    what = f'search "{study.search}"'
    new: list[DesignPoint] = call(what, search, space, list(done), study.objectives, rng, count)
    if len(new) > count or len({*new, *(e.point for e in done)}) < len(new) + len(done):
        raise HwsimError(f"{what} proposes a point again or more than {count}; propose new points only")
    return [point for point in new if point not in space.set_aside and point not in space.pending]


@dataclass(frozen=True)
class _Kept:
    """What a store holds of a bench's design points; ``aside`` are those set aside that it is known to hold."""

    store: Store
    stamp: str
    aside: set[SetAside] = field(default_factory=set)

    def key(self, point: DesignPoint) -> str:
        return f"{self.stamp}-{point.key()}"

    def left_out(self, branch: Branch) -> SetAside | None:
        """Return how a branch was left out before, if it was."""
        failed = self.store.set_aside(self._key(branch))
        return None if failed is None else SetAside(branch, *failed)

    def _key(self, what: DesignPoint | Branch) -> str:
        return self.key(what) if isinstance(what, DesignPoint) else f"branch-{self.stamp}-{what.key()}"

    def get(self, point: DesignPoint) -> Evaluation | SetAside | None:
        """Return what is known of a point; a text that is no evaluation counts as missing."""
        text = self.store.get(self.key(point))
        if text is not None:
            with contextlib.suppress(ValidationError):
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
        """Keep which points were set aside, and which branches left out, unless it is kept."""
        for item in items:
            if item not in self.aside and self.store.set_aside(self._key(item.point)) is None:
                self.store.put_aside(self._key(item.point), item.tries, item.reason)
            self.aside.add(item)


_EVALUATION = TypeAdapter(Evaluation)
