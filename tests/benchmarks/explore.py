"""How much of a front the explorer finds, on a space of which every design was evaluated.

python tests/benchmarks/explore.py [--quick] [--json] [--build] [--searches]

The space is that of the digits network with six choices of weights and input in each of its five inner layers: 7,776
designs, each evaluated once as `hwsim explore` evaluates it and kept in explore.npz (`--build` evaluates them again, 20
minutes of one core). A search is told what is kept in place of a measurement; ten designs, with `--quick` one,
are evaluated again here and must be as they are kept. Hypervolumes are moocore's, of costs scaled so that the true front spans 0 to 1 in every
objective, up to 1.1: shares are of the true front's. Objectives are the accuracy lost and the gates.

- `exact` after 2% of the evaluations: the least share of ten seeds must be 0.99.
- At as many evaluations `exact` must be ahead of Optuna's NSGA-II, run by Optuna itself with its defaults (a design that it
  proposes again counts once), and of `greedy`, in every one of ten seeds.

- For all four objectives of a study the true front has 334 designs, of which 2% of the evaluations are fewer than half:
  the least share of ten seeds, with `--quick` of one, must be 0.98.

`--searches` prints instead, without a figure to reach, the shares of all searches for two and for all four objectives.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import optuna
from complete_space import CompleteSpace, every_point, searched, space_of

from hwsim.explore.bench import open_bench
from hwsim.explore.evaluation import METRICS, Evaluation, LayerResult, Part, traffic_bytes
from hwsim.explore.searches import SEARCHES
from hwsim.explore.study import Study

KEPT = Path(__file__).with_suffix(".npz")
SEEDS, SHARE, LEAST, LEAST_OF_FOUR = range(10), 0.02, 0.99, 0.98
STUDY = """
title = "Digits: every design of a small space"
model = "digits"
objectives = ["accuracy_loss", "gates"]

[space]
weights = ["int2", "int3", "int4"]
activations = [3, 5]
accumulators = ["int32"]
overflows = ["wrap"]
quantizers = ["activations=aciq_laplace bias_correction=true"]

[space.fixed]
stem = "int8*uint8/int32"
classifier = "int8*uint8/int32"

[hardware]
clock_mhz = 200.0
images_per_second = 200000.0
"""
COLUMNS = ("correct", "gates", "traffic_bytes", "file_bytes")


ALL_FOUR = ("accuracy_loss", "gates", "bandwidth", "compression_ratio")


@functools.cache
def bench():
    return open_bench(Study.model_validate(tomllib.loads(STUDY)))


def figures(e):
    """What is kept of an evaluation."""
    return [e.correct, METRICS["gates"].of(e), traffic_bytes(e), e.file_bytes]


def build():
    """Evaluate every design and keep what was measured."""
    points = every_point(space_of(bench()))
    rows = []
    for number, point in enumerate(points):
        rows.append(figures(bench().evaluate(number, point)))
        if number % 100 == 0:
            print(f"{number} of {len(points)}", file=sys.stderr, flush=True)
    np.savez_compressed(KEPT, **dict(zip(COLUMNS, np.array(rows).T, strict=True)))


class Truth(CompleteSpace):
    """Every design as it was evaluated."""

    def __init__(self, objectives=()):
        with np.load(KEPT) as kept:
            rows = np.stack([kept[name] for name in COLUMNS], axis=1)
        super().__init__(bench(), rows.tolist(), objectives)

    def evaluation(self, point, index):
        """An evaluation with the figures that were kept, all of them in one layer."""
        correct, gates, moved, size = self.rows[point]
        part = Part("all", "", 1, gates, 0, None, None, True)
        layer = LayerResult("all", "", "", "", 0, 0, (part,), int(moved), 0, 0, int(size), 0, 0)
        images, right = len(bench().test), bench().float_correct
        rate = bench().study.hardware.images_per_second
        return Evaluation(
            index, point, int(correct), images, right, self.float32_bytes, int(size), rate, (layer,)
        )

    def holds(self, seed):
        """Whether a design drawn by a seed is evaluated now as it was kept."""
        points = list(self.rows)
        point = points[np.random.default_rng(seed).integers(len(points))]
        return figures(bench().evaluate(0, point)) == self.rows[point]


def by_optuna(truth, seed, budget):
    """The evaluations of Optuna's own NSGA-II: trial after trial, until it has seen as many designs."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        directions=["minimize"] * len(truth.objectives), sampler=optuna.samplers.NSGAIISampler(seed=seed)
    )
    done, where = {}, truth.space
    while len(done) < budget:
        trial = study.ask()
        bits = [trial.suggest_categorical(name, texts) for name, texts in where.layers]
        point = where.point(bits, where.datapaths[0], where.quantizers[0])
        done.setdefault(point, truth.evaluation(point, len(done)))
        study.tell(trial, truth.costs([done[point]])[0].tolist())
    return list(done.values())


def measure(checked, seeds_of_four):
    truth, four = Truth(), Truth(ALL_FOUR)
    budget = int(SHARE * len(truth.rows))
    shares = {"exact": [], "greedy": [], "nsga2 of Optuna": []}
    for seed in SEEDS:
        shares["exact"].append(truth.share(searched(truth, "exact", seed, budget)))
        shares["greedy"].append(truth.share(searched(truth, "greedy", seed, budget)))
        shares["nsga2 of Optuna"].append(truth.share(by_optuna(truth, seed, budget)))
    ours, greedy, optunas = shares.values()
    of_four = [four.share(searched(four, "exact", seed, budget)) for seed in seeds_of_four]
    ratios = {
        "least_share_over_0.99": min(ours) / LEAST,
        "least_share_of_four_objectives_over_0.98": min(of_four) / LEAST_OF_FOUR,
        "least_over_nsga2": min(a / b for a, b in zip(ours, optunas, strict=True)),
        "least_over_greedy": min(a / b for a, b in zip(ours, greedy, strict=True)),
        "kept_as_evaluated": float(all(truth.holds(seed) for seed in range(checked))),
    }
    facts = {
        "designs": len(truth.rows),
        "front": len(truth.front),
        "evaluations": budget,
        "seeds": len(SEEDS),
    }
    return {"ratios": ratios, **facts, "shares": shares, "shares_of_four_objectives": of_four}


def table():
    """The mean and least share of every search at several budgets."""
    for truth in (Truth(), Truth(ALL_FOUR)):
        print(f"{', '.join(truth.objectives)}: {len(truth.front)} designs on the front")
        for name in SEARCHES:
            runs = [searched(truth, name, seed, int(SHARE * len(truth.rows))) for seed in list(SEEDS)[:3]]
            for count in (16, 32, 64, len(runs[0])):
                found = [truth.share(run[:count]) for run in runs]
                print(
                    f"  {name:8} {count:4} evaluations: mean {np.mean(found):.4f}, least {min(found):.4f}",
                    flush=True,
                )


def main():
    options = argparse.ArgumentParser()
    for name in ("quick", "json", "build", "searches"):
        options.add_argument(f"--{name}", action="store_true")
    given = options.parse_args()
    if given.build:
        build()
    if given.searches:
        return table()
    start = time.perf_counter()
    found = measure(1, SEEDS[:1]) if given.quick else measure(10, SEEDS)
    found["seconds"] = round(time.perf_counter() - start, 1)
    print(json.dumps(found) if given.json else json.dumps(found, indent=1))
    low = {
        name: ratio
        for name, ratio in found["ratios"].items()
        if ratio < 1 or (name.startswith("least_over") and ratio == 1)
    }
    return sys.exit(f"below what is asked: {low}" if low else 0)


if __name__ == "__main__":
    main()
