"""Compressed pictures (JPEG, PNG and what else Pillow reads) as pixels of a network's input size."""

from __future__ import annotations

import io
import threading
import warnings
from typing import TYPE_CHECKING

import numpy as np

from hwsim.errors import HwsimError
from hwsim.layers import Shape
from hwsim.network import Images

if TYPE_CHECKING:
    from PIL.Image import Image

LARGEST_PICTURE = 1 << 27
"""A picture of more pixels is refused before it is decoded."""

BORDER = 256 / 224
"""How much longer than the crop the resized shorter side is: ImageNet's 256 for 224."""

_DECODING = threading.Lock()
"""Held while decoding, for the filter of warnings is the process's."""

_MODES = {1: "L", 3: "RGB"}
_EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


def decode(content: bytes, name: str, shape: Shape) -> Images:
    """Return a picture as uint8 [height, width, channels] of a network's input (channels, height, width).

    The field's evaluation crop: the shorter side is resized (bilinear, antialiased) to 256/224 of the input's
    and the centre cut out. A picture whose shorter side is from 1 to 256/224 of that already is only cropped.
    Raises :class:`HwsimError` naming the picture where it is damaged, cut short, huge, or of more than 8 bits.
    """
    from PIL import Image

    channels, height, width = shape
    if channels not in _MODES:
        raise HwsimError(
            f"pictures have 1 or 3 channels, the network reads {channels}; give an .npz with uint8 x and integer y"
        )
    try:
        with _DECODING, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow warns of is decided here
            with Image.open(io.BytesIO(content)) as picture:
                _check(picture, name)
                pixels = np.asarray(_cropped(picture.convert(_MODES[channels]), height, width))
    except HwsimError:
        raise
    except Exception as error:  # each of Pillow's readers has errors of its own
        why = " ".join(str(error).split()) or type(error).__name__
        raise HwsimError(
            f'picture "{name}" cannot be decoded: {why}; replace the file or leave it out'
        ) from None
    return pixels.reshape(height, width, channels)


def _check(picture: Image, name: str) -> None:
    if picture.width * picture.height > LARGEST_PICTURE:
        raise HwsimError(
            f'picture "{name}" has {picture.width}x{picture.height} pixels, more than {LARGEST_PICTURE}; shrink it'
        )
    if picture.mode not in _EIGHT_BITS:
        raise HwsimError(f'picture "{name}" has pixels of mode {picture.mode}; save it with 8 bits a channel')


def _cropped(picture: Image, height: int, width: int) -> Image:
    from PIL.Image import Resampling

    cover = max(height / picture.height, width / picture.width)
    if not 1 / BORDER <= cover <= 1:
        scale = cover * BORDER
        size = (max(width, int(picture.width * scale + 0.5)), max(height, int(picture.height * scale + 0.5)))
        picture = picture.resize(size, Resampling.BILINEAR)
    left, top = round((picture.width - width) / 2), round((picture.height - height) / 2)
    return picture.crop((left, top, left + width, top + height))
