"""A worker process: a bench of its own, and what it is asked for on standard input evaluated one by one.

``python -m hwsim.explore.worker`` reads a :class:`Job` and then design points and questions, one JSON a line, and
answers each with a line on what was its standard output: the bench's stamp or a refusal, then attempts. Empty lines
before an attempt say that it begins, and that a step of it is done. It ends with its input, whatever it is at: no worker outlives the process
that asks.
"""

from __future__ import annotations

import base64
import importlib
import json
import os
import queue
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from hwsim.errors import HwsimError
from hwsim.explore.attempt import Tried, attempt
from hwsim.explore.bench import Bench, Given, open_bench
from hwsim.explore.question import Alone
from hwsim.explore.study import Study


@dataclass(frozen=True)
class Job:
    """What a worker needs to know once: the study as JSON, and what its bench need not compute, as base64."""

    study: str
    float_correct: int
    calibration: str
    threads: int

    @staticmethod
    def of(bench: Bench, threads: int) -> Job:
        """Return the job of evaluating a bench's points, each with some threads."""
        given = bench.computed()
        calibration = base64.b64encode(given.calibration).decode()
        return Job(bench.study.model_dump_json(), given.float_correct, calibration, threads)

    def bench(self) -> Bench:
        """Return the bench that the job is about; raises :class:`HwsimError` where it cannot be had."""
        given = Given(self.float_correct, base64.b64decode(self.calibration))
        return open_bench(Study.model_validate_json(self.study), given)


_JOB, _TRIED = TypeAdapter(Job), TypeAdapter[Tried](Tried)


def main() -> None:
    """Answer lines until they end."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what others print is no answer

    def answer(text: str) -> None:
        print(text, file=answers, flush=True)

    lines = _lines()
    job = _JOB.validate_json(next(lines))
    try:
        bench = job.bench()
    except (HwsimError, OSError, MemoryError) as error:
        return answer(json.dumps({"refused": str(error) or type(error).__name__}))
    answer(json.dumps({"stamp": bench.stamp}))
    for line in lines:
        tried = _TRIED.validate_json(line)
        if isinstance(tried, Alone):
            importlib.import_module("hwsim.explore.sensitivity")  # torch takes its time, which is nobody's
        answer("")
        answer(attempt(bench, tried, job.threads, lambda: answer("")).to_text())
    return None


def _lines() -> Iterator[bytes]:
    """Yield the lines of standard input; once it ends, so does the process."""
    found: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, found), daemon=True).start()
    while True:
        yield found.get()


def _read(stream: Any, into: queue.SimpleQueue[bytes]) -> None:
    for line in stream:
        into.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()
