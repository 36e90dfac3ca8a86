"""A split: images and their labels, in memory or decoded when they are looked at."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.formats import IntArray
from hwsim.layers import Shape
from hwsim.network import Images

DIGEST_BATCH = 64
"""Images decoded at once for a digest."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """Images decoded when they are looked at: indexed along n as a uint8 array [n, height, width, channels] is.

    ``decode`` gives the image [height, width, channels] of a number; ``order`` is which numbers there are.
    """

    decode: Callable[[int], Images]
    order: IntArray
    size: tuple[int, int, int]

    dtype = np.dtype(np.uint8)
    ndim = 4

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (len(self.order), *self.size)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: slice) -> Images:
        """Return the images of a slice, decoded."""
        chosen = self.order[index]
        images: Images = np.empty((len(chosen), *self.size), np.uint8)
        for place, number in enumerate(chosen.tolist()):
            images[place] = self.decode(number)
        return images

    def part(self, indices: IntArray | slice) -> Encoded:
        """Return the images at ``indices``, none of them decoded."""
        return replace(self, order=self.order[indices])


@dataclass(frozen=True, eq=False)
class Split:
    """Images uint8 [n, height, width, channels] and their labels int64 [n], never empty."""

    images: Images | Encoded
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
        if not all(images.shape):
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
        images = self.images
        return Split(
            images.part(indices) if isinstance(images, Encoded) else images[indices], self.labels[indices]
        )

    def shuffled(self) -> Split:
        """Return the images in an order of no meaning, always the same: any beginning is a sample."""
        order = np.random.RandomState(0).permutation(
            len(self)
        )  # numpy keeps this generator's stream as it is
        return self.part(order)

    def batches(self, count: int) -> Iterator[Images]:
        """Yield the images in order, ``count`` at a time, decoded."""
        for start in range(0, len(self), count):
            yield self.images[start : start + count]

    def digest(self) -> str:
        """Return the SHA-256 of shape, pixels and labels, in hexadecimal."""
        digest = hashlib.sha256(str(self.images.shape).encode())
        for images in self.batches(DIGEST_BATCH):
            digest.update(np.ascontiguousarray(images).tobytes())
        digest.update(np.ascontiguousarray(self.labels, "<i8").tobytes())
        return digest.hexdigest()
