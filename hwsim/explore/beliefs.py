"""What an exact search was guided by: its sensitivities, and its predictions before they were measured."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hwsim.explore.accuracy_model import AccuracyModel
from hwsim.explore.evaluation import Evaluation
from hwsim.explore.exact import Guide, guide_of
from hwsim.explore.explanation import Beliefs, Sensitivity
from hwsim.explore.inquiry import inquiry_of
from hwsim.explore.prices import priced_objectives
from hwsim.explore.question import Alone
from hwsim.explore.search import BATCH, SearchSpace
from hwsim.explore.sensitivity import tried_images

MODELLED = "exact"
"""The search that has a model of the accuracy."""


def beliefs(space: SearchSpace, evaluations: list[Evaluation]) -> Beliefs | None:
    """Return what guided the evaluations of a space's study, in their order; None where its search has no model or asked none."""
    assert space.bench is not None
    study = space.bench.study
    if study.search != MODELLED or study.budget == 1 or not evaluations:
        return None
    guide = guide_of(space, study.objectives)
    model = guide.model
    quantizer = model.quantizers[0]
    return Beliefs(
        quantizer,
        len(tried_images(space.bench).labels),
        tuple(_sensitivities(space, quantizer)),
        dict(_predictions(model, evaluations)),
        dict(_energies(guide, evaluations)),
    )


def _sensitivities(space: SearchSpace, quantizer: str) -> Iterator[Sensitivity]:
    """Yield what each format does alone; nothing of a quantizer that cannot tell its weights and inputs apart."""
    inquiry = inquiry_of(space).apart()
    for _, answer in inquiry([Alone(quantizer, space.layers, parts=True)]):
        for layer, effects in answer.items():
            for change, effect in effects.items():
                part, _, form = change.partition(" ")
                divergence, estimated = (float(f"{effect[name]:.6g}") for name in ("divergence", "estimated"))
                yield Sensitivity(layer, part, form, divergence, estimated, effect["lost"])


def _predictions(model: AccuracyModel, evaluations: list[Evaluation]) -> Iterator[tuple[str, float]]:
    """Yield each design's expected loss under the model of all designs before its batch."""
    rows = model.rows(evaluations)
    for start in range(0, len(evaluations), BATCH):
        batch = slice(start, start + BATCH)
        lost = model.scale.lost(model.believed(evaluations[:start]).expected(rows[batch]))
        for evaluation, images in zip(evaluations[batch], lost.tolist(), strict=True):
            yield evaluation.point.key(), round(100 * images / evaluation.images, 4)


def _energies(guide: Guide, evaluations: list[Evaluation]) -> Iterator[tuple[str, float]]:
    """Yield each design's energy as it was expected before its batch; nothing where it is no objective."""
    if "energy" not in guide.objectives:
        return
    place = priced_objectives(guide.objectives).index("energy")
    for start in range(0, len(evaluations), BATCH):
        prices = {price.shared: price for price in guide.after(evaluations[:start]).prices}
        for evaluation in evaluations[start : start + BATCH]:
            price, choices = (
                prices.get(evaluation.point.shared),
                np.array([guide.space.places(evaluation.point)]),
            )
            if price is not None and price.within(choices).all():
                yield evaluation.point.key(), float(f"{price.of(choices)[0, place]:.6g}")
