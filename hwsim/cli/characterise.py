"""``hwsim characterise``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwsim.cli.options import Json
from hwsim.cli.output import live_progress, print_json


def command(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file to write, or to go on with (.jsonl.gz)."),
    ] = None,
    family: Annotated[
        str,
        typer.Option(help="Datapaths, with commas between; file.py:name too. All built-in ones if left out."),
    ] = "",
    technology: Annotated[
        str, typer.Option(help="Technologies or files (.lib, .toml), with commas between.")
    ] = "open45",
    mapping: Annotated[str, typer.Option(help="Mapping points.")] = "smallest,balanced,fastest",
    timeout: Annotated[float, typer.Option(min=1, help="Seconds each synthesis and proof may take.")] = 120,
    jobs: Annotated[int, typer.Option(min=1, help="Circuits to synthesise at a time.")] = 1,
    as_json: Json = False,
) -> None:
    """Check, synthesise and prove whole families of circuits.

    Costs that are known already are not synthesised again, so a sweep that was interrupted goes on."""
    from hwsim.cost.characterise import characterise
    from hwsim.cost.family import families

    with live_progress() as show:
        sweep = characterise(
            family.split(",") if family else families(),
            technology.split(","),
            mapping.split(","),
            path=output,
            timeout_s=timeout,
            jobs=jobs,
            progress=lambda name, done, planned: show(f"characterise {name}", done, planned),
        )
    found = sweep.to_json()
    if as_json:
        return print_json(found)
    for name, count in found["circuits"].items():
        print(f"  {name:16}  {count} circuits")
    for sentence in sweep.refused:
        print(f"no row: {sentence}")
    print(f"{found['costs']} costs by {found['tool']}, {sweep.reused} circuits known before")
    if output is not None:
        print(f"wrote {output}")
    return None
