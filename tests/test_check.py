"""The contract check finds what is wrong, and the circuits run as PyRTL runs them."""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pyrtl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.datapath import DATAPATHS, Register, describe, elaborate
from hwsim.datapath.add import Add
from hwsim.datapath.adder_tree import AdderTree
from hwsim.datapath.apot_mac import ApotMac
from hwsim.datapath.bit_serial_mac import BitSerialMac
from hwsim.datapath.constant_dot import ConstantDot
from hwsim.datapath.decomposable_mac import DecomposableMac
from hwsim.datapath.mac import Mac
from hwsim.datapath.output_stationary_array import OutputStationaryArray
from hwsim.datapath.pool import AveragePool, MaxPool
from hwsim.datapath.requantize import Requantize
from hwsim.datapath.resolve import Resolve
from hwsim.datapath.shift_mac import ShiftMac
from hwsim.datapath.weight_stationary_array import WeightStationaryArray
from hwsim.errors import HwsimError
from hwsim.formats import AdditivePowersOfTwo, Int, Overflow, PowerOfTwo, Rounding
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
        Mac(Int(8), Int(8), Int(32), Overflow.WRAP, "wallace"),
        Mac(Int(7), Int(8, signed=False), Int(16), Overflow.SATURATE, "booth"),
        Mac(Int(8), Int(8), Int(32), adder="kogge_stone"),
        Mac(Int(8), Int(8), Int(32), multiplier="booth", adder="carry_save"),
        Mac(Int(6), Int(8, signed=False), Int(16), Overflow.SATURATE, "booth", "kogge_stone", 2),
        Mac(Int(8), Int(8), Int(24), adder="carry_save", stages=2),
        ShiftMac(PowerOfTwo(4), Int(8), Int(16), adder="carry_save", stages=2),
        Resolve(Int(24), "kogge_stone"),
        ConstantDot("-43,91,-117,5,33,-2,77,-6", Int(8)),
        ShiftMac(PowerOfTwo(4), Int(8), Int(16), Overflow.SATURATE),
        ShiftMac(PowerOfTwo(5), Int(8, signed=False), Int(32)),
        ApotMac(AdditivePowersOfTwo(4), Int(8), Int(16), Overflow.SATURATE),
        ApotMac(AdditivePowersOfTwo(7), Int(8, signed=False), Int(32)),
        AdderTree(Int(4), Int(4), Int(16), 4),
        DecomposableMac(Int(8), Int(8), Int(32)),
        BitSerialMac(Int(8), Int(8), Int(32)),
        OutputStationaryArray(Int(4), Int(4), Int(16), 2, 2),
        WeightStationaryArray(Int(4), Int(4), Int(12), 2, 2, Overflow.SATURATE),
        AdderTree(Int(8), Int(8, signed=False), Int(32), 3, Overflow.SATURATE),
        Requantize(Int(32), Int(8), Rounding.HALF_EVEN),
        Requantize(Int(16), Int(4, signed=False)),
        Add(Int(8), Int(8, signed=False), Int(8)),
        MaxPool(Int(8)),
        AveragePool(Int(8), Int(12)),
    ],
    ids=describe,
)
def test_twenty_planted_faults_are_twenty_refused(datapath):
    missed = [
        index for index in range(20) if not check(Changed(datapath, flip(index)), samples=512).counterexample
    ]
    assert missed == []


@pytest.mark.parametrize("kind", DATAPATHS.values())
def test_no_gate_is_built_in_vain(kind):
    for datapath in kind.variants():
        block = elaborate(datapath)
        used = {wire for net in block.logic for wire in net.args}
        ports = block.wirevector_subset(pyrtl.Output)
        vain = [net for net in block.logic if net.op in "&|^~x" and net.dests[0] not in used | ports]
        assert vain == []


@dataclass(frozen=True)
class Doubler:
    """Twice an operand: a small datapath for others to spoil."""

    bits: int = 4

    inputs = property(lambda self: {"x": Int(self.bits)})
    registers = property(lambda self: {})
    outputs = property(lambda self: {"y": Int(self.bits + 1)})

    def compute(self, values):
        return {"y": 2 * values["x"]}

    def connect(self, wires):
        return {"y": pyrtl.concat(wires["x"], pyrtl.Const(0, 1))}

    @staticmethod
    def variants():
        yield Doubler(4)
        yield Doubler(20)


def test_a_sound_datapath_passes_and_says_how_much_was_covered():
    assert (
        str(check(Doubler(4)))
        == "Doubler(bits=4): circuit == arithmetic at 16 points (all there are), 256 cycles"
    )
    sampled = check(Doubler(20), samples=100)
    assert not sampled.exhaustive
    assert str(sampled).endswith("points (corners and random), 256 cycles")


class Unsigned(Doubler):
    def compute(self, values):
        return {"y": 2 * (values["x"] & 15)}


class Raising(Doubler):
    def compute(self, values):
        raise IndexError("list\nindex out of range")


class Floating(Doubler):
    def compute(self, values):
        return {"y": 2.0 * values["x"]}


class Misnamed(Doubler):
    def compute(self, values):
        return {"z": 2 * values["x"]}


class Summed(Doubler):
    def compute(self, values):
        return {"y": (2 * values["x"])[:3]}


class Narrow(Doubler):
    def connect(self, wires):
        return {"y": wires["x"]}


class Unconnected(Doubler):
    def connect(self, wires):
        return {}


class Broken(Doubler):
    def connect(self, wires):
        return {"y": wires["z"]}


class Undriven(Doubler):
    def connect(self, wires):
        return {"y": pyrtl.WireVector(5)}


class Stateful(Doubler):
    def connect(self, wires):
        kept = pyrtl.Register(5, "kept")
        kept.next <<= pyrtl.concat(wires["x"], pyrtl.Const(0, 1))
        return {"y": kept}


class Remembering(Doubler):
    def connect(self, wires):
        return {"y": pyrtl.MemBlock(5, 4, "table", asynchronous=True)[wires["x"]]}


class Portless(Doubler):
    inputs = property(lambda self: {})


class Formless(Doubler):
    inputs = property(lambda self: {"x": 4})


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (Portless, "the ports of Portless(bits=4) are [Int(bits=5, signed=True)]"),
        (Formless, "the ports of Formless(bits=4) are [4, "),
        (Raising, "the compute of Raising(bits=4) fails: IndexError: list index out of range"),
        (Floating, "the compute of Floating(bits=4) returns float64 (16,) for y; return int64 (16,)"),
        (Misnamed, "returns ['z']; return its outputs and registers, ['y']"),
        (Summed, "returns int64 (3,) for y; return int64 (16,)"),
        (Narrow, "connects wires of {'y': 4} bits, but its registers and outputs are {'y': 5}"),
        (Unconnected, "connects wires of {} bits"),
        (Broken, "Broken(bits=4) cannot be elaborated: KeyError: 'z'"),
        (Undriven, "Undriven(bits=4) cannot be elaborated: PyrtlError: "),
        (Stateful, "an input, register or memory of its own, ['kept']"),
        (Remembering, "an input, register or memory of its own, ['table']"),
    ],
)
def test_a_datapath_that_breaks_the_form_is_refused_in_one_sentence(kind, sentence):
    with pytest.raises(HwsimError) as refused:
        check(kind())
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_class_in_the_place_of_a_datapath_is_refused():
    with pytest.raises(HwsimError, match="is no datapath; give a frozen dataclass with its parameters set"):
        check(Doubler)


def test_the_counterexample_names_operands_port_and_both_values():
    found = check(Unsigned())
    assert str(found.counterexample) == "x=-8: y is -16 in the circuit, 16 in the arithmetic"
    assert str(found).startswith("Unsigned(bits=4): differs at x=-8: ")
    assert found.to_json()["counterexample"] == {
        "operands": {"x": -8}, "port": "y", "circuit": -16, "arithmetic": 16
    }  # fmt: skip
    assert check(Unsigned()) == found


@dataclass(frozen=True)
class OffOnReset:
    """A counter whose arithmetic and circuit agree on every step."""

    start: int

    inputs = property(lambda self: {"x": Int(2, signed=False)})
    registers = property(lambda self: {"count": Register(Int(4, signed=False), self.start)})
    outputs = property(lambda self: {})

    def compute(self, values):
        return {"count": (values["count"] + values["x"]) % 16}

    def connect(self, wires):
        return {"count": (wires["count"] + wires["x"])[:4]}


def test_a_run_starts_at_the_reset_value_and_returns_to_it():
    x = np.array([1, 2, 3, 1, 2, 3])
    running = run(OffOnReset(9), {"x": x})["count"]
    np.testing.assert_array_equal(running, [10, 12, 15, 0, 2, 5], strict=True)
    apart = run(OffOnReset(9), {"x": x}, reset_every=3)["count"]
    np.testing.assert_array_equal(apart, [10, 12, 15, 10, 12, 15], strict=True)
    assert check(OffOnReset(9)).counterexample is None


def test_a_run_needs_a_value_of_every_port_in_every_cycle():
    for inputs in ({}, {"y": np.zeros(3, np.int64)}, {"x": np.array([4])}):
        with pytest.raises(HwsimError):
            run(OffOnReset(0), inputs)


def test_a_class_without_variants_is_refused(tmp_path):
    path = tmp_path / "mine.py"
    body = "from hwsim.datapath.pool import MaxPool\nfrom dataclasses import dataclass\n"
    body += "@dataclass(frozen=True)\nclass Mine(MaxPool):\n    variants = {}\n"
    for variants, sentence in (
        ("staticmethod(lambda: iter(()))", "are none; yield the parameters to check"),
        ("staticmethod(lambda: [MaxPool(3)])", "AttributeError"),
        ("staticmethod(lambda: 1 / 0)", "fail: ZeroDivisionError: division by zero"),
    ):
        path.write_text(body.format(variants))
        with pytest.raises(HwsimError, match=sentence):
            list(check_datapath(f"{path}:Mine"))


WORDS = ["&", "|", "^", "n", "+", "-", "*", "<", ">", "=", "~", "s", "c", "x"]


def random_word(block, op, a, b, pick):
    """Return a wire that one PyRTL operation of the netlist makes from two others."""
    if op == "c":
        return pyrtl.concat(a, b)[:9]
    if op == "s":
        return pyrtl.concat_list([a[k % len(a)] for k in (pick, pick // 3, 0)])
    if op == "~":
        return ~a
    a, b = pyrtl.match_bitwidth(a, b)
    if op == "x":
        return pyrtl.select(a[pick % len(a)], a, b)
    operations = {
        "&": a.__and__, "|": a.__or__, "^": a.__xor__, "n": a.nand, "+": a.__add__, "-": a.__sub__,
        "*": a.__mul__, "<": a.__lt__, ">": a.__gt__, "=": a.__eq__,
    }  # fmt: skip
    return operations[op](b)[:9]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(WORDS), *[st.integers(0, 99)] * 3), min_size=1, max_size=12))
def test_many_operands_at_once_give_what_pyrtl_simulates_one_by_one(steps):
    block = pyrtl.Block()
    with pyrtl.set_working_block(block, no_sanity_check=True):
        wires = [pyrtl.Input(5, "a"), pyrtl.Input(3, "b"), pyrtl.Const(5, 4)]
        for op, first, second, pick in steps:
            wires.append(random_word(block, op, wires[first % len(wires)], wires[second % len(wires)], pick))
        for index, wire in enumerate(wires):
            pyrtl.Output(len(wire), f"out{index}").__ilshift__(wire)
    a, b = np.array(list(product(range(32), range(8)))).T
    outputs = evaluate(block, {"a": a, "b": b})
    simulation = pyrtl.Simulation(tracer=None, block=block)
    for point in range(0, a.size, 7):
        simulation.step({"a": int(a[point]), "b": int(b[point])})
        for index in range(len(wires)):
            assert simulation.inspect(f"out{index}") == outputs[f"out{index}"][point]
