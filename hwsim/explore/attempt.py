"""One attempt at a design point: its evaluation, or why there is none; or at a question that a search asks.

Whatever evaluates design points (this process, workers beside it, a cluster) is an :data:`Evaluate`: it takes points
or questions from a queue, to which more may be added at any time, and gives back attempts in any order. What fails is
tried again, and set aside when it keeps failing.
"""

from __future__ import annotations

import errno
import json
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from typing import Literal

from pydantic import TypeAdapter

from hwsim.catalogue import reason
from hwsim.errors import HwsimError, MachineError
from hwsim.explore.bench import Bench
from hwsim.explore.evaluation import DesignPoint, Evaluation
from hwsim.explore.question import Alive, Alone, Branch, Pricing

TRIES = 3
"""Attempts at a point before it is set aside."""

Kind = Literal["unexpected", "refused", "machine"]
"""Whether another attempt may succeed, none will, or no point can be evaluated here at all."""


@dataclass(frozen=True)
class Failure:
    """Why an attempt gave no evaluation."""

    reason: str
    kind: Kind = "unexpected"


@dataclass(frozen=True)
class Answer:
    """What a question was answered with, as JSON."""

    text: str


Tried = DesignPoint | Alone | Pricing
"""What an attempt can be at: a design point or a question."""


@dataclass(frozen=True)
class Attempt:
    """What came of a design point or a question, and how long it took."""

    point: Tried
    result: Evaluation | Answer | Failure
    seconds: float

    def to_text(self) -> str:
        """Return one line of JSON that :meth:`from_text` reads."""
        return json.dumps(asdict(self), allow_nan=False)

    @staticmethod
    def from_text(text: str | bytes) -> Attempt:
        return _ATTEMPT.validate_json(text)


_ATTEMPT = TypeAdapter(Attempt)

Waiting = deque[Tried]
"""Distinct points or questions that nobody is at yet."""

Evaluate = Callable[[Waiting], Iterator[Attempt]]
"""From a queue to an attempt at each, as they end; what is added between two attempts is taken too.

It ends when the queue is empty and nothing under way."""

Evaluators = Callable[[Bench], AbstractContextManager[Evaluate]]
"""What evaluates the points of a bench while its context is open."""


Progress = Callable[[str, int, int], None]
"""Called with a stage, what is done of it and what is planned."""


@dataclass(frozen=True)
class SetAside:
    """A design point or a branch of them that could not be evaluated, how often it was tried and why it failed the last time."""

    point: DesignPoint | Branch
    tries: int
    reason: str

    def __str__(self) -> str:
        tries = "once" if self.tries == 1 else f"{self.tries} times"
        return f"{self.point.label()}: tried {tries}, {self.reason}"


def attempt(bench: Bench, point: Tried, threads: int = 0, alive: Alive = lambda: None) -> Attempt:
    """Try to evaluate a design point with some threads, or one a processor core, or to answer; no error leaves it."""
    start = time.monotonic()
    result = _result(bench, point, threads, alive)
    return Attempt(point, result, round(time.monotonic() - start, 3))


def _result(bench: Bench, point: Tried, threads: int, alive: Alive) -> Evaluation | Answer | Failure:
    try:
        if isinstance(point, DesignPoint):
            return bench.evaluate(0, point, threads=threads)
        return Answer(json.dumps(point.answer(bench, alive), allow_nan=False))
    except MachineError as error:
        return Failure(str(error), "machine")
    except HwsimError as error:
        return Failure(str(error), "refused")
    except (Exception, SystemExit) as error:
        lacking = isinstance(error, OSError) and error.errno in _LACKING
        return Failure(reason(error), "machine" if lacking else "unexpected")


_LACKING = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}
"""What the system says where it has no space, files or memory left."""


def attempts(evaluate: Evaluate, waiting: Waiting) -> Iterator[Attempt | SetAside]:
    """Yield what came of each point or question, or that its designs are set aside: refused once, or failed time after time.

    Raises :class:`HwsimError` where the machine refuses to evaluate anything.
    """
    tries = Counter[Tried]()
    for made in evaluate(waiting):
        if not isinstance(made.result, Failure):
            yield made
            continue
        if made.result.kind == "machine":
            raise HwsimError(made.result.reason)
        tries[made.point] += 1
        if made.result.kind == "unexpected" and tries[made.point] < TRIES:
            waiting.append(made.point)
        else:
            point = made.point if isinstance(made.point, DesignPoint) else made.point.branch
            yield SetAside(point, tries[made.point], made.result.reason)


@contextmanager
def here(bench: Bench) -> Iterator[Evaluate]:
    """Evaluate in this process, one point after the other: a point that ends its process ends this one."""
    yield one_by_one(bench)


def one_by_one(bench: Bench, threads: int = 0) -> Evaluate:
    """Return what evaluates in this process, with some threads, or one a processor core."""

    def evaluate(waiting: Waiting) -> Iterator[Attempt]:
        while waiting:
            yield attempt(bench, waiting.popleft(), threads)

    return evaluate
