"""What an exact search was guided by: its sensitivities, and its predictions before they were measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from hwsim.explore.accuracy_model import AccuracyModel
from hwsim.explore.evaluation import Evaluation
from hwsim.explore.exact import Guide, guide_of
from hwsim.explore.explanation import Beliefs, Sensitivity
from hwsim.explore.prices import priced_objectives
from hwsim.explore.question import Alone
from hwsim.explore.search import SearchSpace
from hwsim.explore.sensitivity import tried_images

MODELLED = "exact"
"""The search that has a model of the accuracy."""


def beliefs(space: SearchSpace, evaluations: list[Evaluation], known: Sequence[int]) -> Beliefs | None:
    """Return what guided the evaluations of a space's study; None where its search has no model or asked none.

    ``known`` is, for each of them in their order, how many were known when it was proposed.
    """
    assert space.bench is not None
    study = space.bench.study
    if study.search != MODELLED or study.budget == 1 or not evaluations:
        return None
    guide = guide_of(space, study.objectives)
    model, proposals = guide.model, _proposals(evaluations, known)
    quantizer = model.quantizers[0]
    return Beliefs(
        quantizer,
        len(tried_images(space.bench).labels),
        tuple(_sensitivities(space, quantizer)),
        dict(_predictions(model, proposals)),
        dict(_energies(guide, proposals)),
    )


def _sensitivities(space: SearchSpace, quantizer: str) -> Iterator[Sensitivity]:
    """Yield what each format does alone; nothing of a quantizer that cannot tell its weights and inputs apart."""
    inquiry = space.answers.apart()
    for _, answer in inquiry([Alone(quantizer, space.layers, parts=True)]):
        for layer, effects in answer.items():
            for change, effect in effects.items():
                part, _, form = change.partition(" ")
                divergence, estimated = (float(f"{effect[name]:.6g}") for name in ("divergence", "estimated"))
                yield Sensitivity(layer, part, form, divergence, estimated, effect["lost"])


_Proposals = list[tuple[list[Evaluation], list[Evaluation]]]
"""Designs that were proposed at a time, behind those that were known then."""


def _proposals(evaluations: list[Evaluation], known: Sequence[int]) -> _Proposals:
    groups = groupby(zip(known, evaluations, strict=True), key=lambda pair: pair[0])
    return [(evaluations[:count], [evaluation for _, evaluation in group]) for count, group in groups]


def _predictions(model: AccuracyModel, proposals: _Proposals) -> Iterator[tuple[str, float]]:
    """Yield each design's expected loss under the model of the designs known when it was proposed."""
    for known, proposed in proposals:
        lost = model.scale.lost(model.believed(known).expected(model.rows(proposed)))
        for evaluation, images in zip(proposed, lost.tolist(), strict=True):
            yield evaluation.point.key(), round(100 * images / evaluation.images, 4)


def _energies(guide: Guide, proposals: _Proposals) -> Iterator[tuple[str, float]]:
    """Yield each design's energy as it was expected when it was proposed; nothing where it is no objective."""
    if "energy" not in guide.objectives:
        return
    place = priced_objectives(guide.objectives).index("energy")
    for known, proposed in proposals:
        then = guide.after(known)
        for evaluation in proposed:
            for branch, choices in then.priced([evaluation.point]):
                energy = then.prices[branch].of(np.array([choices]))[0, place]
                yield evaluation.point.key(), float(f"{energy:.6g}")
