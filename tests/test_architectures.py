"""Adders and pipelines of multiply-accumulates: published structure, exact sums, whole networks, cycles and prices."""

import shutil
from dataclasses import dataclass, replace

import numpy as np
import pyrtl
import pytest

import networks
from hwsim.arithmetic import fit
from hwsim.bits import LayerBits
from hwsim.bundle.vectors import golden
from hwsim.cost import synthesize
from hwsim.cost.hardware import Hardware, circuits, operations
from hwsim.datapath import describe, multiply_accumulate
from hwsim.datapath.adders import accumulate, bits_of, kogge_stone, wire_of
from hwsim.datapath.apot_mac import ApotMac
from hwsim.datapath.datapath import Register
from hwsim.datapath.mac import Mac, architectures
from hwsim.datapath.shift_mac import ShiftMac
from hwsim.errors import HwsimError
from hwsim.formats import AdditivePowersOfTwo, Int, Overflow, PowerOfTwo
from hwsim.simulate import circuit
from hwsim.simulate.check import check
from hwsim.simulate.circuits import Circuits
from hwsim.simulate.inference import compute_layer, measure_accuracy
from hwsim.simulate.lanes import reduce
from hwsim.simulate.replay import replay
from hwsim.simulate.verilog import run_verilog
from hwsim.simulate.waveform import record


def adder(add, size):
    """The nets of an adder of two numbers, and the most gates from an operand to a bit of the sum."""
    block = pyrtl.Block()
    with pyrtl.set_working_block(block, no_sanity_check=True):
        x, y = (bits_of(pyrtl.Input(size, name)) for name in "xy")
        pyrtl.Output(size, "z").__ilshift__(wire_of(add(x, y, 0)))
    depth = dict.fromkeys(block.wirevector_subset((pyrtl.Input, pyrtl.Const)), 0)
    for net in block:
        depth[net.dests[0]] = max(depth[arg] for arg in net.args) + (net.op in "&|^~")
    return block, depth[block.get_wirevector_by_name("z")]


@pytest.mark.parametrize("levels", range(1, 7))
def test_a_prefix_adder_has_the_published_cells_and_levels(levels):
    # N log2 N - N + 1 cells in log2 N levels: Kogge and Stone's network in D. Harris, "A taxonomy of parallel prefix
    # networks", 2003. A cell has one OR gate and a level two gates; one is before and one behind them. The carries
    # of N bits are those into a sum of N + 1.
    size = 1 << levels
    block, depth = adder(kogge_stone, size + 1)
    assert len(block.logic_subset("|")) == size * levels - size + 1
    assert depth == 2 * levels + 2
    _, rippled = adder(accumulate, size + 1)
    assert rippled >= 2 * size


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6])
def test_a_prefix_adder_of_any_width_adds_every_pair_and_carry(size):
    block = pyrtl.Block()
    with pyrtl.set_working_block(block, no_sanity_check=True):
        x, y = (bits_of(pyrtl.Input(size, name)) for name in "xy")
        pyrtl.Output(size, "z").__ilshift__(wire_of(kogge_stone(x, y[: size // 2 + 1], pyrtl.Input(1, "c"))))
    x, y, c = (axis.ravel() for axis in np.indices((1 << size, 1 << size, 2)))
    low = size // 2 + 1 if size > 1 else 1
    addend = fit(y, Int(low), Overflow.WRAP) if low > 1 else -(y & 1)
    np.testing.assert_array_equal(
        circuit.evaluate(block, {"x": x, "y": y, "c": c})["z"], (x + addend + c) % (1 << size)
    )


SMALL = [
    lambda *rest: Mac(Int(4), Int(5, False), Int(9), rest[0], "booth", *rest[1:]),
    lambda *rest: ShiftMac(PowerOfTwo(4), Int(4), Int(10), *rest),
    lambda *rest: ApotMac(AdditivePowersOfTwo(4), Int(4, False), Int(8), *rest),
]


def sums(datapath, a, w):
    """Every exact sum of products, fitted after each, and where one left the range."""
    total = np.zeros((a.shape[0], w.shape[1]), np.int64)
    overflowed = np.zeros(total.shape, bool)
    for column, row in zip(a.T, w, strict=True):
        exact = total + column[:, None] * row
        total = fit(exact, datapath.accumulator, datapath.overflow)
        overflowed |= exact != total
    return total, overflowed


@pytest.mark.parametrize("make", SMALL)
@pytest.mark.parametrize(("adder", "stages", "overflow"), list(architectures()))
def test_every_architecture_sums_exactly_and_sees_every_overflow(make, adder, stages, overflow):
    datapath = make(overflow, adder, stages)
    rng = np.random.default_rng(7)
    a = datapath.activation.decode(rng.integers(0, 1 << datapath.activation.bits, (9, 40)))
    w = datapath.weight.decode(rng.integers(0, 1 << datapath.weight.bits, (40, 5)))
    expected, overflowed = sums(datapath, a, w)
    for gates in (False, True):
        found = reduce(datapath, a, w, observe=["overflow"], gates=gates)
        np.testing.assert_array_equal(found.values, expected)
        np.testing.assert_array_equal(found.overflowed, overflowed)
    assert 0 < overflowed.sum() < overflowed.size
    assert ("proved" in reduce(datapath, a, w).step) == (adder != "carry_save")


@pytest.mark.parametrize("stages", [1, 2])
def test_the_registers_hold_what_the_cycles_of_other_simulators_leave(stages):
    datapath = Mac(Int(5), Int(6), Int(13), multiplier="booth", adder="carry_save", stages=stages)
    rng = np.random.default_rng(stages)
    a, w = rng.integers(-32, 32, 20), rng.integers(-16, 16, 20)
    found = reduce(datapath, a[None], w[:, None])
    rows = {
        "activation": np.append(a, [0] * datapath.latency),
        "weight": np.append(w, [0] * datapath.latency),
    }
    simulators = [circuit.run] + [run_verilog] * bool(shutil.which("iverilog"))
    for run in simulators:
        after = run(datapath, rows)
        for name in ("sum", "carry"):
            assert after[name][-1] == found.registers[name]
    assert (after["sum"][-1] + after["carry"][-1] - a @ w) % (1 << 13) == 0
    assert found.values == fit(a @ w, Int(13), Overflow.WRAP)


ARCHITECTURES = [
    "mac multiplier=wallace",
    "mac multiplier=booth stages=2",
    "mac adder=kogge_stone",
    "mac multiplier=booth adder=carry_save",
    "mac adder=carry_save stages=2",
]


@pytest.mark.parametrize(
    ("mac", "masked"), [*((mac, False) for mac in ARCHITECTURES), ("mac adder=carry_save stages=2", True)]
)
def test_whole_networks_run_on_every_architecture(mac, masked):
    network = networks.every_kind(4)
    if masked:
        network = networks.masked(network)
    run, images = Circuits(network, mac=mac), networks.images(5)
    result = measure_accuracy(
        network, images, np.zeros(5, np.int64), compute=run.compute, against=compute_layer
    )
    assert result.difference is None
    assert sum(o.overflowed for o in result.overflows) > 0
    replays = replay(network, images, outputs=6, mac=mac)
    assert [r.difference for r in replays] == [None] * len(replays)
    # A product register adds a cycle to each output, and what adds up a carry-save sum another one.
    more = ("stages=2" in mac) + ("carry_save" in mac)
    plain = {r.layer: r.cycles for r in replay(network, images, outputs=6)}
    weighted = {item.layer.name for item in network.layers if item.weight is not None}
    assert {r.layer: r.cycles - plain[r.layer] for r in replays} == {
        name: 6 * more * (name in weighted) for name in plain
    }
    for item in network.layers:
        assert run.cycles(item) - Circuits(network).cycles(item) == (
            item.layer.outputs * more if item.layer.name in weighted else 0
        )


def test_a_network_on_carry_save_sums_is_priced_with_its_adders_and_cycles():
    network = networks.every_kind(4)
    conv = network.layers[0]
    network = replace(network, layers=(conv,))
    hardware = Hardware(100, 1_000_000, mac="mac adder=carry_save stages=2")
    mac, resolve, requantize = circuits(network, hardware)["conv"]
    assert [part.part for part in (mac, resolve, requantize)] == ["mac", "resolve", "requantize"]
    # 144 outputs of 18 products, a cycle for the product register and one for the reset; a resolved sum each.
    assert operations(conv, "mac", hardware.datapaths(network, conv)["mac"]) == 144 * 20
    assert mac.count == -(-144 * 20 * mac.cycles // 100)
    assert resolve.count == -(-144 * resolve.cycles // 100)
    assert mac.flip_flops == 14 + 2 * 14  # a product, of which 14 bits count, and the sum twice


@pytest.mark.parametrize("multiplier", ["fused", "booth"])
def test_carry_save_is_fastest_and_a_product_register_shortens_the_clock(multiplier):
    def period(**options):
        cost = synthesize(Mac(Int(8), Int(8), Int(32), multiplier=multiplier, **options), mapping="fastest")
        assert cost.equivalent
        return cost.critical_path_ps

    assert period(adder="carry_save") < period(stages=2) < period()
    assert period(adder="kogge_stone") < period()


def test_a_parameter_of_later_days_is_named_where_it_is_not_its_default():
    mac = Mac(Int(8), Int(8), Int(32))
    assert describe(mac).endswith("overflow=wrap, multiplier=fused)")
    assert describe(replace(mac, stages=2)).endswith("multiplier=fused, stages=2)")
    assert describe(replace(mac, adder="carry_save")).endswith("multiplier=fused, adder=carry_save)")


@dataclass(frozen=True)
class Late:
    """A sum that says it is late, and is not as a pipeline is."""

    fault: str

    inputs = property(lambda self: {"activation": Int(4), "weight": Int(4)})
    registers = property(
        lambda self: {"held": Register(Int(4), int(self.fault == "reset")), "accumulator": Register(Int(8))}
    )
    outputs = property(lambda self: {})
    latency = property(lambda self: 2 if self.fault == "cycles" else 1)

    def compute(self, values):
        raise NotImplementedError

    def connect(self, wires):
        held, added = wires["activation"], wires["held"]
        if self.fault == "feedback":
            held = held ^ wires["accumulator"][:4]
        if self.fault == "early":
            added = added ^ wires["weight"]
        return {"held": held, "accumulator": (wires["accumulator"] + added.sign_extended(8))[:8]}


@pytest.mark.parametrize("fault", ["reset", "cycles", "feedback", "early"])
def test_a_latency_that_is_no_pipelines_is_refused(fault):
    with pytest.raises(HwsimError, match="but is no pipeline of one stage; let registers"):
        reduce(Late(fault), np.ones((2, 3), int), np.ones((3, 2), int))
    sound = reduce(Late(""), np.full((1, 3), 2), np.ones((3, 1), int), gates=True)
    assert sound.values == 6


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("mac adder=fast", 'unknown adder "fast"; known: ripple, kogge_stone, carry_save'),
        ("mac stages=3", "stages 3 are out of range; give 1, or 2 to register the product"),
        ("mac stages=two", 'stages "two" is no whole number'),
        ("mac adders=ripple", 'unknown parameter of mac "adders"; known: multiplier, adder, stages'),
        ("mac adder=carry_save", "a carry-save accumulator cannot saturate, for it knows"),
    ],
)
def test_an_architecture_that_cannot_be_is_refused_in_one_sentence(text, sentence):
    with pytest.raises(HwsimError) as refused:
        multiply_accumulate(LayerBits.parse("w4a4/int16/saturate", signed=False), text)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_sum_that_agrees_with_a_wrong_arithmetic_is_still_refused():
    @dataclass(frozen=True)
    class Lost(Mac):
        """Both circuit and arithmetic lose the lowest carry."""

        def compute(self, values):
            results = super().compute(values)
            return results | {name: values & ~2 for name, values in results.items() if name == "carry"}

        def connect(self, wires):
            results = super().connect(wires)
            kept = pyrtl.concat(results["carry"][2:], pyrtl.Const(0, 1), results["carry"][0])
            return results | {"carry": kept}

    assert check(Mac(Int(4), Int(4), Int(12), adder="carry_save")).counterexample is None
    found = check(Lost(Int(4), Int(4), Int(12), adder="carry_save")).counterexample
    assert found is not None
    assert found.port == "accumulator"


@pytest.mark.parametrize("mac", ["mac stages=2", "mac adder=carry_save"])
def test_a_waveform_of_more_than_one_register_is_refused(mac):
    with pytest.raises(HwsimError, match="would need more than one register of its sum"):
        record(networks.every_kind(4), networks.images(2), mac=mac)


@pytest.mark.parametrize("mac", ["mac stages=2", "mac multiplier=booth adder=carry_save"])
def test_golden_vectors_hold_every_register_of_every_cycle(mac):
    found = golden(networks.every_kind(4), networks.images(2), outputs=2, mac=mac)
    sums = [set(vectors.expected) for vectors in found if vectors.part == "mac"]
    registers = {"product", "accumulator"} if "stages" in mac else {"sum", "carry"}
    assert registers in sums
    assert [vectors.part for vectors in found].count("resolve") == ("carry_save" in mac) * len(sums)
