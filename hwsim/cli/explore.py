"""``hwsim explore``."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwsim.cli.options import Json
from hwsim.cli.output import live_progress, print_json, print_table
from hwsim.errors import HwsimError

if TYPE_CHECKING:
    from hwsim.explore.attempt import Evaluators
    from hwsim.explore.evaluation import Evaluation
    from hwsim.explore.exploration import Explored
    from hwsim.explore.plan import Plan
    from hwsim.explore.study import Study

Workers = Annotated[
    int | None,
    typer.Option(
        min=0, max=1024, help="Processes that evaluate (1); 0 evaluates in this one, which a crash then ends."
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(help="Evaluate on the workers of this Dask scheduler: tcp://HOST:PORT or tls://HOST:PORT."),
]
Timeout = Annotated[
    float,
    typer.Option(
        min=0, help="Seconds that one attempt at a design point, or a step of pricing, may take; 0 for any."
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Print the size of the space, the evaluations planned, their time and disk; explore nothing.",
    ),
]
Retry = Annotated[bool, typer.Option("--retry", help="Try design points again that were set aside.")]


def command(
    study: Annotated[Path, typer.Argument(help="A study file (.toml).")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The folder of results and report.")
    ] = None,
    workers: Workers = None,
    cluster: Cluster = None,
    timeout: Timeout = 3600.0,
    retry: Retry = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Find a study's Pareto front and report it.

    A study that names no search is explored by exact, or by evolve where no objective is the accuracy or one can only be
    measured: overflow_rate, and array_gates and array_area where elements are of several kinds or many formats.
    """
    from hwsim.explore.exploration import explore
    from hwsim.explore.study import read_study
    from hwsim.results import write_results

    given, evaluators = read_study(study), _evaluators(workers, cluster, timeout)
    if dry_run:
        return _plan(given, output, _at_a_time(workers, cluster), retry, as_json)
    if output is None:
        raise HwsimError("results and report need a folder; give one with -o, or ask for --dry-run")
    command = shlex.join(["hwsim", "explore", str(study), "-o", str(output)])
    with live_progress() as progress:
        explored = explore(given, output, evaluators=evaluators, retry=retry, progress=progress)
        page = write_results(explored, output, command, progress=progress)
    if as_json:
        return print_json(_facts(explored, page))
    return _show(explored, page)


def _plan(study: Study, output: Path | None, workers: int, retry: bool, as_json: bool) -> None:
    """Print what exploring would take."""
    from hwsim.explore.plan import plan

    planned = plan(study, output, threads=max(1, (os.cpu_count() or 1) // workers), retry=retry)
    least, most = planned.seconds_of(workers)
    facts = {
        "space": planned.size,
        "search": study.search,
        "budget": study.budget,
        "planned": planned.planned,
        "in_store": planned.kept,
        "set_aside": planned.set_aside,
        "left": planned.left,
        "workers": workers,
        "seconds": [round(least, 3), round(most, 3)],
        "seconds_from": planned.seconds.basis,
        "disk_bytes": planned.disk_bytes,
    }
    if as_json:
        return print_json(facts)
    return _show_plan(planned, study.search, workers, least, most)


def _show_plan(planned: Plan, search: str, workers: int, least: float, most: float) -> None:
    each = planned.seconds
    aside = f", {planned.set_aside} set aside" if planned.set_aside else ""
    print(f"space: {planned.size:,} designs")
    print(
        f'evaluations: {planned.planned:,} planned by search "{search}", {planned.kept:,} of them in the store{aside}, '
        f"{planned.left:,} left"
    )
    idle = f", {planned.in_flight} of them at work (in_flight)" if workers > planned.in_flight else ""
    print(
        f"time: {_between(least, most)} with {workers} worker{'s'[: workers > 1]}{idle}, "
        f"{_between(each.least, each.most)} an evaluation ({each.basis}); a search's own work is not counted"
    )
    print(
        f"disk: {planned.disk_bytes / 1e6:,.1f} MB of store and results, from {planned.row_bytes:,} bytes an evaluation, "
        "beside the report's page of at most 6 MB"
    )


def _between(least: float, most: float) -> str:
    first, last = _duration(least), _duration(most)
    return first if first == last else f"{first} to {last}"


def _duration(seconds: float) -> str:
    """Return seconds in the largest fitting unit.

    >>> _duration(0.25), _duration(90), _duration(5000), _duration(400000)
    ('0.2 s', '90 s', '83 min', '111 h')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.0f} h"


def _evaluators(count: int | None, address: str | None, timeout_s: float) -> Evaluators:
    from hwsim.explore.attempt import here
    from hwsim.explore.cluster import cluster
    from hwsim.explore.workers import workers

    if address is not None:
        if count is not None:
            raise HwsimError(
                "design points are evaluated by --workers here or by a --cluster; give one of them"
            )
        return cluster(address, timeout_s=timeout_s)
    return here if count == 0 else workers(count or 1, timeout_s=timeout_s)


def _at_a_time(count: int | None, address: str | None) -> int:
    """Return how many design points are evaluated at a time."""
    from hwsim.explore.cluster import threads

    return threads(address) if address else max(1, count or 1)


def _within(explored: Explored) -> tuple[list[Evaluation], Evaluation | None]:
    """Return the front of the designs that keep the study's constraints and, where none does, the nearest."""
    from hwsim.explore.constraints import keeps, nearest
    from hwsim.explore.evaluation import pareto_front

    study = explored.bench.study
    constraints = study.constraints or {}
    kept = pareto_front([e for e in explored.evaluations if keeps(e, constraints)], study.objectives)
    return kept, nearest(explored.evaluations, constraints) if explored.evaluations and not kept else None


def _facts(explored: Explored, page: Path) -> dict[str, Any]:
    from hwsim.explore.clock import slow_elements
    from hwsim.explore.constraints import missed

    study = explored.bench.study
    (kept, near), constraints = _within(explored), study.constraints
    facts = {
        "report": str(page),
        "search": study.search,
        "evaluated": len(explored.evaluations),
        "reused": explored.reused,
        "calibration_images": len(explored.bench.calibration_split),
        "test_images": len(explored.bench.test),
        "front": [e.point.key() for e in explored.front],
        "set_aside": [
            {"point": item.point.key(), "label": item.point.label()}
            | {"tries": item.tries, "reason": item.reason}
            for item in explored.set_aside
        ],
    }
    if constraints:
        facts["within_constraints"] = [e.point.key() for e in kept]
    if study.has_array and (slow := slow_elements(explored.evaluations)):
        facts["array_allows_mhz"] = slow
    if near:
        facts |= {"nearest": near.point.key(), "nearest_misses": missed(near, constraints or {})}
    return facts


def _show(explored: Explored, page: Path) -> None:
    from hwsim.explore.clock import slow_text
    from hwsim.explore.constraints import missed_text
    from hwsim.report import terminal_table

    study = explored.bench.study
    print_table(terminal_table(explored.evaluations, study.objectives))
    fresh, aside = len(explored.evaluations) - explored.reused, explored.set_aside
    print(
        f'{len(explored.evaluations)} design points by search "{study.search}", '
        f"{len(explored.front)} on the front: {fresh} evaluated now, "
        f"{explored.reused} reused{f', {len(aside)} set aside' if aside else ''}"
    )
    constraints = study.constraints or {}
    kept, near = _within(explored)
    if near:
        print(
            f"no design keeps the constraints; nearest is {near.point.key()}, which misses {missed_text(near, constraints)}"
        )
    elif constraints:
        print(f"within the constraints: {', '.join(e.point.key() for e in kept)}")
    if slow := slow_text(explored.evaluations, study.hardware.clock_mhz, array=study.has_array):
        print(slow)
    for item in aside:
        print(f"set aside: {item}")
    print(f"report: {page}")
