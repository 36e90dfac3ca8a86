"""What logic synthesis makes of a netlist: a circuit of library cells.

Synthesis works between registers. Nothing is retimed, merged or removed across a register, so that every
register bit is one flip-flop and equivalence is a combinational question.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hwsim.errors import HwsimError


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
    return Mapped(sides["input"], sides["output"], in_order(cells))


def _net(bit: int | str) -> int:
    return {"0": 0, "1": 1, "x": 0}[bit] if isinstance(bit, str) else bit


def in_order(cells: Sequence[Instance]) -> tuple[Instance, ...]:
    """Return cells each after those it reads; refuse a loop."""
    return tuple(_topological(cells))


def _topological(cells: Sequence[Instance]) -> Iterator[Instance]:
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
