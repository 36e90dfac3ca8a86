"""What lies in a bundle: every file's path and content."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

from hwsim.bundle.agreement import Agreement, measure_agreement
from hwsim.bundle.arrays import array_vectors
from hwsim.bundle.decoders import coded_weights
from hwsim.bundle.memories import memories
from hwsim.bundle.names import identifiers
from hwsim.bundle.qdq import qdq_model, says
from hwsim.bundle.qonnx import qonnx_model
from hwsim.bundle.readme import readme
from hwsim.bundle.testbench import Block, testbench
from hwsim.bundle.vectors import golden
from hwsim.datapath import apart, parts
from hwsim.datapath.datapath import Datapath, describe
from hwsim.formats import Half
from hwsim.network import Images, QuantizedNetwork, to_bytes
from hwsim.simulate.verilog import export

VECTOR_IMAGES = 16
"""Images, from the first on, whose outputs the vectors are drawn from."""


def contents(
    network: QuantizedNetwork,
    images: Images,
    *,
    outputs: int = 4,
    seed: int = 0,
    mac: str = "mac",
    array: tuple[int, int] | None = None,
    coders: Mapping[str, str] = MappingProxyType({}),
    origin: Mapping[str, str] | None = None,
) -> dict[str, bytes | str]:
    """Return the files of a network's bundle by path.

    The vectors are ``outputs`` outputs of each layer, drawn with ``seed`` from the first 16 of ``images``
    [n, h, w, c]; on all of them the ONNX file is held against the network. ``mac`` names the multiply-accumulate,
    ``array`` gives the rows and columns of an output-stationary array to add in the formats of each layer, ``coders`` the
    codes in which weights of layers cross the bus, by name, whose decoders are added, and ``origin`` says where the design
    comes from.
    """
    names = identifiers([item.layer.name for item in network.layers])
    formats = network.formats()
    circuits = {
        item.layer.name: parts(item, formats, network.rounding, mac=apart(mac)) for item in network.layers
    }
    arrays = array_vectors(network, images[:1], *array) if array else ()
    for one in arrays:
        circuits[network.layers[one.layer].layer.name][one.part] = one.datapath
    coded = coded_weights(network, names, coders)
    for name, weights in coded.items():
        circuits[name][weights.part] = weights.decoder
    modules = _modules(circuits)
    layers = [names[item.layer.name] for item in network.layers]
    vectors = golden(network, images[:VECTOR_IMAGES], outputs=outputs, seed=seed, mac=mac)
    blocks = [
        Block(v, modules[v.datapath], layers[v.layer], f"vectors/{layers[v.layer]}_{v.part}.hex")
        for v in (*vectors, *arrays)
    ]
    known = {module: datapath for datapath, module in modules.items()}
    verilog = {f"rtl/{m}.v": export(datapath, m, f"{m}_cycle") for m, datapath in known.items()}
    onnx_files, agreement = _onnx(network, names, images)
    counts = {block.file: len(block.vectors) for block in blocks} | {o.file: len(o) for o in coded.values()}
    described = _described(network, names, circuits, modules, counts, onnx_files, agreement, origin or {})
    described |= {"data": network.data, "mac": mac, "coded": [o.file for o in coded.values()]}
    return {
        "README.md": readme(described),
        "design.json": json.dumps(described, indent=1, allow_nan=False) + "\n",
        **verilog,
        "testbench.v": testbench(known, blocks, list(coded.values())),
        **{block.file: _with_head(block) for block in blocks},
        **dict(memories(network, names, circuits)),
        **{path: text for weights in coded.values() for path, text in weights.files()},
        "network.safetensors": to_bytes(network),
        "bits.toml": network.bits.to_toml(),
        **onnx_files,
    }


def _modules(circuits: Mapping[str, Mapping[str, Datapath]]) -> dict[Datapath, str]:
    """Return a module name for each different datapath: its part and a number."""
    found: dict[Datapath, str] = {}
    for of_layer in circuits.values():
        for part, datapath in of_layer.items():
            if datapath not in found:
                found[datapath] = f"{part}_{sum(name.startswith(f'{part}_') for name in found.values())}"
    return found


def _with_head(block: Block) -> str:
    fields = ", ".join(["reset", *block.vectors.inputs, *block.vectors.expected])
    return "".join([f"// {fields}\n", *(f"{line}\n" for line in block.vectors.lines())])


def _onnx(
    network: QuantizedNetwork, names: Mapping[str, str], images: Images
) -> tuple[dict[str, bytes | str], Agreement | None]:
    """Return the ONNX files, none for a network in half precision, and how far the first agrees with the network."""
    if any(isinstance(item.output, Half) for item in network.layers):
        return {}, None
    found: dict[str, bytes | str] = {"network.qonnx.onnx": qonnx_model(network, names)}
    if not says(network):
        return found, None
    model = qdq_model(network, names)
    return {"network.qdq.onnx": model, **found}, measure_agreement(model, network, images)


def _described(
    network: QuantizedNetwork,
    names: Mapping[str, str],
    circuits: Mapping[str, Mapping[str, Datapath]],
    modules: Mapping[Datapath, str],
    vectors: Mapping[str, int],
    onnx_files: Mapping[str, object],
    agreement: Agreement | None,
    origin: Mapping[str, str],
) -> dict[str, Any]:
    """Return the design as plain data: the map from names to identifiers, modules and what was measured."""
    return {
        "network": network.name,
        "source": network.source,
        "origin": dict(origin),
        "digest": network.digest(),
        "input": {
            "shape": list(network.input_shape),
            "format": str(network.input),
            "scale": network.input_scale,
        },
        "rounding": str(network.rounding),
        "layers": [
            {
                "name": item.layer.name,
                "identifier": names[item.layer.name],
                "operator": item.layer.kind,
                "inputs": list(item.layer.inputs),
                "bits": str(item.bits) if item.bits else None,
                "output": str(item.output),
                "shape": list(item.layer.output_shape),
                "scale": item.scale,
                "modules": {part: modules[d] for part, d in circuits[item.layer.name].items()},
            }
            for item in network.layers
        ],
        "modules": {module: describe(datapath) for datapath, module in modules.items()},
        "vectors": dict(vectors),
        "onnx": list(onnx_files),
        "onnx_agreement": None if agreement is None else asdict(agreement) | {"text": str(agreement)},
    }
