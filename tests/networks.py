"""Small integer networks for tests: one with every kind of layer, filled with seeded random integers."""

from dataclasses import replace

import numpy as np

from hwsim.bits import LayerBits
from hwsim.formats import Int, Overflow, PowerOfTwo
from hwsim.layers import (
    INPUT,
    Add,
    AveragePool,
    ChannelShuffle,
    Concatenate,
    Convolution,
    Flatten,
    Layer,
    Linear,
    MaxPool,
    PadChannels,
    Rescale,
    Slice,
)
from hwsim.network import IntegerLayer, QuantizedNetwork, requantizer_counts

UINT8, INT8, UINT4 = Int(8, signed=False), Int(8), Int(4, signed=False)


NARROW = Int(14)


def every_kind(seed=0, accumulator=NARROW, overflow=Overflow.WRAP, channels=False):
    """An integer network with every kind of layer; its narrow accumulators overflow on most inputs.

    With ``channels`` the channels of every tensor that is computed have widths and exponents of their own, and
    those of integer weights widths.
    """
    rng = np.random.default_rng(seed)
    layers, formats, shapes = [], {INPUT: INT8}, {INPUT: (2, 6, 6)}

    def add(name, operator, output, *inputs, weight=None):
        layer = Layer(name, operator, inputs, tuple(shapes[i] for i in inputs))
        bits = weights = None
        if weight is not None:
            bits = LayerBits(weight, formats[inputs[0]], accumulator, overflow)
            codes = rng.integers(0, 1 << weight.bits, layer.weight_shape)
            weights = weight.decode(codes)
        multipliers, biases, shifts = requantizer_counts(layer, channels)
        constants = (None, None, None)
        if multipliers:
            constants = (
                rng.integers(1 << 15, 1 << 16, multipliers),
                rng.integers(-(1 << 20), 1 << 20, biases),
                rng.integers(17, 22, shifts),
            )
        widths = (None, None)
        weight_width = None
        if channels and isinstance(weight, Int):
            weight_width = rng.integers(0, weight.bits + 1, layer.output_shape[0])
            own = weight_width[:, None, None, None]
            weights = np.where(own > 0, weights >> weight.bits - own, 0)
        if channels and (multipliers or name == "pool"):
            width = rng.integers(0, min(output.bits, 8) + 1, layer.output_shape[0])
            widths = (width, rng.integers(0, np.minimum(output.bits - width, 7) + 1))
        layers.append(
            IntegerLayer(layer, output, 0.5, bits, weights, *constants, *widths, weight_width=weight_width)
        )
        formats[name], shapes[name] = output, layer.output_shape

    add("conv", Convolution(4, (3, 3), (1, 1), (2, 1, 2, 1), dilation=(2, 1)), UINT8, INPUT, weight=Int(8))
    add(
        "depthwise",
        Convolution(4, (3, 2), (2, 1), (2, 1, 1, 1), groups=4, dilation=(2, 2)),
        UINT4,
        "conv",
        weight=Int(4),
    )
    add("grouped", Convolution(6, (1, 1), groups=2), INT8, "depthwise", weight=PowerOfTwo(4))
    add("sliced", Slice((0, 0, 0), (4, 6, 6), (1, 2, 1)), UINT8, "conv")
    add("padded", PadChannels(1, 1), UINT8, "sliced")
    add("shuffled", ChannelShuffle(3), UINT8, "padded")
    add("rescaled", Rescale(), INT8, "shuffled")
    add("sum", Add(), UINT8, "grouped", "rescaled")
    add("pool", MaxPool((2, 2), (1, 2), (0, 0, 1, 0)), INT8, "grouped")
    add("mean", AveragePool((2, 2), (1, 2), (0, 0, 1, 0)), INT8, "sum")
    add("both", Concatenate(), INT8, "pool", "mean")
    add("flat", Flatten(), INT8, "both")
    add("scores", Linear(5), Int(16), "flat", weight=Int(6))
    table = rng.integers(-128, 128, (2, 256))
    return QuantizedNetwork("every_kind", (2, 6, 6), INT8, 0.5, table, tuple(layers))


def masked(network, count=2, shared=False, seed=0):
    """A network whose layers with weights also add ``count`` sums of their inputs."""
    rng = np.random.default_rng(seed)

    def with_masks(item):
        if not item.layer.has_weights:
            return item
        outputs, *taps = item.layer.weight_shape
        return replace(
            item,
            masks=rng.integers(0, 2, (count, 1 if shared else outputs, *taps)),
            mask_multiplier=rng.integers(-(1 << 17), 1 << 17, (count, outputs)),
        )

    return replace(network, layers=tuple(map(with_masks, network.layers)))


def images(n, seed=0):
    """Random uint8 images [n, 6, 6, 2] for :func:`every_kind`."""
    return np.random.default_rng(seed).integers(0, 256, (n, 6, 6, 2), dtype=np.uint8)
