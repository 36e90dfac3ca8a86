"""Workers: processes beside this one that evaluate design points, each with a bench of its own.

They are started when the first point or answer is missing and again after one ended. This process asks one point or
question of a worker at a time, so a worker that ends, or takes too long, costs that attempt and no other.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path

import hwsim
from hwsim.errors import HwsimError
from hwsim.explore.attempt import TRIES, Attempt, Evaluate, Evaluators, Failure, Tried, Waiting
from hwsim.explore.bench import Bench
from hwsim.explore.worker import Job

TIMEOUT_S = 3600.0
"""How long one attempt at a design point may take."""

LOADING_S = 600.0
"""How long a process may take until it has loaded what it needs, or begins with a point; it is ended then and another is started."""


def workers(count: int = 1, *, timeout_s: float = TIMEOUT_S) -> Evaluators:
    """Return what evaluates in ``count`` processes, which share the processor's cores.

    An attempt that takes longer than ``timeout_s``, or a step of a question that does, is ended and counts as failed; 0 sets
    no limit.
    """

    @contextlib.contextmanager
    def evaluators(bench: Bench) -> Iterator[Evaluate]:
        threads = max(1, (os.cpu_count() or 1) // count)
        team = [Worker(bench.stamp, threads, timeout_s) for _ in range(count)]
        idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()

        @functools.cache
        def job() -> str:
            for worker in team:
                worker.launch()
                idle.put(worker)
            return json.dumps(asdict(Job.of(bench, threads)))

        def ask(told: str, point: Tried) -> Attempt:
            worker = idle.get()
            try:
                return worker.attempt(told, point)
            finally:
                idle.put(worker)

        with ThreadPoolExecutor(count) as pool:
            try:
                yield functools.partial(_spread, lambda point: pool.submit(ask, job(), point))
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
                for worker in team:
                    worker.dismiss()

    return evaluators


def _spread(submit: Callable[[Tried], Future[Attempt]], asked: Waiting) -> Iterator[Attempt]:
    """Yield an attempt at each point, the first that has ended."""
    running: set[Future[Attempt]] = set()
    while asked or running:
        while asked:
            running.add(submit(asked.popleft()))
        ended, running = wait(running, return_when=FIRST_COMPLETED)
        yield ended.pop().result()
        running |= ended


class Worker:
    """One process that evaluates the points of the bench with a stamp; it is started again where it ended."""

    def __init__(self, stamp: str, threads: int, timeout_s: float, folder: str | None = None) -> None:
        self.threads = threads
        self._stamp, self._timeout_s, self._folder = stamp, timeout_s, folder
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = self._dismissed = False
        self._lock = threading.Lock()

    def launch(self) -> None:
        """Start the process, unless it runs: it loads what it needs while others are at work."""
        with self._lock:
            if self._dismissed or (self._process is not None and self._process.poll() is None):
                return
            self._close()
            self._ready = False
            self._process = _start(self.threads, self._folder)

    def attempt(self, job: str, point: Tried) -> Attempt:
        """Return the attempt of the process at a point; raises :class:`HwsimError` where no process can be had."""
        self._prepare(job)
        start = time.monotonic()
        answer, late = self._ask(json.dumps(asdict(point)))
        if answer:
            return Attempt.from_text(answer)
        why = f"it took longer than {self._timeout_s:g} s" if late else self._end()
        return Attempt(point, Failure(why), round(time.monotonic() - start, 3))

    def dismiss(self) -> None:
        """End the process for good, whatever it is at."""
        with self._lock:
            self._dismissed = True
            self._close()

    def _close(self) -> None:
        """Leave nothing of a process."""
        process = self._process
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # a line that it never read
                    pipe.close()

    def _prepare(self, job: str) -> None:
        """Have a process that is ready for points; one that ends before it is gets a few more chances."""
        for _ in range(TRIES):
            self.launch()
            if self._ready:
                return None
            answer, late = self._ask(job)
            if answer:
                return self._check(json.loads(answer))
        why = f"its process loaded for longer than {LOADING_S:g} s" if late else self._end()
        raise HwsimError(f"no worker can be started ({why}); free memory or take fewer workers")

    def _check(self, said: dict[str, str]) -> None:
        if "refused" in said:
            raise HwsimError(said["refused"])
        if said["stamp"] != self._stamp:
            raise HwsimError(
                "files of the study changed, or are others where the exploration began; start again with the same everywhere"
            )
        self._ready = True

    def _ask(self, line: str) -> tuple[bytes, bool]:
        """Return what the process answers to a line, b"" where it ended first, and whether that was for its time."""
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        try:
            process.stdin.write(line.encode() + b"\n")
            process.stdin.flush()
            limit, answer = LOADING_S, b"\n"
            while answer == b"\n":  # it begins, or a step is done: the next one has its own time
                timer = threading.Timer(limit, end)
                if limit:
                    timer.start()
                try:
                    answer = process.stdout.readline()
                finally:
                    timer.cancel()
                limit = self._timeout_s
        except (OSError, ValueError):  # it is gone, or was dismissed
            answer = b""
        if answer.endswith(b"\n"):
            return answer, False
        process.kill()
        process.wait()  # its output can end before it does, and nobody is to ask it again
        return b"", late.is_set()

    def _end(self) -> str:
        """Return how the process ended."""
        status = 0 if self._process is None else self._process.wait()
        if status >= 0:
            return f"its process ended with status {status}"
        with contextlib.suppress(ValueError):
            return f"its process was ended by {signal.Signals(-status).name}"
        return f"its process was ended by signal {-status}"


def _start(threads: int, folder: str | None) -> subprocess.Popen[bytes]:
    """Start a worker in a session of its own: an interrupt from the terminal is this process's to act on."""
    package = str(Path(hwsim.__file__).parents[1])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    limits = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "hwsim.explore.worker"],
            cwd=folder,
            env=limits | os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if "HWSIM_TRACEBACK" in os.environ else subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise HwsimError(
            f"no worker can be started ({error.strerror}); free memory or take fewer workers"
        ) from None
