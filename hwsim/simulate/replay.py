"""The circuits replay a stated sample of every layer, on the operands of real images.

Each sampled output is computed twice: by the layer's PyRTL circuits, cycle by cycle, and by the exact
arithmetic of the whole-network run. The comparison is strict, at the accumulator and at the output.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hwsim.arithmetic import dot
from hwsim.datapath import parts
from hwsim.datapath.datapath import Datapath
from hwsim.formats import IntArray
from hwsim.layers import AveragePool, MaxPool, Padding, Pair
from hwsim.network import Images, IntegerLayer, QuantizedNetwork
from hwsim.simulate import circuit
from hwsim.simulate.inference import Overflowed, operands, run, weight_operands, windows


@dataclass(frozen=True)
class Difference:
    """The first value on which circuit and arithmetic disagree; ``where`` is (image, channel, row, column)."""

    layer: str
    part: str
    where: tuple[int, ...]
    circuit: int
    arithmetic: int

    def __str__(self) -> str:
        return (
            f"layer {self.layer}, {self.part} at (image, channel, row, column) {self.where}: "
            f"circuit {self.circuit}, arithmetic {self.arithmetic}"
        )


@dataclass(frozen=True)
class Replay:
    """How much of one layer the circuits ran, and the first difference if any."""

    layer: str
    outputs: int
    sampled: int
    cycles: int
    difference: Difference | None


def replay(
    network: QuantizedNetwork,
    images: Images,
    *,
    samples: int = 16,
    seed: int = 0,
    mac: str = "mac",
) -> tuple[Replay, ...]:
    """Run ``samples`` outputs of every layer that computes through its PyRTL circuits and compare.

    ``images`` uint8 [n, h, w, c] are run in exact arithmetic; the sampled places are drawn with ``seed``
    from all of their outputs. Half of a layer's sample are sums that overflowed, where there are so many.
    """
    formats = network.formats()
    rng = np.random.default_rng(seed)
    replays: list[Replay] = []

    def compare(
        item: IntegerLayer, inputs: tuple[IntArray, ...], output: IntArray, overflowed: Overflowed | None
    ) -> None:
        circuits = parts(item, formats, network.rounding, mac=mac)
        if circuits:
            places = _sample(output, overflowed, samples, rng)
            replays.append(_replay_layer(item, circuits, inputs, output, places))

    run(network, images, compare)
    return tuple(replays)


def _sample(
    output: IntArray, overflowed: Overflowed | None, samples: int, rng: np.random.Generator
) -> IntArray:
    """Return sampled places [samples, 4] of an output tensor [n, c, h, w]."""
    special = np.flatnonzero(overflowed) if overflowed is not None else np.zeros(0, np.int64)
    chosen = rng.choice(special, min(samples // 2, special.size), replace=False)
    rest = rng.choice(output.size, min(samples - chosen.size, output.size), replace=False)
    return np.stack(np.unravel_index(np.concatenate([chosen, rest]), output.shape), axis=1)


def _replay_layer(
    item: IntegerLayer,
    circuits: Mapping[str, Datapath],
    inputs: tuple[IntArray, ...],
    output: IntArray,
    places: IntArray,
) -> Replay:
    cycles, difference = 0, None
    values: IntArray | None = None
    for part, datapath in circuits.items():
        streams, expected, terms = _streams(item, part, inputs, output, places, values)
        result = circuit.run(datapath, streams, reset_every=terms if datapath.registers else None)
        port = next(iter(datapath.registers or datapath.outputs))
        values = result[port][terms - 1 :: terms]
        cycles += len(places) * terms
        wrong = np.flatnonzero(values != expected)
        if wrong.size and difference is None:
            i = wrong[0]
            where = tuple(int(x) for x in places[i])
            difference = Difference(item.layer.name, part, where, int(values[i]), int(expected[i]))
    return Replay(item.layer.name, output.size, len(places), cycles, difference)


def _streams(
    item: IntegerLayer,
    part: str,
    inputs: tuple[IntArray, ...],
    output: IntArray,
    places: IntArray,
    values: IntArray | None,
) -> tuple[dict[str, IntArray], IntArray, int]:
    """Return a circuit's input streams, the value expected of each sample, and the cycles a sample takes.

    ``values`` are the results of the layer's circuit before this one, which a requantiser reads.
    """
    image, channel, row, column = places.T
    expected = output[image, channel, row, column]
    if part == "mac":
        activations, weights = _sum_operands(item, inputs[0], places)
        assert item.bits is not None
        sums = dot(activations[:, None], weights[:, :, None], item.bits.accumulator, item.bits.overflow)
        streams = {"activation": activations.ravel(), "weight": weights.ravel()}
        return streams, sums.values.ravel(), activations.shape[1]
    if part in ("average_pool", "max_pool"):
        operator = item.layer.operator
        assert isinstance(operator, AveragePool | MaxPool)
        fill = item.output.minimum if part == "max_pool" else 0
        taken = _windows_at(inputs[0], operator.kernel, operator.stride, operator.padding, places, fill)
        return (
            {"activation": taken.ravel()},
            expected if part == "max_pool" else taken.sum(axis=1),
            taken.shape[1],
        )
    assert item.multiplier is not None and item.bias is not None and item.shift is not None
    per_channel = channel if item.layer.has_weights else np.zeros_like(channel)
    streams = {"bias": item.bias[per_channel], "shift": item.shift[per_channel]}
    if part == "add":
        for which, (name, x) in enumerate(zip(("first", "second"), inputs, strict=True)):
            streams[name] = x[image, channel, row, column]
            streams[f"{name}_multiplier"] = np.full(len(places), item.multiplier[which])
        return streams, expected, 1
    streams["multiplier"] = item.multiplier[per_channel]
    streams["accumulator"] = inputs[0][image, channel, row, column] if values is None else values
    return streams, expected, 1


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
