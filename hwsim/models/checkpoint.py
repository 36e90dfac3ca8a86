"""The file of a float network: its layers and its parameters, to fine-tune, quantize or look at again.

safetensors with float64 tensors under the parameters' own names, so that whatever reads a state dict reads them, and
a JSON header under the key ``hwsim_float``; nothing in it is executed.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from hwsim import files
from hwsim.errors import HwsimError
from hwsim.layers import INPUT, Layer, Shape, layer_from_json
from hwsim.models.builder import check_parameters
from hwsim.network import FloatNetwork, Preprocessing

FILE_VERSION = 1
_KEY = "hwsim_float"


def to_bytes(network: FloatNetwork) -> bytes:
    """Return the file form; deterministic."""
    header = {
        "version": FILE_VERSION,
        "name": network.name,
        "input_shape": list(network.input_shape),
        "preprocessing": asdict(network.preprocessing),
        "layers": [layer.to_json() for layer in network.layers],
        "data": network.data,
    }
    tensors = {
        name: np.ascontiguousarray(network.parameters[name], np.float64)
        for name in sorted(network.parameters)
    }
    return safetensors.numpy.save(tensors, metadata={_KEY: json.dumps(header)})


def load_checkpoint(path: Path) -> FloatNetwork:
    """Return the float network of a file that :func:`to_bytes` made.

    Raises :class:`HwsimError` where the file is damaged, of another kind or version, or contradicts itself.
    """
    content = files.read(path, "float network")
    try:
        tensors = safetensors.numpy.load(content)
        length = int.from_bytes(content[:8], "little")
        header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][_KEY])
        if header["version"] != FILE_VERSION:
            raise HwsimError(f"its version is {header['version']}, this hwsim reads {FILE_VERSION}")
        fields = header["preprocessing"]
        network = FloatNetwork(
            name=str(header["name"]),
            input_shape=_shape(header["input_shape"]),
            preprocessing=Preprocessing(float(fields["div"]), tuple(fields["mean"]), tuple(fields["std"])),
            layers=tuple(layer_from_json(row) for row in header["layers"]),
            parameters={name: np.asarray(array, np.float64) for name, array in tensors.items()},
            data=str(header["data"]),
        )
        _check(network)
    except HwsimError as error:
        raise HwsimError(f'cannot use the float network "{path}": {error}') from None
    except (
        safetensors.SafetensorError,
        LookupError,
        TypeError,
        ValueError,
        ArithmeticError,
        AttributeError,
        RecursionError,
    ) as error:
        raise HwsimError(
            f'"{path}" is no float network of hwsim or is damaged ({type(error).__name__}); '
            "give the file that hwsim fine-tune wrote as its checkpoint"
        ) from None
    return network


def _shape(sizes: list[int]) -> Shape:
    channels, height, width = (int(size) for size in sizes)
    return channels, height, width


def _check(network: FloatNetwork) -> None:
    """Refuse a network whose parts contradict each other."""
    if not network.layers:
        raise HwsimError("it has no layer")
    for text in (network.name, network.data):
        if not text.isprintable():
            raise HwsimError(f"its text {text!r} holds control characters")
    channels = network.input_shape[0]
    if not len(network.preprocessing.mean) == len(network.preprocessing.std) == channels:
        raise HwsimError(f"its preprocessing is not that of {channels} channels")
    shapes: dict[str, Shape] = {INPUT: network.input_shape}
    for layer in network.layers:
        _check_inputs(layer, shapes)
        shapes[layer.name] = layer.output_shape
    check_parameters(network.layers, network.parameters)


def _check_inputs(layer: Layer, shapes: dict[str, Shape]) -> None:
    if layer.name in shapes:
        raise HwsimError(f'two layers are named "{layer.name}"')
    if [shapes.get(name) for name in layer.inputs] != list(layer.input_shapes):
        raise HwsimError(f'layer "{layer.name}" reads tensors that are missing or of another shape')
