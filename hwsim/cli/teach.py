"""``hwsim teach``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwsim.cli.options import Json
from hwsim.cli.output import live_progress, print_json


def command(
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write.")] = Path("teach.html"),
    measure: Annotated[
        Path | None,
        typer.Option(help="Measure all choices again, beside this exploration of the digits network."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a page that shows what bits do.

    Levels, a sum on its circuit until it wraps, gates, delay and energy, and the accuracy that is left."""
    from hwsim.steps.teach import teaching_page

    with live_progress() as show:
        choices = teaching_page(output, study=measure or "", progress=show)
    if as_json:
        return print_json({"page": str(output), "choices": choices})
    print(f"page: {output}, {choices} choices")
    return None
