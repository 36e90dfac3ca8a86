"""What a cluster's worker is asked: one design point or question of a study, answered by a process beside it.

Nothing that a point does to its process touches the worker, which so keeps its place in the cluster. The processes stay
for the next point, and end with the worker or when nothing was asked of them for a while.
"""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from pydantic import TypeAdapter

from hwsim.errors import HwsimError
from hwsim.explore.attempt import Attempt, Failure, Tried
from hwsim.explore.workers import Worker

REST_S = 300.0
"""How long a process with nothing to do is kept."""


@dataclass(frozen=True)
class Errand:
    """What every worker needs to know once: a worker process's job, the folder it is done in and by which hwsim.

    ``stamp`` is that of the bench where the exploration is driven; an attempt takes at most ``timeout_s``.
    """

    version: str
    folder: str
    stamp: str
    timeout_s: float
    job: str

    def to_text(self) -> str:
        """Return the errand as JSON, which a worker reads."""
        return json.dumps(asdict(self))


_ERRAND, _TRIED = TypeAdapter(Errand), TypeAdapter[Tried](Tried)

_resting: dict[str, list[tuple[Worker, object]]] = {}
"""Processes with nothing to do by their errand, each with a token of this rest."""

_lock = threading.Lock()


def run(errand: str, point: str) -> str:
    """Return the attempt at a point or question as text; what the place refuses is a failure of the machine, told with its reason."""
    asked, design = _ERRAND.validate_json(errand), _TRIED.validate_json(point)
    try:
        return _attempt(asked, errand, design).to_text()
    except HwsimError as error:
        return Attempt(design, Failure(f"a worker of the cluster refuses: {error}", "machine"), 0.0).to_text()


def _attempt(errand: Errand, text: str, point: Tried) -> Attempt:
    here = version("hwsim")
    if errand.version != here:
        raise HwsimError(f"it has hwsim {here}, the exploration {errand.version}; install one version on all")
    if not Path(errand.folder).is_dir():
        raise HwsimError(
            f'it has no folder "{errand.folder}", where the study\'s files are; explore from a folder that all workers share'
        )
    with _lock:
        resting = _resting.get(text)
        worker = resting.pop()[0] if resting else Worker(errand.stamp, 1, errand.timeout_s, errand.folder)
    try:
        return worker.attempt(errand.job, point)
    finally:
        _rest(text, (worker, object()))


def _rest(text: str, entry: tuple[Worker, object]) -> None:
    """Keep a worker for the next point, and dismiss it where none comes."""
    with _lock:
        _resting.setdefault(text, []).append(entry)

    def dismiss() -> None:
        with _lock:
            resting = _resting.get(text, [])
            if entry not in resting:
                return
            resting.remove(entry)
            if not resting:
                del _resting[text]
        entry[0].dismiss()

    timer = threading.Timer(REST_S, dismiss)
    timer.daemon = True
    timer.start()
