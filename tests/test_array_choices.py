"""Arrays and buffers as choices of a space: their figures are those of the commands, every search finds them all."""

import csv
import hashlib
import itertools
import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest

import tiny
from hwsim import cli
from hwsim.bits import LayerBits
from hwsim.comparison import compare_points
from hwsim.cost.array import composed_cost
from hwsim.cost.memory.hierarchy import Accelerator, Array, Hierarchy
from hwsim.datapath.output_stationary_array import OutputStationaryArray
from hwsim.datapath.weight_stationary_array import WeightStationaryArray
from hwsim.errors import HwsimError
from hwsim.explore.constraints import refuse_contradictions
from hwsim.explore.evaluation import METRICS, DesignPoint, pareto_front
from hwsim.explore.exploration import explore
from hwsim.explore.front import nondominated, pareto_merge
from hwsim.explore.prices import prices
from hwsim.explore.searches import SEARCHES
from hwsim.explore.space import search_space
from hwsim.explore.study import read_study
from hwsim.formats import Int
from hwsim.results import write_results
from hwsim.steps.traffic import memory_traffic

ARRAYS = {"2x2 weight": Array(2, 2, "weight"), "3x1 output": Array(3, 1, "output")}
BUFFERS = {"64B": (64,), "1KiB 32B": (1024, 32)}
OBJECTIVES = ("accuracy_loss", "latency", "bandwidth", "buffer_bytes", "array_gates")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, working_in):
    """The tiny study with two arrays and two pairs of buffers to choose from."""
    folder = tiny.write(tmp_path_factory.mktemp("tiny"))
    text = (folder / "study.toml").read_text()
    text = text.replace("budget = 10", f"budget = 100\nobjectives = {list(OBJECTIVES)}")
    text = text.replace("[space]", f"[space]\narrays = {list(ARRAYS)}\nbuffers = {list(BUFFERS)}")
    text = (
        text.replace('"activations=min_max", "activations=aciq_laplace", ', "")
        .replace("[4]", "[3, 4]")
        .replace('"int3", ', "")
    )
    (folder / "study.toml").write_text(text + "\n[memory]\nburst_bits = 32\nbus_bits = 8\n")
    return working_in(folder)


@pytest.fixture(scope="module")
def explored(folder):
    """Every design of the space."""
    return explore(read_study(folder / "study.toml"), folder / "out")


@pytest.fixture(scope="module")
def report(explored, folder):
    write_results(replace(explored, evaluations=explored.evaluations[:1]), folder / "out")
    return folder / "out"


def space_of(explored):
    return replace(search_space(explored.bench.study, explored.bench.network), bench=explored.bench)


def test_every_array_is_tried_with_every_buffers(explored):
    points = {e.point for e in explored.evaluations}
    places = {(point.array, point.buffers) for point in points}
    assert places == set(itertools.product(ARRAYS, BUFFERS))
    assert len(points) == len(explored.evaluations) == space_of(explored).size == 2**4


def test_figures_are_those_of_the_traffic_command_for_the_same_array_and_buffers(explored):
    for e in explored.evaluations:
        hierarchy = Hierarchy(BUFFERS[e.point.buffers], bus_bits=8, burst_bytes=4)
        network = explored.bench.quantized(e.point)
        found = memory_traffic(network, Accelerator(ARRAYS[e.point.array], hierarchy), clock_mhz=500.0)
        assert METRICS["latency"].of(e) == pytest.approx(1e6 / found.images_per_second)
        assert METRICS["bandwidth"].of(e) == pytest.approx(found.dram_bytes * e.images_per_second / 1e6)
        assert METRICS["buffer_bytes"].of(e) == sum(BUFFERS[e.point.buffers])


def test_a_design_with_the_tables_of_a_place_costs_what_it_costs_where_it_chose_the_place(explored, folder):
    """[array] and [memory] on the one side, the lists of the space on the other: one idea."""
    of = {e.point: e for e in explored.evaluations}
    text = (folder / "study.toml").read_text()
    text = re.sub(r"arrays = .*\nbuffers = .*\n", "", text).replace("[memory]", "[memory]\nbuffer_bytes = 64")
    (folder / "tables.toml").write_text(text + '[array]\nrows = 3\ncolumns = 1\ndataflow = "output"\n')
    study = read_study(folder / "tables.toml").model_copy(update={"budget": 5})
    for e in explore(study, folder / "tables").evaluations:
        assert e.point.array == e.point.buffers == ""
        same = of[replace(e.point, array="3x1 output", buffers="64B")]
        assert replace(same, point=e.point, index=e.index) == e


def test_a_point_without_places_has_the_key_it_always_had():
    """The digest of the three fields that a point had before there were more."""
    point = DesignPoint((("a", "int4*uint4/int16"),), "mac", "q")
    text = '{"bits": [["a", "int4*uint4/int16"]], "datapath": "mac", "quantizer": "q"}'
    assert point.key() == hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    assert (
        len({point.key(), replace(point, array="1x1 weight").key(), replace(point, buffers="1KiB").key()})
        == 3
    )


def test_prices_are_those_of_the_evaluations_at_every_place(explored):
    space, names = space_of(explored), OBJECTIVES[1:]
    of = {price.shared: price for price in prices(space, names)}
    assert len(of) == 4
    for e in explored.evaluations:
        price = of[e.point.shared]
        (costs,) = price.of(np.array([space.places(e.point)]))
        assert costs.tolist() == pytest.approx([METRICS[name].cost(e) for name in names], rel=1e-12)


def test_the_exact_front_of_the_costs_is_that_of_all_designs(explored):
    names = OBJECTIVES[1:]
    merged = [
        price.costs(pareto_merge(price.counts, price.tables).costs)
        for price in prices(space_of(explored), names)
    ]
    every = np.concatenate(merged)
    front = {tuple(np.round(row, 9)) for row in every[nondominated(every)]}
    costs = [[METRICS[name].cost(e) for name in names] for e in pareto_front(explored.evaluations, names)]
    assert front == {tuple(np.round(row, 9)) for row in costs}


@pytest.mark.parametrize("name", sorted(SEARCHES.keys() - {"tpe"}))  # which asks as nsga2 does, and slowly
def test_a_search_chooses_places_and_visits_every_design_once(name, explored):
    if name == "nsga2":
        pytest.importorskip("optuna")
    space, known, done = space_of(explored), {e.point: e for e in explored.evaluations}, []
    while len(done) < 100:
        rng = np.random.default_rng([7, len(done)])
        points = SEARCHES[name](space, list(done), OBJECTIVES, rng, 8)
        if not points:
            break
        done += [known[point] for point in points]
    assert len(done) == len({e.point for e in done}) == space.reach(name)
    assert {(e.point.array, e.point.buffers) for e in done} == set(itertools.product(ARRAYS, BUFFERS))


def test_bounds_that_no_place_keeps_are_refused(explored):
    def bounded(**bounds):
        study = explored.bench.study.model_copy(update={"constraints": bounds})
        refuse_contradictions(replace(space_of(explored), bench=replace(explored.bench, study=study)))

    fastest = min(METRICS["latency"].of(e) for e in explored.evaluations if e.point.buffers == "64B")
    bounded(buffer_bytes=64.0, latency=fastest)
    smallest = min(METRICS["array_gates"].of(e) for e in explored.evaluations)
    bounded(array_gates=smallest)
    with pytest.raises(HwsimError, match="no design of the space has array_gates at most"):
        bounded(array_gates=0.99 * smallest)
    with pytest.raises(HwsimError, match="no design of the space has buffer_bytes at most 63"):
        bounded(buffer_bytes=63.0)
    with pytest.raises(HwsimError, match="no design of the space has latency at most"):
        bounded(buffer_bytes=64.0, latency=0.99 * fastest)


def test_an_array_of_more_formats_than_are_synthesised_beforehand_is_refused_by_name_and_bounded_by_none(
    folder, explored
):
    text = (folder / "study.toml").read_text().replace('"int12"', '"int12", "int16", "int20"')
    text = text.replace('"int4"', '"int2", "int4", "int8", "pow2x3"').replace("[3, 4]", "[2, 3, 4, 6, 8]")
    (folder / "many.toml").write_text(f"{text}\n[constraints]\narray_gates = 1\n")
    study = read_study(folder / "many.toml")
    bench = replace(explored.bench, study=study)
    space = replace(search_space(study, bench.network), bench=bench)
    with pytest.raises(
        HwsimError, match=r"array_gates has prices where the widest formats .* one of at most 128"
    ):
        prices(space, ("array_gates",))
    refuse_contradictions(space)


def test_tables_pages_and_commands_name_the_place(report, explored, monkeypatch, capsys):
    rows = list(csv.DictReader((report / "evaluations.csv").read_text().splitlines()))
    assert [(r["array"], r["buffers"]) for r in rows] == [
        (e.point.array, e.point.buffers) for e in explored.evaluations[:1]
    ]
    page = (report / "index.html").read_text()
    for e in explored.evaluations[:1]:
        assert f'<p class="what">mac {e.point.array} {e.point.buffers} · ' in page
        size, dataflow = e.point.array.split()
        sizes = ",".join(map(str, BUFFERS[e.point.buffers]))
        assert f"--array {size} --dataflow {dataflow} --buffer {sizes} --bus 8 --burst 4" in page
    assert "Traffic: the array that a point names, the buffers that it names" in page
    monkeypatch.setattr(sys, "argv", ["hwsim", "explore", "study.toml", "--dry-run", "--json"])
    with pytest.raises(SystemExit):
        cli.main()
    assert json.loads(capsys.readouterr().out)["space"] == len(explored.evaluations)


def test_points_of_two_places_differ_in_them(explored):
    first, *others = explored.evaluations
    same = replace(first.point, array="", buffers="")
    second = next(
        e
        for e in others
        if replace(e.point, array="", buffers="") == same and e.point.array != first.point.array
    )
    assert {d.what for d in compare_points(first, second, OBJECTIVES).choices} <= {"array", "buffers"}
    assert "latency" in {d.what for d in compare_points(first, second, OBJECTIVES).metrics}


def test_the_array_has_the_gates_of_one_whose_elements_are_as_wide_as_the_widest_layer(explored, report):
    """The layers' inputs are signed and not: of 3 or 4 bits, both are those of a signed element of up to 5."""
    grids = {"weight": WeightStationaryArray, "output": OutputStationaryArray}
    for e in explored.evaluations:
        first, second = (LayerBits.parse(text, signed=False).activation for _, text in e.point.bits)
        assert first.signed and not second.signed
        size, activation = ARRAYS[e.point.array], Int(max(first.bits, second.bits + 1))
        array = grids[size.dataflow](Int(4), activation, Int(12), size.rows, size.columns)
        alone = composed_cost(array, "gates")
        assert METRICS["array_gates"].of(e) == pytest.approx(alone.nand2_equivalents, abs=0.01)
        assert [name for name, _ in e.parts].count("array") == len(e.array.elements) == len(array.elements)
    page = (report / "index.html").read_text()
    assert all(part.circuit in page for part in explored.evaluations[0].array.elements)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            '[space]\narrays = ["8x"]',
            '"8x" is no array; write rows x columns and what stays in it: 8x8 weight',
        ),
        ('[space]\narrays = ["8x8"]', '"8x8" is no array; write rows x columns and what stays in it'),
        ('[space]\narrays = ["8x8 rows"]', 'unknown dataflow "rows"; known: weight, output, input'),
        ('[space]\narrays = ["0x8 weight"]', "an array has 1 to 65536 rows"),
        ('[space]\narrays = ["8x8 weight", "8x8 weight"]', '"8x8 weight" is listed twice in arrays'),
        ('[array]\n[space]\nbuffers = ["2 KB"]', '"2 KB" names no buffers; write one size or two'),
        ('[array]\n[space]\nbuffers = ["1B 1B 1B"]', '"1B 1B 1B" names no buffers; write one size or two'),
        ('[array]\n[space]\nbuffers = ["1KiB", "1024"]', "two of the buffers 1KiB, 1024 are the same"),
        ('[array]\n[space]\nbuffers = ["1KiB 2KiB"]', "inner buffer of 2048 bytes is larger than the outer"),
        ('[space]\nbuffers = ["1KiB"]', r"space.buffers are those of an array; add an \[array\] table"),
        ('[array]\nrows = 4\n[space]\narrays = ["8x8 weight"]', "array.rows is chosen from the lists"),
        (
            '[array]\n[memory]\nbuffer_bytes = 99\n[space]\nbuffers = ["1KiB"]',
            "memory.buffer_bytes is chosen from the lists of the space; leave one out",
        ),
        ('objectives = ["latency"]', r"latency is that of an array; add an \[array\] table or space.arrays"),
        (
            'objectives = ["array_area"]\n[array]\n[hardware]\ntechnology = "gates"',
            "technology gates has no array_area; choose open45",
        ),
        ("[constraints]\nbuffer_bytes = 5", "buffer_bytes is that of an array; add an"),
        (
            'objectives = ["latency"]\n[array]\n[space]\ncoders = ["huffman"]',
            "latency counts no decoders; leave the coders out",
        ),
        (
            'objectives = ["energy"]\n[space]\narrays = ["8x8 weight", "8x8 input"]',
            'unknown dataflow of an energy "input"',
        ),
    ],
)
def test_a_place_that_cannot_be_is_refused_in_one_sentence(tmp_path, text, sentence):
    (tmp_path / "s.toml").write_text(f'title = "T"\nmodel = "digits"\n{text}\n')
    with pytest.raises(HwsimError, match=sentence):
        read_study(tmp_path / "s.toml")


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        ('arrays = ["2x2 input"]', 'unknown dataflow of an array\'s circuit "input"; known: weight, output'),
        (
            'arrays = ["2x2 weight"]\ndatapaths = ["bit_serial_mac"]\nweights = ["int4"]\noverflows = ["wrap"]',
            "an array has no elements that work as BitSerialMac.*; leave that datapath out, or array_gates",
        ),
        ('arrays = ["9999x2 weight"]', "an array has 1 to 4096 rows and columns, not 9999 x 2"),
    ],
)
def test_an_array_without_a_circuit_is_refused_where_its_gates_are_asked_for(
    folder, explored, space, sentence
):
    text = f'title = "T"\nmodel = "net.py:net"\nobjectives = ["array_gates"]\n[space]\n{space}\n'
    (folder / "none.toml").write_text(text)
    with pytest.raises(HwsimError, match=sentence):
        search_space(read_study(folder / "none.toml"), explored.bench.network)
    (folder / "none.toml").write_text(text.replace("array_gates", "latency"))
    assert search_space(read_study(folder / "none.toml"), explored.bench.network).size


def test_buffers_that_hold_no_tile_of_a_layer_are_refused(folder, explored):
    text = (folder / "study.toml").read_text().replace("'64B'", "'4B'")
    (folder / "small.toml").write_text(text)
    with pytest.raises(
        HwsimError, match=r'buffers "4B" hold no tile of layer ".*", the smallest takes 5 bytes'
    ):
        search_space(read_study(folder / "small.toml"), explored.bench.network)
