"""A systolic array and its memories walked step by step: what the traffic of a tiling is compared with.

Every tile is a set of addresses that is filled and emptied, every product is done in a processing element of a grid
whose registers are clocked, and every access is counted where it happens. Nothing here knows a formula.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict

import numpy as np

LOOPS = "gkcpqrs"
OUTSIDE = {"weights": "gkcrs", "inputs": "gpqcrs", "outputs": "gkpq"}
"""The loops over tiles outside the place where the kept operand is fetched."""


class Walk:
    """One layer on one array; ``bits[boundary][what]``, ``dram[what]`` and ``cycles`` are what was counted."""

    def __init__(self, operation, tiling, array, burst_bits=1, seed=0):
        self.op, self.tiling, self.array, self.burst_bits = operation, tiling, array, burst_bits
        rng = np.random.default_rng(seed)
        channels = operation.groups * operation.inputs
        self.x = rng.integers(-9, 10, (channels, operation.height, operation.width))
        taps = (operation.inputs, operation.kernel_rows, operation.kernel_columns)
        self.w = rng.integers(-9, 10, (operation.groups * operation.outputs, *taps))
        self.sums, self.done = Counter(), Counter()
        self.bits = [Counter() for _ in range(len(tiling.tiles) + 1)]
        self.runs = Counter()
        self.streams = defaultdict(int)
        self.visits = Counter()
        self.most = [Counter() for _ in tiling.tiles]
        self.cycles = 0
        whole = dict(zip(LOOPS, ((0, trips) for trips in operation.loops), strict=True))
        self.visit(0, whole)

    @property
    def dram(self):
        """Bits of whole bursts over the bus."""
        total = Counter(self.runs)
        for (what, *_), bits in self.streams.items():
            total[what] += self.bursts(bits)
        return total

    def bursts(self, bits):
        return -(-bits // self.burst_bits) * self.burst_bits

    def output(self):
        """The layer's output as the array computed it."""
        shape = (self.op.groups * self.op.outputs, self.op.rows, self.op.columns)
        return np.array([self.sums[place] for place in np.ndindex(shape)]).reshape(shape)

    # ---- the tiles

    def visit(self, level, region):
        """Go through the tiles of one buffer inside a region of the buffer around it."""
        if level == len(self.tiling.tiles):
            for group in range(*region["g"]):
                self.compute(group, region)
            return
        kept = self.tiling.kept[level]
        outside = OUTSIDE[kept]
        inside = [loop for loop in LOOPS if loop not in outside]
        for tile in self.cut(level, region, outside):
            self.hold(level, kept, tile, first=True)
            for part in self.cut(level, tile, inside):
                for what in ("weights", "inputs", "outputs"):
                    if what != kept:
                        self.hold(level, what, part, first=True)
                self.visit(level + 1, part)
                if kept != "outputs":
                    self.hold(level, "outputs", part, first=False)
            if kept == "outputs":
                self.hold(level, kept, tile, first=False)

    def cut(self, level, region, loops):
        """Yield the region with the given loops cut into tiles."""
        sizes = dict(zip(LOOPS, self.tiling.tiles[level], strict=True))
        starts = [range(*region[loop], sizes[loop]) for loop in loops]
        for place in itertools.product(*starts):
            cut = {n: (at, min(at + sizes[n], region[n][1])) for n, at in zip(loops, place, strict=True)}
            yield {**region, **cut}

    def hold(self, level, what, tile, *, first):
        """Fill a buffer with a tile of an operand, or empty it of outputs."""
        if what == "weights":
            held = set(self.weight_places(tile))
            bits = sum(self.op.weight_bits[k] for k, *_ in held)
            self.moved(level, "weights", bits)
            self.room(level, what, len(held) * max(self.op.weight_bits))
            if level == 0:
                around = () if self.tiling.kept[0] == "weights" else (tile["p"], tile["q"])
                self.streams["weights", around] += bits
        elif what == "inputs":
            self.hold_inputs(level, tile)
        elif first:
            self.open_outputs(level, tile)
        else:
            self.close_outputs(level, tile)

    def moved(self, level, what, bits):
        self.bits[level][what] += bits

    def room(self, level, what, bits):
        self.most[level][what] = max(self.most[level][what], bits)

    def channels(self, tile, loop, count):
        for group in range(*tile["g"]):
            for channel in range(*tile[loop]):
                yield group * count + channel

    def weight_places(self, tile):
        taps = (range(*tile[loop]) for loop in "crs")
        return itertools.product(self.channels(tile, "k", self.op.outputs), *taps)

    def input_places(self, tile):
        """The rows that some product needs, from the first column that one needs to the last."""
        rows = {self.row(p, r) for p in range(*tile["p"]) for r in range(*tile["r"])} - {None}
        columns = {self.column(q, s) for q in range(*tile["q"]) for s in range(*tile["s"])} - {None}
        if not rows or not columns:
            return set()
        stretch = range(min(columns), max(columns) + 1)
        channels = self.channels(tile, "c", self.op.inputs)
        return set(itertools.product(channels, rows, stretch))

    def row(self, p, r):
        y = p * self.op.stride[0] + r * self.op.dilation[0] - self.op.padding[0]
        return y if 0 <= y < self.op.height else None

    def column(self, q, s):
        x = q * self.op.stride[1] + s * self.op.dilation[1] - self.op.padding[1]
        return x if 0 <= x < self.op.width else None

    def hold_inputs(self, level, tile):
        held = self.input_places(tile)
        bits = sum(self.op.input_bits[c] for c, _, _ in held)
        self.moved(level, "inputs", bits)
        self.room(level, "inputs", bits)
        if level == 0:
            kept = self.tiling.kept[0]
            around = tuple(tile[n] for n in ("pqrs" if kept == "inputs" else "kpqrs"))
            self.transfer("inputs", held, self.op.height, self.op.width, self.op.input_bits, around)

    def transfer(self, what, held, height, width, widths, around):
        """Count the bursts of a set of places: whole planes in one stream, else every run of a channel on its own."""
        rows, columns = ({place[axis] for place in held} for axis in (1, 2))
        if len(rows) == height and len(columns) == width:
            self.streams[what, around] += sum(widths[c] for c, _, _ in held)
            return
        for channel in {c for c, _, _ in held}:
            places = sorted(y * width + x for c, y, x in held if c == channel)
            length = 0
            for place, after in itertools.pairwise([*places, -9]):
                length += 1
                if after != place + 1:
                    self.runs[what] += self.bursts(length * widths[channel])
                    length = 0

    def output_places(self, tile):
        channels = self.channels(tile, "k", self.op.outputs)
        return set(itertools.product(channels, range(*tile["p"]), range(*tile["q"])))

    def open_outputs(self, level, tile):
        held = self.output_places(tile)
        begun = [place for place in held if self.done[place]]
        self.room(level, "outputs", len(held) * self.op.sum_bits)
        self.moved(level, "sums_read", len(begun) * self.op.sum_bits)
        if level == 0:
            for place in begun:
                self.streams["sums_read", self.visits[place]] += self.op.sum_bits

    def close_outputs(self, level, tile):
        held = self.output_places(tile)
        finished = {place for place in held if self.done[place] == self.op.products}
        self.moved(level, "outputs", sum(self.op.output_bits[c] for c, _, _ in finished))
        self.moved(level, "sums_written", len(held - finished) * self.op.sum_bits)
        if level == 0:
            self.transfer("outputs", finished, self.op.rows, self.op.columns, self.op.output_bits, ())
            for place in held - finished:
                self.visits[place] += 1
                self.streams["sums_written", self.visits[place]] += self.op.sum_bits

    # ---- the array

    def compute(self, group, tile):
        """Do one group of a tile, fold by fold."""
        taps = list(itertools.product(*(range(*tile[loop]) for loop in "crs")))
        pixels = list(itertools.product(*(range(*tile[loop]) for loop in "pq")))
        outputs = [group * self.op.outputs + k for k in range(*tile["k"])]
        n, m = self.array.rows, self.array.columns
        match self.array.dataflow:
            case "weight":
                for deep, wide in itertools.product(chunks(taps, n), chunks(outputs, m)):
                    self.stationary(
                        deep, wide, pixels, lambda tap, k: self.weight(k, tap),
                        lambda tap, pixel: self.input(group, tap, pixel), lambda k, pixel: (k, *pixel),
                    )  # fmt: skip
            case "input":
                for deep, wide in itertools.product(chunks(taps, n), chunks(pixels, m)):
                    self.stationary(
                        deep, wide, outputs, lambda tap, pixel: self.input(group, tap, pixel),
                        lambda tap, k: self.weight(k, tap), lambda pixel, k: (k, *pixel),
                    )  # fmt: skip
            case "output":
                for deep, wide in itertools.product(chunks(pixels, n), chunks(outputs, m)):
                    self.accumulate(group, deep, wide, taps)

    def weight(self, k, tap):
        self.bits[-1]["weights"] += self.op.weight_bits[k]
        return self.w[k, *tap]

    def input(self, group, tap, pixel):
        c, r, s = tap
        y, x = self.row(pixel[0], r), self.column(pixel[1], s)
        if y is None or x is None:
            return 0
        channel = group * self.op.inputs + c
        self.bits[-1]["inputs"] += self.op.input_bits[channel]
        return self.x[channel, y, x]

    def begin(self, place):
        """Read the sum of an output that has one."""
        if not self.done[place]:
            return 0
        self.bits[-1]["sums_read"] += self.op.sum_bits
        return self.sums[place]

    def end(self, place, value, products):
        """Write a sum, or the output that it has become."""
        self.sums[place] = value
        self.done[place] += products
        finished = self.done[place] == self.op.products
        width = self.op.output_bits[place[0]] if finished else self.op.sum_bits
        self.bits[-1]["outputs" if finished else "sums_written"] += width

    def stationary(self, deep, wide, stream, held, streamed, place):
        """A fold that holds an operand: sums run down its columns, the other operand along its rows."""
        n, m = self.array.rows, self.array.columns
        still, moving, sums = (np.zeros((n, m), np.int64) for _ in range(3))
        busy = np.zeros((n, m), bool)
        for step in range(n):  # the last row enters first and is pushed down
            still[1:] = still[:-1].copy()
            row = n - 1 - step
            still[0] = 0
            if row < len(deep):
                still[0, : len(wide)] = [held(deep[row], column) for column in wide]
            self.cycles += 1
        for t in itertools.count():
            busy[:, 1:], moving[:, 1:] = busy[:, :-1].copy(), moving[:, :-1].copy()
            for row in range(n):
                busy[row, 0] = 0 <= t - row < len(stream)
                used = busy[row, 0] and row < len(deep)
                moving[row, 0] = streamed(deep[row], stream[t - row]) if used else 0
            if not busy.any():
                return
            sums[1:] = sums[:-1].copy()
            for column, item in enumerate(wide):
                entering = 0 <= t - column < len(stream)
                sums[0, column] = self.begin(place(item, stream[t - column])) if entering else 0
            sums += moving * still
            for column, item in enumerate(wide):
                at = t - (n - 1) - column
                if 0 <= at < len(stream):
                    self.end(place(item, stream[at]), int(sums[-1, column]), len(deep))
            self.cycles += 1

    def accumulate(self, group, deep, wide, taps):
        """A fold that holds sums: both operands run through it, then the results down its columns."""
        n, m = self.array.rows, self.array.columns
        x, w, sums = (np.zeros((n, m), np.int64) for _ in range(3))
        busy = np.zeros((n, m), bool)
        for t in itertools.count():
            for values in (x, busy):
                values[:, 1:] = values[:, :-1].copy()
            w[1:] = w[:-1].copy()
            for row in range(n):
                busy[row, 0] = 0 <= t - row < len(taps)
                used = busy[row, 0] and row < len(deep)
                x[row, 0] = self.input(group, taps[t - row], deep[row]) if used else 0
            for column in range(m):
                used = 0 <= t - column < len(taps) and column < len(wide)
                w[0, column] = self.weight(wide[column], taps[t - column]) if used else 0
            if not busy.any():
                break
            sums += x * w
            self.cycles += 1
        for row in range(n - 1, -1, -1):
            for column, k in enumerate(wide):
                if row < len(deep):
                    place = (k, *deep[row])
                    self.end(place, self.begin(place) + int(sums[-1, column]), len(taps))
            sums[1:] = sums[:-1].copy()
            self.cycles += 1


def chunks(items, size):
    return [items[at : at + size] for at in range(0, len(items), size)]
