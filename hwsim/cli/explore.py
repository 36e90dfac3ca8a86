"""``hwsim explore``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from hwsim.cli.options import Json
from hwsim.cli.output import live_progress, print_json


def command(
    study: Annotated[Path, typer.Argument(help="A study file (.toml).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder of results and report.")],
    as_json: Json = False,
) -> None:
    """Find a study's Pareto front and report it."""
    from hwsim.explore.constraints import keeps, missed_text, nearest
    from hwsim.explore.exploration import explore
    from hwsim.report import terminal_table
    from hwsim.results import write_results
    from hwsim.study import read_study

    command = shlex.join(["hwsim", "explore", str(study), "-o", str(output)])
    with live_progress() as progress:
        explored = explore(read_study(study), output, progress=progress)
        page = write_results(explored, output, command, progress=progress)
    front = explored.front
    constraints = explored.bench.study.constraints or {}
    kept = [e for e in front if keeps(e, constraints)]
    near = nearest(explored.evaluations, constraints) if explored.evaluations and not kept else None
    if as_json:
        return print_json(
            {"report": str(page), "evaluated": len(explored.evaluations), "reused": explored.reused}
            | {"front": [e.point.key() for e in front]}
            | ({"within_constraints": [e.point.key() for e in kept]} if constraints else {})
            | ({"nearest": near.point.key()} if near else {})
        )
    from rich.console import Console

    Console().print(terminal_table(explored.evaluations, explored.bench.study.objectives))
    fresh = len(explored.evaluations) - explored.reused
    print(
        f"{len(explored.evaluations)} design points, {len(front)} on the front: {fresh} evaluated now, {explored.reused} reused"
    )
    if near:
        print(
            f"no design keeps the constraints; nearest is {near.point.key()}: {missed_text(near, constraints)}"
        )
    elif constraints:
        print(f"within the constraints: {', '.join(e.point.key() for e in kept)}")
    print(f"report: {page}")
    return None
