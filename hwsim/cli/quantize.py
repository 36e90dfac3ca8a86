"""``hwsim quantize``."""

from __future__ import annotations

from dataclasses import asdict
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
from hwsim.cli.output import live_progress, print_json

if TYPE_CHECKING:
    from hwsim.formats import IntArray


def command(
    model: Model,
    output: NetworkOutput,
    bits: Annotated[
        str,
        typer.Option(
            help="Bits of all layers, w4a8/int16 or 'w4a4/int32 edges=8' say, or a TOML file, which may name layers' own quantizers."
        ),
    ] = "w8a8/int32",
    quantizer: Quantizer = "",
    channels: Channels = None,
    calibration: Calibration = "",
    images: CalibrationImages = 0,
    accumulators: Annotated[
        str, typer.Option(help="Their widths: given by the bits, or the narrowest proved safe: proved.")
    ] = "given",
    div: Div = None,
    mean: Mean = "",
    std: Std = "",
    entropy: Annotated[
        int, typer.Option(min=0, help="Calibration images to measure the integers' entropy over; 0 for none.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Write a trained network as an integer network."""
    from hwsim import files
    from hwsim.network import to_bytes
    from hwsim.steps.entropy import measure_network_entropies
    from hwsim.steps.quantize import quantize_model

    files.check_place(output)
    with live_progress() as show:
        network = quantize_model(
            model,
            bits_text(bits),
            quantizer=quantizer,
            channels=channel_groups(channels),
            calibration=calibration,
            images=images,
            accumulators=accumulators,
            progress=lambda done, planned: show("calibrate, each image twice", done, planned),
            **preprocessing(div, mean, std),
        )
    bits_path = output.parent / f"{output.stem}.bits.toml"
    files.write_together({output: to_bytes(network), bits_path: network.bits.to_toml()})
    facts = {
        "network": str(output),
        "bits": str(bits_path),
        "layers": {name: str(b) for name, b in network.bits.items()},
        "quantizers": dict(network.bits.quantizers),
        "calibration": calibration or network.data,
        "source": network.source,
    }
    shared = {i.layer.name: i.weight_width for i in network.layers if i.weight_width is not None}
    stored = {i.layer.name: i.width for i in network.layers if i.width is not None}
    measured = measure_network_entropies(network, data=calibration, images=entropy) if entropy else None
    if as_json:
        widths = {"weight_width": shared, "output_width": stored}
        facts |= {key: {name: w.tolist() for name, w in found.items()} for key, found in widths.items()}
        return print_json(facts | ({"entropy_bits": asdict(measured)} if measured else {}))
    width = max(map(len, network.bits))
    own = {name: f"  {text}" for name, text in network.bits.quantizers}
    for name, layer_bits in network.bits.items():
        apart = _widths("channels of", shared.get(name)) + _widths("output stored in", stored.get(name))
        print(f"  {name:{width}}  {layer_bits}{own.get(name, '')}{apart}")
        if measured:
            print(
                f"  {'':{width}}  entropy {measured.weights[name]:.2f} bits a weight, coded "
                f"{measured.coded_weights[name]:.2f}; {measured.activations[name]:.2f} an activation, coded "
                f"{measured.coded_activations[name]:.2f}"
            )
    if measured:
        print(
            f"entropy over {measured.images} images: {measured.mean_weight:.4f} bits a weight, "
            f"{measured.mean_activation:.4f} an activation, means over all values; coded with their tables: "
            f"{measured.mean_coded_weight:.4f} and {measured.mean_coded_activation:.4f}"
        )
    print(f"calibrated on the calibration split of {facts['calibration']}: {network.source}")
    print(f"wrote {output} and {bits_path}")
    return None


def _widths(what: str, widths: IntArray | None) -> str:
    if widths is None:
        return ""
    return f"  {what} {widths.min()} to {widths.max()} bits, {widths.mean():.2f} on average"
