"""``hwsim explore``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwsim.cli.options import Json
from hwsim.cli.output import live_progress, print_json

if TYPE_CHECKING:
    from hwsim.explore.attempt import Evaluators
    from hwsim.explore.evaluation import Evaluation
    from hwsim.explore.exploration import Explored

Workers = Annotated[
    int,
    typer.Option(
        min=0, max=1024, help="Processes that evaluate; 0 evaluates in this one, which a crash then ends."
    ),
]
Timeout = Annotated[
    float, typer.Option(min=0, help="Seconds that one attempt at a design point may take; 0 for any.")
]
Retry = Annotated[bool, typer.Option("--retry", help="Try design points again that were set aside.")]


def command(
    study: Annotated[Path, typer.Argument(help="A study file (.toml).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder of results and report.")],
    workers: Workers = 1,
    timeout: Timeout = 3600.0,
    retry: Retry = False,
    as_json: Json = False,
) -> None:
    """Find a study's Pareto front and report it."""
    from hwsim.explore.exploration import explore
    from hwsim.results import write_results
    from hwsim.study import read_study

    given, evaluators = read_study(study), _evaluators(workers, timeout)
    command = shlex.join(["hwsim", "explore", str(study), "-o", str(output)])
    with live_progress() as progress:
        explored = explore(given, output, evaluators=evaluators, retry=retry, progress=progress)
        page = write_results(explored, output, command, progress=progress)
    if as_json:
        return print_json(_facts(explored, page))
    return _show(explored, page)


def _evaluators(count: int, timeout_s: float) -> Evaluators:
    from hwsim.explore.attempt import here
    from hwsim.explore.workers import workers

    return workers(count, timeout_s=timeout_s) if count else here


def _within(explored: Explored) -> tuple[list[Evaluation], Evaluation | None]:
    """Return the front's designs that keep the study's constraints and, where none does, the nearest."""
    from hwsim.explore.constraints import keeps, nearest

    constraints = explored.bench.study.constraints or {}
    kept = [e for e in explored.front if keeps(e, constraints)]
    return kept, nearest(explored.evaluations, constraints) if explored.evaluations and not kept else None


def _facts(explored: Explored, page: Path) -> dict[str, Any]:
    kept, near = _within(explored)
    facts = {
        "report": str(page),
        "evaluated": len(explored.evaluations),
        "reused": explored.reused,
        "front": [e.point.key() for e in explored.front],
        "set_aside": [
            {"point": item.point.key(), "label": item.point.label()}
            | {"tries": item.tries, "reason": item.reason}
            for item in explored.set_aside
        ],
    }
    if explored.bench.study.constraints:
        facts["within_constraints"] = [e.point.key() for e in kept]
    return facts | ({"nearest": near.point.key()} if near else {})


def _show(explored: Explored, page: Path) -> None:
    from rich.console import Console

    from hwsim.explore.constraints import missed_text
    from hwsim.report import terminal_table

    Console().print(terminal_table(explored.evaluations, explored.bench.study.objectives))
    fresh, aside = len(explored.evaluations) - explored.reused, explored.set_aside
    print(
        f"{len(explored.evaluations)} design points, {len(explored.front)} on the front: {fresh} evaluated now, "
        f"{explored.reused} reused{f', {len(aside)} set aside' if aside else ''}"
    )
    constraints = explored.bench.study.constraints or {}
    kept, near = _within(explored)
    if near:
        print(
            f"no design keeps the constraints; nearest is {near.point.key()}: {missed_text(near, constraints)}"
        )
    elif constraints:
        print(f"within the constraints: {', '.join(e.point.key() for e in kept)}")
    for item in aside:
        print(f"set aside: {item}")
    print(f"report: {page}")
