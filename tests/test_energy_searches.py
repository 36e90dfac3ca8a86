"""Searches where energy is an objective, on a space of which every design was evaluated."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

SEEDS = range(5)


@pytest.fixture(scope="module")
def benchmark():
    where = Path(__file__).parent / "benchmarks" / "explore_energy.py"
    spec = spec_from_file_location(where.stem, where)
    found = module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(where.parent)  # as where it is run
        spec.loader.exec_module(found)
    return found


def test_exact_finds_the_front_with_a_tenth_of_the_evaluations_and_is_ahead_in_every_seed(benchmark):
    truth = benchmark.Truth(("accuracy_loss", "energy"))
    budget = len(truth.rows) // 10
    for seed in SEEDS:
        ours, *others = (
            truth.share(benchmark.searched(truth, name, seed, budget)) for name in benchmark.CONTENDERS
        )
        assert ours > 0.99
        assert ours > max(others)


def test_energies_are_expected_within_half_a_percent(benchmark):
    truth = benchmark.Truth(("accuracy_loss", "energy"))
    errors = benchmark.expected(truth, benchmark.searched(truth, "exact", 0, 24))
    assert len(errors) == 24
    assert abs(errors).max() < 0.005
