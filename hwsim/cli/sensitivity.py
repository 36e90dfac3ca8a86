"""``hwsim sensitivity``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwsim.cli.options import Calibration, CalibrationImages, Div, Json, Mean, Quantizer, Std, preprocessing
from hwsim.cli.output import live_progress, print_json

TABLE = "sensitivity.json"


def command(
    model: Annotated[
        str, typer.Argument(help="A study file (.toml), a built-in model, an ONNX file, or file.py:name.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A folder for the plot and the figures.")
    ] = None,
    quantizer: Quantizer = "",
    calibration: Calibration = "",
    images: CalibrationImages = 0,
    div: Div = None,
    mean: Mean = "",
    std: Std = "",
    explored: Annotated[
        str, typer.Option(help="Folder of an exploration to hold the additive accuracy model against.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Measure and estimate each layer's sensitivity.

    One layer at a time is quantized, its weights and its input apart, the others stay in float: the divergence of the
    output's distribution over calibration images, measured, and estimated to second order from gradients."""
    import json

    from hwsim import files
    from hwsim.report.sensitivity import sensitivity_drawings
    from hwsim.steps.sensitivity import measure_sensitivity

    if output is not None:
        files.check_place(output / TABLE)
    with live_progress() as show:
        found = measure_sensitivity(
            model,
            quantizer=quantizer,
            calibration=calibration,
            images=images,
            explored=explored,
            progress=lambda done, planned: show("try each choice alone", done, planned),
            **preprocessing(div, mean, std),
        )
    written: dict[Path, bytes | str] = {}
    if output is not None:
        text = json.dumps(found.to_json(), indent=1, allow_nan=False) + "\n"
        drawn = sensitivity_drawings(found.layers, found.title)
        written = {output / f"sensitivity.{kind}": content for kind, content in drawn.items()}
        written[output / TABLE] = text
        files.write_together(written)
    if as_json:
        return print_json(found.to_json() | {"written": [str(path) for path in written]})
    print(found.text())
    if written:
        *drawings, table = map(str, written)
        print(f"wrote {', '.join(drawings)} and {table}")
    return None
