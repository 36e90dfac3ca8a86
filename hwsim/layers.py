"""Operators and layers: what a network computes, without its numbers.

Every tensor is (channels, height, width); a vector of features is (features, 1, 1). An operator is a
small frozen value that knows its output shape; a :class:`Layer` gives it a name, inputs and shapes.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from hwsim.errors import HwsimError

Shape = tuple[int, int, int]
Pair = tuple[int, int]
Padding = tuple[int, int, int, int]

INPUT = "input"
"""The name of the network's input tensor."""


def _window(shape: Shape, kernel: Pair, stride: Pair, padding: Padding) -> Pair:
    """Return the output (height, width) of a window sliding over a padded plane."""
    top, left, bottom, right = padding
    height = (shape[1] + top + bottom - kernel[0]) // stride[0] + 1
    width = (shape[2] + left + right - kernel[1]) // stride[1] + 1
    if height < 1 or width < 1:
        raise HwsimError(
            f"a {kernel[0]}x{kernel[1]} window does not fit a {shape[1]}x{shape[2]} input padded by {padding}"
        )
    return height, width


@dataclass(frozen=True)
class Convolution:
    """2-D convolution; weight [out_channels, channels / groups, kernel height, kernel width].

    The products of one output are summed in the weight's own order: channel, kernel row, kernel column.
    ``padding`` is (top, left, bottom, right) zeros; the taps of the kernel are ``dilation`` rows and columns apart.
    """

    out_channels: int
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    groups: int = 1
    dilation: Pair = (1, 1)

    @property
    def extent(self) -> Pair:
        """Rows and columns from the first tap of the kernel to the last."""
        rows, columns = ((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))
        return rows, columns

    def output_shape(self, shape: Shape) -> Shape:
        if shape[0] % self.groups or self.out_channels % self.groups:
            raise HwsimError(
                f"{self.groups} groups do not divide {shape[0]} input and {self.out_channels} output channels"
            )
        if min(self.dilation) < 1:
            raise HwsimError(f"a convolution has dilation 1 or more, not {self.dilation}")
        return (self.out_channels, *_window(shape, self.extent, self.stride, self.padding))


@dataclass(frozen=True)
class Linear:
    """Fully connected layer on a (features, 1, 1) tensor; weight [out_features, features, 1, 1]."""

    out_features: int

    def output_shape(self, shape: Shape) -> Shape:
        if shape[1:] != (1, 1):
            raise HwsimError(f"a linear layer needs a flat input, not {shape}; put a flatten before it")
        return (self.out_features, 1, 1)


@dataclass(frozen=True)
class MaxPool:
    """Maximum over a window; padded places never win."""

    kernel: Pair
    stride: Pair
    padding: Padding = (0, 0, 0, 0)

    def output_shape(self, shape: Shape) -> Shape:
        return (shape[0], *_window(shape, self.kernel, self.stride, self.padding))


@dataclass(frozen=True)
class AveragePool:
    """Mean over a window; padded places count as zeros."""

    kernel: Pair
    stride: Pair
    padding: Padding = (0, 0, 0, 0)

    def output_shape(self, shape: Shape) -> Shape:
        return (shape[0], *_window(shape, self.kernel, self.stride, self.padding))


@dataclass(frozen=True)
class Add:
    """Sum of two tensors of one shape."""

    def output_shape(self, first: Shape, second: Shape) -> Shape:
        if first != second:
            raise HwsimError(f"an addition needs two tensors of one shape, not {first} and {second}")
        return first


@dataclass(frozen=True)
class Concatenate:
    """Two or more tensors stacked along the channels."""

    def output_shape(self, *shapes: Shape) -> Shape:
        if len({shape[1:] for shape in shapes}) != 1:
            raise HwsimError(f"a concatenation along channels needs one height and width, not {list(shapes)}")
        return (sum(shape[0] for shape in shapes), *shapes[0][1:])


@dataclass(frozen=True)
class Flatten:
    """(channels, height, width) read in that order as (features, 1, 1)."""

    def output_shape(self, shape: Shape) -> Shape:
        return (math.prod(shape), 1, 1)


@dataclass(frozen=True)
class Slice:
    """Every ``steps``-th element from ``starts`` up to ``stops`` along (channels, height, width)."""

    starts: Shape
    stops: Shape
    steps: Shape

    def output_shape(self, shape: Shape) -> Shape:
        channels, height, width = (
            len(range(*slice(a, b, s).indices(n)))
            for a, b, s, n in zip(self.starts, self.stops, self.steps, shape, strict=True)
        )
        if not channels * height * width:
            raise HwsimError(
                f"a slice from {self.starts} to {self.stops} by {self.steps} of {shape} is empty"
            )
        return (channels, height, width)


@dataclass(frozen=True)
class PadChannels:
    """``before`` and ``after`` channels of zeros around the channels of a tensor."""

    before: int
    after: int

    def output_shape(self, shape: Shape) -> Shape:
        return (shape[0] + self.before + self.after, *shape[1:])


@dataclass(frozen=True)
class ChannelShuffle:
    """Channels in another order: those of ``groups`` equal groups in turn, the first of each, then the second.

    Zhang, Zhou, Lin, Sun: ShuffleNet, 2018 (CVPR), figure 1: [groups, channels / groups] read by columns.
    """

    groups: int

    def output_shape(self, shape: Shape) -> Shape:
        if self.groups < 1 or shape[0] % self.groups:
            raise HwsimError(f"{self.groups} groups do not divide {shape[0]} channels to shuffle")
        return shape


@dataclass(frozen=True)
class Relu:
    """max(x, 0)."""

    def output_shape(self, shape: Shape) -> Shape:
        return shape


@dataclass(frozen=True)
class Clip:
    """min(max(x, low), high)."""

    low: float
    high: float

    def output_shape(self, shape: Shape) -> Shape:
        return shape


@dataclass(frozen=True)
class BatchNorm:
    """Inference batch norm per channel: gamma (x - mean) / sqrt(variance + epsilon) + beta."""

    epsilon: float = 1e-5

    def output_shape(self, shape: Shape) -> Shape:
        return shape


@dataclass(frozen=True)
class Rescale:
    """The same tensor in another integer format and scale, or in half precision (integer networks only)."""

    def output_shape(self, shape: Shape) -> Shape:
        return shape


@dataclass(frozen=True)
class FromHalf:
    """A tensor in half precision as integers (integer networks only)."""

    def output_shape(self, shape: Shape) -> Shape:
        return shape


Operator = (
    Convolution
    | Linear
    | MaxPool
    | AveragePool
    | Add
    | Concatenate
    | Flatten
    | Slice
    | PadChannels
    | ChannelShuffle
    | Relu
    | Clip
    | BatchNorm
    | Rescale
    | FromHalf
)

OPERATORS: dict[str, type[Operator]] = {
    "convolution": Convolution,
    "linear": Linear,
    "max_pool": MaxPool,
    "average_pool": AveragePool,
    "add": Add,
    "concatenate": Concatenate,
    "flatten": Flatten,
    "slice": Slice,
    "pad_channels": PadChannels,
    "channel_shuffle": ChannelShuffle,
    "relu": Relu,
    "clip": Clip,
    "batch_norm": BatchNorm,
    "rescale": Rescale,
    "from_half": FromHalf,
}
_NAMES = {kind: name for name, kind in OPERATORS.items()}

Moving = Concatenate | Flatten | Slice | PadChannels | ChannelShuffle
"""Operators that put the elements of their inputs, and zeros, in other places, and compute nothing."""


@dataclass(frozen=True)
class Layer:
    """One named operator with its input tensors (named by the layers that make them) and shapes."""

    name: str
    operator: Operator
    inputs: tuple[str, ...]
    input_shapes: tuple[Shape, ...]

    def __post_init__(self) -> None:
        if not self.name.isprintable():
            raise HwsimError(f"layer name {self.name!r} holds control characters; give it a printable name")

    @property
    def kind(self) -> str:
        """The operator's name: a key of :data:`OPERATORS`."""
        return _NAMES[type(self.operator)]

    @property
    def output_shape(self) -> Shape:
        return self.operator.output_shape(*self.input_shapes)

    @property
    def has_weights(self) -> bool:
        """Whether the layer multiplies by stored weights: a convolution or a linear layer."""
        return isinstance(self.operator, Convolution | Linear)

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """[outputs, inputs of one group, kernel height, kernel width] of a layer with weights."""
        match self.operator:
            case Convolution(out_channels, kernel, groups=groups):
                return (out_channels, self.input_shapes[0][0] // groups, *kernel)
            case Linear(out_features):
                return (out_features, self.input_shapes[0][0], 1, 1)
        raise TypeError(f"a {self.kind} layer has no weights")

    @property
    def products(self) -> int:
        """Products summed into one output of a layer with weights, padding taps counted."""
        return math.prod(self.weight_shape[1:])

    @property
    def outputs(self) -> int:
        """Elements of the output tensor of one image."""
        return math.prod(self.output_shape)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image, padding taps counted; 0 without weights."""
        return self.outputs * self.products if self.has_weights else 0

    @property
    def as_convolution(self) -> Convolution:
        """The operator of a layer with weights as a convolution; a linear layer is a 1x1 one."""
        if isinstance(self.operator, Linear):
            return Convolution(self.operator.out_features, (1, 1))
        assert isinstance(self.operator, Convolution)
        return self.operator

    @property
    def moved_channels(self) -> list[int]:
        """Which channel each output channel of a moving layer is, the inputs' counted one behind the other; -1 is zeros."""
        channels = list(range(sum(shape[0] for shape in self.input_shapes)))
        match self.operator:
            case Concatenate():
                return channels
            case Flatten():
                return [channel for channel in channels for _ in range(math.prod(self.input_shapes[0][1:]))]
            case Slice(starts, stops, steps):
                return channels[starts[0] : stops[0] : steps[0]]
            case PadChannels(before, after):
                return [-1] * before + channels + [-1] * after
            case ChannelShuffle(groups):
                size = len(channels) // groups
                return [channel for first in range(size) for channel in channels[first::size]]
        raise TypeError(f"a {self.kind} layer computes its channels")

    def to_json(self) -> dict[str, Any]:
        """Return the layer as plain JSON values; :func:`layer_from_json` reads it back.

        What later versions added to an operator is left out where it changes nothing.
        """
        fields = asdict(self.operator)
        if fields.get("dilation") == (1, 1):
            del fields["dilation"]
        return {
            "name": self.name,
            "operator": self.kind,
            **fields,
            "inputs": list(self.inputs),
            "input_shapes": [list(shape) for shape in self.input_shapes],
        }


def layer_from_json(fields: dict[str, Any]) -> Layer:
    """Return the layer that :meth:`Layer.to_json` wrote; a wrong field raises KeyError or TypeError."""
    fields = {key: _tuples(value) for key, value in fields.items()}
    name, kind = fields.pop("name"), fields.pop("operator")
    inputs, input_shapes = fields.pop("inputs"), fields.pop("input_shapes")
    layer = Layer(name, OPERATORS[kind](**fields), inputs, input_shapes)
    layer.output_shape  # noqa: B018  refuses shapes that contradict the operator
    return layer


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
