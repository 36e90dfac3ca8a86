"""Energy of a circuit: counted changes of its mapped netlist times the energies of the technology's cells.

A change of a net costs half of capacitance times voltage squared, the capacitance being the input pins it drives (no
wires), and the internal energy of the cell that makes it. A flip-flop costs its clock pin and what the clock moves
inside it in every cycle. Cells leak for as long as a clock cycle lasts. What drives a circuit's operands is not in it, and
neither is a clock tree.

Every output and every flip-flop's next value is compared with the arithmetic in every cycle, so that no energy is that of
a circuit that computes something else.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, fields

from hwsim.cost.activity import Activity, activity
from hwsim.cost.mapping import mapped_netlist
from hwsim.cost.netlist import Mapped
from hwsim.cost.operands import Trace
from hwsim.cost.technology import Technology
from hwsim.cost.timing import critical_path_ps, loads
from hwsim.datapath.datapath import Datapath, describe
from hwsim.errors import HwsimError


@dataclass(frozen=True)
class Energy:
    """Energy in fJ by where it goes.

    ``switching``: nets between cells that settle at another value. ``glitches``: their changes on the way there.
    ``flip_flops``: registers that change. ``clock``: the clock of all registers. ``leakage``: all cells at rest.
    """

    switching: float = 0.0
    glitches: float = 0.0
    flip_flops: float = 0.0
    clock: float = 0.0
    leakage: float = 0.0

    @property
    def total(self) -> float:
        return math.fsum(self.parts.values())

    @property
    def parts(self) -> dict[str, float]:
        """The five parts by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __add__(self, other: Energy) -> Energy:
        return Energy(*(a + b for a, b in zip(self.parts.values(), other.parts.values(), strict=True)))

    def __mul__(self, factor: float) -> Energy:
        return Energy(*(factor * value for value in self.parts.values()))


@dataclass(frozen=True)
class CircuitEnergy:
    """The mean energy of one operation of a circuit, over ``cycles`` of a trace at a clock.

    One operation takes ``slots`` clock cycles where the critical path is longer than the clock period.
    """

    circuit: str
    operation: Energy
    cycles: int
    slots: int


def circuit_energy(
    datapath: Datapath,
    technology: Technology,
    trace: Trace,
    *,
    clock_mhz: float = 500.0,
    mapping: str = "balanced",
    timeout_s: float = 120,
) -> CircuitEnergy:
    """Return the mean energy of an operation of a datapath in a technology, on a trace of its operands.

    Registers are clocked once an operation. Raises :class:`HwsimError` where the technology has no voltage, where
    the trace has no two cycles, and where the netlist computes anything but the trace's outputs.
    """
    check_technology(technology)
    if trace.cycles < 1:
        raise HwsimError(f"switching of {describe(datapath)} needs two cycles of operands; give more images")
    netlist = mapped_netlist(datapath, technology, mapping=mapping, timeout_s=timeout_s)
    counted = activity(netlist, technology, trace.inputs, datapath.registers)
    _sign_off(datapath, counted, trace)
    period_ps = 1e6 / clock_mhz
    slots = max(1, math.ceil(critical_path_ps(netlist, technology, datapath.registers) / period_ps))
    dynamic = _dynamic(datapath, netlist, technology, counted) * (1 / counted.cycles)
    bits = sum(register.format.bits for register in datapath.registers.values())
    still = Energy(
        clock=bits * clock_fj(technology),
        leakage=_leakage_nw(netlist, technology, bits) * slots * period_ps * 1e-6,
    )
    return CircuitEnergy(describe(datapath), dynamic + still, counted.cycles, slots)


def check_technology(technology: Technology) -> None:
    """Refuse a technology without energies."""
    if not technology.physical or not technology.voltage:
        raise HwsimError(
            f'technology "{technology}" has no voltage and so no energy; choose open45, open130 or a Liberty file with '
            "nom_voltage"
        )


def clock_fj(technology: Technology) -> float:
    """Return the energy of one flip-flop's clock in a cycle: two changes of its pin, and what they move inside."""
    flip_flop = technology.flip_flop
    return 2 * _half_cv2(technology, flip_flop.clock_capacitance) + flip_flop.clock_energy


def _half_cv2(technology: Technology, capacitance: float) -> float:
    return 0.5 * capacitance * technology.voltage**2


def _dynamic(datapath: Datapath, netlist: Mapped, technology: Technology, counted: Activity) -> Energy:
    """Return the energy of all changes."""
    load = loads(netlist, technology, datapath.registers)
    inside = {cell.output: technology.cell[cell.cell].energy for cell in netlist.instances}
    registers = {net for name in datapath.registers for net in netlist.inputs[name]}
    found = defaultdict[str, float](float)
    for net, settled in counted.settled.items():
        outside = _half_cv2(technology, load.get(net, 0.0))
        if net in registers:
            found["flip_flops"] += settled * (outside + technology.flip_flop.energy)
        else:
            change = outside + inside.get(net, 0.0)
            found["switching"] += settled * change
            found["glitches"] += (counted.changes[net] - settled) * change
    return Energy(**found)


def _leakage_nw(netlist: Mapped, technology: Technology, flip_flops: int) -> float:
    cells = math.fsum(technology.cell[cell.cell].leakage for cell in netlist.instances)
    return cells + flip_flops * technology.flip_flop.leakage


def _sign_off(datapath: Datapath, counted: Activity, trace: Trace) -> None:
    """Refuse a netlist whose outputs or next registers differ from the arithmetic in any cycle."""
    for name, codes in trace.outputs.items():
        wrong = counted.outputs[name] != codes[1:]
        if wrong.any():
            cycle = int(wrong.argmax())
            raise HwsimError(
                f"the mapped netlist of {describe(datapath)} gives {name} = {counted.outputs[name][cycle]} in cycle "
                f"{cycle + 1} and its arithmetic {codes[cycle + 1]}; report the datapath"
            )
