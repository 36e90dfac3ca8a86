"""The array that all layers share: its elements do every layer's sums, and cost what the same array costs alone."""

import itertools

import numpy as np
import pytest

import hwsim
from hwsim.arithmetic import fit
from hwsim.bits import LayerBits
from hwsim.cost.array import composed_cost
from hwsim.cost.hardware import Hardware
from hwsim.cost.memory.energy import buffers_um2
from hwsim.cost.memory.hierarchy import Array, Hierarchy
from hwsim.cost.shared_array import array_count, array_parts, array_tables, shared_grids, widest
from hwsim.cost.technology import technology
from hwsim.datapath import multiply_accumulate
from hwsim.datapath.mac import Mac
from hwsim.datapath.output_stationary_array import OutputStationaryArray, OutputStationaryElement
from hwsim.datapath.weight_stationary_array import WeightStationaryArray
from hwsim.errors import HwsimError
from hwsim.explore.front import nondominated, pareto_merge
from hwsim.formats import Int, Overflow, PowerOfTwo

SIZE = Array(3, 2, "weight")


def macs(*texts, name="mac"):
    return [multiply_accumulate(LayerBits.parse(text, signed=False), name) for text in texts]


@pytest.mark.parametrize(
    "texts",
    [
        ("int3*uint8/int12", "int8*int4/int20", "int2*uint2/int9"),
        ("pow2x3*uint4/int12", "pow2x5*uint3/int16"),
        ("apot4*int4/int16", "apot4*uint8/int8"),
        ("int3*uint4/int9/saturate", "int6*int3/int9/saturate"),
    ],
)
def test_the_one_element_of_some_layers_does_the_sums_of_each(texts):
    """Product after product: the low bits of a wide wrapping sum, and of a saturating one the sum itself."""
    (grid,) = shared_grids(macs(*texts), SIZE)
    wide, rng = grid.element(0, 0), np.random.default_rng(0)
    for mac in macs(*texts):
        form = mac.weight
        levels = np.arange(form.minimum, form.maximum + 1) if isinstance(form, Int) else form.levels
        total = own = np.zeros(64, np.int64)
        for _ in range(40):
            weight = rng.choice(levels, 64)
            operand = rng.integers(mac.activation.minimum, mac.activation.maximum + 1, 64)
            code = weight if isinstance(form, Int) else wide.weight.encode(weight)
            assert operand.min() >= wide.activation.minimum and operand.max() <= wide.activation.maximum
            total = wide.sum(total, operand, code)
            own = fit(own + weight * operand, mac.accumulator, mac.overflow)
            np.testing.assert_array_equal(fit(total, mac.accumulator, Overflow.WRAP), own)
        assert mac.overflow is Overflow.WRAP or wide.accumulator == mac.accumulator


def test_layers_share_elements_where_one_does_for_both():
    grids = shared_grids(
        macs(
            "int4*uint8/int16",
            "int8*int2/int32",
            "pow2x4*uint4/int16",
            "apot4*uint4/int16",
            "apot5*uint4/int16",
            "int4*uint4/int16/saturate",
            "int2*uint8/int16/saturate",
            "int4*uint4/int20/saturate",
        ),
        SIZE,
    )
    assert [str(grid.weight) for grid in grids] == ["int8", "pow2x4", "apot4", "apot5", "int4", "int4"]
    assert str(grids[0].activation) == "int9" and grids[0].accumulator == Int(32)
    assert (grids[0].rows, grids[0].columns, type(grids[0])) == (3, 2, WeightStationaryArray)


def test_the_widest_format_holds_all_values_and_no_narrower_one_does():
    for pair in itertools.product([Int(b, s) for b in (2, 3, 4) for s in (False, True)], repeat=2):
        found = widest(pair)
        low, high = min(f.minimum for f in pair), max(f.maximum for f in pair)
        assert found.minimum <= low and found.maximum >= high
        narrower = [Int(bits, signed) for bits in range(1, found.bits) for signed in (False, True)]
        assert not any(f.minimum <= low and f.maximum >= high for f in narrower)


def test_a_signed_activation_of_nine_bits_holds_both_kinds_and_is_multiplied_as_arithmetic_says():
    (mac,) = {
        grid.element(0, 0).mac for grid in shared_grids(macs("int2*uint8/int8", "int2*int8/int8"), SIZE)
    }
    assert str(mac.activation) == "int9"
    assert "circuit == arithmetic" in str(hwsim.check(mac))
    with pytest.raises(
        HwsimError, match="activation int10 is out of range; give int2 to int9 or uint2 to uint8"
    ):
        Mac(Int(4), Int(10), Int(16))


@pytest.mark.parametrize("dataflow", ["weight", "output"])
def test_the_array_costs_what_the_same_array_costs_alone(dataflow, synthesis_cache, monkeypatch):
    monkeypatch.setenv("HWSIM_CACHE", str(synthesis_cache))
    network = hwsim.quantize_model("digits", "w2a2/int8")
    size, hardware = Array(6, 5, dataflow), Hardware(technology="gates")
    parts = array_parts(network, size, hardware)
    kind = {"weight": WeightStationaryArray, "output": OutputStationaryArray}[dataflow]
    formats = {(item.bits.weight, item.bits.accumulator) for item in network.layers if item.bits}
    assert formats == {(Int(2), Int(8))}
    activation = widest(item.bits.activation for item in network.layers if item.bits)
    alone = composed_cost(kind(Int(2), activation, Int(8), 6, 5), "gates")
    assert sum(part.count for part in parts) == 30
    assert sum(part.count * part.nand2_equivalents for part in parts) == pytest.approx(
        alone.nand2_equivalents
    )
    assert sum(part.count * part.flip_flops for part in parts) == alone.flip_flops
    assert all(part.equivalent and part.part == "array" for part in parts)


@pytest.mark.parametrize(
    ("name", "dataflow", "sentence"),
    [
        ("mac", "input", 'unknown dataflow of an array\'s circuit "input"; known: weight, output'),
        (
            "mac stages=2",
            "weight",
            "an array has no elements that work as Mac.*stages=2.*leave that datapath out",
        ),
        ("bit_serial_mac", "weight", "an array has no elements that work as BitSerialMac"),
        (
            "mac adder=carry_save",
            "weight",
            "an element keeps its sum in one register, not as adder carry_save",
        ),
    ],
)
def test_an_array_without_elements_is_refused(name, dataflow, sentence):
    with pytest.raises(HwsimError, match=sentence):
        shared_grids(macs("int4*uint4/int16", name=name), Array(2, 2, dataflow))


def test_tables_have_the_gates_of_the_array_of_every_combination_of_choices(synthesis_cache, monkeypatch):
    """Two kinds of weights, signed inputs and not, two accumulators, a saturating sum; the first two layers choose together."""
    monkeypatch.setenv("HWSIM_CACHE", str(synthesis_cache))
    size, hardware = Array(2, 1, "output"), Hardware()
    choices = [
        macs("int2*int2/int8", "int3*int2/int8"),
        macs("int2*uint2/int8", "int2*uint3/int8"),
        macs("int2*uint2/int8", "int2*uint2/int9", "pow2x2*uint2/int8"),
        macs("pow2x3*uint2/int8", "int2*uint2/int8/saturate"),
    ]
    tables = list(array_tables(choices, [0, 0, 1, 2], size, hardware))
    front = pareto_merge([2, 3, 2], tables)
    every = np.array(list(itertools.product(range(2), range(3), range(2))))
    costs = sum(table.of(every) for table in tables)
    arrays = set()
    for (tied, third, fourth), (gates, um2) in zip(every.tolist(), costs.tolist(), strict=True):
        chosen = [given[place] for given, place in zip(choices, (tied, tied, third, fourth), strict=True)]
        grids = shared_grids(chosen, size)
        alone = [composed_cost(grid) for grid in grids]
        assert gates == pytest.approx(sum(cost.nand2_equivalents for cost in alone), abs=0.02)
        assert um2 == pytest.approx(sum(cost.area_um2 for cost in alone), abs=0.02)
        arrays.add(frozenset(grids))
    np.testing.assert_allclose(front.costs, costs[nondominated(costs)])
    assert len(arrays) <= array_count(choices, [0, 0, 1, 2]) <= 48


@pytest.mark.parametrize("architecture", [("booth", "ripple"), ("wallace", "kogge_stone")])
def test_elements_have_the_micro_architecture_of_the_datapath(architecture):
    multiplier, adder = architecture
    (grid,) = shared_grids(
        macs("int3*uint3/int8", name=f"mac multiplier={multiplier} adder={adder}"), Array(1, 2, "output")
    )
    element = grid.element(0, 0)
    assert isinstance(element, OutputStationaryElement)
    assert (element.mac.multiplier, element.mac.adder) == architecture
    assert "circuit == arithmetic" in str(hwsim.check(grid))
    (shift,) = shared_grids(macs("pow2x3*uint3/int8", name=f"mac adder={adder}"), SIZE)
    assert shift.weight == PowerOfTwo(3) and shift.element(0, 0).mac.adder == adder


# fmt: off
MACROS = {
    "open45": [  # words, bits, um2 of fakeram45 in OpenROAD-flow-scripts, flow/platforms/nangate45
        (1024, 32, 16406), (128, 116, 9280), (128, 256, 33990), (128, 32, 3296), (128, 64, 5480),
        (2048, 39, 45479), (256, 16, 3155), (256, 32, 5066), (256, 34, 6476), (256, 48, 7776),
        (256, 95, 13702), (256, 96, 13702), (32, 32, 795), (32, 64, 2285), (512, 64, 17301),
        (64, 124, 8793), (64, 15, 659), (64, 21, 949), (64, 25, 1241), (64, 256, 33990),
        (64, 28, 1241), (64, 32, 1241), (64, 62, 4713), (64, 64, 4845), (64, 7, 387),
        (64, 96, 4875),
    ],
    "open130": [  # and of RM_IHPSG13_1P in IHP-Open-PDK
        (1024, 16, 79674), (1024, 64, 263946), (1024, 8, 49419), (2048, 64, 491634), (256, 48, 70850),
        (256, 64, 93181), (4096, 16, 257609), (4096, 8, 146413), (512, 64, 150102), (64, 64, 50489),
    ],
}
# fmt: on


@pytest.mark.parametrize("name", MACROS)
def test_the_area_of_buffers_is_near_that_of_published_memories(name):
    sram = technology(name).sram
    errors = [
        abs(buffers_um2(Hierarchy((words * width // 8,), bus_bits=width), sram) / area - 1)
        for words, width, area in MACROS[name]
    ]
    assert np.mean(errors) == pytest.approx({"open45": 0.18, "open130": 0.11}[name], abs=0.006)
    assert max(errors) == pytest.approx({"open45": 0.46, "open130": 0.23}[name], abs=0.006)
    both = buffers_um2(Hierarchy((4096, 512)), sram)
    assert both == sum(buffers_um2(Hierarchy((size,)), sram) for size in (4096, 512))
