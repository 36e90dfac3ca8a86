"""Whole layers through circuits in lanes: equal to the arithmetic cycle by cycle, and never assumed to be."""

import numpy as np
import pyrtl
import pytest

from hwsim.arithmetic import fit
from hwsim.datapath import describe, elaborate
from hwsim.datapath.mac import Mac
from hwsim.datapath.shift_mac import ShiftMac
from hwsim.errors import HwsimError
from hwsim.formats import Int, Overflow, PowerOfTwo
from hwsim.simulate import LaneSimulation, circuit
from hwsim.simulate.lanes import Netlist, proof, reduce
from hwsim.simulate.lanes.proof import prove
from test_check import Changed, flip

VARIANTS = [*Mac.variants(), *ShiftMac.variants()]
UNPROVED = [
    d for d in VARIANTS if d.adder == "carry_save" or (d.accumulator == Int(32) and d.weight == PowerOfTwo(5))
]
"""Beyond 2^33 cases, and no narrow border between a low part and a high one; they run gate by gate."""


def operands(datapath, m, k, n, seed=0):
    """Activations [m, k] and weights [k, n], extremes among them."""
    rng = np.random.default_rng(seed)
    codes = [
        rng.integers(0, 1 << form.bits, s)
        for form, s in zip(datapath.inputs.values(), ((m, k), (k, n)), strict=True)
    ]
    for form, values in zip(datapath.inputs.values(), codes, strict=True):
        values[rng.random(values.shape) < 0.3] = 1 << (form.bits - 1)
        values[rng.random(values.shape) < 0.3] = (1 << (form.bits - 1)) - 1
    return [form.decode(values) for form, values in zip(datapath.inputs.values(), codes, strict=True)]


def accumulate(datapath, a, w):
    """Accumulators, whether they overflowed, and their extremes: the arithmetic, one cycle after the other."""
    shape = (a.shape[0], w.shape[1])
    total, overflowed = np.zeros(shape, np.int64), np.zeros(shape, np.bool_)
    least, most = np.full(shape, datapath.accumulator.maximum), np.full(shape, datapath.accumulator.minimum)
    for column, row in zip(a.T, w, strict=True):
        exact = total + column[:, None] * row
        total = fit(exact, datapath.accumulator, datapath.overflow)
        overflowed |= exact != total
        least, most = np.minimum(least, total), np.maximum(most, total)
    return total, overflowed, least, most


def agree(datapath, m, k, n, gates):
    """Hold accumulators, overflows and extremes against the arithmetic, and what is said to have run."""
    a, w = operands(datapath, m, k, n)
    found = reduce(datapath, a, w, observe=("overflow", "extremes"), gates=gates, threads=2)
    seen = found.values, found.overflowed, found.minimum, found.maximum
    for values, expected in zip(seen, accumulate(datapath, a, w), strict=True):
        np.testing.assert_array_equal(values, expected, err_msg=describe(datapath))
    assert ("gate by gate" in found.step) == (gates or datapath in UNPROVED)


@pytest.mark.parametrize("gates", [False, True])
def test_layers_accumulate_as_the_arithmetic_says(gates):
    for datapath in VARIANTS[::17]:
        agree(datapath, 35, 40, 17, gates)
    for m, k, n in ((1, 1, 1), (520, 9, 3), (3, 2, 130)):
        agree(VARIANTS[7], m, k, n, gates)
        agree(VARIANTS[-1], m, k, n, gates)


@pytest.mark.slow
@pytest.mark.parametrize("gates", [False, True])
def test_every_variant_accumulates_as_its_arithmetic_says(gates):
    for datapath in VARIANTS:
        agree(datapath, 35, 300, 17, gates)
        agree(datapath, 513, 9, 3, gates)


@pytest.mark.slow
def test_the_steps_of_all_multiply_accumulates_are_run_exhaustively():
    missing = [datapath for datapath in VARIANTS if prove(datapath) is None]
    assert missing == UNPROVED


@pytest.mark.parametrize(
    "datapath",
    [
        Mac(Int(4), Int(4, signed=False), Int(8), Overflow.SATURATE),
        Mac(Int(3), Int(5), Int(12)),
        Mac(Int(4), Int(4), Int(24), Overflow.SATURATE, "baugh_wooley"),
        Mac(Int(4), Int(4, signed=False), Int(20), Overflow.WRAP, "booth"),
        Mac(Int(4), Int(4, signed=False), Int(10), Overflow.WRAP, "wallace", "kogge_stone"),
        ShiftMac(PowerOfTwo(4), Int(4), Int(20)),
    ],
    ids=describe,
)
def test_a_planted_fault_is_run_not_proved_away(datapath):
    a, w = operands(datapath, 9, 30, 7)
    lanes = {"activation": np.repeat(a, 7, axis=0).T, "weight": np.tile(w, (1, 9))}
    for index in range(5):
        faulty = Changed(datapath, flip(index))
        found = reduce(faulty, a, w)
        expected = circuit.run_lanes(faulty, lanes)["accumulator"].reshape(9, 7)
        np.testing.assert_array_equal(found.values, expected)
        assert found.step == "netlist, gate by gate"


def test_the_general_door_runs_clocked_datapaths_as_pyrtl_does():
    for datapath in [d for d in VARIANTS if d.resolver is None][::16]:
        a, w = operands(datapath, 12, 50, 1)
        inputs = {"activation": a.T, "weight": np.repeat(w, 12, axis=1)}
        codes = {name: form.encode(inputs[name]) for name, form in datapath.inputs.items()}
        found = LaneSimulation(elaborate(datapath), lanes=12).run(codes)["accumulator"]
        after = circuit.run(datapath, {name: values[:, 5] for name, values in inputs.items()})["accumulator"]
        np.testing.assert_array_equal(datapath.accumulator.decode(found[1:, 5]), after[:-1], strict=True)


@pytest.mark.parametrize(
    ("a", "w", "sentence"),
    [
        (np.full((2, 3), 128), np.zeros((3, 2), int), "128"),
        (np.zeros((2, 4), int), np.zeros((3, 2), int), r"\(2, 4\)"),
        (np.zeros(3, int), np.zeros((3, 2), int), r"\(3,\)"),
        (np.zeros((2, 3)), np.zeros((3, 2), int), "float64"),
        (np.zeros((2, 3), int), np.full((3, 2), -33), "-33"),
        (np.zeros((2, 0), int), np.zeros((0, 2), int), r"\(0, 2\)"),
    ],
)
def test_operands_that_do_not_fit_are_refused_in_one_sentence(a, w, sentence):
    with pytest.raises(HwsimError, match=sentence) as refused:
        reduce(Mac(Int(6), Int(8), Int(16)), a, w)
    assert "\n" not in str(refused.value)


def block_of(step, width=12, reset=None):
    """A block whose register becomes what ``step`` makes of it and of two inputs of four bits."""
    block = pyrtl.Block()
    with pyrtl.set_working_block(block, no_sanity_check=True):
        activation, weight = pyrtl.Input(4, "activation"), pyrtl.Input(4, "weight")
        register = pyrtl.Register(width, "total", reset_value=reset)
        register.next <<= step(activation, weight, register)[:width]
        pyrtl.Output(width, "result").__ilshift__(register)
    return block


def test_a_bare_block_is_proved_where_it_multiplies_and_accumulates():
    block = block_of(lambda a, w, total: total + pyrtl.signed_mult(a, w).sign_extended(12), reset=5)
    netlist, rng = Netlist(block, Int(4), Int(4), Int(12)), np.random.default_rng(0)
    a, w = rng.integers(-8, 8, (20, 300)), rng.integers(-8, 8, (300, 9))
    found = reduce(netlist, a, w)
    assert found.step.startswith("proved arithmetic")
    np.testing.assert_array_equal(found.values, (a @ w + 5 + 2048) % 4096 - 2048)


def test_a_bare_block_that_does_something_else_runs_on_its_gates():
    block = block_of(lambda a, w, total: (total ^ (a * w)) + pyrtl.Const(3, 12))
    netlist, rng = Netlist(block, Int(4, False), Int(4, False), Int(12, False)), np.random.default_rng(0)
    a, w = rng.integers(0, 16, (7, 40)), rng.integers(0, 16, (40, 5))
    found = reduce(netlist, a, w)
    total = np.zeros((7, 5), np.int64)
    for column, row in zip(a.T, w, strict=True):
        total = ((total ^ (column[:, None] * row)) + 3) % 4096
    np.testing.assert_array_equal(found.values, total)
    assert found.step == "netlist, gate by gate"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Netlist(block_of(lambda a, w, t: t + a), Int(5), Int(4), Int(12)), "'activation': 5"),
        (lambda: Netlist(block_of(lambda a, w, t: t + a), Int(4), Int(4), Int(13)), "one register of 13"),
        (lambda: Netlist(pyrtl.Block(), Int(4), Int(4), Int(12)), "has the inputs {}"),
        (lambda: Netlist("block", Int(4), Int(4), Int(12)), "'block' is no block"),
    ],
)
def test_a_block_of_other_ports_is_no_reduction(make, sentence):
    with pytest.raises(HwsimError, match=sentence) as refused:
        make()
    assert "\n" not in str(refused.value)


@pytest.mark.slow
@pytest.mark.parametrize("overflow", Overflow, ids=str)
@pytest.mark.parametrize("activation", [Int(8, signed=False), Int(8)], ids=str)
def test_the_widest_shift_is_proved_too_where_the_proof_may_take_minutes(
    tmp_path, monkeypatch, activation, overflow
):
    monkeypatch.setenv("HWSIM_CACHE", str(tmp_path))
    monkeypatch.setattr(proof, "_EXHAUSTIVE_BITS", 39)
    found = prove(ShiftMac(PowerOfTwo(5), activation, Int(32), overflow))
    assert found is not None
    assert found.method.startswith("step run for all 2^3")
    assert found.meaning.overflow is overflow
