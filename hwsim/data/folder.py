"""A folder of pictures with one folder a class."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hwsim import files
from hwsim.data.pictures import decode
from hwsim.data.split import Encoded, Split
from hwsim.errors import HwsimError
from hwsim.layers import Shape
from hwsim.network import Images

PICTURES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Endings of the files that count as pictures; any other is left alone."""


def read_folder(path: Path, shape: Shape | None) -> Split:
    """Return the pictures of a folder, decoded when they are looked at, in an order that mixes the classes.

    The sorted names of its folders are the classes 0, 1, ...; each holds pictures. They are cropped to ``shape``
    as :func:`hwsim.data.pictures.decode` says. Raises :class:`HwsimError` for a folder without classes and a class
    without pictures.
    """
    if shape is None:
        raise HwsimError(
            f'the pictures of "{path}" are cropped to a network\'s input; say which shape it has'
        )
    classes = [name for name in _names(path) if (path / name).is_dir()]
    if not classes:
        raise HwsimError(f'"{path}" holds no folders; put the pictures into one folder a class')
    found: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        pictures = [n for n in _names(path / name) if n.lower().endswith(PICTURES)]
        if not pictures:
            raise HwsimError(
                f'class {label}, "{path / name}", holds no picture ({", ".join(PICTURES)}); remove it or fill it'
            )
        found += [path / name / picture for picture in pictures]
        labels += [label] * len(pictures)
    channels, height, width = shape

    def image(number: int) -> Images:
        return decode(files.read(found[number], "picture"), str(found[number]), shape)

    images = Encoded(image, np.arange(len(found)), (height, width, channels))
    return Split(images, np.array(labels, np.int64)).shuffled()


def _names(folder: Path) -> list[str]:
    """Return the sorted names in a folder, hidden ones left out."""
    try:
        return sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise HwsimError(
            f'cannot read the folder "{folder}": {error.strerror}; give one that can be read'
        ) from None
