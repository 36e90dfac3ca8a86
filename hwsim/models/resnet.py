"""ResNet-20 for CIFAR-10 as published: three stages of three blocks, shortcuts without parameters.

Source: K. He, X. Zhang, S. Ren, J. Sun, Deep Residual Learning for Image Recognition, 2016, section 4.2;
option A shortcuts: every second row and column, zero channels on both sides.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from hwsim import files
from hwsim.data import data_folder
from hwsim.errors import HwsimError
from hwsim.layers import Add, AveragePool, Flatten, Linear, PadChannels, Relu, Slice
from hwsim.models.builder import Builder, parameter_shapes
from hwsim.network import FloatNetwork, Preprocessing

PREPROCESSING = Preprocessing(1.0, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
"""The training used ImageNet's mean and standard deviation, here in units of 0..255."""


def resnet20(path: Path | None = None) -> FloatNetwork:
    """ResNet-20 for CIFAR-10 with trained weights; ``path`` defaults to those in HWSIM_DATA.

    The file is safetensors with torch's state-dict names: ``conv1.weight``, ``bn1.running_mean``,
    ``layer1.0.conv1.weight``, ..., ``linear.bias``.
    """
    path = path or data_folder() / "networks" / "resnet20_cifar10.safetensors"
    build = _structure()
    stored = _read(path)
    for layer in build.layers:
        for key, shape in parameter_shapes(layer).items():
            array = stored.pop(f"{layer.name}.{key}", None)
            if array is not None:
                flat = layer.kind == "linear" and array.shape == shape[: array.ndim]
                build.parameters[f"{layer.name}.{key}"] = array.reshape(shape) if flat else array
    if stored:
        raise HwsimError(
            f'"{path}" holds "{min(stored)}", which ResNet-20 does not have; give its own weights'
        )
    return build.network("resnet20-cifar10", PREPROCESSING, data="cifar10")


def _read(path: Path) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    content = files.read(path, "weights file")
    try:
        stored = safetensors.numpy.load(content)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise HwsimError(
            f'"{path}" is no safetensors file ({type(error).__name__}); give the trained weights'
        ) from None
    return {name: array.astype(np.float64) for name, array in stored.items()}


def _structure() -> Builder:
    build = Builder((3, 32, 32))
    build.convolution("conv1", 16, 3)
    tensor = build.norm("bn1", relu="relu1")
    for stage, channels in enumerate((16, 32, 64), start=1):
        for block in range(3):
            tensor = _block(build, tensor, f"layer{stage}.{block}", channels)
    build.add("avgpool", AveragePool((8, 8), (8, 8)))
    build.add("flatten", Flatten())
    build.add("linear", Linear(10))
    return build


def _block(build: Builder, tensor: str, name: str, channels: int) -> str:
    narrow, height, width = build.shapes[tensor]
    stride = 1 if channels == narrow else 2
    build.convolution(f"{name}.conv1", channels, 3, tensor, stride=stride)
    build.norm(f"{name}.bn1", relu=f"{name}.relu1")
    build.convolution(f"{name}.conv2", channels, 3)
    residual = build.norm(f"{name}.bn2")
    if stride != 1:
        every_second = Slice((0, 0, 0), (narrow, height, width), (1, stride, stride))
        build.add(f"{name}.shortcut.slice", every_second, tensor)
        around = (channels - narrow) // 2
        tensor = build.add(f"{name}.shortcut.pad", PadChannels(around, around))
    build.add(f"{name}.add", Add(), residual, tensor)
    return build.add(f"{name}.relu2", Relu())
