"""A layer's output channels in groups, each a layer of its own: the same function, written so that groups can choose."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from hwsim.errors import HwsimError
from hwsim.layers import BatchNorm, Clip, Concatenate, Convolution, Layer, Linear, Relu, Slice
from hwsim.models.builder import parameter_shapes
from hwsim.network import FloatArray, FloatNetwork

ChannelGroups = Mapping[str, int | Sequence[int]]
"""The number of equal groups of a layer's output channels, or the groups' sizes in order."""

WHOLE: ChannelGroups = MappingProxyType({})
"""Every layer's channels in one group."""


def split_channels(network: FloatNetwork, groups: ChannelGroups) -> FloatNetwork:
    """Return the same function with the output channels of some layers in groups: layers ``conv.0``, ``conv.1``, ...

    What alone reads such a layer and works channel by channel (batch norm, ReLU, clip) is split with it, so that each
    group ends in one requantiser as the whole layer did. Behind that the groups are concatenated under the name of the
    tensor that others read. A group of a grouped convolution holds some of its groups whole and reads their channels
    alone, through a slice.

    Raises :class:`HwsimError` for a layer that is unknown or has no weights, for fewer than two groups, for sizes that
    are not the layer's channels together or cut through a convolution's own groups, and for names that are taken.
    """
    sizes = {name: _sizes(network, name, given) for name, given in groups.items()}
    layers: list[Layer] = []
    for layer in network.layers:
        if layer.name not in sizes:
            layers.append(layer)
            continue
        layers += _parts(layer, sizes[layer.name])
        readers = network.consumers(layer.name)
        if len(readers) == 1 and isinstance(readers[0].operator, BatchNorm | Relu | Clip):
            sizes[readers[0].name] = sizes[layer.name]
        else:
            layers.append(_joined(layer, sizes[layer.name]))
    _check_names(layers)
    return replace(network, layers=tuple(layers), parameters=_parameters(network, sizes))


def _sizes(network: FloatNetwork, name: str, given: int | Sequence[int]) -> tuple[int, ...]:
    """Return the sizes of a layer's groups in order."""
    weighted = {layer.name: layer for layer in network.layers if layer.has_weights}
    if name not in weighted:
        raise HwsimError(
            f'channel groups are those of a layer with weights, not of "{name}"; the network has {", ".join(weighted)}'
        )
    channels, own = weighted[name].output_shape[0], weighted[name].as_convolution.groups
    if isinstance(given, int):
        if given < 2 or channels % given:
            raise HwsimError(
                f'the {channels} channels of layer "{name}" make no {given} equal groups; give a divisor from 2 on, or the '
                "sizes of the groups"
            )
        given = (channels // given,) * given
    if len(given) < 2 or min(given) < 1 or sum(given) != channels:
        raise HwsimError(
            f'groups of {", ".join(map(str, given)) or "no"} channels are no parts of the {channels} of layer "{name}"; give '
            "two or more sizes that sum to them"
        )
    cut = [size for size in given if own > 1 and size % (channels // own)]
    if cut:
        raise HwsimError(
            f'a group of {cut[0]} channels cuts through those of the grouped convolution "{name}"; give multiples of '
            f"{channels // own}"
        )
    return tuple(given)


def _parts(layer: Layer, sizes: tuple[int, ...]) -> Iterator[Layer]:
    """Yield the groups of a layer in order, each behind the slice of the input that it reads where it reads a part."""
    (source,), (shape,) = layer.inputs, layer.input_shapes
    ends = itertools.accumulate(sizes)
    for place, (size, end) in enumerate(zip(sizes, ends, strict=True)):
        name = f"{layer.name}.{place}"
        match layer.operator:
            case Convolution(out_channels, groups=groups) as convolution if groups > 1:
                own, read = out_channels // groups, shape[0] // groups
                start, stop = (channel // own * read for channel in (end - size, end))
                cut = Slice((start, 0, 0), (stop, *shape[1:]), (1, 1, 1))
                yield Layer(f"{name}.slice", cut, (source,), (shape,))
                operator = replace(convolution, out_channels=size, groups=size // own)
                yield Layer(name, operator, (f"{name}.slice",), ((stop - start, *shape[1:]),))
            case Convolution() as convolution:
                yield Layer(name, replace(convolution, out_channels=size), (source,), (shape,))
            case Linear():
                yield Layer(name, Linear(size), (source,), (shape,))
            case _:
                yield Layer(name, layer.operator, (f"{source}.{place}",), ((size, *shape[1:]),))


def _joined(layer: Layer, sizes: tuple[int, ...]) -> Layer:
    """Return the concatenation of a layer's groups, under the layer's name."""
    names = tuple(f"{layer.name}.{place}" for place in range(len(sizes)))
    return Layer(layer.name, Concatenate(), names, tuple((size, *layer.output_shape[1:]) for size in sizes))


def _parameters(network: FloatNetwork, sizes: Mapping[str, tuple[int, ...]]) -> dict[str, FloatArray]:
    """Return a network's parameters, those of layers in groups cut along their output channels."""
    parameters = dict(network.parameters)
    for layer in network.layers:
        for key in parameter_shapes(layer) if layer.name in sizes else ():
            whole = parameters.pop(f"{layer.name}.{key}", None)
            pieces = [] if whole is None else np.split(whole, np.cumsum(sizes[layer.name])[:-1])
            parameters |= {f"{layer.name}.{place}.{key}": piece for place, piece in enumerate(pieces)}
    return parameters


def _check_names(layers: Sequence[Layer]) -> None:
    doubled = [name for name, count in Counter(layer.name for layer in layers).items() if count > 1]
    if doubled:
        raise HwsimError(
            f'a group of channels would be called "{doubled[0]}" as another layer is; leave its layer whole, or rename one'
        )
