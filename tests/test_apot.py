"""Additive powers of two against the paper's levels, and whole networks of them on their circuits."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from hwsim.cost.compression import compress, decompress
from hwsim.cost.synthesis import synthesize
from hwsim.data import load_split
from hwsim.datapath import parts
from hwsim.datapath.apot_mac import ApotMac
from hwsim.datapath.mac import Mac
from hwsim.datapath.shift_mac import ShiftMac
from hwsim.errors import HwsimError
from hwsim.formats import AdditivePowersOfTwo, Int, Overflow, PowerOfTwo
from hwsim.models import load_model
from hwsim.network import load, save
from hwsim.quantize import quantize
from hwsim.quantize.settings import Settings
from hwsim.quantize.weights import quantize_weight
from hwsim.simulate.circuits import Circuits
from hwsim.simulate.inference import compute_layer, measure_accuracy
from hwsim.simulate.lanes.proof import prove

PUBLISHED = {
    # Li, Dong, Wang, ICLR 2020, the sets that their code adds up (build_power_value for B bits and a sign).
    4: ([0, -1, -2, -4], [0, -3]),
    5: ([0, -1, -3, -5], [0, -2, -4, -6]),
    6: ([0, -1, -3, -6], [0, -2, -4, -7], [0, -5]),
    7: ([0, -1, -4, -7], [0, -2, -5, -8], [0, -3, -6, -9]),
}
"""Exponents of the terms of a magnitude; 0 stands for the term 0."""


@pytest.mark.parametrize("bits", PUBLISHED)
def test_the_levels_are_the_papers_up_to_its_scale(bits):
    terms = [[Fraction(2) ** e if e else Fraction(0) for e in exponents] for exponents in PUBLISHED[bits]]
    sums = sorted(sum(chosen) for chosen in product(*terms))
    form = AdditivePowersOfTwo(bits)
    published = [value / sums[-1] for value in sums]
    assert [Fraction(int(level), form.maximum) for level in form.levels[form.levels >= 0]] == published
    np.testing.assert_array_equal(form.levels, -form.levels[::-1])
    assert form.levels.size == 2**bits - 1


@pytest.mark.parametrize("bits", [4, 5])
def test_equation_5_of_the_paper_gives_the_terms_of_a_whole_number_of_base_bits(bits):
    """p_i is 0, 2^-i, 2^-(i+n) ... 2^-(i+(2^k-2)n) for base bit-width k and n terms."""
    k, n = 2, (bits - 1) // 2
    form = AdditivePowersOfTwo(bits)
    if (bits - 1) % 2:
        assert len(form.terms) == n + 1 and len(form.terms[-1]) == 1
        return
    exponents = [[-(i + step * n) for step in range(2**k - 1)] for i in range(n)]
    lowest = min(map(min, exponents))
    assert form.terms == tuple(tuple(sorted(e - lowest for e in term)) for term in exponents)


def test_weights_of_bell_shape_lose_less_on_additive_powers_than_on_even_levels_or_powers():
    """Figure 2 of the paper: more levels near zero than even ones have, and more far from it than powers of two."""
    weight = np.random.default_rng(0).normal(0, 1, (16, 64, 3, 3))

    def error(target):
        found = quantize_weight(weight, target, Settings(weights="mse"))
        return np.square(found.values * found.scale[:, None, None, None] - weight).mean()

    assert error(AdditivePowersOfTwo(5)) < error(PowerOfTwo(5)) / 2
    assert error(AdditivePowersOfTwo(4)) < error(PowerOfTwo(4))
    values = np.random.default_rng(0).standard_t(3, (1, 4096, 1, 1))
    long_tailed = [
        np.square(found.values * found.scale[:, None, None, None] - values).mean()
        for found in (quantize_weight(values, t, Settings()) for t in (AdditivePowersOfTwo(5), Int(5)))
    ]
    assert long_tailed[0] < long_tailed[1]


@pytest.mark.parametrize("overflow", Overflow)
@pytest.mark.parametrize("bits", [4, 5, 6, 7])
def test_the_circuit_is_proved_to_be_the_arithmetic(bits, overflow):
    mac = ApotMac(AdditivePowersOfTwo(bits), Int(4, signed=bits % 2 == 0), Int(16), overflow)
    proof = prove(mac)
    assert proof is not None and proof.meaning.overflow is overflow


def test_two_terms_cost_more_than_one_and_less_than_a_multiplier_of_their_levels():
    """48 levels to either side would take int7; apot5 holds 15 of them."""
    gates = [
        synthesize(circuit).nand2_equivalents
        for circuit in (
            ShiftMac(PowerOfTwo(4), Int(8), Int(32)),
            ApotMac(AdditivePowersOfTwo(4), Int(8), Int(32)),
            ApotMac(AdditivePowersOfTwo(5), Int(8), Int(32)),
            Mac(Int(7), Int(8), Int(32)),
        )
    ]
    assert gates == sorted(gates)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: AdditivePowersOfTwo(3), "4 to 7 bits, not 3; write apot4, say, or pow2x3"),
        (lambda: ApotMac(PowerOfTwo(4), Int(8), Int(16)), "weight pow2x4 is out of range; .* apot4 to apot7"),
        (lambda: ApotMac(AdditivePowersOfTwo(4), Int(10), Int(16)), "activation int10 is out of range"),
        (lambda: ApotMac(AdditivePowersOfTwo(4), Int(8), Int(7)), "accumulator int7 is out of range"),
        (
            lambda: AdditivePowersOfTwo(4).encode(np.array([5])),
            "value 5 is no level of apot4, which ends at 10",
        ),
    ],
)
def test_what_has_no_additive_powers_is_refused(make, sentence):
    with pytest.raises(HwsimError, match=sentence):
        make()


@pytest.fixture(scope="module")
def digits():
    """The digits network in four bits of additive powers of two."""
    images = load_split("digits", "calibration").images
    return quantize(load_model("digits"), "apot4a8/int32", images, settings=Settings(weights="mse"))


def test_a_network_of_additive_powers_runs_on_their_circuits(digits):
    split = load_split("digits", "test")
    circuits = Circuits(digits)
    result = measure_accuracy(
        digits, split.images[:60], split.labels[:60], compute=circuits.compute, against=compute_layer
    )
    assert result.difference is None and result.correct >= 54
    for item in digits.layers:
        if item.weight is not None:
            mac = parts(item, digits.formats(), digits.rounding)["mac"]
            assert mac == ApotMac(AdditivePowersOfTwo(4), item.bits.activation, Int(32))


def test_gates_of_additive_powers_compute_a_layer(digits):
    item = next(item for item in digits.layers if item.layer.name == "conv")
    form = item.bits.activation
    shape = (2, *item.layer.input_shapes[0])
    x = np.random.default_rng(0).integers(form.minimum, form.maximum + 1, shape)
    circuits = Circuits(digits, gates=True)
    assert circuits.steps["conv"] == "netlist, gate by gate"
    found, overflowed = circuits.compute(item, (x,), digits.rounding)
    expected, watched = compute_layer(item, (x,), digits.rounding)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(overflowed, watched)


def test_additive_powers_read_back_from_both_files(digits, tmp_path):
    save(digits, tmp_path / "net.safetensors")
    loaded, coded = load(tmp_path / "net.safetensors"), decompress(compress(digits))
    for item, other in zip(digits.layers, loaded.layers, strict=True):
        assert other.bits == item.bits
        if item.weight is not None:
            np.testing.assert_array_equal(other.weight, item.weight)
            np.testing.assert_array_equal(coded[item.layer.name].weight, item.weight)
