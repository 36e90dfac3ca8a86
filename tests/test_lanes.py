"""The lane-parallel engine: every operation at the machine's word boundaries, its doors, proofs and refusals."""

import operator
import random
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import pyrtl
import pytest

from hwsim.arithmetic import dot, fit
from hwsim.datapath import DATAPATHS
from hwsim.datapath.datapath import Register, describe, elaborate
from hwsim.datapath.mac import Mac
from hwsim.datapath.pool import MaxPool
from hwsim.datapath.requantize import Requantize
from hwsim.datapath.shift_mac import ShiftMac
from hwsim.errors import HwsimError
from hwsim.formats import Int, Overflow, PowerOfTwo, Rounding
from hwsim.simulate import LaneSimulation, circuit
from hwsim.simulate.lanes import Reduction, planes, reduce, run_channels, run_lanes, toggles
from hwsim.simulate.lanes.bits import blasted, source_bit
from hwsim.simulate.lanes.form import Form
from hwsim.simulate.lanes.planes import LANES, pack, unpack
from hwsim.simulate.lanes.proof import prove
from hwsim.simulate.lanes.sliced import ever

EDGES = (1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129)
"""Widths around those of machine integers and of one, two and three parts."""

MACS = [
    Mac(Int(6), Int(8, False), Int(16)),
    Mac(Int(8), Int(8, False), Int(16), Overflow.SATURATE, "baugh_wooley"),
    Mac(Int(4), Int(4), Int(8), Overflow.SATURATE),
    Mac(Int(8), Int(8), Int(32)),
    Mac(Int(6), Int(8, False), Int(32), Overflow.SATURATE, "baugh_wooley"),
    Mac(Int(5), Int(7), Int(12), Overflow.SATURATE),
    ShiftMac(PowerOfTwo(4), Int(8, False), Int(16)),
    ShiftMac(PowerOfTwo(3), Int(4), Int(8), Overflow.SATURATE),
]


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HWSIM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def block_of(connect, **widths):
    """Return a block of inputs of some widths and one output, what ``connect`` makes of them."""
    block = pyrtl.Block()
    with pyrtl.set_working_block(block, no_sanity_check=True):
        result = connect(*(pyrtl.Input(width, name) for name, width in widths.items()))
        pyrtl.Output(len(result), "result").__ilshift__(result)
    return block


def numbers(width, count, seed=0):
    """Return corners and random patterns."""
    rng = random.Random(seed)
    corners = [0, 1, (1 << width) - 1, 1 << (width - 1), (1 << (width - 1)) - 1]
    values = corners + [rng.getrandbits(width) for _ in range(count - len(corners))]
    rng.shuffle(values)
    return np.array([value & ((1 << width) - 1) for value in values], object if width > 64 else np.uint64)


OPERATIONS = {
    "and": (lambda a, b: a & b, operator.and_),
    "or": (lambda a, b: a | b, operator.or_),
    "xor": (lambda a, b: a ^ b, operator.xor),
    "nand": (lambda a, b: a.nand(b), lambda a, b: ~(a & b)),
    "add": (lambda a, b: a + b, operator.add),
    "subtract": (lambda a, b: a - b, operator.sub),
    "multiply": (lambda a, b: a * b, operator.mul),
    "less": (lambda a, b: a < b, operator.lt),
    "greater": (lambda a, b: a > b, operator.gt),
    "equal": (lambda a, b: a == b, operator.eq),
    "not": (lambda a, b: pyrtl.concat(~a, b), lambda a, b: None),
}


@pytest.mark.parametrize("width", EDGES)
def test_an_operation_equals_the_integers_at_a_width(width):
    a, b = numbers(width, 64), numbers(width, 64, seed=1)
    b[:8] = a[:8]
    for name, (connect, meaning) in OPERATIONS.items():
        if name == "not":
            continue
        block = block_of(connect, a=width, b=width)
        bits = len(block.wirevector_by_name["result"])
        found = LaneSimulation(block, lanes=64).run({"a": a[None], "b": b[None]})["result"][0]
        expected = [int(meaning(int(x), int(y))) & ((1 << bits) - 1) for x, y in zip(a, b, strict=True)]
        assert found.tolist() == expected, name


@pytest.mark.parametrize("width", [w for w in EDGES if w > 1])
def test_wiring_equals_the_integers_at_a_width(width):
    rng = random.Random(width)
    a, b = numbers(width, 32), numbers(width, 32, seed=1)
    chosen = [rng.randrange(width) for _ in range(20)]

    def connect(x, y):
        bits = pyrtl.concat_list([x[k] for k in chosen])
        return pyrtl.concat(x, bits, y.sign_extended(width + 9), x[width // 2 :], pyrtl.select(x[0], x, y))

    found = LaneSimulation(block_of(connect, a=width, b=width), lanes=32).run({"a": a[None], "b": b[None]})
    for x, y, value in zip(map(int, a), map(int, b), found["result"][0].tolist(), strict=True):
        pieces = [
            (x, width),
            (sum((x >> k & 1) << place for place, k in enumerate(chosen)), 20),
            ((y - (y >> (width - 1) << width)) & ((1 << (width + 9)) - 1), width + 9),
            (x >> (width // 2), width - width // 2),
            (x if x & 1 else y, width),
        ]
        expected = 0
        for piece, size in pieces:
            expected = expected << size | piece
        assert value == expected


def signed_mac(weight, activation, bits):
    """Return a multiply-accumulate written in words: its signs are to be recovered from the netlist."""
    block = pyrtl.Block()
    with pyrtl.set_working_block(block, no_sanity_check=True):
        a, w = pyrtl.Input(activation, "a"), pyrtl.Input(weight, "w")
        total = pyrtl.Register(bits, "total")
        total.next <<= pyrtl.signed_add(total, pyrtl.signed_mult(a, w)).truncate(bits)
        pyrtl.Output(bits, "sum").__ilshift__(total)
    return block


@pytest.mark.parametrize("bits", [16, 23, 32, 64])
def test_signed_words_accumulate_as_integers(bits):
    rng = np.random.default_rng(bits)
    a, w = rng.integers(-128, 128, (50, 70)), rng.integers(-32, 32, (50, 70))
    found = LaneSimulation(signed_mac(6, 8, bits), lanes=70).run({"a": a, "w": w})["sum"]
    exact = np.cumsum(a * w, axis=0) - a * w
    np.testing.assert_array_equal(found, exact.astype(np.uint64) & np.uint64((1 << bits) - 1), strict=True)


def counter_with_memory():
    block = pyrtl.Block()
    with pyrtl.set_working_block(block, no_sanity_check=True):
        address, data, enable = pyrtl.Input(3, "address"), pyrtl.Input(70, "data"), pyrtl.Input(1, "enable")
        memory = pyrtl.MemBlock(70, 3, "memory", asynchronous=True)
        table = pyrtl.RomBlock(5, 3, [3, 1, 4, 1, 5, 9, 2, 6], "table", asynchronous=True)
        count = pyrtl.Register(3, "count", reset_value=2)
        count.next <<= (count + 1)[:3]
        memory[address] <<= pyrtl.MemBlock.EnabledWrite(data, enable)
        pyrtl.Output(70, "old").__ilshift__(memory[address])
        pyrtl.Output(5, "constant").__ilshift__(table[count])
    return block, memory, count


def test_toggles_are_counted_on_every_wire():
    block, *_ = counter_with_memory()
    rng = np.random.default_rng(0)
    inputs = {
        "address": rng.integers(0, 8, (30, 9)),
        "data": rng.integers(0, 1 << 63, (30, 9)).astype(object) << 7,
        "enable": rng.integers(0, 2, (30, 9)),
    }
    found = toggles(block, inputs)
    single = [
        pyrtl.Simulation(block=block, tracer=pyrtl.SimulationTrace("all", block=block)) for _ in range(9)
    ]
    for lane, simulation in enumerate(single):
        for cycle in range(30):
            simulation.step({name: int(values[cycle, lane]) for name, values in inputs.items()})
    for name, counts in found.items():
        expected = np.zeros(len(counts), np.int64)
        for simulation in single:
            values = simulation.tracer.trace[name]
            for before, after in pairwise(values):
                expected += [(before ^ after) >> bit & 1 for bit in range(len(counts))]
        np.testing.assert_array_equal(counts, expected, strict=True)


def test_every_lane_has_its_own_memory_and_registers():
    block, memory, count = counter_with_memory()
    rng, lanes, cycles = random.Random(0), 11, 40
    starts = np.arange(lanes) % 8
    given = {5: np.arange(lanes) << 60}
    inputs = {
        "address": np.array([[rng.randrange(8) for _ in range(lanes)] for _ in range(cycles)]),
        "data": np.array([[rng.getrandbits(70) for _ in range(lanes)] for _ in range(cycles)], object),
        "enable": np.array([[rng.randrange(2) for _ in range(lanes)] for _ in range(cycles)]),
    }
    simulation = LaneSimulation(
        block, lanes=lanes, register_value_map={count: starts}, memory_value_map={memory: given}
    )
    found = simulation.run(inputs)
    assert starts.tolist() == [k % 8 for k in range(lanes)]
    for lane in range(lanes):
        single = pyrtl.Simulation(
            block=block,
            tracer=None,
            register_value_map={count: int(starts[lane])},
            memory_value_map={memory: {5: int(given[5][lane])}},
        )
        for cycle in range(cycles):
            single.step({name: int(values[cycle, lane]) for name, values in inputs.items()})
            for name, values in found.items():
                assert values[cycle, lane] == single.inspect(name)
        for wire in block.wirevector_set:
            assert simulation.inspect(wire.name)[lane] == single.inspect(wire.name)
        content = simulation.inspect_mem(memory)[:, lane]
        assert content.tolist() == [single.inspect_mem(memory).get(k, 0) for k in range(8)]


@pytest.mark.parametrize("shift", [15, 16, 17, 31, 32, 39])
@pytest.mark.parametrize("compared", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_a_wide_product_of_narrow_numbers_keeps_its_high_bits(signed, compared, shift):
    # LLVM issue 218844: 16 bits of a product of 64-bit integers that lie in 16 bits, at 32 bits and above.
    extend = pyrtl.WireVector.sign_extended if signed else pyrtl.WireVector.zero_extended

    def connect(a, b, mask):
        total = pyrtl.WireVector(40)
        pyrtl.working_block().add_net(pyrtl.LogicNet("*", None, (extend(a, 40), extend(b, 40)), (total,)))
        part = total[shift:][:16].zero_extended(16)
        return (part | mask) == mask if compared else part | mask

    numbers = np.array([-128, -127, -3, -1, 0, 1, 2, 127] if signed else [0, 1, 2, 3, 127, 128, 254, 255])
    a, b = (array.ravel() for array in np.meshgrid(numbers, numbers))
    block = block_of(connect, a=8, b=8, mask=16)
    for mask in (0, 1, 0xFFFE):
        part = (a * b & (1 << 40) - 1) >> shift & 0xFFFF
        expected = (part | mask) == mask if compared else part | mask
        simulation = LaneSimulation(block, lanes=len(a))
        inputs = {"a": a[None], "b": b[None], "mask": np.full((1, len(a)), mask)}
        np.testing.assert_array_equal(simulation.run(inputs, words=True)["result"], expected[None])


@pytest.mark.parametrize("address_bits", [1, 3, 6, 7, 8, 9])
def test_a_rom_is_read_at_an_address_of_each_lane(address_bits):
    rng = random.Random(address_bits)
    for width in (1, 5, 8, 9, 70):
        data = [rng.getrandbits(width) for _ in range(1 << address_bits)]
        block = pyrtl.Block()
        with pyrtl.set_working_block(block, no_sanity_check=True):
            table = pyrtl.RomBlock(width, address_bits, data, asynchronous=True)
            pyrtl.Output(width, "o").__ilshift__(table[pyrtl.Input(address_bits, "a")])
        for lanes in (1, 5, 64, 130):
            a = np.array([[rng.randrange(1 << address_bits) for _ in range(lanes)] for _ in range(3)])
            found = LaneSimulation(block, lanes=lanes).run({"a": a})["o"]
            assert found.tolist() == [[data[k] for k in row] for row in a]


def test_words_are_the_same_values_as_they_lie_in_the_machine():
    block = block_of(lambda a, b: pyrtl.concat(a, b), a=40, b=60)
    a, b = numbers(40, 64), numbers(60, 64)
    simulation = LaneSimulation(block, lanes=64)
    values = simulation.run({"a": a[None], "b": b[None]})["result"]
    low, high = simulation.run({"a": a[None], "b": b[None]}, words=True)["result"]
    np.testing.assert_array_equal(values, low.astype(object) | high.astype(object) << 64)
    wide = block_of(lambda x: x + 1, x=100)
    given = np.stack([low, high])
    for form in (given, values):
        found = LaneSimulation(wide, lanes=64).run({"x": form})["result"]
        np.testing.assert_array_equal(found, values + 1)


def test_one_lane_stands_for_a_pyrtl_simulation():
    block = signed_mac(4, 4, 8)
    ours, theirs = (
        LaneSimulation(block),
        pyrtl.Simulation(block=block, tracer=pyrtl.SimulationTrace(block=block)),
    )
    for simulation in (ours, theirs):
        simulation.step({"a": 3, "w": -2})
        simulation.step_multiple({"a": [1, 2, "7"], "w": [5, 15, 1]}, {"sum": ["?", 0xFF, 0xFD]}, nsteps=3)
    assert ours.tracer.trace == theirs.tracer.trace
    assert ours.inspect("total") == theirs.inspect("total")


def test_unexpected_outputs_are_printed_with_their_lane(capsys):
    simulation = LaneSimulation(block_of(lambda a: a, a=4), lanes=3)
    simulation.step_multiple({"a": [[1, 2, 3]]}, {"result": [[1, 9, 3]]})
    head, names, row = capsys.readouterr().out.splitlines()
    assert head == "Unexpected output on one or more steps:"
    assert names.split() == ["step", "lane", "name", "expected", "actual"]
    assert row.split() == ["0", "1", "result", "9", "2"]


def test_a_failing_assertion_is_raised():
    block = pyrtl.Block()
    with pyrtl.set_working_block(block, no_sanity_check=True):
        a = pyrtl.Input(2, "a")
        pyrtl.Output(2, "o").__ilshift__(a)
        pyrtl.rtl_assert(a != 3, pyrtl.PyrtlError("three"))
    simulation = LaneSimulation(block, lanes=2)
    simulation.run({"a": [[0, 1], [2, 2]]})
    with pytest.raises(pyrtl.PyrtlError, match="three"):
        simulation.step({"a": [0, 3]})


@pytest.mark.parametrize("mac", MACS, ids=describe)
def test_gates_and_words_are_the_same_lanes(mac):
    block = elaborate(mac)
    rng = np.random.default_rng(0)
    inputs = {name: rng.integers(0, 1 << form.bits, (40, 700)) for name, form in mac.inputs.items()}
    simulation = LaneSimulation(block, lanes=700)
    assert simulation._loop(64).vector == LANES
    few = LaneSimulation(block, lanes=5)
    assert few._loop(64).vector < LANES
    found, same = simulation.run(inputs), few.run({name: values[:, -5:] for name, values in inputs.items()})
    np.testing.assert_array_equal(found["accumulator"][:, -5:], same["accumulator"], strict=True)
    values = {name: form.decode(inputs[name].astype(np.int64)) for name, form in mac.inputs.items()}
    state = np.zeros(700, np.int64)
    for cycle in range(40):
        code = mac.registers["accumulator"].format.encode(state).astype(np.uint64)
        np.testing.assert_array_equal(found["accumulator"][cycle], code, strict=True)
        state = mac.compute({"accumulator": state} | {name: rows[cycle] for name, rows in values.items()})[
            "accumulator"
        ]


@pytest.mark.parametrize(("bits", "width"), [(8, 1), (8, 8), (16, 8), (16, 13), (32, 32), (64, 64), (64, 33)])
def test_planes_hold_the_bits_of_integers(bits, width):
    values = np.random.default_rng(width).integers(0, 1 << min(width, 63), 3 * LANES).astype(f"uint{bits}")
    packed = pack(values, width)
    for bit in range(width):
        expected = np.packbits(
            (values >> np.array(bit, values.dtype)).astype(np.uint8) & 1, bitorder="little"
        )
        np.testing.assert_array_equal(packed[:, bit].reshape(-1).view(np.uint8), expected)
    np.testing.assert_array_equal(unpack(packed, width), values)


def operands(mac, m, k, n, seed=0):
    rng = np.random.default_rng(seed)
    weight, activation = mac.inputs["weight"], mac.inputs["activation"]
    w = weight.decode(rng.integers(0, 1 << weight.bits, (k, n)))
    return activation.decode(rng.integers(0, 1 << activation.bits, (m, k))), w


@pytest.mark.parametrize("mac", MACS, ids=describe)
def test_a_reduction_is_the_arithmetic_with_what_it_observes(mac):
    register = mac.registers["accumulator"].format
    for m, k, n in ((1, 1, 1), (13, 30, 10), (530, 40, 70)):
        a, w = operands(mac, m, k, n)
        expected = dot(a, w, register, mac.overflow)
        prefixes = [dot(a[:, :j], w[:j], register, mac.overflow).values for j in range(1, k + 1)]
        for gates, threads in product((False, True), (1, 2)):
            found = reduce(mac, a, w, threads=threads, observe=["overflow", "extremes"], gates=gates)
            np.testing.assert_array_equal(found.values, expected.values)
            np.testing.assert_array_equal(found.overflowed, expected.overflowed)
            np.testing.assert_array_equal(found.minimum, np.min(prefixes, axis=0))
            np.testing.assert_array_equal(found.maximum, np.max(prefixes, axis=0))
            plain = reduce(mac, a.astype(np.int16), w, gates=gates)
            np.testing.assert_array_equal(plain.values, expected.values)
            assert plain.overflowed is plain.minimum is plain.maximum is None


@pytest.mark.parametrize("gates", [False, True])
def test_a_convolution_gathers_its_operands(gates):
    mac = MACS[1]
    rng = np.random.default_rng(0)
    image = np.zeros((9, 8, 5), np.uint8)
    image[1:-1, 1:-1] = rng.integers(0, 256, (7, 6, 5))
    kernel = rng.integers(-128, 128, (3, 3, 5, 20))
    place = np.arange(image.size).reshape(image.shape)
    base, offset = place[:7, :6, 0].reshape(-1), place[:3, :3].reshape(-1)
    found = Reduction(mac, kernel.reshape(45, 20), gates=gates).gather(image.reshape(-1), base, offset).values
    columns = image.reshape(-1)[base[:, None] + offset].astype(np.int64)
    expected = dot(columns, kernel.reshape(45, 20), Int(16), Overflow.SATURATE).values
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("gates", [False, True])
@pytest.mark.parametrize("channels", [1, 20, 100])
def test_a_depthwise_layer_has_activations_of_its_own_in_every_channel(channels, gates):
    mac = MACS[4]
    rng = np.random.default_rng(0)
    a, w = rng.integers(0, 256, (30, 9, channels)), rng.integers(-32, 32, (9, channels))
    found = Reduction(mac, w, depthwise=True, gates=gates).run(a).values
    np.testing.assert_array_equal(found, (a * w).sum(axis=1))


@dataclass(frozen=True)
class Pipelined:
    """The product is registered before it is added: a sum lags a cycle behind."""

    bits: int = 40

    @property
    def inputs(self):
        return {"weight": Int(6), "activation": Int(8, False)}

    @property
    def registers(self):
        return {"product": Register(Int(15)), "accumulator": Register(Int(self.bits), 5)}

    @property
    def outputs(self):
        return {}

    def connect(self, wires):
        a = wires["activation"].zero_extended(9)
        product_ = pyrtl.signed_mult(wires["weight"], a)
        total = pyrtl.signed_add(wires["accumulator"], wires["product"])
        return {"product": product_[:15], "accumulator": total[: self.bits]}


@pytest.mark.parametrize("bits", [16, 40])
def test_a_pipelined_accumulator_is_reduced_on_its_gates(bits):
    rng = np.random.default_rng(0)
    a, w = rng.integers(0, 256, (600, 20)), rng.integers(-32, 32, (20, 3))
    found = reduce(Pipelined(bits), a, w, observe="extremes")
    sums = 5 + np.cumsum(a[:, :-1, None] * w[:-1], axis=1)
    prefixes = fit(np.concatenate([np.full((600, 1, 3), 5), sums], axis=1), Int(bits), Overflow.WRAP)
    np.testing.assert_array_equal(found.values, prefixes[:, -1])
    np.testing.assert_array_equal(found.minimum, prefixes.min(axis=1))
    np.testing.assert_array_equal(found.maximum, prefixes.max(axis=1))
    assert found.step == "netlist, gate by gate"
    with pytest.raises(HwsimError, match="overflow has no meaning"):
        reduce(Pipelined(bits), a, w, observe="overflow")


@dataclass(frozen=True)
class Words(Mac):
    """A multiply-accumulate written in words."""

    def connect(self, wires):
        width = self.accumulator.bits
        a = wires["activation"].zero_extended(9) if not self.activation.signed else wires["activation"]
        total = pyrtl.signed_add(wires["accumulator"], pyrtl.signed_mult(wires["weight"], a))
        return {"accumulator": total[:width]}


@pytest.mark.parametrize("bits", [13, 16, 27, 32])
def test_arithmetic_written_in_words_is_proved_as_well(bits):
    mac = Words(Int(6), Int(8, False), Int(bits))
    a, w = operands(mac, 20, 50, 7)
    expected = dot(a, w, Int(bits), Overflow.WRAP).values
    for gates in (False, True):
        found = reduce(mac, a, w, gates=gates)
        np.testing.assert_array_equal(found.values, expected)
        assert ("proved" in found.step) != gates


def test_a_sum_that_cannot_leave_its_range_says_so():
    for mac in (MACS[3], MACS[4]):
        few, many = (
            Reduction(mac, np.full((k, 1), mac.inputs["weight"].minimum), observe="overflow")
            for k in (65_793, 263_173)
        )
        assert few.contained and "within its range on these weights" in few.step
        assert not many.contained
        a = np.full((1, 65_793), mac.inputs["activation"].minimum or mac.inputs["activation"].maximum)
        found = few.run(a)
        assert (
            found.values.item() == int(a.sum()) * mac.inputs["weight"].minimum and not found.overflowed.any()
        )
    assert Reduction(MACS[3], np.full((131_071, 1), -128)).contained
    assert not Reduction(MACS[3], np.full((131_072, 1), -128)).contained


@dataclass(frozen=True)
class Faulty(Mac):
    """A multiply-accumulate that is wrong for one accumulator, weight and activation."""

    def connect(self, wires):
        result = super().connect(wires)["accumulator"]
        rare = (wires["accumulator"] == 1234) & (wires["weight"] == 45) & (wires["activation"] == 67)
        return {"accumulator": result ^ rare.zero_extended(len(result))}


@pytest.mark.parametrize("bits", [16, 32])
def test_a_single_wrong_case_is_no_proof(bits):
    right, wrong = (kind(Int(6), Int(8, False), Int(bits)) for kind in (Mac, Faulty))
    assert prove(right) is not None
    assert prove(wrong) is None
    a, w = np.full((1, 1), 67), np.full((1, 1), 45 - 64)
    assert reduce(wrong, a, w).step == "netlist, gate by gate"


@dataclass(frozen=True)
class FaultyCarry(Mac):
    """A multiply-accumulate whose high part is wrong in one case that only its own bits tell."""

    def connect(self, wires):
        result = super().connect(wires)["accumulator"]
        rare = wires["accumulator"][20:] == 0x5A5
        return {"accumulator": pyrtl.concat(result[-1] ^ rare, result[:-1])}


@dataclass(frozen=True)
class LateFault(Mac):
    """A multiply-accumulate that forgets a carry when all of the high part's low bits are ones."""

    def connect(self, wires):
        result = super().connect(wires)["accumulator"]
        kept = pyrtl.select(wires["accumulator"][14:30] == 0xFFFF, wires["accumulator"][30:], result[30:])
        return {"accumulator": pyrtl.concat(kept, result[:30])}


@pytest.mark.parametrize("kind", [FaultyCarry, LateFault])
@pytest.mark.parametrize("overflow", Overflow)
def test_a_fault_in_the_high_part_is_no_proof(kind, overflow):
    assert prove(Mac(Int(6), Int(8, False), Int(32), overflow)) is not None
    assert prove(kind(Int(6), Int(8, False), Int(32), overflow)) is None


def test_a_proof_is_kept_under_its_netlist(tmp_path, monkeypatch):
    monkeypatch.setenv("HWSIM_CACHE", str(tmp_path))
    mac = Mac(Int(3), Int(3), Int(9))
    first = prove(mac)
    (kept,) = (tmp_path / "proofs").iterdir()
    assert prove(mac) == first and first is not None
    kept.write_text("{")
    assert prove(mac) == first
    assert prove(Faulty(Int(6), Int(8, False), Int(16))) is None


def test_ever_finds_the_one_assignment_of_many():
    form = Form()
    bits = [source_bit(form, "input", "x", 0, k) for k in range(20)]
    for number in (0, 1, 63, 64, 511, 512, 777_777, (1 << 20) - 1):
        hit = form.constant(1, 1)
        for k, bit in enumerate(bits):
            hit = form.both(hit, bit if number >> k & 1 else form.invert(bit))
        never = form.both(hit, form.invert(bits[3]) if number >> 3 & 1 else bits[3])
        assert ever(form, [hit, never], bits) == [True, False]


def test_a_single_bit_form_of_a_signed_product_is_right_everywhere():
    form = Form()
    a, b = form.input("a", 6), form.input("b", 5)
    product_ = form.multiply(form.sign_extend(a, 11), form.sign_extend(b, 11))
    bits, place = blasted(form, [product_])
    for x, y in product(range(64), range(32)):
        exact = (x - (x >> 5 << 6)) * (y - (y >> 4 << 5))
        assert _evaluated(bits, place[product_], {"a": x, "b": y}) == exact & 0x7FF


def _evaluated(form, roots, inputs):
    value = []
    for node in form.nodes:
        args = [value[arg] for arg in node.args]
        match node.op:
            case "constant":
                value.append(int(node.param[0]))
            case "input":
                value.append(inputs[node.param[0]] >> node.param[1] & 1)
            case "invert":
                value.append(1 - args[0])
            case "select":
                value.append(args[1] if args[0] else args[2])
            case _:
                value.append({"and": operator.and_, "or": operator.or_, "xor": operator.xor}[node.op](*args))
    return sum(value[root] << k for k, root in enumerate(roots))


def test_a_damaged_kernel_in_the_cache_is_compiled_again(tmp_path, monkeypatch):
    from hwsim.simulate.lanes import machine

    monkeypatch.setenv("HWSIM_CACHE", str(tmp_path))
    block = block_of(lambda a: a + 7, a=21)
    for content in (b"", b"garbage", None):
        monkeypatch.setattr(machine, "_kernels", {})
        assert LaneSimulation(block).run({"a": [5]})["result"].tolist() == [[12]]
        (kept,) = (tmp_path / "kernels").iterdir()
        if content is not None:
            kept.write_bytes(content)


def loop():
    block = pyrtl.Block()
    with pyrtl.set_working_block(block, no_sanity_check=True):
        first, second = pyrtl.WireVector(1, "first"), pyrtl.WireVector(1, "second")
        first <<= ~second
        second <<= ~first
        pyrtl.Output(1, "o").__ilshift__(first)
    return block


def undriven():
    block = pyrtl.Block()
    with pyrtl.set_working_block(block, no_sanity_check=True):
        pyrtl.Output(1, "o").__ilshift__(pyrtl.WireVector(1, "floating"))
    return block


IDENTITY = block_of(lambda a: a, a=4)
WIDE = block_of(lambda a: a, a=80)
COUNTER = pyrtl.Block()
with pyrtl.set_working_block(COUNTER, no_sanity_check=True):
    _count = pyrtl.Register(4, "count")
    _count.next <<= _count + 1
    pyrtl.Output(4, "result").__ilshift__(_count)


def memory(asynchronous=True):
    """A block that reads a memory at an address that logic computes, and the memory."""
    block = pyrtl.Block()
    with pyrtl.set_working_block(block, no_sanity_check=True):
        ram = pyrtl.MemBlock(8, 3, "ram", asynchronous=asynchronous)
        address = pyrtl.Input(3, "address")
        following = pyrtl.WireVector(3, "following")
        following <<= address + 1
        pyrtl.Output(8, "result").__ilshift__(ram[following])
    return block, ram


def rom(data):
    block = pyrtl.Block()
    with pyrtl.set_working_block(block, no_sanity_check=True):
        table = pyrtl.RomBlock(8, 3, data, "table", asynchronous=True)
        pyrtl.Output(8, "result").__ilshift__(table[pyrtl.Input(3, "address")])
    return block


RAM_BLOCK, RAM = memory()


def two(**options):
    """Two lanes of the counter."""
    return LaneSimulation(COUNTER, lanes=2, **options)


def kept(values):
    """Two lanes of the memory with initial values."""
    return LaneSimulation(RAM_BLOCK, lanes=2, memory_value_map=values)


def fed(values, **options):
    """A run of two lanes on the values of its input."""
    return LaneSimulation(IDENTITY, lanes=2).run({"a": values}, **options)


def stepped(values):
    return LaneSimulation(IDENTITY, lanes=2).step({"a": values})


REFUSED = [
    (lambda: fed("xyz"), ["'xyz'", '"a"', "[cycles, lanes]"]),
    (lambda: fed(None), ['"a"', "None", "[cycles, lanes]"]),
    (lambda: fed(3), ['"a" are 3', "[cycles, lanes]"]),
    (lambda: fed(["x"]), ['value x of "a"', "integers"]),
    (lambda: fed([[1, 2], [3]]), ['"a" are lists of different lengths']),
    (lambda: fed([np.array([1, 2]), np.array([3])]), ['"a" are lists of different lengths']),
    (lambda: fed([[1.0, 2.0]]), ['value 1.0 of "a"', "integers"]),
    (lambda: fed(np.array([[np.nan, 2]])), ['value nan of "a"', "integers"]),
    (lambda: fed(np.array([[1j, 2]])), ['value 1j of "a"']),
    (lambda: fed(np.array([["1", "2"]])), ['value 1 of "a"', "integers"]),
    (lambda: fed([[1, 2]], cycles=3), ['"a"', "(1, 2)", "3 x 2"]),
    (lambda: fed([[1, 2]], cycles=-1), ["cycles, not -1"]),
    (lambda: LaneSimulation(IDENTITY, lanes=2).run(None), ["inputs are None", "mapping"]),
    (lambda: LaneSimulation(IDENTITY, lanes=2).run("a"), ["inputs are 'a'", "mapping"]),
    (lambda: LaneSimulation(IDENTITY, lanes=2).run([1, 2]), ["inputs of a cycle are 1"]),
    (lambda: LaneSimulation(IDENTITY, lanes=2).run([{"a": 1}, {}]), ['input "a" has no value']),
    (lambda: LaneSimulation(IDENTITY, lanes=2).run([{"a": 1}, {"a": 1, "b": 2}]), ['"b" is no input']),
    (lambda: LaneSimulation(IDENTITY, lanes=2).run({3: [1]}), ["3 is no wire"]),
    (lambda: LaneSimulation(WIDE, lanes=2).run({"a": np.zeros((2, 1, 3), np.uint64)}), ['"a"', "(2, 1, 2)"]),
    (lambda: LaneSimulation(WIDE, lanes=2).run({"a": np.zeros((2, 1, 2))}), ['"a" are float64', "uint64"]),
    (lambda: stepped(1.5), ['value 1.5 of "a"']),
    (lambda: stepped("xyz"), ["'xyz' of \"a\"", "4 bits"]),
    (lambda: stepped(None), ['value None of "a"']),
    (lambda: stepped([1, 2, 3]), ['"a"', "(1, 3)", "1 x 2"]),
    (lambda: stepped([[1], [1, 2]]), ['"a" are lists of different lengths']),
    (lambda: LaneSimulation(IDENTITY).step([1]), ["inputs are [1]", "mapping"]),
    (lambda: LaneSimulation(IDENTITY).step_multiple({"a": 3}), ['"a" are 3', "one entry a cycle"]),
    (lambda: LaneSimulation(IDENTITY).step_multiple({"a": ["q"]}), ["'q' of \"a\""]),
    (lambda: LaneSimulation(IDENTITY).step_multiple({"a": [3]}, {"z": [1]}), ['"z" is no wire']),
    (lambda: LaneSimulation(IDENTITY).step_multiple({"a": [3]}, {"result": ["q"]}), ["'q' of \"result\""]),
    (lambda: LaneSimulation(IDENTITY).step_multiple({"a": [3]}, {"result": [[1, 2]]}), ['"result"', "(2,)"]),
    (lambda: two().run({}, cycles=-1), ["0 to", "not -1"]),
    (lambda: two().run({}, cycles=2.5), ["not 2.5"]),
    (lambda: two().run({}, cycles=1 << 60), [str(1 << 60)]),
    (lambda: two().run({}, cycles=1 << 40), ["bytes", "fewer lanes or cycles"]),
    (lambda: two().step_multiple(nsteps=2.5), ["not 2.5"]),
    (lambda: two().inspect("z"), ['"z" is no wire']),
    (lambda: two().inspect(3), ["3 is no wire"]),
    (lambda: LaneSimulation(IDENTITY).inspect("result"), ['"result" has no value before the first step']),
    (lambda: two().inspect_mem(RAM), ['"ram" is no memory of the block']),
    (lambda: two().inspect_mem("ram"), ["'ram' is no memory"]),
    (lambda: LaneSimulation("x"), ["'x' is no block", "pyrtl.Block"]),
    (lambda: LaneSimulation(MACS[0]), ["is no block", "elaborate"]),
    (lambda: LaneSimulation(COUNTER, lanes="x"), ["not 'x'"]),
    (lambda: LaneSimulation(COUNTER, lanes=2.0), ["not 2.0"]),
    (lambda: LaneSimulation(COUNTER, lanes=1 << 60), [str(1 << 60), "at most"]),
    (lambda: LaneSimulation(COUNTER, lanes=1 << 40), ["bytes", "fewer lanes"]),
    (lambda: two(tracer=3), ["tracer is 3"]),
    (lambda: two(observe=[3]), ["3 is no wire"]),
    (lambda: two(default_value=1.5), ["default value is 1.5"]),
    (lambda: two(default_value=16), ['16 does not fit "count"']),
    (lambda: two(register_value_map={"count": 16}), ['16 does not fit "count"']),
    (lambda: two(register_value_map={"count": [1, 2, 3]}), ['"count"', "(3,)"]),
    (lambda: two(register_value_map={"count": "x"}), ['value x of "count"']),
    (lambda: two(register_value_map={"z": 1}), ['"z" is no register']),
    (lambda: two(register_value_map=[3]), ["registers are [3]", "mapping"]),
    (lambda: kept({RAM: {0: 256}}), ['256 does not fit "ram"']),
    (lambda: kept({RAM: {0: [-129, 0]}}), ['-129 does not fit "ram"']),
    (lambda: kept({RAM: {8: 1}}), ['"ram" has no address 8', "0 to 7"]),
    (lambda: kept({RAM: {"x": 1}}), ["\"ram\" has no address 'x'"]),
    (lambda: kept({RAM: {1: [1, 2, 3]}}), ['"ram" at 1', "(3,)"]),
    (lambda: kept({RAM: {1: 1.5}}), ['value 1.5 of "ram"']),
    (lambda: kept({RAM: [1, 2]}), ['"ram" are [1, 2]', "addresses"]),
    (lambda: kept({"ram": {0: 1}}), ["'ram'", "pyrtl.MemBlock"]),
    (lambda: kept([RAM]), ["memory_value_map is", "mapping"]),
    (lambda: LaneSimulation(RAM_BLOCK, default_value=256), ['256 does not fit "ram"']),
    (lambda: LaneSimulation(memory(asynchronous=False)[0]), ['"ram"', '"following"', "asynchronous=True"]),
    (lambda: LaneSimulation(rom([1, 2, 3])), ['"table"', "3 is invalid", "pad_with_zeros"]),
    (lambda: LaneSimulation(rom(lambda address: 300)), ['"table"', "300"]),
    (lambda: toggles("x", {}), ["'x' is no block"]),
    (lambda: toggles(IDENTITY, {"a": [[1, 2], [3]]}), ['"a" are lists of different lengths']),
    (lambda: reduce("mac", [[1]], [[1]]), ["'mac' is no datapath"]),
    (lambda: reduce(Mac, [[1]], [[1]]), ["is no datapath"]),
    (lambda: reduce(MACS[0], [[1.5]], [[1]]), ['"activation" are float64']),
    (lambda: reduce(MACS[0], [[1]], [[np.nan]]), ['"weight" are float64']),
    (lambda: reduce(MACS[0], [[True]], [[1]]), ['"activation" are bool']),
    (lambda: reduce(MACS[0], [[1, 2], [3]], [[1], [1]]), ['"activation" are lists of different lengths']),
    (lambda: reduce(MACS[0], None, [[1]]), ['"activation"', "[m, 1]"]),
    (lambda: reduce(MACS[0], [[1]], [[1]], threads=1.5), ["not 1.5"]),
    (lambda: reduce(MACS[0], [[1]], [[1]], threads=1 << 60), [str(1 << 60), "at most"]),
    (lambda: reduce(MACS[0], [[1]], [[1]], observe=3), ["cannot observe 3"]),
    (lambda: Reduction(MACS[0], [[1]]).gather([1, 2], [0.5], [0]), ["float64", "integers"]),
    (lambda: run_lanes("mac", {}), ["'mac' is no datapath"]),
    (lambda: run_lanes(MACS[0], {"activation": [[1, 2], [3]], "weight": [[1]]}), ['"activation" are lists']),
    (lambda: run_channels("mac", {}, {}), ["'mac' is no datapath"]),
]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: LaneSimulation(loop()), ["first", "second", "combinational loop"]),
        (lambda: LaneSimulation(undriven()), ['"floating" is undriven']),
        (lambda: LaneSimulation(IDENTITY, lanes=0), ["at least one lane, not 0"]),
        (lambda: LaneSimulation(IDENTITY, lanes=2).run({"a": [[1, 16]]}), ['16 does not fit "a"', "4 bits"]),
        (lambda: LaneSimulation(IDENTITY, lanes=2).run({"a": [[1, -9]]}), ['-9 does not fit "a"']),
        (lambda: LaneSimulation(IDENTITY, lanes=2).run({"a": [[1, 2, 3]]}), ['"a"', "(1, 3)", "1 x 2"]),
        (lambda: LaneSimulation(IDENTITY, lanes=2).run({"a": [[1, 0.5]]}), ['"a"', "integers"]),
        (lambda: LaneSimulation(IDENTITY, lanes=2).run({"b": [[1, 2]]}), ['"b" is no input', "['a']"]),
        (lambda: LaneSimulation(IDENTITY, lanes=2).run({}), ['input "a" has no value']),
        (lambda: LaneSimulation(IDENTITY, observe=["z"]), ['"z" is no wire']),
        (lambda: LaneSimulation(IDENTITY, lanes=2).step({"a": [1, 99]}), ['99 does not fit "a"']),
        (lambda: reduce(MACS[0], [[256]], [[1]]), ['"activation"', "256", "uint8"]),
        (lambda: reduce(MACS[0], [[1]], [[-33]]), ['"weight"', "-33", "int6"]),
        (lambda: reduce(MACS[0], [[1, 2]], [[1]]), ['"activation"', "(1, 2)", "[m, 1]"]),
        (lambda: reduce(MACS[0], [[1]], [1]), ['"weight"', "(1,)"]),
        (lambda: reduce(MACS[0], [[1]], [[1]], observe=["gates"]), ["gates", "overflow, extremes"]),
        (lambda: reduce(MACS[0], [[1]], [[1]], threads=0), ["at least one thread"]),
        (lambda: reduce(MaxPool(Int(8)), [[1]], [[1]]), ["MaxPool", "is no reduction"]),
        (
            lambda: Reduction(MACS[0], [[1]]).gather(np.zeros(4, int), np.array([2]), np.array([2])),
            ["outside"],
        ),
        *REFUSED,
    ],
)
def test_bad_input_is_refused_by_name(call, words):
    with pytest.raises(HwsimError) as refused:
        call()
    assert all(word in str(refused.value) for word in words), str(refused.value)


def test_a_block_with_a_memory_runs_on_words():
    block, *_ = counter_with_memory()
    assert LaneSimulation(block, lanes=600)._loop(64).vector < LANES


CIRCUITS = [variant for kind in DATAPATHS.values() for variant in list(kind.variants())[::9]]


@pytest.mark.parametrize("datapath", CIRCUITS, ids=describe)
def test_a_circuit_in_lanes_is_its_arithmetic_and_its_netlist(datapath):
    rng = np.random.default_rng(0)
    cycles, channels, lanes = 3, 2, 600
    values = {
        name: form.decode(rng.integers(0, 1 << min(form.bits, 62), (cycles, channels, lanes)))
        for name, form in datapath.inputs.items()
    }
    state = {
        name: np.full((channels, lanes), register.reset) for name, register in datapath.registers.items()
    }
    for cycle in range(cycles):
        expected = datapath.compute(state | {name: rows[cycle] for name, rows in values.items()})
        state = {name: expected[name] for name in state}
    flat = {name: rows.reshape(cycles, -1) for name, rows in values.items()}
    found = run_lanes(datapath, flat, threads=2)
    netlist = circuit.run_lanes(datapath, flat)
    few = run_lanes(datapath, {name: rows[:, :7] for name, rows in flat.items()})
    for name, wanted in expected.items():
        np.testing.assert_array_equal(found[name], np.ravel(wanted))
        np.testing.assert_array_equal(found[name], netlist[name])
        np.testing.assert_array_equal(few[name], found[name][:7])
    for name, rows in run_channels(datapath, values, {}).items():
        np.testing.assert_array_equal(rows, expected[name])


def test_channels_have_constants_of_their_own():
    datapath = Requantize(Int(16), Int(8, False), Rounding.HALF_UP)
    rng = np.random.default_rng(0)
    formats = dict(datapath.inputs)
    sums = rng.integers(-(1 << 15), 1 << 15, (1, 5, 700)).astype(np.int16)
    constants = {
        name: form.decode(rng.integers(0, 1 << form.bits, 5))
        for name, form in formats.items()
        if name != "accumulator"
    }
    found = run_channels(datapath, {"accumulator": sums}, constants, threads=2)
    expected = datapath.compute(
        {"accumulator": sums[0].astype(np.int64)} | {name: row[:, None] for name, row in constants.items()}
    )
    for name, wanted in expected.items():
        np.testing.assert_array_equal(found[name], wanted)


@pytest.mark.parametrize(("bits", "width"), [(8, 8), (16, 13), (32, 32), (64, 33)])
def test_planes_need_no_bit_matrix_instruction(bits, width, monkeypatch):
    monkeypatch.setattr(planes, "_has_matrices", lambda: False)
    for compiled in (planes._pack, planes._unpack):
        monkeypatch.setattr(planes, compiled.__name__, compiled.__wrapped__)
    test_planes_hold_the_bits_of_integers(bits, width)
