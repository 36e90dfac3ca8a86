"""``hwsim report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    directory: Annotated[Path, typer.Argument(help="A folder written by hwsim explore.")],
) -> None:
    """Redraw a report without computing again."""
    from hwsim.results import redraw_report

    print(f"report: {redraw_report(directory)}")
