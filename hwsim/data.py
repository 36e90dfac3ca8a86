"""Labelled images: the embedded digits, the data folder's sets, and a person's own ``FILE.npz``.

A data set has three splits that share no image: ``train``, ``calibration`` (all that a quantizer may look
at) and ``test``. Their order is shuffled once and for all, so that the first n images are a sample; a
person's file keeps its own order. The data folder is the one ``HWSIM_DATA`` names, else ``shared/data`` beside the checkout.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError, unknown
from hwsim.formats import IntArray
from hwsim.layers import Shape
from hwsim.network import Images

SPLITS = ("train", "calibration", "test")
LARGEST_FILE_BYTES = 1 << 32
"""A file that declares more bytes than this is refused before anything is allocated."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images uint8 [n, height, width, channels] and their labels int64 [n], never empty."""

    images: Images
    labels: IntArray

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.dtype != np.uint8 or images.ndim != 4:
            raise HwsimError(
                f"images are uint8 [n, height, width, channels], not {images.dtype} {list(images.shape)}"
            )
        if labels.dtype != np.int64 or labels.shape != images.shape[:1]:
            raise HwsimError(
                f"{len(images)} images need int64 labels [{len(images)}], not {labels.dtype} {list(labels.shape)}"
            )
        if not images.size:
            raise HwsimError("a split is empty; give at least one image")
        if labels.min() < 0:
            raise HwsimError(f"label {labels.min()} is negative; count the classes from 0")

    def __len__(self) -> int:
        return len(self.labels)

    def check(self, input_shape: Shape, classes: int) -> None:
        """Refuse images that a network of this input (channels, height, width) cannot read, and other labels."""
        height, width, channels = self.images.shape[1:]
        if (channels, height, width) != input_shape:
            raise HwsimError(
                f"the images are {height}x{width} with {channels} channels, the network reads {input_shape[1]}x"
                f"{input_shape[2]} with {input_shape[0]}; give images of that shape"
            )
        if self.labels.max() >= classes:
            raise HwsimError(
                f"label {self.labels.max()} is beyond the network's {classes} classes; give its own data"
            )

    def part(self, indices: IntArray | slice) -> Split:
        """Return the images at ``indices``, in that order."""
        return Split(self.images[indices], self.labels[indices])

    def shuffled(self) -> Split:
        """Return the images in an order of no meaning, always the same: any beginning is a sample."""
        order = np.random.RandomState(0).permutation(
            len(self)
        )  # numpy keeps this generator's stream as it is
        return self.part(order)

    def digest(self) -> str:
        """Return the SHA-256 of shape, pixels and labels, in hexadecimal."""
        digest = hashlib.sha256(str(self.images.shape).encode())
        digest.update(np.ascontiguousarray(self.images).tobytes())
        digest.update(np.ascontiguousarray(self.labels, "<i8").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class DataSet:
    """A data set's name, what it is in one line, and a function per split that loads it."""

    name: str
    about: str
    splits: Mapping[str, Callable[[], Split]]

    def load(self, split: str) -> Split:
        """Return one of the splits ``train``, ``calibration`` and ``test``."""
        if split not in self.splits:
            raise unknown("split", split, self.splits)
        return self.splits[split]()


def load_split(data: str, split: str) -> Split:
    """Return a split of a data set by name, or the whole of a ``FILE.npz``.

    The file holds ``x`` uint8 [n, height, width] or [n, height, width, channels] and integer labels ``y`` [n];
    it is taken to be the split that is asked for. Raises :class:`HwsimError` for an unknown name, a missing
    folder or file, and a file that is damaged or of another form.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    if data in DATA_SETS:
        return DATA_SETS[data].load(split)
    if data.endswith(".npz"):
        return read_npz(Path(data))
    raise unknown("data set", data, DATA_SETS, "give FILE.npz with uint8 x and integer y")


def data_folder() -> Path:
    """Return the folder of the data that is not shipped, or refuse where there is none."""
    named = os.environ.get("HWSIM_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        found = f'HWSIM_DATA is "{named}", which is no folder' if named else "there is no data folder"
        raise HwsimError(f"{found}; set HWSIM_DATA to the folder that holds the data files")
    return folder


def read_npz(path: Path) -> Split:
    """Return the images ``x`` and labels ``y`` of a NumPy archive; nothing in it is executed."""
    try:
        with zipfile.ZipFile(path) as archive:
            x, y = (_read_array(archive, key) for key in ("x", "y"))
    except HwsimError as error:
        raise HwsimError(f'cannot use "{path}": {error}') from None
    except FileNotFoundError:
        raise HwsimError(f'there is no file "{path}"; give the path of an .npz with x and y') from None
    except _DAMAGED as error:
        raise HwsimError(
            f'"{path}" is no readable .npz ({type(error).__name__}); write it with numpy.savez(FILE, x=images, y=labels)'
        ) from None
    try:
        return Split(_as_images(x), _as_labels(y))
    except HwsimError as error:
        raise HwsimError(f'cannot use "{path}": {error}') from None


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


DIGITS_TRAIN, DIGITS_CALIBRATION = 900, 200
"""Images of scikit-learn's 1,797 digits for training and for calibration; the other 697 are the test split."""


@functools.cache
def _digits() -> Split:
    """Return all digits shuffled, the pixels 0..16 as they are."""
    from sklearn.datasets import load_digits  # takes a second to import, and only the digits need it

    x, y = load_digits(return_X_y=True)
    return Split(x.astype(np.uint8).reshape(-1, 8, 8, 1), y.astype(np.int64)).shuffled()


def _digits_part(start: int, stop: int | None) -> Callable[[], Split]:
    return lambda: _digits().part(slice(start, stop))


def _file_part(name: str, start: int = 0, stop: int | None = None) -> Callable[[], Split]:
    return lambda: read_npz(data_folder() / name).part(slice(start, stop)).shuffled()


FASHION_CALIBRATION = 2000
"""The first images of fashion_mnist's training file are its calibration split, the others train."""

DATA_SETS = {
    data.name: data
    for data in (
        DataSet(
            "digits",
            "scikit-learn's 8x8 digits, pixels 0..16; 900 train, 200 calibration, 697 test",
            {
                "train": _digits_part(0, DIGITS_TRAIN),
                "calibration": _digits_part(DIGITS_TRAIN, DIGITS_TRAIN + DIGITS_CALIBRATION),
                "test": _digits_part(DIGITS_TRAIN + DIGITS_CALIBRATION, None),
            },
        ),
        DataSet(
            "cifar10",
            "CIFAR-10, 32x32 RGB, from HWSIM_DATA; 12,000 train, 2,000 calibration, 9,886 test",
            {
                "train": _file_part("cifar10_train12k.npz"),
                "calibration": _file_part("cifar10_calib2000.npz"),
                "test": _file_part("cifar10_test.npz"),
            },
        ),
        DataSet(
            "fashion_mnist",
            "Fashion-MNIST, 28x28 grey, from HWSIM_DATA; 18,000 train, 2,000 calibration, 10,000 test",
            {
                "train": _file_part("fashion_mnist_train20k.npz", FASHION_CALIBRATION),
                "calibration": _file_part("fashion_mnist_train20k.npz", 0, FASHION_CALIBRATION),
                "test": _file_part("fashion_mnist_test.npz"),
            },
        ),
    )
}
