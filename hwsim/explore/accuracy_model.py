"""What a space's designs are believed to lose before and after some are measured, and how far from the truth that is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import spearmanr

from hwsim.bits import LayerBits
from hwsim.errors import HwsimError
from hwsim.explore.evaluation import Evaluation, choice_of, point_texts
from hwsim.explore.sensitivity import of_choices, tried_images
from hwsim.explore.surrogate import Features, Posterior, Scale, features, fit
from hwsim.models.forward import accuracy as float_accuracy
from hwsim.network import FloatArray
from hwsim.quantize.calibrate import Progress

if TYPE_CHECKING:
    from hwsim.explore.bench import Bench

_FOLDS = 5
_FEWEST = 3
"""Designs from which a rank correlation says something."""

Layers = tuple[tuple[str, tuple[str, ...]], ...]
"""The LayerBits texts that each layer may have, in network order."""


@dataclass(frozen=True, eq=False)
class AccuracyModel:
    """The features of every choice of some layers and quantizers, and the scale of the test split."""

    layers: Layers
    quantizers: tuple[str, ...]
    features: Features
    scale: Scale

    def rows(self, done: Iterable[Evaluation]) -> FloatArray:
        """Return the features of evaluated designs, [designs, factors]; refuse those of another space."""
        known = [{text: place for place, text in enumerate(texts)} for _, texts in self.layers]
        quantizers, choices = [], []
        for e in done:
            texts = point_texts(e.point)
            if (
                e.point.quantizer not in self.quantizers
                or len(texts) != len(known)
                or any(text not in own for text, own in zip(texts, known, strict=True))
            ):
                raise HwsimError(
                    f"the design {e.point.label()} is none of the study's; give the study that it was found by"
                )
            quantizers.append(self.quantizers.index(e.point.quantizer))
            choices.append([own[text] for text, own in zip(texts, known, strict=True)])
        shape = len(choices), len(known)
        return self.features.of(np.array(quantizers, np.int64), np.array(choices, np.int64).reshape(shape))

    def believed(self, done: list[Evaluation]) -> Posterior:
        """Return what evaluations say of the accuracy."""
        return self._fitted(self.rows(done), _correct(done))

    def _fitted(self, rows: FloatArray, correct: FloatArray) -> Posterior:
        return fit(self.features, rows, self.scale.sums(correct), self.scale.variance(correct))

    def error(self, done: list[Evaluation]) -> ModelError | None:
        """Return how far the model is from what was measured; nothing for fewer than three designs."""
        if len(done) < _FEWEST:
            return None
        rows, correct = self.rows(done), _correct(done)
        start = self.scale.lost(self._fitted(rows[:0], correct[:0]).expected(rows))
        refitted = np.empty(len(done))
        folds = np.arange(len(done)) % _FOLDS
        for fold in range(_FOLDS):
            believed = self._fitted(rows[folds != fold], correct[folds != fold])
            refitted[folds == fold] = self.scale.lost(believed.expected(rows[folds == fold]))
        lost = self.scale.float_correct - correct
        return ModelError(len(done), *self._against(start, lost), *self._against(refitted, lost))

    def _against(self, believed: FloatArray, lost: FloatArray) -> tuple[float, float]:
        varies = np.ptp(believed) > 0 and np.ptp(lost) > 0
        rank = float(spearmanr(believed, lost).statistic) if varies else 0.0
        return rank, float(100 * np.sqrt(((believed - lost) ** 2).mean()) / self.scale.images)


@dataclass(frozen=True)
class ModelError:
    """The model beside ``designs`` measured ones: Spearman's rank correlation and the root of the mean squared error
    of the accuracy lost, in percentage points; before anything was measured, and refitted to the other four fifths.
    """

    designs: int
    rank_correlation: float
    rmse_points: float
    refitted_rank_correlation: float
    refitted_rmse_points: float


def _correct(done: list[Evaluation]) -> FloatArray:
    return np.array([float(e.correct) for e in done])


@lru_cache(maxsize=4)
def accuracy_model(
    bench: Bench, layers: Layers, quantizers: tuple[str, ...], progress: Progress | None = None
) -> AccuracyModel:
    """Return the model of some layers' choices under some quantizers, each choice tried alone."""
    tried = tried_images(bench)
    right, images = float_accuracy(bench.network, tried)
    classes = bench.network.outputs
    effects = []
    for quantizer in quantizers:
        found = of_choices(bench, dict(layers), quantizer, progress)
        effects.append(
            [
                [(LayerBits.parse(choice_of(text)[0], signed=False), found[name][text]) for text in texts]
                for name, texts in layers
            ]
        )
    given = features(effects, Scale(images, right, classes))
    return AccuracyModel(layers, quantizers, given, Scale(len(bench.test), bench.float_correct, classes))
