"""Fine-tuning of trained networks: in float arithmetic, and as integers (quantization-aware).

Q. Hu, X. Zeng, Q. Wu: Bag of Tricks with Quantized Convolutional Neural Networks for image classification, 2023,
arXiv 2303.07080, section 2: batch norm folded in the forward pass, scales from post-training quantization, weight scales
fixed. Their 20 epochs of ImageNet are here as many as :class:`Recipe` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from hwsim.bits import BitConfig
from hwsim.data import Split
from hwsim.errors import HwsimError
from hwsim.models.forward import propagate
from hwsim.network import FloatNetwork
from hwsim.quantize.calibrate import Calibration
from hwsim.quantize.fake_quantize import fake_quantize
from hwsim.quantize.fold import fold_batch_norm
from hwsim.quantize.fuse import MOVING
from hwsim.quantize.settings import Settings
from hwsim.quantize.training import Epoch, Progress, Recipe, descend


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

    The scales of tensors are those of ``calibration``; only the output, which has 16 bits, is given :data:`HEADROOM` for
    the logits to grow. Batch norms keep their running mean and variance, and a weight
    that is zero stays zero: a pruned network keeps its mask.
    """
    if settings.bias_correction:
        raise HwsimError("fine-tuning learns what bias correction would add; leave out bias_correction")
    split.check(network.input_shape, network.layers[-1].outputs)
    calibration = _with_headroom(network, calibration)
    form = fake_quantize(network, bits, calibration, settings)
    learned, kept = _tensors(network)

    def forward(parameters: Mapping[str, Tensor], images: Tensor) -> Tensor:
        return form.forward({**parameters, **kept}, images)

    epochs = descend(forward, learned, split, recipe, sparse=_weights(network), progress=progress)
    tuned = _with(network, {**learned, **kept})
    fixed = replace(
        calibration,
        network=fold_batch_norm(tuned).digest(),
        weight_scales=form.folded_scales(tuned.parameters),
    )
    return FineTuned(tuned, fixed, epochs)


HEADROOM = 4.0
"""How much larger than in calibration the output may become in training: two of its 16 bits."""


def _with_headroom(network: FloatNetwork, calibration: Calibration) -> Calibration:
    layers = {layer.name: layer for layer in fold_batch_norm(network).layers}
    name = next(reversed(layers))
    while name in layers and isinstance(layers[name].operator, MOVING):
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
    split.check(network.input_shape, network.layers[-1].outputs)
    learned, kept = _tensors(network)
    running = {name: tensor.float() for name, tensor in kept.items()}
    table = torch.from_numpy(network.preprocessing.values()).float()

    def forward(parameters: Mapping[str, Tensor], images: Tensor) -> Tensor:
        values = {name: tensor.float() for name, tensor in parameters.items()} | running
        x = table[torch.arange(len(table)), images.long()].movedim(3, 1)
        *_, (_, logits) = propagate(network.layers, values, x, training=True)
        return logits.flatten(1)

    epochs = descend(forward, learned, split, recipe, sparse=_weights(network), progress=progress)
    return _with(network, {**learned, **running}), epochs


def _tensors(network: FloatNetwork) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return what is learned and the running statistics, float64 tensors of their own."""
    tensors = {name: torch.tensor(array, dtype=torch.float64) for name, array in network.parameters.items()}
    kept = {
        name: tensors.pop(name) for name in list(tensors) if name.endswith((".running_mean", ".running_var"))
    }
    return tensors, kept


def _weights(network: FloatNetwork) -> list[str]:
    return [f"{layer.name}.weight" for layer in network.layers if layer.has_weights]


def _with(network: FloatNetwork, tensors: dict[str, Tensor]) -> FloatNetwork:
    parameters = {name: tensor.numpy().astype(np.float64) for name, tensor in tensors.items()}
    return replace(network, parameters=parameters)
