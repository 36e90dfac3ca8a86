"""Multiply-accumulates of every width: lanes, arithmetic, PyRTL's simulator and Icarus Verilog agree in every cycle."""

import shutil
from itertools import cycle, product

import numpy as np
import pytest

from hwsim.datapath import describe, elaborate
from hwsim.datapath.apot_mac import ApotMac
from hwsim.datapath.mac import MULTIPLIERS, Mac
from hwsim.datapath.shift_mac import ShiftMac
from hwsim.formats import AdditivePowersOfTwo, Int, Overflow, PowerOfTwo
from hwsim.simulate import LaneSimulation, circuit
from hwsim.simulate.lanes import run_lanes
from hwsim.simulate.verilog import run_verilog

ACCUMULATORS = (8, 16, 32, 11, 17, 24, 31)


def every():
    """Every width of weight and activation, signed or not, wrapping and saturating; accumulators in turn."""
    turn, kind = cycle(ACCUMULATORS), cycle(MULTIPLIERS)
    for w, a, signed, overflow in product(range(2, 9), range(2, 9), (False, True), Overflow):
        yield Mac(Int(w), Int(a, signed), Int(next(turn)), overflow, next(kind))
    for w, a, signed, overflow in product(range(2, 6), range(2, 9), (False, True), Overflow):
        yield ShiftMac(PowerOfTwo(w), Int(a, signed), Int(next(turn)), overflow)
    for w, a, signed, overflow in product(range(4, 8), (2, 5, 8), (False, True), Overflow):
        yield ApotMac(AdditivePowersOfTwo(w), Int(a, signed), Int(next(turn)), overflow)


def operands(datapath, cycles, lanes):
    """Values of every port [cycles, lanes]: any, and as often all pairs of extremes."""
    rng = np.random.default_rng(0)
    codes = {name: rng.integers(0, 1 << form.bits, (cycles, lanes)) for name, form in datapath.inputs.items()}
    extreme = rng.random((cycles, lanes)) < 0.5
    for name, form in datapath.inputs.items():
        half = 1 << form.bits - 1
        corners = rng.choice([0, 1, half - 1, half, 2 * half - 1], (cycles, lanes))
        codes[name] = form.decode(np.where(extreme, corners, codes[name]))
    return codes


def accumulated(datapath, inputs):
    """The accumulators after every cycle, [cycles, lanes], by the arithmetic."""
    total, after = 0, []
    for rows in zip(*inputs.values(), strict=True):
        total = datapath.compute({"accumulator": total, **dict(zip(inputs, rows, strict=True))})[
            "accumulator"
        ]
        after.append(total)
    return np.array(after)


def agree(datapath, cycles=40, lanes=520):
    inputs = operands(datapath, cycles, lanes)
    expected = accumulated(datapath, inputs)
    codes = {name: form.encode(inputs[name]) for name, form in datapath.inputs.items()}
    said = describe(datapath)
    for count in (lanes, 9):  # gates, then words
        cut = {name: values[:, :count] for name, values in codes.items()}
        before = LaneSimulation(elaborate(datapath), lanes=count).run(cut)["accumulator"]
        np.testing.assert_array_equal(
            datapath.accumulator.decode(before[1:]), expected[:-1, :count], err_msg=said
        )
    after = run_lanes(datapath, inputs)["accumulator"]
    np.testing.assert_array_equal(after, expected[-1], err_msg=said)
    lane = {name: values[:, 1] for name, values in inputs.items()}
    tools = [circuit.run, run_verilog] if shutil.which("iverilog") else [circuit.run]
    for tool in tools:
        np.testing.assert_array_equal(tool(datapath, lane)["accumulator"], expected[:, 1], err_msg=said)


def test_multiply_accumulates_agree_in_lanes_arithmetic_pyrtl_and_icarus():
    for datapath in list(every())[::53]:
        agree(datapath)


@pytest.mark.slow
def test_multiply_accumulates_of_every_width_agree_in_lanes_arithmetic_pyrtl_and_icarus():
    for datapath in every():
        agree(datapath)
