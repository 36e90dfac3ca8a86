"""A datapath's circuit run cycle by cycle, and its logic evaluated for many operands at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, reduce

import numpy as np
import pyrtl

from hwsim.datapath.datapath import Datapath, elaborate
from hwsim.errors import HwsimError
from hwsim.formats import IntArray


def run(
    datapath: Datapath, inputs: Mapping[str, IntArray], reset_every: int | None = None
) -> dict[str, IntArray]:
    """Return a circuit's outputs in every cycle and its registers after every cycle.

    ``inputs`` holds one value a cycle for every input port, int64 [cycles]; so does the result for every
    output port and register. The registers are reset before the first cycle and, with ``reset_every``,
    before every so many further ones: independent sums of that length, one behind the other.
    The netlist is run by PyRTL's own FastSimulation.
    """
    rows = encoded(datapath, inputs)
    cycles = len(next(iter(rows.values()), []))
    simulation, reset = _compiled(datapath)
    registers = {name: f"{name}_register" for name in datapath.registers}
    seen: dict[str, list[int]] = {name: [] for name in (*datapath.outputs, *registers)}
    period = reset_every or cycles
    for cycle, step in enumerate(zip(*rows.values(), strict=True)):
        if cycle % period == 0:
            simulation.regs = dict(reset)
        simulation.step(dict(zip(rows, step, strict=True)))
        for name in datapath.outputs:
            seen[name].append(simulation.inspect(name))
        for name, register in registers.items():
            seen[name].append(simulation.regs[register])
    formats = {**datapath.outputs, **{name: r.format for name, r in datapath.registers.items()}}
    return {
        name: formats[name].decode(np.array(codes, np.uint64).view(np.int64)) for name, codes in seen.items()
    }


def encoded(datapath: Datapath, inputs: Mapping[str, IntArray]) -> dict[str, list[int]]:
    """Return the bit patterns of every input port, one a cycle; refuse other ports and rows of other lengths."""
    if set(inputs) != set(datapath.inputs) or len({np.shape(values) for values in inputs.values()}) > 1:
        given = {name: np.shape(values) for name, values in inputs.items()}
        raise HwsimError(f"a run needs one row of values for each of {list(datapath.inputs)}, not {given}")
    return {name: form.encode(inputs[name]).tolist() for name, form in datapath.inputs.items()}


@lru_cache(maxsize=512)
def _compiled(datapath: Datapath) -> tuple[pyrtl.FastSimulation, dict[str, int]]:
    """Return a circuit ready to run and its registers after reset: compiling costs more than most runs."""
    simulation = pyrtl.FastSimulation(tracer=None, block=elaborate(datapath))
    return simulation, dict(simulation.regs)


Lanes = list[int]
"""A wire for many operands: for each of its bits, least significant first, one integer with a bit a lane."""


def run_lanes(datapath: Datapath, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
    """Return a circuit's outputs in the last cycle and its registers after it, int64 [lanes].

    ``inputs`` holds int64 [cycles, lanes] for every input port: each lane is a run of its own from reset.
    The netlist is evaluated for all lanes at once, as in :func:`evaluate`.
    """
    block = _step(datapath)
    cycles, count = next(iter(inputs.values())).shape
    codes = {name: form.encode(inputs[name]) for name, form in datapath.inputs.items()}
    ones = (1 << count) - 1
    state = {
        name: [
            ones * (int(register.format.encode(np.array(register.reset))) >> k & 1)
            for k in range(register.format.bits)
        ]
        for name, register in datapath.registers.items()
    }
    wires: dict[str, Lanes] = {}
    for cycle in range(cycles):
        packed = {name: _pack(codes[name][cycle], form.bits) for name, form in datapath.inputs.items()}
        wires = _propagate(block, packed | state, ones)
        state = {name: wires[f"next_{name}"] for name in state}
    results = {name: (form, wires[name]) for name, form in datapath.outputs.items()}
    results |= {name: (register.format, state[name]) for name, register in datapath.registers.items()}
    return {name: form.decode(_unpack(lanes, count)) for name, (form, lanes) in results.items()}


@dataclass(frozen=True)
class _Logic:
    """A combinational netlist in an order in which every net's arguments come first."""

    block: pyrtl.Block
    nets: tuple[pyrtl.LogicNet, ...]


@lru_cache(maxsize=512)
def _step(datapath: Datapath) -> _Logic:
    return _logic(elaborate(datapath, cut_registers=True))


def _logic(block: pyrtl.Block) -> _Logic:
    return _Logic(block, tuple(block))


def evaluate(block: pyrtl.Block, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
    """Return the bit patterns at a combinational block's outputs for arrays of patterns at its inputs.

    All lanes at once: each bit of each wire is one long integer, and a gate is one operation on it.
    Nothing of it is shared with PyRTL's simulators.
    """
    count = len(next(iter(inputs.values())))
    widths = {wire.name: len(wire) for wire in block.wirevector_subset(pyrtl.Input)}
    packed = {name: _pack(inputs[name], width) for name, width in widths.items()}
    wires = _propagate(_logic(block), packed, (1 << count) - 1)
    return {name: _unpack(lanes, count) for name, lanes in wires.items()}


def _propagate(logic: _Logic, inputs: Mapping[str, Lanes], ones: int) -> dict[str, Lanes]:
    """Return the lanes of a netlist's outputs by name."""
    lanes: dict[pyrtl.WireVector, Lanes] = {}
    for wire in logic.block.wirevector_subset((pyrtl.Input, pyrtl.Const)):
        if isinstance(wire, pyrtl.Const):
            lanes[wire] = [ones * (wire.val >> k & 1) for k in range(len(wire))]
        else:
            lanes[wire] = inputs[wire.name]
    for net in logic.nets:
        lanes[net.dests[0]] = _net(net, [lanes[arg] for arg in net.args], ones)[: len(net.dests[0])]
    return {wire.name: lanes[wire] for wire in logic.block.wirevector_subset(pyrtl.Output)}


def _pack(codes: IntArray, bits: int) -> Lanes:
    octets = [(codes >> shift).astype(np.uint8) for shift in range(0, bits, 8)]
    planes = (octets[k // 8] & np.uint8(1 << k % 8) for k in range(bits))
    return [int.from_bytes(np.packbits(plane, bitorder="little").tobytes(), "little") for plane in planes]


def _unpack(lanes: Lanes, count: int) -> IntArray:
    size = (count + 7) // 8
    packed = np.array([np.frombuffer(lane.to_bytes(size, "little"), np.uint8) for lane in lanes])
    planes = np.unpackbits(packed, axis=1, count=count, bitorder="little").astype(np.int64)
    codes: IntArray = np.bitwise_or.reduce(planes << np.arange(len(lanes))[:, None], axis=0)
    return codes


def _net(net: pyrtl.LogicNet, args: list[Lanes], ones: int) -> Lanes:
    if net.op == "s":
        return [args[0][k] for k in net.op_param]
    if net.op == "x":
        (select,), zero, one = args
        return [z ^ (select & (z ^ o)) for z, o in zip(zero, one, strict=True)]
    return _OPERATIONS[net.op](args, ones)


def _bitwise(gate: Callable[[int, int, int], int]) -> Callable[[list[Lanes], int], Lanes]:
    return lambda args, ones: [gate(a, b, ones) for a, b in zip(*args, strict=True)]


def _sum(a: Lanes, b: Lanes, carry: int) -> Lanes:
    total = []
    for x, y in zip(a, b, strict=True):
        total.append(x ^ y ^ carry)
        carry = x & y | carry & (x ^ y)
    return [*total, carry]


def _difference(args: list[Lanes], ones: int) -> Lanes:
    a, b = args
    *total, carry = _sum(a, [y ^ ones for y in b], ones)
    return [*total, carry ^ ones]


def _product(args: list[Lanes], ones: int) -> Lanes:
    a, b = args
    total = [0] * (len(a) + len(b))
    for k, y in enumerate(b):
        row = [0] * k + [x & y for x in a]
        total = _sum(total, row + [0] * (len(total) - len(row)), 0)[:-1]
    return total


_OPERATIONS: Mapping[str, Callable[[list[Lanes], int], Lanes]] = {
    "&": _bitwise(lambda a, b, ones: a & b),
    "|": _bitwise(lambda a, b, ones: a | b),
    "^": _bitwise(lambda a, b, ones: a ^ b),
    "n": _bitwise(lambda a, b, ones: ones ^ (a & b)),
    "~": lambda args, ones: [a ^ ones for a in args[0]],
    "w": lambda args, ones: args[0],
    "c": lambda args, ones: [bit for arg in reversed(args) for bit in arg],
    "+": lambda args, ones: _sum(args[0], args[1], 0),
    "-": _difference,
    "*": _product,
    "<": lambda args, ones: _difference(args, ones)[-1:],
    ">": lambda args, ones: _difference(args[::-1], ones)[-1:],
    "=": lambda args, ones: [ones ^ reduce(int.__or__, (a ^ b for a, b in zip(*args, strict=True)), 0)],
}
