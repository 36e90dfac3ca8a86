"""Prune, fine-tune, quantize, fine-tune as integers: the four stages, one after the other.

J. Hu, M. Zeng, E. Wu: Bag of Tricks with Quantized Convolutional Neural Networks for image classification, 2023,
arXiv 2303.07080, section 2.3: magnitude pruning, float fine-tuning at a small rate, post-training quantization,
quantization-aware fine-tuning; a weight that was pruned stays zero throughout.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from hwsim.data import Split
from hwsim.network import FloatNetwork, QuantizedNetwork
from hwsim.quantize.fine_tune import fine_tune, fine_tune_float
from hwsim.quantize.fold import fold_batch_norm
from hwsim.quantize.integer import check_trained, checked_bits, quantize
from hwsim.quantize.once import calibrate_once
from hwsim.quantize.prune import prune, sparsity_of
from hwsim.quantize.settings import Settings, by_layer, needs_moments
from hwsim.quantize.training import Epoch, Recipe

STAGES = ("float", "pruned", "fine-tuned", "PTQ", "QAT")


@dataclass(frozen=True, eq=False)
class Stage:
    """What a stage left: a float network and, from PTQ on, its integers; its seconds and epochs.

    The seconds of training are those it took when it was done, also where it was done before and kept.
    """

    name: str
    network: FloatNetwork
    integers: QuantizedNetwork | None = None
    seconds: float = 0.0
    epochs: tuple[Epoch, ...] = ()

    @property
    def sparsity(self) -> float:
        """The share of weights that are zero in the float network."""
        return sparsity_of(self.network)


Told = Callable[[str, int, int, Epoch], None]
"""Called with a stage's name, its images done and planned, and the epoch so far."""


def stages(
    network: FloatNetwork,
    bits: str,
    train: Split,
    calibration: Split,
    *,
    settings: Settings,
    recipe: Recipe,
    sparsity: float = 0.0,
    float_recipe: Recipe | None = None,
    progress: Told = lambda stage, done, planned, epoch: None,
) -> Iterator[Stage]:
    """Yield the stages of :data:`STAGES` as they are done.

    Without a sparsity nothing is pruned, without a ``float_recipe`` nothing fine-tuned in float, and those stages are
    left out; a recipe of no epochs leaves out QAT. ``train`` and
    ``calibration`` are splits.
    """
    config = checked_bits(bits, fold_batch_norm(network), settings)
    if recipe.epochs:
        for own in by_layer(config, settings).values():
            check_trained(own)
    yield Stage("float", network)
    if sparsity:
        network = prune(network, sparsity)
        yield Stage("pruned", network)
    if float_recipe is not None and float_recipe.epochs:
        told = partial(progress, "fine-tuned")
        network, epochs = fine_tune_float(network, train, recipe=float_recipe, progress=told)
        yield Stage("fine-tuned", network, None, _seconds(epochs), epochs)
    begun = time.perf_counter()
    calibrated = calibrate_once(network, calibration, moments=needs_moments(config, settings))
    integers = quantize(network, config, calibrated, settings=settings)
    yield Stage("PTQ", network, integers, time.perf_counter() - begun)
    if recipe.epochs:
        told = partial(progress, "QAT")
        tuned = fine_tune(network, config, calibrated, train, settings=settings, recipe=recipe, progress=told)
        integers = quantize(tuned.network, config, tuned.calibration, settings=settings)
        yield Stage("QAT", tuned.network, integers, _seconds(tuned.epochs), tuned.epochs)


def _seconds(epochs: tuple[Epoch, ...]) -> float:
    return sum(epoch.seconds for epoch in epochs)
