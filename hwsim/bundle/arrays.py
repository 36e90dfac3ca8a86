"""A systolic array beside a network's circuits, with vectors of the network's own sums."""

from __future__ import annotations

import numpy as np

from hwsim.arithmetic import dot
from hwsim.bundle.vectors import Vectors, expected_of, inputs_of, walk
from hwsim.datapath.output_stationary_array import OutputStationaryArray
from hwsim.datapath.systolic import MACS
from hwsim.errors import HwsimError
from hwsim.formats import IntArray
from hwsim.network import Images, IntegerLayer, QuantizedNetwork
from hwsim.simulate.inference import Overflowed, operands, run, weight_operands

PART = "array"


def array_vectors(network: QuantizedNetwork, image: Images, rows: int, columns: int) -> tuple[Vectors, ...]:
    """Return the vectors of an output-stationary array in the formats of each layer with weights, on one image [1, h, w, c].

    A layer's vectors are one fold: its first ``rows`` positions and ``columns`` output channels of the first group,
    zeros where it has fewer, all products from reset until the sums have left at the bottom. Every register of every
    element is expected in every cycle. Layers whose weights have no array are left out. Raises :class:`HwsimError`
    where the array's product is not that of the network's arithmetic.
    """
    found: list[Vectors] = []
    numbers = {item.layer.name: number for number, item in enumerate(network.layers)}

    def visit(
        item: IntegerLayer, inputs: tuple[IntArray, ...], output: IntArray, overflowed: Overflowed | None
    ) -> None:
        if item.bits is not None and type(item.bits.weight) in MACS:
            found.append(_fold(numbers[item.layer.name], item, inputs[0], rows, columns))

    run(network, image, visit)
    return tuple(found)


def _fold(number: int, item: IntegerLayer, x: IntArray, rows: int, columns: int) -> Vectors:
    assert item.bits is not None and item.weight is not None
    bits, operator = item.bits, item.layer.as_convolution
    array = OutputStationaryArray(
        bits.weight,  # type: ignore[arg-type]  # one of MACS
        bits.activation,
        bits.accumulator,
        rows,
        columns,
        bits.overflow,
    )
    activations = _sized(operands(x, operator)[0], rows, 0)
    weights = _sized(weight_operands(item.weight, operator.groups)[0], columns, 1)
    streams = {name: values[:, None] for name, values in array.streams(activations, weights).items()}
    seen = walk(array, streams)
    if not np.array_equal(
        array.product({name: row[:, 0] for name, row in seen.items()}), _sums(array, activations, weights)
    ):
        raise HwsimError(f"the array's sums of layer \"{item.layer.name}\" are not the network's; report it")
    reset = np.zeros(len(next(iter(streams.values()))), np.int64)
    reset[0] = 1
    return Vectors(
        number,
        PART,
        array,
        reset,
        {name: streams[name][:, 0] for name in inputs_of(array)},
        {name: seen[name][:, 0] for name in expected_of(array)},
    )


def _sized(values: IntArray, count: int, axis: int) -> IntArray:
    """Return the first ``count`` along an axis, with zeros behind where there are fewer."""
    taken = np.take(values, range(min(count, values.shape[axis])), axis=axis)
    missing = [(0, count - taken.shape[axis] if k == axis else 0) for k in range(2)]
    return np.pad(taken, missing)


def _sums(array: OutputStationaryArray, activations: IntArray, weights: IntArray) -> IntArray:
    return dot(activations, weights, array.accumulator, array.overflow).values
