"""The bit-serial multiply-accumulate, and networks on circuits that do not take one product a cycle."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.bits import LayerBits
from hwsim.bundle.memories import memories
from hwsim.cost.hardware import Hardware, circuits
from hwsim.cost.synthesis import synthesize
from hwsim.data import load_split
from hwsim.datapath import multiply_accumulate, parts
from hwsim.datapath.adder_tree import AdderTree
from hwsim.datapath.bit_serial_mac import BitSerialMac
from hwsim.datapath.datapath import Scheduled, sum_cycles
from hwsim.datapath.mac import Mac
from hwsim.errors import HwsimError
from hwsim.formats import Int, Overflow
from hwsim.models import load_model
from hwsim.quantize import quantize
from hwsim.simulate.circuit import run, run_lanes
from hwsim.simulate.circuits import Circuits
from hwsim.simulate.inference import compute_layer, measure_accuracy
from hwsim.simulate.replay import cycles_per_output, replay
from hwsim.simulate.waveform import record
from hwsim.steps.certify import certify_network
from hwsim.steps.simulate import simulate_network


@settings(deadline=None, max_examples=25)
@given(
    st.integers(2, 8), st.integers(2, 8), st.booleans(), st.sampled_from([8, 11, 32]),
    st.integers(1, 5), st.integers(0, 2**32),
)  # fmt: skip
def test_sums_are_those_of_a_mac_in_as_many_cycles_as_there_are_bits(w, a, signed, n, products, seed):
    serial, parallel = (kind(Int(w), Int(a, signed), Int(n)) for kind in (BitSerialMac, Mac))
    rng = np.random.default_rng(seed)
    values = {
        name: form.decode(rng.integers(0, 1 << form.bits, (products, 20)))
        for name, form in parallel.inputs.items()
    }
    ports = serial.operands(values["activation"], values["weight"])
    assert {len(column) for column in ports.values()} == {products * w} == {serial.cycles(products)}
    np.testing.assert_array_equal(
        run_lanes(serial, ports)["accumulator"], run_lanes(parallel, values)["accumulator"], strict=True
    )


def test_each_bit_adds_its_power_of_two_and_the_last_subtracts():
    # 5 * -6: -6 is 1010, lowest bit first 0, 1, 0, 1: nothing, 5 * 2, nothing, -5 * 8.
    serial = BitSerialMac(Int(4), Int(4), Int(16))
    ports = serial.operands(np.array([[5]]), np.array([[-6]]))
    assert [int(bit) for bit in ports["weight"][:, 0]] == [0, 1, 0, 1]
    seen = run(serial, {name: column[:, 0] for name, column in ports.items()})
    assert seen["accumulator"].tolist() == [0, 10, 10, -30]
    assert seen["shifted"].tolist()[:3] == [10, 20, 40]


def test_a_serial_circuit_is_smaller_and_slower_than_a_parallel_one():
    """The published point of bit-serial units: area that hardly grows with the serial operand, cycles that do."""
    serial, parallel = (
        [synthesize(kind(Int(w), Int(8), Int(32))).nand2_equivalents for w in (4, 8)]
        for kind in (BitSerialMac, Mac)
    )
    assert serial[1] < 0.75 * parallel[1] and serial[0] < parallel[0]
    assert serial[1] - serial[0] < (parallel[1] - parallel[0]) / 3


@pytest.fixture(scope="module")
def digits():
    """The first layers of the digits network in 4 bits with accumulators of 10, some of which overflow."""
    images = load_split("digits", "calibration").images
    whole = quantize(load_model("digits"), "w4a8/int10", images)
    return replace(whole, layers=whole.layers[:3])


@pytest.mark.parametrize(("mac", "kind"), [("bit_serial_mac", BitSerialMac), ("adder_tree", AdderTree)])
def test_a_network_on_scheduled_circuits_computes_what_the_arithmetic_does(digits, mac, kind):
    split = load_split("digits", "test")
    made = Circuits(digits, mac=mac)
    found = measure_accuracy(
        digits, split.images[:4], split.labels[:4], compute=made.compute, against=compute_layer
    )
    assert found.difference is None
    expected = measure_accuracy(digits, split.images[:4], split.labels[:4])
    assert found.overflows == expected.overflows and any(o.overflowed for o in found.overflows)
    assert set(made.steps.values()) == {"netlist, gate by gate, on its own schedule"}
    for item in digits.layers:
        if item.weight is not None:
            circuit = parts(item, digits.formats(), digits.rounding, mac)["mac"]
            assert isinstance(circuit, kind) and isinstance(circuit, Scheduled)
            products = item.layer.products
            cycles = products * 4 if kind is BitSerialMac else math.ceil(products / 4)
            assert sum_cycles(circuit, products) == cycles
            assert cycles_per_output(item, {"mac": circuit}) == cycles


@pytest.mark.parametrize("mac", ["bit_serial_mac", "adder_tree"])
def test_a_sample_of_scheduled_circuits_agrees_in_pyrtl_and_verilog(digits, mac):
    images = load_split("digits", "test").images[:2]
    found = replay(digits, images, outputs=2, simulators=("pyrtl", "verilog"), mac=mac)
    assert all(layer.difference is None for layer in found) and len(found) == len(replay(digits, images))


def test_a_network_is_priced_at_the_cycles_of_its_circuits(digits):
    hardware = {
        mac: circuits(digits, Hardware(100.0, 10_000.0, mac=mac))
        for mac in ("mac", "bit_serial_mac", "adder_tree")
    }
    for item in digits.layers:
        if item.weight is not None:
            name, outputs, k = item.layer.name, item.layer.outputs, item.layer.products
            for mac, cycles in (("mac", k), ("bit_serial_mac", 4 * k), ("adder_tree", -(-k // 4))):
                part = hardware[mac][name][0]
                assert part.count == -(-outputs * (cycles + 1) * part.cycles // 10_000)


def test_a_user_reads_what_ran(digits):
    said = simulate_network(digits, data="digits", images=2, mac="adder_tree").text()
    assert "netlist, gate by gate, on its own schedule" in said and "no difference" in said


def test_memories_hold_the_weights_of_scheduled_circuits(digits):
    names = {item.layer.name: item.layer.name for item in digits.layers}
    texts = []
    for mac in ("mac", "bit_serial_mac", "adder_tree"):
        made = {
            item.layer.name: parts(item, digits.formats(), digits.rounding, mac) for item in digits.layers
        }
        texts.append(dict(memories(digits, names, made)))
    assert texts[0] == texts[1] == texts[2]


def test_what_follows_single_products_is_refused(digits):
    with pytest.raises(HwsimError, match="a bit-serial sum cannot saturate"):
        BitSerialMac(Int(4), Int(4), Int(16), Overflow.SATURATE)
    with pytest.raises(HwsimError, match=r"cannot be made for int4.*cannot saturate"):
        multiply_accumulate(LayerBits.parse("w4a4/int16/saturate", signed=False), "bit_serial_mac")
    with pytest.raises(HwsimError, match="integer weights, not pow2x4"):
        multiply_accumulate(LayerBits.parse("p4a4/int16", signed=False), "bit_serial_mac")
    with pytest.raises(HwsimError, match="a waveform follows a sum product by product"):
        record(digits, load_split("digits", "test").images[:1], mac="bit_serial_mac")
    with pytest.raises(HwsimError, match="a witness follows a sum product by product"):
        certify_network(digits, mac="adder_tree")
