"""``hwsim energy``."""

from __future__ import annotations

from typing import Annotated

import typer

from hwsim.cli.options import Json, NetworkFile
from hwsim.cli.output import live_progress, print_json


def command(
    network: NetworkFile,
    data: Annotated[
        str,
        typer.Option(help="Data set, file or folder of images to take operands from; the network's own."),
    ] = "",
    images: Annotated[int, typer.Option(min=1, help="Images to take them from at most.")] = 8,
    dataflow: Annotated[str, typer.Option(help="What stays in the array: output or weight.")] = "output",
    array: Annotated[str, typer.Option(help="Rows x columns of processing elements.")] = "16x16",
    buffer: Annotated[
        str, typer.Option(help="On-chip buffer, 64KiB say; two of them: outer,inner, as 1MiB,64KiB.")
    ] = "64KiB",
    technology: Annotated[str, typer.Option(help="The cell library.")] = "open45",
    liberty: Annotated[str, typer.Option(help="A Liberty file (.lib) instead.")] = "",
    mapping: Annotated[str, typer.Option(help="smallest, balanced, fastest or full_adders.")] = "balanced",
    clock: Annotated[float, typer.Option(help="Clock in MHz.")] = 500.0,
    mac: Annotated[str, typer.Option(help="The multiply-accumulate datapath, or file.py:name.")] = "mac",
    coder: Annotated[
        str,
        typer.Option(
            help="Code of the weights on the bus, its decoders counted: packed, huffman, bitmap, run_length."
        ),
    ] = "",
    cycles: Annotated[int, typer.Option(min=2, help="Cycles of each circuit's operands at most.")] = 2048,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the operands drawn.")] = 0,
    as_json: Json = False,
) -> None:
    """Count energy: circuits, registers, memories.

    Each circuit's mapped netlist runs on a sample of the layer's own operands, glitches included; memory accesses are
    those of hwsim traffic. A multiply-accumulate is shown under random operands and in both dataflows as well."""
    from hwsim.cost.memory.hierarchy import Accelerator, Array, Hierarchy, parse_array, parse_bytes
    from hwsim.steps.energy import network_energy

    sizes = tuple(parse_bytes(text) for text in buffer.split(","))
    with live_progress() as show:
        result = network_energy(
            network,
            data=data,
            images=images,
            technology=technology,
            liberty=liberty,
            accelerator=Accelerator(Array(*parse_array(array), dataflow), Hierarchy(sizes)),
            mapping=mapping,
            clock_mhz=clock,
            mac=mac,
            coder=coder,
            cycles=cycles,
            seed=seed,
            progress=lambda done, planned: show("measure layers", done, planned),
        )
    if as_json:
        return print_json(result.to_json())
    print(result.text())
    return None
