"""Tiled traffic against a walk that counts every access, and the best tiling against trying them all."""

import itertools
import json
import math
import sys
from dataclasses import replace

import numpy as np
import pytest

import tiny
from array_walk import Walk
from hwsim.cli import main
from hwsim.cost.memory.hierarchy import Accelerator, Array, Hierarchy, parse_array, parse_bytes
from hwsim.cost.memory.network import network_memory
from hwsim.cost.memory.operation import KEPT, Operation, Tile, Tiling
from hwsim.cost.memory.search import best_tiling, elapsed
from hwsim.cost.memory.traffic import count, room_bits
from hwsim.cost.traffic import Memory, traffic
from hwsim.errors import HwsimError
from hwsim.explore.bench import study_traffic
from hwsim.explore.study import Study
from hwsim.layers import (
    INPUT,
    Add,
    Concatenate,
    Convolution,
    Flatten,
    Linear,
    MaxPool,
    PadChannels,
    Slice,
)
from hwsim.models import load_model
from hwsim.network import save
from hwsim.quantize import quantize
from hwsim.steps.traffic import memory_traffic
from test_traffic import network_of

FIELDS = ("weights", "inputs", "outputs", "sums_read", "sums_written")


def operation(
    groups=1, outputs=1, inputs=1, size=(1, 1), kernel=(1, 1), stride=(1, 1), padding=(0, 0, 0, 0),
    dilation=(1, 1), **widths,
):  # fmt: skip
    """A layer by its channels of one group, its input's rows and columns, kernel, stride, padding and dilation."""
    rows, columns = (
        (size[i] + padding[i] + padding[i + 2] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1
        for i in (0, 1)
    )
    return Operation(
        groups=groups, outputs=outputs, inputs=inputs, rows=rows, columns=columns,
        kernel_rows=kernel[0], kernel_columns=kernel[1], height=size[0], width=size[1],
        stride=stride, padding=padding[:2],
        weight_bits=tuple(widths.get("weight", (3,) * (groups * outputs))),
        input_bits=tuple(widths.get("input", (5,) * (groups * inputs))),
        output_bits=tuple(widths.get("output", (4,) * (groups * outputs))),
        sum_bits=widths.get("sum", 11), dilation=dilation,
    )  # fmt: skip


SAME = (1, 1, 1, 1)
LAYERS = {
    "3x3": operation(1, 5, 3, (6, 7), (3, 3), padding=SAME),
    "3x3 without padding": operation(1, 4, 2, (6, 6), (3, 3)),
    "3x3 stride 2": operation(1, 3, 4, (7, 8), (3, 3), (2, 2), SAME),
    "3x3 uneven padding": operation(1, 3, 2, (6, 6), (3, 3), (2, 2), (0, 0, 1, 1)),
    "3x3 padding wider than the stride": operation(1, 2, 2, (3, 3), (3, 3), padding=(2, 2, 2, 2)),
    "5x3": operation(1, 2, 2, (7, 5), (5, 3), (1, 2), (2, 1, 2, 1)),
    "7x7 stride 2": operation(1, 3, 1, (9, 9), (7, 7), (2, 2), (3, 3, 3, 3)),
    "window larger than the input": operation(1, 2, 1, (2, 2), (5, 5), padding=(2, 2, 2, 2)),
    "1x1": operation(1, 6, 5, (4, 3)),
    "1x1 stride 2": operation(1, 4, 3, (6, 7), (1, 1), (2, 2)),
    "1x1 stride 3": operation(1, 2, 2, (8, 7), (1, 1), (3, 3), (1, 1, 0, 0)),
    "2x2 stride 3": operation(1, 2, 3, (9, 8), (2, 2), (3, 3), (1, 1, 1, 1)),
    "depthwise": operation(5, 1, 1, (6, 6), (3, 3), padding=SAME),
    "depthwise stride 2": operation(3, 1, 1, (7, 6), (3, 3), (2, 2), SAME),
    "depthwise with a multiplier": operation(3, 2, 1, (5, 5), (3, 3), padding=SAME),
    "groups": operation(2, 3, 4, (4, 5), (3, 3), padding=SAME),
    "linear": operation(1, 7, 11),
    "one output": operation(1, 1, 9),
    "dilation 2": operation(1, 3, 2, (7, 6), (3, 3), padding=(2, 2, 2, 2), dilation=(2, 2)),
    "dilation 3 stride 2": operation(2, 2, 2, (9, 8), (3, 2), (2, 2), SAME, (3, 3)),
    "dilation 2 stride 3": operation(1, 2, 3, (8, 9), (2, 3), (3, 3), SAME, (2, 2)),
    "dilation beyond the input": operation(3, 1, 1, (3, 3), (3, 3), padding=(4, 4, 4, 4), dilation=(4, 4)),
    "dilation of rows": operation(1, 2, 2, (7, 5), (3, 2), (2, 1), (2, 0, 2, 1), (2, 1)),
    "channels of own widths": operation(
        2,
        2,
        3,
        (4, 4),
        (3, 3),
        padding=SAME,
        input=(2, 5, 0, 3, 7, 1),
        output=(4, 2, 6, 3),
        weight=(2, 0, 5, 3),
    ),
}
ARRAYS = [Array(3, 4, "weight"), Array(4, 3, "output"), Array(3, 2, "input"), Array(1, 1, "weight")]


def tilings(layer, seed, levels):
    """Random tiles, some that divide the loops and some that do not, the inner ones no larger than the outer."""
    rng = np.random.default_rng(seed)
    tiles, limit = [], layer.loops
    for _ in range(levels):
        limit = Tile(*(int(rng.integers(1, n + 1)) for n in limit))
        tiles.append(limit)
    return Tiling(tuple(tiles), tuple(rng.choice(KEPT, levels).tolist()))


def random_layer(seed, dilation=(1, 1)):
    """A small layer of any kind: grouped or not, with strides, padding and widths of its own."""
    rng = np.random.default_rng(seed)
    kernel, stride = (tuple(rng.integers(1, high, 2).tolist()) for high in (4, 4))
    padding = tuple(int(rng.integers(0, kernel[axis % 2])) for axis in range(4))
    size = tuple(max(int(rng.integers(2, 8)), d * (k - 1) + 1) for k, d in zip(kernel, dilation, strict=True))
    groups, outputs, inputs = (int(rng.choice(few)) for few in ([1, 1, 2, 3], [1, 2, 3, 5], [1, 2, 3, 4]))
    weight = (int(rng.integers(2, 9)),) * (groups * outputs)
    sums = int(rng.integers(8, 33))
    return operation(
        groups, outputs, inputs, size, kernel, stride, padding, dilation, weight=weight, sum=sums
    )


def cases():
    layers = LAYERS | {f"random {seed}": random_layer(seed) for seed in range(50)}
    apart = {seed: (2 + seed % 2, 1 + seed % 3) for seed in range(50, 80)}
    layers |= {f"random {seed}, dilation {d}": random_layer(seed, d) for seed, d in apart.items()}
    for number, (name, layer) in enumerate(layers.items()):
        for turn in range(2):
            array = ARRAYS[(number + turn) % 4]
            tiling = tilings(layer, 100 * number + turn, 1 + turn)
            yield pytest.param(layer, tiling, array, id=f"{name} {array.dataflow} {' '.join(tiling.kept)}")


@pytest.mark.parametrize("layer, tiling, array", list(cases()))
def test_traffic_and_cycles_are_those_of_a_walk_that_counts_every_access(layer, tiling, array):
    walk = Walk(layer, tiling, array, burst_bits=64)
    counted = count(layer, tiling, array, burst_bits=64)
    for boundary, moved in zip(walk.bits, counted.boundaries, strict=True):
        assert {name: getattr(moved, name) for name in FIELDS} == {name: boundary[name] for name in FIELDS}
    assert {name: getattr(counted.dram, name) for name in FIELDS} == {
        name: walk.dram[name] for name in FIELDS
    }
    assert counted.cycles == walk.cycles
    assert room_bits(layer, tiling) == tuple(sum(most.values()) for most in walk.most)
    np.testing.assert_array_equal(walk.output(), convolution(layer, walk.x, walk.w))


def convolution(layer, x, w):
    """The layer's output by its definition."""
    groups, (top, left) = layer.groups, layer.padding
    (down, along), (rows, columns) = layer.dilation, layer.loops[5:7]
    extent = ((rows - 1) * down + 1, (columns - 1) * along + 1)
    reach = [(n - 1) * s + e for n, s, e in zip(layer.loops[3:5], layer.stride, extent, strict=True)]
    padded = np.zeros((len(x), max(reach[0], top + layer.height), max(reach[1], left + layer.width)), int)
    padded[:, top : top + layer.height, left : left + layer.width] = x
    result = np.zeros((groups * layer.outputs, layer.rows, layer.columns), int)
    for k, y, z in np.ndindex(result.shape):
        channels = slice(k // layer.outputs * layer.inputs, (k // layer.outputs + 1) * layer.inputs)
        y0, z0 = y * layer.stride[0], z * layer.stride[1]
        window = padded[channels, y0 : y0 + extent[0] : down, z0 : z0 + extent[1] : along]
        result[k, y, z] = (window * w[k]).sum()
    return result


SMALL = {
    "2x2": operation(1, 3, 2, (3, 2), (2, 2), padding=(1, 1, 0, 0)),
    "1x1": operation(1, 7, 5, (2, 3)),
    "1x1 stride 2": operation(1, 4, 3, (5, 3), (1, 1), (2, 2)),
    "depthwise": operation(4, 1, 1, (3, 3), (2, 2), padding=(0, 0, 1, 1)),
    "groups": operation(2, 3, 2, (3, 3), (2, 1)),
    "linear": operation(1, 9, 13),
    "dilation": operation(1, 2, 2, (5, 3), (2, 2), padding=(1, 0, 0, 1), dilation=(2, 2)),
    "own widths": operation(1, 2, 4, (3, 3), (2, 1), input=(2, 7, 0, 5), output=(8, 3)),
}


def order(layer, tiling, array, hierarchy, minimise):
    """What the best tiling has least of, in order."""
    counted = count(layer, tiling, array, 8 * hierarchy.burst_bytes)
    outermost = len(tiling.tiles) == 1
    moved = counted.dram.total if outermost else counted.boundaries[1].total
    behind = counted.boundaries[-1].total
    if minimise == "traffic":
        return moved, behind, counted.cycles
    return elapsed(counted.cycles, counted.dram.total, hierarchy), moved, behind


def fitting(layer, outer, room):
    """Every tiling of the innermost buffer that fits, inside a given outer one."""
    limit = outer.tiles[0] if outer.tiles else layer.loops
    for tile in itertools.product(*(range(1, size + 1) for size in limit)):
        tiling = Tiling((*outer.tiles, Tile(*tile)), (*outer.kept, KEPT[0]))
        if room_bits(layer, tiling)[-1] <= room:
            yield from (Tiling(tiling.tiles, (*outer.kept, kept)) for kept in KEPT)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(
    "dataflow, minimise, burst_bytes, doubled",
    [("weight", "traffic", 1, False), ("output", "time", 2, True), ("input", "traffic", 8, True)],
)
def test_no_tiling_is_better_than_the_best_one(name, dataflow, minimise, burst_bytes, doubled):
    layer, array = SMALL[name], Array(2, 3, dataflow)
    hierarchy = Hierarchy((4000,), bus_bits=16, burst_bytes=burst_bytes, double_buffered=doubled)
    every = [
        (room_bits(layer, t)[0], order(layer, t, array, hierarchy, minimise))
        for t in fitting(layer, Tiling((), ()), 32000)
    ]
    for size in (12, 20, 40, 70, 4000):
        best = best_tiling(layer, Accelerator(array, replace(hierarchy, buffers_bytes=(size,))), minimise)
        room = 8 * size // (2 if doubled else 1)
        assert room_bits(layer, best)[0] <= room
        assert order(layer, best, array, hierarchy, minimise) == min(c for bits, c in every if bits <= room)


@pytest.mark.parametrize("name", ["1x1", "groups", "linear"])
def test_no_inner_tiling_is_better_inside_the_outer_one(name):
    layer, array = SMALL[name], Array(2, 2, "weight")
    hierarchy = Hierarchy((40, 10), bus_bits=16, burst_bytes=1, double_buffered=False)
    best = best_tiling(layer, Accelerator(array, hierarchy))
    outer = Tiling(best.tiles[:1], best.kept[:1])
    single = best_tiling(layer, Accelerator(array, Hierarchy((40,), 16, 1, double_buffered=False)))
    least = count(layer, single, array, 8).dram.total
    assert count(layer, best, array, 8).dram.total == least
    costs = [order(layer, t, array, hierarchy, "traffic") for t in fitting(layer, outer, 80)]
    assert order(layer, best, array, hierarchy, "traffic") == min(costs)


def fetched(layer, tile, loops):
    """DRAM bits where tiles are fetched whenever they change, for any order of the loops over tiles."""
    sizes, trips = dict(zip("gkcpqrs", tile, strict=True)), dict(zip("gkcpqrs", layer.loops, strict=True))
    cut = Tiling((tile,), ("weights",))
    once = count(layer, cut, Array(), 1).boundaries[0]
    inputs = once.inputs // math.ceil(trips["k"] / sizes["k"])
    tiles = [range(0, trips[loop], sizes[loop]) for loop in loops]
    changes = dict.fromkeys(("gkcrs", "gcpqrs", "gkpq"), 0)
    last = dict.fromkeys(changes)
    for place in itertools.product(*tiles):
        for needs in changes:
            key = tuple(at for loop, at in zip(loops, place, strict=True) if loop in needs)
            changes[needs] += key != last[needs]
            last[needs] = key
    number = {needs: math.prod(math.ceil(trips[n] / sizes[n]) for n in needs) for needs in changes}
    weights, inputs_, outputs = (changes[needs] / number[needs] for needs in changes)
    visits = outputs - 1
    return (
        layer.stored_weight_bits * weights
        + inputs * inputs_
        + once.outputs
        + 2 * layer.stored_sum_bits * visits
    )


def test_no_other_order_of_the_loops_fetches_less_than_the_best_of_the_three():
    layer = operation(1, 4, 4, (4, 4), (2, 1), padding=(1, 0, 0, 0))
    for tile in (Tile(1, 2, 2, 2, 4, 2, 1), Tile(1, 4, 2, 2, 4, 1, 1), Tile(1, 2, 4, 4, 2, 2, 1)):
        three = min(count(layer, Tiling((tile,), (kept,)), Array(), 1).boundaries[0].total for kept in KEPT)
        others = [fetched(layer, tile, "gs" + "".join(loops)) for loops in itertools.permutations("kcpqr")]
        assert min(others) == three


def test_a_layer_that_fits_is_moved_once():
    layer = operation(1, 8, 8, (6, 6), (3, 3), padding=SAME, weight=(4,) * 8, sum=20)
    best = best_tiling(layer, Accelerator(Array(), Hierarchy((65536,))))
    moved = count(layer, best, Array(), 512)
    assert (moved.boundaries[0].weights, moved.boundaries[0].inputs) == (8 * 8 * 9 * 4, 8 * 36 * 5)
    assert moved.boundaries[0].outputs == 8 * 36 * 4
    assert moved.boundaries[0].sums_read == moved.boundaries[0].sums_written == 0


def test_cycles_are_those_of_the_published_model():
    # Samajdar et al. 2018, equation for the runtime: (2 rows + columns + T - 2) for each of the folds.
    layer, whole = operation(1, 20, 10, (6, 6), (3, 3), padding=SAME), ("weights",)
    tiling = Tiling((layer.loops,), whole)
    for dataflow, deep, wide, stream in (
        ("weight", 90, 20, 36),
        ("output", 36, 20, 90),
        ("input", 90, 36, 20),
    ):
        folds = math.ceil(deep / 8) * math.ceil(wide / 4)
        assert count(layer, tiling, Array(8, 4, dataflow)).cycles == folds * (2 * 8 + 4 + stream - 2)


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda: Array(0, 4), "an array has 1 to 65536 rows of processing elements, not 0"),
        (lambda: Array(4, -1), "1 to 65536 columns of processing elements, not -1"),
        (lambda: Array(4, 4, "row"), 'unknown dataflow "row"; known: weight, output, input'),
        (lambda: Hierarchy(()), "one or two on-chip buffers, not 0"),
        (lambda: Hierarchy((0,)), "an on-chip buffer holds 1 to 2.40 bytes, such as 65536, not 0"),
        (lambda: Hierarchy((64, 128)), "the inner buffer of 128 bytes is larger than the outer one of 64"),
        (lambda: Hierarchy((64,), bus_bits=0), "the bus to DRAM is 1 to 2.40 bits wide, such as 64, not 0"),
        (lambda: Hierarchy((64,), burst_bytes=0), "a burst has 1 to 2.40 bytes, such as 64, not 0"),
        (lambda: parse_bytes("64 pages"), '"64 pages" is no size of a memory; write 65536, 64KiB or 1MiB'),
        (lambda: parse_array("16"), '"16" is no array of processing elements; write rows x columns: 16x16'),
        (
            lambda: best_tiling(SMALL["1x1"], Accelerator(Array(), Hierarchy((4,)))),
            "a buffer of 4 bytes holds no tile, the smallest takes 5 bytes; give a larger buffer",
        ),
        (lambda: network_memory(several(), Accelerator(), "area"), 'unknown objective of a tiling "area"'),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(make, sentence):
    with pytest.raises(HwsimError, match=sentence):
        make()


def test_the_smallest_buffer_that_is_asked_for_suffices():
    layer = SMALL["1x1"]
    best = best_tiling(layer, Accelerator(Array(), Hierarchy((5,))))
    assert best.tiles == (Tile(1, 1, 1, 1, 1, 1, 1),)


# Whole networks


def several():
    """A network of every kind of layer, its rows whole bytes."""
    around = (1, 1, 1, 1)
    return network_of(
        (4, 8, 8),
        ("first", Convolution(8, (3, 3), padding=around), (INPUT,), 4),
        ("depthwise", Convolution(8, (3, 3), padding=around, groups=8), ("first",), 8),
        ("pool", MaxPool((2, 2), (2, 2)), ("depthwise",), 8),
        ("half", Slice((0, 0, 0), (8, 8, 8), (1, 2, 2)), ("first",), 4),
        ("more", PadChannels(4, 4), ("half",), 4),
        ("strided", Convolution(16, (3, 3), (2, 2), around), ("depthwise",), 4),
        ("add", Add(), ("strided", "more"), 8),
        ("both", Concatenate(), ("add", "pool"), 8),
        ("grouped", Convolution(12, (1, 1), groups=2), ("both",), 6),
        ("flat", Flatten(), ("grouped",), 6),
        ("linear", Linear(8), ("flat",), 16),
    )


def test_what_fits_on_the_chip_moves_as_often_as_where_everything_is_moved_once():
    network = several()
    large = Accelerator(Array(4, 4), Hierarchy((1 << 24,), burst_bytes=1))
    once = traffic(network, Memory(1 << 24, 8))
    assert [layer.dram_traffic for layer in network_memory(network, large)] == list(once)


def test_padded_channels_and_channels_of_their_own_width_are_read_at_what_is_stored():
    network = network_of(
        (2, 4, 4),
        ("first", Convolution(2, (1, 1)), (INPUT,), 8),
        ("more", PadChannels(3, 1), ("first",), 8),
        ("last", Convolution(1, (1, 1)), ("more",), 8),
    )
    first = replace(network.layers[0], width=np.array([3, 5]), exponent=np.array([5, 3]))
    network = replace(network, layers=(first, *network.layers[1:]))
    last = network_memory(network, Accelerator(Array(), Hierarchy(burst_bytes=1)))[-1]
    assert last.dram.inputs == 16 * (3 + 5)


@pytest.mark.parametrize("doubled", [True, False])
def test_cycles_bound_and_roofline_follow_from_what_is_moved(doubled):
    hierarchy = Hierarchy((400,), bus_bits=8, burst_bytes=4, double_buffered=doubled)
    layers = network_memory(several(), Accelerator(Array(2, 4, "output"), hierarchy))
    for layer in layers:
        assert layer.dram_cycles == layer.dram.total // 8 == layer.dram_bytes
        both = (layer.array_cycles, layer.dram_cycles)
        assert layer.cycles == (max(both) if doubled else sum(both))
        assert layer.attained <= layer.roof + 1e-9
        if layer.macs:
            assert layer.roof == min(8, layer.macs / layer.dram_bytes)
            assert layer.utilisation == layer.macs / layer.cycles / 8
        if layer.cycles:
            assert layer.bound == ("compute" if both[0] >= both[1] else "memory")
    assert {layer.bound for layer in layers} == {"compute", "memory", ""}


def test_less_time_is_not_less_traffic():
    network = several()
    accelerator = Accelerator(Array(4, 4), Hierarchy((300,), burst_bytes=4))
    least, fastest = (network_memory(network, accelerator, how) for how in ("traffic", "time"))
    for one, other in zip(least, fastest, strict=True):
        assert one.dram_bytes <= other.dram_bytes and one.cycles >= other.cycles
    assert any(one.cycles > other.cycles for one, other in zip(least, fastest, strict=True))


def test_a_layer_that_fits_no_buffer_is_named_with_the_bytes_it_needs():
    with pytest.raises(
        HwsimError, match='layer "first": a buffer of 5 bytes holds no tile, the smallest takes 11'
    ):
        network_memory(several(), Accelerator(Array(), Hierarchy((5,))))


def test_an_exploration_counts_the_traffic_of_the_studys_array():
    text = {"title": "T", "model": "digits", "memory": {"buffer_bytes": 400, "bus_bits": 32}}
    study = Study.model_validate(text | {"array": {"rows": 4, "columns": 4, "dataflow": "output"}})
    layers = network_memory(
        several(), Accelerator(Array(4, 4, "output"), Hierarchy((400,), 32, burst_bytes=8))
    )
    assert list(study_traffic(study, several())) == [layer.dram_traffic for layer in layers]


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs ``hwsim traffic`` and returns its status, output and error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["hwsim", "traffic", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return (end.value.code, *capsys.readouterr())

    return run


def test_the_command_reads_a_network_file_and_agrees_with_python(tmp_path, command):
    network = quantize_noise(tmp_path)
    status, out, err = command(
        network, "--buffer", "2KiB,512", "--array", "4x8", "--dataflow", "output", "--json"
    )
    assert (status, err) == (0, "")
    accelerator = Accelerator(Array(4, 8, "output"), Hierarchy((2048, 512)))
    assert json.loads(out) == json.loads(json.dumps(memory_traffic(network, accelerator).to_json()))
    lines = command(network, "--images-per-second", "10")[1].splitlines()
    assert lines[0].split()[:2] == ["layer", "tiles"]
    assert lines[-1].startswith("at 10 images a second: ")


def test_the_command_gives_a_model_bits_and_a_file_its_own(tmp_path, command):
    network = quantize_noise(tmp_path)
    assert command(network)[1] == command(f"{tmp_path}/net.py:net", "--bits", "w4a4/int12")[1]


def quantize_noise(folder):
    """The file of an integer network."""
    (folder / "net.py").write_text(tiny.MODEL)
    images = np.random.default_rng(0).integers(0, 256, (4, 4, 4, 1), dtype=np.uint8)
    save(quantize(load_model(f"{folder}/net.py:net"), "w4a4/int12", images), folder / "net.safetensors")
    return folder / "net.safetensors"


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (("--buffer", "4"), 'layer "conv": a buffer of 4 bytes holds no tile, the smallest takes 5 bytes; '),
        (("--buffer", "0"), "an on-chip buffer holds 1 to 2^40 bytes, such as 65536, not 0"),
        (("--buffer", "1KiB,2KiB"), "the inner buffer of 2048 bytes is larger than the outer one of 1024; "),
        (("--array", "16"), '"16" is no array of processing elements; write rows x columns: 16x16'),
        (("--array", "0x4"), "an array has 1 to 65536 rows of processing elements, not 0; write 16"),
        (("--dataflow", "row"), 'unknown dataflow "row"; known: weight, output, input'),
        (("--bus", "0"), "the bus to DRAM is 1 to 2^40 bits wide, such as 64, not 0"),
        (("--burst", "-1"), "a burst has 1 to 2^40 bytes, such as 64, not -1"),
        (("--minimise", "area"), 'unknown objective of a tiling "area"; known: traffic, time'),
        (("--clock", "nan"), "the clock is a finite number of MHz above 0, not nan"),
        (("--images-per-second", "1e9"), "a throughput is above 0 and at most the "),
    ],
)
def test_the_command_refuses_in_one_sentence(tmp_path, command, arguments, sentence):
    status, out, err = command(quantize_noise(tmp_path), *arguments)
    assert (status, out) == (2, "")
    assert err.startswith(f"hwsim: {sentence}") and err.count("\n") == 1
