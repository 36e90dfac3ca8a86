"""What the tiles of one tensor of channel planes move: rows, columns, and the bursts of each transfer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hwsim.cost.memory.operation import Operation, Reach
from hwsim.formats import IntArray


def whole_bursts(bits: int, burst_bits: int) -> int:
    """Return the bits of the bursts of one transfer.

    >>> whole_bursts(65, 64)
    128
    """
    return -(-bits // burst_bits) * burst_bits


@dataclass(frozen=True)
class Planes:
    """A tensor whose channels' elements have ``bits``, and how output rows and columns reach into its own.

    Each unbroken run of a channel's elements in a tile is one transfer of whole bursts; tiles of whole planes are
    one transfer together. In a row that is what lies between the first and the last element needed; rows that the
    stride skips are left out.
    """

    down: Reach
    across: Reach
    bits: tuple[int, ...]
    burst_bits: int

    def moved_bits(self, rows: Cuts, columns: Cuts) -> int:
        """Return the bits of all tiles, moved once each."""
        lines, stretches, _ = self.rows(rows)
        parts, whole, _ = self.columns(columns)
        return lines * parts + whole * stretches

    def rows(self, cuts: Cuts) -> tuple[int, int, int]:
        """Return the rows of all tiles, the bits of those tiles where all columns are taken, and the most rows of one."""
        return _rows(self, cuts)

    def columns(self, cuts: Cuts) -> tuple[int, int, int]:
        """Return the bits of a row of all tiles that lack a column, the number of the others, and the most columns."""
        return _columns(self, cuts)


@dataclass(frozen=True)
class Cuts:
    """The tiles of two loops that together reach rows or columns: (start, stop) of output and kernel ones."""

    outputs: tuple[tuple[int, int], ...]
    kernel: tuple[tuple[int, int], ...] = ((0, 1),)

    def priced(self, reach: Reach, price: IntArray, *, skip: bool) -> IntArray:
        """Return the price of what each tile needs; see :meth:`Reach.priced`."""
        tiles = np.array(self.outputs, np.int64)
        parts = [reach.priced(tiles, low, high, price, skip=skip) for low, high in self.kernel]
        return np.concatenate(parts)


def _run_bits(planes: Planes, length: IntArray) -> IntArray:
    """Return, for each number of elements, the bits of one run of them in every channel."""
    total = np.zeros_like(length)
    for bits, channels in zip(*np.unique(planes.bits, return_counts=True), strict=True):
        total += channels * -(-length * bits // planes.burst_bits) * planes.burst_bits
    return total


def _rows(planes: Planes, cuts: Cuts) -> tuple[int, int, int]:
    lengths, price = _row_prices(planes)
    needed = cuts.priced(planes.down, lengths, skip=True)
    return int(needed.sum()), int(cuts.priced(planes.down, price, skip=True).sum()), int(needed.max())


@lru_cache(maxsize=1024)
def _row_prices(planes: Planes) -> tuple[IntArray, IntArray]:
    lengths = np.arange(planes.down.size + 1, dtype=np.int64)
    price = _run_bits(planes, lengths * planes.across.size)
    price[-1] = whole_bursts(sum(planes.bits) * planes.down.size * planes.across.size, planes.burst_bits)
    return lengths, price


def _columns(planes: Planes, cuts: Cuts) -> tuple[int, int, int]:
    lengths = np.arange(planes.across.size + 1, dtype=np.int64)
    widths = cuts.priced(planes.across, lengths, skip=False)
    part = widths[widths < planes.across.size]
    return int(_run_bits(planes, part).sum()), widths.size - part.size, int(widths.max())


@lru_cache(maxsize=1024)
def input_planes(operation: Operation, burst_bits: int) -> Planes:
    """Return a layer's input."""
    return Planes(operation.reach(0), operation.reach(1), operation.input_bits, burst_bits)


@lru_cache(maxsize=1024)
def output_planes(operation: Operation, burst_bits: int) -> Planes:
    """Return a layer's output."""
    rows, columns = (Reach(trips, trips, 1, 0) for trips in (operation.rows, operation.columns))
    return Planes(rows, columns, operation.output_bits, burst_bits)
