"""The circuits run the network's own operands, and are compared with the arithmetic at every layer's tensor.

A layer's outputs are computed twice: by its PyRTL netlists, cycle by cycle from reset, and by the exact
arithmetic of the whole-network run. The comparison is strict, at the accumulator and at the output. The
netlists are evaluated bit-parallel, one output a lane; a few of them go through PyRTL's own simulator as well.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hwsim.arithmetic import dot
from hwsim.catalogue import look_up
from hwsim.datapath import parts
from hwsim.datapath.datapath import Datapath
from hwsim.formats import IntArray
from hwsim.layers import AveragePool, MaxPool, Padding, Pair
from hwsim.network import Images, IntegerLayer, QuantizedNetwork
from hwsim.simulate import circuit
from hwsim.simulate.inference import Difference, Overflowed, operands, run, weight_operands, windows
from hwsim.simulate.verilog import run_verilog


@dataclass(frozen=True)
class Replay:
    """How much of one layer the circuits ran, and the first difference if any.

    Of the ``outputs`` that the layer has over ``images`` images, ``compared`` were run on the netlists in
    ``cycles`` clock cycles, and ``simulated`` of these by other simulators too.
    """

    layer: str
    images: int
    outputs: int
    compared: int
    simulated: int
    cycles: int
    difference: Difference | None


def replay(
    network: QuantizedNetwork,
    images: Images,
    *,
    cycles: int = 1 << 25,
    simulated: int = 4,
    simulators: Sequence[str] = ("pyrtl",),
    seed: int = 0,
    mac: str = "mac",
) -> tuple[Replay, ...]:
    """Run the outputs of every layer that computes through its circuits and compare.

    ``cycles`` is a budget of clock cycles, summed over all outputs: it is spent on whole images from the
    first on, every output of every layer; if one image takes more, on a share of each layer's outputs drawn
    with ``seed``, half of them sums that overflowed where there are so many. ``simulated`` outputs of each
    layer also go through each of the ``simulators``, names of :data:`SIMULATORS`.
    """
    others = [look_up("simulator", name, SIMULATORS) for name in simulators]
    formats = network.formats()
    circuits = {item.layer.name: parts(item, formats, network.rounding, mac=mac) for item in network.layers}
    per_image = sum(
        item.layer.outputs * cycles_per_output(item, circuits[item.layer.name]) for item in network.layers
    )
    share = min(1.0, cycles / max(per_image, 1))
    rng = np.random.default_rng(seed)
    replays: list[Replay] = []

    def compare(
        item: IntegerLayer, inputs: tuple[IntArray, ...], output: IntArray, overflowed: Overflowed | None
    ) -> None:
        if circuits[item.layer.name]:
            places = _sample(output, overflowed, max(1, simulated, round(share * output.size)), rng)
            replays.append(
                _replay_layer(item, circuits[item.layer.name], inputs, output, places, simulated, others)
            )

    run(network, images[: max(1, cycles // max(per_image, 1))], compare)
    return tuple(replays)


def cycles_per_output(item: IntegerLayer, circuits: Mapping[str, Datapath]) -> int:
    """Return the clock cycles that one output of a layer takes on its circuits."""
    return sum(_terms(item, part) for part in circuits)


def _terms(item: IntegerLayer, part: str) -> int:
    """Return the clock cycles of one circuit of a layer for one output."""
    operator = item.layer.operator
    if part == "mac":
        return item.layer.products
    if part in ("average_pool", "max_pool"):
        assert isinstance(operator, AveragePool | MaxPool)
        return operator.kernel[0] * operator.kernel[1]
    return 1


def _sample(
    output: IntArray, overflowed: Overflowed | None, count: int, rng: np.random.Generator
) -> IntArray:
    """Return ``count`` places [count, 4] of an output tensor [n, c, h, w]; all of them in order if so many."""
    if count >= output.size:
        flat = np.arange(output.size)
    else:
        special = np.flatnonzero(overflowed) if overflowed is not None else np.zeros(0, np.int64)
        chosen = rng.choice(special, min(count // 2, special.size), replace=False)
        others = np.setdiff1d(np.arange(output.size), chosen)
        flat = np.concatenate([chosen, rng.choice(others, count - chosen.size, replace=False)])
    return np.stack(np.unravel_index(flat, output.shape), axis=1)


_LANES = 1 << 15
_OPERANDS = 1 << 22
"""Outputs run at a time, and their operands: what the caches and the memory bear."""


Runner = Callable[[Datapath, Mapping[str, IntArray]], dict[str, IntArray]]
"""Runs a circuit on inputs [cycles, lanes], each lane from reset, and returns what is there after its last cycle."""


def _one_behind_the_other(run: Callable[..., dict[str, IntArray]]) -> Runner:
    """Return the runner of a simulator that has one lane: it resets between the lanes."""

    def runner(datapath: Datapath, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
        cycles = next(iter(inputs.values())).shape[0]
        rows = {name: values.T.ravel() for name, values in inputs.items()}
        return {name: values[cycles - 1 :: cycles] for name, values in run(datapath, rows, cycles).items()}

    return runner


SIMULATORS: dict[str, Runner] = {
    "pyrtl": _one_behind_the_other(circuit.run),
    "verilog": _one_behind_the_other(run_verilog),
}
"""Simulators by others: PyRTL's FastSimulation, and Icarus Verilog on the exported text."""


def _replay_layer(
    item: IntegerLayer,
    circuits: Mapping[str, Datapath],
    inputs: tuple[IntArray, ...],
    output: IntArray,
    places: IntArray,
    simulated: int,
    others: Sequence[Runner],
) -> Replay:
    step = max(1, min(_LANES, _OPERANDS // max(_terms(item, part) for part in circuits)))
    chunks = (places[start : start + step] for start in range(0, len(places), step))
    few = places[:: max(1, len(places) // max(simulated, 1))][:simulated]
    runs = itertools.chain(
        ((chunk, circuit.run_lanes) for chunk in chunks), ((few, other) for other in others)
    )
    found = (d for chunk, run in runs for d in _compare(item, circuits, inputs, output, chunk, run))
    cycles = len(places) * cycles_per_output(item, circuits)
    return Replay(item.layer.name, len(output), output.size, len(places), len(few), cycles, next(found, None))


def _compare(
    item: IntegerLayer,
    circuits: Mapping[str, Datapath],
    inputs: tuple[IntArray, ...],
    output: IntArray,
    places: IntArray,
    runner: Runner,
) -> Iterator[Difference]:
    """Yield the first difference of each circuit of a layer at some places."""
    values: IntArray | None = None
    for part, datapath in circuits.items():
        if not len(places):
            return
        streams, expected = _streams(item, part, inputs, output, places, values)
        port = next(iter(datapath.registers or datapath.outputs))
        values = runner(datapath, streams)[port]
        wrong = np.flatnonzero(values != expected)
        if wrong.size:
            i = wrong[0]
            where = tuple(int(x) for x in places[i])
            yield Difference(item.layer.name, part, where, int(values[i]), int(expected[i]))


def _streams(
    item: IntegerLayer,
    part: str,
    inputs: tuple[IntArray, ...],
    output: IntArray,
    places: IntArray,
    values: IntArray | None,
) -> tuple[dict[str, IntArray], IntArray]:
    """Return a circuit's inputs [cycles, places] and the value expected at each place.

    ``values`` are the results of the layer's circuit before this one, which a requantiser reads.
    """
    image, channel, row, column = places.T
    expected = output[image, channel, row, column]
    if part == "mac":
        activations, weights = _sum_operands(item, inputs[0], places)
        assert item.bits is not None
        sums = dot(activations[:, None], weights[:, :, None], item.bits.accumulator, item.bits.overflow)
        return {"activation": activations.T, "weight": weights.T}, sums.values.ravel()
    if part in ("average_pool", "max_pool"):
        operator = item.layer.operator
        assert isinstance(operator, AveragePool | MaxPool)
        fill = item.output.minimum if part == "max_pool" else 0
        taken = _windows_at(inputs[0], operator.kernel, operator.stride, operator.padding, places, fill)
        return {"activation": taken.T}, expected if part == "max_pool" else taken.sum(axis=1)
    assert item.multiplier is not None and item.bias is not None and item.shift is not None
    per_channel = channel if item.layer.has_weights else np.zeros_like(channel)
    streams = {"bias": item.bias[per_channel], "shift": item.shift[per_channel]}
    if part == "add":
        for which, (name, x) in enumerate(zip(("first", "second"), inputs, strict=True)):
            streams[name] = x[image, channel, row, column]
            streams[f"{name}_multiplier"] = np.full(len(places), item.multiplier[which])
        return {name: row[None] for name, row in streams.items()}, expected
    streams["multiplier"] = item.multiplier[per_channel]
    streams["accumulator"] = inputs[0][image, channel, row, column] if values is None else values
    return {name: row[None] for name, row in streams.items()}, expected


def _sum_operands(item: IntegerLayer, x: IntArray, places: IntArray) -> tuple[IntArray, IntArray]:
    """Return activations and weights [samples, products] of the sums at the sampled places."""
    operator = item.layer.as_convolution
    assert item.weight is not None
    weights = weight_operands(item.weight, operator.groups)
    group_outputs = weights.shape[2]
    height, width = item.layer.output_shape[1:]
    image, channel, row, column = places.T
    used, compact = np.unique(image, return_inverse=True)
    activations = operands(x[used], operator)
    position = (compact * height + row) * width + column
    return (
        activations[channel // group_outputs, position],
        weights[channel // group_outputs, :, channel % group_outputs],
    )


def _windows_at(
    x: IntArray, kernel: Pair, stride: Pair, padding: Padding, places: IntArray, fill: int
) -> IntArray:
    image, channel, row, column = places.T
    taken: IntArray = windows(x, kernel, stride, padding, fill)[image, channel, row, column]
    return taken.reshape(len(places), -1)
