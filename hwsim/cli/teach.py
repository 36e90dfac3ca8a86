"""``hwsim teach``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwsim.cli.options import Json
from hwsim.cli.output import live_progress, print_json


def command(
    study: Annotated[
        str,
        typer.Argument(
            help="A study file, or a folder written by hwsim explore, whose network the page is about; "
            "left out, the digits network, measured beforehand."
        ),
    ] = "",
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write.")] = Path("teach.html"),
    layer: Annotated[
        str,
        typer.Option(help="The layer of that network whose sums are shown; left out, the last with weights."),
    ] = "",
    as_json: Json = False,
) -> None:
    """Write a page that shows what bits do.

    Levels, a sum on its circuit until it wraps, gates, delay and energy, and the accuracy that is left, about the digits
    network or that of a study, whose 126 choices are then measured: minutes for a small network."""
    from hwsim.steps.teach import teaching_page

    with live_progress() as show:
        choices = teaching_page(output, study=study, layer=layer, progress=show)
    if as_json:
        return print_json({"page": str(output), "choices": choices})
    print(f"page: {output}, {choices} choices")
    return None
