"""What commands print: JSON on stdout, progress on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import TaskID


def print_json(value: Any) -> None:
    """Print one value as a line of strict JSON."""
    print(json.dumps(value, allow_nan=False))


Show = Callable[[str, int, int], None]
"""Called with a stage, what is done of it and what is planned."""


@contextmanager
def live_progress() -> Iterator[Show]:
    """Yield a function that shows progress on stderr: a bar with the time left on a terminal, else a line now and then."""
    if not sys.stderr.isatty():
        yield progress_lines()
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
