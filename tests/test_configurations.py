"""The price of many configurations at once against the price of each quantized network by itself."""

import functools
import random

import numpy as np
import pytest

import tiny
from hwsim.bits import LayerBits, bit_config
from hwsim.cost.configurations import METRICS, Configurations, Level, joined, stored_bits
from hwsim.cost.hardware import Hardware, circuits
from hwsim.cost.memory.hierarchy import Accelerator, Array, Hierarchy
from hwsim.cost.memory.network import network_memory
from hwsim.cost.memory.search import OBJECTIVES
from hwsim.cost.traffic import Memory, traffic
from hwsim.errors import HwsimError
from hwsim.layers import (
    Add,
    AveragePool,
    BatchNorm,
    Clip,
    Concatenate,
    Convolution,
    Flatten,
    Linear,
    MaxPool,
    PadChannels,
    Relu,
    Slice,
)
from hwsim.models import load_model
from hwsim.models.builder import Builder, parameter_shapes
from hwsim.network import Preprocessing
from hwsim.quantize import calibrate, quantize
from hwsim.quantize.settings import Settings


def filled(build, name):
    rng = np.random.default_rng(0)
    for layer in build.layers:
        for key, shape in parameter_shapes(layer).items():
            low = 0.5 if key == "running_var" else -0.5
            build.parameters[f"{layer.name}.{key}"] = rng.uniform(low, 1, shape)
    channels = build.shapes["input"][0]
    return build.network(name, Preprocessing(255.0, (0.5,) * channels, (0.25,) * channels))


def residual():
    """Shortcuts, one of them by slice and padding; tensors with several readers, signed ones, pools."""
    build = Builder((3, 8, 8))
    build.convolution("stem", 4, 3)
    first = build.norm("stem_bn", "stem_relu")
    build.convolution("a", 4, 3)
    build.add("a_relu", Relu())
    build.convolution("b", 4, 3)
    tensor = build.add("ab", Add(), build.last, first)
    tensor = build.add("ab_relu", Relu())
    build.convolution("c", 8, 3, tensor, stride=2)
    build.add("c_relu", Relu())
    main = build.convolution("d", 8, 3)
    build.add("half", Slice((0, 0, 0), (4, 8, 8), (1, 2, 2)), tensor)
    build.add("wide", PadChannels(2, 2))
    build.add("cd", Add(), main, build.last)  # signed, read by two layers
    signed = build.last
    left = build.convolution("left", 4, 1, signed)
    build.add("right", Convolution(4, (3, 3), padding=(1, 1, 1, 1), groups=4), signed)
    build.add("both", Concatenate(), left, build.last)
    build.add("pool", MaxPool((2, 2), (2, 2)))
    build.convolution("e", 6, 1)
    build.add("mean", AveragePool((2, 2), (2, 2)))
    build.add("flat", Flatten())
    build.add("out", Linear(5))
    return filled(build, "residual")


def branches():
    """Layers that read one tensor and demand other widths, and one that reads the input again."""
    build = Builder((2, 6, 6))
    stem = build.convolution("stem", 4, 3)
    build.add("bn", BatchNorm())
    relu = build.add("relu", Relu())
    outputs = [build.convolution(name, 4, 1, relu) for name in "abc"]
    again = build.convolution("again", 4, 3, "input")
    build.add("all", Concatenate(), *outputs, again)
    build.add("all_relu", Relu())
    build.add("flat", Flatten())
    build.add("out", Linear(3))
    assert stem == "stem"
    return filled(build, "branches")


def projected():
    """A sum of two tensors that no layer with weights reads: it costs the same whatever is chosen."""
    build = Builder((2, 6, 6))
    build.convolution("stem", 4, 3)
    relu = build.add("relu", Relu())
    short = build.convolution("short", 4, 1, relu)
    main = build.convolution("main", 4, 3, relu)
    build.add("sum", Add(), main, short)
    build.add("mean", AveragePool((6, 6), (6, 6)))
    build.add("flat", Flatten())
    build.add("out", Linear(3))
    return filled(build, "projected")


def dense():
    """Twelve layers, each of which reads what all before it gave: one format for all their tensors."""
    build = Builder((2, 4, 4))
    build.convolution("first", 2, 3)
    tensor = build.add("first_relu", Relu())
    for number in range(12):
        build.convolution(f"conv{number}", 1, 1, tensor)
        relu = build.add(f"relu{number}", Relu())
        tensor = build.add(f"all{number}", Concatenate(), tensor, relu)
    build.add("flat", Flatten())
    build.add("out", Linear(2))
    return filled(build, "dense")


def unequal():
    """Concatenations of what is clipped earlier than the rest, and of what has no sign with what has: both are rescaled."""
    build = Builder((2, 6, 6))
    build.convolution("stem", 4, 3)
    relu = build.add("relu", Relu())
    build.convolution("clipped", 4, 1, relu)
    clipped = build.add("clip", Clip(0.0, 33.0))  # of the tensors in 2 bits none has so large a range
    build.convolution("free", 4, 3, relu)
    free = build.add("free_relu", Relu())
    signed = build.convolution("signed", 4, 1, build.add("joined", Concatenate(), clipped, free))
    build.convolution("positive", 4, 1, "joined")
    positive = build.add("positive_relu", Relu())
    build.add("both", Concatenate(), signed, positive)
    build.convolution("last", 4, 1)
    build.add("flat", Flatten())
    build.add("out", Linear(3))
    return filled(build, "unequal")


WIDTHS = [(w, a, acc) for w in (2, 4, 7) for a in (2, 3, 5, 8) for acc in (16, 24)]


class Case:
    """A float network with its calibration, its choices and its reference."""

    def __init__(self, network, widths=WIDTHS):
        shape = network.input_shape
        images = np.random.default_rng(1).integers(0, 256, (3, shape[1], shape[2], shape[0]), dtype=np.uint8)
        self.network, self.calibration = network, calibrate(network, images)
        self.choices = {
            name: [LayerBits.parse(f"w{w}a{a}/int{acc}", signed) for w, a, acc in widths]
            for name, signed in network.signed_inputs().items()
        }
        self.reference = self.quantized("w8a8/int32")
        self.others = {Level(a): self.quantized(f"w8a{a}/int32") for _, a, _ in widths}

    def quantized(self, bits):
        return quantize(self.network, bits, self.calibration)

    def drawn(self, count, seed=0):
        chance = random.Random(seed)
        return [
            bit_config((name, chance.choice(given)) for name, given in self.choices.items())
            for _ in range(count)
        ]


@pytest.fixture(scope="module", params=[residual, branches, projected, unequal])
def case(request):
    return Case(request.param())


def total(layers, field):
    return sum(getattr(layer, field) for layer in layers)


@pytest.mark.parametrize("loop_order", ["weights_outer", "inputs_outer"])
def test_traffic_and_bits_are_those_of_each_network_by_itself(case, loop_order):
    memory = Memory(600, 32, loop_order)
    configurations = Configurations(case.reference, case.choices, others=case.others, memory=memory)
    drawn = case.drawn(60)
    prices = configurations.price(configurations.indices(drawn))
    for bits, price in zip(drawn, prices, strict=True):
        network = case.quantized(bits)
        moved = traffic(network, memory)
        priced = dict(zip(METRICS, price.tolist(), strict=True))
        for field in ("weight_bytes", "input_bytes", "output_bytes"):
            assert priced[field] == total(moved, field)
        assert priced["stored_bits"] == sum(map(stored_bits, network.layers))
        assert priced["gates"] == priced["cycles"] == 0


@pytest.mark.parametrize("minimise", OBJECTIVES)
def test_an_accelerators_traffic_and_cycles_are_those_of_each_network_by_itself(case, minimise):
    accelerator = Accelerator(Array(4, 4, "output"), Hierarchy((500,), burst_bytes=8))
    configurations = Configurations(
        case.reference, case.choices, others=case.others, memory=accelerator, minimise=minimise
    )
    drawn = case.drawn(5, seed=1)
    prices = configurations.price(configurations.indices(drawn))
    for bits, price in zip(drawn, prices, strict=True):
        layers = network_memory(case.quantized(bits), accelerator, minimise)
        priced = dict(zip(METRICS, price.tolist(), strict=True))
        moved = priced["weight_bytes"] + priced["input_bytes"] + priced["output_bytes"]
        assert moved == total(layers, "dram_bytes")
        assert priced["cycles"] == total(layers, "cycles")
    others = (network_memory(case.quantized(drawn[0]), accelerator, objective) for objective in OBJECTIVES)
    assert len({total(layers, "dram_bytes") for layers in others}) == 2, "both find the same tilings"


def test_circuits_are_those_of_each_network_by_itself(tmp_path, monkeypatch, synthesis_cache):
    monkeypatch.setenv("HWSIM_CACHE", str(synthesis_cache))
    (tmp_path / "net.py").write_text(tiny.MODEL)
    case = Case(load_model(f"{tmp_path}/net.py:net"), [(3, 4, 12), (4, 4, 12), (4, 3, 12)])
    hardware = Hardware(images_per_second=1e6)
    configurations = Configurations(case.reference, case.choices, hardware=hardware)
    drawn = case.drawn(4)
    prices = configurations.price(configurations.indices(drawn))
    for bits, price in zip(drawn, prices, strict=True):
        parts = [part for parts in circuits(case.quantized(bits), hardware).values() for part in parts]
        gates = sum(part.count * part.nand2_equivalents for part in parts)
        assert price[METRICS.index("gates")] == pytest.approx(gates, rel=1e-12)
        assert price[METRICS.index("flip_flops")] == sum(part.count * part.flip_flops for part in parts)
        assert price[METRICS.index("critical_path_ps")] == max(part.critical_path_ps for part in parts)
    tables = functools.reduce(
        joined, (table.of(configurations.indices(drawn)) for table in configurations.tables())
    )
    np.testing.assert_allclose(tables, prices)


def test_tables_of_whole_terms_sum_to_the_prices(case):
    configurations = Configurations(case.reference, case.choices, others=case.others, memory=Memory(600, 32))
    drawn = configurations.indices(case.drawn(200, seed=2))
    tables = list(configurations.tables())
    assert any(len(table.layers) > 1 for table in tables)
    np.testing.assert_allclose(sum(table.of(drawn) for table in tables), configurations.price(drawn))


def test_however_many_layers_read_a_tensor_its_tables_are_small_and_sum_to_the_prices():
    """Four widths that twelve layers demand are four ranks, not 4^12 entries."""
    case = Case(dense())
    configurations = Configurations(case.reference, case.choices, others=case.others, memory=Memory(600, 32))
    drawn = configurations.indices(case.drawn(300, seed=4))
    tables = list(configurations.tables())
    assert max(len(table.layers) for table in tables) == 14
    assert max(table.costs[..., 0].size for table in tables) <= len(WIDTHS) * 4 * 4
    np.testing.assert_allclose(sum(table.of(drawn) for table in tables), configurations.price(drawn))
    for bits, price in zip(case.drawn(3, seed=4), configurations.price(drawn[:3]), strict=True):
        moved = traffic(case.quantized(bits), Memory(600, 32))
        assert price[METRICS.index("input_bytes")] == total(moved, "input_bytes")


def test_what_is_not_a_configuration_is_refused(case):
    configurations = Configurations(case.reference, case.choices)
    layers = len(case.choices)
    name = next(iter(case.choices))
    for indices, sentence in (
        (
            np.zeros((2, layers + 1), np.int64),
            rf"places \[configurations, {layers} layers\], not of shape \[2, ",
        ),
        (np.full((1, layers), 24), "places in the layers' choices are 0 to below .*, not 24 to 24"),
        (np.full((1, layers), -1), "not -1 to -1"),
    ):
        with pytest.raises(HwsimError, match=sentence):
            configurations.price(indices)
    other = {**{n: c[0] for n, c in case.choices.items()}, name: LayerBits.parse("w5a5/int16", signed=True)}
    with pytest.raises(HwsimError, match=f'unknown bits of layer "{name}" "int5.int5/int16"; known: '):
        configurations.indices([bit_config(other.items())])
    with pytest.raises(HwsimError, match='unknown layer with weights "none"; known: stem, '):
        Configurations(case.reference, case.choices | {"none": []})
    with pytest.raises(HwsimError, match=f'layer "{name}" has the choices none; give at least one'):
        Configurations(case.reference, case.choices | {name: []})
    mixed = case.quantized(case.drawn(1)[0])
    with pytest.raises(HwsimError, match="between two formats of one tensor; give it under one width"):
        Configurations(mixed, case.choices)


def test_a_network_with_additions_in_half_precision_is_refused_and_its_traffic_is_counted():
    case = Case(residual())
    halves = quantize(case.network, "w8a8/int32", case.calibration, settings=Settings.parse("placement=half"))
    with pytest.raises(
        HwsimError, match="and configurations are those of integers; quantize with placement="
    ):
        Configurations(halves, case.choices)
    large = Accelerator(Array(), Hierarchy((1 << 24,), burst_bytes=1))
    moved = network_memory(halves, large)
    assert total(moved, "dram_bytes") > total(network_memory(case.reference, large), "dram_bytes")
