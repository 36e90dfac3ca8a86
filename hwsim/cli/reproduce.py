"""``hwsim reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwsim.cli.options import Json
from hwsim.cli.output import live_progress, print_json


def command(
    paper: Annotated[str, typer.Argument(help="aciq, bag-of-tricks, focused or gates.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The folder to write; reports/reproduce-PAPER if left out."),
    ] = None,
    network: Annotated[
        list[str] | None, typer.Option(help="A built-in model to measure on; may be given again.")
    ] = None,
    images: Annotated[
        int,
        typer.Option(min=0, help="Test images of each network; 0 takes all, of the largest networks 500."),
    ] = 0,
    as_json: Json = False,
) -> None:
    """Measure a published table on the networks at hand."""
    from hwsim.reproduce import reproduce

    with live_progress() as show:
        directory = output or Path("reports") / f"reproduce-{paper}"
        readme = reproduce(paper, directory, networks=network or (), images=images, show=show)
    if as_json:
        return print_json({"table": str(readme)})
    print(f"table: {readme}")
    return None
