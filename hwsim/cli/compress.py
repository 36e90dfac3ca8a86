"""``hwsim compress``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwsim.cli.options import Json, NetworkFile
from hwsim.cli.output import print_json


def command(
    network: NetworkFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="The compressed network to write (.hwz).")],
    codec: Annotated[
        str, typer.Option(help="huffman, ans, packed, bitmap, run_length; or best, layer by layer.")
    ] = "huffman",
    as_json: Json = False,
) -> None:
    """Write a network compressed, and its bytes' ledger.

    The whole network, graph and all: decoded back and compared before it is written. A layer whose weights are
    smaller packed stays packed."""
    from hwsim import files
    from hwsim.steps.compress import compress_network

    content, ledger = compress_network(network, codec)
    files.write(output, content)
    if as_json:
        return print_json({"file": str(output)} | ledger.to_json())
    print(ledger.text())
    print(f"wrote {output}, which decodes back to the bytes of {network}")
    return None
