"""The contract check finds what is wrong, and the circuits run as PyRTL runs them."""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pyrtl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.datapath import Register
from hwsim.datapath.add import Add
from hwsim.datapath.mac import Mac
from hwsim.datapath.pool import AveragePool, MaxPool
from hwsim.datapath.requantize import Requantize
from hwsim.datapath.shift_mac import ShiftMac
from hwsim.errors import HwsimError
from hwsim.formats import Int, Overflow, PowerOfTwo, Rounding
from hwsim.simulate.check import check, check_datapath
from hwsim.simulate.circuit import evaluate, run


@dataclass(frozen=True)
class Changed:
    """A datapath with some of its members replaced."""

    datapath: Any
    change: Any

    def __getattr__(self, name):
        return getattr(self.datapath, name)

    def connect(self, wires):
        results = self.datapath.connect(wires)
        return self.change(results)


def flip(index):
    """Return a change that turns one AND, OR or XOR gate of the netlist into another kind."""

    def change(results):
        block = pyrtl.working_block()
        gates = sorted(block.logic_subset("&|^"), key=lambda net: (len(net.dests[0].name), net.dests[0].name))
        net = gates[index * 7919 % len(gates)]
        block.logic.remove(net)
        block.add_net(pyrtl.LogicNet({"&": "|", "|": "&", "^": "&"}[net.op], None, net.args, net.dests))
        return results

    return change


@pytest.mark.parametrize(
    "datapath",
    [
        Mac(Int(8), Int(8), Int(32)),
        Mac(Int(8), Int(8, signed=False), Int(16), Overflow.SATURATE, "baugh_wooley"),
        Mac(Int(8), Int(8), Int(8), Overflow.SATURATE),
        ShiftMac(PowerOfTwo(4), Int(8), Int(16), Overflow.SATURATE),
        ShiftMac(PowerOfTwo(5), Int(8, signed=False), Int(32)),
        Requantize(Int(32), Int(8), Rounding.HALF_EVEN),
        Requantize(Int(16), Int(4, signed=False)),
        Add(Int(8), Int(8, signed=False), Int(8)),
        MaxPool(Int(8)),
        AveragePool(Int(8), Int(12)),
    ],
    ids=str,
)
def test_twenty_planted_faults_are_twenty_refused(datapath):
    for index in range(20):
        found = check(Changed(datapath, flip(index)), samples=1 << 12)
        print(index, found.counterexample)
