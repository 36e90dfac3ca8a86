"""Float networks: built in, from ONNX files, or from a function of a person's own."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hwsim.errors import HwsimError, unknown
from hwsim.network import FloatNetwork


def _digits() -> FloatNetwork:
    """Embedded network for 8x8 digits: depthwise and residual blocks, 8,042 parameters."""
    from hwsim.models.digits import digits as load

    return load()


def _resnet20() -> FloatNetwork:
    """ResNet-20 for CIFAR-10 with its trained weights from the folder HWSIM_DATA, 0.27 M parameters."""
    from hwsim.models.resnet import resnet20 as load

    return load()


MODELS: dict[str, Callable[[], FloatNetwork]] = {
    "digits": _digits,
    "resnet20-cifar10": _resnet20,
}


def load_model(
    text: str,
    *,
    div: float | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> FloatNetwork:
    """Return the network of a built-in name, an ``.onnx`` file, or ``file.py:name``.

    ``name`` is a function without arguments that returns a :class:`FloatNetwork`; the file is executed.
    ``div``, ``mean`` and ``std`` are the preprocessing of an ONNX file, which others know themselves.
    """
    if text.endswith(".onnx"):
        from hwsim.models.onnx import load_onnx

        return load_onnx(Path(text), div=div, mean=mean, std=std)
    if (div, mean, std) != (None, None, None):
        raise HwsimError(f'"{text}" knows its own preprocessing; leave out div, mean and std')
    if text in MODELS:
        return MODELS[text]()
    path, colon, name = text.rpartition(":")
    if colon and path.endswith(".py"):
        return _from_file(Path(path), name)
    raise unknown("model", text, MODELS, "give an ONNX file or file.py:name")


def _from_file(path: Path, name: str) -> FloatNetwork:
    function = getattr(_module(path), name, None)
    if not callable(function):
        raise HwsimError(
            f'"{path}" has no function "{name}"; give file.py:name of one that returns a FloatNetwork'
        )
    network: Any = _refusing_errors(path, function)
    if not isinstance(network, FloatNetwork):
        raise HwsimError(
            f'"{path}:{name}" returns {type(network).__name__}; it must return a hwsim FloatNetwork'
        )
    return network


def _module(path: Path) -> Any:
    if not path.is_file():
        raise HwsimError(f'there is no file "{path}"; give file.py:name')
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module, loader = importlib.util.module_from_spec(spec), spec.loader
    _refusing_errors(path, lambda: loader.exec_module(module))
    return module


def _refusing_errors(path: Path, run: Callable[[], Any]) -> Any:
    """Run code of a person's own file; an error there is told as one of the file."""
    try:
        return run()
    except HwsimError:
        raise
    except (Exception, SystemExit) as error:
        raise HwsimError(f'"{path}" fails: {type(error).__name__}: {error}; correct the file') from error
