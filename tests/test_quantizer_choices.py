"""Quantizers as choices of a study's layers: measured, priced, searched, explained and written again by hand."""

import csv
import itertools
import shlex
import tomllib
from dataclasses import replace

import numpy as np
import pytest

import tiny
from hwsim.comparison import Difference, compare_points
from hwsim.errors import HwsimError
from hwsim.explore.attempt import Attempt
from hwsim.explore.evaluation import METRICS, Choice, point_texts
from hwsim.explore.exploration import explore
from hwsim.explore.prices import prices
from hwsim.explore.searches import SEARCHES
from hwsim.explore.sensitivity import of_choices, of_parts
from hwsim.explore.space import search_space
from hwsim.explore.study import Study, read_study
from hwsim.network import load
from hwsim.quantize.settings import Settings
from hwsim.results import read_results, write_results

ALL, CONV = (
    ("", "weights=mse"),
    ("bias_correction=full", "activations=aciq_gauss granularity=tensor", "weights=mse"),
)
TEXT = (
    tiny.STUDY.replace('technology = "gates"', 'technology = "open45"')
    .replace('"int3", ', "")
    .replace("int12", "int16")
    .replace(
        '"activations=min_max", "activations=aciq_laplace", "activations=aciq_gauss"', '"activations=min_max"'
    )
    .replace(
        "[hardware]",
        f"layer_quantizers = {list(ALL)}\n[space.layers.conv]\nquantizers = {list(CONV)}\n\n[hardware]",
    )
)
NAMES = ("accuracy_loss", "gates", "bandwidth", "compression_ratio")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, working_in):
    folder = tiny.write(tmp_path_factory.mktemp("quantizers"))
    (folder / "study.toml").write_text(TEXT)
    return working_in(folder)


@pytest.fixture(scope="module")
def explored(folder):
    """All six designs, with their report."""
    found = explore(read_study(folder / "study.toml"), folder / "out")
    write_results(found, folder / "out")
    return found


def space_of(explored):
    return replace(search_space(explored.bench.study, explored.bench.network), bench=explored.bench)


def test_a_layer_chooses_from_its_own_list_and_others_from_that_of_all(explored):
    assert {e.point.layer_quantizers for e in explored.evaluations} == set(itertools.product(CONV, ALL))
    for e in explored.evaluations:
        assert [layer.own_quantizer for layer in e.layers if layer.bits] == list(e.point.layer_quantizers)
        assert [Choice.parse(text).quantizer for text in point_texts(e.point)] == list(
            e.point.layer_quantizers
        )


def test_a_quantizer_that_all_layers_choose_measures_as_the_design_s_does(explored):
    bench = explored.bench
    (chosen,) = (e for e in explored.evaluations if set(e.point.layer_quantizers) == {"weights=mse"})
    whole = replace(chosen.point, layer_quantizers=(), quantizer="activations=min_max weights=mse")
    expected = bench.evaluate(chosen.index, whole)
    plain = (replace(layer, own_quantizer="") for layer in chosen.layers)
    assert replace(chosen, point=whole, layers=tuple(plain)) == expected


def test_prices_are_those_of_the_evaluations(explored):
    """With a full correction the convolution has a second sum, whose circuits and masks count."""
    space = space_of(explored)
    (price,) = prices(space, NAMES[1:])
    for e in explored.evaluations:
        (costs,) = price.costs(sum(table.of(np.array([space.places(e.point)])) for table in price.tables))
        assert costs.tolist() == pytest.approx([METRICS[name].cost(e) for name in NAMES[1:]], rel=1e-12)
    gates = {e.point.layer_quantizers[0]: METRICS["gates"].of(e) for e in explored.evaluations}
    assert gates[CONV[0]] > gates[CONV[1]] == gates[CONV[2]]


@pytest.mark.parametrize("name", sorted(SEARCHES))
def test_every_search_visits_every_design_that_it_reaches_once(name, explored):
    if name in ("nsga2", "tpe"):
        pytest.importorskip("optuna")
    space, known, done = space_of(explored), {e.point: e for e in explored.evaluations}, []
    while points := SEARCHES[name](space, list(done), NAMES, np.random.default_rng([7, len(done)]), 4):
        done += [known[point] for point in points]
    assert len(done) == len({e.point for e in done}) == space.reach(name)


def test_what_a_choice_does_alone_is_what_its_quantizer_does(explored):
    bench, layers = explored.bench, dict(space_of(explored).layers)
    found = of_choices(bench, layers, "activations=min_max")["conv"]
    for text, own in zip(layers["conv"], CONV, strict=True):
        plain = Choice.parse(text).bits
        whole = str(Settings.parse("activations=min_max").of_layer(own))
        assert found[text] == of_choices(bench, {"conv": (plain,)}, whole)["conv"][plain]
    assert len({effect.divergence for effect in found.values()}) == 3
    assert list(of_parts(bench, layers, "activations=min_max")["conv"]) == [
        "weights int4 bias_correction=full",
        "weights int4 granularity=tensor",
        "weights int4 weights=mse",
        "input int4",
        "input int4 activations=aciq_gauss",
    ]


def test_tables_pages_and_comparisons_name_the_quantizer(explored, folder):
    with (folder / "out/evaluations.csv").open() as file:
        bits = {row["key"]: row["bits"] for row in csv.DictReader(file)}
    page = (folder / "out/index.html").read_text()
    for e in explored.evaluations:
        conv, out = (
            f"{name} {text}" for (name, _), text in zip(e.point.bits, point_texts(e.point), strict=True)
        )
        assert bits[e.point.key()] == f"{conv}; {out}"
    for e in explored.front:
        assert f"convolution · {e.point.layer_quantizers[0]}</small>" in page
    assert read_results(folder / "out").evaluations == explored.evaluations
    first, second = (
        next(e for e in explored.evaluations if e.point.layer_quantizers == (own, ALL[0])) for own in CONV[:2]
    )
    (conv,) = (layer for layer in compare_points(first, second, NAMES).layers if layer.layer == "conv")
    assert Difference("quantizer", *CONV[:2]) in conv.differences


def test_an_attempt_is_read_back_equal(explored):
    for e in explored.evaluations:
        made = Attempt(e.point, e, 1.0)
        assert Attempt.from_text(made.to_text()) == made


def test_the_command_of_a_design_writes_it_again(explored, folder):
    e = explored.front[0]
    command = read_results(folder / "out").facts.rebuild[e.point.key()].partition(" && ")[0]
    done = tiny.hwsim(*shlex.split(command)[1:], cwd=folder, HWSIM_CACHE=str(folder / "cache"))
    assert done.returncode == 0, done.stderr
    assert load(folder / "net.safetensors").digest() == explored.bench.quantized(e.point).digest()


def test_a_study_with_quantizers_of_layers_reads_back_equal_and_one_without_has_no_new_key():
    study = Study.model_validate(tomllib.loads(TEXT))
    assert Study.model_validate(tomllib.loads(study.to_toml())) == study
    assert "layer_quantizers" not in Study(title="T", model="digits").to_toml()


@pytest.mark.parametrize(
    "old, new, sentence",
    [
        (
            '"weights=mse"]\n[space.layers',
            '"weights=mse", ""]\n[space.layers',
            'space: "" is listed twice in layer_quantizers',
        ),
        ("granularity=tensor", "placement=half", "a layer's quantizer sets no placement, which is the whole"),
        ("granularity=tensor", "granularity=row", 'unknown granularity "row"; known: channel, tensor'),
        ('["bias', '["elementwise=4", "bias', "a layer's quantizer sets no elementwise, which is the whole"),
    ],
)
def test_quantizers_that_no_layer_can_have_are_refused_in_a_sentence(tmp_path, old, new, sentence):
    text = TEXT.replace("'", '"')
    assert old in text
    (tmp_path / "s.toml").write_text(text.replace(old, new))
    with pytest.raises(HwsimError) as refused:
        read_study(tmp_path / "s.toml")
    assert sentence in str(refused.value)


def test_quantizers_that_do_not_go_with_the_design_s_are_refused_before_anything_is_measured(explored):
    space = explored.bench.study.space.model_copy(update={"quantizers": ("placement=half",)})
    study = explored.bench.study.model_copy(update={"space": space})
    with pytest.raises(
        HwsimError, match="bias_correction=full adds sums of inputs where integers are rounded"
    ):
        search_space(study, explored.bench.network)
