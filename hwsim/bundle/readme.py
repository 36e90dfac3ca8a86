"""A bundle's README: what lies where, the commands that run it, and the map of names."""

from __future__ import annotations

import shlex
from typing import Any

from hwsim.bundle.names import quoted

_TEXT = """# A design exported by hwsim

{origin}

| place | what it is |
|---|---|
| `rtl/` | {modules} circuits as Verilog-2005, one module a file with the logic of its clock cycle |
| `testbench.v` | runs every vector through its circuit and compares every port in every clock cycle |
| `vectors/` | operands of the real network and what exact arithmetic makes of them: {vectors} clock cycles |
| `memories/` | integer weights, requantisation constants{coded} and the input's table, for `$readmemh` |
| `network.safetensors`, `bits.toml` | the integer network and its bit configuration, for `hwsim simulate` |
| `design.json` | all of this as data, with the map of names |
{onnx_rows}
A line of a file in `vectors/` is a clock cycle; its first line names the fields. Before a line whose reset is 1 the
circuit is reset. Inputs are those of the cycle, outputs combinational, registers as they are after it.
{decoders}
## Commands

Run them in this folder. The testbench prints `PASS`, or a `FAIL` line for each of the first differences, naming layer,
module and row of the file, and then exits with a status other than 0.

    iverilog -g2012 -s testbench -o testbench.vvp testbench.v rtl/*.v && vvp -n testbench.vvp
    verilator --binary -j 0 --timing -Wno-fatal -MAKEFLAGS OPT_FAST=-O0 --top-module testbench testbench.v rtl/*.v && obj_dir/Vtestbench
    yosys -p 'read_verilog rtl/*.v; synth -flatten -top {top}; stat'
    hwsim simulate network.safetensors{options}
{images}
## ONNX

{onnx}

## Names

Names of the network's layers stay in `design.json`, in `network.safetensors` and `bits.toml`, and in this table, where
other than plain characters are escaped. Everywhere else a layer is its identifier.

| identifier | name | operator | bits | output | modules |
|---|---|---|---|---|---|
{layers}

| module | datapath |
|---|---|
{circuits}
"""

_IMAGES = """
The network names no data set: `images.npz` stands for images of your own, `x` uint8 [n, height, width, channels] and `y`.
"""

_DECODERS = """
A decoder's file there has a line a weight instead, of the code word that must come out, behind the width of its channel where
channels have their own. The testbench resets the decoder, shows it the next word of the layer's `memories/*_coded_*.hex` until
it is taken, and compares a weight in every cycle.
"""

_FILES = {
    "network.qdq.onnx": "the network with QuantizeLinear and DequantizeLinear nodes",
    "network.qonnx.onnx": "the network with QONNX's Quant nodes",
}


def readme(design: dict[str, Any]) -> str:
    """Return the README of a design, given as the data of ``design.json``."""
    return _TEXT.format(
        origin=_origin(design),
        modules=len(design["modules"]),
        vectors=sum(design["vectors"].values()),
        coded=", coded weights as bus words" if design["coded"] else "",
        decoders=_DECODERS if design["coded"] else "",
        onnx_rows="".join(f"| `{name}` | {_FILES[name]} |\n" for name in design["onnx"]),
        top=next(iter(design["modules"]), "none"),
        options=("" if design["data"] else " --data images.npz")
        + ("" if design["mac"] == "mac" else f" --mac {shlex.quote(design['mac'])}"),
        images="" if design["data"] else _IMAGES,
        onnx=_onnx(design),
        layers="\n".join(map(_layer, design["layers"])),
        circuits="\n".join(f"| `{module}` | {quoted(text)} |" for module, text in design["modules"].items()),
    )


def _origin(design: dict[str, Any]) -> str:
    lines = [f"Network {quoted(design['network'])}, sha256 `{design['digest']}`."]
    lines += [f"{what}: {quoted(text)}." for what, text in design["origin"].items()]
    return "\n".join([*lines, f"Quantization: {quoted(design['source'])}."])


def _onnx(design: dict[str, Any]) -> str:
    if not design["onnx"]:
        return "Left out: tensors in half precision have no quantization there."
    text = (
        "It takes pixels as they are stored, by planes: uint8 [images, channels, height, width]. It computes in float32 what\n"
        "the circuits compute in integers; accumulators that overflow and the rounding of ties are not in it."
    )
    if "network.qdq.onnx" not in design["onnx"]:
        return f"{text}\nIt has not been run: onnxruntime has no Quant node, and QDQ nodes no weights above 8 bits."
    measured = design["onnx_agreement"]
    if measured is None:
        return f"{text}\nIt has not been run: onnxruntime is not installed."
    return f"{text}\n`network.qdq.onnx` in onnxruntime, on {measured['images']} images: {measured['text']}."


def _layer(layer: dict[str, Any]) -> str:
    modules = ", ".join(f"`{module}`" for module in layer["modules"].values())
    cells = [f"`{layer['identifier']}`", quoted(layer["name"]), layer["operator"], layer["bits"] or ""]
    return f"| {' | '.join([*cells, layer['output'], modules])} |"
