"""A clocked PyRTL block as a datapath: any netlist of two inputs and one register, run as whole layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyrtl

from hwsim.datapath.datapath import Register
from hwsim.errors import HwsimError
from hwsim.formats import Format, Int, IntArray
from hwsim.simulate.lanes.netlist import in_order


@dataclass(frozen=True)
class Netlist:
    """A block's circuit, with the formats of its inputs ``activation`` and ``weight`` and of its one register.

    A block says how many bits its wires have and not what they mean, so the formats are given. It may have outputs,
    which are left out, and no memories. The register begins with its reset value, else with 0. Stands where a
    datapath stands for :func:`~hwsim.simulate.lanes.reduce`; it has no arithmetic of its own to be held against.
    Raises :class:`HwsimError` where the block's inputs and register are others or have other widths.
    """

    block: pyrtl.Block = field(repr=False)
    activation: Int
    weight: Format
    accumulator: Int

    def __post_init__(self) -> None:
        if not isinstance(self.block, pyrtl.Block):
            raise HwsimError(f"{self.block!r} is no block; give a pyrtl.Block")
        formats = {"activation": self.activation, "weight": self.weight}
        found = {wire.name: len(wire) for wire in self.block.wirevector_subset(pyrtl.Input)}
        registers = self.block.wirevector_subset(pyrtl.Register)
        wanted = {name: form.bits for name, form in formats.items()}
        if found != wanted or [len(wire) for wire in registers] != [self.accumulator.bits]:
            state = {wire.name: len(wire) for wire in registers}
            raise HwsimError(
                f"the block has the inputs {found} and registers {state}, in bits; a reduction needs {wanted} "
                f"and one register of {self.accumulator.bits}"
            )
        if self.block.logic_subset("m@"):
            raise HwsimError("the block has a memory; a reduction has one register and nothing else")

    @property
    def _register(self) -> pyrtl.Register:
        return next(iter(self.block.wirevector_subset(pyrtl.Register)))

    @property
    def inputs(self) -> Mapping[str, Format]:
        return {"activation": self.activation, "weight": self.weight}

    @property
    def registers(self) -> Mapping[str, Register]:
        reset = (self._register.reset_value or 0) & (1 << self.accumulator.bits) - 1
        negative = self.accumulator.signed and reset >> self.accumulator.bits - 1
        return {"accumulator": Register(self.accumulator, reset - (negative << self.accumulator.bits))}

    @property
    def outputs(self) -> Mapping[str, Int]:
        return {}

    def compute(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        raise HwsimError("a netlist has no arithmetic; simulate it with hwsim.simulate.LaneSimulation")

    def connect(self, wires: Mapping[str, pyrtl.WireVector]) -> dict[str, pyrtl.WireVector]:
        """Rebuild the block's nets on other wires."""
        made = {name: wires[name] for name in self.inputs} | {self._register.name: wires["accumulator"]}
        for wire in self.block.wirevector_subset(pyrtl.Const):
            made[wire.name] = pyrtl.Const(wire.val, len(wire))
        following = wires["accumulator"]
        for net in in_order(self.block):
            args = tuple(made[arg.name] for arg in net.args)
            if net.op == "r":
                following = args[0]
                continue
            (dest,) = net.dests
            made[dest.name] = pyrtl.WireVector(len(dest))
            pyrtl.working_block().add_net(pyrtl.LogicNet(net.op, net.op_param, args, (made[dest.name],)))
        return {"accumulator": following[: self.accumulator.bits]}
