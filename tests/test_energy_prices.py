"""Energy as an objective of the exact search: memories are priced exactly, circuits nearly, and what is measured corrects that."""

from dataclasses import replace

import numpy as np
import pytest

import tiny
from hwsim.errors import HwsimError
from hwsim.explore.energy_prices import refitted
from hwsim.explore.evaluation import METRICS
from hwsim.explore.exploration import explore
from hwsim.explore.prices import prices
from hwsim.explore.space import search_space
from hwsim.explore.study import read_study
from hwsim.explore.workers import workers
from hwsim.report.believed import believed
from hwsim.report.tradeoffs import rows

MEMORIES = ("DRAM", "buffer")


@pytest.fixture(scope="module")
def study(tmp_path_factory, synthesis_cache):
    """The tiny study with an array, two dataflows to choose from and energy among its objectives."""
    folder = tiny.write(tmp_path_factory.mktemp("tiny"))
    text = (folder / "study.toml").read_text()
    text = text.replace("budget = 10", 'budget = 12\nobjectives = ["accuracy_loss", "energy"]')
    text = text.replace('"activations=min_max", "activations=aciq_laplace", ', "").replace("[4]", "[2, 3]")
    text = (
        text.replace('"int3", "int4"', '"int3"')
        .replace("int12", "int8")
        .replace("[space]", '[space]\narrays = ["2x2 weight", "2x2 output"]')
    )
    text = text.replace("[hardware]", '[space.fixed]\nconv = "int3*int3/int8"\n').replace(
        'technology = "gates"', ""
    )
    (folder / "study.toml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HWSIM_CACHE", str(synthesis_cache))
        yield read_study(folder / "study.toml")


@pytest.fixture(scope="module")
def explored(study, tmp_path_factory):
    return explore(study, tmp_path_factory.mktemp("energy"))


@pytest.fixture(scope="module")
def priced(explored):
    space = replace(search_space(explored.bench.study, explored.bench.network), bench=explored.bench)
    return space, prices(space, ("energy",))


def energies(space, known, evaluations):
    """What prices say of the energy of evaluated designs."""
    of = {price.shared: price for price in known}
    return np.array([of[e.point.shared].of(np.array([space.places(e.point)]))[0, 0] for e in evaluations])


def measured(evaluations):
    return np.array([METRICS["energy"].of(e) for e in evaluations])


def test_a_study_of_accuracy_and_energy_is_searched_by_exact(study, explored):
    assert study.search == "exact"
    assert len({e.point for e in explored.evaluations}) == 2 * 2


def test_without_circuits_a_price_is_the_energy_of_the_memories(explored, priced):
    space, known = priced
    none = [
        replace(
            price,
            tables=tuple(
                replace(table, costs=table.costs - estimate[..., None])
                for table, estimate in zip(price.tables, price.circuits, strict=True)
            ),
        )
        for price in known
    ]
    memories = [
        sum(layer.energy_pj.get(name, 0.0) for layer in e.layers for name in MEMORIES) / 1e6
        for e in explored.evaluations
    ]
    np.testing.assert_allclose(energies(space, none, explored.evaluations), memories, rtol=1e-12)


def test_the_energy_of_circuits_is_estimated_within_a_half(explored, priced):
    space, known = priced
    of = {price.shared: price for price in known}
    for e in explored.evaluations:
        price = of[e.point.shared]
        places = price.places(np.array([space.places(e.point)]))
        tables = zip(price.tables, price.circuits, strict=True)
        (estimated,) = sum(replace(table, costs=fj[..., None]).of(places)[:, 0] for table, fj in tables) / 1e3
        parts = (layer.energy_pj.items() for layer in e.layers)
        circuits = sum(pj for own in parts for name, pj in own if name not in MEMORIES)
        assert circuits / 1.5 < estimated < 1.5 * circuits


def scaled(e, factor):
    """An evaluation whose circuits take as many times their energy as ``factor`` says of its array and a layer."""
    layers = (
        replace(
            layer,
            energy_pj={
                name: pj if name in MEMORIES else pj * factor(e.point.array, layer.name)
                for name, pj in layer.energy_pj.items()
            },
        )
        for layer in e.layers
    )
    return replace(e, layers=tuple(layers))


def test_what_is_measured_moves_the_prices_of_what_is_not(explored, priced):
    space, known = priced
    odd = {"2x2 weight": 8.0, "2x2 output": 20.0, "conv": 3.0, "out": 0.5}
    designs = [scaled(e, lambda array, layer: odd[array] * odd.get(layer, 1)) for e in explored.evaluations]
    truth, before = measured(designs), energies(space, known, designs)
    assert np.abs(before / truth - 1).max() > 0.05
    for seen in (designs[::2], designs[1::2]):
        moved = refitted(known, space, ("energy",), 20 * seen)
        after = energies(space, moved, designs)
        assert np.abs(after / truth - 1).max() < np.abs(before / truth - 1).max() / 5


def test_nothing_measured_and_other_objectives_leave_prices_as_they_are(explored, priced):
    space, known = priced
    assert refitted(known, space, ("energy",), []) is known
    others = prices(space, ("buffer_bytes",))
    assert refitted(others, space, ("buffer_bytes",), explored.evaluations) is others


def test_workers_and_an_interruption_change_no_byte(study, explored, tmp_path):
    spread = explore(study, tmp_path / "spread", evaluators=workers(2))
    explore(study.model_copy(update={"budget": 1}), tmp_path / "broken off")
    for other in (spread, explore(study, tmp_path / "broken off")):
        assert other.evaluations == explored.evaluations
        assert other.beliefs == explored.beliefs


def test_how_far_expected_energies_were_off_is_told_beside_the_losses(explored, study):
    found, truth = explored.beliefs.energies, measured(explored.evaluations)
    expected = np.array([found[e.point.key()] for e in explored.evaluations])
    np.testing.assert_allclose(expected, truth, rtol=0.02)
    told = believed(explored.beliefs, rows(explored.evaluations, study.objectives))
    assert told.energy_percent == pytest.approx(100 * np.abs(expected / truth - 1).mean())


def test_an_estimate_refuses_no_constraint(study, tmp_path, monkeypatch):
    bound = {"constraints": {"energy": 1e-9}, "budget": 1}
    assert len(explore(study.model_copy(update=bound), tmp_path).evaluations) == 1
    with pytest.raises(HwsimError, match="no design of the space has gates at most 1"):
        explore(study.model_copy(update={"constraints": {"gates": 1.0}}), tmp_path / "gates")
