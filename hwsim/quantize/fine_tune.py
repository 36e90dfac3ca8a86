"""Fine-tuning of trained networks: in float arithmetic, and as integers (quantization-aware).

J. Hu, M. Zeng, E. Wu: Bag of Tricks with Quantized Convolutional Neural Networks for image classification, 2023,
arXiv 2303.07080, section 2: batch norm folded in the forward pass, scales from post-training quantization, weight scales
fixed, and with them whatever else was chosen for a weight (:mod:`hwsim.quantize.grid`). Their 20 epochs of ImageNet are
here as many as :class:`Recipe` says.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from hwsim.bits import BitConfig
from hwsim.data import Split
from hwsim.models.forward import propagate
from hwsim.network import FloatNetwork
from hwsim.quantize.calibrate import Calibration
from hwsim.quantize.fake_quantize import fake_quantize
from hwsim.quantize.fold import fold_batch_norm
from hwsim.quantize.fuse import requantizes
from hwsim.quantize.settings import Settings
from hwsim.quantize.training import Epoch, Progress, Recipe, beginning, descend


@dataclass(frozen=True, eq=False)
class FineTuned:
    """A network as trained and what to quantize it with: with this calibration, ``quantize`` gives the integers it was trained as."""

    network: FloatNetwork
    calibration: Calibration
    epochs: tuple[Epoch, ...]


def fine_tune(
    network: FloatNetwork,
    bits: BitConfig,
    calibration: Calibration,
    split: Split,
    *,
    settings: Settings,
    recipe: Recipe,
    progress: Progress | None = None,
) -> FineTuned:
    """Return the network trained on ``split`` while its weights and tensors are rounded as :func:`quantize` rounds them.

    The scales of tensors are those of ``calibration``; only the output, which has 16 bits, is given :data:`HEADROOM`
    for the logits to grow. Batch norms keep their running mean and variance, and a weight that is zero stays zero: a
    pruned network keeps its mask. Every epoch is kept in the user's cache folder, and the same training goes on there.
    Raises :class:`HwsimError` for images or labels that are not the network's, and a loss that is no number any more.
    """
    split.check(network.input_shape, network.outputs)
    calibration = _with_headroom(network, calibration)
    form = fake_quantize(network, bits, calibration, settings)
    state = beginning(network, recipe.seed)
    running = {name: torch.from_numpy(network.parameters[name]) for name in state.running}
    descend(
        lambda images: form.forward({**state.learned, **running}, images),
        state,
        split,
        recipe,
        sparse=_weights(network),
        key=_key("integers", form.digest(), split.digest(), str(recipe)),
        progress=progress,
    )
    tuned = _with(network, state.learned)
    fixed = replace(calibration, network=fold_batch_norm(tuned).digest(), grids=form.grids)
    return FineTuned(tuned, fixed, tuple(state.epochs))


HEADROOM = 4.0
"""How much larger than in calibration the output may become in training: two of its 16 bits."""


def _with_headroom(network: FloatNetwork, calibration: Calibration) -> Calibration:
    layers = {layer.name: layer for layer in fold_batch_norm(network).layers}
    name = next(reversed(layers))
    while name in layers and not requantizes(layers[name]):
        name = layers[name].inputs[0]
    seen = calibration.statistics[name]
    wide = replace(seen, minimum=HEADROOM * seen.minimum, maximum=HEADROOM * seen.maximum)
    return replace(calibration, statistics={**calibration.statistics, name: wide})


def fine_tune_float(
    network: FloatNetwork,
    split: Split,
    *,
    recipe: Recipe,
    progress: Progress | None = None,
) -> tuple[FloatNetwork, tuple[Epoch, ...]]:
    """Return the network trained on ``split`` in float32, batch norm on each batch's statistics, and its epochs.

    A weight that is zero stays zero.
    """
    split.check(network.input_shape, network.outputs)
    state = beginning(network, recipe.seed)
    table = torch.from_numpy(network.preprocessing.values()).float()

    def forward(images: Tensor) -> Tensor:
        values = {name: tensor.float() for name, tensor in state.learned.items()} | dict(state.running)
        x = table[torch.arange(len(table)), images.long()].movedim(3, 1)
        *_, (_, logits) = propagate(network.layers, values, x, training=True)
        return logits.flatten(1)

    key = _key("float", network.digest(), split.digest(), str(recipe))
    descend(forward, state, split, recipe, sparse=_weights(network), key=key, progress=progress)
    return _with(network, {**state.learned, **state.running}), tuple(state.epochs)


def _key(*parts: str) -> str:
    """Return what a training's state is kept under: all that it depends on, torch included."""
    text = json.dumps([FORM, torch.__version__, *parts])
    return hashlib.sha256(text.encode()).hexdigest() + ".safetensors"


FORM = 1
"""Counts changes of the training that change its result."""


def _weights(network: FloatNetwork) -> list[str]:
    return [f"{layer.name}.weight" for layer in network.layers if layer.has_weights]


def _with(network: FloatNetwork, tensors: Mapping[str, Tensor]) -> FloatNetwork:
    trained = {name: tensor.numpy().astype(np.float64) for name, tensor in tensors.items()}
    return replace(network, parameters={**network.parameters, **trained})
