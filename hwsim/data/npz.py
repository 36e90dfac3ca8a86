"""Images in a NumPy archive: pixels, or compressed pictures one behind the other."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.data.pictures import decode
from hwsim.data.split import Encoded, Split
from hwsim.errors import HwsimError
from hwsim.formats import IntArray
from hwsim.layers import Shape
from hwsim.network import Images

LARGEST_FILE_BYTES = 1 << 32
"""A file that declares more bytes than this is refused before anything is allocated."""

IMAGENET_INPUT: Shape = (3, 224, 224)
"""What pictures in an archive are cropped to where no network's input is given."""

_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    NotImplementedError,
    MemoryError,
    SyntaxError,
)


def read_npz(path: Path, shape: Shape | None = None) -> Split:
    """Return the images and labels of a NumPy archive; nothing in it is executed.

    Either ``x`` uint8 [n, height, width] or [n, height, width, channels] and integers ``y`` [n]; or ``data``
    uint8, the bytes of pictures one behind the other, ``offsets`` [n + 1] into them and integers ``labels`` [n]:
    those are decoded when they are looked at, to ``shape`` as :func:`hwsim.data.pictures.decode` says.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if "offsets.npy" in archive.namelist():
                data, offsets, labels = (_read_array(archive, key) for key in ("data", "offsets", "labels"))
                return _pictures(path, data, offsets, _as_labels(labels), shape or IMAGENET_INPUT)
            x, y = (_read_array(archive, key) for key in ("x", "y"))
            return Split(_as_images(x), _as_labels(y))
    except HwsimError as error:
        raise HwsimError(f'cannot use "{path}": {error}') from None
    except FileNotFoundError:
        raise HwsimError(f'there is no file "{path}"; give the path of an .npz with x and y') from None
    except _DAMAGED as error:
        raise HwsimError(
            f'"{path}" is no readable .npz ({type(error).__name__}); write it with numpy.savez(FILE, x=images, y=labels)'
        ) from None


def _pictures(
    path: Path, data: npt.NDArray[Any], offsets: npt.NDArray[Any], labels: IntArray, shape: Shape
) -> Split:
    if data.dtype != np.uint8 or data.ndim != 1:
        raise HwsimError(
            f"data is {data.dtype} {list(data.shape)}; store the pictures' bytes as uint8 [bytes]"
        )
    fits = (
        np.issubdtype(offsets.dtype, np.integer)
        and offsets.ndim == 1
        and offsets.size
        and offsets[0] >= 0
        and offsets[-1] <= data.size
        and (offsets[1:] > offsets[:-1]).all()
    )
    if not fits:
        raise HwsimError(
            f"its offsets do not rise within the {data.size} bytes of data; store where each picture begins, and the end"
        )

    def image(number: int) -> Images:
        content = data[offsets[number] : offsets[number + 1]].tobytes()
        return decode(content, f"{path}: {number}", shape)

    channels, height, width = shape
    return Split(Encoded(image, np.arange(offsets.size - 1), (height, width, channels)), labels)


def _read_array(archive: zipfile.ZipFile, key: str) -> npt.NDArray[Any]:
    """Return one array; its declared size is checked against the bytes there are before it is allocated."""
    member = f"{key}.npy"
    if member not in archive.namelist():
        raise HwsimError(f'it has no array "{key}"; it needs uint8 x and integer y')
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        header = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = header(file)
    if dtype.hasobject:
        raise HwsimError(f'"{key}" holds Python objects, which are never read; store integers')
    declared = math.prod(shape) * dtype.itemsize
    if declared > min(archive.getinfo(member).file_size, LARGEST_FILE_BYTES):
        raise HwsimError(
            f'"{key}" declares {list(shape)} {dtype}, {declared} bytes, more than the file holds'
        )
    with archive.open(member) as file:
        array: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _as_images(x: npt.NDArray[Any]) -> Images:
    if x.dtype != np.uint8:
        raise HwsimError(f"x is {x.dtype}; store the pixels as uint8 0..255")
    images: Images = x[..., None] if x.ndim == 3 else x
    return images


def _as_labels(y: npt.NDArray[Any]) -> IntArray:
    if not np.issubdtype(y.dtype, np.integer):
        raise HwsimError(f"y is {y.dtype}; store the labels as integers")
    if y.size and y.max() > np.iinfo(np.int64).max:
        raise HwsimError(f"label {y.max()} does not fit 64 bits; count the classes from 0")
    return y.astype(np.int64)
