"""ReLU and clip become the clamp of the requantiser before them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from hwsim.errors import HwsimError
from hwsim.layers import INPUT, Clip, Layer, MaxPool, Moving, Relu, Rescale
from hwsim.network import FloatNetwork, signed_tensors


@dataclass(frozen=True)
class Fused:
    """Layers without ReLU and clip, and what each tensor of theirs stands for.

    ``float_names`` gives the tensor of the folded network that holds the same values; ``signed`` whether it
    can be negative; ``clamped_at_zero`` the tensors that only an unsigned format keeps from being negative;
    ``ceilings`` the clips' upper ends.
    """

    layers: tuple[Layer, ...]
    float_names: Mapping[str, str]
    signed: Mapping[str, bool]
    clamped_at_zero: frozenset[str]
    ceilings: Mapping[str, float]


def fuse_clamps(network: FloatNetwork) -> Fused:
    """Return the layers of a folded network with every ReLU and clip gone.

    One that is the only reader of a layer that requantizes disappears into it (that layer takes its place
    in the order); any other becomes a rescale of its own name. Raises :class:`HwsimError` for a clip whose
    range is neither [0, high] nor [-high, high]: integers about zero clamp at nothing else.
    """
    placed: dict[str, Layer] = {}
    renamed: dict[str, str] = {}
    clamps: dict[str, Layer] = {}
    for original in network.layers:
        layer = replace(original, inputs=tuple(renamed.get(name, name) for name in original.inputs))
        if isinstance(layer.operator, Relu | Clip):
            _check_clip(layer)
            producer = placed.get(layer.inputs[0])
            alone = len(network.consumers(original.inputs[0])) == 1
            if producer is not None and requantizes(producer) and producer.name not in clamps and alone:
                renamed[layer.name] = producer.name
                layer = placed.pop(producer.name)
            else:
                layer = replace(layer, operator=Rescale())
            clamps[layer.name] = original
        placed[layer.name] = layer
    return _fused(network, tuple(placed.values()), clamps)


def requantizes(layer: Layer) -> bool:
    """Whether a layer ends in a requantiser, which is where a tensor gets a format and a scale.

    Through the others, which only move or compare integers, both pass."""
    return not isinstance(layer.operator, MaxPool | Moving)


def _fused(network: FloatNetwork, layers: tuple[Layer, ...], clamps: dict[str, Layer]) -> Fused:
    signed = signed_tensors(network.layers, bool((network.preprocessing.values() < 0).any()))
    float_names = {name: clamps[name].name if name in clamps else name for name in _tensors(layers)}
    return Fused(
        layers,
        float_names,
        {name: signed[float_name] for name, float_name in float_names.items()},
        frozenset(name for name in clamps if not signed[clamps[name].name]),
        {name: clamp.operator.high for name, clamp in clamps.items() if isinstance(clamp.operator, Clip)},
    )


def _tensors(layers: tuple[Layer, ...]) -> list[str]:
    return [INPUT, *(layer.name for layer in layers)]


def _check_clip(layer: Layer) -> None:
    match layer.operator:
        case Clip(low, high) if math.isnan(high) or high <= 0 or low not in (0, -high):
            raise HwsimError(
                f'clip "{layer.name}" to [{low}, {high}] has no integer form; a clip goes from 0 or -high to high'
            )
