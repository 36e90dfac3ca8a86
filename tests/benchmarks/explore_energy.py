"""How much of a front the searches find where energy, which is measured alone, is an objective.

python tests/benchmarks/explore_energy.py [--build]

The space is that of the digits network with four choices of weights and input in each of four layers: 256 designs, each
evaluated once as `hwsim explore` evaluates it and kept in explore_energy.npz (`--build` evaluates them again, half an hour
of one core). A search is told what is kept in place of a measurement. Printed are the mean and least share of the true front's
hypervolume over ten seeds at several budgets, as in explore.py, for the accuracy lost and the energy and for the gates beside
both; and how far from the measured energy the estimate was before each batch.
"""

from __future__ import annotations

import itertools
import sys
import tomllib
from dataclasses import replace
from functools import cache
from pathlib import Path

import moocore
import numpy as np

from hwsim.explore.bench import open_bench
from hwsim.explore.evaluation import METRICS, Evaluation, LayerResult, Part
from hwsim.explore.search import BATCH, SEARCHES
from hwsim.explore.space import search_space
from hwsim.explore.study import Study

KEPT = Path(__file__).with_suffix(".npz")
STUDY = """
title = "Digits: energy of every design of a small space"
model = "digits"
objectives = ["accuracy_loss", "energy"]

[space]
weights = ["int2", "int4"]
activations = [3, 5]
accumulators = ["int20"]
overflows = ["wrap"]
quantizers = ["activations=aciq_laplace bias_correction=true"]

[space.fixed]
stem = "int6*uint8/int20"
block1_depthwise = "int5*uint5/int20"
classifier = "int5*uint8/int20"

[array]
rows = 8
columns = 8

[memory]
buffer_bytes = 16384
"""
MEMORIES = ("DRAM", "buffer")
BUDGETS, SEEDS = (8, 16, 24, 32, 48), range(10)


@cache
def bench():
    return open_bench(Study.model_validate(tomllib.loads(STUDY)))


def space():
    return replace(search_space(bench().study, bench().network), bench=bench())


def every_point():
    found = space()
    choices = (texts for _, texts in found.layers)
    return [found.point(bits, *found.shared[0]) for bits in itertools.product(*choices)]


def build():
    """Evaluate every design; keep right images, gates, and each layer's energy in circuits and memories in pJ."""
    rows = []
    for number, point in enumerate(every_point()):
        e = bench().evaluate(0, point, threads=1)
        rows.append((e.correct, METRICS["gates"].of(e), {layer.name: split(layer) for layer in e.layers}))
        print(f"{number + 1} evaluated", file=sys.stderr, flush=True)
    names = sorted({name for *_, energies in rows for name in energies})
    np.savez_compressed(
        KEPT,
        correct=[correct for correct, *_ in rows],
        gates=[gates for _, gates, _ in rows],
        energies=[[energies.get(name, (0.0, 0.0)) for name in names] for *_, energies in rows],
        layers=names,
    )


def split(layer):
    """The energy of a layer's circuits and of its memories."""
    memory = sum(layer.energy_pj.get(name, 0.0) for name in MEMORIES)
    return sum(layer.energy_pj.values()) - memory, memory


if __name__ == "__main__":
    if "--build" in sys.argv:
        build()
