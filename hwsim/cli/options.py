"""Options and arguments that several commands share, and how their texts are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hwsim import files
from hwsim.errors import HwsimError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")]
Model = Annotated[str, typer.Argument(help="A built-in model, an ONNX file, or file.py:name.")]
NetworkFile = Annotated[Path, typer.Argument(help="An integer network written by hwsim quantize.")]
NetworkOutput = Annotated[
    Path, typer.Option("--output", "-o", help="The integer network to write (.safetensors).")
]
Quantizer = Annotated[str, typer.Option(help="Settings, such as 'activations=kl tolerance=1.3'.")]
Calibration = Annotated[str, typer.Option(help="Data set, file or folder of images to calibrate on.")]
CalibrationImages = Annotated[
    int, typer.Option("--images", min=0, help="Calibration images at most; 0 takes the whole split.")
]
Div = Annotated[float | None, typer.Option(help="Preprocessing: x = (pixel / div - mean) / std.")]
Mean = Annotated[str, typer.Option(help="Preprocessing mean, one number a channel.")]
Std = Annotated[str, typer.Option(help="Preprocessing std, one number a channel.")]


Channels = Annotated[
    list[str] | None,
    typer.Option(
        help="A layer's output channels in groups with bits of their own: conv=2, or by sizes conv=16,48."
    ),
]


def channel_groups(given: list[str] | None) -> dict[str, int | tuple[int, ...]]:
    """Return the groups that each layer's channels are split into, their number or their sizes."""
    found: dict[str, int | tuple[int, ...]] = {}
    for text in given or []:
        layer, _, groups = text.rpartition("=")
        sizes = groups.split(",")
        if not layer or layer in found or not all(size.isdecimal() for size in sizes):
            raise HwsimError(
                f'--channels "{text}" is not understood; write each layer once, as conv=2 or conv=16,48'
            )
        found[layer] = int(groups) if len(sizes) == 1 else tuple(map(int, sizes))
    return found


def bits_text(bits: str) -> str:
    """Return the text of a bit configuration: of its TOML file, or as it was given."""
    return files.read_text(Path(bits), "bit configuration") if bits.endswith(".toml") else bits


def preprocessing(div: float | None, mean: str, std: str) -> dict[str, Any]:
    """Return what was given of a network's preprocessing, by name."""
    given: dict[str, Any] = {} if div is None else {"div": div}
    if mean:
        given["mean"] = _numbers(mean, "--mean")
    if std:
        given["std"] = _numbers(std, "--std")
    return given


def _numbers(text: str, option: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise HwsimError(f'{option} "{text}" is no list of numbers; write 0.5 or 0.485,0.456,0.406') from None
