"""``hwsim simulate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwsim.cli.options import Json, NetworkFile
from hwsim.cli.output import live_progress, print_json
from hwsim.errors import HwsimError


def command(
    network: NetworkFile,
    data: Annotated[
        str,
        typer.Option(help="Data set, file or folder of images to test on; the network's own if left out."),
    ] = "",
    images: Annotated[int, typer.Option(min=0, help="Test images at most; 0 takes the whole split.")] = 0,
    backend: Annotated[str, typer.Option(help="lanes, arithmetic, pyrtl or verilog.")] = "lanes",
    verify: Annotated[int, typer.Option(min=0, help="Outputs of each layer for PyRTL and Icarus too.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Seed of those outputs.")] = 0,
    gates: Annotated[
        bool, typer.Option("--gates", help="Run gates even where their arithmetic is proved.")
    ] = False,
    threads: Annotated[int, typer.Option(min=0, help="Threads for the circuits; 0 takes all cores.")] = 0,
    mac: Annotated[
        str,
        typer.Option(
            help="The multiply-accumulate, or file.py:name; parameters behind it: 'mac adder=ripple'."
        ),
    ] = "mac",
    vcd: Annotated[
        Path | None, typer.Option(help="Write the waveform of one sum here, for GTKWave or Surfer.")
    ] = None,
    layer: Annotated[
        str, typer.Option(help="Its layer; left out, the first with a sum that overflows, or the first.")
    ] = "",
    at: Annotated[str, typer.Option(help="Its place in the layer: image,channel,row,column.")] = "",
    as_json: Json = False,
) -> None:
    """Run an integer network bit-accurately.

    The compiled circuits compute every output of every image and are compared with exact arithmetic at each;
    any difference ends with exit status 1. Backends pyrtl and verilog run a sample alone, arithmetic none."""
    from hwsim.steps.simulate import simulate_network

    if (layer or at) and vcd is None:
        raise HwsimError("--layer and --at choose the sum of a waveform; name its file with --vcd")
    waveform = _waveform(network, vcd, data=data, layer=layer, at=at, mac=mac) if vcd else None
    with live_progress() as show:
        result = simulate_network(
            network,
            data=data,
            images=images,
            backend=backend,
            verify=verify,
            seed=seed,
            mac=mac,
            gates=gates,
            threads=threads,
            progress=show,
        )
    if as_json:
        print_json(result.to_json() | ({"vcd": str(vcd), "waveform": waveform} if vcd else {}))
    else:
        print(result.text())
        if vcd:
            print(f"wrote {vcd}: {waveform}")
    if result.difference is not None:
        raise typer.Exit(1)


def _waveform(network: Path, path: Path, **options: str) -> str:
    """Write the waveform of one sum and return what it shows in words."""
    from hwsim import files
    from hwsim.simulate.waveform import vcd
    from hwsim.steps.waveform import record_waveform

    waveform = record_waveform(network, **options)
    files.write(path, vcd(waveform))
    return str(waveform)
