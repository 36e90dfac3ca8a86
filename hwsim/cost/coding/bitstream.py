"""Bytes as what stands in them: numbers of seven bits a byte, and integers packed bit by bit.

Numbers (counts, lengths, dimensions) have the lowest seven bits first, the top bit of a byte set while more
follow. Packed values have their highest bit first; each array ends on a byte.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.formats import IntArray


@dataclass(frozen=True)
class Coded:
    """Code words as bytes: what tells the decoder the code, where the others than zero are, and the words."""

    tables: bytes = b""
    indices: bytes = b""
    values: bytes = b""

    def __len__(self) -> int:
        return len(self.tables) + len(self.indices) + len(self.values)


def number(value: int) -> bytes:
    """Return a count: seven bits a byte, the lowest first.

    >>> number(300).hex()
    'ac02'
    """
    digits = []
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])


def pack(values: IntArray, bits: int) -> bytes:
    """Return non-negative values in ``bits`` bits each, highest bit first, filled up to a byte."""
    return np.packbits(_bits(values, bits)).tobytes()


def pack_each(values: IntArray, widths: IntArray) -> bytes:
    """Return the low bits of each value, as many as its width, one behind the other, filled up to a byte.

    >>> pack_each(np.array([1, 5, 0]), np.array([1, 3, 0])).hex()
    'd0'
    """
    bits = max(1, int(widths.max(initial=0)))
    return np.packbits(_bits(values, bits)[_held(widths, bits)]).tobytes()


def _bits(values: IntArray, bits: int) -> npt.NDArray[np.uint8]:
    """Return the low ``bits`` of each value, [values, bits], highest first."""
    octets = values.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 8 - -(-bits // 8) :]
    return np.unpackbits(octets, axis=1)[:, octets.shape[1] * 8 - bits :]


def _held(widths: IntArray, bits: int) -> npt.NDArray[np.bool_]:
    """Return which of ``bits`` bits, highest first, a value of each width has, [values, bits]."""
    held: npt.NDArray[np.bool_] = np.arange(bits)[::-1] < widths[:, None]
    return held


def damaged(why: str) -> HwsimError:
    """Return the error of a compressed file that no :func:`hwsim.cost.compression.compress` wrote."""
    return HwsimError(f"the compressed network is damaged: {why}; compress the network again")


class Reader:
    """Reads bytes from their front and never beyond their end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def left(self) -> int:
        """How many bytes are not yet read."""
        return len(self._data) - self._position

    def take(self, count: int) -> bytes:
        """Return the next ``count`` bytes."""
        if count > self.left:
            raise damaged("it ends early")
        self._position += count
        return self._data[self._position - count : self._position]

    def number(self) -> int:
        """Return the next number; refused above 63 bits."""
        value = 0
        for shift in range(0, 63, 7):
            digit = self.take(1)[0]
            value |= (digit & 127) << shift
            if digit < 128:
                return value
        raise damaged("a number has more than 63 bits")

    def text(self) -> str:
        """Return the next UTF-8 text, its length in front."""
        try:
            return self.take(self.number()).decode()
        except UnicodeDecodeError:
            raise damaged("a name is no UTF-8 text") from None

    def unpack(self, count: int, bits: int) -> IntArray:
        """Return ``count`` values of ``bits`` bits, the inverse of :func:`pack`."""
        raw = np.frombuffer(self.take(-(-count * bits // 8)), np.uint8)
        octets = np.zeros((count, 64), np.uint8) if bits > 8 else np.zeros((count, 8), np.uint8)
        octets[:, octets.shape[1] - bits :] = np.unpackbits(raw, count=count * bits).reshape(count, bits)
        whole = np.packbits(octets, axis=1)
        return whole.view(">u8" if bits > 8 else np.uint8).ravel().astype(np.int64)

    def unpack_each(self, widths: IntArray) -> IntArray:
        """Return a value for each width, the inverse of :func:`pack_each`."""
        size = int(widths.sum())
        raw = np.frombuffer(self.take(-(-size // 8)), np.uint8)
        bits = max(1, int(widths.max(initial=0)))
        places = np.zeros((len(widths), bits), np.uint8)
        places[_held(widths, bits)] = np.unpackbits(raw, count=size)
        return places @ (np.int64(1) << np.arange(bits, dtype=np.int64)[::-1])
