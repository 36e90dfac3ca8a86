"""What one layer moves under a given tiling: counted at every boundary of the hierarchy, in bits.

Between buffers and at the array every bit moved is counted. Over the bus to DRAM whole bursts are: tensors lie
packed in the order (channel, row, column), each unbroken run of a tile is one transfer that starts at a burst's
border, and bursts touched by a misaligned start are not modelled. Weights, sums and tiles of whole planes are
stored in the order in which they are fetched: a pass over them is one transfer.

The tiles of a buffer are visited in the order that the operand it keeps sets, and each tile is fetched at its
place in those loops: a kept tile once while the others pass, any other tile whenever it is needed. A tile of the
inputs is what its outputs need, halos included, padding left out; in an input row that is the stretch from the
first to the last column needed, rows that the stride skips are not fetched. Sums that a tile leaves unfinished
are written and read again at the accumulator's width; finished outputs are written once at their own.

The array takes a tile fold by fold, groups one after another. With stationary weights a fold is as many products as
there are rows by as many output channels as there are columns, and the pixels stream past; with stationary inputs
products by pixels, and the output channels stream; with stationary outputs pixels by output channels, and the
products stream. Whatever is stationary is loaded for each fold, and every row and column takes one element a
cycle, padding from nowhere. A fold takes 2 rows + columns - 2 cycles besides those of the stream: one a row to
load the stationary operand (or to shift the results out), and the skew of the operands. This is the model of
Samajdar, Zhu, Whatmough, Mattina, Krishna, "SCALE-Sim: Systolic CNN Accelerator Simulator" (2018), section III.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hwsim.cost.memory.hierarchy import Array
from hwsim.cost.memory.operation import Operation, Tile, Tiling, spans
from hwsim.cost.memory.planes import Cuts, input_planes, output_planes, whole_bursts
from hwsim.formats import IntArray


@dataclass(frozen=True)
class Moved:
    """Bits that cross one boundary for one image: towards the array, and finished outputs and sums back."""

    weights: int
    inputs: int
    outputs: int
    sums_read: int
    sums_written: int

    @property
    def total(self) -> int:
        return self.weights + self.inputs + self.outputs + self.sums_read + self.sums_written


@dataclass(frozen=True)
class Counted:
    """What a tiling costs: bits over each boundary, DRAM first and the array last, and the array's cycles.

    ``dram`` are the bits of the whole bursts behind the first boundary.
    """

    dram: Moved
    boundaries: tuple[Moved, ...]
    cycles: int


@dataclass(frozen=True)
class _Cut:
    """A layer cut into the tiles of a buffer: the [start, stop) of every loop's intervals, in the order of a tile."""

    groups: IntArray
    outputs: IntArray
    inputs: IntArray
    rows: IntArray
    columns: IntArray
    kernel_rows: IntArray
    kernel_columns: IntArray

    @property
    def pixels(self) -> int:
        return len(self.rows) * len(self.columns)

    @property
    def reductions(self) -> int:
        return len(self.inputs) * len(self.kernel_rows) * len(self.kernel_columns)

    @property
    def window(self) -> tuple[Cuts, Cuts]:
        """The tiles of the loops that reach the input's rows, and those that reach its columns."""
        return (
            Cuts(_pairs(self.rows), _pairs(self.kernel_rows)),
            Cuts(_pairs(self.columns), _pairs(self.kernel_columns)),
        )

    def reduction_folds(self, elements: int) -> int:
        return _folds(elements, self.inputs, self.kernel_rows, self.kernel_columns)

    def pixel_folds(self, elements: int) -> int:
        return _folds(elements, self.rows, self.columns)

    def output_folds(self, elements: int) -> int:
        return _folds(elements, self.outputs)


def _pairs(spans: IntArray) -> tuple[tuple[int, int], ...]:
    return tuple((low, high) for low, high in spans.tolist())


def _folds(elements: int, *loops: IntArray) -> int:
    """Return how many folds of ``elements`` the tiles take together, each filled on its own."""
    sizes = np.ones((), np.int64)
    for intervals in loops:
        sizes = np.multiply.outer(sizes, intervals[:, 1] - intervals[:, 0])
    return int((-(-sizes // elements)).sum())


def _cuts(operation: Operation, tiles: tuple[Tile, ...]) -> Iterator[_Cut]:
    """Yield the layer uncut, then cut by each buffer's tiles inside those of the buffer before."""
    for level in range(len(tiles) + 1):
        yield _Cut(
            *(
                spans(trips, tuple(tile[loop] for tile in tiles[:level]))
                for loop, trips in enumerate(operation.loops)
            )
        )


def count(operation: Operation, tiling: Tiling, array: Array, burst_bits: int = 1) -> Counted:
    """Return what a layer moves over every boundary for one image, and the cycles of its array.

    Shapes and capacities are not checked: :func:`room_bits` says what a tile needs.
    """
    cuts = list(_cuts(operation, tiling.tiles))
    levels = list(zip(cuts, cuts[1:], tiling.kept, strict=False))
    boundaries = tuple(_fetched(operation, *level, 1) for level in levels)
    streamed, cycles = _streamed(operation, cuts[-1], array)
    return Counted(_fetched(operation, *levels[0], burst_bits), (*boundaries, streamed), cycles)


def _fetched(operation: Operation, outer: _Cut, inner: _Cut, kept: str, burst_bits: int) -> Moved:
    """Return what crosses into a buffer of tiles ``inner`` that keeps one operand, from one of tiles ``outer``."""
    weights = (outer if kept == "weights" else inner).pixels
    times = len((outer if kept == "inputs" else inner).outputs)
    visits = (outer if kept == "outputs" else inner).reductions
    sums = whole_bursts(operation.stored_sum_bits, burst_bits) * (visits - 1)
    return Moved(
        whole_bursts(operation.stored_weight_bits, burst_bits) * weights,
        input_planes(operation, burst_bits).moved_bits(*inner.window) * times,
        output_planes(operation, burst_bits).moved_bits(
            Cuts(_pairs(inner.rows)), Cuts(_pairs(inner.columns))
        ),
        sums,
        sums,
    )


def _streamed(operation: Operation, cut: _Cut, array: Array) -> tuple[Moved, int]:
    """Return what crosses between the innermost buffer and the array, and the array's cycles."""
    weights, taps, fill = operation.stored_weight_bits, operation.tap_bits, array.fill_cycles
    match array.dataflow:
        case "weight":
            deep, wide = cut.reduction_folds(array.rows), cut.output_folds(array.columns)
            moved = _moved(operation, weights * cut.pixels, taps * wide, deep)
            cycles = deep * wide * (fill * cut.pixels + operation.pixels)
        case "output":
            deep, wide = cut.pixel_folds(array.rows), cut.output_folds(array.columns)
            moved = _moved(operation, weights * deep, taps * wide, cut.reductions)
            cycles = deep * wide * (fill * cut.reductions + operation.products)
        case _:
            deep, wide = cut.reduction_folds(array.rows), cut.pixel_folds(array.columns)
            moved = _moved(operation, weights * wide, taps * len(cut.outputs), deep)
            cycles = deep * wide * (fill * len(cut.outputs) + operation.outputs)
    return moved, operation.groups * cycles


def _moved(operation: Operation, weights: int, inputs: int, visits: int) -> Moved:
    """Return the traffic where each sum is visited ``visits`` times, the last time to finish it."""
    sums = operation.stored_sum_bits * (visits - 1)
    return Moved(weights, inputs, operation.stored_output_bits, sums, sums)


def room_bits(operation: Operation, tiling: Tiling) -> tuple[int, ...]:
    """Return the bits of the largest tile of each operand together, for each buffer.

    Sums take the accumulator's width, and weights that of the widest output channel.
    """
    return tuple(
        _room(operation, tile, cut)
        for tile, cut in zip(tiling.tiles, list(_cuts(operation, tiling.tiles))[1:], strict=True)
    )


def _room(operation: Operation, tile: Tile, cut: _Cut) -> int:
    tile = Tile(*map(min, tile, operation.loops))
    kernel = tile.inputs * tile.kernel_rows * tile.kernel_columns
    weights = tile.groups * tile.outputs * kernel * max(operation.weight_bits)
    sums = tile.groups * tile.outputs * tile.rows * tile.columns * operation.sum_bits
    planes = input_planes(operation, 1)
    rows, columns = cut.window
    window = planes.rows(rows)[2] * planes.columns(columns)[2]
    return weights + sums + window * operation.widest_channels(cut.groups, cut.inputs)
