"""One layer with weights as a nest of loops over tensors of given widths, and the tiles its loops are cut into."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from hwsim.formats import IntArray

KEPT = ("weights", "inputs", "outputs")
"""The operand whose tile stays in a buffer while the tiles of the others pass: the order of the loops over tiles.

Kept weights: loops over pixels are innermost; inputs: those over output channels; outputs: those over products.
Loops over groups are outermost. Any order of the loops that is not among the three fetches no tile less often
than one of them.
"""


class Tile(NamedTuple):
    """How far each loop goes inside a tile; channels are those of one group."""

    groups: int
    outputs: int
    inputs: int
    rows: int
    columns: int
    kernel_rows: int
    kernel_columns: int

    def __str__(self) -> str:
        sizes = zip("gkcpqrs", self, strict=True)
        return " ".join(f"{name}{size}" for name, size in sizes)


@dataclass(frozen=True)
class Tiling:
    """The tile of each buffer and the operand it keeps, the outer buffer first."""

    tiles: tuple[Tile, ...]
    kept: tuple[str, ...]


@dataclass(frozen=True)
class Operation:
    """A convolution as loops: ``groups`` of ``outputs`` channels over ``inputs`` channels, output ``rows`` x
    ``columns``, kernel ``kernel_rows`` x ``kernel_columns``.

    ``height`` and ``width`` are the input's, ``padding`` its (top, left) zeros, ``dilation`` the rows and columns from
    one tap of the kernel to the next. ``input_bits`` and ``output_bits``
    hold an element's width in each channel of all groups, in order, ``weight_bits`` a weight's in each output
    channel; a channel of 0 bits is not stored.
    """

    groups: int
    outputs: int
    inputs: int
    rows: int
    columns: int
    kernel_rows: int
    kernel_columns: int
    height: int
    width: int
    stride: tuple[int, int]
    padding: tuple[int, int]
    weight_bits: tuple[int, ...]
    input_bits: tuple[int, ...]
    output_bits: tuple[int, ...]
    sum_bits: int
    dilation: tuple[int, int] = (1, 1)

    @property
    def loops(self) -> Tile:
        """The trips of all loops: the tile that is the whole layer."""
        return Tile(
            self.groups,
            self.outputs,
            self.inputs,
            self.rows,
            self.columns,
            self.kernel_rows,
            self.kernel_columns,
        )

    @property
    def products(self) -> int:
        """Products summed into one output."""
        return self.inputs * self.kernel_rows * self.kernel_columns

    @property
    def pixels(self) -> int:
        return self.rows * self.columns

    @property
    def macs(self) -> int:
        """Multiply-accumulates, those with padding counted."""
        return self.groups * self.outputs * self.products * self.pixels

    @property
    def stored_weight_bits(self) -> int:
        return sum(self.weight_bits) * self.products

    @property
    def stored_output_bits(self) -> int:
        return sum(self.output_bits) * self.pixels

    @property
    def stored_sum_bits(self) -> int:
        """Bits of all partial sums at the accumulator's width."""
        return self.groups * self.outputs * self.pixels * self.sum_bits

    def reach(self, axis: int) -> Reach:
        """Return how the output's rows (axis 0) or columns (axis 1) reach into the input's."""
        trips, size = ((self.rows, self.height), (self.columns, self.width))[axis]
        return Reach(trips, size, self.stride[axis], self.padding[axis], self.dilation[axis])

    def widest_channels(self, groups: IntArray, inputs: IntArray) -> int:
        """Return the widths of all channels together of the widest tile; tiles are [start, stop) of the two loops."""
        before = _sums_before(self)
        (top, bottom), (left, right) = groups.T, inputs.T
        tiles = before[bottom][:, right] - before[top][:, right] - before[bottom][:, left]
        return int((tiles + before[top][:, left]).max())

    @property
    def tap_bits(self) -> int:
        """Bits read if every product fetched its own input element, padding left out, for one output channel."""
        rows, columns = (
            self.reach(axis).taps(kernel)
            for axis, kernel in ((0, self.kernel_rows), (1, self.kernel_columns))
        )
        return sum(self.input_bits) * rows * columns


@lru_cache(maxsize=1024)
def _sums_before(operation: Operation) -> IntArray:
    """Return the widths of all channels before each place, [groups + 1, inputs + 1]."""
    before = np.zeros((operation.groups + 1, operation.inputs + 1), np.int64)
    widths = np.reshape(operation.input_bits, (operation.groups, operation.inputs))
    before[1:, 1:] = widths.cumsum(axis=0).cumsum(axis=1)
    return before


@dataclass(frozen=True)
class Reach:
    """Which of ``size`` input rows the ``trips`` output rows need.

    Output row y and kernel row k need ``y * stride - padding + k * dilation``, unless that is padding.
    """

    trips: int
    size: int
    stride: int
    padding: int
    dilation: int = 1

    def _rows(self, low: int, high: int) -> IntArray:
        """Return the input row of each output row and kernel row from ``low`` to ``high`` - 1."""
        tops = np.arange(self.trips, dtype=np.int64) * self.stride - self.padding
        return tops[:, None] + self.dilation * np.arange(low, high, dtype=np.int64)

    def taps(self, kernel: int) -> int:
        """Return the (output row, kernel row) pairs of ``kernel`` rows that are no padding."""
        rows = self._rows(0, kernel)
        return int(((rows >= 0) & (rows < self.size)).sum())

    def priced(self, tiles: IntArray, low: int, high: int, price: IntArray, *, skip: bool) -> IntArray:
        """Return the ``price`` of the input rows that each tile [n, 2] of output rows needs.

        Kernel rows are ``low`` to ``high`` - 1, padding is not needed. ``price`` [size + 1] is that of a stretch of
        rows by its length. Rows between needed ones that none needs are left out where ``skip``, each stretch
        priced on its own; else they count as needed.
        """
        before = _needed_before(self, low, high)
        needed = before[tiles[:, 1]] > before[tiles[:, 0]]
        if not skip:
            needed = (
                np.logical_or.accumulate(needed, 1) & np.logical_or.accumulate(needed[:, ::-1], 1)[:, ::-1]
            )
        edges = np.diff(needed, prepend=False, append=False)
        tile, ends = np.nonzero(edges)
        total = np.zeros(len(tiles), np.int64)
        np.add.at(total, tile[::2], price[ends[1::2] - ends[::2]])
        return total


@lru_cache(maxsize=64)
def _needed_before(reach: Reach, low: int, high: int) -> IntArray:
    """Return how many output rows before each need each input row, [trips + 1, size]."""
    rows = reach._rows(low, high)
    places, taps = np.nonzero((rows >= 0) & (rows < reach.size))
    needs = np.zeros((reach.trips + 1, reach.size), np.int32)
    needs[places + 1, rows[places, taps]] = 1
    return needs.cumsum(axis=0, dtype=np.int32)


def spans(trips: int, sizes: tuple[int, ...]) -> IntArray:
    """Return the [start, stop) of the innermost tiles of a loop, [n, 2]; ``sizes`` are the tiles', outer first.

    >>> spans(7, (4, 3)).tolist()
    [[0, 3], [3, 4], [4, 7]]
    """
    places = np.arange(trips, dtype=np.int64)
    starts = places == 0
    for size in sizes:
        inside = places - np.maximum.accumulate(np.where(starts, places, 0))
        starts = starts | (inside % size == 0)
    return np.array(list(pairwise([*np.flatnonzero(starts).tolist(), trips])), np.int64)
