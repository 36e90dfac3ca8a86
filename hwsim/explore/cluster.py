"""Beyond one machine: design points evaluated by the workers of a Dask cluster, which somebody started.

This process proposes, asks and alone writes. A worker that is lost costs the points it was at, which Dask gives to others;
what lies behind an address is believed, as Dask runs what it is sent: see docs/cluster.md. M. Rocklin, Dask: parallel
computation with blocked algorithms and task scheduling, SciPy 2015.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hwsim.catalogue import reason
from hwsim.errors import HwsimError
from hwsim.explore import errand
from hwsim.explore.attempt import Attempt, Evaluate, Evaluators, Failure, Tried, Waiting
from hwsim.explore.bench import Bench
from hwsim.explore.worker import Job
from hwsim.explore.workers import TIMEOUT_S

CONNECT_S = 10.0
"""How long a scheduler may take to answer."""

WAIT_S = 60.0
"""How long a cluster without workers is waited for."""

_POLL_S, _LOOK_S = 0.02, 1.0
"""How often points are looked at, and the cluster."""

_UNDER_WAY = ("pending", "lost")
"""What Dask calls a future without a result yet, and one whose result went with its worker and is made again."""


def cluster(address: str, *, timeout_s: float = TIMEOUT_S, wait_s: float = WAIT_S) -> Evaluators:
    """Return what evaluates on the workers of the Dask scheduler at ``address``, ``tcp://HOST:PORT`` or ``tls://HOST:PORT``.

    An attempt that takes longer than ``timeout_s`` is ended and counts as failed; 0 sets no limit. Raises
    :class:`HwsimError` for anything that is no such address, and where evaluating for a scheduler that does not answer or
    is lost, has no worker for ``wait_s``, or runs other versions than are here.
    """
    _refuse_no_address(address)

    @contextlib.contextmanager
    def evaluators(bench: Bench) -> Iterator[Evaluate]:
        with _connected(address) as client:
            found = _Cluster(client, address, wait_s)
            found.wait_for_a_worker()
            errands: list[Any] = []  # sent when the first point is missing, and once

            def sent() -> Any:
                if not (errands and errands[-1].status in ("finished", *_UNDER_WAY)):
                    errands.append(found.send(_errand(bench, timeout_s)))
                return errands[-1]

            yield functools.partial(found.spread, sent)

    return evaluators


def _errand(bench: Bench, timeout_s: float) -> str:
    job = json.dumps(asdict(Job.of(bench, 1)))
    return errand.Errand(version("hwsim"), str(Path.cwd()), bench.stamp, timeout_s, job).to_text()


def threads(address: str) -> int:
    """Return how many design points a cluster evaluates at a time."""
    _refuse_no_address(address)
    with _connected(address) as client:
        return sum(client.nthreads().values())


def _refuse_no_address(address: str) -> None:
    found = re.fullmatch(r"(?:tcp|tls)://(?:\[[0-9A-Fa-f:.]+\]|[\w.-]+):(\d{1,5})", address)
    if not found or not 0 < int(found[1]) < 1 << 16:
        raise HwsimError(
            f'"{address}" is no address of a Dask scheduler; write tcp://127.0.0.1:8786 or tls://host:8786'
        )


@contextlib.contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Yield Dask's client of a scheduler; nothing that Dask logs is shown."""
    try:
        import distributed
    except ImportError:
        raise HwsimError("--cluster needs Dask: pip install 'hwsim[cluster]'") from None
    _refuse_without_certificate(address, distributed.Security())
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of versions, which are looked at here
            client = distributed.Client(address, timeout=CONNECT_S, set_as_default=False)
    except Exception as error:  # what a stranger answers may be anything
        raise HwsimError(
            f"no Dask scheduler answers at {address} ({reason(error)}); start one (dask scheduler --host 127.0.0.1), or "
            "explore without --cluster"
        ) from None
    try:
        refuse_other_versions(client.get_versions(check=False))
        yield client
    finally:
        with contextlib.suppress(Exception):  # it may be closed already, or its scheduler gone
            client.close(timeout=2)


def _refuse_without_certificate(address: str, security: Any) -> None:
    """Refuse an address behind TLS where Dask's configuration names no certificate, or one that cannot be read."""
    if address.startswith("tls://"):
        why = "none is configured"
        try:
            if security.get_connection_args("client")["ssl_context"]:
                return
        except (OSError, ValueError) as error:
            why = reason(error)
        raise HwsimError(
            f"{address} asks for a certificate ({why}); name CA_FILE, CLIENT__CERT and CLIENT__KEY of Dask, each a variable that "
            "begins with DASK_DISTRIBUTED__COMM__TLS__"
        )


def refuse_other_versions(found: Mapping[str, Any]) -> None:
    """Refuse a scheduler or worker whose Python, Dask or distributed is another than here, as Dask tells them."""
    ours = _versions(found["client"])
    others = {"scheduler": found["scheduler"], **{f"worker {a}": v for a, v in found["workers"].items()}}
    for who, told in others.items():
        for name, theirs in _versions(told).items():
            if theirs != ours[name]:
                raise HwsimError(
                    f"the cluster's {who} has {name} {theirs}, this program {ours[name]}; install one version on all"
                )


def _versions(told: Mapping[str, Any] | str | None) -> dict[str, str]:
    """Return the versions that decide whether two sides understand each other; those of a worker that is gone are none."""
    if not isinstance(told, Mapping):
        return {}
    python = ".".join(str(dict(told["host"])["python"]).split(".")[:2])
    return {"Python": python, **{name: str(told["packages"][name]) for name in ("dask", "distributed")}}


@dataclass(frozen=True)
class _Cluster:
    """A scheduler that answered, and how long it is waited for workers of it."""

    client: Any
    address: str
    wait_s: float

    def wait_for_a_worker(self) -> None:
        """Return when there is one; raises :class:`HwsimError` where none comes or the scheduler is lost."""
        since = time.monotonic()
        while not self._has_workers():
            if time.monotonic() - since >= self.wait_s:
                raise self._without_workers()
            time.sleep(_POLL_S)

    def send(self, text: str) -> Any:
        """Return a text that workers fetch where they need it, and the scheduler has made again where it was lost."""
        return self.client.submit(str, text, pure=False)

    def spread(self, sent: Callable[[], Any], asked: Waiting) -> Iterator[Attempt]:
        """Yield an attempt at each point, made by whichever worker Dask gave it to; ``sent`` is the errand."""
        running: dict[Any, Tried] = {}
        looked = time.monotonic()
        while asked or running:
            while asked:
                point = asked.popleft()
                text = json.dumps(asdict(point))
                running[self.client.submit(errand.run, sent(), text, pure=False)] = point
            for future in list(running):
                made = self._attempt(future, running[future])
                if made:
                    del running[future]
                    yield made
            if running and time.monotonic() - looked >= _LOOK_S:
                self.wait_for_a_worker()
                looked = time.monotonic()
            time.sleep(_POLL_S)

    def _attempt(self, future: Any, point: Tried) -> Attempt | None:
        """Return what a future came to, or None where it has no result yet or lost it with a worker."""
        status = future.status  # asked once: a worker may be lost at any moment
        if status in _UNDER_WAY:
            return None
        if status == "finished":
            with contextlib.suppress(Exception):  # of Dask's; the future's status tells next time
                return Attempt.from_text(future.result(timeout=_LOOK_S))
            return None
        if status == "cancelled":
            if self.client.status != "running":
                raise self._lost()
            return Attempt(point, Failure("the cluster gave it up"), 0.0)
        error = future.exception()
        if type(error).__name__ == "KilledWorker":
            return Attempt(
                point, Failure("the workers of the cluster that were at it were lost time after time"), 0.0
            )
        raise HwsimError(
            f"the cluster at {self.address} cannot run hwsim ({reason(error)}); install the same hwsim and Dask on its "
            "scheduler and workers"
        )

    def _has_workers(self) -> bool:
        try:
            return self.client.status == "running" and bool(self.client.nthreads())
        except Exception:  # whatever a connection that breaks meanwhile raises
            raise self._lost() from None

    def _without_workers(self) -> HwsimError:
        return HwsimError(
            f"the Dask scheduler at {self.address} has had no worker for {self.wait_s:g} s; start some (dask worker "
            f"{self.address}) and run again: what was evaluated is kept"
        )

    def _lost(self) -> HwsimError:
        return HwsimError(
            f"the Dask scheduler at {self.address} was lost; what was evaluated is kept: run again, with a scheduler or "
            "without --cluster"
        )
