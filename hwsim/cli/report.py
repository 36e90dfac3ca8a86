"""``hwsim report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwsim.cli.options import Json
from hwsim.cli.output import print_json
from hwsim.errors import HwsimError


def command(
    directories: Annotated[list[Path], typer.Argument(help="A folder written by hwsim explore, or several.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The folder for the page that compares several.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Redraw a report without computing again, or compare several on one page."""
    from hwsim.results import compare_reports, redraw_report

    if (len(directories) > 1) != (output is not None):
        raise HwsimError(
            "one folder is redrawn in place and several are compared in a folder of their own; write hwsim report A, or "
            "hwsim report A B -o DIR"
        )
    page = redraw_report(directories[0]) if output is None else compare_reports(directories, output)
    if as_json:
        return print_json({"report": str(page)})
    print(f"report: {page}")
    return None
