"""Energy of whole networks: every circuit on its own operands, accesses by hand, published memories, the command."""

import json
import math
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tiny
from hwsim import cost
from hwsim.cli import main
from hwsim.cost.energy import circuit_energy, clock_fj
from hwsim.cost.memory.energy import bit_fj, memory_energy
from hwsim.cost.memory.hierarchy import Accelerator, Array, Hierarchy
from hwsim.cost.network_energy import EnergyModel, layer_energies
from hwsim.cost.operands import layer_traces, passing
from hwsim.cost.technology import technology
from hwsim.datapath import parts
from hwsim.errors import HwsimError
from hwsim.explore.evaluation import METRICS, known_metrics
from hwsim.explore.exploration import explore
from hwsim.explore.study import Study
from hwsim.network import save
from hwsim.results import read_results, write_results
from hwsim.simulate.inference import run
from hwsim.steps.energy import network_energy
from hwsim.steps.traffic import memory_traffic
from networks import every_kind
from test_energy import INT4, OPEN45, SHIFT

LIBRARIES = Path(cost.__file__).parent / "libraries"

OUTPUT, WEIGHT = (
    EnergyModel(OPEN45, Accelerator(Array(dataflow=name)), cycles=60) for name in ("output", "weight")
)


def noise(network, images=3):
    channels, height, width = network.input_shape
    return np.random.default_rng(0).integers(0, 256, (images, height, width, channels), np.uint8)


@pytest.fixture(scope="module")
def measured():
    """A network with every kind of layer, measured in both dataflows."""
    network = every_kind()
    return network, {model: layer_energies(network, noise(network), model) for model in (OUTPUT, WEIGHT)}


@pytest.mark.parametrize("model", [OUTPUT, WEIGHT], ids=lambda model: model.dataflow)
def test_every_circuit_of_every_layer_is_measured(measured, model):
    network, by_model = measured
    layers = by_model[model]
    assert [layer.layer for layer in layers] == [item.layer.name for item in network.layers]
    for item, layer in zip(network.layers, layers, strict=True):
        circuits = parts(item, network.formats(), network.rounding)
        assert [part.part for part in layer.parts] == list(circuits)
        assert all(part.one.operation.switching > 0 for part in layer.parts)
        assert layer.total == pytest.approx(
            sum(part.energy.total for part in layer.parts) + layer.registers + sum(layer.memory.values())
        )
        if "mac" in circuits:
            own = layer.parts[0].one.operation.total
            assert own == layer.mac_fj[model.dataflow]
            assert list(layer.mac_fj) == ["random", "output", "weight"]
            reset = item.layer.outputs if model is OUTPUT else 0
            assert layer.parts[0].operations == item.layer.macs + reset


def test_a_study_measures_energy_at_its_mapping_point():
    table = tomllib.loads(tiny.STUDY) | {"objectives": ["energy"], "array": {}}
    study = Study.model_validate(table | {"hardware": {"technology": "open45", "mapping": "smallest"}})
    assert study.energy_model("mac").mapping == "smallest"


def test_dram_costs_20_pj_a_bit_of_what_the_traffic_counts(measured):
    network, by_model = measured
    counted = memory_traffic(network, OUTPUT.accelerator).layers
    assert [layer.memory["DRAM"] for layer in by_model[OUTPUT]] == [160e3 * one.dram_bytes for one in counted]


def test_a_buffer_costs_what_crosses_both_of_its_sides():
    accelerator = Accelerator(Array(4, 4, "output"), Hierarchy((4096, 512)))
    for counted in memory_traffic(every_kind(), accelerator).layers:
        levels = memory_energy(counted, accelerator.hierarchy, OPEN45.sram)
        if counted.tiling:
            outer, middle, inner = (moved.total for moved in counted.boundaries)
            assert levels["outer buffer"] == pytest.approx((outer + middle) * bit_fj(4096, 64, OPEN45.sram))
            assert levels["inner buffer"] == pytest.approx((middle + inner) * bit_fj(512, 64, OPEN45.sram))


@pytest.mark.parametrize(("size", "picojoules"), [(8192, 10), (32768, 20), (1 << 20, 100)])
def test_memories_of_64_bits_cost_what_horowitz_publishes(size, picojoules):
    """Horowitz, "Computing's energy problem" (ISSCC 2014), figure 1.1.9, 45 nm."""
    assert 64 * bit_fj(size, 64, OPEN45.sram) == pytest.approx(1000 * picojoules, rel=0.25)


FAKERAM45 = """
1024x32 3566.4 128x116 5212.75 128x256 15691.4 128x32 1738.49 128x64 2761.52 2048x39 6855.19 256x16 1359.06 256x32 1874.39
256x34 2471.87 256x48 3139.84 256x95 5756.55 256x96 5756.55 32x32 659.87 32x64 1498.65 512x64 5300.43 64x124 4539.85
64x15 393.576 64x21 606.056 64x25 795.762 64x256 13566.9 64x28 795.762 64x32 795.762 64x62 2497.93 64x64 2497.93
64x7 261.529 64x96 2986.13
"""
SG13G2 = """
1024x16 33760 1024x64 118109.5 1024x8 19917.9 2048x64 156430.9 256x48 55142.3 256x64 72556.5 4096x16 73165.7 4096x8 42211.9
512x64 91423 64x64 56802.8
"""


@pytest.mark.parametrize(
    ("name", "memories", "mean", "most"), [("open45", FAKERAM45, 0.13, 0.32), ("open130", SG13G2, 0.1, 0.19)]
)
def test_the_fit_to_published_memories_is_the_least_squares_one_and_has_the_stated_error(
    name, memories, mean, most
):
    words = memories.split()
    sizes = np.array([[float(x) for x in size.split("x")] for size in words[::2]])
    energy = np.array([float(x) for x in words[1::2]])
    equations = np.column_stack([np.ones(len(sizes)), np.log(sizes)])
    solved = np.linalg.lstsq(equations, np.log(energy))[0]
    sram = technology(name).sram
    assert [math.log(sram.factor), sram.by_words, sram.by_width] == pytest.approx(solved, rel=2e-3)
    wrong = [
        abs(sram.access_fj(n, int(width)) / fj - 1) for (n, width), fj in zip(sizes, energy, strict=True)
    ]
    assert np.mean(wrong) == pytest.approx(mean, abs=0.005)
    assert max(wrong) < most


def layer_of(network, name):
    found = {}
    run(network, noise(network), lambda item, x, y, _: found.update({item.layer.name: (item, x, y)}))
    return found[name]


def test_weights_stay_or_change_as_the_dataflow_says():
    network = every_kind()
    name = next(x.layer.name for x in network.layers if x.layer.has_weights and x.layer.output_shape[1] > 1)
    item, inputs, output = layer_of(network, name)
    circuits = parts(item, network.formats(), network.rounding)
    changing, staying = (
        layer_traces(item, circuits, inputs, output, dataflow=dataflow, cycles=400)["mac"]
        for dataflow in ("output", "weight")
    )
    tile = min(64, output.shape[2] * output.shape[3])
    rows = staying.inputs["weight"][: 400 // tile * tile].reshape(-1, tile)
    assert (rows == rows[:, :1]).all()
    assert not staying.inputs["RESET"].any()
    assert (np.diff(changing.inputs["weight"]) != 0).mean() > 0.5
    assert changing.inputs["RESET"].sum() == math.ceil(401 / (item.layer.products + 1))


def systolic(datapath, products=64, lanes=64):
    """Operands [products, lanes] as they pass stationary Gaussian weights, activations behind a ReLU."""
    rng = np.random.default_rng(0)
    levels = getattr(datapath.weight, "levels", np.arange(-7, 8))
    nearest = np.abs(rng.normal(size=(products, 1)) / 3 * levels.max() - levels).argmin(axis=1)
    activations = np.clip(np.round(rng.normal(size=(products, lanes)) / 3 * 255), 0, 255)
    weights = np.broadcast_to(levels[nearest][:, None], (products, lanes))
    return {"activation": activations.astype(np.int64), "weight": weights.copy()}


def test_shift_beats_the_multiplier_in_a_weight_stationary_array():
    """There partial sums of other outputs arrive in every cycle, and a shifter that stays set spares the multiplier's work."""
    shift, multiplier = (
        circuit_energy(d, OPEN45, passing(d, systolic(d), np.arange(8, 64, 4))).operation.total
        for d in (SHIFT, INT4)
    )
    assert shift < 0.75 * multiplier


def test_a_weight_that_stays_is_clocked_once(measured):
    network, by_model = measured
    for item, changing, staying in zip(network.layers, by_model[OUTPUT], by_model[WEIGHT], strict=True):
        if item.layer.has_weights and item.layer.output_shape[1] > 1:
            bits, clocks = item.bits, clock_fj(OPEN45) * item.layer.macs
            assert changing.registers > clocks * (bits.weight.bits + bits.activation.bits)
            assert staying.registers > clocks * bits.activation.bits
            assert staying.registers < changing.registers - 0.5 * clocks * bits.weight.bits


def test_the_same_seed_gives_the_same_figures(measured):
    network, by_model = measured
    again = layer_energies(network, noise(network), OUTPUT)
    assert json.dumps([x.to_json() for x in again]) == json.dumps([x.to_json() for x in by_model[OUTPUT]])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An integer network and images, in files."""
    folder = tmp_path_factory.mktemp("energy")
    network = every_kind()
    save(network, folder / "net.safetensors")
    np.savez(folder / "images.npz", x=noise(network, 6), y=np.arange(6) % network.outputs)
    return folder / "net.safetensors", folder / "images.npz"


@pytest.fixture
def said(monkeypatch, capsys):
    """Run ``hwsim energy`` and return exit status, stdout and stderr."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["hwsim", "energy", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    return run


def test_the_command_and_the_call_say_the_same(files, said):
    network, images = files
    options = ("--data", images, "--images", 4, "--cycles", 40, "--dataflow", "weight", "--array", "4x4")
    status, out, _ = said(network, *options, "--mapping", "smallest", "--json")
    called = network_energy(
        network,
        data=str(images),
        images=4,
        cycles=40,
        mapping="smallest",
        accelerator=Accelerator(Array(4, 4, "weight")),
    )
    assert (status, out.count("\n")) == (0, 1)
    told = json.loads(out)
    assert told["mapping"] == "smallest"
    assert told == json.loads(json.dumps(called.to_json()))
    assert told["total_pj"] == pytest.approx(sum(told["energy_pj"].values()))
    assert told["total_pj"] == pytest.approx(sum(layer["total_pj"] for layer in told["layers"]))
    assert told["pj_per_mac"] == pytest.approx(told["total_pj"] / told["macs"])
    text = called.text()
    assert "4x4 array, weight stationary" in text
    assert all(layer["layer"] in text for layer in told["layers"] if layer["total_pj"])


def test_circuits_mapped_for_speed_switch_more(files):
    network, images = files
    smallest, fastest = (
        network_energy(network, data=str(images), images=2, cycles=10, mapping=mapping)
        for mapping in ("smallest", "fastest")
    )
    assert fastest.by_part["switching"] > 1.05 * smallest.by_part["switching"]
    assert fastest.by_part["DRAM"] == smallest.by_part["DRAM"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--dataflow", "input"], 'unknown dataflow of an energy "input"; known: output, weight'),
        (["--technology", "gates"], 'technology "gates" has no voltage and so no energy; choose open45'),
        (["--clock", "nan"], "the clock is a finite number of MHz above 0, not nan"),
        (["--clock", "0"], "the clock is a finite number of MHz above 0, not 0.0"),
        (["--liberty", "none.lib"], "none.lib"),
        (["--mapping", "quick"], 'unknown mapping "quick"; known: smallest, balanced, fastest'),
    ],
)
def test_what_has_no_energy_is_refused_in_a_sentence(files, said, options, sentence):
    network, images = files
    status, out, err = said(network, "--data", images, *options)
    assert (status, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1


def test_a_library_without_memories_takes_those_of_the_45_nm_class(tmp_path, files):
    network, images = files
    text = (LIBRARIES / "open130.toml").read_text().partition("[sram]")[0]
    (tmp_path / "own.toml").write_text(text)
    options = {"data": str(images), "images": 2, "cycles": 40}
    own = network_energy(network, technology=str(tmp_path / "own.toml"), **options)
    ready = network_energy(network, technology="open130", **options)
    assert "memories of open45" in own.text() and "memories of open130" in ready.text()
    assert own.by_part["clock"] == ready.by_part["clock"]
    assert own.by_part["buffer"] < ready.by_part["buffer"]


@pytest.fixture(scope="module")
def explored(tmp_path_factory):
    """Two design points of a tiny study, with and without energy among the objectives."""
    folder = tiny.write(tmp_path_factory.mktemp("explored"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        found = {}
        for objectives in (("accuracy_loss", "gates"), ("accuracy_loss", "energy")):
            text = (folder / "study.toml").read_text().replace('"gates"', '"open45"')
            table = tomllib.loads(text) | {"budget": 2, "objectives": objectives}
            study = Study.model_validate(table | {"array": {"rows": 4, "columns": 4, "dataflow": "output"}})
            results = explore(study, folder / objectives[1])
            write_results(results, folder / objectives[1])
            found[objectives[1]] = results, folder / objectives[1]
        yield found


def test_an_exploration_has_the_energy_where_it_is_an_objective(explored, monkeypatch):
    results, folder = explored["energy"]
    monkeypatch.chdir(folder.parent)
    study = results.bench.study
    for evaluation in results.evaluations:
        called = network_energy(
            results.bench.quantized(evaluation.point),
            data="images.npz",
            accelerator=study.accelerator(),
            cycles=256,
        )
        assert METRICS["energy"].of(evaluation) == pytest.approx(called.total_fj / 1e9)
    table = (folder / "evaluations.csv").read_text().splitlines()
    assert table[0].endswith(",energy_uj")
    assert float(table[1].rpartition(",")[2]) in [METRICS["energy"].of(e) for e in results.evaluations]
    assert read_results(folder).evaluations == results.evaluations


def test_an_exploration_without_it_knows_no_energy(explored):
    results, folder = explored["gates"]
    assert "energy" not in known_metrics(results.evaluations)
    text = (folder / "results.json").read_text() + (folder / "evaluations.csv").read_text()
    assert "energy" not in text
    assert read_results(folder).evaluations == results.evaluations


def test_a_point_measured_without_energy_is_measured_again_with_it(explored):
    plain, measured = (explored[name][0].bench.stamp for name in ("gates", "energy"))
    assert plain != measured


@pytest.mark.parametrize("mac", ["mac", "bit_serial_mac"])
def test_circuits_with_a_schedule_of_their_own_are_measured_where_their_sums_stay(explored, mac):
    results, _ = explored["gates"]
    network = results.bench.quantized(results.evaluations[0].point)
    model = replace(OUTPUT, mac=mac, mac_options=() if mac == "bit_serial_mac" else (("stages", 2),))
    images = results.bench.test.images[:4]
    for item, layer in zip(network.layers, layer_energies(network, images, model), strict=True):
        if item.layer.has_weights:
            assert layer.parts[0].operations > item.layer.macs + item.layer.outputs
            assert layer.parts[0].one.operation.total == layer.mac_fj["output"]
            assert "weight" not in layer.mac_fj
    passing_on = replace(model, accelerator=WEIGHT.accelerator)
    with pytest.raises(
        HwsimError, match=r"passes no sums on, as a weight-stationary array does; choose output"
    ):
        layer_energies(network, images, passing_on)
