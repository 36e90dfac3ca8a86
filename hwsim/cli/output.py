"""What commands print: JSON on stdout, progress on stderr."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import TaskID
    from rich.table import Table


def print_json(value: Any) -> None:
    """Print one value as a line of strict JSON."""
    print(json.dumps(value, allow_nan=False))


def print_table(table: Table) -> None:
    """Print a table: cut to the width of a terminal, or COLUMNS, and whole where there is neither."""
    from rich.console import Console

    console = Console()
    if not (console.is_terminal or "COLUMNS" in os.environ):
        console.width = sys.maxsize
        console.width = console.measure(table).maximum
    console.print(table)


Show = Callable[[str, int, int], None]
"""Called with a stage, what is done of it and what is planned."""


@contextmanager
def live_progress() -> Iterator[Show]:
    """Yield a function that shows progress on stderr: a bar with the time left on a terminal, else a line now and then."""
    if not sys.stderr.isatty():
        with repeated(progress_lines()) as show:
            yield show
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=120) as bar:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, done: int, planned: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage)
            bar.update(tasks[stage], completed=done, total=planned)

        yield show


@contextmanager
def repeated(show: Show, seconds: float = 1.0) -> Iterator[Show]:
    """Yield a function that shows progress, and shows it again every so many ``seconds`` while nothing new is told.

    One step may take minutes, and a line that was not due when it was told is due then.
    """
    told, lock, ended = list[tuple[str, int, int]](), threading.Lock(), threading.Event()

    def again() -> None:
        while not ended.wait(seconds):
            with lock:
                for stage in told:
                    show(*stage)

    def tell(stage: str, done: int, planned: int) -> None:
        with lock:
            told[:] = [(stage, done, planned)]
            show(stage, done, planned)

    ticking = threading.Thread(target=again, daemon=True)
    ticking.start()
    try:
        yield tell
    finally:
        ended.set()
        ticking.join()


def progress_lines(seconds: float = 5.0) -> Show:
    """Return a function that prints where long work stands, at most once in ``seconds``, and where it ends."""
    shown, spoken, last = time.monotonic(), False, ""

    def show(stage: str, done: int, planned: int) -> None:
        nonlocal shown, spoken, last
        line = f"{stage}: {done} of {planned}"
        due = time.monotonic() >= shown + seconds
        if line != last and (due or (spoken and done == planned)):
            shown, spoken, last = time.monotonic(), True, line
            print(line, file=sys.stderr, flush=True)

    return show
