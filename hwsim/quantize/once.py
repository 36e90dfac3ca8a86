"""A calibration that was computed once, kept in the user's cache folder.

It depends on the folded network and the images alone: every bit configuration and every method starts from it.
"""

from __future__ import annotations

import hashlib
import json
import time
import zlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from hwsim import cache
from hwsim.data import Split
from hwsim.network import FloatNetwork
from hwsim.quantize.calibrate import Calibration, Progress, calibrate, tell_relus
from hwsim.quantize.fold import fold_batch_norm
from hwsim.quantize.statistics import Statistics

CALIBRATION_VERSION = 2
"""Raised whenever a calibration of an unchanged network on unchanged images would change."""

WORTH_KEEPING_S = 2.0
"""A calibration that takes less is computed again."""


def calibrate_once(network: FloatNetwork, split: Split, progress: Progress | None = None) -> Calibration:
    """Return the calibration of a network on a split: the kept one if there is one, else a new one, which is kept."""
    folded = fold_batch_norm(network)
    key = f"{CALIBRATION_VERSION} {folded.digest()} {split.digest()}"
    name = hashlib.sha256(key.encode()).hexdigest()
    kept = cache.recall("calibrations", name)
    if kept is not None:
        return from_bytes(kept, network)
    start = time.monotonic()
    calibration = calibrate(folded, split.images, progress=progress)
    if time.monotonic() - start >= WORTH_KEEPING_S:
        cache.remember(to_bytes(calibration), "calibrations", name)
    return calibration


_PARTS = ("statistics", "channels")


def to_bytes(calibration: Calibration) -> bytes:
    """Return a calibration as bytes that :func:`from_bytes` reads, for the network it was made of."""
    arrays = {
        f"{part}.{index}.{field.name}": _narrow(np.asarray(value))
        for part in _PARTS
        for index, seen in enumerate(getattr(calibration, part).values())
        for field in fields(Statistics)
        if field.name != "before_relu" and (value := getattr(seen, field.name)) is not None
    }
    header = {"images": calibration.images, "names": list(calibration.statistics)}
    return zlib.compress(safetensors.numpy.save(arrays, metadata={"header": json.dumps(header)}), 1)


def _narrow(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an array of counts in the narrowest type that holds them: most bins are empty."""
    narrow = np.min_scalar_type(array.max()) if array.dtype.kind == "i" and array.size else array.dtype
    return np.ascontiguousarray(array, narrow).reshape(array.shape)


def from_bytes(content: bytes, network: FloatNetwork) -> Calibration:
    """Return the calibration of a network from its bytes, equal to the one they were made of."""
    folded = fold_batch_norm(network)
    content = zlib.decompress(content)
    length = int.from_bytes(content[:8], "little")
    header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["header"])
    arrays = safetensors.numpy.load(content)
    tensors, channels = (
        {name: _statistics(arrays, f"{part}.{index}.") for index, name in enumerate(header["names"])}
        for part in _PARTS
    )
    for statistics in (tensors, channels):
        tell_relus(folded, statistics)
    return Calibration(folded.digest(), header["images"], tensors, channels)


def _statistics(arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> Statistics:
    values: dict[str, Any] = {
        field.name: arrays[prefix + field.name]
        for field in fields(Statistics)
        if prefix + field.name in arrays
    }
    values["count"] = int(values["count"])
    if "histogram" in values:
        values["histogram"] = values["histogram"].astype(np.int64)
    return Statistics(**values)
