"""Layers that choose together, and layers with choices of their own: in the study file, in searches, in exact fronts."""

import itertools
import tomllib
from dataclasses import replace

import moocore
import numpy as np
import pytest
from scipy.optimize import LinearConstraint, milp

import tiny
from hwsim.bits import LayerBits
from hwsim.cost.compression import compress
from hwsim.cost.traffic import traffic
from hwsim.errors import HwsimError
from hwsim.explore.bench import open_bench, point_bits
from hwsim.explore.exact import guide_of
from hwsim.explore.exploration import explore
from hwsim.explore.searches import SEARCHES
from hwsim.explore.space import search_space
from hwsim.explore.study import Study, read_study
from hwsim.models import load_model
from hwsim.quantize import quantize

GROUPED = """
title = "Digits in groups"
model = "digits"

[space]
weights = ["int2", "int4", "int8"]
activations = [3, 8]
accumulators = ["int32"]
overflows = ["wrap"]

[space.groups]
blocks = ["block?_*"]
edges = ["stem", "classifier"]

[space.layers.edges]
weights = ["int8"]
activations = [8]

[space.layers.conv]
accumulators = ["int16", "int24"]
overflows = ["wrap", "saturate"]
"""


def study(text=GROUPED):
    return Study.model_validate(tomllib.loads(text))


@pytest.fixture(scope="module")
def digits():
    return load_model("digits")


def test_groups_and_own_lists_are_what_the_file_says(digits):
    space = search_space(study(), digits)
    texts = dict(space.layers)
    blocks = [name for name in texts if name.startswith("block")]
    assert len(blocks) == 4
    assert texts["stem"] == ("int8*uint8/int32",) and texts["classifier"] == ("int8*uint8/int32",)
    assert len(texts["conv"]) == 3 * 2 * 2 * 2
    assert {LayerBits.parse(text, signed=False).accumulator.bits for text in texts["conv"]} == {16, 24}
    assert all(len(texts[name]) == 3 * 2 for name in blocks)
    assert space.size == 24 * 6
    assert len({space.ties[list(texts).index(name)] for name in blocks}) == 1
    signed = {LayerBits.parse(text, signed=False).activation.signed for text in texts["conv"]}
    assert signed == {True}  # behind an addition without a ReLU; the tied layers read unsigned tensors


def test_the_study_reads_back_equal_and_an_old_one_has_no_new_key():
    assert Study.model_validate(tomllib.loads(study().to_toml())) == study()
    assert "groups" not in study('title = "T"\nmodel = "digits"').to_toml()


@pytest.mark.parametrize(
    "old, new, sentence",
    [
        (
            '"classifier"]',
            '"block1_*"]',
            'layer "block1_depthwise" is in the groups blocks and edges; a layer',
        ),
        ('"classifier"]', '"head"]', 'space.groups.edges: no layer is called "head"; the network has stem, '),
        ("edges = [", "conv = [", "space.groups.conv has the name of a layer; give the group another one"),
        (
            "[space.layers.edges]",
            "[space.layers.ends]",
            'space.layers names layer "ends"; the network has stem',
        ),
        (
            "[space.layers.edges]",
            "[space.layers.stem]",
            'space.layers names layer "stem", which chooses with group edges; take it out of one',
        ),
        (
            "[space.layers.edges]",
            '[space.fixed]\nconv = "w8a8/int32"\n[space.layers.edges]',
            'layer "conv" has fixed bits and lists to choose from; leave one out',
        ),
        (
            "[space.groups]",
            '[space.fixed]\nstem = "w8a8/int32"\n[space.groups]',
            'space.fixed names layer "stem", which chooses with group edges',
        ),
    ],
)
def test_groups_that_cannot_be_are_refused_in_a_sentence(digits, old, new, sentence):
    assert old in GROUPED
    with pytest.raises(HwsimError) as refused:
        search_space(study(GROUPED.replace(old, new)), digits)
    assert str(refused.value).startswith(sentence)


@pytest.mark.parametrize(
    "old, new, sentence",
    [
        ('["stem", "classifier"]', "[]", "space.groups.edges: a list has one entry or more, not []"),
        (
            "activations = [8]\n",
            "activations = [9]\n",
            "space.layers.edges: activation width 9 is out of range",
        ),
        (
            "activations = [8]\n",
            "activations = [8, 8]\n",
            'space.layers.edges: "8" is listed twice in activations',
        ),
        (
            "activations = [8]\n",
            "activation = [8]\n",
            'unknown key "space.layers.edges.activation"; known: weights',
        ),
    ],
)
def test_lists_that_cannot_be_are_refused_in_a_sentence(tmp_path, old, new, sentence):
    (tmp_path / "s.toml").write_text(GROUPED.replace(old, new))
    with pytest.raises(HwsimError) as refused:
        read_study(tmp_path / "s.toml")
    assert sentence in str(refused.value)


def test_a_uniform_point_gives_a_layer_with_its_own_lists_the_choice_of_the_same_rank(digits):
    space = search_space(study(), digits)
    names = [name for name, _ in space.layers]
    accumulators = [
        dict(zip(names, pattern, strict=True))["conv"].split("/", 1)[1] for pattern in space.patterns
    ]
    assert set(accumulators) == {"int24"}  # the widest, as int32 is the widest of the space
    for pattern in space.patterns:
        assert space.bits(space.places(space.point(pattern, "mac", ""))) == pattern


# Searches


TIED = '\n[space.groups]\nall = ["conv", "out"]\n'
OBJECTIVES = ("accuracy_loss", "gates", "bandwidth", "compression_ratio")


@pytest.fixture(scope="module")
def explored(tmp_path_factory, working_in):
    """Every point of the tiny space, its two layers tied: one reads the signed input, one what a ReLU gives."""
    folder = tiny.write(tmp_path_factory.mktemp("tied"))
    text = (folder / "study.toml").read_text().replace("budget = 10", "budget = 100")
    (folder / "study.toml").write_text(
        text.replace("activations = [4]", "activations = [3, 4]").replace("[hardware]", f"{TIED}\n[hardware]")
    )
    working_in(folder)
    return explore(read_study(folder / "study.toml"), folder / "out")


@pytest.mark.parametrize("name", sorted(SEARCHES))
def test_every_search_visits_tied_layers_together_and_every_point_once(name, explored):
    if name in ("nsga2", "tpe"):
        pytest.importorskip("optuna")
    bench, known = explored.bench, {e.point: e for e in explored.evaluations}
    space = replace(search_space(bench.study, bench.network), bench=bench)
    done = []
    while points := SEARCHES[name](space, list(done), OBJECTIVES, np.random.default_rng([7, len(done)]), 5):
        done += [known[point] for point in points]
    assert len(done) == len({e.point for e in done}) == space.size == 2 * 2 * 3
    for e in done:
        (_, conv), (_, out) = e.point.bits
        assert conv == out.replace("*uint", "*int")


# Exact fronts


COSTS = ("bandwidth", "file_bytes")


@pytest.fixture(scope="module")
def guide():
    given = study(GROUPED.replace(', "int4"', "").replace('"int24"]', '"int32"]'))
    bench = open_bench(given)
    space = replace(search_space(given, bench.network), bench=bench)
    return guide_of(space, ("accuracy_loss", *COSTS))


def factors(guide):
    """Some factors of the loss: that of all is 1, its changes are not 0."""
    found = np.random.default_rng(0).normal(0, 0.1, len(guide.model.features.groups))
    found[0] = 1.0
    return found


def test_the_exact_front_of_groups_is_that_of_every_network_by_itself(guide):
    bench, space = guide.space.bench, guide.space
    every = np.array(list(itertools.product(*map(range, space.counts))))
    assert len(every) == space.size == 64
    costs = []
    for places in every.tolist():
        point = space.point(space.bits(places), "mac", space.quantizers[0])
        network = quantize(bench.network, point_bits(point), bench.calibration)
        moved = sum(
            t.weight_bytes + t.input_bytes + t.output_bytes
            for t in traffic(network, bench.study.memory.value())
        )
        costs.append([moved * bench.study.hardware.images_per_second / 1e6, len(compress(network))])
    priced = guide.prices[0].of(every)
    np.testing.assert_allclose(priced[:, 0], np.array(costs)[:, 0], rtol=1e-12)
    np.testing.assert_allclose(priced[:, 1], np.array(costs)[:, 1], rtol=0.05)  # constants of a requantiser
    loss = np.zeros(len(every))
    for number, (_, table) in enumerate(zip(space.layers, guide.model.features.tables[0], strict=True)):
        loss += (table @ factors(guide))[every[:, space.ties[number]]]
    whole = np.column_stack([priced, loss])
    expected = every[moocore.is_nondominated(whole, keep_weakly=False)]
    assert 5 < len(expected) < len(every)
    found = guide.front(0, factors(guide))
    assert set(map(tuple, found.tolist())) == set(map(tuple, expected.tolist()))


def test_an_integer_program_finds_the_losses_of_the_exact_front_of_groups(guide):
    """A variable for each place of a choice and each entry of a table, linked; HiGHS minimises the loss within both costs."""
    price, space = guide.prices[0], guide.space
    linked, costs = program(price.counts, price.tables)
    losses = np.zeros(len(costs))
    starts = np.concatenate([[0], np.cumsum(price.counts)])
    for number, table in zip(space.ties, guide.model.features.tables[0], strict=True):
        losses[starts[number] : starts[number + 1]] += table @ factors(guide)
    front = guide.front(0, factors(guide))
    sums = np.array([sum(table.of(row[None])[0] for table in price.tables) for row in front])
    for row, bounds in zip(front[::4], sums[::4], strict=True):
        within = LinearConstraint(costs.T, ub=bounds + 1e-6)
        solved = milp(losses, integrality=np.ones(len(costs)), bounds=(0, 1), constraints=[linked, within])
        assert solved.success
        own = sum(losses[starts[number] + place] for number, place in enumerate(row))
        assert solved.fun == pytest.approx(own, rel=1e-6, abs=1e-9)


def program(counts, tables):
    """The constraints that link choices to tables' entries, and each variable's costs: the choices' are 0."""
    starts = np.concatenate([[0], np.cumsum(counts)])
    rows = [
        (range(start, stop), (), 1.0) for start, stop in itertools.pairwise(starts.tolist())
    ]  # of each choice one place
    costs, at = [np.zeros((starts[-1], 2))], int(starts[-1])
    for table in tables:
        cells = np.arange(at, at + table.costs[..., 0].size).reshape(table.costs.shape[:-1])
        costs.append(table.costs.reshape(-1, 2))
        at += cells.size
        rows.append((cells.ravel(), (), 1.0))
        for axis, layers in enumerate(table.axes):
            ((number, own),) = layers
            for one in range(cells.shape[axis]):
                some = starts[number] + np.flatnonzero(np.array(own) == one)
                rows.append((np.take(cells, one, axis).ravel(), some, 0.0))
    matrix = np.zeros((len(rows), at))
    for line, (plus, minus, _) in zip(matrix, rows, strict=True):
        line[list(plus)] += 1
        line[list(minus)] -= 1
    sides = [side for *_, side in rows]
    return LinearConstraint(matrix, sides, sides), np.concatenate(costs)
