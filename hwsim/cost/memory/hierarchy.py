"""An accelerator as a value: its processing elements, its dataflow, and the memories between them and DRAM."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hwsim.errors import HwsimError, unknown

DATAFLOWS = ("weight", "output", "input")
"""Which operand stays in the processing elements."""

_UNITS = {"": 1, "b": 1, "kb": 1000, "mb": 1000**2, "kib": 1024, "mib": 1024**2}
_LARGEST = 1 << 40
_SIZE = re.compile(r"(\d{1,9})x(\d{1,9})", re.ASCII)


@dataclass(frozen=True)
class Array:
    """A systolic array of ``rows`` x ``columns`` multiply-accumulates; ``dataflow`` is one of :data:`DATAFLOWS`."""

    rows: int = 16
    columns: int = 16
    dataflow: str = "weight"

    def __post_init__(self) -> None:
        for what, count in (("rows", self.rows), ("columns", self.columns)):
            if not 1 <= count <= 65536:
                raise HwsimError(
                    f"an array has 1 to 65536 {what} of processing elements, not {count}; write 16"
                )
        if self.dataflow not in DATAFLOWS:
            raise unknown("dataflow", self.dataflow, DATAFLOWS)

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns} {self.dataflow}"

    @classmethod
    def parse(cls, text: str) -> Array:
        """Return the array that a text names.

        >>> Array.parse("8x4 output")
        Array(rows=8, columns=4, dataflow='output')
        """
        size, _, dataflow = text.partition(" ")
        if not dataflow or not _SIZE.fullmatch(size):
            raise HwsimError(f'"{text}" is no array; write rows x columns and what stays in it: 8x8 weight')
        return cls(*parse_array(size), dataflow.strip())

    @property
    def elements(self) -> int:
        """Processing elements, each doing at most one multiply-accumulate a cycle."""
        return self.rows * self.columns

    @property
    def fill_cycles(self) -> int:
        """Cycles of a fold besides one for each operand that streams: see :mod:`hwsim.cost.memory.array`."""
        return 2 * self.rows + self.columns - 2


@dataclass(frozen=True)
class Hierarchy:
    """DRAM behind a bus, and one or two on-chip buffers, the outer one first.

    A DRAM transfer is rounded up to whole bursts of ``burst_bytes`` and moves ``bus_bits`` a cycle of the array's
    clock. With ``double_buffered`` every tile has room twice, and transfers and computation overlap; without it
    they take turns.
    """

    buffers_bytes: tuple[int, ...] = (65536,)
    bus_bits: int = 64
    burst_bytes: int = 64
    double_buffered: bool = True

    def __post_init__(self) -> None:
        if not 1 <= len(self.buffers_bytes) <= 2:
            raise HwsimError(
                f"there are one or two on-chip buffers, not {len(self.buffers_bytes)}; leave one"
            )
        for size in self.buffers_bytes:
            _check("an on-chip buffer holds", size, "bytes, such as 65536")
        if len(self.buffers_bytes) == 2 and self.buffers_bytes[0] < self.buffers_bytes[1]:
            outer, inner = self.buffers_bytes
            raise HwsimError(
                f"the inner buffer of {inner} bytes is larger than the outer one of {outer}; give the larger first"
            )
        _check("the bus to DRAM is", self.bus_bits, "bits wide, such as 64")
        _check("a burst has", self.burst_bytes, "bytes, such as 64")

    @property
    def copies(self) -> int:
        """How often a buffer has room for a tile."""
        return 2 if self.double_buffered else 1


def _check(what: str, value: int, way_out: str) -> None:
    if not 1 <= value <= _LARGEST:
        raise HwsimError(f"{what} 1 to 2^40 {way_out}, not {value}")


@dataclass(frozen=True)
class Accelerator:
    """A systolic array and its memories."""

    array: Array = Array()
    hierarchy: Hierarchy = Hierarchy()


def parse_bytes(text: str) -> int:
    """Return a size in bytes from its text.

    >>> parse_bytes("64KiB"), parse_bytes("64 kB"), parse_bytes("100")
    (65536, 64000, 100)
    """
    match = re.fullmatch(r"(\d{1,15})\s*([KkMm]?i?[Bb]?)", text.strip(), re.ASCII)
    unit = match[2].lower() if match else "?"
    unit = unit if unit.endswith("b") or not unit else f"{unit}b"
    if match is None or unit not in _UNITS:
        raise HwsimError(f'"{text}" is no size of a memory; write 65536, 64KiB or 1MiB')
    return int(match[1]) * _UNITS[unit]


def parse_buffers(text: str) -> tuple[int, ...]:
    """Return the bytes of one buffer or two, the outer one first, from their text.

    >>> parse_buffers("16KiB 1KiB")
    (16384, 1024)
    """
    try:
        sizes = tuple(map(parse_bytes, text.split()))
    except HwsimError:
        sizes = ()
    if len(sizes) not in (1, 2):
        raise HwsimError(f'"{text}" names no buffers; write one size or two, the outer first: 16KiB 1KiB')
    return sizes


def parse_array(text: str) -> tuple[int, int]:
    """Return the rows and columns of an array from its text.

    >>> parse_array("16x8")
    (16, 8)
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise HwsimError(f'"{text}" is no array of processing elements; write rows x columns: 16x16')
    return int(match[1]), int(match[2])
