"""``hwsim decompress``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwsim.cli.options import Json, NetworkOutput
from hwsim.cli.output import print_json


def command(
    compressed: Annotated[Path, typer.Argument(help="A compressed network written by hwsim compress.")],
    output: NetworkOutput,
    as_json: Json = False,
) -> None:
    """Write a compressed network's network file again."""
    from hwsim import files
    from hwsim.network import to_bytes
    from hwsim.steps.compress import decompress_network

    content = to_bytes(decompress_network(compressed))
    files.write(output, content)
    if as_json:
        return print_json({"network": str(output), "bytes": len(content)})
    print(f"wrote {output}, {len(content)} bytes")
    return None
