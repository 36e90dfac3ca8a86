"""``hwsim sensitivity``: what each choice of each layer does to a network by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from hwsim.data import network_split
from hwsim.errors import HwsimError
from hwsim.explore.accuracy_model import ModelError, accuracy_model
from hwsim.explore.bench import Bench, open_bench
from hwsim.explore.sensitivity import Effects, of_choices, of_parts, tried_images
from hwsim.explore.space import search_space
from hwsim.explore.study import Study, read_study
from hwsim.models import load_model
from hwsim.results import read_results


@dataclass(frozen=True)
class Sensitivity:
    """The effects of each layer's weight formats and input formats apart, over images of the calibration split.

    ``agreement`` is Spearman's rank correlation of what was estimated from gradients with what was measured; ``error``
    that of the additive accuracy model against the designs of an exploration, where one was given.
    """

    title: str
    model: str
    quantizer: str
    images: int
    layers: Effects
    agreement: float
    error: ModelError | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        """Return the layers as a table for people, the choices that do most first."""
        lines = [
            f"{'layer':{self._width}}  {'quantized alone':18}  {'measured':>10}  {'estimated':>10}  {'accuracy lost':>13}"
        ]
        ranked = sorted(
            ((name, text, effect) for name, found in self.layers.items() for text, effect in found.items()),
            key=lambda row: -row[2].divergence,
        )
        for name, text, effect in ranked:
            lost = 100 * effect.lost / self.images
            lines.append(
                f"{name:{self._width}}  {text:18}  {effect.divergence:10.3g}  {effect.estimated:10.3g}  {lost:6.2f} points"
            )
        lines.append(
            f"divergence of the output in nats over {self.images} calibration images; the rank correlation of estimated "
            f"with measured is {self.agreement:.3f}"
        )
        if self.error is not None:
            lines.append(_error_text(self.error))
        return "\n".join(lines)

    @property
    def _width(self) -> int:
        return max(5, *map(len, self.layers))


def _error_text(error: ModelError) -> str:
    return (
        f"additive model against {error.designs} measured designs: rank correlation {error.rank_correlation:.3f} and "
        f"{error.rmse_points:.2f} points (root mean square) before measuring, {error.refitted_rank_correlation:.3f} and "
        f"{error.refitted_rmse_points:.2f} points refitted to four fifths of them"
    )


def measure_sensitivity(
    model: str | Path | Study,
    *,
    quantizer: str = "",
    calibration: str = "",
    images: int = 0,
    explored: str | Path = "",
    progress: Callable[[int, int], None] | None = None,
    **preprocessing: Any,
) -> Sensitivity:
    """Return the sensitivity of a model's layers, or of a study's (a file or a :class:`Study`), under one quantizer.

    A model gets the choices of a study without a space, and images as :func:`hwsim.steps.quantize.quantize_model` does, to
    which ``calibration``, ``images`` and ``preprocessing`` belong; a study names its own. ``quantizer`` is the study's first
    if left out. The folder of an exploration of the study, ``explored``, has the designs that the additive model of the
    accuracy is held against.
    """
    bench = _bench(model, quantizer, calibration, images, preprocessing)
    space = search_space(bench.study, bench.network)
    chosen = quantizer or space.quantizers[0]
    layers = of_parts(bench, dict(space.layers), chosen, progress)
    flat = [effect for found in layers.values() for effect in found.values()]
    measured, estimated = (
        np.array([getattr(effect, name) for effect in flat]) for name in ("divergence", "estimated")
    )
    varies = np.ptp(measured) > 0 and np.ptp(estimated) > 0
    agreement = float(spearmanr(measured, estimated).statistic) if varies else 1.0
    error = None
    if explored:
        layers_of = dict(space.layers)
        effects = {text: of_choices(bench, layers_of, text, progress) for text in space.quantizers}
        believed = accuracy_model(bench, space.layers, effects)
        error = believed.error(read_results(Path(explored)).evaluations)
    tried = len(tried_images(bench))
    return Sensitivity(bench.study.title, bench.network.name, chosen, tried, layers, agreement, error)


def _bench(
    model: str | Path | Study, quantizer: str, calibration: str, images: int, preprocessing: dict[str, Any]
) -> Bench:
    if isinstance(model, Study) or str(model).endswith(".toml"):
        if calibration or images or preprocessing:
            raise HwsimError(
                "a study names its images and its model's preprocessing itself; leave out the options"
            )
        return open_bench(_asking(model if isinstance(model, Study) else read_study(Path(model)), quantizer))
    network = load_model(str(model), **preprocessing)
    seen, tested = (
        network_split(network, calibration, split, "to calibrate on: --calibration file.npz", count)
        for split, count in (("calibration", images), ("test", 0))
    )
    return Bench(_asking(Study(title=str(model), model=str(model)), quantizer), network, seen, tested)


def _asking(study: Study, quantizer: str) -> Study:
    """Return the study with a quantizer among its own: the bench calibrates for all of them."""
    if not quantizer or quantizer in study.space.quantizers:
        return study
    asked = {"quantizers": (*study.space.quantizers, quantizer)}
    return study.model_copy(update={"space": study.space.model_copy(update=asked)})
