"""Trained weights from files: safetensors, or what ``torch.save`` wrote of a state dict. Nothing in them is executed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from hwsim import files
from hwsim.errors import HwsimError

SHOWN = 3
"""Names that an error shows of each kind."""

_WRAPPERS = ("state_dict", "model_state_dict", "model")

Module = TypeVar("Module", bound=nn.Module)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a ``.safetensors`` file or of a checkpoint of ``torch.save``, by name.

    Of a checkpoint that holds a state dict beside other things ("state_dict", "model") the state dict counts; the
    prefix "module." that DataParallel puts before every name is taken off. Raises :class:`HwsimError` for a file that
    is damaged, holds no tensors, or wants Python code to be run.
    """
    content = files.read(path, "weights file")
    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load(content)
        except (safetensors.SafetensorError, ValueError, KeyError) as error:
            raise HwsimError(
                f'"{path}" is no safetensors file ({type(error).__name__}); give the trained weights'
            ) from None
    return _unwrapped(path, _load(path))


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise six kinds
        if type(error).__name__ == "UnpicklingError" and "Weights only load failed" in str(error):
            raise HwsimError(
                f'"{path}" holds more than tensors and would need its Python code run, which hwsim never does;'
                " save module.state_dict() alone"
            ) from None
        raise HwsimError(
            f'"{path}" is no readable checkpoint ({type(error).__name__}); write it with torch.save(module.state_dict(), FILE)'
        ) from None


def _unwrapped(path: Path, stored: Any) -> dict[str, Tensor]:
    for wrapper in _WRAPPERS:
        if isinstance(stored, Mapping) and isinstance(stored.get(wrapper), Mapping):
            stored = stored[wrapper]
    tensors = (
        {str(name): value for name, value in stored.items() if isinstance(value, Tensor)}
        if isinstance(stored, Mapping)
        else {}
    )
    if not tensors:
        raise HwsimError(
            f'"{path}" holds no tensors by name; write it with torch.save(module.state_dict(), FILE)'
        )
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


def load_weights(module: Module, path: Path | str) -> Module:
    """Return the module with the weights of a file, in the file's own float type.

    Every tensor of the module has to be there under its name and in its shape, and no other; only batch norm's
    counts of batches are no part of it. Raises :class:`HwsimError` with the first names and the counts.
    """
    path = Path(path)
    stored, wanted = (
        {k: v for k, v in d.items() if not k.endswith(".num_batches_tracked")}
        for d in (read_checkpoint(path), module.state_dict())
    )
    both = stored.keys() & wanted.keys()
    reshaped = [name for name in wanted if name in both and stored[name].shape != wanted[name].shape]
    shapes = [f"{name} {list(stored[name].shape)} for {list(wanted[name].shape)}" for name in reshaped]
    problems = [
        *_told("lacks", [name for name in wanted if name not in both], len(wanted)),
        *_told("has besides", [name for name in stored if name not in both], len(stored)),
        *_told("has in another shape", shapes, len(wanted)),
    ]
    if problems:
        raise HwsimError(
            f'"{path}" does not fit {type(module).__name__}: it {", and ".join(problems)}; give its own weights'
        )
    module.load_state_dict(stored, strict=False, assign=True)
    return module


def _told(what: str, names: Sequence[str], total: int) -> list[str]:
    if not names:
        return []
    more = ", ..." if len(names) > SHOWN else ""
    return [f"{what} {len(names)} of {total} tensors ({', '.join(names[:SHOWN])}{more})"]
