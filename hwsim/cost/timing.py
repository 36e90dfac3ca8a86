"""Static timing of a mapped netlist: the longest path, each cell's delay a straight line in its load."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection

from hwsim.cost.netlist import Mapped
from hwsim.cost.technology import Technology


def critical_path_ps(netlist: Mapped, technology: Technology, registers: Collection[str]) -> float:
    """Return the shortest clock period in ps; without registers the longest delay from input to output.

    A path starts at a register (clock to Q) or, at time 0, at an input, and ends at a register (its setup time)
    or an output. A load is the sum of the input capacitances it drives; wires have none, outputs neither.
    """
    load = loads(netlist, technology, registers)
    flip_flop = technology.flip_flop
    arrival = {0: 0.0, 1: 0.0}
    for name, nets in netlist.inputs.items():
        for net in nets:
            launch = flip_flop.delay + flip_flop.resistance * load[net]
            arrival[net] = launch if name in registers else 0.0
    ends = [arrival[net] for name in registers for net in netlist.inputs[name]]
    for instance in netlist.instances:
        cell = technology.cell[instance.cell]
        start = max((arrival[net] for net in instance.pins.values()), default=0.0)
        arrival[instance.output] = start + cell.delay + cell.resistance * load[instance.output]
    for name, nets in netlist.outputs.items():
        setup = flip_flop.setup if _is_next(name, registers) else 0.0
        ends.extend(arrival[net] + setup for net in nets if net > 1)
    return max(ends, default=0.0)


def logic_depth(netlist: Mapped) -> int:
    """Return the most cells on one path, cells of a single input (inverters, buffers) not counted."""
    depth: Counter[int] = Counter()
    for instance in netlist.instances:
        longest = max((depth[net] for net in instance.pins.values()), default=0)
        depth[instance.output] = longest + (len(instance.pins) > 1)
    return max((depth[net] for nets in netlist.outputs.values() for net in nets), default=0)


def loads(netlist: Mapped, technology: Technology, registers: Collection[str]) -> dict[int, float]:
    """Return the capacitance in fF on every net that a cell or a flip-flop reads."""
    load: defaultdict[int, float] = defaultdict(float)
    for instance in netlist.instances:
        for net in instance.pins.values():
            load[net] += technology.cell[instance.cell].capacitance
    for name, nets in netlist.outputs.items():
        if _is_next(name, registers):
            for net in nets:
                load[net] += technology.flip_flop.capacitance
    return load


def _is_next(port: str, registers: Collection[str]) -> bool:
    return port.removeprefix("next_") in registers and port.startswith("next_")
