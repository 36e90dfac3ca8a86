"""Second moments of what the layers with weights read, over the calibration images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from hwsim.errors import HwsimError
from hwsim.layers import Layer
from hwsim.models.forward import pad
from hwsim.network import FloatArray, FloatNetwork, ImageSequence
from hwsim.quantize.calibrate import Calibration, Progress, sweep

IMAGES = 1024
"""Images that are seen at most, the first ones."""

SAMPLES = 1 << 15
"""Windows of each layer's input that are seen in all images together, about, equally many of each."""

LARGEST = 6144
"""Products of one output at most: a matrix of their squares has to be factored in memory."""

_BATCH = 16


def second_moments(
    network: FloatNetwork, images: ImageSequence, calibration: Calibration, progress: Progress | None = None
) -> dict[str, npt.NDArray[np.float32]]:
    """Return E[z z'] for each layer with weights, z the inputs of one output and a 1 behind, [groups, products + 1, same].

    Of a folded network with its calibration. The inputs are in units of a power of two above their tensor's peak; a window
    in the padding has its zeros. Computed in float64 and kept as float32, which is equal for any number of threads. Raises
    :class:`HwsimError` for a layer of more than :data:`LARGEST` products.
    """
    readers: dict[str, list[Layer]] = {}
    for layer in network.layers:
        if layer.has_weights:
            _check_size(layer)
            readers.setdefault(layer.inputs[0], []).append(layer)
    images = images[:IMAGES]
    _, exponents = np.frexp([float(calibration.statistics[name].peak) for name in readers])
    exponent = dict(zip(readers, exponents.tolist(), strict=True))

    def see(name: str, values: FloatArray) -> _Moments:
        if name not in readers:
            return _Moments({})
        x = torch.from_numpy(np.ldexp(values, -exponent[name]))
        return _Moments({layer.name: _products(layer, x, len(images)) for layer in readers[name]})

    told = progress or (lambda done, planned: None)
    seen = sweep(network, images, _BATCH, see, lambda done: told(done, len(images)))
    sums = {name: found for moments in seen.values() for name, found in moments.sums.items()}
    return {name: (found / found[:, -1:, -1:]).astype(np.float32) for name, found in sums.items()}


@dataclass(frozen=True, eq=False)
class _Moments:
    """Sums of products by layer; batches add up."""

    sums: Mapping[str, FloatArray]

    def __add__(self, other: _Moments) -> _Moments:
        return _Moments({name: found + other.sums[name] for name, found in self.sums.items()})


def _check_size(layer: Layer) -> None:
    if layer.products > LARGEST:
        raise HwsimError(
            f'an output of layer "{layer.name}" sums {layer.products} products, more than the {LARGEST} whose second moments '
            "are kept; choose rounding=nearest"
        )


def _products(layer: Layer, x: torch.Tensor, images: int) -> FloatArray:
    """Return the sums of z z' over some windows of a batch: all, or so many of each image at random places, seeded."""
    operator = layer.as_convolution
    places, wanted = math.prod(layer.output_shape[1:]), -(-SAMPLES // images)
    chosen = np.arange(places)[None].repeat(len(x), 0)
    if wanted < places:
        chosen = np.random.default_rng(0).integers(places, size=(len(x), wanted))
    rows, columns = (
        at * stride for at, stride in zip(divmod(chosen, layer.output_shape[2]), operator.stride, strict=True)
    )
    padded, image = pad(x, operator.padding, 0.0), np.arange(len(x))[:, None]
    taps = [
        padded[image, :, rows + row * operator.dilation[0], columns + column * operator.dilation[1]]
        for row in range(operator.kernel[0])
        for column in range(operator.kernel[1])
    ]
    windows = torch.stack(taps, 3)  # [images, places, channels, taps of the kernel]
    z = windows.permute(2, 3, 0, 1).reshape(operator.groups, layer.products, -1)
    z = torch.cat([z, torch.ones_like(z[:, :1])], 1)
    found: FloatArray = (z @ z.transpose(1, 2)).numpy()
    return found
