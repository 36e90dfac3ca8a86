"""Switching activity of a mapped netlist: how often every net changes, with and without glitches.

All cycles of a run are simulated side by side, one bit of a machine word each: a net is a list of the times at which
it changes, counted from the clock edge, each with its values in all cycles. A cell's output follows its inputs after
the cell's delay at its load, and only where they leave it alone for that long (inertial delay, as a Verilog gate has
it: IEEE 1364, "Gate and net delays"). Inputs and registers change when a flip-flop at the net's load does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.cost.netlist import Instance, Mapped
from hwsim.cost.technology import Technology
from hwsim.cost.timing import loads
from hwsim.formats import IntArray

TICK_PS = 0.1
"""Resolution of a delay."""

_CHUNK = 1024
_WORD = 64
Words = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Activity:
    """Changes of every net over ``cycles`` clock cycles, by net.

    ``settled`` counts a net that ends a cycle at another value than the last one, ``changes`` also every change on the
    way there; without glitches the two are equal. ``outputs`` are the bit patterns of the output ports after each.
    """

    cycles: int
    settled: Mapping[int, int]
    changes: Mapping[int, int]
    outputs: Mapping[str, IntArray]


@dataclass(frozen=True)
class _Wave:
    """A net in all cycles: values before the clock edge in the first row, then those from each time on."""

    times: IntArray
    values: Words

    @property
    def ends(self) -> _Wave:
        """The same net with one change at the clock edge, from its first value to its last."""
        return _Wave(_AT_ONCE, self.values[[0, -1]])


_AT_ONCE = np.zeros(1, np.int64)


def activity(
    netlist: Mapped,
    technology: Technology,
    streams: Mapping[str, IntArray],
    registers: Collection[str] = (),
    *,
    glitches: bool = True,
) -> Activity:
    """Return a netlist's activity under the bit patterns of its input ports, int64 [cycles + 1] each.

    The first pattern is what was there before. ``registers`` name the input ports that are registers' outputs; their
    next values drive flip-flops. Without ``glitches`` delays are zero.
    """
    cycles = len(next(iter(streams.values()))) - 1
    load = loads(netlist, technology, registers)
    settled, changes = Counter[int](), Counter[int]()
    outputs: dict[str, list[IntArray]] = {name: [] for name in netlist.outputs}
    for start in range(0, cycles, _CHUNK):
        part = {name: codes[start : start + _CHUNK + 1] for name, codes in streams.items()}
        waves = _inputs(netlist, technology, part, load, glitches)
        readers = Counter(net for cell in netlist.instances for net in cell.pins.values())
        readers.update(net for nets in netlist.outputs.values() for net in nets)
        for net, wave in waves.items():
            _count(net, wave, settled, changes)
        for cell in netlist.instances:
            waves[cell.output] = wave = _cell(cell, technology, waves, load, glitches)
            _count(cell.output, wave, settled, changes)
            _drop_read(cell, waves, readers)
        length = min(_CHUNK, cycles - start)
        for name, nets in netlist.outputs.items():
            outputs[name].append(_codes([waves[net].values[-1] for net in nets], length))
    return Activity(
        cycles, settled, changes, {name: np.concatenate(parts) for name, parts in outputs.items()}
    )


def _inputs(
    netlist: Mapped,
    technology: Technology,
    streams: Mapping[str, IntArray],
    load: Mapping[int, float],
    glitches: bool,
) -> dict[int, _Wave]:
    """Return the waves of the constants and of all input ports."""
    flip_flop = technology.flip_flop
    size = -(-(len(next(iter(streams.values()))) - 1) // _WORD)
    nothing = np.zeros((1, size), np.uint64)
    waves = {net: _Wave(_AT_ONCE[:0], value) for net, value in ((0, nothing), (1, ~nothing))}
    for name, nets in netlist.inputs.items():
        for bit, net in enumerate(nets):
            values = _planes(streams[name] >> bit)
            at = _ticks(flip_flop.delay + flip_flop.resistance * load.get(net, 0.0)) if glitches else 0
            waves[net] = _pruned(np.array([at]), values)
    return waves


def _ticks(delay_ps: float) -> int:
    return max(round(delay_ps / TICK_PS), 1)


def _planes(codes: IntArray) -> Words:
    """Return the lowest bits of codes [cycles + 1] as words: those before each cycle, and those in it."""
    bits = (codes & 1).astype(np.uint8)
    size = -(-(len(bits) - 1) // _WORD) * _WORD
    bits = np.pad(bits, (0, size + 1 - len(bits)), mode="edge")
    return np.stack([np.packbits(row, bitorder="little").view(np.uint64) for row in (bits[:-1], bits[1:])])


def _codes(planes: Sequence[Words], cycles: int) -> IntArray:
    """Return the bit patterns of a port from the words of its bits, the lowest first."""
    bits = [np.unpackbits(plane.view(np.uint8), bitorder="little")[:cycles] for plane in planes]
    codes: IntArray = np.bitwise_or.reduce([row.astype(np.int64) << k for k, row in enumerate(bits)])
    return codes


def _count(net: int, wave: _Wave, settled: Counter[int], changes: Counter[int]) -> None:
    if len(wave.times):
        settled[net] += _ones(wave.values[0] ^ wave.values[-1])
        changes[net] += _ones(wave.values[1:] ^ wave.values[:-1])


def _ones(words: Words) -> int:
    return int(np.bitwise_count(words).sum())


def _drop_read(cell: Instance, waves: dict[int, _Wave], readers: Counter[int]) -> None:
    """Forget the waves that nobody reads any more, which would fill the memory."""
    for net in cell.pins.values():
        readers[net] -= 1
        if not readers[net] and net > 1:
            del waves[net]


def _cell(
    cell: Instance,
    technology: Technology,
    waves: Mapping[int, _Wave],
    load: Mapping[int, float],
    glitches: bool,
) -> _Wave:
    """Return the wave of a cell's output."""
    kind = technology.cell[cell.cell]
    inputs = {pin: waves[net] if glitches else waves[net].ends for pin, net in cell.pins.items()}
    times = np.unique(np.concatenate([wave.times for wave in inputs.values()]))
    pins: dict[str, Any] = {
        pin: wave.values[np.searchsorted(wave.times, np.append(-1, times), "right")]
        for pin, wave in inputs.items()
    }
    target = _pruned(times, kind.output(pins, np.bitwise_and, np.invert))
    if not glitches or not len(target.times):
        return target
    return _delayed(target, _ticks(kind.delay + kind.resistance * load[cell.output]))


def _pruned(times: IntArray, values: Words) -> _Wave:
    """Return a wave without the times at which nothing changes."""
    kept = (values[1:] != values[:-1]).any(axis=1)
    if kept.all():
        return _Wave(times, values)
    return _Wave(times[kept], values[np.append(True, kept)])


def _delayed(target: _Wave, delay: int) -> _Wave:
    """Return a wave behind an inertial delay: a value passes where it then stands for the whole delay."""
    until = np.searchsorted(target.times, target.times + delay, "left")
    changed = target.values[1:] ^ target.values[:-1]
    passes = ~_any_of_rows(changed, np.arange(1, len(until) + 1), until)
    return _pruned(target.times + delay, _last_that_passed(target.values, passes))


def _any_of_rows(rows: Words, first: IntArray, end: IntArray) -> Words:
    """Return for each pair the union of the rows from ``first`` up to ``end``: of two runs of a power of two rows."""
    result = np.zeros_like(rows)
    count, run, union = end - first, 1, rows
    while (inside := count >= run).any():
        last = inside & (count < 2 * run)
        result[last] = union[first[last]] | union[end[last] - run]
        union = union[:-run] | union[run:]
        run *= 2
    return result


def _last_that_passed(values: Words, passes: Words) -> Words:
    """Return each row with the bits that do not pass replaced by the last row's where they did; the first row does."""
    result, known, step = values.copy(), np.concatenate([~np.zeros_like(values[:1]), passes]), 1
    result[1:] &= passes
    while step < len(result) and not (known == ~np.uint64(0)).all():
        result[step:] |= result[:-step] & ~known[step:]
        known[step:] |= known[:-step].copy()
        step *= 2
    return result
