"""``hwsim fine-tune``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from hwsim.cli.options import (
    Calibration,
    CalibrationImages,
    Channels,
    Div,
    Json,
    Mean,
    Model,
    NetworkOutput,
    Quantizer,
    Std,
    bits_text,
    channel_groups,
    preprocessing,
)
from hwsim.cli.output import Show, live_progress, print_json

if TYPE_CHECKING:
    from hwsim.quantize.pipeline import Told
    from hwsim.quantize.training import Epoch


def command(
    model: Model,
    output: NetworkOutput,
    bits: Annotated[
        str, typer.Option(help="Bits of all layers, w4a4/int32 say, or a TOML file.")
    ] = "w4a4/int32",
    epochs: Annotated[int, typer.Option(min=0, help="Epochs of training as integers.")] = 6,
    rate: Annotated[float, typer.Option(help="Learning rate; a fifth of it in the second half.")] = 0.01,
    sparsity: Annotated[float, typer.Option(help="Share of the weights to remove first.")] = 0.0,
    float_epochs: Annotated[int, typer.Option(min=0, help="Epochs in float before quantization.")] = 0,
    float_rate: Annotated[float, typer.Option(help="Learning rate of those.")] = 0.01,
    batch: Annotated[int, typer.Option(min=0, help="Images a step; 0 lets the split's size decide.")] = 0,
    shift: Annotated[
        int | None, typer.Option(min=0, help="Pixels an image is moved by; a sixteenth of its height.")
    ] = None,
    mirror: Annotated[
        bool | None, typer.Option(help="Mirror images at random; colour images are by default.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of order, moves and mirrors.")] = 0,
    quantizer: Quantizer = "",
    channels: Channels = None,
    data: Annotated[
        str, typer.Option(help="Data set, file or folder of images to train on; the network's own.")
    ] = "",
    calibration: Calibration = "",
    images: CalibrationImages = 0,
    div: Div = None,
    mean: Mean = "",
    std: Std = "",
    as_json: Json = False,
) -> None:
    """Prune and train a network as the integers it will be.

    Writes the integer network, its bits, and the trained float network beside them (NAME.float.safetensors), which
    hwsim quantize and hwsim fine-tune take as a model."""
    from hwsim import files
    from hwsim.models.checkpoint import to_bytes as float_bytes
    from hwsim.network import to_bytes
    from hwsim.steps.fine_tune import fine_tune_model

    files.check_place(output)
    with live_progress() as show:
        tuned = fine_tune_model(
            model,
            bits_text(bits),
            epochs=epochs,
            rate=rate,
            sparsity=sparsity,
            float_epochs=float_epochs,
            float_rate=float_rate,
            batch=batch,
            shift=shift,
            mirror=mirror,
            seed=seed,
            quantizer=quantizer,
            channels=channel_groups(channels),
            data=data,
            calibration=calibration,
            images=images,
            progress=_epochs_as_lines(show),
            **preprocessing(div, mean, std),
        )
    bits_path, float_path = (
        output.parent / f"{output.stem}.{end}" for end in ("bits.toml", "float.safetensors")
    )
    files.write_together(
        {
            output: to_bytes(tuned.integers),
            bits_path: tuned.integers.bits.to_toml(),
            float_path: float_bytes(tuned.network),
        }
    )
    if as_json:
        return print_json(
            {"network": str(output), "bits": str(bits_path), "float": str(float_path)} | tuned.to_json()
        )
    print(tuned.text())
    print(f"wrote {output}, {bits_path} and {float_path}")
    return None


def _epochs_as_lines(show: Show) -> Told:
    """Return what shows the images trained on as progress, and each epoch's end as a line of its own on stderr."""

    def told(stage: str, done: int, planned: int, epoch: Epoch) -> None:
        show(f"{stage} images", done, planned)
        if epoch.images == epoch.planned:
            print(f"{stage}, {epoch}", file=sys.stderr, flush=True)

    return told
