"""How much each choice of a layer's bits changes a network's output by itself, measured and estimated."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from hwsim import cache
from hwsim.bits import LayerBits
from hwsim.catalogue import file_digest
from hwsim.data import Split
from hwsim.explore.evaluation import Choice
from hwsim.quantize.alone import Change, Effect, effects
from hwsim.quantize.calibrate import Progress
from hwsim.quantize.settings import Settings

if TYPE_CHECKING:
    from hwsim.explore.bench import Bench

SENSITIVITY_VERSION = 1
"""Raised whenever an effect of an unchanged layer on unchanged images would change."""

_WORK, _FEWEST = 1 << 31, 16
"""Multiply-accumulates of the images that choices are tried on, and how many images these are at least."""

Choices = Mapping[str, Iterable[str]]
"""The LayerBits texts that each layer may have."""

Effects = dict[str, dict[str, Effect]]
"""What each choice does, by layer and text."""


def of_choices(bench: Bench, choices: Choices, quantizer: str, progress: Progress | None = None) -> Effects:
    """Return the effect of each choice of each layer, the other layers in float, on images of the calibration split.

    What was measured once is kept in the user's cache folder.
    """
    changes = {name: {text: Change.of(*_chosen(text)) for text in texts} for name, texts in choices.items()}
    return _measured(bench, changes, quantizer, progress)


def of_parts(bench: Bench, choices: Choices, quantizer: str, progress: Progress | None = None) -> Effects:
    """Return the effects of each layer's weight formats and activation formats apart, all else in float."""
    changes: dict[str, dict[str, Change]] = {}
    for name, texts in choices.items():
        given = list(map(_chosen, texts))
        of_weights = ((b.weight, _words(own, of_input=False)) for b, own in given)
        of_inputs = ((b.activation, _words(own, of_input=True)) for b, own in given)
        changes[name] = {f"weights {w} {q}".rstrip(): Change(weight=w, quantizer=q) for w, q in of_weights}
        changes[name] |= {
            f"input {a} {q}".rstrip(): Change(activation=a.bits, quantizer=q) for a, q in of_inputs
        }
    return _measured(bench, changes, quantizer, progress)


def _chosen(text: str) -> tuple[LayerBits, str]:
    """Return the bits and the quantizer of its own that a layer chooses."""
    choice = Choice.parse(text)
    return LayerBits.parse(choice.bits, signed=False), choice.quantizer


def _words(quantizer: str, of_input: bool) -> str:
    """Return what a quantizer's text says of the input, or of the weights."""
    own = ("activation", "tolerance", "percent") if of_input else ("activation", "tolerance")
    return " ".join(word for word in quantizer.split() if word.startswith(own) == of_input)


def tried_images(bench: Bench) -> Split:
    """Return the images that choices are tried on: the whole calibration split, or fewer where a network is large."""
    macs = max(1, sum(layer.macs for layer in bench.network.layers))
    return bench.calibration_split.part(slice(max(_FEWEST, _WORK // macs)))


def _measured(
    bench: Bench, changes: Mapping[str, Mapping[str, Change]], quantizer: str, progress: Progress | None
) -> Effects:
    images, settings = tried_images(bench), Settings.parse(quantizer)
    quantizers = {change.quantizer for given in changes.values() for change in given.values()}
    facts = [
        SENSITIVITY_VERSION,
        bench.network.digest(),
        bench.calibration_split.digest(),
        len(images),
        quantizer,
        [file_digest(name) for own in sorted(quantizers) for name in settings.of_layer(own).methods],
        {name: [repr(change) for change in given.values()] for name, given in changes.items()},
    ]
    key = hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()
    kept = cache.recall("sensitivities", key)
    if kept is not None:
        found = {name: [Effect(**effect) for effect in rows] for name, rows in json.loads(kept).items()}
    else:
        by_change = effects(
            bench.network,
            {name: tuple(given.values()) for name, given in changes.items()},
            bench.calibration,
            images,
            settings=settings,
            progress=progress,
        )
        found = {
            name: [by_change[name][change] for change in given.values()] for name, given in changes.items()
        }
        text = json.dumps({name: [asdict(effect) for effect in rows] for name, rows in found.items()})
        cache.remember(text.encode(), "sensitivities", key)
    return {name: dict(zip(given, found[name], strict=True)) for name, given in changes.items()}
