"""``hwsim export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwsim.cli.options import Json
from hwsim.cli.output import print_json


def command(
    source: Annotated[
        Path, typer.Argument(help="A folder written by hwsim explore, or an integer network (.safetensors).")
    ],
    point: Annotated[
        str, typer.Argument(help="In a folder: the design point's key, or the beginning of it.")
    ] = "",
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write; a new one.")],
    data: Annotated[str, typer.Option(help="Data set, file or folder of images to draw vectors from.")] = "",
    images: Annotated[int, typer.Option(min=0, help="Test images at most; 0 takes the whole split.")] = 1000,
    outputs: Annotated[int, typer.Option(min=1, help="Outputs of each layer to write vectors of.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Seed of those outputs.")] = 0,
    mac: Annotated[str, typer.Option(help="A network's multiply-accumulate datapath, or file.py:name.")] = "",
    array: Annotated[
        str, typer.Option(help="Rows x columns of a systolic array to add in each layer's formats, 4x4 say.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Write a design as a bundle of files for others.

    Verilog of its circuits, a testbench that checks itself against the network's own values, weights as memory files,
    the bit configuration, and ONNX."""
    from hwsim.cost.memory.hierarchy import parse_array
    from hwsim.steps.export import export_design

    written = export_design(
        source,
        output,
        point=point,
        data=data,
        images=images,
        outputs=outputs,
        seed=seed,
        mac=mac,
        array=parse_array(array) if array else None,
    )
    if as_json:
        return print_json({"folder": str(output), "files": list(written)})
    modules = sum(name.startswith("rtl/") for name in written)
    print(
        f"wrote {output}: {len(written)} files, {modules} circuits; {output / 'README.md'} says how to run them"
    )
    return None
