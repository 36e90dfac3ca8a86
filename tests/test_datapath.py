"""Circuits against their arithmetic, and the arithmetic against Python's own integers and fractions."""

from fractions import Fraction
from itertools import product
from math import floor

import numpy as np
import pyrtl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim import layers
from hwsim.arithmetic import dot, shift_right
from hwsim.bits import LayerBits
from hwsim.datapath import DATAPATHS, describe, elaborate, load, parts
from hwsim.datapath.add import Add
from hwsim.datapath.adders import Term, accumulate, add, bits_of, wire_of
from hwsim.datapath.mac import Mac
from hwsim.datapath.multipliers import MULTIPLIERS
from hwsim.datapath.pool import AveragePool, MaxPool
from hwsim.datapath.requantize import Requantize
from hwsim.datapath.shift_mac import ShiftMac
from hwsim.errors import HwsimError
from hwsim.formats import Int, Overflow, PowerOfTwo, Rounding
from hwsim.layers import Layer
from hwsim.network import IntegerLayer
from hwsim.simulate.check import check
from hwsim.simulate.circuit import evaluate, run

VARIANTS = [variant for kind in DATAPATHS.values() for variant in kind.variants()]


@pytest.mark.parametrize("datapath", VARIANTS, ids=describe)
def test_every_circuit_equals_its_arithmetic(datapath):
    assert check(datapath, samples=1 << 12).counterexample is None


def fitted(value, bits, overflow):
    half = 1 << (bits - 1)
    if overflow is Overflow.WRAP:
        return (value + half) % (2 * half) - half
    return np.clip(value, -half, half - 1)


@pytest.mark.parametrize("weight_bits", range(2, 9))
def test_every_product_of_every_width_is_accumulated_exactly(weight_bits):
    rng = np.random.default_rng(weight_bits)
    accumulators = [8, 16, 17, 32]
    for activation_bits, signed in product(range(2, 9), (False, True)):
        codes = np.arange(1 << (weight_bits + activation_bits))
        w, a = codes >> activation_bits, codes & ((1 << activation_bits) - 1)
        weight = fitted(w, weight_bits, Overflow.WRAP)
        activation = fitted(a, activation_bits, Overflow.WRAP) if signed else a
        for overflow, multiplier in product(Overflow, MULTIPLIERS):
            bits = accumulators[rng.integers(4)]
            datapath = Mac(Int(weight_bits), Int(activation_bits, signed), Int(bits), overflow, multiplier)
            before = rng.integers(0, 1 << bits, codes.size)
            wires = {"weight": w, "activation": a, "accumulator": before}
            after = evaluate(elaborate(datapath, cut_registers=True), wires)["next_accumulator"]
            exact = fitted(before, bits, Overflow.WRAP) + weight * activation
            np.testing.assert_array_equal(after, fitted(exact, bits, overflow) % (1 << bits), strict=True)


TERMS = st.lists(st.tuples(st.integers(-2, 7), st.integers(0, 9), st.booleans()), max_size=40)


@given(TERMS, st.integers(1, 12))
def test_a_sum_of_any_terms_is_exact_modulo_its_width(terms, width):
    block = pyrtl.Block()
    with pyrtl.set_working_block(block, no_sanity_check=True):
        bits = [*bits_of(pyrtl.Input(8, "x")), 0, 1]
        total = add([Term(bits[which], position, negative) for which, position, negative in terms], width)
        pyrtl.Output(width, "y").__ilshift__(wire_of(total))
    x = np.arange(256)
    values = [*(x >> k & 1 for k in range(8)), 0, 1]
    exact = sum((values[which] << position) * (-1) ** negative for which, position, negative in terms)
    np.testing.assert_array_equal(evaluate(block, {"x": x})["y"], exact % (1 << width))


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 1))
def test_a_shorter_number_is_accumulated_with_its_sign(longer, shorter, carry):
    shorter = min(longer, shorter)
    block = pyrtl.Block()
    with pyrtl.set_working_block(block, no_sanity_check=True):
        total, addend = bits_of(pyrtl.Input(longer, "total")), bits_of(pyrtl.Input(shorter, "addend"))
        pyrtl.Output(longer, "y").__ilshift__(wire_of(accumulate(total, addend, carry)))
    rng = np.random.default_rng(0)
    wires = {"total": rng.integers(0, 1 << longer, 500), "addend": rng.integers(0, 1 << shorter, 500)}
    exact = wires["total"] + fitted(wires["addend"], shorter, Overflow.WRAP) + carry
    np.testing.assert_array_equal(evaluate(block, wires)["y"], exact % (1 << longer), strict=True)


@pytest.mark.parametrize("multiplier", MULTIPLIERS)
def test_a_multiplier_is_gates_of_one_bit_only(multiplier):
    block = elaborate(Mac(Int(8), Int(8), Int(32), Overflow.SATURATE, multiplier))
    assert {net.op for net in block.logic} <= set("&|^~cswr")
    assert all(len(net.dests[0]) == 1 for net in block.logic if net.op in "&|^~")


def test_elaborating_leaves_the_working_block_as_it_was():
    before = pyrtl.working_block()
    for datapath in (Mac(Int(4), Int(4), Int(16)), Requantize(Int(8), Int(4))):
        elaborate(datapath)
        check(datapath, samples=8)
    assert pyrtl.working_block() is before
    assert not before.logic
    assert not before.wirevector_set


def test_the_order_of_a_saturating_sum_is_the_order_of_its_terms():
    # 3 * 127 * 127 = 48387 is beyond 32767; 127 * 127 less is 32767 - 16129 = 16638.
    datapath = Mac(Int(8), Int(8), Int(16), Overflow.SATURATE)
    for weights, sums in (
        ([127, 127, 127, -127], [16129, 32258, 32767, 16638]),
        ([127, -127, 127, 127], [16129, 0, 16129, 32258]),
        ([-127, -127, -127, 127], [-16129, -32258, -32768, -16639]),
    ):
        operands = {"activation": np.full(4, 127), "weight": np.array(weights)}
        np.testing.assert_array_equal(run(datapath, operands)["accumulator"], sums)
        last = dot(np.full((1, 4), 127), np.array(weights)[:, None], Int(16), Overflow.SATURATE)
        assert last.values.item() == sums[-1]


ROUND = {
    Rounding.FLOOR: floor,
    Rounding.HALF_UP: lambda x: floor(x + Fraction(1, 2)),
    Rounding.HALF_EVEN: round,
}
"""Python's ``round`` of a fraction is to nearest with ties to even."""


def near(bits, signed):
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    return st.one_of(st.integers(low, high), st.sampled_from([low, high, 0, 1]), st.integers(0, 9))


@given(near(32, True), near(16, False), near(48, True), st.integers(0, 63), st.sampled_from(Rounding))
def test_requantizing_is_one_rounding_of_the_exact_fraction(accumulator, multiplier, bias, shift, rounding):
    exact = ROUND[rounding](Fraction(accumulator * multiplier + bias, 2**shift))
    for output in (Int(8), Int(8, signed=False), Int(16)):
        values = {"accumulator": accumulator, "multiplier": multiplier, "bias": bias, "shift": shift}
        result = Requantize(Int(32), output, rounding).compute({k: np.array(v) for k, v in values.items()})
        assert result["output"] == min(max(exact, output.minimum), output.maximum)


@given(st.integers(-(2**62), 2**62), st.integers(0, 63), st.sampled_from(Rounding))
def test_a_shift_of_any_length_is_one_rounding_of_the_exact_fraction(value, shift, rounding):
    assert int(shift_right(np.array(value), shift, rounding)) == ROUND[rounding](Fraction(value, 2**shift))


@given(near(8, True), near(8, False), near(16, False), near(16, False), near(48, True), st.integers(0, 63))
def test_an_addition_is_one_rounding_of_the_exact_fraction(first, second, m, n, bias, shift):
    datapath = Add(Int(8), Int(8, signed=False), Int(8), Rounding.HALF_UP)
    values = [first, second, m, n, bias, shift]
    result = datapath.compute(dict(zip(datapath.inputs, map(np.array, values), strict=True)))
    exact = floor(Fraction(first * m + second * n + bias, 2**shift) + Fraction(1, 2))
    assert result["output"] == min(max(exact, -128), 127)


@pytest.mark.parametrize("rounding", Rounding)
def test_the_requantiser_rounds_exactly_at_every_tie_and_shift(rounding):
    datapath = Requantize(Int(16), Int(8), rounding)
    shift, quotient, beside = map(
        np.ravel, np.meshgrid(np.arange(64), np.arange(-130, 130), [-1, 0, 1], indexing="ij")
    )
    # Sums next to (2 * quotient + 1) / 2 units, where 48 bits of bias can hold them.
    tie = [(2 * int(q) + 1 << int(s) >> 1) + int(b) for s, q, b in zip(shift, quotient, beside, strict=True)]
    fits = np.array([abs(t) < 2**46 for t in tie])
    bias, shift = np.array([t for t in tie if abs(t) < 2**46]), shift[fits]
    zero = np.zeros_like(bias)
    wires = {"accumulator": zero, "multiplier": zero, "bias": Int(48).encode(bias), "shift": shift}
    output = Int(8).decode(evaluate(elaborate(datapath), wires)["output"])
    exact = [ROUND[rounding](Fraction(int(b), 2 ** int(s))) for b, s in zip(bias, shift, strict=True)]
    np.testing.assert_array_equal(output, np.clip(exact, -128, 127), strict=True)


def test_a_zero_weight_adds_nothing_whatever_its_sign_bit():
    block = elaborate(ShiftMac(PowerOfTwo(4), Int(8), Int(16)), cut_registers=True)
    activation, accumulator = np.arange(256), np.arange(256) * 257
    for code in (0b0000, 0b1000):
        wires = {"activation": activation, "weight": np.full(256, code), "accumulator": accumulator}
        np.testing.assert_array_equal(evaluate(block, wires)["next_accumulator"], accumulator, strict=True)


def test_pools_run_over_the_activations_since_reset():
    activation = np.random.default_rng(0).integers(-128, 128, (50, 9))
    inputs = {"activation": activation.ravel()}
    maximum = run(MaxPool(Int(8)), inputs, reset_every=9)["maximum"].reshape(50, 9)
    np.testing.assert_array_equal(maximum, np.maximum.accumulate(activation, axis=1), strict=True)
    total = run(AveragePool(Int(8), Int(12)), inputs, reset_every=9)["accumulator"].reshape(50, 9)
    np.testing.assert_array_equal(total, np.cumsum(activation, axis=1), strict=True)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Mac(Int(9), Int(8), Int(16)), "weight int9 is out of range"),
        (lambda: Mac(Int(8, signed=False), Int(8), Int(16)), "weight uint8 is out of range"),
        (lambda: Mac(PowerOfTwo(4), Int(8), Int(16)), "weight pow2x4 is out of range"),
        (lambda: Mac(Int(8), Int(1), Int(16)), "activation int1 is out of range"),
        (lambda: Mac(Int(8), Int(8), Int(33)), "accumulator int33 is out of range"),
        (lambda: Mac(Int(8), Int(8), Int(16, signed=False)), "accumulator uint16 is out of range"),
        (lambda: Mac(Int(8), Int(8), Int(16), multiplier="array"), 'unknown multiplier "array"; known: '),
        (lambda: ShiftMac(Int(4), Int(8), Int(16)), "weight int4 is out of range"),
        (lambda: Requantize(Int(40), Int(8), multiplier=Int(24)), "takes 64 bits here"),
        (lambda: Requantize(Int(32), Int(8), shift=Int(7, signed=False)), "shift uint7 is out of range"),
        (lambda: Add(Int(48), Int(8), Int(8)), "takes 65 bits here"),
        (lambda: AveragePool(Int(8), Int(7)), "accumulator int7 is out of range"),
    ],
)
def test_formats_a_circuit_does_not_have_are_refused(make, sentence):
    with pytest.raises(HwsimError, match=sentence):
        make()


def layer(operator, *shapes):
    names = ("x", "y")[: len(shapes)]
    return Layer("layer", operator, names, shapes)


FORMATS = {"x": Int(4, signed=False), "y": Int(8)}


@pytest.mark.parametrize(
    ("bits", "mac", "circuit"),
    [
        ("w4a4/int12", "mac", Mac(Int(4), Int(4, signed=False), Int(12))),
        ("p4a4/int16/saturate", "mac", ShiftMac(PowerOfTwo(4), FORMATS["x"], Int(16), Overflow.SATURATE)),
        ("p4a4/int16", "shift_mac", ShiftMac(PowerOfTwo(4), Int(4, signed=False), Int(16))),
    ],
)
def test_a_layer_with_weights_runs_a_multiply_accumulate_and_a_requantiser(bits, mac, circuit):
    item = IntegerLayer(layer(layers.Linear(3), (5, 1, 1)), Int(8), 1.0, LayerBits.parse(bits, signed=False))
    requantize = Requantize(item.bits.accumulator, Int(8), Rounding.FLOOR)
    assert parts(item, FORMATS, Rounding.FLOOR, mac) == {"mac": circuit, "requantize": requantize}


def test_the_architecture_of_a_multiplier_is_for_layers_that_multiply():
    for bits, option in (("w4a4/int16", {"multiplier": "baugh_wooley"}), ("p4a4/int16", {})):
        bits = LayerBits.parse(bits, signed=False)
        item = IntegerLayer(layer(layers.Linear(3), (5, 1, 1)), Int(8), 1.0, bits)
        mac = parts(item, FORMATS, Rounding.HALF_UP, multiplier="baugh_wooley")["mac"]
        assert mac == (Mac if option else ShiftMac)(bits.weight, bits.activation, bits.accumulator, **option)


def test_layers_without_weights_run_pools_additions_and_requantisers():
    shape = (3, 7, 7)
    expected = {
        layers.Add(): {"add": Add(FORMATS["x"], Int(8), Int(6))},
        layers.MaxPool((3, 3), (2, 2)): {"max_pool": MaxPool(FORMATS["x"])},
        layers.AveragePool((7, 7), (7, 7)): {
            "average_pool": AveragePool(FORMATS["x"], Int(10, signed=False)),
            "requantize": Requantize(Int(10, signed=False), Int(6)),
        },
        layers.Rescale(): {"requantize": Requantize(FORMATS["x"], Int(6))},
        layers.Flatten(): {},
        layers.PadChannels(1, 1): {},
    }
    for operator, circuits in expected.items():
        shapes = (shape, shape) if operator == layers.Add() else (shape,)
        item = IntegerLayer(layer(operator, *shapes), Int(6), 1.0)
        assert parts(item, FORMATS, Rounding.HALF_UP) == circuits


@pytest.mark.parametrize("signed", [False, True])
def test_the_accumulator_of_an_average_pool_never_wraps(signed):
    item = IntegerLayer(layer(layers.AveragePool((3, 3), (3, 3)), (1, 3, 3)), Int(8), 1.0)
    pool = parts(item, {"x": Int(8, signed)}, Rounding.HALF_UP)["average_pool"]
    for extreme in (pool.activation.minimum, pool.activation.maximum):
        total = run(pool, {"activation": np.full(9, extreme)})["accumulator"]
        assert total[-1] == 9 * extreme


@pytest.mark.parametrize(
    ("source", "name", "sentence"),
    [
        ("x = 1 / 0", "X", "cannot be loaded: ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(3)", "X", "cannot be loaded: SystemExit: 3"),
        ("def (", "X", "cannot be loaded: SyntaxError"),
        ("class Y: pass", "X", 'defines no "X"'),
        ("X = 3", "X", 'mine.py:X" is no datapath'),
        ("class X: pass", "X", 'mine.py:X" is no datapath'),
        (None, "X", "No such file"),
    ],
)
def test_a_file_that_holds_no_datapath_is_refused_in_one_sentence(tmp_path, source, name, sentence):
    path = tmp_path / "mine.py"
    if source is not None:
        path.write_text(source)
    with pytest.raises(HwsimError, match=sentence) as refused:
        load(f"{path}:{name}")
    assert "\n" not in str(refused.value)


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(HwsimError) as refused:
        load("mca")
    known = ", ".join(DATAPATHS)
    assert str(refused.value) == f'unknown datapath "mca"; known: {known}; or give file.py:name'


def test_a_user_class_that_does_not_fit_a_layer_is_refused(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from hwsim.datapath.pool import MaxPool\nfrom hwsim.formats import Int\nMADE = MaxPool(Int(8))\n"
    )
    item = IntegerLayer(
        layer(layers.Linear(3), (5, 1, 1)), Int(8), 1.0, LayerBits.parse("w4a4/int16", signed=False)
    )
    for name, sentence in (
        ("MaxPool", "cannot be made for int4.uint4/int16: TypeError"),
        ("MADE", "already"),
    ):
        with pytest.raises(HwsimError, match=sentence):
            parts(item, FORMATS, Rounding.HALF_UP, f"{path}:{name}")


def test_a_class_of_integer_weights_is_not_made_for_powers_of_two(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from hwsim.datapath.mac import Mac\nclass Mine(Mac): pass\n")
    item = IntegerLayer(
        layer(layers.Linear(3), (5, 1, 1)), Int(8), 1.0, LayerBits.parse("p4a4/int16", signed=False)
    )
    with pytest.raises(HwsimError, match="takes integer weights, not pow2x4"):
        parts(item, FORMATS, Rounding.HALF_UP, f"{path}:Mine")
