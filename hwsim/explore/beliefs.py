"""What an exact search was guided by: its sensitivities, and its predictions before they were measured."""

from __future__ import annotations

from collections.abc import Iterator

from hwsim.explore.accuracy_model import AccuracyModel, accuracy_model
from hwsim.explore.bench import Bench
from hwsim.explore.evaluation import Evaluation
from hwsim.explore.explanation import Beliefs, Sensitivity
from hwsim.explore.exploration import BATCH
from hwsim.explore.search import SearchSpace
from hwsim.explore.sensitivity import of_parts, tried_images
from hwsim.explore.space import search_space

MODELLED = "exact"
"""The search that has a model of the accuracy."""


def beliefs(bench: Bench, evaluations: list[Evaluation]) -> Beliefs | None:
    """Return what guided the evaluations of a bench's study, in their order; None where its search has no model."""
    study = bench.study
    if study.search != MODELLED or not evaluations:
        return None
    space = search_space(study, bench.network)
    model = accuracy_model(bench, space.layers, space.quantizers)
    return Beliefs(
        space.quantizers[0],
        len(tried_images(bench).labels),
        tuple(_sensitivities(bench, space)),
        dict(_predictions(model, evaluations)),
    )


def _sensitivities(bench: Bench, space: SearchSpace) -> Iterator[Sensitivity]:
    for layer, effects in of_parts(bench, dict(space.layers), space.quantizers[0]).items():
        for change, effect in effects.items():
            part, _, form = change.partition(" ")
            divergence, estimated = (float(f"{v:.6g}") for v in (effect.divergence, effect.estimated))
            yield Sensitivity(layer, part, form, divergence, estimated, effect.lost)


def _predictions(model: AccuracyModel, evaluations: list[Evaluation]) -> Iterator[tuple[str, float]]:
    """Yield each design's expected loss under the model of all designs before its batch."""
    rows = model.rows(evaluations)
    for start in range(0, len(evaluations), BATCH):
        batch = slice(start, start + BATCH)
        lost = model.scale.lost(model.believed(evaluations[:start]).expected(rows[batch]))
        for evaluation, images in zip(evaluations[batch], lost.tolist(), strict=True):
            yield evaluation.point.key(), round(100 * images / evaluation.images, 4)
