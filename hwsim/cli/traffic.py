"""``hwsim traffic``."""

from __future__ import annotations

from typing import Annotated

import typer

from hwsim.cli.options import Div, Json, Mean, Std, bits_text, preprocessing
from hwsim.cli.output import print_json


def command(
    network: Annotated[
        str,
        typer.Argument(help="An integer network (.safetensors); or a model, an ONNX file or file.py:name."),
    ],
    buffer: Annotated[
        str, typer.Option(help="On-chip buffer, 64KiB say; two of them: outer,inner, as 1MiB,64KiB.")
    ] = "64KiB",
    array: Annotated[str, typer.Option(help="Rows x columns of processing elements.")] = "16x16",
    dataflow: Annotated[str, typer.Option(help="What stays in them: weight, output or input.")] = "weight",
    bus: Annotated[int, typer.Option(help="Bits that the bus to DRAM moves in a cycle.")] = 64,
    burst: Annotated[int, typer.Option(help="Bytes of a DRAM burst.")] = 64,
    single_buffered: Annotated[
        bool,
        typer.Option(
            "--single-buffered", help="Room for every tile once; transfers and arithmetic in turns."
        ),
    ] = False,
    minimise: Annotated[str, typer.Option(help="What tilings are best at: traffic or time.")] = "traffic",
    clock: Annotated[float, typer.Option(help="Clock in MHz.")] = 500.0,
    images_per_second: Annotated[
        float, typer.Option(help="Throughput to state the bandwidth at; 0 takes what the cycles allow.")
    ] = 0.0,
    bits: Annotated[
        str, typer.Option(help="Bits of a model, w4a8/int16 say, or a TOML file; w8a8/int32 if left out.")
    ] = "",
    div: Div = None,
    mean: Mean = "",
    std: Std = "",
    as_json: Json = False,
) -> None:
    """Count memory traffic and cycles on an array.

    Each layer runs by its best tiling, found by trying all of them; a tile is groups g, output channels k, input
    channels c, output rows p and columns q, kernel rows r and columns s."""
    from hwsim.cost.memory.hierarchy import Accelerator, Array, Hierarchy, parse_array, parse_bytes
    from hwsim.steps.traffic import memory_traffic

    sizes = tuple(parse_bytes(text) for text in buffer.split(","))
    result = memory_traffic(
        network,
        Accelerator(Array(*parse_array(array), dataflow), Hierarchy(sizes, bus, burst, not single_buffered)),
        bits=bits_text(bits),
        minimise=minimise,
        clock_mhz=clock,
        **preprocessing(div, mean, std),
    )
    asked = images_per_second or result.images_per_second
    bandwidth = result.bandwidth(asked)
    if as_json:
        return print_json(result.to_json() | {"images_per_second": asked, "megabytes_per_second": bandwidth})
    print(result.text())
    if images_per_second:
        print(f"at {images_per_second:g} images a second: {bandwidth:.4g} MB a second")
    return None
