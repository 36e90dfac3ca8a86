"""The embedded network for scikit-learn's digits: built, trained, shipped.

8,042 parameters, 1x8x8 pixels to 10 classes: a 3x3 convolution, an inverted-residual block (depthwise and
pointwise, added without a ReLU, so that signed activations occur), max pooling, a 3x3 convolution of 144
products a sum (its sums leave a 16-bit accumulator at 8 bits), a residual block with its ReLU behind
the addition, average pooling, a linear layer. ``python -m hwsim.models.digits`` trains it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
from torch import Tensor

from hwsim import files
from hwsim.data import DATA_SETS, Split
from hwsim.layers import Add, AveragePool, Flatten, Linear, MaxPool, Relu
from hwsim.models.builder import Builder, parameter_shapes
from hwsim.models.forward import propagate
from hwsim.network import FloatArray, FloatNetwork, Preprocessing

SHIPPED = Path(__file__).with_name("digits.safetensors")
PREPROCESSING = Preprocessing(16.0, (0.0,), (1.0,))
"""The pixels are 0..16: x = pixel / 16."""


def digits() -> FloatNetwork:
    """The embedded network for the 8x8 digits: 8,042 parameters, depthwise and residual blocks."""
    return _network(
        {name: array.astype(np.float64) for name, array in safetensors.numpy.load_file(SHIPPED).items()}
    )


def _structure() -> Builder:
    build = Builder((1, 8, 8))
    build.convolution("stem", 16, 3)
    stem = build.norm("stem_norm", relu="stem_relu")
    build.add("block1_add", Add(), stem, _separable(build, "block1", 16))
    build.add("max_pool", MaxPool((2, 2), (2, 2)))
    build.convolution("conv", 32, 3)
    conv = build.norm("conv_norm", relu="conv_relu")
    build.add("block2_add", Add(), conv, _separable(build, "block2", 32))
    build.add("block2_relu", Relu())
    build.add("average_pool", AveragePool((2, 2), (2, 2)))
    build.add("flatten", Flatten())
    build.add("classifier", Linear(10))
    return build


def _separable(build: Builder, name: str, channels: int) -> str:
    """Append a depthwise convolution with ReLU and a pointwise one without."""
    build.convolution(f"{name}_depthwise", channels, 3, groups=channels)
    build.norm(f"{name}_depthwise_norm", relu=f"{name}_depthwise_relu")
    build.convolution(f"{name}_pointwise", channels, 1)
    return build.norm(f"{name}_pointwise_norm")


def _network(parameters: dict[str, FloatArray]) -> FloatNetwork:
    build = _structure()
    build.parameters.update(parameters)
    return build.network("digits", PREPROCESSING, data="digits")


def train(seed: int = 0, epochs: int = 60) -> FloatNetwork:
    """Return the network trained on the train split: Adam, one-cycle rate, images shifted by up to a pixel.

    Takes seconds on one thread, which it sets while it runs. Equal seeds give equal networks on one kind of
    processor; across kinds the last digits may differ, which is why the weights are shipped.
    """
    split = DATA_SETS["digits"].load("train")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _network(_train(split, torch.Generator().manual_seed(seed), epochs))
    finally:
        torch.set_num_threads(threads)


BATCH = 60


def _train(split: Split, generator: torch.Generator, epochs: int) -> dict[str, FloatArray]:
    layers = tuple(_structure().layers)
    parameters = _initial(generator)
    learned = [tensor for name, tensor in parameters.items() if "running" not in name]
    optimizer = torch.optim.Adam([tensor.requires_grad_() for tensor in learned], weight_decay=1e-5)
    steps = epochs * (len(split) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.02, total_steps=steps)
    images = torch.tensor(PREPROCESSING.apply(split.images[:]), dtype=torch.float32)
    labels = torch.tensor(split.labels)
    for chosen in _batches(len(split), epochs, generator):
        *_, (_, output) = propagate(layers, parameters, _shift(images[chosen], generator), training=True)
        loss = torch.nn.functional.cross_entropy(output.flatten(1), labels[chosen], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return {name: tensor.detach().numpy().astype(np.float64) for name, tensor in parameters.items()}


def _initial(generator: torch.Generator) -> dict[str, Tensor]:
    """Return He-normal weights, batch norms that do nothing, and a zero bias for the linear layer alone."""
    parameters: dict[str, Tensor] = {}
    for layer in _structure().layers:
        for key, shape in parameter_shapes(layer).items():
            if layer.has_weights and key == "weight":
                value = torch.randn(shape, generator=generator) * (2 / layer.products) ** 0.5
            elif key == "bias" and layer.kind == "convolution":
                continue
            else:
                value = torch.full(shape, float(key in ("weight", "running_var")))
            parameters[f"{layer.name}.{key}"] = value
    return parameters


def _batches(count: int, epochs: int, generator: torch.Generator) -> Iterator[Tensor]:
    for _ in range(epochs):
        order = torch.randperm(count, generator=generator)
        yield from order[: count // BATCH * BATCH].reshape(-1, BATCH)


def _shift(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return every image moved by -1, 0 or 1 pixel each way, zeros following."""
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1))
    moves = torch.randint(3, (len(images), 2), generator=generator)
    rows = moves[:, :1] + torch.arange(8)
    columns = moves[:, 1:] + torch.arange(8)
    picture = torch.arange(len(images))[:, None, None]
    return padded[picture, :, rows[:, :, None], columns[:, None, :]].movedim(3, 1)


def main() -> None:
    """Train with the default seed and write the shipped file."""
    parameters = {name: array.astype(np.float32) for name, array in train().parameters.items()}
    files.write(SHIPPED, safetensors.numpy.save(parameters))


if __name__ == "__main__":
    main()
