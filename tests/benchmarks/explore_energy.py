"""How much of a front the searches find where energy, which only a measurement tells exactly, is an objective.

python tests/benchmarks/explore_energy.py [--build]

The space is that of the digits network with four choices of weights and input in each of four layers: 256 designs, each
evaluated once as `hwsim explore` evaluates it and kept in explore_energy.npz (`--build` evaluates them again, half an hour
of one core). A search is told what is kept in place of a measurement. Printed are the least and mean share of the true front's
hypervolume over ten seeds at several budgets, hypervolumes as in explore.py, and how far the energies that `exact` expected were
from those kept: of the first in flight, and of all others.
"""

from __future__ import annotations

import sys
import tomllib
from functools import cache
from pathlib import Path

import numpy as np
from complete_space import CompleteSpace, every_point, searched, space_of

from hwsim.explore.bench import open_bench
from hwsim.explore.evaluation import METRICS, Evaluation, LayerResult, Part
from hwsim.explore.exact import guide_of
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
BUDGETS, SEEDS = (16, 24, 32, 48), range(10)
CONTENDERS = ("exact", "evolve", "greedy", "nsga2")
OBJECTIVES = (("accuracy_loss", "energy"), ("accuracy_loss", "energy", "gates"))


@cache
def bench():
    return open_bench(Study.model_validate(tomllib.loads(STUDY)))


def build():
    """Evaluate every design; keep right images, gates, and each layer's energy in circuits and memories in pJ."""
    rows = []
    for number, point in enumerate(every_point(space_of(bench()))):
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


class Truth(CompleteSpace):
    """Every design as it was evaluated."""

    def __init__(self, objectives):
        with np.load(KEPT) as kept:
            rows = zip(*(kept[name].tolist() for name in ("correct", "gates", "energies")), strict=True)
            self.layers = kept["layers"].tolist()
        super().__init__(bench(), rows, objectives)

    def evaluation(self, point, index):
        """An evaluation with the figures that were kept, all gates in one layer."""
        correct, gates, energies = self.rows[point]
        parts = {self.layers[0]: (Part("all", "", 1, gates, 0, None, None, True),)}
        layers = (
            LayerResult(
                name,
                "",
                "",
                "",
                0,
                0,
                parts.get(name, ()),
                0,
                0,
                0,
                0,
                0,
                0,
                {"switching": own, "DRAM": memory},
            )
            for name, (own, memory) in zip(self.layers, energies, strict=True)
        )
        images, right = len(bench().test), bench().float_correct
        return Evaluation(index, point, correct, images, right, self.float32_bytes, 1, 1.0, tuple(layers))


def expected(truth, done):
    """How far the energies expected of some evaluations were from theirs, each known when all before its flight were."""
    guide, flight = guide_of(truth.space, truth.objectives), bench().study.in_flight
    place = truth.objectives.index("energy") - 1
    found = []
    for index, e in enumerate(done):
        (price,) = guide.after(done[: max(0, index + 1 - flight)]).prices
        energy = price.of(np.array([truth.space.places(e.point)]))[0, place]
        found.append(energy / METRICS["energy"].of(e) - 1)
    return np.array(found)


def table():
    """Print the shares of every search, and the errors of the energies that were expected."""
    for objectives in OBJECTIVES:
        truth = Truth(objectives)
        print(f"{', '.join(objectives)}: {len(truth.front)} of {len(truth.rows)} designs on the front")
        runs = {name: [searched(truth, name, seed, BUDGETS[-1]) for seed in SEEDS] for name in CONTENDERS}
        for name, of in runs.items():
            shares = {count: [truth.share(run[:count]) for run in of] for count in BUDGETS}
            told = (f"{count}: {min(own):.4f} {np.mean(own):.4f}" for count, own in shares.items())
            print(f"  {name:8} {'   '.join(told)}", flush=True)
        errors = 100 * np.array([expected(truth, run) for run in runs["exact"]])
        flight = bench().study.in_flight
        first, rest = (np.sqrt((part**2).mean()) for part in np.split(errors, [flight], axis=1))
        print(
            f"  energies of the first {flight} {first:.2f}% off, of the others {rest:.2f}% (root mean square)"
        )


if __name__ == "__main__":
    build() if "--build" in sys.argv else table()
