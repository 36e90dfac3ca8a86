"""The binary batches of CIFAR-10 and CIFAR-100.

Format: A. Krizhevsky, The CIFAR-10 and CIFAR-100 datasets, 2009, "Binary version": records of one label byte (of
CIFAR-100 two, the coarse one first) and 3,072 bytes of an image, channel by channel, row by row.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hwsim import files
from hwsim.data.split import Split
from hwsim.errors import HwsimError

PIXELS = 3 * 32 * 32
_CLASSES = {1: (10,), 2: (20, 100)}
"""How many classes each label byte of a record tells apart, by how many of them there are."""


def read_cifar(path: Path) -> Split:
    """Return the images uint8 [n, 32, 32, 3] of a batch and their labels; of CIFAR-100 the fine ones."""
    content = np.frombuffer(files.read(path, "CIFAR batch"), np.uint8)
    fitting = [count for count in _CLASSES if content.size and content.size % (PIXELS + count) == 0]
    if not fitting:
        raise HwsimError(
            f'"{path}" holds {content.size} bytes, no whole records of {PIXELS + 1} (CIFAR-10) or {PIXELS + 2}'
            " (CIFAR-100); it is cut short or no binary batch, fetch it again"
        )
    for count in fitting:
        records = content.reshape(-1, PIXELS + count)
        labels, classes = records[:, :count], _CLASSES[count]
        if (labels < classes).all():
            images = records[:, count:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
            return Split(np.ascontiguousarray(images), labels[:, -1].astype(np.int64))
    record = int((labels >= classes).any(axis=1).argmax())
    raise HwsimError(
        f'record {record} of "{path}" has the label {labels[record].max()}, beyond {classes[-1]} classes;'
        " it is no binary batch, fetch it again"
    )
