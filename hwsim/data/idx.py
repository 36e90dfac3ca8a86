"""Images in the IDX format of MNIST, plain or compressed with gzip.

Format: Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten digits, 1998, "File formats": two zero
bytes, the type (8 is uint8), the number of dimensions, each size as a big-endian int32, then the values.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hwsim.data.npz import LARGEST_FILE_BYTES
from hwsim.data.split import Split
from hwsim.errors import HwsimError


def read_idx(path: Path) -> Split:
    """Return the images of an IDX file, uint8 [n, height, width] or [n, height, width, channels], and their labels.

    The labels are in the file beside it whose name has "labels" for "images" and idx1 for idx3 or idx4.
    """
    if "images" not in path.name:
        raise HwsimError(
            f'"{path}" does not say where its labels are; name it ...images... beside a file ...labels...'
        )
    name = path.name.replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1")
    images, labels = _read(path, (3, 4)), _read(path.with_name(name), (1,))
    try:
        return Split(images if images.ndim == 4 else images[..., None], labels.astype(np.int64))
    except HwsimError as error:
        raise HwsimError(f'cannot use "{path}": {error}') from None


def _read(path: Path, dimensions: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as file:
            head = file.read(4)
            count = head[3] if len(head) == 4 and head[:3] == b"\0\0\x08" else 0
            if count not in dimensions:
                raise HwsimError(
                    f'"{path}" is no IDX file of bytes in {" or ".join(map(str, dimensions))} dimensions (it begins with'
                    f" {head.hex() or 'nothing'}); give the images' file as it was published"
                )
            header = file.read(4 * count)
            if len(header) < 4 * count:
                raise EOFError("it ends within its header")
            sizes = np.frombuffer(header, ">u4").tolist()
            declared = math.prod(sizes)
            content = file.read(min(declared, LARGEST_FILE_BYTES) + 1)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        why = (isinstance(error, OSError) and error.strerror) or error
        raise HwsimError(f'cannot read the IDX file "{path}": {why}; give the path of a whole one') from None
    if len(content) != declared:
        state = "cut short" if len(content) < declared else "longer than it says or too large"
        raise HwsimError(
            f'the IDX file "{path}" is {state}: it declares {sizes}, {declared} bytes; fetch it again'
        )
    return np.frombuffer(content, np.uint8).reshape(sizes)
