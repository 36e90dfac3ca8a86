"""A calibration that was computed once, kept in the user's cache folder.

It depends on the folded network and the images alone: every bit configuration and every method starts from it. Second
moments, which few ask for, are kept in a file of their own.
"""

from __future__ import annotations

import hashlib
import json
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
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

MOMENTS_VERSION = 2
"""The same of the second moments."""

WORTH_KEEPING_S = 2.0
"""A calibration that takes less is computed again."""


def calibrate_once(
    network: FloatNetwork, split: Split, progress: Progress | None = None, *, moments: bool = False
) -> Calibration:
    """Return the calibration of a network on a split: the kept one if there is one, else a new one, which is kept.

    With ``moments`` it has the second moments of the layers' inputs.
    """
    folded = fold_batch_norm(network)
    key = f"{CALIBRATION_VERSION} {folded.digest()} {split.digest()}"
    calibration = from_bytes(
        _once(key, lambda: to_bytes(calibrate(folded, split.images, progress=progress))), network
    )
    return _with_moments(folded, split, calibration, progress, key) if moments else calibration


def _with_moments(
    folded: FloatNetwork, split: Split, calibration: Calibration, progress: Progress | None, key: str
) -> Calibration:
    def compute() -> bytes:
        from hwsim.quantize.moments import second_moments

        return safetensors.numpy.save(second_moments(folded, split.images, calibration, progress))

    kept = _once(f"moments {MOMENTS_VERSION} {key}", compute)
    return replace(calibration, moments=safetensors.numpy.load(kept))


def _once(key: str, compute: Callable[[], bytes]) -> bytes:
    """Return what is kept under a key, else what ``compute`` returns, which is kept if it took long."""
    name = hashlib.sha256(key.encode()).hexdigest()
    kept = cache.recall("calibrations", name)
    if kept is not None:
        return kept
    start = time.monotonic()
    content = compute()
    if time.monotonic() - start >= WORTH_KEEPING_S:
        cache.remember(content, "calibrations", name)
    return content


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
    arrays |= {f"moments.{name}": array for name, array in calibration.moments.items()}
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
    of_inputs = "moments."
    moments = {name.removeprefix(of_inputs): a for name, a in arrays.items() if name.startswith(of_inputs)}
    return Calibration(folded.digest(), header["images"], tensors, channels, moments=moments)


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
