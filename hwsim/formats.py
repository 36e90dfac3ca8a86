"""Number formats: small frozen values whose text is their name everywhere.

``int8`` and ``uint4`` are two's complement and unsigned integers; ``pow2x4`` is a signed power of two
in 4 bits with a zero code, ``apot4`` a sum of two powers of two, ``focused5`` the 5-bit symbols of focused
quantization. The text is the file form, the test id and the word in an error message.
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


@dataclass(frozen=True, order=True)
class AdditivePowersOfTwo:
    """A signed sum of powers of two, each of a set of its own: the levels of APoT in integers.

    A sign bit above a code of two bits for each of the ``terms``, 0 meaning 0 and else one of three powers; a width
    that leaves one bit over has a last term of a single power. 4 and 5 bits have two terms, 6 and 7 three. Narrower
    ones are single powers of two, ``pow2x3``.

    Li, Dong, Wang, "Additive Powers-of-Two Quantization" (ICLR 2020), equation 5 with base bit-width k = 2: of n terms,
    term i is 0, 2^-i, 2^-(i+n) or 2^-(i+2n). With a bit left over, as the authors' code has it (yhhhli/APoT_Quantization,
    build_power_value), 2^-(i+2n+1) stands for 2^-(i+2n) and the last term is 0 or 2^-2n. Here all are multiplied by the
    power that makes the smallest of them 1; their gamma is part of the scale.

    >>> AdditivePowersOfTwo(4).levels[7:].tolist()
    [0, 1, 2, 3, 4, 6, 8, 10]
    >>> AdditivePowersOfTwo(5).levels[15:].tolist()
    [0, 1, 2, 3, 4, 6, 8, 9, 12, 16, 18, 24, 32, 33, 36, 48]
    """

    bits: int

    def __post_init__(self) -> None:
        if not 4 <= self.bits <= 7:
            raise HwsimError(
                f"a format of additive powers of two has 4 to 7 bits, not {self.bits}; write apot4, say, or pow2x3"
            )

    def __str__(self) -> str:
        return f"apot{self.bits}"

    @property
    def signed(self) -> bool:
        return True

    @property
    def terms(self) -> tuple[tuple[int, ...], ...]:
        """The exponents of each term, ascending; the code words count them from 1, the first term's bits lowest.

        >>> AdditivePowersOfTwo(4).terms, AdditivePowersOfTwo(5).terms
        (((0, 2, 3), (1,)), ((1, 3, 5), (0, 2, 4)))
        """
        count, odd = divmod(self.bits - 1, 2)
        top = 3 * count - 1 + odd
        terms = [(top - i - 2 * count - odd, top - i - count, top - i) for i in range(count)]
        return (*terms, (top - 2 * count,)) if odd else tuple(terms)

    @property
    def maximum(self) -> int:
        return sum(1 << exponents[-1] for exponents in self.terms)

    @property
    def minimum(self) -> int:
        return -self.maximum

    @property
    def levels(self) -> IntArray:
        """All representable values, ascending."""
        positive = np.sort(self.decode(np.arange(1 << (self.bits - 1), dtype=np.int64)))
        return np.concatenate([-positive[:0:-1], positive])

    def encode(self, values: IntArray) -> IntArray:
        """Return the code words of ``values``; refuse a value that is no level. Zero is all zero bits."""
        values = np.asarray(values, np.int64)
        wrong = values[~np.isin(values, self.levels)]
        if wrong.size:
            raise HwsimError(f"value {wrong.flat[0]} is no level of {self}, which ends at {self.maximum}")
        magnitudes = self.decode(np.arange(1 << (self.bits - 1), dtype=np.int64))
        order = np.argsort(magnitudes)
        codes = order[np.searchsorted(magnitudes, np.abs(values), sorter=order)]
        return np.where(values < 0, 1 << (self.bits - 1), 0) | codes

    def decode(self, codes: IntArray) -> IntArray:
        """Return the values of code words; the sign of a zero code is ignored."""
        codes = np.asarray(codes, np.int64)
        magnitude, place = np.zeros_like(codes), 0
        for exponents in self.terms:
            powers = np.array([0, *(1 << exponent for exponent in exponents)], np.int64)
            magnitude = magnitude + powers[codes >> place & (powers.size - 1)]
            place += powers.size // 2
        return np.where(codes >> (self.bits - 1) & 1, -magnitude, magnitude)


@dataclass(frozen=True, order=True)
class Half:
    """A binary floating-point number of IEEE 754: ``fp16`` is half precision, ``e3m2`` a narrow relative of it.

    A value is its bit pattern, a non-negative integer: sign, ``exponent`` bits, ``fraction`` bits, with
    subnormals, infinities and one NaN. Without ``signed`` (``ufp16``) the sign bit, which is 0, is not there.

    >>> str(Half()), Half().infinity, Half(signed=False).bits
    ('fp16', 31744, 15)
    """

    exponent: int = 5
    fraction: int = 10
    signed: bool = True

    def __post_init__(self) -> None:
        if not (2 <= self.exponent <= 5 and 1 <= self.fraction <= self.bias and self.fraction <= 10):
            raise HwsimError(
                f"a float of {self.exponent} exponent and {self.fraction} fraction bits is out of range; "
                "give 2 to 5 and 1 to 10, the fraction at most 2^(exponent - 1) - 1"
            )

    def __str__(self) -> str:
        name = "fp16" if (self.exponent, self.fraction) == (5, 10) else f"e{self.exponent}m{self.fraction}"
        return name if self.signed else f"u{name}"

    @property
    def bits(self) -> int:
        return self.signed + self.exponent + self.fraction

    @property
    def minimum(self) -> int:
        """The smallest pattern."""
        return 0

    @property
    def maximum(self) -> int:
        """The largest pattern."""
        return (1 << self.bits) - 1

    @property
    def bias(self) -> int:
        """What is taken from the exponent field: the field of 1.0."""
        return (1 << (self.exponent - 1)) - 1

    @property
    def point(self) -> int:
        """Every finite value is a multiple of 2^-point."""
        return self.bias + self.fraction - 1

    @property
    def infinity(self) -> int:
        """The pattern of plus infinity, the smallest one that is no finite value."""
        return ((1 << self.exponent) - 1) << self.fraction

    @property
    def nan(self) -> int:
        """The pattern of the NaN that operations return."""
        return self.infinity | 1 << (self.fraction - 1)

    @property
    def pattern(self) -> Int:
        """The integer format of the bit patterns: that of a circuit's port."""
        return Int(self.bits, signed=False)


HALF = Half()
"""IEEE half precision."""

Levels = PowerOfTwo | AdditivePowersOfTwo
"""A format whose values are not evenly spaced: it lists them."""

Format = Int | Levels
TensorFormat = Int | Half


@dataclass(frozen=True, order=True)
class Focused:
    """The symbols of focused quantization: zero, or a power of two that may be centred on one of two means.

    A layer has one of two alphabets. *Recentralized*: a bit for the mean, a sign and an exponent code e of bits - 2
    bits, 0 meaning 0 and else +-2^(e-1), up to 2^(bits-3) exponents; all zero bits are a pruned weight, and a
    sign without exponent is a weight equal to its mean. *Plain*: a sign and an exponent code of bits - 1 bits, up to
    2^(bits-2) exponents. Powers above 2^14 are left out: the circuits hold at most 15 exponents.

    >>> Focused(5).exponents(recentralized=True), Focused(5).exponents(recentralized=False), Focused(5).symbols
    (4, 8, 19)
    """

    bits: int

    def __post_init__(self) -> None:
        if not 4 <= self.bits <= 7:
            raise HwsimError(f"a focused format has 4 to 7 bits, not {self.bits}; write focused5, say")

    def __str__(self) -> str:
        return f"focused{self.bits}"

    @property
    def signed(self) -> bool:
        return True

    @property
    def symbols(self) -> int:
        """How many code words of the recentralized alphabet mean something."""
        return 2 * (2 * self.exponents(recentralized=True) + 1) + 1

    def exponents(self, *, recentralized: bool) -> int:
        """Return how many powers of two an alphabet has."""
        return min(1 << (self.bits - 3 if recentralized else self.bits - 2), 15)

    def shift(self, *, recentralized: bool) -> PowerOfTwo:
        """Return the narrowest power-of-two format that holds an alphabet's powers."""
        return PowerOfTwo(1 + self.exponents(recentralized=recentralized).bit_length())

    def encode(self, values: IntArray, masks: IntArray | None = None) -> IntArray:
        """Return the symbols of ``values``, 0 or +-2^e, of a plain layer, or with ``masks`` of a recentralized one.

        ``masks`` are 1 where a weight is centred on the first and on the second mean, [2, *values.shape]. Refused are
        other values, a weight that is centred on both, and one that is not 0 but centred on neither.
        """
        values = np.asarray(values, np.int64)
        form = self.shift(recentralized=masks is not None)
        exponent = form.encode(values) & ((1 << (form.bits - 1)) - 1)
        if exponent.max(initial=0) > self.exponents(recentralized=masks is not None):
            raise HwsimError(f"value {np.abs(values).max()} is above the powers of two of {self}")
        negative = values < 0
        if masks is None:
            return exponent | np.where(negative, 1 << (self.bits - 1), 0)
        centred = np.asarray(masks, np.int64).sum(axis=0)
        if masks.shape != (2, *values.shape) or (centred > 1).any() or (values[centred == 0] != 0).any():
            raise HwsimError(f"the two masks of {self} do not each say which weights are centred on a mean")
        sign = negative | ((values == 0) & (centred == 1))
        symbols: IntArray = exponent | np.where(sign, 1 << (self.bits - 2), 0) | (masks[1] << (self.bits - 1))
        return symbols

    def decode(self, symbols: IntArray, *, recentralized: bool) -> tuple[IntArray, IntArray | None]:
        """Return the values of symbols and, of a recentralized layer, its masks; the inverse of :meth:`encode`."""
        symbols = np.asarray(symbols, np.int64)
        sign_place = self.bits - (2 if recentralized else 1)
        exponent = symbols & ((1 << sign_place) - 1)
        sign = symbols >> sign_place & 1
        power = np.where(exponent > 0, np.int64(1) << np.maximum(exponent - 1, 0), 0)
        values = np.where(sign == 1, -power, power)
        if not recentralized:
            return values, None
        present, second = (exponent > 0) | (sign == 1), symbols >> (self.bits - 1) & 1
        return values, np.stack([present & (second == 0), present & (second == 1)]).astype(np.int64)


WeightFormat = Format | Focused
"""What a layer's weights can be; a port has a :data:`Format`."""

_TEXT = re.compile(r"(u?int|pow2x|apot|focused)(\d{1,3})", re.ASCII)
_LISTED: dict[str, type[Levels | Focused]] = {
    "pow2x": PowerOfTwo,
    "apot": AdditivePowersOfTwo,
    "focused": Focused,
}


def parse_weight(text: str) -> WeightFormat:
    """Return the weight format a text names: ``int8``, ``pow2x4``, ``apot4``, ``focused5``.

    >>> parse_weight("focused5")
    Focused(bits=5)
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        raise HwsimError(f'unknown number format "{text}"; write int8, uint4, pow2x4, apot4 or focused5')
    kind, bits = match[1], int(match[2])
    return _LISTED[kind](bits) if kind in _LISTED else Int(bits, signed=kind == "int")


def parse_format(text: str) -> Format:
    """Return the format of a port that a text names: ``int8``, ``uint4``, ``pow2x4``, ``apot4``.

    >>> parse_format("uint4")
    Int(bits=4, signed=False)
    """
    match = _TEXT.fullmatch(text)
    if match is None or match[1] == "focused":
        raise HwsimError(f'unknown number format "{text}"; write int8, uint4, pow2x4 or apot4')
    parsed = parse_weight(text)
    assert not isinstance(parsed, Focused)
    return parsed


_HALF = re.compile(r"(u?)(?:fp16|e(\d)m(\d{1,2}))", re.ASCII)


def parse_tensor_format(text: str) -> TensorFormat:
    """Return the format of a tensor that a text names: an integer's or ``fp16``, ``ufp16``.

    >>> parse_tensor_format("ufp16").bits
    15
    """
    match = _HALF.fullmatch(text)
    if match is None:
        return parse_int(text)
    widths = (int(match[2]), int(match[3])) if match[2] else (5, 10)
    return Half(*widths, signed=not match[1])


def parse_int(text: str) -> Int:
    """Return the integer format a text names; any other is refused."""
    parsed = parse_format(text)
    if not isinstance(parsed, Int):
        raise HwsimError(f'"{text}" is no integer format; write int8 or uint8, say')
    return parsed
