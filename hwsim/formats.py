"""Number formats: small frozen values whose text is their name everywhere.

``int8`` and ``uint4`` are two's complement and unsigned integers; ``pow2x4`` is a signed power of two
in 4 bits with a zero code. The text is the file form, the test id and the word in an error message.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError

IntArray = npt.NDArray[np.int64]


class Overflow(StrEnum):
    """What an accumulator does with a sum outside its range."""

    WRAP = "wrap"
    SATURATE = "saturate"


class Rounding(StrEnum):
    """How a right shift drops its fraction: towards minus infinity, or to nearest with ties up or to even."""

    FLOOR = "floor"
    HALF_UP = "half_up"
    HALF_EVEN = "half_even"


@dataclass(frozen=True, order=True)
class Int:
    """A two's complement (``int8``) or unsigned (``uint8``) integer of 1 to 64 bits.

    >>> str(Int(4, signed=False)), Int(8).minimum, Int(8).maximum
    ('uint4', -128, 127)
    """

    bits: int
    signed: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 64:
            raise HwsimError(f"an integer format has 1 to 64 bits, not {self.bits}; write int8 or uint8, say")

    def __str__(self) -> str:
        return f"{'int' if self.signed else 'uint'}{self.bits}"

    @property
    def minimum(self) -> int:
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def maximum(self) -> int:
        return (1 << (self.bits - self.signed)) - 1

    def encode(self, values: IntArray) -> IntArray:
        """Return the bit patterns (unsigned, in the low ``bits``) of ``values``; refuse what does not fit."""
        values = np.asarray(values, np.int64)
        if values.size and (values.min() < self.minimum or values.max() > self.maximum):
            raise HwsimError(f"values {values.min()} to {values.max()} do not fit {self}")
        return values & ((1 << self.bits) - 1) if self.bits < 64 else values

    def decode(self, codes: IntArray) -> IntArray:
        """Return the values of bit patterns; the inverse of :meth:`encode`."""
        codes = np.asarray(codes, np.int64)
        if not self.signed or self.bits == 64:
            return codes
        return codes - ((codes >> (self.bits - 1)) << self.bits)


@dataclass(frozen=True, order=True)
class PowerOfTwo:
    """Zero or a signed power of two: a sign bit above an exponent code e; 0 means 0, else +-2^(e-1).

    ``pow2x4`` holds 0, +-1, +-2, ... +-64. Two to five bits: the largest magnitude is 2^(2^(bits-1)-2).

    >>> PowerOfTwo(3).levels.tolist()
    [-4, -2, -1, 0, 1, 2, 4]
    """

    bits: int

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 5:
            raise HwsimError(f"a power-of-two format has 2 to 5 bits, not {self.bits}; write pow2x4, say")

    def __str__(self) -> str:
        return f"pow2x{self.bits}"

    @property
    def signed(self) -> bool:
        return True

    @property
    def maximum(self) -> int:
        return 1 << ((1 << (self.bits - 1)) - 2)

    @property
    def minimum(self) -> int:
        return -self.maximum

    @property
    def levels(self) -> IntArray:
        """All representable values, ascending."""
        positive = np.int64(1) << np.arange((1 << (self.bits - 1)) - 1, dtype=np.int64)
        return np.concatenate([-positive[::-1], [0], positive])

    def encode(self, values: IntArray) -> IntArray:
        """Return the code words of ``values``; refuse a value that is no level. Zero is all zero bits."""
        values = np.asarray(values, np.int64)
        wrong = values[~np.isin(values, self.levels)]
        if wrong.size:
            raise HwsimError(f"value {wrong.flat[0]} is no level of {self}: 0 or +-2^e up to {self.maximum}")
        exponent = np.searchsorted(self.levels, np.abs(values)) - (self.levels.size // 2)
        return np.where(values < 0, 1 << (self.bits - 1), 0) | exponent

    def decode(self, codes: IntArray) -> IntArray:
        """Return the values of code words; the sign of a zero code is ignored."""
        codes = np.asarray(codes, np.int64)
        exponent = codes & ((1 << (self.bits - 1)) - 1)
        magnitude = np.where(exponent > 0, np.int64(1) << np.maximum(exponent - 1, 0), 0)
        return np.where(codes >> (self.bits - 1) & 1, -magnitude, magnitude)


Format = Int | PowerOfTwo

_TEXT = re.compile(r"(u?int|pow2x)(\d{1,3})", re.ASCII)


def parse_format(text: str) -> Format:
    """Return the format a text names: ``int8``, ``uint4``, ``pow2x4``.

    >>> parse_format("uint4")
    Int(bits=4, signed=False)
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        raise HwsimError(f'unknown number format "{text}"; write int8, uint4 or pow2x4')
    kind, bits = match[1], int(match[2])
    return PowerOfTwo(bits) if kind == "pow2x" else Int(bits, signed=kind == "int")


def parse_int(text: str) -> Int:
    """Return the integer format a text names; a power of two is refused."""
    parsed = parse_format(text)
    if not isinstance(parsed, Int):
        raise HwsimError(f'"{text}" is no integer format; write int8 or uint8, say')
    return parsed
