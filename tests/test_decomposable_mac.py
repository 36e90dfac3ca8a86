"""The decomposable multiply-accumulate against the circuits it takes the place of, and published areas."""

from dataclasses import replace

import numpy as np
import pytest

from hwsim.cost.hardware import Hardware, circuits
from hwsim.cost.synthesis import synthesize
from hwsim.data import load_split
from hwsim.datapath import parts
from hwsim.datapath.adder_tree import AdderTree
from hwsim.datapath.decomposable_mac import WIDTHS, DecomposableMac
from hwsim.datapath.mac import Mac
from hwsim.errors import HwsimError
from hwsim.formats import Int, Overflow
from hwsim.models import load_model
from hwsim.quantize import quantize
from hwsim.simulate.circuit import run, run_lanes
from hwsim.simulate.circuits import Circuits
from hwsim.simulate.inference import compute_layer, measure_accuracy

CYCLES = 300


def operands(bits, signed, seed=0):
    """Operands of every product of a mode [products, cycles] and the words that hold them, noise above."""
    rng = np.random.default_rng(seed)
    count, used = (8 // bits) ** 2, bits * (8 // bits) ** 2
    values, words = {}, {}
    for name, form in (("activation", Int(bits, signed)), ("weight", Int(bits))):
        codes = rng.integers(0, 1 << bits, (count, CYCLES))
        places = np.arange(count)[:, None] * bits
        values[name] = form.decode(codes)
        words[name] = (codes << places).sum(axis=0) | rng.integers(0, 1 << 32 - used, CYCLES) << used
    return values, words


@pytest.mark.parametrize("overflow", Overflow)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("mode", "bits"), [(0, 8), (1, 4), (2, 2)])
def test_each_mode_accumulates_what_circuits_of_its_width_do(mode, bits, signed, overflow):
    values, words = operands(bits, signed)
    form = Int(bits, signed)
    if bits == 8:
        alone = Mac(Int(8), form, Int(17), overflow)
        separate = {name: value[0] for name, value in values.items()}
    else:
        alone = AdderTree(Int(bits), form, Int(17), len(values["weight"]), overflow)
        separate = {f"{name}{k}": row for name, value in values.items() for k, row in enumerate(value)}
    found = run(
        DecomposableMac(Int(8), Int(8, signed), Int(17), overflow), {**words, "mode": np.full(CYCLES, mode)}
    )
    np.testing.assert_array_equal(found["accumulator"], run(alone, separate)["accumulator"], strict=True)


def test_the_mode_may_change_every_cycle():
    mac = DecomposableMac(Int(8), Int(8), Int(32))
    words, expected = {"activation": [], "weight": [], "mode": []}, []
    for cycle in range(60):
        mode = cycle % 3
        values, taken = operands(WIDTHS[mode], True, seed=cycle)
        for name in taken:
            words[name].append(taken[name][0])
        words["mode"].append(mode)
        expected.append((values["activation"] * values["weight"])[:, 0].sum())
    found = run(mac, {name: np.array(column) for name, column in words.items()})
    np.testing.assert_array_equal(found["accumulator"], np.cumsum(expected))


def test_the_fusion_unit_stands_beside_the_published_one():
    """Sharma et al., Bit Fusion, ISCA 2018, RTL synthesis at 45 nm: the unit 1733 um2, their 8-bit MAC 687.6, 2.52 times.

    Theirs keeps a sign bit in each of the sixteen multipliers and has 8x4, 8x2 and 4x2 besides; this one has the three
    square modes and one constant a mode for the signs, and is smaller by a quarter.
    """
    unit, alone = (
        synthesize(DecomposableMac(Int(8), Int(8), Int(32))),
        synthesize(Mac(Int(8), Int(8), Int(32))),
    )
    assert unit.equivalent and unit.flip_flops == 32
    assert unit.area_um2 < 1733
    assert 1.6 < unit.area_um2 / alone.area_um2 < 1733 / 687.6
    # Sixteen circuits of their own for 2x2 products would be twice as large, four for 4x4 products smaller.
    quarters, sixteenths = (synthesize(Mac(Int(bits), Int(bits), Int(16))).area_um2 for bits in (4, 2))
    assert 4 * quarters < unit.area_um2 < 16 * sixteenths / 2


@pytest.mark.parametrize(
    ("weight", "activation", "mode", "cycles"),
    [(8, 8, 0, 37), (5, 3, 0, 37), (4, 4, 1, 10), (2, 3, 1, 10), (2, 2, 2, 3)],
)
def test_a_layer_runs_in_the_narrowest_mode_that_holds_its_operands(weight, activation, mode, cycles):
    unit = DecomposableMac(Int(weight), Int(activation, signed=False), Int(16))
    alone = Mac(Int(weight), Int(activation, signed=False), Int(16))
    rng = np.random.default_rng(0)
    values = {
        name: form.decode(rng.integers(0, 1 << form.bits, (37, 50))) for name, form in alone.inputs.items()
    }
    ports = unit.operands(values["activation"], values["weight"])
    assert unit.mode == mode and len(ports["mode"]) == unit.cycles(37) == cycles
    np.testing.assert_array_equal(
        run_lanes(unit, ports)["accumulator"], run_lanes(alone, values)["accumulator"]
    )


def test_layers_of_any_width_share_one_circuit():
    wide, narrow = (DecomposableMac(Int(b), Int(b), Int(16)) for b in (8, 2))
    assert synthesize(wide).netlist == synthesize(narrow).netlist


def test_a_network_of_mixed_widths_runs_on_decomposable_circuits():
    images = load_split("digits", "calibration").images
    whole = quantize(load_model("digits"), "w4a4/int16 edges=8", images)
    network = replace(whole, layers=whole.layers[:3])
    made = Circuits(network, mac="decomposable_mac")
    split = load_split("digits", "test")
    found = measure_accuracy(
        network, split.images[:2], split.labels[:2], compute=made.compute, against=compute_layer
    )
    assert found.difference is None
    modes = {
        item.layer.name: parts(item, network.formats(), network.rounding, "decomposable_mac")["mac"].mode
        for item in network.layers
        if item.weight is not None
    }
    assert modes == {"stem": 0, "block1_depthwise": 0, "block1_pointwise": 1}
    priced = circuits(network, Hardware(100.0, 100_000.0, mac="decomposable_mac"))
    for name, products in (("stem", 9), ("block1_depthwise", 9), ("block1_pointwise", 4)):
        (part, *_) = priced[name]
        assert part.count == -(-16 * 64 * (products + 1) * part.cycles // 1000)


def test_what_cannot_be_split_is_refused():
    with pytest.raises(HwsimError, match="activation int9 is out of range"):
        DecomposableMac(Int(8), Int(9), Int(32))
    with pytest.raises(HwsimError, match="accumulator int33 is out of range"):
        DecomposableMac(Int(8), Int(8), Int(33))
