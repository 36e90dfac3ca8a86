"""Tensors that an ONNX file keeps in files beside it, as torch's exporter does for larger networks.

A data file is named by the model, so it is not trusted: it has to lie in the model's own folder, be a regular file and no
link, and hold what is said of it. All tensors of one file together take no more bytes than it has.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

from hwsim.errors import HwsimError


def take_external(model: Any, folder: Path) -> None:
    """Put the data of a model's tensors that lies in files of ``folder`` into the model.

    Raises :class:`HwsimError` for a place outside the folder, a link, a file that is missing or too short, and for
    tensors that overlap to more than a file holds.
    """
    taken = Counter[str]()
    for tensor in _tensors(model.graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL and not tensor.external_data:
            continue
        said = {entry.key: entry.value for entry in tensor.external_data}
        tensor.raw_data = _content(tensor.name, said, folder, taken)
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


def _tensors(graph: Any) -> Iterator[Any]:
    """Yield every tensor that is stored in a graph; those of graphs inside it are never used."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from ([attribute.t] if attribute.HasField("t") else attribute.tensors)


def _content(name: str, said: dict[str, str], folder: Path, taken: Counter[str]) -> bytes:
    """Return a tensor's bytes; ``taken`` are those of each file that tensors have by now."""
    location = said.get("location", "")
    if (
        not location.isprintable()
        or "\\" in location
        or location in ("", "..")
        or Path(location).name != location
    ):
        raise HwsimError(
            f'tensor "{name}" is kept in {location!r}, and data is read from files beside the model alone; save the model'
            " again with its data there or inside (torch.onnx.export: external_data=False)"
        )
    try:
        # Never through a link, and never waiting for a pipe to be written.
        descriptor = os.open(folder / location, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise HwsimError(f'its data file "{location}" is no regular file; put the file itself there')
            start, length = _extent(name, said, status.st_size)
            taken[location] += length
            if taken[location] > status.st_size:
                raise HwsimError(
                    f'its tensors take more than the {status.st_size} bytes that "{location}" has; export it again'
                )
            file.seek(start)
            content = file.read(length)
    except OSError as error:
        raise HwsimError(
            f'its data file "{location}" cannot be read: {error.strerror}; put the file itself beside the model'
        ) from None
    return content


def _extent(name: str, said: dict[str, str], size: int) -> tuple[int, int]:
    """Return where a tensor begins in a file of ``size`` bytes and how many it has there."""
    start, length = (_number(name, said, key, default) for key, default in (("offset", 0), ("length", -1)))
    length = size - start if length < 0 else length
    if start + length > size or length < 0:
        raise HwsimError(
            f'tensor "{name}" is kept in bytes {start} to {start + length} of "{said["location"]}", which has {size}; copy it'
            " again, whole, or export it again"
        )
    return start, length


def _number(name: str, said: dict[str, str], key: str, default: int) -> int:
    text = said.get(key, "")
    if text and not (text.isascii() and text.isdigit() and len(text) < 20):
        raise HwsimError(f'tensor "{name}" has the {key} {text[:40]!r} in its data file; export it again')
    return int(text) if text else default
