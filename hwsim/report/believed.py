"""What guided a search, for the page: how much each format of a layer does alone, and predictions beside measurements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from markupsafe import Markup

from hwsim.explore.explanation import Beliefs, Sensitivity
from hwsim.report.svg import bar, predictions
from hwsim.report.tradeoffs import Row


@dataclass(frozen=True)
class Effect:
    """One format's effect on the network's output, as a distance: the square root of its divergence in nats."""

    found: Sensitivity
    distance: float
    estimated: float
    drawing: Markup


@dataclass(frozen=True)
class LayerEffects:
    """The effects of a layer's formats, those of its weights and of its input apart."""

    layer: str
    weights: tuple[Effect, ...]
    inputs: tuple[Effect, ...]


@dataclass(frozen=True)
class Believed:
    """Layers by their largest effect, and how far predictions were from what was measured, in points.

    ``mean`` and ``median`` are those of the absolute differences, over ``count`` designs; ``energy_percent`` is the mean
    difference of their energies, None where these are no objective.
    """

    beliefs: Beliefs
    layers: tuple[LayerEffects, ...]
    drawing: Markup
    mean: float
    median: float
    count: int
    energy_percent: float | None


def believed(beliefs: Beliefs | None, listed: Sequence[Row]) -> Believed | None:
    """Return what the page shows of a search's beliefs; None where it had none."""
    if beliefs is None:
        return None
    pairs = [
        (beliefs.predicted[row.key], row.values["accuracy_loss"])
        for row in listed
        if row.key in beliefs.predicted
    ]
    errors = [abs(expected - measured) for expected, measured in pairs] or [0.0]
    energies = [
        100 * abs(beliefs.energies[row.key] / row.values["energy"] - 1)
        for row in listed
        if row.key in beliefs.energies
    ]
    return Believed(
        beliefs,
        tuple(_layers(beliefs)),
        predictions(pairs),
        fmean(errors),
        median(errors),
        len(pairs),
        fmean(energies) if energies else None,
    )


def _layers(beliefs: Beliefs) -> list[LayerEffects]:
    longest = max((_distance(s.divergence) for s in beliefs.sensitivities), default=0.0) or 1.0
    found = [
        LayerEffects(
            name,
            *(
                tuple(_effect(s, longest) for s in beliefs.sensitivities if (s.layer, s.part) == (name, part))
                for part in ("weights", "input")
            ),
        )
        for name in dict.fromkeys(s.layer for s in beliefs.sensitivities)
    ]
    return sorted(found, key=lambda layer: -max(e.distance for e in (*layer.weights, *layer.inputs)))


def _effect(found: Sensitivity, longest: float) -> Effect:
    distance = _distance(found.divergence)
    kind = "weights" if found.part == "weights" else "inputs"
    return Effect(found, distance, _distance(found.estimated), bar([(kind, distance)], longest))


def _distance(divergence: float) -> float:
    return math.sqrt(max(0.0, divergence))
