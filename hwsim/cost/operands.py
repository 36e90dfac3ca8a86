"""What a layer's circuits read in every clock cycle, in the order that a dataflow gives them.

``output``: a sum stays in the circuit that adds it up. Weight and activation are new in every cycle, a reset cycle
before each sum has the operands of its first product, and outputs come one behind the other as they were drawn.

``weight``: a weight stays, for the positions of an output channel that follow one another in a tile. In every cycle
another position's activation arrives, and its sum so far from the neighbour that holds the product before; no
reset is needed. The channels, where they begin and the products are drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hwsim.cost.compression import codes_of
from hwsim.cost.decoding import Decoder, weight_widths
from hwsim.datapath.datapath import Datapath, Scheduled, describe
from hwsim.datapath.focused_mac import FocusedMac
from hwsim.datapath.netlist import RESET
from hwsim.errors import HwsimError
from hwsim.formats import Format, IntArray
from hwsim.network import IntegerLayer
from hwsim.simulate.replay import runs, sample

DATAFLOWS = ("output", "weight")

HELD = 64
"""Cycles that a weight stays at most."""

_CHANNELS = 4
_PLACES = 256


@dataclass(frozen=True)
class Trace:
    """A circuit in consecutive cycles: bit patterns of its netlist's input ports, and of the output ports by its arithmetic."""

    inputs: Mapping[str, IntArray]
    outputs: Mapping[str, IntArray]

    @property
    def cycles(self) -> int:
        """Cycles that have one before them."""
        return len(next(iter(self.inputs.values()))) - 1

    def first(self, cycles: int) -> Trace:
        """Return at most so many cycles of the trace."""
        inputs, outputs = (
            {name: codes[: cycles + 1] for name, codes in ports.items()}
            for ports in (self.inputs, self.outputs)
        )
        return Trace(inputs, outputs)


def layer_traces(
    item: IntegerLayer,
    circuits: Mapping[str, Datapath],
    inputs: tuple[IntArray, ...],
    output: IntArray,
    *,
    dataflow: str = "output",
    cycles: int = 2048,
    seed: int = 0,
) -> dict[str, Trace]:
    """Return the traces of a layer's circuits on its own tensors [n, c, h, w], at most ``cycles`` each, by part.

    ``dataflow`` orders the multiply-accumulates and which outputs follow one another; see this module.
    """
    rng = np.random.default_rng(seed)
    held = dataflow == "weight"
    if held and not passes_sums(circuits.get("mac")):
        raise HwsimError(
            f"{describe(circuits['mac'])} passes no sums on, as a weight-stationary array does; choose output"
        )
    tile = min(HELD, output.shape[2] * output.shape[3]) if held else 1
    places = _tiles_of_places(output, tile, rng) if held else sample(output, None, _PLACES, rng)
    found = {}
    for run in runs(item, circuits, inputs, output, places, _arithmetic):
        if run.part == "mac" and held:
            found[run.part] = _passing_tiles(run.datapath, run.streams, tile, cycles, rng).first(cycles)
        else:
            found[run.part] = in_place(run.datapath, run.streams).first(cycles)
    return found


def passes_sums(mac: Datapath | None) -> bool:
    """Return whether a layer's sums can pass: where its multiply-accumulate, if any, adds to them and to nothing else a cycle."""
    return (
        mac is None
        or isinstance(mac, FocusedMac)
        or (list(mac.registers) == ["accumulator"] and not isinstance(mac, Scheduled))
    )


def _tiles_of_places(output: IntArray, tile: int, rng: np.random.Generator) -> IntArray:
    """Return places [lanes, 4] of an output tensor: tiles of positions that follow one another in a channel."""
    images, channels, height, width = output.shape
    count = -(-_PLACES // tile)
    image, channel = rng.integers(images, size=count), rng.integers(channels, size=count)
    position = rng.integers(height * width - tile + 1, size=count)[:, None] + np.arange(tile)
    columns = (image.repeat(tile), channel.repeat(tile), *np.divmod(position.ravel(), width))
    return np.stack(columns, axis=1)


def _passing_tiles(
    datapath: Datapath, streams: Mapping[str, IntArray], tile: int, cycles: int, rng: np.random.Generator
) -> Trace:
    """Return the trace of drawn products of each tile of lanes, one behind the other."""
    products, lanes = next(iter(streams.values())).shape
    count = min(products, -(-cycles // lanes))
    traces = []
    for start in range(0, lanes, tile):
        rows = np.sort(rng.choice(products, count, replace=False))
        traces.append(
            passing(datapath, {name: s[:, start : start + tile] for name, s in streams.items()}, rows)
        )
    return Trace(*(_joined(ports) for ports in zip(*((t.inputs, t.outputs) for t in traces), strict=True)))


def _joined(ports: tuple[Mapping[str, IntArray], ...]) -> dict[str, IntArray]:
    return {name: np.concatenate([codes[name] for codes in ports]) for name in ports[0]}


def _arithmetic(datapath: Datapath, streams: Mapping[str, IntArray]) -> dict[str, IntArray]:
    """Return what is there after the last cycle of each lane, from reset."""
    *_, (_, results) = _steps(datapath, streams)
    return results


def _steps(
    datapath: Datapath, streams: Mapping[str, IntArray]
) -> Iterator[tuple[dict[str, IntArray], dict[str, IntArray]]]:
    """Yield what a datapath reads and returns in each cycle, int64 [lanes], every lane from reset."""
    lanes = next(iter(streams.values())).shape[1]
    state = {name: np.full(lanes, one.reset, np.int64) for name, one in datapath.registers.items()}
    for row in zip(*streams.values(), strict=True):
        values = dict(zip(streams, row, strict=True)) | state
        results = {
            name: np.broadcast_to(value, lanes).astype(np.int64)
            for name, value in datapath.compute(values).items()
        }
        yield values, results
        state = {name: results[name] for name in state}


def in_place(datapath: Datapath, streams: Mapping[str, IntArray]) -> Trace:
    """Return the trace of lanes one behind the other, each behind a reset cycle; ``streams`` are int64 [cycles, lanes]."""
    steps = list(_steps(datapath, streams))
    if datapath.registers:
        steps.insert(0, _reset(datapath, steps[0][0], steps[-1][1]))
    return _trace(datapath, steps, "F")


def _reset(
    datapath: Datapath, first: Mapping[str, IntArray], last: Mapping[str, IntArray]
) -> tuple[dict[str, IntArray], dict[str, IntArray]]:
    """Return the step before the first one of each lane: its operands, on what the lane before left."""
    values = dict(first) | {name: np.roll(last[name], 1) for name in datapath.registers}
    after = {name: np.full_like(last[name], one.reset) for name, one in datapath.registers.items()}
    return values, datapath.compute(values) | after


def passing(datapath: Datapath, streams: Mapping[str, IntArray], rows: IntArray) -> Trace:
    """Return the trace of lanes that pass, side by side, the circuits that hold the products ``rows``.

    In each cycle such a circuit reads the registers of the next lane as the products before left them.
    """
    steps = list(_steps(datapath, streams))
    return _trace(datapath, [steps[row] for row in rows], "C")


def random_trace(datapath: Datapath, cycles: int = 2048, seed: int = 0) -> Trace:
    """Return the trace of uniformly random bit patterns at every input, in one sum from one reset."""
    rng = np.random.default_rng(seed)
    streams = {
        name: form.decode(rng.integers(1 << form.bits, size=(cycles, 1)))
        for name, form in datapath.inputs.items()
    }
    return in_place(datapath, streams)


def decoder_trace(decoder: Decoder, item: IntegerLayer, cycles: int = 2048, seed: int = 0) -> Trace:
    """Return the trace of a decoder on consecutive code words of a layer's streams, from a drawn one on, from one reset."""
    codes, widths = codes_of(item).ravel(), weight_widths(item)
    first = np.random.default_rng(seed).integers(max(codes.size - cycles, 0) + 1)
    drawn = slice(first, first + cycles)
    streams = decoder.streams(codes[drawn], widths[drawn])
    return in_place(decoder, {name: words[:, None] for name, words in streams.items()})


def _trace(
    datapath: Datapath,
    steps: Sequence[tuple[Mapping[str, IntArray], Mapping[str, IntArray]]],
    order: Literal["C", "F"],
) -> Trace:
    """Return steps of lanes as one row of cycles, lane by lane (F) or step by step (C)."""
    formats = {name: one.format for name, one in datapath.registers.items()}

    def codes(step: int, name: str, form: Format) -> IntArray:
        table = np.stack([np.broadcast_to(rows[step][name], lanes) for rows in steps])
        return form.encode(table).ravel(order)

    lanes = np.shape(next(iter(steps[0][0].values())))
    inputs = {name: codes(0, name, form) for name, form in (dict(datapath.inputs) | formats).items()}
    outputs = {name: codes(1, name, form) for name, form in datapath.outputs.items()}
    outputs |= {f"next_{name}": codes(1, name, form) for name, form in formats.items()}
    if formats:
        inputs[RESET] = np.zeros((len(steps), *lanes), np.int64).ravel()
        inputs[RESET][:: len(steps)] = int(order == "F")
    return Trace(inputs, outputs)
