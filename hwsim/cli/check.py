"""``hwsim check``."""

from __future__ import annotations

from typing import Annotated

import typer

from hwsim.cli.options import Json
from hwsim.cli.output import print_json


def command(
    datapath: Annotated[str, typer.Argument(help="A datapath's name, or file.py:name.")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random operands.")] = 0,
    as_json: Json = False,
) -> None:
    """Hold a circuit against its arithmetic.

    On corners, on seeded random operands, and exhaustively where there are at most 2^16 operands; the first
    counterexample ends with exit status 1."""
    from hwsim.simulate.check import check_datapath

    checks = list(check_datapath(datapath, seed=seed))
    failed = [check for check in checks if check.counterexample is not None]
    if as_json:
        circuits = [check.to_json() for check in checks]
        print_json({"checked": len(checks), "different": len(failed), "circuits": circuits})
    else:
        for check in checks:
            print(check)
        print(f"{len(checks)} circuits checked, {len(failed)} differ from their arithmetic")
    if failed:
        raise typer.Exit(1)
