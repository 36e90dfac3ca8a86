"""Optuna's samplers as searches: asked anew each time, and told everything that was measured.

A study of Optuna's is made in memory for every step, so that the search stays a function of what was evaluated; the
genetic sampler finds the generations of its trials as it would have left them. T. Akiba et al., Optuna, KDD 2019,
arXiv 1907.10902; NSGA-II: K. Deb et al., IEEE Transactions on Evolutionary Computation 6, 2002; the multi-objective
tree-structured Parzen estimator: Y. Ozaki et al., GECCO 2020.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.explore.evaluation import METRICS, DesignPoint, Evaluation, Shared
from hwsim.explore.search import SearchSpace, filled

POPULATION = 50
"""Trials of a generation of NSGA-II: Optuna's default."""

_ASKS = 50
"""Proposals for each point wanted, of which only new points count."""


def nsga2(
    space: SearchSpace,
    done: list[Evaluation],
    objectives: tuple[str, ...],
    rng: np.random.Generator,
    count: int,
) -> list[DesignPoint]:
    """Optuna's genetic algorithm NSGA-II."""
    return filled(_asked("nsga2", space, done, objectives, rng, count), space, done, rng, count)


def tpe(
    space: SearchSpace,
    done: list[Evaluation],
    objectives: tuple[str, ...],
    rng: np.random.Generator,
    count: int,
) -> list[DesignPoint]:
    """Optuna's tree-structured Parzen estimator."""
    return filled(_asked("tpe", space, done, objectives, rng, count), space, done, rng, count)


def _asked(
    kind: str,
    space: SearchSpace,
    done: list[Evaluation],
    objectives: tuple[str, ...],
    rng: np.random.Generator,
    count: int,
) -> list[DesignPoint]:
    """Return at most ``count`` new points of a sampler of Optuna's."""
    optuna = _optuna(kind)
    seed = int(rng.integers(2**31))
    samplers = optuna.samplers
    sampler = (
        samplers.NSGAIISampler(population_size=POPULATION, seed=seed)
        if kind == "nsga2"
        else samplers.TPESampler(seed=seed)
    )
    study = optuna.create_study(directions=["minimize"] * len(objectives), sampler=sampler)
    choices = _choices(space)
    distributions = {
        name: optuna.distributions.CategoricalDistribution(given) for name, given in choices.items()
    }
    study.add_trials(
        [
            optuna.trial.create_trial(
                params=_params(space, choices, e.point),
                distributions=distributions,
                values=[METRICS[name].cost(e) for name in objectives],
                system_attrs={"NSGAIISampler:generation": number // POPULATION},
            )
            for number, e in enumerate(done)
        ]
    )
    tried, new = space.tried(done), dict[DesignPoint, None]()
    for _ in range(_ASKS * count):
        if len(new) == count:
            break
        chosen = study.ask(dict(distributions)).params
        places = [chosen.pop(name) for name in choices if name not in Shared._fields]
        point = space.point(space.bits(places), **chosen)
        if point not in tried:
            new[point] = None
    return list(new)


def _optuna(kind: str) -> Any:
    try:
        import optuna
    except ImportError:
        raise HwsimError(f"search \"{kind}\" needs Optuna: pip install 'hwsim[search]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _choices(space: SearchSpace) -> dict[str, tuple[Any, ...]]:
    """Return the parameters of a point by name: the places of its choices, and what its layers share."""
    places = {f"layer {number}": tuple(range(count)) for number, count in enumerate(space.counts)}
    return places | {name: own for name, own in zip(Shared._fields, space.lists, strict=True) if own != ("",)}


def _params(space: SearchSpace, choices: dict[str, Any], point: DesignPoint) -> dict[str, Any]:
    shared = point.shared._asdict()
    every = [*space.places(point), *(shared[name] for name in Shared._fields if name in choices)]
    return dict(zip(choices, every, strict=True))
