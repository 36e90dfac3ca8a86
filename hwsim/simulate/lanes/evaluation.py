"""A datapath run from reset in many lanes, for the values after the last cycle alone."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.datapath.datapath import Datapath
from hwsim.errors import HwsimError
from hwsim.formats import Format, Int
from hwsim.simulate.lanes.analysis import storage_bits
from hwsim.simulate.lanes.columns import GateTile, compile_gates, decode, words_of
from hwsim.simulate.lanes.gatewise import compile_program
from hwsim.simulate.lanes.machine import share
from hwsim.simulate.lanes.planes import LANES, pack
from hwsim.simulate.lanes.reduction import array_of, check_datapath, check_values
from hwsim.simulate.lanes.step import netlist_step
from hwsim.simulate.lanes.wordwise import Loop, Place, Program

Array = npt.NDArray[Any]

_TILE_BYTES = 1 << 20
"""Inputs of so many lanes are taken at a time."""


def run_lanes(datapath: Datapath, inputs: Mapping[str, Array], *, threads: int = 1) -> dict[str, Array]:
    """Return a circuit's outputs in the last cycle and its registers after it, [lanes].

    ``inputs`` holds values for every input port, integers [cycles, lanes] or what broadcasts to that: each lane
    is a run of its own from reset. Results are the narrowest signed integers that hold the port's bits, unsigned
    ones for an unsigned port.
    """
    check_datapath(datapath)
    if set(inputs) != set(datapath.inputs):
        raise HwsimError(f"a run needs values for each of {list(datapath.inputs)}, not {list(inputs)}")
    given = {name: array_of(name, values) for name, values in inputs.items()}
    for name, values in given.items():
        check_values(name, values, datapath.inputs[name])
    try:
        shape = np.broadcast_shapes(*(values.shape for values in given.values()))
    except ValueError:
        shape = ()
    if len(shape) != 2 or shape[0] < 1:
        shapes = {name: values.shape for name, values in given.items()}
        raise HwsimError(
            f"the values of a run have the shapes {shapes}; give [cycles, lanes], at least one cycle"
        )
    cycles, lanes = shape
    rows = {name: np.broadcast_to(values, shape) for name, values in given.items()}
    formats = _formats(datapath)
    results = {name: np.empty(lanes, _dtype(form)) for name, form in formats.items()}
    tile = _tile(datapath, cycles)

    def run(first: int) -> None:
        part = {name: values[:, first : first + tile] for name, values in rows.items()}
        for name, values in _run_tile(datapath, part, cycles).items():
            results[name][first : first + tile] = values

    share(run, ((first,) for first in range(0, lanes, tile)), threads)
    return results


def _formats(datapath: Datapath) -> dict[str, Int]:
    return {**datapath.outputs, **{name: register.format for name, register in datapath.registers.items()}}


def _dtype(form: Int) -> npt.DTypeLike:
    return np.dtype(f"{'int' if form.signed else 'uint'}{storage_bits(form.bits)}")


def _tile(datapath: Datapath, cycles: int) -> int:
    size = sum(storage_bits(form.bits) // 8 for form in datapath.inputs.values()) * cycles
    return max(1, _TILE_BYTES // size // LANES) * LANES


@lru_cache(maxsize=512)
def _compiled(datapath: Datapath, lanes: int) -> tuple[Loop, dict[str, int]]:
    """Return a datapath's loop for some number of lanes, and the reset values of its registers."""
    step = netlist_step(datapath)
    holds = {Place("hold", name, 0): step.next[name] for name in datapath.outputs}
    state = {Place("register", name, 0): step.next[name] for name in datapath.registers}
    loop = compile_program(Program(step.form, streams=holds, state=state), lanes)
    return loop, {name: step.reset[name] for name in datapath.registers}


def _run_tile(datapath: Datapath, inputs: Mapping[str, Array], cycles: int) -> dict[str, Array]:
    lanes = next(iter(inputs.values())).shape[1]
    loop, resets = _compiled(datapath, min(LANES, 1 << (lanes - 1).bit_length()))
    padded = -(-lanes // loop.vector) * loop.vector
    arrays = {
        Place("input", name, 0): _codes(values, datapath.inputs[name], padded)
        for name, values in inputs.items()
    }
    formats = _formats(datapath)
    for name, reset in resets.items():
        arrays[Place("register", name, 0)] = np.full(padded, reset, f"uint{storage_bits(formats[name].bits)}")
    for name in datapath.outputs:
        arrays[Place("hold", name, 0)] = np.empty((cycles, padded), f"uint{storage_bits(formats[name].bits)}")
    loop.run(arrays, cycles, padded)
    found = {name: arrays[Place("hold", name, 0)][-1] for name in datapath.outputs}
    found |= {name: arrays[Place("register", name, 0)] for name in resets}
    return {name: decode(codes[:lanes], formats[name]) for name, codes in found.items()}


def _codes(values: Array, form: Format, lanes: int) -> Array:
    """Return bit patterns in their storage, filled up with zeros."""
    bits = storage_bits(form.bits)
    if not isinstance(form, Int):
        values = form.encode(values)
    codes = np.zeros((len(values), lanes), f"uint{bits}")
    codes[:, : values.shape[1]] = values.astype(codes.dtype)
    if form.bits < bits and form.signed:
        codes &= codes.dtype.type((1 << form.bits) - 1)
    return codes


def run_channels(
    datapath: Datapath,
    inputs: Mapping[str, Array],
    constants: Mapping[str, Array],
    *,
    threads: int = 1,
) -> dict[str, Array]:
    """Return a circuit's outputs in the last cycle and its registers after it, [channels, lanes].

    ``inputs`` holds values [cycles, channels, lanes], ``constants`` one value a channel, for every other port;
    each channel and lane is a run of its own from reset. Always on the netlist's gates. Results are as those of
    :func:`run_lanes`.
    """
    check_datapath(datapath)
    ports = datapath.inputs
    given = {name: array_of(name, values) for name, values in {**inputs, **constants}.items()}
    if set(given) != set(ports) or not inputs or set(inputs) & set(constants):
        raise HwsimError(f"a run needs values for each of {list(ports)}, not {[*inputs, *constants]}")
    for name, values in given.items():
        check_values(name, values, ports[name])
    shape = given[next(iter(inputs))].shape
    if len(shape) != 3 or 0 in shape or any(given[name].shape != shape for name in inputs):
        shapes = {name: given[name].shape for name in inputs}
        raise HwsimError(f"the values of a run have the shapes {shapes}; give [cycles, channels, lanes]")
    cycles, channels, lanes = shape
    if any(given[name].shape != (channels,) for name in constants):
        raise HwsimError(
            f"the constants {list(constants)} are not one for each of {channels} channels; give as many"
        )
    gates = _gates(datapath, frozenset(constants))
    words = {name: _words(given[name], ports[name], cycles) for name in constants}
    results = {name: np.empty((channels, lanes), _dtype(form)) for name, form in _formats(datapath).items()}
    bits = sum(ports[name].bits for name in inputs) * cycles + sum(map(_bits, results.values()))
    tiles = max(1, min(_TILE_BYTES * 8 // (channels * bits * LANES), -(-lanes // LANES // threads)))

    def run(start: int) -> None:
        """Run some tiles of lanes: to the kernel a channel of each is a column of its own."""
        count = min(tiles, -(-(lanes - start) // LANES))
        stop, columns = start + count * LANES, count * channels
        planes = {}
        for name in inputs:
            part = given[name][..., start:stop].reshape(cycles * channels, -1)
            codes = _codes(part, ports[name], count * LANES).reshape(cycles, channels, count, LANES)
            in_columns = np.ascontiguousarray(codes.transpose(2, 1, 0, 3)).reshape(columns * cycles, LANES)
            planes[name] = pack(in_columns, ports[name].bits)
        repeated = {name: np.tile(part, (count, 1, 1)) for name, part in words.items()}
        for name, found in gates.run(planes, repeated, columns, cycles, False).items():
            by_channel = found.reshape(count, channels, LANES).swapaxes(0, 1).reshape(channels, -1)
            results[name][:, start:stop] = by_channel[:, : lanes - start]

    share(run, ((start,) for start in range(0, lanes, tiles * LANES)), threads)
    return results


_TILE_BYTES = 1 << 18
"""What the planes of the lanes that run at once may take: they stay in a core's own cache."""


def _bits(values: Array) -> int:
    return 8 * values.itemsize


@lru_cache(maxsize=512)
def _gates(datapath: Datapath, constants: frozenset[str]) -> GateTile:
    return compile_gates(netlist_step(datapath), constants)


def _words(values: Array, form: Format, cycles: int) -> Array:
    codes = np.broadcast_to(form.encode(values.astype(np.int64))[:, None], (len(values), cycles))
    return words_of(codes, form.bits)
