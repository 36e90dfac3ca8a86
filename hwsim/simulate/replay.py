"""A sample of every layer's outputs in simulators by others, on the network's own operands.

An output is computed by the layer's netlists in PyRTL's simulator or in Verilog, cycle by cycle from reset, and
by the exact arithmetic of the whole-network run; they are compared at the accumulator and at the output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from hwsim.arithmetic import dot
from hwsim.catalogue import look_up
from hwsim.datapath import parts
from hwsim.datapath.datapath import Datapath, Scheduled, latency, resolved, resolver, sum_cycles
from hwsim.datapath.focused_mac import FocusedMac
from hwsim.formats import Focused, IntArray
from hwsim.layers import AveragePool, MaxPool, Padding, Pair
from hwsim.network import Images, IntegerLayer, QuantizedNetwork
from hwsim.simulate import circuit
from hwsim.simulate.inference import Difference, Overflowed, operands, run, weight_operands, windows
from hwsim.simulate.verilog import run_verilog


@dataclass(frozen=True)
class Replay:
    """How much of one layer each simulator ran, and the first difference if any: ``compared`` of its outputs."""

    layer: str
    compared: int
    cycles: int
    difference: Difference | None


def replay(
    network: QuantizedNetwork,
    images: Images,
    *,
    outputs: int = 4,
    simulators: Sequence[str] = ("pyrtl",),
    seed: int = 0,
    mac: str = "mac",
    progress: Callable[[int, int], None] = lambda done, planned: None,
) -> tuple[Replay, ...]:
    """Run ``outputs`` outputs of every layer that computes through its circuits and compare.

    They are drawn with ``seed`` from all outputs over ``images``, half of them from sums that overflowed where
    there are so many, and go through each of the ``simulators``, names of :data:`SIMULATORS`. ``progress`` is told the
    layers done and planned.
    """
    formats = network.formats()
    runners = [look_up("simulator", name, SIMULATORS) for name in simulators]
    rng = np.random.default_rng(seed)
    replays, order = list[Replay](), [item.layer.name for item in network.layers]

    def compare(
        item: IntegerLayer, inputs: tuple[IntArray, ...], output: IntArray, overflowed: Overflowed | None
    ) -> None:
        circuits = parts(item, formats, network.rounding, mac=mac)
        if circuits:
            places = sample(output, overflowed, outputs, rng)
            found = (
                d for runner in runners for d in _compare(item, circuits, inputs, output, places, runner)
            )
            cycles = len(places) * cycles_per_output(item, circuits)
            replays.append(Replay(item.layer.name, len(places), cycles, next(found, None)))
        progress(order.index(item.layer.name) + 1, len(order))

    run(network, images, compare)
    return tuple(replays)


def cycles_per_output(item: IntegerLayer, circuits: Mapping[str, Datapath]) -> int:
    """Return the clock cycles that one output of a layer takes on its circuits."""
    return sum(_terms(item, part, circuit) for part, circuit in circuits.items())


def _terms(item: IntegerLayer, part: str, datapath: Datapath) -> int:
    """Return the clock cycles of one circuit of a layer for one output."""
    operator = item.layer.operator
    if part == "mac":
        return sum_cycles(datapath, item.layer.products)
    if part == "input_sum":
        return item.layer.products * len(item.mask_rows)
    if part in ("average_pool", "max_pool"):
        assert isinstance(operator, AveragePool | MaxPool)
        return operator.kernel[0] * operator.kernel[1]
    return 1


def sample(output: IntArray, overflowed: Overflowed | None, count: int, rng: np.random.Generator) -> IntArray:
    """Return ``count`` places [count, 4] of an output tensor [n, c, h, w]; all of them in order if so many."""
    if count >= output.size:
        flat = np.arange(output.size)
    else:
        special = np.flatnonzero(overflowed) if overflowed is not None else np.zeros(0, np.int64)
        chosen = rng.choice(special, min(count // 2, special.size), replace=False)
        others = np.setdiff1d(np.arange(output.size), chosen)
        flat = np.concatenate([chosen, rng.choice(others, count - chosen.size, replace=False)])
    return np.stack(np.unravel_index(flat, output.shape), axis=1)


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
    "verilator": _one_behind_the_other(partial(run_verilog, tool="verilator")),
}
"""PyRTL's FastSimulation, and Icarus Verilog and Verilator on the exported text."""


def _compare(
    item: IntegerLayer,
    circuits: Mapping[str, Datapath],
    inputs: tuple[IntArray, ...],
    output: IntArray,
    places: IntArray,
    runner: Runner,
) -> Iterator[Difference]:
    """Yield the first difference of each circuit of a layer at some places."""
    for one in runs(item, circuits, inputs, output, places, runner):
        wrong = np.flatnonzero(one.values != one.expected)
        if wrong.size:
            i = wrong[0]
            where = tuple(int(x) for x in places[i % len(places)])
            yield Difference(item.layer.name, one.part, where, int(one.values[i]), int(one.expected[i]))


class Run(NamedTuple):
    """One circuit of a layer, run at some places of its output: inputs [cycles, lanes], and what came and should come."""

    part: str
    datapath: Datapath
    streams: dict[str, IntArray]
    values: IntArray
    expected: IntArray


def runs(
    item: IntegerLayer,
    circuits: Mapping[str, Datapath],
    inputs: tuple[IntArray, ...],
    output: IntArray,
    places: IntArray,
    runner: Runner,
) -> Iterator[Run]:
    """Yield each circuit of a layer, run at ``places`` [lanes, 4] of its output one behind the other.

    A circuit reads what ``runner`` returned for those before it. Sums of inputs have a lane for each mask and place.
    """
    results: dict[str, IntArray] = {}
    for part, datapath in circuits.items():
        streams, expected = _streams(item, part, datapath, inputs, output, places, results)
        if latency(datapath):
            streams = {name: _followed(values, latency(datapath)) for name, values in streams.items()}
        if part != "channel_clamp" and "channel_clamp" in circuits and not datapath.registers:
            # The output is what the clamp behind this circuit makes of it: here the arithmetic is the reference.
            expected = datapath.compute(streams)["output"][0]
        if isinstance(datapath, Scheduled):
            streams = datapath.operands(streams["activation"], streams["weight"])
        found = runner(datapath, streams)
        values = result(datapath, found)
        results[part] = values
        if part == "resolve":
            results["mac"] = values
        elif isinstance(datapath, FocusedMac):
            results["input_sum"] = np.concatenate([found["sum0"], found["sum1"]])
        elif behind := resolver(datapath):
            results |= {name: found[name] for name in behind.inputs}
        yield Run(part, datapath, streams, values, expected)


def _followed(values: IntArray, cycles: int) -> IntArray:
    """Return operands [cycles, lanes] and zeros behind them, while a pipeline brings the last ones to the sum."""
    return np.concatenate([values, np.zeros((cycles, *values.shape[1:]), values.dtype)])


def result(datapath: Datapath, found: Mapping[str, IntArray]) -> IntArray:
    """Return the one value that a circuit makes: an accumulator, its only register, or its output."""
    whole = resolved(datapath, found)
    return (
        whole["accumulator"]
        if "accumulator" in whole
        else whole[next(iter(datapath.registers or datapath.outputs))]
    )


def _streams(
    item: IntegerLayer,
    part: str,
    datapath: Datapath,
    inputs: tuple[IntArray, ...],
    output: IntArray,
    places: IntArray,
    results: Mapping[str, IntArray],
) -> tuple[dict[str, IntArray], IntArray]:
    """Return a circuit's inputs [cycles, lanes] and the value expected of each lane.

    A lane is a place; for sums of inputs each mask has a lane for each place, one mask behind the other.
    ``results`` are those of the layer's circuits before this one, which a requantiser reads.
    """
    image, channel, row, column = places.T
    expected = output[image, channel, row, column]
    if part == "mac":
        assert item.bits is not None and item.weight is not None
        activations, weights = _sum_operands(item, item.weight, inputs[0], places)
        sums = dot(activations[:, None], weights[:, :, None], item.bits.accumulator, item.bits.overflow)
        if isinstance(datapath, FocusedMac):
            assert isinstance(item.bits.weight, Focused)
            symbols = item.bits.weight.encode(item.weight, item.masks)
            activations, weights = _sum_operands(item, symbols, inputs[0], places)
        return {"activation": activations.T, "weight": weights.T}, sums.values.ravel()
    if part == "resolve":
        return {name: results[name][None] for name in ("sum", "carry")}, results["mac"]
    if part == "input_sum":
        masked = [_sum_operands(item, rows, inputs[0], places) for rows in item.mask_rows]
        activations, masks = (np.concatenate(arrays) for arrays in zip(*masked, strict=True))
        return {"activation": activations.T, "weight": masks.T}, (activations * masks).sum(axis=1)
    if part in ("average_pool", "max_pool"):
        operator = item.layer.operator
        assert isinstance(operator, AveragePool | MaxPool)
        fill = item.output.minimum if part == "max_pool" else 0
        taken = _windows_at(inputs[0], operator.kernel, operator.stride, operator.padding, places, fill)
        return {"activation": taken.T}, expected if part == "max_pool" else taken.sum(axis=1)
    if part == "half_add":
        operands = (x[image, channel, row, column][None] for x in inputs)
        return dict(zip(("first", "second"), operands, strict=True)), expected
    assert item.multiplier is not None and item.shift is not None
    channels = item.layer.output_shape[0]

    def at(constant: IntArray) -> IntArray:
        taken: IntArray = np.broadcast_to(constant, channels)[channel]
        return taken

    if part == "channel_clamp":
        assert item.width is not None and item.exponent is not None
        (*_, value) = results.values()
        streams = {"value": value, "width": at(item.width), "exponent": at(item.exponent)}
        return {name: row[None] for name, row in streams.items()}, expected
    streams = {"shift": at(item.shift)}
    if part == "from_half":
        streams |= {"value": inputs[0][image, channel, row, column], "multiplier": at(item.multiplier)}
        return {name: row[None] for name, row in streams.items()}, expected
    assert item.bias is not None
    streams["bias"] = at(item.bias)
    if part == "add":
        for which, (name, x) in enumerate(zip(("first", "second"), inputs, strict=True)):
            streams[name] = x[image, channel, row, column]
            streams[f"{name}_multiplier"] = np.full(len(places), item.multiplier[which])
    elif part == "requantize_sums":
        assert item.mask_multiplier is not None
        streams["accumulator"] = results["mac"]
        streams["accumulator_multiplier"] = at(item.multiplier)
        for k, constants in enumerate(item.mask_multiplier):
            streams[f"sum{k}"] = results["input_sum"].reshape(-1, len(places))[k]
            streams[f"sum{k}_multiplier"] = at(constants)
    else:
        streams["multiplier"] = at(item.multiplier)
        before = next(iter(results.values()), None)
        streams["accumulator"] = inputs[0][image, channel, row, column] if before is None else before
    return {name: row[None] for name, row in streams.items()}, expected


def _sum_operands(
    item: IntegerLayer, weight: IntArray, x: IntArray, places: IntArray
) -> tuple[IntArray, IntArray]:
    """Return activations and weights [samples, products] of the sums at the sampled places.

    ``weight`` has a row for each output, or one for each group.
    """
    operator = item.layer.as_convolution
    weights = weight_operands(weight, operator.groups)
    height, width = item.layer.output_shape[1:]
    image, channel, row, column = places.T
    used, compact = np.unique(image, return_inverse=True)
    activations = operands(x[used], operator)
    position = (compact * height + row) * width + column
    group, output = np.divmod(channel, operator.out_channels // operator.groups)
    return activations[group, position], weights[group, :, output % weights.shape[2]]


def _windows_at(
    x: IntArray, kernel: Pair, stride: Pair, padding: Padding, places: IntArray, fill: int
) -> IntArray:
    image, channel, row, column = places.T
    taken: IntArray = windows(x, kernel, stride, padding, fill)[image, channel, row, column]
    return taken.reshape(len(places), -1)
