"""Float networks: built in, from ONNX files, or from a function of a person's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from hwsim.catalogue import call, look_up
from hwsim.data import data_folder
from hwsim.errors import HwsimError
from hwsim.network import FloatNetwork


def _digits() -> FloatNetwork:
    """Embedded network for 8x8 digits: depthwise and residual blocks, 8,042 parameters."""
    from hwsim.models.digits import digits as load

    return load()


def _resnet20() -> FloatNetwork:
    """ResNet-20 for CIFAR-10 with its trained weights from the folder HWSIM_DATA, 0.27 M parameters."""
    from hwsim.models.resnet import resnet20 as load

    return load()


def _stored(name: str, file: str, data: str, about: str) -> Callable[[], FloatNetwork]:
    """Return what loads an ONNX file of HWSIM_DATA under a name, with its data set; ``about`` is its line in the list."""

    def load() -> FloatNetwork:
        from hwsim.models.onnx import load_onnx

        return replace(load_onnx(data_folder() / "networks" / file), name=name, data=data)

    load.__doc__ = about
    return load


MODELS: dict[str, Callable[[], FloatNetwork]] = {
    "digits": _digits,
    "resnet20-cifar10": _resnet20,
} | {
    name: _stored(name, file, data, f"{about}, from the folder HWSIM_DATA.")
    for name, file, data, about in (
        (
            "resnet8-cifar10",
            "resnet8_cifar10_folded.onnx",
            "cifar10",
            "MLPerf Tiny's ResNet-8, 78 k parameters",
        ),
        (
            "mobilenet_v1-imagenet",
            "mobilenet_v1_0.25_224.onnx",
            "imagenet",
            "MobileNetV1 of width 0.25, 0.47 M parameters",
        ),
        (
            "mobilenet_v2-imagenet",
            "mobilenet_v2_1.0_224.onnx",
            "imagenet",
            "MobileNetV2 of width 1.0, 3.5 M parameters",
        ),
        ("squeezenet-imagenet", "squeezenet1.1_224.onnx", "imagenet", "SqueezeNet 1.1, 1.24 M parameters"),
        (
            "inverted_residual-fashion_mnist",
            "fmnist_ir36k.onnx",
            "fashion_mnist",
            "Inverted-residual network for Fashion-MNIST, 34.5 k parameters",
        ),
    )
}


def load_model(
    text: str,
    *,
    div: float | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> FloatNetwork:
    """Return the network of a built-in name, an ``.onnx`` file, a float network's ``.safetensors``, or ``file.py:name``.

    ``name`` is a function without arguments that returns a :class:`FloatNetwork`; the file is executed.
    ``div``, ``mean`` and ``std`` are the preprocessing of an ONNX file, which others know themselves.
    """
    if text.endswith(".onnx"):
        from hwsim.models.onnx import load_onnx

        return load_onnx(Path(text), div=div, mean=mean, std=std)
    if (div, mean, std) != (None, None, None):
        raise HwsimError(f'"{text}" knows its own preprocessing; leave out div, mean and std')
    if text.endswith(".safetensors"):
        from hwsim.models.checkpoint import load_checkpoint

        return load_checkpoint(Path(text))
    make = look_up("model", text, MODELS, "give an ONNX file or file.py:name")
    network = call(f'model "{text}"', make)
    if not isinstance(network, FloatNetwork):
        raise HwsimError(
            f'model "{text}" returns {type(network).__name__}; it must return a hwsim FloatNetwork, which'
            " hwsim.from_module(module, input_shape, preprocessing) makes of a torch module"
        )
    return network
