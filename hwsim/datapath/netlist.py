"""A datapath's clock cycle as a combinational netlist in one fixed order, and as Verilog.

A register's value is an input port of the netlist and its next value, behind the synchronous reset, the output
port ``next_<name>``.
"""

from __future__ import annotations

import re

import pyrtl

from hwsim.datapath.datapath import ELABORATING, Datapath, elaborate
from hwsim.errors import HwsimError

RESET = "RESET"
"""The synchronous reset's port: capitals, so that no port of a datapath has its name."""


def clock_cycle(datapath: Datapath) -> pyrtl.Block:
    """Return the combinational block of one clock cycle, registers cut, with the synchronous reset in it."""
    block = elaborate(datapath, cut_registers=True)
    if not datapath.registers:
        return block
    with ELABORATING, pyrtl.set_working_block(block, no_sanity_check=True):
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


def verilog(block: pyrtl.Block, module: str = "datapath") -> str:
    """Return a combinational block as a Verilog module that depends on its structure and port names only.

    Port names are refused but for lower-case identifiers, which no name of the module's own is.
    """
    nets = ordered(block)
    inputs, outputs = ports(block, pyrtl.Input), ports(block, pyrtl.Output)
    names = {wire: port_name(wire.name) for wire in (*inputs, *outputs)}
    for net in nets:
        names.setdefault(net.dests[0], f"N{len(names)}")

    def text(wire: pyrtl.WireVector) -> str:
        return f"{len(wire)}'d{wire.val}" if isinstance(wire, pyrtl.Const) else names[wire]

    heads = [f"input [{len(wire) - 1}:0] {names[wire]}" for wire in inputs]
    heads += [f"output [{len(wire) - 1}:0] {names[wire]}" for wire in outputs]
    lines = [f"module {module}({', '.join(heads)});"]
    for net in nets:
        wire = net.dests[0]
        if not isinstance(wire, pyrtl.Output):
            lines.append(f"wire [{len(wire) - 1}:0] {names[wire]};")
        lines.append(f"assign {names[wire]} = {_expression(net, [text(arg) for arg in net.args])};")
    return "\n".join([*lines, "endmodule", ""])


def port_name(name: str) -> str:
    """Return a port's name in Verilog: escaped, for "output" is a keyword."""
    if name != RESET and not re.fullmatch("[a-z_][a-z0-9_]*", name):
        raise HwsimError(f'a port cannot be called "{name}"; use lower-case letters, digits and _')
    return f"\\{name} "


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
