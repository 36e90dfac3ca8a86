"""What a space's designs are believed to lose before and after some are measured, and how far from the truth that is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from hwsim.errors import HwsimError
from hwsim.explore.bench import Bench
from hwsim.explore.evaluation import Choice, Evaluation, Layers, point_texts
from hwsim.explore.question import Alone
from hwsim.explore.search import SearchSpace
from hwsim.explore.sensitivity import tried_images
from hwsim.explore.surrogate import Features, Posterior, Scale, features, fit
from hwsim.models.forward import accuracy as float_accuracy
from hwsim.network import FloatArray
from hwsim.quantize.alone import Effect

_FOLDS = 5
_FEWEST = 3
"""Designs from which a rank correlation says something."""

Sensitivities = Mapping[str, Mapping[str, Effect]]
"""What each choice does, by layer and text."""

NOTHING = Effect(0.0, 0.0, 0, 0.0)
"""What stands for the effect of a choice that no design has."""


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


def sensitivities(space: SearchSpace) -> dict[str, Sensitivities]:
    """Return what each choice of each layer does by itself under each quantizer, but for what is left out."""
    asked = [Alone(quantizer, space.layers) for quantizer in space.quantizers]
    return {
        question.quantizer: {
            name: {text: Effect(**effect) for text, effect in of.items()} for name, of in answer.items()
        }
        for question, answer in space.answers(asked)
    }


def accuracy_model(bench: Bench, layers: Layers, effects: Mapping[str, Sensitivities]) -> AccuracyModel:
    """Return the model of some layers' choices from what they do alone, by quantizer; what a choice lacks changes nothing."""
    right, images = float_accuracy(bench.network, tried_images(bench))
    classes = bench.network.outputs
    given = [
        [[(Choice.parse(text), found[name].get(text, NOTHING)) for text in texts] for name, texts in layers]
        for found in effects.values()
    ]
    known = features(given, Scale(images, right, classes))
    return AccuracyModel(layers, tuple(effects), known, Scale(len(bench.test), bench.float_correct, classes))
