"""The best tiling of a layer: all tile sizes and all orders of the loops over tiles, compared exactly.

To minimise "traffic" is to ask for the least DRAM traffic, then the least traffic between the innermost buffer and
the array, then the fewest cycles; to minimise "time" for the fewest cycles of array and DRAM together, then the
least traffic. What is equal in all goes to the larger tiles. Tiles of every size are tried in every loop, also where
a size does not divide the loop. Output channels are no loop of the search: what fits beside the other loops' tiles
bounds their tile, and below that bound only sizes can be best that no smaller number of tiles and of folds rules out.

With two buffers the outer tiling is decided first: least DRAM traffic, then fewest tiles, evenly split. The inner
one is the best inside it, by traffic between the buffers (or by time) and then as above.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hwsim.cost.memory.hierarchy import Accelerator, Hierarchy
from hwsim.cost.memory.operation import KEPT, Operation, Tile, Tiling, spans
from hwsim.cost.memory.planes import Cuts, input_planes, output_planes, whole_bursts
from hwsim.errors import HwsimError
from hwsim.formats import IntArray

OBJECTIVES = ("traffic", "time")


@lru_cache(maxsize=4096)
def best_tiling(operation: Operation, accelerator: Accelerator, minimise: str = "traffic") -> Tiling:
    """Return the best tiling of a layer; ``minimise`` is one of :data:`OBJECTIVES`.

    Raises :class:`HwsimError` where a buffer cannot hold one element of each operand, naming the bytes it needs.
    """
    hierarchy = accelerator.hierarchy
    tiling = Tiling((), ())
    for level, size in enumerate(hierarchy.buffers_bytes):
        innermost = level == len(hierarchy.buffers_bytes) - 1
        found = _Level(operation, tiling.tiles, level, accelerator, minimise if innermost else "").best()
        if found is None:
            needed = hierarchy.copies * _least_bits(operation)
            raise HwsimError(
                f"a buffer of {size} bytes holds no tile, the smallest takes {-(-needed // 8)} bytes; give a larger buffer"
            )
        tiling = Tiling((*tiling.tiles, found.tile), (*tiling.kept, found.kept))
    return tiling


def _least_bits(operation: Operation) -> int:
    return max(operation.weight_bits) + max(operation.input_bits) + operation.sum_bits


def elapsed(array_cycles: IntArray, dram_bits: IntArray, hierarchy: Hierarchy) -> IntArray:
    """Return the cycles of array and DRAM: at the same time where tiles are double-buffered, else in turns."""
    dram_cycles = -(-dram_bits // hierarchy.bus_bits)
    both = np.maximum(array_cycles, dram_cycles) if hierarchy.double_buffered else array_cycles + dram_cycles
    return np.asarray(both, np.int64)


@dataclass(frozen=True)
class _Loop:
    """Tile sizes of one loop, largest first, and what each cuts the loop into.

    ``lengths`` and ``counts`` [kinds, sizes]: a tile size gives ``counts`` intervals of ``lengths``, edges included.
    """

    trips: int
    outer: int
    sizes: IntArray
    lengths: IntArray
    counts: IntArray

    @property
    def tiles(self) -> IntArray:
        """How many intervals each size gives."""
        total: IntArray = self.counts.sum(axis=0)
        return total

    def cut(self, size: int) -> tuple[tuple[int, int], ...]:
        """Return the [start, stop) of the intervals of one size."""
        return tuple((low, high) for low, high in spans(self.trips, (self.outer, size)).tolist())


def _loop(trips: int, outer: int) -> _Loop:
    """Return all tile sizes inside outer tiles of a size."""
    outer = min(trips, outer)
    sizes = np.arange(outer, 0, -1, dtype=np.int64)
    lengths, counts = [], []
    for length, count in ((outer, trips // outer), (trips % outer, 1)):
        lengths += [sizes, length % sizes]
        counts += [count * (length // sizes), np.where(length % sizes, count, 0)]
    return _Loop(trips, outer, sizes, np.array(lengths), np.array(counts))


def _folds(elements: int, loop: _Loop, times: int = 1) -> IntArray:
    """Return the folds of ``elements`` of every tile size of a loop, each interval ``times`` as long."""
    total: IntArray = (loop.counts * -(-loop.lengths * times // elements)).sum(axis=0)
    return total


def _folds_of_two(elements: int, first: _Loop, second: _Loop) -> IntArray:
    """Return the folds of ``elements`` of every pair of tile sizes of two loops."""
    total = np.zeros((first.sizes.size, second.sizes.size), np.int64)
    for length, count in zip(first.lengths, first.counts, strict=True):
        for other, many in zip(second.lengths, second.counts, strict=True):
            total += np.multiply.outer(count, many) * -(-np.multiply.outer(length, other) // elements)
    return total


@dataclass(frozen=True)
class _Best:
    """A tile, the operand its buffer keeps, and what decides: less is better."""

    cost: tuple[int, ...]
    tile: Tile
    kept: str


@dataclass(frozen=True)
class _Tried:
    """Tiles that fit, as places in the sizes of their loops, and what each costs.

    ``inputs`` and ``results`` are the bits of all tiles of inputs and of finished outputs, ``pixels`` and
    ``reductions`` the tiles of those loops, ``most`` the largest tile of output channels that fits.
    """

    kernel: tuple[int, int]
    group: IntArray
    channel: IntArray
    pixel: IntArray
    inputs: IntArray
    results: IntArray
    pixels: IntArray
    reductions: IntArray
    most: IntArray


class _Level:
    """The search of one buffer's tiles inside those of the buffer around it.

    ``minimise`` is "" for a buffer with another one inside.
    """

    def __init__(
        self,
        operation: Operation,
        outer: tuple[Tile, ...],
        level: int,
        accelerator: Accelerator,
        minimise: str,
    ) -> None:
        hierarchy = accelerator.hierarchy
        self.operation, self.minimise = operation, minimise
        self.array, self.hierarchy = accelerator.array, hierarchy
        self.room = 8 * hierarchy.buffers_bytes[level] // hierarchy.copies
        self.burst_bits = 1 if level else 8 * hierarchy.burst_bytes
        self.bus = 0 if level else 1
        self.found: _Best | None = None
        limit = outer[-1] if outer else operation.loops
        self.loops = [_loop(*sizes) for sizes in zip(operation.loops, limit, strict=True)]
        self.groups, self.outputs, self.inputs, self.rows, self.columns, self.high, self.wide = self.loops
        around = Tile(*(-(-loop.trips // loop.outer) for loop in self.loops))
        self.outer_outputs, self.outer_pixels = around.outputs, around.rows * around.columns
        self.outer_reductions = around.inputs * around.kernel_rows * around.kernel_columns
        self._tabulate()

    def _tabulate(self) -> None:
        """Work out what does not depend on the kernel's tile."""
        op, array = self.operation, self.array
        self.weight_bits = whole_bursts(op.stored_weight_bits, self.burst_bits)
        self.sum_bits = whole_bursts(op.stored_sum_bits, self.burst_bits)
        self.tap_bits = op.tap_bits
        self.channel_bits = self._channel_bits()
        self.output_folds = _folds(array.columns, self.outputs)
        elements = array.columns if array.dataflow == "input" else array.rows
        self.pixel_folds = _folds_of_two(elements, self.rows, self.columns).ravel()
        self.choices = self._output_tiles()
        planes = output_planes(op, self.burst_bits)
        rows = _tables(planes.rows, self.rows, ((0, 1),))
        columns = _tables(planes.columns, self.columns, ((0, 1),))
        self.result_bits = _all_tiles(rows, columns)
        self.planes = input_planes(op, self.burst_bits)
        self.row_tables = [
            _tables(self.planes.rows, self.rows, self.high.cut(int(size))) for size in self.high.sizes
        ]
        self.column_tables = [
            _tables(self.planes.columns, self.columns, self.wide.cut(int(size))) for size in self.wide.sizes
        ]

    def best(self) -> _Best | None:
        """Return the best tile; None where none fits."""
        for high in range(self.high.sizes.size):
            for wide in range(self.wide.sizes.size):
                self._try_kernel(high, wide)
        return self.found

    def _channel_bits(self) -> IntArray:
        """Return the width of the widest input tile of each size [groups, inputs]: its channels' widths together."""
        op = self.operation
        widths = np.reshape(op.input_bits, (op.groups, op.inputs))
        if (widths == widths[0, 0]).all():
            return np.multiply.outer(self.groups.sizes, self.inputs.sizes) * int(widths[0, 0])
        groups, inputs = (
            [np.array(loop.cut(int(size))) for size in loop.sizes] for loop in (self.groups, self.inputs)
        )
        return np.array([[op.widest_channels(g, c) for c in inputs] for g in groups], np.int64)

    def _output_tiles(self) -> list[IntArray]:
        """Return places of tiles of output channels by the largest that fits: one of them is the best below it.

        They are those that no other below the bound has both fewer tiles and fewer folds than; the smallest of
        equals, which is the evenest.
        """
        costs = list(zip(self.outputs.tiles.tolist(), self.output_folds.tolist(), strict=True))
        if not self.minimise or self.array.dataflow == "input":
            costs = [(tiles, 0) for tiles, _ in costs]
        fronts: list[list[int]] = [[]]
        for place in range(len(costs) - 1, -1, -1):
            better = [p for p in fronts[-1] if _no_worse(costs[p], costs[place])]
            kept = [p for p in fronts[-1] if not _no_worse(costs[place], costs[p])]
            fronts.append(fronts[-1] if better else [*kept, place])
        most = max(map(len, fronts))
        return [
            np.array([front[min(n, len(front) - 1)] if front else 0 for front in fronts]) for n in range(most)
        ]

    def _try_kernel(self, high: int, wide: int) -> None:
        """Try all tiles with one size of the kernel's loops."""
        rows, columns = self.row_tables[high], self.column_tables[wide]
        inputs = _all_tiles(rows, columns)
        if self.found is not None and self.minimise != "time":
            least = self.weight_bits * self.outer_pixels + int(inputs.min()) * self.outer_outputs
            if least + int(self.result_bits.min()) > self.found.cost[0]:
                return
        self._try_tiles(high, wide, inputs, np.multiply.outer(rows[2], columns[2]))

    def _try_tiles(self, high: int, wide: int, inputs: IntArray, window: IntArray) -> None:
        """Try all tiles of channels, rows and columns with one size of the kernel's loops.

        ``inputs`` [rows, columns] are the bits of all input tiles, ``window`` the places of the largest.
        """
        op, taps = self.operation, int(self.high.sizes[high] * self.wide.sizes[wide])
        weights = np.multiply.outer(self.groups.sizes, self.inputs.sizes) * (taps * max(op.weight_bits))
        pixels = np.multiply.outer(self.rows.sizes, self.columns.sizes).ravel()
        sums = np.multiply.outer(self.groups.sizes, pixels) * op.sum_bits
        left = self.room - self.channel_bits[:, :, None] * window.ravel()
        fits = np.minimum(left // (weights[:, :, None] + sums[:, None, :]), self.outputs.sizes[0])
        places = np.flatnonzero(fits.ravel() > 0)
        if not places.size:
            return
        group, channel, pixel = np.unravel_index(places, fits.shape)
        reductions = self.inputs.tiles * int(self.high.tiles[high] * self.wide.tiles[wide])
        tried = _Tried(
            kernel=(high, wide),
            group=group,
            channel=channel,
            pixel=pixel,
            inputs=inputs.ravel()[pixel],
            results=self.result_bits.ravel()[pixel],
            pixels=np.multiply.outer(self.rows.tiles, self.columns.tiles).ravel()[pixel],
            reductions=reductions[channel],
            most=fits.ravel()[places],
        )
        for kept in KEPT:
            for choice in self.choices:
                self._compare(kept, tried, choice[tried.most])

    def _compare(self, kept: str, tried: _Tried, outputs: IntArray) -> None:
        """Keep the best of what is tried, with these tiles of output channels, if it is better than what was found."""
        moved = self._moved(kept, tried, outputs)
        if self.minimise == "time":
            behind = self._behind(tried, np.arange(moved.size), outputs)
            first = elapsed(behind[1], moved * self.bus, self.hierarchy)
            costs = (first, moved, behind[0])
            at = int(np.lexsort(costs[::-1])[0])
        else:
            least = int(moved.min())
            if self.found is not None and least > self.found.cost[0]:
                return
            ties = np.flatnonzero(moved == least)
            behind = self._behind(tried, ties, outputs[ties])
            costs = (moved[ties], *behind)
            at = int(np.lexsort(behind[::-1])[0])
        cost = tuple(int(c[at]) for c in costs)
        if self.found is None or cost < self.found.cost:
            place = at if self.minimise == "time" else int(ties[at])
            self.found = _Best(cost, self._tile(tried, place, int(outputs[place])), kept)

    def _moved(self, kept: str, tried: _Tried, outputs: IntArray) -> IntArray:
        """Return the bits that cross into the buffer, in whole bursts."""
        passes = self.outer_pixels if kept == "weights" else tried.pixels
        times = self.outer_outputs if kept == "inputs" else self.outputs.tiles[outputs]
        visits = self.outer_reductions if kept == "outputs" else tried.reductions
        moved: IntArray = (
            self.weight_bits * passes
            + tried.inputs * times
            + tried.results
            + 2 * self.sum_bits * (visits - 1)
        )
        return moved

    def _behind(self, tried: _Tried, some: IntArray, outputs: IntArray) -> tuple[IntArray, IntArray]:
        """Return traffic with the array and its cycles; the number of tiles twice where another buffer is inside."""
        op, fill = self.operation, self.array.fill_cycles
        tiles, pixels, reductions = self.outputs.tiles[outputs], tried.pixels[some], tried.reductions[some]
        if not self.minimise:
            number = self.groups.tiles[tried.group[some]] * tiles * pixels * reductions
            return number, number
        deep = self._reduction_folds(tried.kernel)[tried.channel[some]]
        wide, across = self.output_folds[outputs], self.pixel_folds[tried.pixel[some]]
        match self.array.dataflow:
            case "weight":
                counts, cycles = (pixels, wide, deep), deep * wide * (fill * pixels + op.pixels)
            case "output":
                counts, cycles = (across, wide, reductions), across * wide * (fill * reductions + op.products)
            case _:
                counts, cycles = (across, tiles, deep), deep * across * (fill * tiles + op.outputs)
        weights, inputs, visits = counts
        moved = (
            op.stored_weight_bits * weights + self.tap_bits * inputs + 2 * op.stored_sum_bits * (visits - 1)
        )
        return moved, op.groups * cycles

    def _reduction_folds(self, kernel: tuple[int, int]) -> IntArray:
        """Return the folds of the products of one output, for each tile size of the input channels."""
        high, wide = kernel
        lengths = np.multiply.outer(self.high.lengths[:, high], self.wide.lengths[:, wide]).ravel()
        counts = np.multiply.outer(self.high.counts[:, high], self.wide.counts[:, wide]).ravel()
        folds = (
            count * _folds(self.array.rows, self.inputs, length)
            for length, count in zip(lengths.tolist(), counts.tolist(), strict=True)
            if count
        )
        return np.asarray(np.sum(list(folds), axis=0), np.int64)

    def _tile(self, tried: _Tried, at: int, outputs: int) -> Tile:
        row, column = divmod(int(tried.pixel[at]), self.columns.sizes.size)
        places = (int(tried.group[at]), outputs, int(tried.channel[at]), row, column, *tried.kernel)
        return Tile(*(int(loop.sizes[place]) for loop, place in zip(self.loops, places, strict=True)))


def _no_worse(first: tuple[int, int], second: tuple[int, int]) -> bool:
    return first[0] <= second[0] and first[1] <= second[1]


_Table = tuple[IntArray, IntArray, IntArray]


def _tables(
    count: Callable[[Cuts], tuple[int, int, int]], loop: _Loop, kernel: tuple[tuple[int, int], ...]
) -> _Table:
    """Return what :meth:`Planes.rows` or ``columns`` counts for each tile size of a loop."""
    first, second, third = zip(
        *(count(Cuts(loop.cut(int(size)), kernel)) for size in loop.sizes), strict=True
    )
    return np.array(first, np.int64), np.array(second, np.int64), np.array(third, np.int64)


def _all_tiles(rows: _Table, columns: _Table) -> IntArray:
    """Return the bits of all tiles [rows, columns]; see :meth:`Planes.moved_bits`."""
    moved: IntArray = np.multiply.outer(rows[0], columns[0]) + np.multiply.outer(rows[1], columns[1])
    return moved
