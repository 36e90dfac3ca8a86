"""Proof that a mapped netlist computes the circuit it was mapped from.

Both sides become and-inverter graphs here, by other code than Yosys': the circuit straight from its PyRTL nets,
the mapped netlist from the functions of its cells. Then every input is tried, or ABC's ``cec`` proves every
output bit equal by SAT.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from functools import reduce

import pyrtl

from hwsim.cost import yosys
from hwsim.cost.netlist import Mapped
from hwsim.cost.technology import Technology
from hwsim.datapath.netlist import ordered, ports
from hwsim.errors import HwsimError

_EXHAUSTIVE_BITS = 16
_RANDOM_VECTORS = 1 << 16
Word = Sequence[int]


class Graph:
    """An and-inverter graph: a literal is twice its node, plus one if negated; node 0 is constant 0."""

    def __init__(self, input_bits: int) -> None:
        self.input_bits = input_bits
        self.nodes: list[tuple[int, int]] = []
        self.outputs: list[int] = []
        self._known: dict[tuple[int, int], int] = {}

    def conjoin(self, left: int, right: int) -> int:
        if left > right:
            left, right = right, left
        if left <= 1 or left ^ 1 == right or left == right:
            return 0 if left == 0 or left ^ 1 == right else right
        if (left, right) not in self._known:
            self.nodes.append((left, right))
            self._known[left, right] = 2 * (self.input_bits + len(self.nodes))
        return self._known[left, right]

    @staticmethod
    def negate(literal: int) -> int:
        return literal ^ 1

    def either(self, left: int, right: int) -> int:
        return self.conjoin(left ^ 1, right ^ 1) ^ 1

    def differ(self, left: int, right: int) -> int:
        return self.either(self.conjoin(left, right ^ 1), self.conjoin(left ^ 1, right))

    def choose(self, select: int, if_one: int, if_zero: int) -> int:
        return self.either(self.conjoin(select, if_one), self.conjoin(select ^ 1, if_zero))

    def add(self, left: Word, right: Word, carry: int = 0) -> list[int]:
        """Ripple sum of two words, one bit wider."""
        result = []
        for a, b in zip(left, right, strict=True):
            parity = self.differ(a, b)
            result.append(self.differ(parity, carry))
            carry = self.either(self.conjoin(a, b), self.conjoin(parity, carry))
        return [*result, carry]

    def subtract(self, left: Word, right: Word) -> list[int]:
        """Difference of two words with the borrow above it."""
        *difference, carry = self.add(left, [bit ^ 1 for bit in right], 1)
        return [*difference, carry ^ 1]

    def multiply(self, left: Word, right: Word) -> list[int]:
        """Array product of two words."""
        result = [0] * (len(left) + len(right))
        for shift, bit in enumerate(right):
            row = [self.conjoin(bit, other) for other in left]
            result[shift : shift + len(left) + 1] = self.add(result[shift : shift + len(left)], row)
        return result

    def aiger(self) -> bytes:
        """Return the graph in the binary AIGER format (Biere, 2007)."""
        total = self.input_bits + len(self.nodes)
        head = f"aig {total} {self.input_bits} 0 {len(self.outputs)} {len(self.nodes)}\n"
        data = bytearray((head + "".join(f"{literal}\n" for literal in self.outputs)).encode())
        for node, (left, right) in enumerate(self.nodes, self.input_bits + 1):
            for delta in (2 * node - right, right - left):
                while delta > 0x7F:
                    data.append(delta & 0x7F | 0x80)
                    delta >>= 7
                data.append(delta)
        return bytes(data)

    def simulate(self, stimuli: Sequence[int], mask: int) -> list[int]:
        """Return the outputs for one integer of packed vectors an input bit; ``mask`` has a one a vector."""
        values = [0, *stimuli]

        def value(literal: int) -> int:
            return values[literal >> 1] ^ (mask if literal & 1 else 0)

        for left, right in self.nodes:
            values.append(value(left) & value(right))
        return [value(literal) for literal in self.outputs]


def _inputs(widths: Sequence[int]) -> tuple[Graph, list[list[int]]]:
    graph, words, node = Graph(sum(widths)), [], 1
    for width in widths:
        words.append([2 * bit for bit in range(node, node + width)])
        node += width
    return graph, words


def circuit_graph(block: pyrtl.Block) -> Graph:
    """Return a combinational PyRTL block as a graph: input and output bits by port name, lowest bit first."""
    inputs = ports(block, pyrtl.Input)
    graph, words = _inputs([len(wire) for wire in inputs])
    value: dict[pyrtl.WireVector, Word] = dict(zip(inputs, words, strict=True))
    for net in ordered(block):
        args = [_constant(a) if isinstance(a, pyrtl.Const) else value[a] for a in net.args]
        value[net.dests[0]] = _blast(graph, net, args)
    graph.outputs = [bit for wire in ports(block, pyrtl.Output) for bit in value[wire]]
    return graph


def _constant(wire: pyrtl.Const) -> Word:
    return [wire.val >> bit & 1 for bit in range(len(wire))]


def _blast(graph: Graph, net: pyrtl.LogicNet, args: list[Word]) -> Word:
    """Return the bits of one PyRTL net from those of its arguments."""
    match net.op:
        case "w":
            return args[0]
        case "~":
            return [bit ^ 1 for bit in args[0]]
        case "s":
            return [args[0][bit] for bit in net.op_param]
        case "c":
            return [bit for word in reversed(args) for bit in word]
        case "x":
            return [graph.choose(args[0][0], one, zero) for zero, one in zip(args[1], args[2], strict=True)]
        case "+":
            return graph.add(args[0], args[1])
        case "-":
            return graph.subtract(args[0], args[1])
        case "*":
            return graph.multiply(args[0], args[1])
        case "<":
            return graph.subtract(args[0], args[1])[-1:]
        case ">":
            return graph.subtract(args[1], args[0])[-1:]
        case "=":
            return [reduce(graph.either, map(graph.differ, *args)) ^ 1]
        case "&" | "|" | "^" | "n":
            gate = {"&": graph.conjoin, "|": graph.either, "^": graph.differ, "n": graph.conjoin}[net.op]
            return [gate(a, b) ^ (net.op == "n") for a, b in zip(*args, strict=True)]
        case _:
            raise AssertionError(net)  # elaborate has refused memories and registers of connect's own


def mapped_graph(netlist: Mapped, technology: Technology) -> Graph:
    """Return a mapped netlist as a graph, its cells replaced by their functions."""
    graph, words = _inputs([len(bits) for bits in netlist.inputs.values()])
    value = {0: 0, 1: 1}
    for nets, word in zip(netlist.inputs.values(), words, strict=True):
        value.update(zip(nets, word, strict=True))
    for instance in netlist.instances:
        pins = {pin: value[net] for pin, net in instance.pins.items()}
        value[instance.output] = technology.cell[instance.cell].output(pins, graph.conjoin, graph.negate)
    graph.outputs = [value[net] for nets in netlist.outputs.values() for net in nets]
    return graph


def compare(
    block: pyrtl.Block, netlist: Mapped, technology: Technology, timeout_s: float
) -> tuple[bool, str]:
    """Return whether a mapped netlist is known to equal its circuit on every input, and how that is known.

    By every vector of at most 16 input bits; above that by SAT within the time limit; failing that by seeded
    random vectors, which prove nothing. Raises :class:`HwsimError` where the two differ.
    """
    _same_ports(block, netlist)
    circuit, cells = circuit_graph(block), mapped_graph(netlist, technology)
    exhaustive = circuit.input_bits <= _EXHAUSTIVE_BITS
    verdict = None if exhaustive else _prove(circuit, cells, timeout_s)
    proved, method = True, "proved by SAT (ABC cec) between registers"
    if verdict is None:
        count = 1 << circuit.input_bits if exhaustive else _RANDOM_VECTORS
        verdict = _agree(circuit, cells, _stimuli(circuit.input_bits, count, exhaustive), (1 << count) - 1)
        proved, method = exhaustive, f"simulated {count} random vectors, not proved"
        if exhaustive:
            method = f"compared on all {count} inputs between registers"
    if not verdict:
        raise HwsimError(
            "the mapped netlist differs from its circuit, so it has no cost; report the datapath"
        )
    return proved, method


def _same_ports(block: pyrtl.Block, netlist: Mapped) -> None:
    sides: tuple[tuple[type[pyrtl.WireVector], Mapping[str, Sequence[int]]], ...]
    sides = (pyrtl.Input, netlist.inputs), (pyrtl.Output, netlist.outputs)
    for kind, nets in sides:
        if [(wire.name, len(wire)) for wire in ports(block, kind)] != [
            (name, len(nets[name])) for name in nets
        ]:
            raise HwsimError("the mapped netlist has other ports than its circuit; report the datapath")


def _prove(circuit: Graph, cells: Graph, timeout_s: float) -> bool | None:
    """Return ABC's verdict, or nothing where it came to none."""
    with yosys.workplace() as folder:
        (folder / "circuit.aig").write_bytes(circuit.aiger())
        (folder / "cells.aig").write_bytes(cells.aiger())
        try:
            said = yosys.abc(
                f"cec -n -T {math.ceil(timeout_s)} -C 10000000 circuit.aig cells.aig", folder, timeout_s
            )
        except yosys.OutOfTimeError:
            return None
    if "NOT EQUIVALENT" in said:
        return False
    return True if "Networks are equivalent" in said else None


def _agree(circuit: Graph, cells: Graph, stimuli: Sequence[int], mask: int) -> bool:
    return circuit.simulate(stimuli, mask) == cells.simulate(stimuli, mask)


def _stimuli(bits: int, count: int, exhaustive: bool) -> list[int]:
    """Return one integer of ``count`` packed vectors an input bit: all vectors in order, or seeded random ones."""
    if not exhaustive:
        source = random.Random(0)  # noqa: S311
        return [source.getrandbits(count) for _ in range(bits)]
    return [((1 << count) - 1) // ((1 << (1 << bit)) + 1) << (1 << bit) for bit in range(bits)]
