"""Layer lists written down in order: names, inputs and shapes follow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.layers import INPUT, BatchNorm, Convolution, Layer, Operator, Padding, Pair, Relu, Shape
from hwsim.network import FloatArray, FloatNetwork, Preprocessing

NORM_PARAMETERS = ("weight", "bias", "running_mean", "running_var")


class Builder:
    """A network under construction; each method appends one layer and returns its tensor's name.

    A layer reads the tensor before it unless ``inputs`` names others. A name that is taken gets ``_2``,
    ``_3``, ... behind it; a character that is no letter, sign or blank becomes ``_``.
    """

    def __init__(self, input_shape: Shape) -> None:
        self.layers: list[Layer] = []
        self.parameters: dict[str, FloatArray] = {}
        self.shapes: dict[str, Shape] = {INPUT: input_shape}
        self.last = INPUT

    def add(self, name: str, operator: Operator, *inputs: str, **parameters: npt.ArrayLike) -> str:
        """Append a layer; ``parameters`` are its arrays: weight, bias, running_mean, running_var."""
        inputs = inputs or (self.last,)
        name = self._free(name)
        layer = Layer(name, operator, inputs, tuple(self.shapes[tensor] for tensor in inputs))
        try:
            self.shapes[name] = layer.output_shape
        except HwsimError as error:
            raise HwsimError(f'layer "{name}": {error}') from None
        self.layers.append(layer)
        for key, array in parameters.items():
            self.parameters[f"{name}.{key}"] = np.array(array, np.float64)
        self.last = name
        return name

    def convolution(
        self, name: str, channels: int, kernel: int, *inputs: str, stride: int = 1, groups: int = 1
    ) -> str:
        """Append a square convolution whose output has the input's size over ``stride``; kernel is odd."""
        around = kernel // 2
        padding = (around, around, around, around)
        operator = Convolution(channels, (kernel, kernel), (stride, stride), padding, groups)
        return self.add(name, operator, *inputs)

    def norm(self, name: str, relu: str = "") -> str:
        """Append a batch norm, and a ReLU of the name ``relu`` if one is given."""
        norm = self.add(name, BatchNorm())
        return self.add(relu, Relu()) if relu else norm

    def network(self, name: str, preprocessing: Preprocessing, data: str = "") -> FloatNetwork:
        """Return the network with the parameters given to :meth:`add`; see :func:`with_parameters`."""
        channels = self.shapes[INPUT][0]
        if not len(preprocessing.mean) == len(preprocessing.std) == channels:
            raise HwsimError(
                f"preprocessing has {len(preprocessing.mean)} means and {len(preprocessing.std)} stds"
                f" for {channels} channels; give one of each a channel"
            )
        layers = tuple(self.layers)
        check_parameters(layers, self.parameters)
        return FloatNetwork(name, self.shapes[INPUT], preprocessing, layers, self.parameters, data)

    def _free(self, name: str) -> str:
        name = "".join(c if c.isprintable() else "_" for c in name)
        count, free = 1, name
        while free in self.shapes:
            count += 1
            free = f"{name}_{count}"
        return free


def joined_padding(inner: Padding, outer: Padding) -> Padding:
    """Return the padding of a window that has its own inside another one's."""
    top, left, bottom, right = (a + b for a, b in zip(inner, outer, strict=True))
    return top, left, bottom, right


def ceiled(shape: Shape, kernel: Pair, stride: Pair, padding: Padding) -> Padding:
    """Return the padding with which rounding down gives the output size of ``ceil_mode``.

    A window that would start behind the input and its leading padding is left out.
    """
    ends = []
    for axis in (0, 1):
        size, before, after = shape[axis + 1], padding[axis], padding[axis + 2]
        steps = -(-(size + before + after - kernel[axis]) // stride[axis])
        if steps * stride[axis] >= size + before:
            steps -= 1
        ends.append(max(after, steps * stride[axis] + kernel[axis] - size - before))
    return (padding[0], padding[1], ends[0], ends[1])


def whole(shape: Sequence[int], elements: int) -> list[int]:
    """Return a shape with its -1, if it has one, as the size that makes ``elements`` of it.

    >>> whole([2, -1, 3], 24)
    [2, 4, 3]
    """
    known = -math.prod(shape)
    return [elements // known if size == -1 and known > 0 else size for size in shape]


def parameter_shapes(layer: Layer) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter a layer can have; a layer with weights may go without its bias."""
    if isinstance(layer.operator, BatchNorm):
        return dict.fromkeys(NORM_PARAMETERS, layer.output_shape[:1])
    if layer.has_weights:
        return {"weight": layer.weight_shape, "bias": layer.output_shape[:1]}
    return {}


def check_parameters(layers: Sequence[Layer], parameters: Mapping[str, FloatArray]) -> None:
    """Refuse missing parameters, other shapes, and numbers that are not finite, naming layer and count."""
    wanted = [(layer, key, shape) for layer in layers for key, shape in parameter_shapes(layer).items()]
    missing = [
        (layer, key)
        for layer, key, _ in wanted
        if f"{layer.name}.{key}" not in parameters and not (key == "bias" and layer.has_weights)
    ]
    if missing:
        layer, key = missing[0]
        raise HwsimError(
            f'layer "{layer.name}" has no {key}; {len(missing)} of the {len(wanted)} parameters are missing'
        )
    for layer, key, shape in wanted:
        array = parameters.get(f"{layer.name}.{key}")
        if array is not None:
            _check_parameter(layer, key, array, shape)


def _check_parameter(layer: Layer, key: str, array: FloatArray, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise HwsimError(f'layer "{layer.name}" has a {key} of shape {list(array.shape)}, not {list(shape)}')
    wrong = int(array.size - np.isfinite(array).sum())
    if wrong:
        raise HwsimError(
            f'layer "{layer.name}" has {wrong} of {array.size} values in its {key} that are NaN or infinite;'
            " export the network again"
        )
    epsilon = layer.operator.epsilon if isinstance(layer.operator, BatchNorm) else 0.0
    if key == "running_var" and array.min() + epsilon <= 0:
        raise HwsimError(f'layer "{layer.name}" has a variance of {array.min()}; a variance is above 0')
