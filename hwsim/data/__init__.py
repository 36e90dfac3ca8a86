"""Labelled images: the embedded digits, the data folder's sets, and a person's own files and folders.

A data set has three splits that share no image: ``train``, ``calibration`` (all that a quantizer may look
at) and ``test``. Their order is shuffled once and for all, so that the first n images are a sample; a
person's file keeps its own order. The data folder is the one ``HWSIM_DATA`` names, else ``shared/data`` beside the checkout.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwsim.data.cifar import read_cifar
from hwsim.data.folder import read_folder
from hwsim.data.idx import read_idx
from hwsim.data.npz import read_npz
from hwsim.data.split import Encoded as Encoded
from hwsim.data.split import Split as Split
from hwsim.errors import HwsimError, unknown
from hwsim.layers import Shape
from hwsim.network import FloatNetwork, QuantizedNetwork

SPLITS = ("train", "calibration", "test")


@dataclass(frozen=True)
class DataSet:
    """A data set's name, what it is in one line, and a function per split that loads it."""

    name: str
    about: str
    splits: Mapping[str, Callable[[], Split]]

    def load(self, split: str) -> Split:
        """Return one of the splits ``train``, ``calibration`` and ``test``."""
        if split not in self.splits:
            raise HwsimError(
                f'data set "{self.name}" has no {split} split, only {" and ".join(self.splits)}; give images of your own'
            )
        return self.splits[split]()


OWN_DATA = "give FILE.npz with uint8 x and integer y, an IDX file, a CIFAR batch FILE.bin, or a folder with one folder a class"


def load_split(data: str, split: str, shape: Shape | None = None) -> Split:
    """Return a split of a data set by name, or the whole of a file or folder.

    Files are ``.npz`` archives, IDX files and CIFAR's binary batches (``.bin``); a folder has one folder a class. A file
    is taken to be the split that is asked for. ``shape`` is the network's input (channels, height, width),
    to which compressed pictures are cropped. Raises :class:`HwsimError` for an unknown name, a missing folder
    or file, and a file that is damaged or of another form.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    if data in DATA_SETS:
        return DATA_SETS[data].load(split)
    path = Path(data)
    if path.suffix == ".npz":
        return read_npz(path, shape)
    if path.suffix == ".bin":
        return read_cifar(path)
    if path.is_dir():
        return read_folder(path, shape)
    if "idx" in path.name:
        return read_idx(path)
    raise unknown("data set", data, DATA_SETS, OWN_DATA)


def network_split(
    network: FloatNetwork | QuantizedNetwork, source: str, split: str, purpose: str, images: int = 0
) -> Split:
    """Return a split, or at most its first ``images``, of ``source``: a data set or file, by default the network's own data.

    ``purpose`` ends the sentence that refuses a network without data: "to test on: --data file.npz". Raises
    :class:`HwsimError` as well where the images' shape or the labels do not fit the network.
    """
    name = source or network.data
    if not name:
        kind = "model" if isinstance(network, FloatNetwork) else "network"
        raise HwsimError(f'{kind} "{network.name}" names no data set; give one {purpose}')
    loaded = load_split(name, split, network.input_shape)
    loaded.check(network.input_shape, network.outputs)
    return loaded.part(slice(images)) if images else loaded


def data_folder() -> Path:
    """Return the folder of the data that is not shipped, or refuse where there is none."""
    named = os.environ.get("HWSIM_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        found = f'HWSIM_DATA is "{named}", which is no folder' if named else "there is no data folder"
        raise HwsimError(f"{found}; set HWSIM_DATA to the folder that holds the data files")
    return folder


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

DATA_SETS: dict[str, DataSet] = {
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
        DataSet(
            "imagenet",
            "1,300 selected ILSVRC-2012 validation images, centre crop 224, from HWSIM_DATA; 512 calibration, 1,300 test",
            {
                "calibration": _file_part("imagenet_calib512_224.npz"),
                "test": _file_part("imagenet_val_acuity1300.npz"),
            },
        ),
    )
}
