"""Output channels in groups: the same function in float and in integers, circuits and bytes, and groups that choose."""

import csv
import shlex
import shutil
import subprocess
import tomllib
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as functional

import tiny
from hwsim.cost.hardware import Hardware, circuits
from hwsim.cost.traffic import Memory, traffic
from hwsim.errors import HwsimError
from hwsim.explore.evaluation import METRICS
from hwsim.explore.exploration import explore
from hwsim.explore.prices import prices
from hwsim.explore.space import search_space
from hwsim.explore.study import Study, read_study
from hwsim.layers import Add, Clip, Convolution, Flatten, Linear, Relu
from hwsim.models.builder import Builder, parameter_shapes
from hwsim.models.channel_groups import split_channels
from hwsim.models.forward import run as run_float
from hwsim.network import FloatNetwork, Preprocessing, load
from hwsim.quantize import quantize
from hwsim.quantize.settings import Settings
from hwsim.results import read_results, write_results
from hwsim.simulate.circuits import Circuits
from hwsim.simulate.inference import compute_layer, measure_accuracy
from hwsim.simulate.inference import run as run_integers
from hwsim.steps.export import export_design

PIXELS = Preprocessing(255.0, (0.5,) * 4, (0.25,) * 4)
IMAGES = np.random.default_rng(5).integers(0, 256, (12, 6, 6, 4), dtype=np.uint8)
SPLIT = {"first": 3, "grouped": [4, 2], "last": (1, 2), "linear": 2}


def network() -> FloatNetwork:
    """Batch norm and a clip behind one convolution, a grouped one, shortcuts from tensors that are read twice."""
    rng = np.random.default_rng(0)
    build = Builder((4, 6, 6))
    build.convolution("first", 6, 3)
    build.norm("norm")
    first = build.add("relu6", Clip(0.0, 6.0))
    build.convolution("grouped", 6, 3, groups=3)
    grouped = build.norm("grouped_norm", "grouped_relu")
    build.convolution("last", 3, 3)
    build.add("last_relu", Relu())
    build.convolution("clamped", 6, 1)
    build.convolution("signed", 6, 1, "last")
    build.add("add", Add(), "clamped", "signed")
    build.add("add_first", Add(), "add", first)
    build.add("add_grouped", Add(), "add_first", grouped)
    build.add("flat", Flatten())
    build.add("linear", Linear(4))
    for layer in build.layers:
        for key, shape in parameter_shapes(layer).items():
            build.parameters[f"{layer.name}.{key}"] = rng.uniform(
                0.5 if key == "running_var" else -0.6, 1, shape
            )
    return build.network("net", PIXELS)


def float_tensors(net: FloatNetwork) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    run_float(net, net.preprocessing.apply(IMAGES), found.__setitem__)
    return found


def integer_tensors(net):
    found = {}
    run_integers(net, IMAGES, lambda item, inputs, output, over: found.__setitem__(item.layer.name, output))
    return found


def test_the_float_network_computes_what_it_computed():
    whole, parts = float_tensors(network()), float_tensors(split_channels(network(), SPLIT))
    assert {"first", "norm", "grouped", "grouped_norm"} == set(whole) - set(parts)  # split up to their clamp
    for name in set(whole) & set(parts):
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-12, atol=1e-12)


def test_a_group_of_a_convolution_is_torch_s_of_its_rows():
    parts = split_channels(network(), SPLIT)
    seen, weights = float_tensors(parts), parts.parameters
    x = torch.tensor(seen["relu6"])
    for place, (read, groups) in enumerate(((slice(0, 6, 1), 2), (slice(4, 6), 1))):
        read = slice(0, 4) if place == 0 else read
        weight = torch.tensor(weights[f"grouped.{place}.weight"])
        expected = functional.conv2d(
            x[:, read], weight, torch.tensor(weights[f"grouped.{place}.bias"]), padding=1, groups=groups
        )
        np.testing.assert_allclose(seen[f"grouped.{place}"], expected.numpy(), rtol=1e-12, atol=1e-12)


@pytest.fixture(scope="module")
def both():
    """The network whole and in groups, in the same bits, with activations clipped nowhere."""
    settings = Settings.parse("activations=min_max weights=mse bias_correction=true")
    nets = network(), split_channels(network(), SPLIT)
    return [quantize(net, "w4a4/int16", IMAGES, settings=settings) for net in nets]


def test_groups_of_equal_bits_are_the_integers_of_the_whole_layer(both):
    """Every channel has the scale, the constants and the format it had; only the concatenations are more layers."""
    whole, parts = (integer_tensors(net) for net in both)
    renamed = {"relu6": "first", "grouped_relu": "grouped"}
    names = [name for name in parts if "." not in name]
    assert len(names) == len(whole)
    for name in names:
        np.testing.assert_array_equal(parts[name], whole[renamed.get(name, name)], strict=True)


BITS = """
default = "w4a4/int16"

[layers]
"first.0" = "int8*int4/int16"
"first.1" = "pow2x4*int5/int20/saturate"
"grouped.1" = "int3*uint3/int16"
"linear.0" = "int2*int5/int10"
"""


def test_circuits_of_groups_are_their_arithmetic_at_every_tensor(both):
    mixed = quantize(split_channels(network(), SPLIT), BITS, IMAGES)
    assert str(mixed.bits["first.1"]) == "pow2x4*int5/int20/saturate"
    for net in (both[1], mixed):
        labels = np.zeros(len(IMAGES), np.int64)
        computed = Circuits(net, threads=1).compute
        found = measure_accuracy(net, IMAGES, labels, compute=computed, against=compute_layer)
        assert found.difference is None


def test_groups_cost_what_the_layer_cost_and_its_input_read_again(both):
    """The same circuits, a copy more at most for each group, since copies are whole; the same weights but for the ends
    of bursts; and each group reads the input by itself, where the whole layer read it once."""
    hardware, memory = Hardware(images_per_second=1e6), Memory(burst_bits=8)
    (whole, parts), (moved, moved_apart) = (
        [circuits(net, hardware) for net in both],
        [{item.layer: item for item in traffic(net, memory)} for net in both],
    )
    for name, groups in (("first", 3), ("last", 2), ("linear", 2)):
        names = [f"{name}.{place}" for place in range(groups)]
        for place, part in enumerate(whole[name]):
            of_groups = [parts[one][place] for one in names]
            assert {(p.part, p.nand2_equivalents) for p in of_groups} == {(part.part, part.nand2_equivalents)}
            assert part.count <= sum(p.count for p in of_groups) < part.count + groups
        found = [moved_apart[one] for one in names]
        assert 0 <= sum(t.weight_bytes for t in found) - moved[name].weight_bytes < groups
        assert sum(t.output_bytes for t in found) == moved[name].output_bytes
        assert [t.input_bytes for t in found] == [moved[name].input_bytes] * groups
    assert sum(item.layer.macs for item in both[1].layers) == sum(item.layer.macs for item in both[0].layers)
    grouped = [moved_apart[f"grouped.{place}"].input_bytes for place in range(2)]
    assert sum(grouped) == moved["grouped"].input_bytes  # its groups read channels of their own
    assert parts.keys().isdisjoint({"relu6", "grouped_relu", "last", "grouped.0.slice"})


def test_all_groups_of_the_ends_are_edges():
    edges = split_channels(network(), SPLIT).edges()
    assert edges.weights == {"first.0", "first.1", "first.2", "linear.0", "linear.1"}
    assert edges.activations >= {"first.0", "grouped.0", "grouped.1"}
    assert network().edges().weights == {"first", "linear"}


@pytest.mark.parametrize(
    "groups, sentence",
    [
        (
            {"relu6": 2},
            'channel groups are those of a layer with weights, not of "relu6"; the network has first,',
        ),
        ({"first": 4}, 'the 6 channels of layer "first" make no 4 equal groups; give a divisor from 2 on,'),
        ({"first": 0}, 'the 6 channels of layer "first" make no 0 equal groups'),
        ({"first": 1}, 'the 6 channels of layer "first" make no 1 equal groups'),
        ({"first": 12}, 'the 6 channels of layer "first" make no 12 equal groups'),
        (
            {"first": (2, 3)},
            'groups of 2, 3 channels are no parts of the 6 of layer "first"; give two or more',
        ),
        ({"first": (7, -1)}, "groups of 7, -1 channels are no parts of the 6"),
        ({"first": (6,)}, "groups of 6 channels are no parts of the 6"),
        ({"first": ()}, "groups of no channels are no parts of the 6"),
        (
            {"grouped": 2},
            'a group of 3 channels cuts through those of the grouped convolution "grouped"; give multiples of 2',
        ),
    ],
)
def test_groups_that_cannot_be_are_refused_in_a_sentence(groups, sentence):
    with pytest.raises(HwsimError) as refused:
        split_channels(network(), groups)
    assert str(refused.value).startswith(sentence)


def test_a_name_that_is_taken_is_refused():
    build = Builder((4, 6, 6))
    build.add("a.1", Convolution(4, (1, 1)), weight=np.ones((4, 4, 1, 1)))
    build.add("a", Convolution(4, (1, 1)), weight=np.ones((4, 4, 1, 1)))
    with pytest.raises(
        HwsimError, match=r'would be called "a\.1" as another layer is; leave its layer whole'
    ):
        split_channels(build.network("net", PIXELS), {"a": 2})


# Studies


TECHNOLOGY = '\n[hardware]\ntechnology = "gates"\n'


def with_groups(text, groups):
    return text.replace("[space]", f"[space.channels]\n{groups}\n\n[space]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, working_in):
    folder = tiny.write(tmp_path_factory.mktemp("groups"))
    text = (folder / "study.toml").read_text()
    text = text.replace('"activations=min_max", "activations=aciq_laplace", ', "")
    text = text.replace("int12", "int16").replace(TECHNOLOGY, "")
    (folder / "study.toml").write_text(with_groups(text, "conv = 2"))
    return working_in(folder)


@pytest.fixture(scope="module")
def explored(folder):
    """All eight designs, with their report."""
    found = explore(read_study(folder / "study.toml"), folder / "out")
    write_results(found, folder / "out")
    return found


def test_groups_get_widths_of_their_own(explored, folder):
    chosen = {tuple(text for _, text in e.point.bits) for e in explored.evaluations}
    assert len(chosen) == 2**3 == len(explored.evaluations)
    assert {name for name, _ in explored.evaluations[0].point.bits} == {"conv.0", "conv.1", "out"}
    assert {(conv.split("*")[0], other.split("*")[0]) for conv, other, _ in chosen} >= {
        ("int3", "int4"),
        ("int4", "int3"),
    }
    with (folder / "out/evaluations.csv").open() as file:
        rows = {row["key"]: row for row in csv.DictReader(file)}
    assert all("conv.0" in rows[e.point.key()]["bits"] for e in explored.evaluations)
    assert "conv.1" in (folder / "out/index.html").read_text()


def test_the_command_of_a_design_writes_it_again(explored, folder):
    point = next(e.point for e in explored.front if e.point.bits[0][1] != e.point.bits[1][1])
    command = read_results(folder / "out").facts.rebuild[point.key()].partition(" && ")[0]
    assert " --channels conv=2 " in command
    done = tiny.hwsim(*shlex.split(command)[1:], cwd=folder, HWSIM_CACHE=str(folder / "cache"))
    assert done.returncode == 0, done.stderr
    assert load(folder / "net.safetensors").digest() == explored.bench.quantized(point).digest()


def test_the_bundle_of_such_a_design_runs_in_icarus(explored, folder):
    if not shutil.which("iverilog"):
        pytest.skip("Debian's package iverilog is not installed")
    point = next(e.point for e in explored.evaluations if len({text for _, text in e.point.bits}) == 3)
    export_design(folder / "out", folder / "bundle", point=point.key())
    sources = sorted(map(str, (folder / "bundle/rtl").glob("*.v")))
    build = ["iverilog", "-g2012", "-s", "testbench", "-o", "t.vvp", "testbench.v", *sources]
    subprocess.run(build, cwd=folder / "bundle", check=True, timeout=60)
    ran = subprocess.run(
        ["vvp", "-n", "t.vvp"], cwd=folder / "bundle", capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0 and ran.stdout.startswith("PASS")


def test_tables_price_groups_as_their_networks_are_priced(explored):
    study = explored.bench.study
    space = replace(search_space(study, explored.bench.network), bench=explored.bench)
    names = ("gates", "bandwidth")
    (price,) = prices(space, names)
    for e in explored.evaluations:
        row = np.array([space.places(e.point)])
        sums = sum(table.of(row) for table in price.tables)
        np.testing.assert_allclose(
            price.costs(sums)[0], [METRICS[name].cost(e) for name in names], rtol=1e-12
        )


def test_a_study_with_groups_reads_back_equal_and_one_without_has_no_new_key():
    text = with_groups('title = "T"\nmodel = "digits"\n[space]\n', "conv = [16, 8, 8]\nstem = 2")
    study = Study.model_validate(tomllib.loads(text))
    assert study.space.channels == {"conv": (16, 8, 8), "stem": 2}
    assert Study.model_validate(tomllib.loads(study.to_toml())) == study
    assert "channels" not in Study(title="T", model="digits").to_toml()


@pytest.mark.parametrize("given", ['"two"', "2.5", "[]", "true", "[1, 2.5]"])
def test_groups_that_are_no_numbers_are_refused_in_a_sentence(tmp_path, given):
    (tmp_path / "s.toml").write_text(f'title = "T"\nmodel = "digits"\n[space.channels]\nconv = {given}\n')
    with pytest.raises(
        HwsimError, match=r'channels: the groups of layer "conv" are 2, say, or \[16, 48\], not'
    ):
        read_study(tmp_path / "s.toml")
