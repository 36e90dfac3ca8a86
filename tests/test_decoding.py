"""Coders of weights as a choice: bytes of the file, traffic and decoders are those of the network priced by itself."""

import hashlib
import json
import math
import shutil
import tomllib
from dataclasses import replace

import numpy as np
import pytest

import tiny
from hwsim.cost.activity import activity
from hwsim.cost.coding import huffman, indices
from hwsim.cost.compression import codes_of, compress, decompress
from hwsim.cost.decoding import CODERS, decoding
from hwsim.cost.energy import circuit_energy
from hwsim.cost.hardware import Hardware
from hwsim.cost.mapping import mapped_netlist
from hwsim.cost.memory.hierarchy import Accelerator, Array, Hierarchy
from hwsim.cost.memory.network import network_memory
from hwsim.cost.network_energy import EnergyModel, layer_energies
from hwsim.cost.operands import decoder_trace
from hwsim.cost.synthesis import synthesize
from hwsim.cost.technology import technology
from hwsim.cost.traffic import stored_bits, traffic
from hwsim.errors import HwsimError
from hwsim.explore.bench import open_bench
from hwsim.explore.evaluation import METRICS, DesignPoint
from hwsim.explore.exploration import explore
from hwsim.explore.prices import prices
from hwsim.explore.searches import SEARCHES
from hwsim.explore.space import search_space
from hwsim.explore.study import Study, read_study
from hwsim.steps.energy import network_energy
from icarus_activity import icarus_changes

OBJECTIVES = ("accuracy_loss", "gates", "bandwidth", "file_bytes", "flip_flops")


MODEL = """
import numpy as np
from hwsim.layers import Convolution, Flatten, Linear, Relu
from hwsim.models.builder import Builder
from hwsim.network import Preprocessing


def net():
    rng = np.random.default_rng(0)
    build = Builder((1, 4, 4))
    build.add("conv", Convolution(24, (3, 3)), weight=rng.standard_t(2, size=(24, 1, 3, 3)))
    build.add("relu", Relu())
    build.add("flat", Flatten())
    build.add("out", Linear(3), weight=rng.standard_t(2, size=(3, 96, 1, 1)))
    return build.network("coded", Preprocessing(255.0, (0.5,), (0.25,)))
"""
"""Weights with long tails, which a code takes less for."""


PRUNED = MODEL.replace("rng.standard_t(2, size=", "few(rng, ").replace(
    "def net",
    "def few(rng, shape):\n    return rng.normal(size=shape) * (rng.random(shape) < 0.1)\n\n\ndef net",
)
"""Weights of which a tenth are left."""


def explore_coders(folder, model, coders):
    """Every point of a tiny space with some coders; the folder is the working one."""
    tiny.write(folder)
    (folder / "net.py").write_text(model)
    text = (folder / "study.toml").read_text().replace("budget = 10", "budget = 100")
    text = text.replace(', "activations=aciq_laplace", "activations=aciq_gauss"', "").replace(
        "[hardware]",
        f'coders = {json.dumps(coders)}\n\n[space.layers.out]\nweights = ["int3"]\n\n[hardware]\nimages_per_second = 2e7',
    )
    (folder / "study.toml").write_text(text)
    return explore(read_study(folder / "study.toml"), folder / "out")


@pytest.fixture(scope="module")
def explored(tmp_path_factory, working_in):
    return explore_coders(working_in(tmp_path_factory.mktemp("coded")), MODEL, ["packed", "huffman"])


@pytest.fixture(scope="module")
def pruned(tmp_path_factory, working_in):
    return explore_coders(working_in(tmp_path_factory.mktemp("pruned")), PRUNED, ["bitmap", "run_length"])


@pytest.fixture(params=["explored", "pruned"])
def either(request):
    return request.getfixturevalue(request.param)


def test_every_layer_has_a_coder_and_the_space_counts_it(explored):
    assert len(explored.evaluations) == len({e.point for e in explored.evaluations}) == 2 * 2 * 2
    assert {e.point.coders for e in explored.evaluations} == {
        (first, second) for first in ("packed", "huffman") for second in ("packed", "huffman")
    }


def test_prices_of_coded_weights_are_those_of_the_network_by_itself(either):
    bench = either.bench
    space = replace(search_space(bench.study, bench.network), bench=bench)
    names = OBJECTIVES[1:]
    (price,) = prices(space, names)
    for e in either.evaluations:
        choices = np.array([space.places(e.point)])
        (costs,) = price.costs(sum(table.of(choices) for table in price.tables))
        for name, cost in zip(names, costs, strict=True):
            rel = 0.05 if name == "file_bytes" else 1e-12  # a constant of a requantiser may take a byte more
            assert cost == pytest.approx(METRICS[name].cost(e), rel=rel), name


def test_bytes_traffic_and_decoders_are_counted_from_the_code_itself(explored):
    bench = explored.bench
    hardware, memory = bench.study.hardware.value("mac"), bench.study.memory.value()
    decoded = 0
    for e in explored.evaluations:
        network = bench.quantized(e.point)
        moved = {item.layer: item.weight_bytes for item in traffic(network, memory)}
        for layer, coder in zip([la for la in e.layers if la.weights], e.point.coders, strict=True):
            item = next(item for item in network.layers if item.layer.name == layer.name)
            decoders = [part for part in layer.parts if part.part in CODERS.values()]
            codes, bits = codes_of(item), item.bits.weight.bits
            coded = huffman.encode(codes.ravel(), bits)
            if coder == "packed" or len(coded) >= -(-codes.size * bits // 8):
                (part,) = decoders
                assert part.circuit == f"Unpack(bits={bits})" and part.equivalent
                assert layer.weight_bytes == moved[layer.name]
                continue
            decoded += 1
            payload = int(huffman.code_lengths(codes, bits)[codes].sum())
            assert len(coded.values) == -(-payload // 8)
            whole = stored_bits(item)
            passes = moved[layer.name] * 8 / whole  # with the rest of a burst
            assert layer.weight_bytes == pytest.approx(
                passes * (whole - codes.size * bits + payload) / 8, abs=1
            )
            (part,) = decoders
            cost = synthesize(decoding(item, "huffman").circuit, "gates")
            assert part.equivalent and part.nand2_equivalents == cost.nand2_equivalents > 0
            words = passes * codes.size
            assert part.count - 1 < words / hardware.cycles_per_image <= part.count
    assert decoded


def test_a_file_with_a_coder_for_each_layer_decodes_to_the_same_integers(either):
    bench = either.bench
    for e in either.evaluations:
        network = bench.quantized(e.point)
        codecs = {name: coder for (name, _), coder in zip(e.point.bits, e.point.coders, strict=True)}
        content = compress(network, codecs=codecs)
        assert len(content) == e.file_bytes
        for item in network.layers:
            if item.weight is not None:
                np.testing.assert_array_equal(decompress(content)[item.layer.name].weight, item.weight)


def test_sparse_weights_cross_the_bus_as_indices_and_what_is_left(pruned):
    bench = pruned.bench
    memory, seen = bench.study.memory.value(), set()
    for e in pruned.evaluations:
        network = bench.quantized(e.point)
        packed = {item.layer: item.weight_bytes for item in traffic(network, memory)}
        for layer, coder in zip([la for la in e.layers if la.weights], e.point.coders, strict=True):
            item = next(item for item in network.layers if item.layer.name == layer.name)
            codes, bits = codes_of(item).ravel(), item.bits.weight.bits
            form = indices.encode_bitmap if coder == "bitmap" else indices.encode_runs
            coded = form(codes, np.full(codes.size, bits))
            (part,) = (part for part in layer.parts if part.part in CODERS.values())
            assert part.part == f"{coder}_decode" and part.equivalent
            saved = codes.size * bits // 8 - len(coded.indices) - len(coded.values)
            passes = packed[layer.name] * 8 / stored_bits(item)
            assert saved > 0
            assert layer.weight_bytes == pytest.approx(packed[layer.name] - passes * saved, abs=3 * passes)
            seen.add(part.circuit)
    assert {"BitmapDecode(bits=3)", "BitmapDecode(bits=4)"} < seen and any("Run" in name for name in seen)


def test_decoders_do_not_touch_the_accuracy(explored):
    by_bits = {}
    for e in explored.evaluations:
        by_bits.setdefault(e.point.bits, set()).add(e.correct)
    assert all(len(correct) == 1 for correct in by_bits.values())


@pytest.mark.parametrize("name", ["exact", "greedy", "evolve"])
def test_searches_choose_coders(name, explored):
    bench, known = explored.bench, {e.point: e for e in explored.evaluations}
    space = replace(search_space(bench.study, bench.network), bench=bench)
    done = []
    while points := SEARCHES[name](
        space, list(done), OBJECTIVES[:3], np.random.default_rng([1, len(done)]), 5
    ):
        done += [known[point] for point in points]
    assert len(done) == space.size


def test_weights_that_are_read_in_every_pass_are_decoded_in_every_pass(explored):
    bench = explored.bench
    network = bench.quantized(explored.evaluations[0].point)
    item = next(item for item in network.layers if item.weight is not None)
    found, hardware = decoding(item, "huffman"), bench.study.hardware.value("mac")
    whole = stored_bits(item) // 8
    assert found.moved_bytes(item, 300 * whole) == -(-300 * (8 * whole - found.saved_bits) // 8)
    once, often = (found.circuits(item, passes * whole, hardware)[0].count for passes in (1, 300))
    assert often == -(-300 * found.weights // hardware.cycles_per_image) > once


def test_a_coder_saves_bandwidth_and_costs_gates(explored):
    found = {e.point: e for e in explored.evaluations}
    for point, e in found.items():
        if point.coders == ("huffman", "huffman"):
            packed = found[replace(point, coders=("packed", "packed"))]
            for name, sign in (("gates", 1), ("bandwidth", -1), ("file_bytes", -1)):
                assert sign * METRICS[name].of(e) > sign * METRICS[name].of(packed)


def test_weights_that_are_all_the_same_need_no_decoder(explored):
    network = explored.bench.quantized(explored.evaluations[0].point)
    item = next(item for item in network.layers if item.weight is not None)
    big = replace(item, weight=np.ones_like(item.weight))
    found = decoding(big, "huffman")
    assert found.circuit is None
    assert found.circuits(big, 100, Hardware(technology="gates")) == ()


def test_a_point_without_coders_is_written_and_keyed_as_before():
    point = DesignPoint((("a", "int4*uint8/int32"),), "mac", "q")
    text = '{"bits": [["a", "int4*uint8/int32"]], "datapath": "mac", "quantizer": "q"}'
    assert point.key() == hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    assert json.loads(text).keys() == {"bits", "datapath", "quantizer"}
    assert (
        replace(point, coders=("huffman",)).key() != replace(point, coders=("packed",)).key() != point.key()
    )


@pytest.mark.parametrize(
    "text, sentence",
    [
        (
            'coders = ["ans"]',
            'unknown coder with a decoder "ans"; known: packed, huffman, bitmap, run_length',
        ),
        ('coders = ["packed", "packed"]', '"packed" is listed twice in coders'),
        ('[space.layers.stem]\ncoders = ["best"]', 'unknown coder with a decoder "best"'),
    ],
)
def test_coders_that_cannot_be_are_refused(tmp_path, text, sentence):
    (tmp_path / "s.toml").write_text(f'title = "T"\nmodel = "digits"\n[space]\n{text}\n')
    with pytest.raises(HwsimError, match=sentence):
        read_study(tmp_path / "s.toml")


# Energy


@pytest.fixture(scope="module")
def coded(explored):
    """A layer's weights in Huffman code, and its network."""
    network = explored.bench.quantized(explored.evaluations[0].point)
    item = next(item for item in network.layers if item.weight is not None)
    return network, item, decoding(item, "huffman")


@pytest.mark.parametrize("cycles", [100, 5000])
def test_a_decoder_s_trace_decodes_the_layer_s_own_weights_one_behind_the_other(coded, cycles):
    _, item, how = coded
    trace = decoder_trace(how.circuit, item, cycles, seed=3)
    symbols = trace.outputs["symbol"][1:].tolist()  # the first cycle is the reset
    own = codes_of(item).ravel().tolist()
    assert len(symbols) == min(cycles, len(own))
    assert any(own[start : start + len(symbols)] == symbols for start in range(len(own)))


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="needs Icarus Verilog (iverilog)")
def test_a_decoder_s_nets_change_as_often_as_in_event_driven_simulation(coded, tmp_path):
    _, item, how = coded
    cells = technology("open45")
    netlist, trace = mapped_netlist(how.circuit, cells), decoder_trace(how.circuit, item, 150)
    ours = activity(netlist, cells, trace.inputs, how.circuit.registers).changes
    theirs = icarus_changes(netlist, cells, trace.inputs, how.circuit.registers, tmp_path)
    assert sum(theirs.values()) > 2_000
    assert sum(ours.values()) == pytest.approx(sum(theirs.values()), rel=2e-3)


@pytest.mark.parametrize("minimise", ["traffic", "time"])
def test_energy_is_that_of_the_coded_bytes_and_of_each_code_word_that_is_decoded(coded, minimise, tmp_path):
    """A buffer holds a few weights here, so that they are read, and decoded, several times."""
    network, item, how = coded
    accelerator = Accelerator(Array(2, 2, "output"), Hierarchy((96,), burst_bytes=8))
    model = EnergyModel(technology("open45"), accelerator, cycles=128, minimise=minimise)
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 1), dtype=np.uint8)
    name = item.layer.name
    packed, huffman_coded = (
        {layer.layer: layer for layer in layer_energies(network, images, model, coders=coders, compare=False)}
        for coders in ({}, {name: "huffman"})
    )
    moved = next(one for one in network_memory(network, accelerator, minimise) if one.layer == name).dram
    codes, bits = codes_of(item), item.bits.weight.bits
    payload = int(huffman.code_lengths(codes, bits)[codes].sum())
    whole = stored_bits(item)
    passes = moved.weights / whole
    assert passes > 1
    coded_bytes = passes * (whole - codes.size * bits + payload) / 8
    saved_fj = 8 * (moved.weights / 8 - coded_bytes) * 640e3 / 32
    dram = packed[name].memory["DRAM"] - huffman_coded[name].memory["DRAM"]
    assert dram == pytest.approx(saved_fj, abs=8 * 640e3 / 32)
    assert packed[name].memory["buffer"] == huffman_coded[name].memory["buffer"]
    *others, decoder = huffman_coded[name].parts
    assert tuple(others) == packed[name].parts
    assert decoder.part == "huffman_decode" and decoder.operations == math.ceil(passes * codes.size)
    alone = circuit_energy(how.circuit, model.technology, decoder_trace(how.circuit, item, 128))
    assert decoder.energy.total == pytest.approx(alone.operation.total * decoder.operations)
    assert huffman_coded[name].total == pytest.approx(
        packed[name].total - dram + alone.operation.total * decoder.operations
    )
    assert all(huffman_coded[other] == packed[other] for other in packed if other != name)


def test_an_exploration_counts_the_energy_of_its_coders(explored, tmp_path_factory, monkeypatch):
    """Of two points that differ in the coders alone, the energy differs by DRAM and decoders, as ``hwsim energy`` says."""
    folder = tiny.write(tmp_path_factory.mktemp("energy"))
    monkeypatch.chdir(folder)
    (folder / "net.py").write_text(MODEL)
    table = explored.bench.study.model_dump(exclude_none=True)
    table["objectives"] = ("accuracy_loss", "energy")
    table["hardware"]["technology"], table["array"] = (
        "open45",
        {"rows": 4, "columns": 4, "dataflow": "output"},
    )
    bench = open_bench(Study.model_validate(table))
    point = next(e.point for e in explored.evaluations if e.point.coders == ("huffman", "huffman"))
    coded, packed = (
        bench.evaluate(0, replace(point, coders=coders)) for coders in (point.coders, ("packed",) * 2)
    )
    assert METRICS["energy"].of(coded) < METRICS["energy"].of(packed)
    for e, coder in ((coded, "huffman"), (packed, "packed")):
        said = network_energy(
            bench.quantized(point),
            data="images.npz",
            accelerator=bench.study.accelerator(),
            cycles=256,
            coder=coder,
        )
        assert METRICS["energy"].of(e) == pytest.approx(said.total_fj / 1e9)
        assert ("huffman_decode" in json.dumps(said.to_json())) == (coder == "huffman")
        part = CODERS[coder]
        assert f"weights cross the bus {coder}: {part} in 2 of 2 layers take" in said.text()


def test_a_study_with_coders_reads_back_equal():
    text = 'title = "T"\nmodel = "digits"\n[space]\ncoders = ["huffman"]\n[space.layers.stem]\ncoders = ["packed"]\n'
    study = Study.model_validate(tomllib.loads(text))
    assert Study.model_validate(tomllib.loads(study.to_toml())) == study
    assert search_space_of(study)["stem"][0].endswith(" packed")


def search_space_of(study):
    from hwsim.models import load_model

    return dict(search_space(study, load_model("digits")).layers)
