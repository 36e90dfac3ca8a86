"""Prices against evaluations, on networks and spaces that nobody wrote down."""

from dataclasses import replace

import numpy as np
import pytest

import tiny
from hwsim.explore.evaluation import METRICS
from hwsim.explore.exploration import explore
from hwsim.explore.prices import priced_objectives, prices
from hwsim.explore.space import search_space
from hwsim.explore.study import read_study

NORMALISED = tiny.MODEL.replace("Relu\n", "Add, BatchNorm, Relu\n").replace(
    '    build.add("flat"',
    """    both = build.add("both", Add(), "relu", "relu")
    names = ("weight", "bias", "running_mean", "running_var")
    build.add("norm", BatchNorm(), both, **{name: rng.uniform(0.5, 1, 2) for name in names})
    build.add("flat\"""",
)
"""The tiny network with a batch norm that no layer takes in: it is a layer with weights once it is folded."""


def test_a_batch_norm_that_no_layer_takes_in_chooses_its_bits_and_is_priced(
    tmp_path, monkeypatch, synthesis_cache
):
    folder = tiny.write(tmp_path)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HWSIM_CACHE", str(synthesis_cache))
    (folder / "net.py").write_text(NORMALISED)
    text = (
        (folder / "study.toml").read_text().replace('"activations=min_max", "activations=aciq_laplace", ', "")
    )
    (folder / "study.toml").write_text(text)
    found = explore(read_study(folder / "study.toml"), folder / "out")
    assert {tuple(name for name, _ in e.point.bits) for e in found.evaluations} == {("conv", "norm", "out")}
    assert len({e.point for e in found.evaluations}) == 2**3
    names = priced_objectives(("gates", "bandwidth"))
    space = replace(search_space(found.bench.study, found.bench.network), bench=found.bench)
    (price,) = prices(space, names)
    for e in found.evaluations:
        (costs,) = price.of(np.array([space.places(e.point)]))
        assert costs.tolist() == pytest.approx([METRICS[name].cost(e) for name in names])
