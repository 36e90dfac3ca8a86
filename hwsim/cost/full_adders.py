"""Full-adder cells: where a circuit has full adders, cut out before the mapper sees the rest, which knows one output a cell.

A full adder is a pair of nodes of the circuit's graph that are parity and majority of the same three nodes, found by
enumerating cuts of three (Pan and Lin, "A new retiming-based technology mapping algorithm for LUT-based FPGAs", FPGA 1998,
for the enumeration). Both functions may have inputs inverted: a full adder of inverted inputs is one with inverted outputs,
so which of the two is chosen, adder by adder, decides how many inverters stand between them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import pyrtl

from hwsim.cost.equivalence import Graph
from hwsim.cost.netlist import Instance, Mapped, in_order
from hwsim.datapath.netlist import port_name, ports

CELL, CARRY = "FA", "FA_CO"
"""The cell as two of one output each: the sum, which has the area and the pins, and the carry."""

_PINS, _SUM, _CARRY = ("CUT_A", "CUT_B", "CUT_C"), "CUT_S", "CUT_CO"
"""Ports of the rest at the adders' pins: capitals, as no port of a datapath has them."""

_ONES = 0xFF
_PLAIN = 0xAA, 0xCC, 0xF0
_CUTS = 12
"""Cuts kept at a node, the smallest first."""


@dataclass(frozen=True)
class FullAdder:
    """Nodes ``leaves`` and what is made of them: ``total`` is their parity and ``carry`` a majority.

    ``odd`` says which leaves the majority takes inverted (and whether it is inverted itself), ``parity`` whether the
    total is the complement of the leaves' parity.
    """

    leaves: tuple[int, int, int]
    total: int
    parity: bool
    carry: int
    odd: tuple[bool, bool, bool, bool]

    def turned(self) -> FullAdder:
        """Return the same adder with every input of its cell inverted, and so both outputs."""
        a, b, c, out = (not one for one in self.odd)
        return replace(self, odd=(a, b, c, out))

    @property
    def total_odd(self) -> bool:
        """Whether the node of the total is the complement of the cell's sum."""
        return self.parity ^ (sum(self.odd[:3]) % 2 == 1)


def _majorities() -> dict[int, tuple[bool, bool, bool, bool]]:
    found = {}
    for odd in product((False, True), repeat=3):
        a, b, c = (table ^ (_ONES if one else 0) for table, one in zip(_PLAIN, odd, strict=True))
        majority = (a & b) | (a & c) | (b & c)
        found[majority] = (odd[0], odd[1], odd[2], False)
    return found


_MAJORITY = _majorities()
_PARITY = {0x96: False, 0x69: True}


def full_adders(graph: Graph) -> list[FullAdder]:
    """Return the full adders of a circuit that share no output, in the order of its nodes."""
    totals: dict[tuple[int, ...], tuple[int, int]] = {}
    carries: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    for node, cuts in _cuts(graph):
        for leaves, table in cuts.items():
            if len(leaves) == 3 and table in _PARITY:
                totals.setdefault(leaves, (node, table))
            elif len(leaves) == 3 and table in _MAJORITY:
                carries.setdefault(leaves, []).append((node, table))
    taken, found = set[int](), list[FullAdder]()
    for leaves, (total, table) in totals.items():
        for carry, majority in carries.get(leaves, ()):
            if total not in taken and carry not in taken:
                taken |= {total, carry}
                a, b, c = leaves
                found.append(FullAdder((a, b, c), total, _PARITY[table], carry, _MAJORITY[majority]))
    return _with_few_inverters(graph, _needed(graph, found))


def _cuts(graph: Graph) -> Iterator[tuple[int, dict[tuple[int, ...], int]]]:
    """Yield every node with its cuts of up to three leaves and its truth table, of three variables, over each."""
    kept: list[dict[tuple[int, ...], int]] = [{(): 0}]
    kept += [{(node,): _PLAIN[0]} for node in range(1, graph.input_bits + 1)]
    for node, (left, right) in enumerate(graph.nodes, graph.input_bits + 1):
        found: dict[tuple[int, ...], int] = {}
        for (near, one), (far, other) in product(kept[left >> 1].items(), kept[right >> 1].items()):
            leaves = tuple(sorted({*near, *far}))
            if len(leaves) <= 3 and leaves not in found:
                first, second = _over(one, near, leaves), _over(other, far, leaves)
                found[leaves] = (first ^ -(left & 1) & _ONES) & (second ^ -(right & 1) & _ONES)
        yield node, found
        kept.append(dict(sorted(found.items(), key=lambda cut: len(cut[0]))[:_CUTS]) | {(node,): _PLAIN[0]})


def _over(table: int, leaves: Sequence[int], more: Sequence[int]) -> int:
    """Return a truth table over some leaves as one over more of them."""
    places = [more.index(leaf) for leaf in leaves]
    rows = (sum((row >> place & 1) << k for k, place in enumerate(places)) for row in range(8))
    return sum((table >> index & 1) << row for row, index in enumerate(rows))


def _needed(graph: Graph, adders: list[FullAdder]) -> list[FullAdder]:
    """Return the adders of whose two outputs the rest, or another such adder, reads both."""
    while True:
        reached = _reached(graph, adders)
        kept = [adder for adder in adders if {adder.total, adder.carry} <= reached]
        if len(kept) == len(adders):
            return kept
        adders = kept


def _reached(graph: Graph, adders: Sequence[FullAdder]) -> set[int]:
    """Return the nodes that outputs depend on where adders are cells."""
    sources = {node: adder.leaves for adder in adders for node in (adder.total, adder.carry)}
    reached, waiting = set[int](), [literal >> 1 for literal in graph.outputs]
    while waiting:
        node = waiting.pop()
        if node not in reached:
            reached.add(node)
            if node in sources:
                waiting.extend(sources[node])
            elif node > graph.input_bits:
                waiting.extend(literal >> 1 for literal in graph.nodes[node - graph.input_bits - 1])
    return reached


def _with_few_inverters(graph: Graph, adders: list[FullAdder]) -> list[FullAdder]:
    """Return the adders, some turned so that few inverters are needed, the better of two descents."""
    starts = [[_least(adder) for adder in adders], [_least(adder).turned() for adder in adders]]
    return min((_descended(graph, start) for start in starts), key=lambda found: _inverters(graph, found))


def _least(adder: FullAdder) -> FullAdder:
    return min(adder, adder.turned(), key=lambda one: sum(one.odd[:3]))


def _descended(graph: Graph, adders: list[FullAdder]) -> list[FullAdder]:
    """Return the adders after turning, one after the other, each that then needs fewer inverters, twice over."""
    readers: dict[int, list[int]] = {}
    for index, adder in enumerate(adders):
        for node in _nodes(adder):
            readers.setdefault(node, []).append(index)
    for index in [*range(len(adders))] * 2:
        near = {other for node in _nodes(adders[index]) for other in readers[node]}
        before = _inverters(graph, [adders[other] for other in sorted(near)])
        turned = [*adders[:index], adders[index].turned(), *adders[index + 1 :]]
        if _inverters(graph, [turned[other] for other in sorted(near)]) < before:
            adders = turned
    return adders


def _nodes(adder: FullAdder) -> tuple[int, ...]:
    return (*adder.leaves, adder.total, adder.carry)


def _inverters(graph: Graph, adders: Sequence[FullAdder]) -> float:
    """Return about how many inverters adders need: an AND gate's complement is cheaper than itself, by half of one."""
    made = {}
    for adder in adders:
        made[adder.total], made[adder.carry] = adder.total_odd, adder.odd[3]
    wanted = {(leaf, odd) for adder in adders for leaf, odd in zip(adder.leaves, adder.odd, strict=False)}
    cost = 0.0
    for leaf, odd in wanted:
        if leaf in made or leaf <= graph.input_bits:
            cost += odd != made.get(leaf, False)
        else:
            cost -= 0.5 * odd
    return cost


def rest(graph: Graph, block: pyrtl.Block, adders: Sequence[FullAdder]) -> str:
    """Return the circuit without its adders as a Verilog module ``datapath``, their pins its ports."""
    inputs, outputs = ports(block, pyrtl.Input), ports(block, pyrtl.Output)
    names = ["1'b0", *(f"{port_name(wire.name)}[{bit}]" for wire in inputs for bit in range(len(wire)))]
    made = {}
    for index, adder in enumerate(adders):
        made[adder.total] = f"{'~' * adder.total_odd}{_SUM}[{index}]"
        made[adder.carry] = f"{'~' * adder.odd[3]}{_CARRY}[{index}]"
    names += [f"N{node}" for node in range(len(names), graph.input_bits + len(graph.nodes) + 1)]

    def text(literal: int) -> str:
        return "~" * (literal & 1) + names[literal >> 1]

    lines = []
    for node, (left, right) in enumerate(graph.nodes, graph.input_bits + 1):
        lines.append(f"wire N{node} = {made.get(node) or f'{text(left)} & {text(right)}'};")
    places = [f"{port_name(wire.name)}[{bit}]" for wire in outputs for bit in range(len(wire))]
    lines += [
        f"assign {place} = {text(literal)};" for place, literal in zip(places, graph.outputs, strict=True)
    ]
    for index, adder in enumerate(adders):
        pins = zip(_PINS, adder.leaves, adder.odd, strict=False)
        lines += [f"assign {pin}[{index}] = {'~' * odd}{names[leaf]};" for pin, leaf, odd in pins]
    heads = [f"input [{len(wire) - 1}:0] {port_name(wire.name)}" for wire in inputs]
    heads += [f"output [{len(wire) - 1}:0] {port_name(wire.name)}" for wire in outputs]
    sides = (("input", (_SUM, _CARRY)), ("output", _PINS))
    heads += [f"{side} [{len(adders) - 1}:0] {name}" for side, group in sides for name in group if adders]
    return "\n".join([f"module datapath({', '.join(heads)});", *lines, "endmodule", ""])


def joined(netlist: Mapped) -> Mapped:
    """Return the mapped rest with the cells of its adders in their places."""
    inputs, outputs = dict(netlist.inputs), dict(netlist.outputs)
    if _SUM not in inputs:
        return netlist
    sums, carries = inputs.pop(_SUM), inputs.pop(_CARRY)
    columns = zip(*(outputs.pop(pin) for pin in _PINS), strict=True)
    pins: list[Mapping[str, int]] = [dict(zip("ABC", nets, strict=True)) for nets in columns]
    cells = [Instance(CELL, nets, total) for nets, total in zip(pins, sums, strict=True)]
    cells += [Instance(CARRY, nets, carry) for nets, carry in zip(pins, carries, strict=True)]
    return Mapped(inputs, outputs, in_order([*netlist.instances, *cells]))
