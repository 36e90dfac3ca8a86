"""What an exact search was guided by is kept beside what it measured."""

from dataclasses import replace

import pytest

from hwsim.explore.beliefs import beliefs
from hwsim.explore.exploration import explore
from hwsim.explore.space import search_space
from hwsim.explore.study import Study
from hwsim.results import read_results, write_results

STUDY = {
    "title": "t",
    "model": "digits",
    "search": "exact",
    "objectives": ["accuracy_loss", "compression_ratio"],
    "budget": 7,
    "in_flight": 4,
    "data": {"calibration_images": 24, "test_images": 40},
    "space": {"weights": ["int3", "int8"], "activations": [4, 8], "accumulators": ["int32"]},
}


@pytest.fixture(scope="module")
def explored(tmp_path_factory):
    directory = tmp_path_factory.mktemp("exact")
    found = explore(Study.model_validate(STUDY), directory)
    write_results(found, directory)
    return found, read_results(directory)


def space_of(found):
    return replace(search_space(found.bench.study, found.bench.network), bench=found.bench)


def test_every_design_has_a_prediction_and_every_format_a_sensitivity(explored):
    found, results = explored
    held = results.beliefs
    assert set(held.predicted) == {e.point.key() for e in found.evaluations}
    layers = list(found.bench.network.signed_inputs())
    forms = {(s.layer, s.part, s.form.removeprefix("u")) for s in held.sensitivities}
    parts = (("weights", "int3"), ("weights", "int8"), ("input", "int4"), ("input", "int8"))
    assert forms == {(layer, *part) for layer in layers for part in parts}
    worst = {
        form: max(s.divergence for s in held.sensitivities if s.form == form) for form in ("int3", "int8")
    }
    assert worst["int3"] > 10 * worst["int8"]


KNOWN = [0, 0, 0, 0, 2, 2, 4]
"""Designs known when each was proposed: two at a time, all but two before them."""


def test_a_prediction_knows_the_designs_that_its_proposal_knew(explored):
    found, results = explored
    keys = [e.point.key() for e in found.evaluations]
    for count in range(len(keys)):
        wrong = [replace(e, correct=0) for e in found.evaluations[count:]]
        changed = beliefs(space_of(found), [*found.evaluations[:count], *wrong], KNOWN).predicted
        as_before = [changed[key] == results.beliefs.predicted[key] for key in keys]
        assert as_before == [known <= count for known in KNOWN]


def test_a_search_without_a_model_believes_nothing(explored):
    found, _ = explored
    study = found.bench.study.model_copy(update={"search": "evolve"})
    space = space_of(found)
    assert beliefs(replace(space, bench=replace(space.bench, study=study)), found.evaluations, KNOWN) is None
