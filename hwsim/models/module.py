"""Float networks from torch modules: whatever ``torch.fx`` traces and is made of a convolutional classifier's parts.

The graph that the tracing finds decides, not the order of the module's attributes. What is not supported is listed
at once, by name; what was translated is held against the module itself on one image before it is returned.
"""

from __future__ import annotations

import copy
import inspect
import math
import operator
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, fx, nn

from hwsim.catalogue import reason
from hwsim.errors import HwsimError
from hwsim.layers import (
    INPUT,
    Add,
    AveragePool,
    BatchNorm,
    ChannelShuffle,
    Clip,
    Concatenate,
    Convolution,
    Flatten,
    Linear,
    MaxPool,
    Operator,
    PadChannels,
    Padding,
    Pair,
    Relu,
    Shape,
    Slice,
)
from hwsim.models.builder import Builder, ceiled, joined_padding, whole
from hwsim.models.forward import logits, single_threaded
from hwsim.network import FloatArray, FloatNetwork, Preprocessing

TOLERANCE = 1e-5
"""How far, relative to its largest output, the module's own result may be from the translated network's."""

_NO_PADDING = (0, 0, 0, 0)


def from_module(
    module: nn.Module,
    input_shape: Shape,
    preprocessing: Preprocessing,
    *,
    name: str = "",
    data: str = "",
) -> FloatNetwork:
    """Return the float network of a torch module that takes one batch of images and gives one of class scores.

    ``input_shape`` is (channels, height, width). The module is taken as for inference, in float64: weights of any
    float type keep their values, and it is itself left as it is. Supported are Conv2d of any groups and dilation, Linear, batch
    norm, ReLU, ReLU6 and clamps, additions, concatenations of channels, max, average and adaptive average pooling,
    means over height and width, flattening, zero padding, strided slices, splits and shuffles of channels, and what inference skips
    (dropout, identity); a softmax at the end is dropped. Layers are named as the submodules, else as the functions. ``data`` names
    the data set whose splits belong to it. Raises :class:`HwsimError` that names everything unsupported.
    """
    title = name or type(module).__name__
    try:
        inference = copy.deepcopy(module).eval().to("cpu", torch.float64)
        graph = fx.Tracer().trace(inference, _defaults(inference))
    except Exception as error:  # the person's own code, copied and traced
        raise HwsimError(
            f'module "{title}" cannot be traced by torch.fx: {reason(error)}; its layers must not depend on values'
        ) from None
    try:
        imported = _Import(inference, graph, input_shape)
        network = imported.network(title, preprocessing, data)
        _hold_against(inference, network, imported.head)
    except HwsimError as error:
        raise HwsimError(f'cannot use module "{title}": {error}') from None
    return network


def _defaults(module: nn.Module) -> dict[str, Any]:
    """Return the arguments of a module besides the images that have a default, with it."""
    _, *others = inspect.signature(module.forward).parameters.values()
    return {other.name: other.default for other in others if other.default is not other.empty}


def _hold_against(module: nn.Module, network: FloatNetwork, head: Head | None) -> None:
    """Refuse a network that computes something else than the module on two images of noise."""
    channels, height, width = network.input_shape
    noise = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (2, height, width, channels), np.uint8)
    x = network.preprocessing.apply(noise)
    with single_threaded() as pool:  # threads would wait for each other longer than they work
        ours = torch.from_numpy(pool.submit(logits, network, x).result())
        theirs = pool.submit(_scores, module, np.ascontiguousarray(x)).result()
    difference = float((theirs - (head(ours) if head else ours)).abs().max())
    if not difference <= TOLERANCE * float(theirs.abs().max()):
        raise HwsimError(
            f"its own result differs by {difference:.3g} from that of its traced layers; change no tensor in place"
            " that is read again, and let no layer have hooks"
        )


def _scores(module: nn.Module, x: FloatArray) -> Tensor:
    try:
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of speed, which is no matter here
            scores: Tensor = module(torch.from_numpy(x)).reshape(len(x), -1)
    except Exception as error:  # the person's own code
        raise HwsimError(f"it fails on images: {reason(error)}; correct it") from None
    return scores


@dataclass(frozen=True)
class _Tensor:
    """A tensor of the graph: the layer that makes it, its rank there, and zeros still to be put around it.

    At rank 5 it is read as [n, groups, channels / groups, height, width].
    """

    layer: str
    rank: int = 4
    padding: Padding = _NO_PADDING
    groups: int = 1


class _Symbol:
    """A value that is known by its name only."""


_BATCH = _Symbol()
"""The number of images, as the graph computes with it."""
_UNKNOWN = _Symbol()
"""What an unsupported node would have made."""


class _Import:
    """The state of one translation: the layers so far, what each node became, and what is not supported."""

    def __init__(self, module: nn.Module, graph: fx.Graph, shape: Shape) -> None:
        self.module, self.graph = module, graph
        self.build = Builder(shape)
        self.values: dict[fx.Node, Any] = {}
        self.problems: list[str] = []
        self.head: Head | None = None
        self.node = next(iter(graph.nodes))

    def network(self, name: str, preprocessing: Preprocessing, data: str) -> FloatNetwork:
        images = True
        for node in self.graph.nodes:
            self.node = node
            match self.node.op:
                case "placeholder" if images:
                    value, images = _Tensor(INPUT), False
                case "placeholder":
                    value = self._default()
                case "get_attr":
                    value = operator.attrgetter(str(self.node.target))(self.module)
                case "output":
                    value = self.node.args[0]
                case _:
                    value = self._call()
            self.values[self.node] = value
        if self.problems:
            raise HwsimError(
                f"not supported: {'; '.join(dict.fromkeys(self.problems))}; hwsim takes convolutional classifiers"
            )
        self._keep(self._output(value))
        return self.build.network(name, preprocessing, data)

    def _default(self) -> Any:
        if not self.node.args:
            raise HwsimError(f'its forward needs "{self.node.target}" besides the images; give it a default')
        return self.node.args[0]

    def _output(self, value: Any) -> str:
        made = self.values.get(value) if isinstance(value, fx.Node) else None
        if not isinstance(made, _Tensor) or made.layer == INPUT or made.padding != _NO_PADDING:
            raise HwsimError("its output is no computed tensor; return the class scores alone")
        if self.build.shapes[made.layer][1:] != (1, 1):
            raise HwsimError(
                f"its output is [n, {', '.join(map(str, self.shape(made)))}]; return class scores [n, classes]"
            )
        return made.layer

    def _keep(self, output: str) -> None:
        """Drop the layers that the output does not depend on; it is the last one then."""
        needed = {output}
        for layer in reversed(self.build.layers):
            if layer.name in needed:
                needed.update(layer.inputs)
        self.build.layers = [layer for layer in self.build.layers if layer.name in needed]

    def _call(self) -> Any:
        """Return what the current node's call makes: a tensor, a size, or nothing known."""
        arguments, options = fx.node.map_arg((self.node.args, self.node.kwargs), self.values.__getitem__)
        given: list[Any] = []
        fx.node.map_aggregate((arguments, options), given.append)
        label, translate, more = self._translator()
        if not any(value is _UNKNOWN or isinstance(value, _Tensor) for value in given):
            translate = self._evaluate  # sizes
        try:
            if translate is None:
                self.problems.append(label)
            elif not any(value is _UNKNOWN for value in given):
                return translate(self, *arguments, **options, **more)
        except HwsimError as error:
            self.problems.append(f"{label} {error}")
        except Exception as error:  # arguments of another kind than the translator takes
            self.problems.append(f"{label} as it is called ({reason(error)})")
        return _UNKNOWN

    def _evaluate(self, _: _Import, *arguments: Any, **options: Any) -> Any:
        assert callable(self.node.target)
        return self.node.target(*arguments, **options)

    def _translator(self) -> tuple[str, Translate | None, dict[str, Any]]:
        """Return the current node's name for people, what translates it, and the options it has as a module."""
        target = self.node.target
        if self.node.op == "call_module":
            module = self.module.get_submodule(str(target))
            kind = type(module)
            for base, (translate, attributes) in _MODULES.items():
                if isinstance(module, base) and kind.forward is base.forward:
                    options = {name: getattr(module, name) for name in attributes.split()}
                    return f'{kind.__name__} "{target}"', translate, options
            return f'{kind.__name__} "{target}"', None, {}
        if self.node.op == "call_method":
            return f'method {target} "{self.node.name}"', _METHODS.get(str(target)), {}
        label = f'{getattr(target, "__name__", target)} "{self.node.name}"'
        return label, _FUNCTIONS.get(target), {}

    def shape(self, tensor: _Tensor) -> Shape:
        return self.build.shapes[tensor.layer]

    def sizes(self, tensor: _Tensor) -> list[int]:
        """Return the sizes of a tensor as the module sees it, without the batch."""
        channels, *plane = self.shape(tensor)
        grouped = [tensor.groups, channels // tensor.groups, *plane]
        return grouped if tensor.rank == 5 else [channels, *plane][: tensor.rank - 1]

    def add(
        self,
        operation: Operator,
        *inputs: _Tensor,
        rank: int = 0,
        in_place: bool = False,
        parameters: Mapping[str, Tensor | None] = MappingProxyType({}),
    ) -> _Tensor:
        """Append the current node's layer; in place, every name of its first input means the result from now on."""
        for tensor in inputs:
            if tensor.padding != _NO_PADDING:
                raise HwsimError(
                    "reads a tensor padded in height or width, which only a convolution and an average pool can"
                )
            _require(tensor.rank < 5, "reads channels in groups; only a channel shuffle is supported there")
        name = str(self.node.target) if self.node.op == "call_module" else self.node.name
        arrays = {
            key: np.ascontiguousarray(value.detach().numpy())
            for key, value in parameters.items()
            if value is not None
        }
        made = self.build.add(name, operation, *(tensor.layer for tensor in inputs), **arrays)
        if in_place:
            for node, value in self.values.items():
                if isinstance(value, _Tensor) and value.layer == inputs[0].layer:
                    self.values[node] = replace(value, layer=made)
        return _Tensor(made, rank or inputs[0].rank)


Translate = Callable[..., Any]
"""From the state and a call's own arguments, named as torch names them, to a tensor or a size."""

Head = Callable[[Tensor], Tensor]
"""A softmax at the end."""


def _require(fits: bool, problem: str) -> None:
    if not fits:
        raise HwsimError(problem)


def _pair(value: int | Sequence[int]) -> Pair:
    if isinstance(value, int):
        return (value, value)
    first, *rest = value
    return (first, rest[0] if rest else first)


def _conv(
    state: _Import,
    input: _Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: str | int | Pair = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
) -> _Tensor:
    _require(padding_mode == "zeros", f'has padding_mode "{padding_mode}", only zeros are supported')
    _require(weight.ndim == 4 and input.rank == 4, "is not 2-D")
    kernel = (weight.shape[2], weight.shape[3])
    convolution = Convolution(len(weight), kernel, _pair(stride), groups=groups, dilation=_pair(dilation))
    if padding == "same":
        rows, columns = (extent - 1 for extent in convolution.extent)
        own: Padding = (rows // 2, columns // 2, rows - rows // 2, columns - columns // 2)
    else:
        height, width = (0, 0) if isinstance(padding, str) else _pair(padding)
        own = (height, width, height, width)
    convolution = replace(convolution, padding=joined_padding(own, input.padding))
    return state.add(convolution, _Tensor(input.layer), parameters={"weight": weight, "bias": bias})


def _linear(state: _Import, input: _Tensor, weight: Tensor, bias: Tensor | None = None) -> _Tensor:
    _require(input.rank == 2, "reads a tensor that is not flat; put a flatten before it")
    return state.add(
        Linear(len(weight)), input, parameters={"weight": weight[:, :, None, None], "bias": bias}
    )


def _batch_norm(
    state: _Import,
    input: _Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> _Tensor:
    _require(running_mean is not None and running_var is not None, "has no running statistics")
    _require(not training, "normalises with the batch's statistics")
    assert running_mean is not None and running_var is not None
    return state.add(
        BatchNorm(eps),
        input,
        parameters={
            "weight": torch.ones_like(running_mean) if weight is None else weight,
            "bias": torch.zeros_like(running_mean) if bias is None else bias,
            "running_mean": running_mean,
            "running_var": running_var,
        },
    )


def _relu(state: _Import, input: _Tensor, inplace: bool = False) -> _Tensor:
    return state.add(Relu(), input, in_place=inplace)


def _hardtanh(
    state: _Import, input: _Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> _Tensor:
    return _clamp(state, input, min_val, max_val, inplace=inplace)


def _relu6(state: _Import, input: _Tensor, inplace: bool = False) -> _Tensor:
    return _clamp(state, input, 0.0, 6.0, inplace=inplace)


def _clamp(
    state: _Import,
    input: _Tensor,
    min: float | None = None,
    max: float | None = None,
    *,
    inplace: bool = False,
) -> _Tensor:
    low, high = (-math.inf if min is None else float(min)), (math.inf if max is None else float(max))
    _require(low < high, f"clamps to {low} .. {high}, which is empty")
    return state.add(Relu() if (low, high) == (0.0, math.inf) else Clip(low, high), input, in_place=inplace)


def _in_place(translate: Translate) -> Translate:
    return lambda state, *arguments, **options: translate(state, *arguments, **options, inplace=True)


def _add(state: _Import, input: _Tensor, other: Any, *, alpha: float = 1, inplace: bool = False) -> _Tensor:
    _require(
        isinstance(input, _Tensor) and isinstance(other, _Tensor),
        "adds a constant; only tensors that the network computes are added",
    )
    _require(alpha == 1, f"scales by alpha {alpha}")
    _require(input.rank == other.rank, f"adds tensors of ranks {input.rank} and {other.rank}")
    return state.add(Add(), input, other, in_place=inplace)


def _concatenate(state: _Import, tensors: Sequence[_Tensor], dim: int = 0) -> _Tensor:
    ranks = {tensor.rank for tensor in tensors}
    _require(
        len(ranks) == 1 and dim % min(ranks) == 1, f"joins along axis {dim}, only channels are supported"
    )
    return tensors[0] if len(tensors) == 1 else state.add(Concatenate(), *tensors)


def _max_pool(
    state: _Import,
    input: _Tensor,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> _Tensor:
    _require(_pair(dilation) == (1, 1), f"has dilation {_pair(dilation)}, only 1 is supported")
    _require(not return_indices, "returns indices")
    kernel, step, around = _window(kernel_size, stride, padding)
    if ceil_mode:
        around = ceiled(state.shape(input), kernel, step, around)
    return state.add(MaxPool(kernel, step, around), input)


def _average_pool(
    state: _Import,
    input: _Tensor,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> _Tensor:
    kernel, step, own = _window(kernel_size, stride, padding)
    around = joined_padding(own, input.padding)
    _require(
        count_include_pad or own == _NO_PADDING,
        "leaves padded places out of its means, only count_include_pad=True is supported",
    )
    _require(divisor_override in (None, math.prod(kernel)), f"divides by {divisor_override}")
    _require(
        not ceil_mode or ceiled(state.shape(input), kernel, step, around) == around,
        "has ceil_mode with a window beyond the input",
    )
    return state.add(AveragePool(kernel, step, around), replace(input, padding=_NO_PADDING))


def _window(kernel: int | Pair, stride: int | Pair | None, padding: int | Pair) -> tuple[Pair, Pair, Padding]:
    size, (height, width) = _pair(kernel), _pair(padding)
    return size, (_pair(stride) if stride else size), (height, width, height, width)


def _adaptive(pool: type[AveragePool] | type[MaxPool]) -> Translate:
    def translate(state: _Import, input: _Tensor, output_size: Any, return_indices: bool = False) -> _Tensor:
        _require(not return_indices, "returns indices")
        _, *sizes = state.shape(input)
        wanted = output_size if isinstance(output_size, tuple | list) else (output_size, output_size)
        outputs = [size if want is None else want for size, want in zip(sizes, wanted, strict=True)]
        _require(
            all(size % want == 0 for size, want in zip(sizes, outputs, strict=True)),
            f"pools {sizes[0]}x{sizes[1]} to {outputs[0]}x{outputs[1]} in windows of different sizes",
        )
        kernel = (sizes[0] // outputs[0], sizes[1] // outputs[1])
        return input if kernel == (1, 1) else state.add(pool(kernel, kernel), input)

    return translate


def _mean(state: _Import, input: _Tensor, dim: Any = None, keepdim: bool = False) -> _Tensor:
    axes = sorted(axis % 4 for axis in dim) if isinstance(dim, tuple | list) else dim
    _require(
        input.rank == 4 and axes == [2, 3],
        f"averages over {dim}, only height and width together are supported",
    )
    _, height, width = state.shape(input)
    return state.add(AveragePool((height, width), (height, width)), input, rank=4 if keepdim else 2)


def _flatten(state: _Import, input: _Tensor, start_dim: int = 0, end_dim: int = -1) -> _Tensor:
    if input.rank == 5 and (start_dim % 5, end_dim % 5) == (1, 2):
        return replace(input, rank=4)
    _require(
        start_dim % input.rank == 1 and end_dim % input.rank == input.rank - 1,
        f"flattens axes {start_dim} to {end_dim}, only all but the batch are supported",
    )
    return input if input.rank == 2 else state.add(Flatten(), replace(input, rank=4), rank=2)


def _reshape(state: _Import, input: _Tensor, *shape: Any) -> _Tensor:
    """Keep a reshape to [n, features], one to the shape that is there already, and channels in groups."""
    batch, *rest = shape[0] if isinstance(shape[0], tuple | list) else shape
    here = state.shape(input)
    keeps_batch = batch is _BATCH or (batch == -1 and -1 not in rest)
    made = whole(rest, math.prod(here))
    if keeps_batch and made == [math.prod(here)]:
        return _flatten(state, input, 1)
    grouped = len(made) == 4 and [made[0] * made[1], *made[2:]] == list(here)
    _require(
        keeps_batch and (grouped or made == list(here)),
        f"reshapes {state.sizes(input)} to {rest}, only a flatten to [n, {math.prod(here)}] and the groups of a channel"
        " shuffle are supported",
    )
    return replace(input, rank=5, groups=made[0]) if grouped else replace(input, rank=4)


def _transpose(state: _Import, input: _Tensor, dim0: int, dim1: int) -> _Tensor:
    """Make of groups and their channels, exchanged, a channel shuffle."""
    _require(
        input.rank == 5 and {dim0 % 5, dim1 % 5} == {1, 2},
        f"exchanges axes {dim0} and {dim1}, only the groups of a channel shuffle and their channels are supported",
    )
    shuffled = _shuffle(state, replace(input, rank=4), input.groups)
    return replace(shuffled, rank=5, groups=state.shape(input)[0] // input.groups)


def _permute(state: _Import, input: _Tensor, *dims: Any) -> _Tensor:
    order = list(dims[0] if isinstance(dims[0], tuple | list) else dims)
    _require(
        order == [0, 2, 1, 3, 4],
        f"orders axes as {order}, only those of a channel shuffle, [0, 2, 1, 3, 4], are supported",
    )
    return _transpose(state, input, 1, 2)


def _shuffle(state: _Import, input: _Tensor, groups: int) -> _Tensor:
    return state.add(ChannelShuffle(groups), input)


def _size(state: _Import, input: _Tensor, dim: int | None = None) -> Any:
    sizes = (_BATCH, *state.sizes(input))
    return sizes if dim is None else sizes[dim]


def _attribute(state: _Import, input: _Tensor, name: str) -> Any:
    _require(name in ("shape", "data"), f"reads {name} of a tensor")
    return _size(state, input) if name == "shape" else input


def _split(
    state: _Import, input: _Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0
) -> tuple[_Tensor, ...]:
    """Make of each part of the channels a slice."""
    channels, size = state.shape(input)[0], split_size_or_sections
    _require(dim % input.rank == 1, f"splits axis {dim}, only channels are supported")
    ends = [*range(size, channels, size), channels] if isinstance(size, int) else np.cumsum(size).tolist()
    _require(ends[-1] == channels, f"splits {channels} channels into {size}")
    return tuple(_slice(state, input, (slice(None), slice(*part))) for part in pairwise([0, *ends]))


def _chunk(state: _Import, input: _Tensor, chunks: int, dim: int = 0) -> tuple[_Tensor, ...]:
    return _split(state, input, -(-state.shape(input)[0] // chunks), dim)


def _item(state: _Import, input: _Tensor | tuple[_Tensor, ...], index: Any) -> _Tensor:
    return input[index] if isinstance(input, tuple) else _slice(state, input, index)


def _slice(state: _Import, input: _Tensor, index: Any) -> _Tensor:
    batch, *others = index if isinstance(index, tuple) else (index,)
    parts = [*others, *[slice(None)] * (input.rank - 1 - len(others))]
    _require(
        batch == slice(None) and all(isinstance(part, slice) and (part.step or 1) > 0 for part in parts),
        f"reads {index} of a tensor, only strided slices of channels, rows and columns are supported",
    )
    shape = state.shape(input)
    bounds = [part.indices(size) for part, size in zip(parts, shape, strict=False)] + [(0, 1, 1)] * (
        4 - input.rank
    )
    starts, stops, steps = zip(*bounds, strict=True)
    return state.add(Slice(starts, stops, steps), input)


def _pad(
    state: _Import, input: _Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> _Tensor:
    """Keep zero channels as a layer; zeros around rows and columns wait for the convolution behind them."""
    _require(
        mode == "constant" and not value and min(pad) >= 0 and len(pad) <= 6 and input.rank == 4,
        f"pads {tuple(pad)} with {mode} {value or 0}, only zeros around a [n, c, h, w] are supported",
    )
    left, right, top, bottom, before, after = (*pad, *[0] * (6 - len(pad)))
    inner = replace(input, padding=_NO_PADDING)
    if before + after:
        inner = state.add(PadChannels(before, after), inner)
    return replace(inner, padding=joined_padding(input.padding, (top, left, bottom, right)))


def _zero_pad(state: _Import, input: _Tensor, padding: Sequence[int]) -> _Tensor:
    return _pad(state, input, padding)


def _identity(state: _Import, input: _Tensor, *_: Any, **__: Any) -> _Tensor:
    return input


def _dropout(
    state: _Import, input: _Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> _Tensor:
    _require(not training or p == 0, "drops values in inference too; pass training=self.training")
    return input


def _softmax(head: Callable[..., Tensor]) -> Translate:
    def translate(state: _Import, input: _Tensor, dim: int | None = None, **_: Any) -> _Tensor:
        last = [user.op for user in state.node.users] == ["output"]
        _require(
            last and input.rank == 2 and dim in (1, -1),
            "is not the last step over the classes; only there, where it changes no class, is it dropped",
        )
        state.head = lambda scores: head(scores, dim=1)
        return input

    return translate


_MODULES: Mapping[type[nn.Module], tuple[Translate, str]] = {
    nn.Conv2d: (_conv, "weight bias stride padding dilation groups padding_mode"),
    nn.Linear: (_linear, "weight bias"),
    nn.BatchNorm2d: (_batch_norm, "running_mean running_var weight bias eps"),
    nn.BatchNorm1d: (_batch_norm, "running_mean running_var weight bias eps"),
    nn.ReLU: (_relu, "inplace"),
    nn.Hardtanh: (_hardtanh, "min_val max_val inplace"),
    nn.MaxPool2d: (_max_pool, "kernel_size stride padding dilation ceil_mode return_indices"),
    nn.AvgPool2d: (
        _average_pool,
        "kernel_size stride padding ceil_mode count_include_pad divisor_override",
    ),
    nn.AdaptiveAvgPool2d: (_adaptive(AveragePool), "output_size"),
    nn.AdaptiveMaxPool2d: (_adaptive(MaxPool), "output_size return_indices"),
    nn.Flatten: (_flatten, "start_dim end_dim"),
    nn.ZeroPad2d: (_zero_pad, "padding"),
    nn.ChannelShuffle: (_shuffle, "groups"),
    nn.Softmax: (_softmax(functional.softmax), "dim"),
    nn.LogSoftmax: (_softmax(functional.log_softmax), "dim"),
    **dict.fromkeys((nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout), (_identity, "")),
}
"""What translates each module, and the attributes that are its options. Subclasses with another forward are traced."""

_FUNCTIONS: Mapping[Any, Translate] = {
    functional.conv2d: _conv,
    functional.linear: _linear,
    functional.batch_norm: _batch_norm,
    **dict.fromkeys((functional.relu, torch.relu), _relu),
    **dict.fromkeys((functional.relu_, torch.relu_), _in_place(_relu)),
    functional.relu6: _relu6,
    functional.hardtanh: _hardtanh,
    **dict.fromkeys((torch.clamp, torch.clip), _clamp),
    **dict.fromkeys((operator.add, torch.add), _add),
    operator.iadd: _in_place(_add),
    **dict.fromkeys((torch.cat, torch.concat, torch.concatenate), _concatenate),
    **dict.fromkeys((functional.max_pool2d, torch.max_pool2d), _max_pool),
    functional.avg_pool2d: _average_pool,
    **dict.fromkeys((functional.adaptive_avg_pool2d,), _adaptive(AveragePool)),
    functional.adaptive_max_pool2d: _adaptive(MaxPool),
    torch.mean: _mean,
    torch.flatten: _flatten,
    torch.reshape: _reshape,
    **dict.fromkeys((torch.transpose, torch.swapaxes, torch.swapdims), _transpose),
    torch.permute: _permute,
    **dict.fromkeys((torch.channel_shuffle, functional.native_channel_shuffle), _shuffle),
    torch.split: _split,
    torch.chunk: _chunk,
    operator.getitem: _item,
    getattr: _attribute,
    functional.pad: _pad,
    **dict.fromkeys((functional.dropout, functional.dropout2d), _dropout),
    **dict.fromkeys((functional.softmax, torch.softmax), _softmax(functional.softmax)),
    **dict.fromkeys((functional.log_softmax, torch.log_softmax), _softmax(functional.log_softmax)),
}

_METHODS: Mapping[str, Translate] = {
    "relu": _relu,
    "relu_": _in_place(_relu),
    **dict.fromkeys(("clamp", "clip"), _clamp),
    **dict.fromkeys(("clamp_", "clip_"), _in_place(_clamp)),
    "add": _add,
    "add_": _in_place(_add),
    "mean": _mean,
    "flatten": _flatten,
    **dict.fromkeys(("view", "reshape"), _reshape),
    **dict.fromkeys(("transpose", "swapaxes", "swapdims"), _transpose),
    "permute": _permute,
    "split": _split,
    "chunk": _chunk,
    "size": _size,
    **dict.fromkeys(("contiguous", "clone", "detach"), _identity),
    "softmax": _softmax(functional.softmax),
    "log_softmax": _softmax(functional.log_softmax),
}
