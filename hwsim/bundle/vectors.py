"""Golden vectors: what a network's own operands make of its circuits, clock cycle by clock cycle.

A file of vectors has a line for each clock cycle, its fields in hexadecimal with ``_`` between them: whether the
circuit is reset before the cycle, the values of the inputs, the outputs in the cycle and the registers after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from hwsim.datapath import apart, parts
from hwsim.datapath.datapath import Datapath, describe
from hwsim.errors import HwsimError
from hwsim.formats import Format, IntArray
from hwsim.network import Images, IntegerLayer, QuantizedNetwork
from hwsim.simulate.inference import Overflowed, run
from hwsim.simulate.replay import SIMULATORS, Run, result, runs, sample


@dataclass(frozen=True, eq=False)
class Vectors:
    """One circuit of one layer on a sample of its outputs: a value a clock cycle for every port, int64 [cycles].

    ``layer`` is the layer's number in the network. ``reset`` is 1 in the cycles before which the circuit is reset.
    """

    layer: int
    part: str
    datapath: Datapath
    reset: IntArray
    inputs: Mapping[str, IntArray]
    expected: Mapping[str, IntArray]

    def __len__(self) -> int:
        return len(self.reset)

    def lines(self) -> Iterator[str]:
        """Yield the text of each clock cycle."""
        fields = [(self.reset, 1)]
        formats = {**inputs_of(self.datapath), **expected_of(self.datapath)}
        for name, values in (*self.inputs.items(), *self.expected.items()):
            fields.append((formats[name].encode(values), digits(formats[name])))
        columns = [[f"{code:0{width}x}" for code in codes.tolist()] for codes, width in fields]
        yield from map("_".join, zip(*columns, strict=True))


def inputs_of(datapath: Datapath) -> dict[str, Format]:
    """Return the fields of a vector that go into a circuit, in their order."""
    return dict(datapath.inputs)


def expected_of(datapath: Datapath) -> dict[str, Format]:
    """Return the fields of a vector that a circuit is held against, in their order: outputs, then registers."""
    return {**datapath.outputs, **{name: register.format for name, register in datapath.registers.items()}}


def digits(form: Format) -> int:
    """Return the hexadecimal digits that hold a format."""
    return -(-form.bits // 4)


def golden(
    network: QuantizedNetwork, images: Images, *, outputs: int = 4, seed: int = 0, mac: str = "mac"
) -> tuple[Vectors, ...]:
    """Return the vectors of every circuit of a network, on ``outputs`` outputs of each layer over ``images``.

    They are drawn with ``seed``, half of them from sums that overflowed where there are so many, as
    :func:`hwsim.simulate.replay.replay` draws them. The values are those of exact arithmetic; the last cycle of each
    output is that of the whole network's inference, and PyRTL's simulation of the circuit has agreed with it.
    """
    formats, rng = network.formats(), np.random.default_rng(seed)
    numbers = {item.layer.name: number for number, item in enumerate(network.layers)}
    found: list[Vectors] = []

    def visit(
        item: IntegerLayer, inputs: tuple[IntArray, ...], output: IntArray, overflowed: Overflowed | None
    ) -> None:
        circuits = parts(item, formats, network.rounding, mac=apart(mac))
        if circuits:
            places = sample(output, overflowed, outputs, rng)
            for ran in runs(item, circuits, inputs, output, places, SIMULATORS["pyrtl"]):
                found.append(_vectors(numbers[item.layer.name], ran))

    run(network, images, visit)
    return tuple(found)


def _vectors(layer: int, ran: Run) -> Vectors:
    seen = walk(ran.datapath, ran.streams)
    last = result(ran.datapath, {name: rows[-1] for name, rows in seen.items()})
    if not (np.array_equal(ran.values, ran.expected) and np.array_equal(last, ran.expected)):
        raise HwsimError(
            f"{describe(ran.datapath)} does not compute what the network does; find out where with hwsim check"
        )
    cycles, lanes = next(iter(ran.streams.values())).shape
    reset = np.zeros((cycles, lanes), np.int64)
    reset[0] = 1

    def in_order(rows: Mapping[str, IntArray], names: Mapping[str, Format]) -> dict[str, IntArray]:
        return {name: np.broadcast_to(rows[name], reset.shape).T.ravel() for name in names}

    return Vectors(
        layer,
        ran.part,
        ran.datapath,
        reset.T.ravel(),
        in_order(ran.streams, inputs_of(ran.datapath)),
        in_order(seen, expected_of(ran.datapath)),
    )


def walk(datapath: Datapath, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
    """Return what a datapath's arithmetic makes of inputs [cycles, lanes], each lane from reset.

    The outputs in every cycle and the registers after it, [cycles, lanes].
    """
    lanes = next(iter(inputs.values())).shape[1:]
    state = {name: np.full(lanes, register.reset) for name, register in datapath.registers.items()}
    rows: dict[str, list[IntArray]] = {name: [] for name in expected_of(datapath)}
    for cycle in zip(*inputs.values(), strict=True):
        values = datapath.compute(dict(zip(inputs, cycle, strict=True)) | state)
        state = {name: values[name] for name in datapath.registers}
        for name, row in rows.items():
            row.append(np.broadcast_to(values[name], lanes))
    return {name: np.stack(row) for name, row in rows.items()}
