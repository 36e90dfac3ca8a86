"""Netlists on both sides of logic synthesis: a datapath's clock cycle in, a circuit of library cells out.

Synthesis works between registers: a register's value is an input port of the netlist and its next value,
behind the synchronous reset, the output port ``next_<name>``. Nothing is retimed, merged or removed across a
register, so that every register bit is one flip-flop and equivalence is a combinational question.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyrtl

from hwsim.datapath.datapath import Datapath, elaborate
from hwsim.errors import HwsimError

RESET = "RESET"
"""The synchronous reset's port: capitals, so that no port of a datapath has its name."""


def clock_cycle(datapath: Datapath) -> pyrtl.Block:
    """Return the combinational block of one clock cycle, registers cut, with the synchronous reset in it."""
    block = elaborate(datapath, cut_registers=True)
    if not datapath.registers:
        return block
    with pyrtl.set_working_block(block, no_sanity_check=True):
        reset = pyrtl.Input(1, RESET)
        drivers, _ = block.net_connections()
        for name, register in datapath.registers.items():
            bits = register.format.bits
            output = block.get_wirevector_by_name(f"next_{name}", strict=True)
            net = drivers[output]
            value = int(register.format.encode(register.reset)) & ((1 << bits) - 1)  # type: ignore[arg-type]
            block.logic.remove(net)
            output <<= pyrtl.select(reset, pyrtl.Const(value, bits), net.args[0])
    return block


def ordered(block: pyrtl.Block) -> list[pyrtl.LogicNet]:
    """Return the nets that reach an output, each after the nets it reads, in an order its structure alone gives.

    PyRTL's own order and wire names depend on the hash seed and on what the process elaborated before.
    """
    drivers, _ = block.net_connections()
    nets: list[pyrtl.LogicNet] = []
    seen: set[pyrtl.WireVector] = set()
    stack = [(wire, False) for wire in sorted(block.wirevector_subset(pyrtl.Output), key=_name, reverse=True)]
    while stack:
        wire, complete = stack.pop()
        if complete:
            nets.append(drivers[wire])
        elif wire not in seen and not isinstance(wire, pyrtl.Input | pyrtl.Const):
            seen.add(wire)
            stack.append((wire, True))
            stack.extend((arg, False) for arg in reversed(drivers[wire].args))
    return nets


def _name(wire: pyrtl.WireVector) -> str:
    return str(wire.name)


def ports(block: pyrtl.Block, kind: type[pyrtl.WireVector]) -> list[pyrtl.WireVector]:
    """Return a block's Inputs or Outputs by name."""
    return sorted(block.wirevector_subset(kind), key=_name)


def verilog(block: pyrtl.Block) -> str:
    """Return a combinational block as Verilog that depends on its structure and port names only."""
    nets = ordered(block)
    inputs, outputs = ports(block, pyrtl.Input), ports(block, pyrtl.Output)
    names = {
        wire: f"\\{wire.name} " for wire in (*inputs, *outputs)
    }  # escaped: "output" is a Verilog keyword
    for net in nets:
        names.setdefault(net.dests[0], f"N{len(names)}")

    def text(wire: pyrtl.WireVector) -> str:
        return f"{len(wire)}'d{wire.val}" if isinstance(wire, pyrtl.Const) else names[wire]

    heads = [f"input [{len(wire) - 1}:0] {names[wire]}" for wire in inputs]
    heads += [f"output [{len(wire) - 1}:0] {names[wire]}" for wire in outputs]
    lines = [f"module datapath({', '.join(heads)});"]
    for net in nets:
        wire = net.dests[0]
        if not isinstance(wire, pyrtl.Output):
            lines.append(f"wire [{len(wire) - 1}:0] {names[wire]};")
        lines.append(f"assign {names[wire]} = {_expression(net, [text(arg) for arg in net.args])};")
    return "\n".join([*lines, "endmodule", ""])


_INFIX = {"&": "&", "|": "|", "^": "^", "+": "+", "-": "-", "*": "*", "<": "<", ">": ">", "=": "=="}


def _expression(net: pyrtl.LogicNet, args: list[str]) -> str:
    if net.op in _INFIX:
        return f"{args[0]} {_INFIX[net.op]} {args[1]}"
    if net.op == "s":
        bits = [int(args[0].split("'d")[1]) >> bit & 1 if "'d" in args[0] else bit for bit in net.op_param]
        form = "1'b{}" if "'d" in args[0] else f"{args[0]}[{{}}]"
        return "{" + ", ".join(form.format(bit) for bit in reversed(bits)) + "}"
    if net.op == "w":
        return args[0]
    if net.op == "~":
        return f"~{args[0]}"
    if net.op == "n":
        return f"~({args[0]} & {args[1]})"
    if net.op == "x":
        return f"{args[0]} ? {args[2]} : {args[1]}"
    if net.op == "c":
        return "{" + ", ".join(args) + "}"
    raise AssertionError(net)  # elaborate has refused memories and registers of connect's own


@dataclass(frozen=True)
class Instance:
    """One cell of a mapped netlist: the nets on its input pins by pin name, and the net it drives."""

    cell: str
    pins: Mapping[str, int]
    output: int


@dataclass(frozen=True)
class Mapped:
    """A circuit of library cells, each after the cells it reads. Net 0 is constant 0 and net 1 constant 1."""

    inputs: Mapping[str, Sequence[int]]
    outputs: Mapping[str, Sequence[int]]
    instances: Sequence[Instance]


def mapped(module: Mapping[str, Any]) -> Mapped:
    """Return the netlist in one module of Yosys' JSON; refuse a loop, which no combinational circuit has."""
    sides: dict[str, dict[str, list[int]]] = {"input": {}, "output": {}}
    for name, port in sorted(module["ports"].items()):
        sides[port["direction"]][name] = [_net(bit) for bit in port["bits"]]
    cells = []
    for _, cell in sorted(module["cells"].items()):
        pins = {pin: _net(bits[0]) for pin, bits in sorted(cell["connections"].items())}
        cells.append(Instance(cell["type"], pins, pins.pop("Y")))
    return Mapped(sides["input"], sides["output"], tuple(_topological(cells)))


def _net(bit: int | str) -> int:
    return {"0": 0, "1": 1, "x": 0}[bit] if isinstance(bit, str) else bit


def _topological(cells: list[Instance]) -> Iterator[Instance]:
    drivers = {cell.output: index for index, cell in enumerate(cells)}
    readers: dict[int, list[int]] = {}
    waiting = []
    for index, cell in enumerate(cells):
        sources = {drivers[net] for net in cell.pins.values() if net in drivers}
        waiting.append(len(sources))
        for source in sources:
            readers.setdefault(source, []).append(index)
    ready = [index for index, count in enumerate(waiting) if not count]
    done = 0
    while ready:
        index = heapq.heappop(ready)
        done += 1
        yield cells[index]
        for reader in readers.get(index, ()):
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(ready, reader)
    if done != len(cells):
        raise HwsimError("the mapped netlist has a combinational loop; report the datapath")
