"""Where element-wise additions are computed: on integers, or in half precision.

Hu, Zeng, Wu: Bag of tricks with quantized convolutional neural networks for image classification, 2023
(arXiv 2303.07080), keep the inputs of element-wise additions in half precision, so that the residual path loses
nothing to 8 bits. ``half`` does that: what an addition reads or makes is IEEE half precision at scale 1, also
through the layers that move it. A layer with weights rounds its sum to it once; an
average or max pool, a clip, a ReLU that stands alone or the network's input makes integers, which are then
converted. Every other reader, and the network's output, takes the tensor as integers from one conversion back.
A ReLU behind such a layer is the unsigned format's clamp at 0.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from hwsim.errors import HwsimError
from hwsim.layers import INPUT, Add, FromHalf, Layer, Moving, Rescale
from hwsim.quantize.fuse import Fused


class Placed(NamedTuple):
    """The layers with conversions put in, and the tensors in half precision."""

    fused: Fused
    halves: frozenset[str]


def place_halves(fused: Fused) -> Placed:
    """Return the layers with the additions in half precision; unchanged where there is no addition.

    Raises :class:`HwsimError` for an addition that is clipped, which half precision has no circuit for.
    """
    placer = _Placer(fused)
    for layer in fused.layers:
        placer.place(layer)
    return placer.placed()


class _Placer:
    """One pass over the layers in order; the fields are what it knows so far."""

    def __init__(self, fused: Fused) -> None:
        self.fused, self.added = fused, _added(fused.layers)
        self.layers: list[Layer] = []
        self.halves: set[str] = set()
        self.stands_for: dict[str, str] = {}
        self.converted: dict[tuple[str, bool], str] = {}
        self.shapes = {INPUT: fused.layers[0].input_shapes[0]}
        self.shapes |= {layer.name: layer.output_shape for layer in fused.layers}

    def place(self, layer: Layer) -> None:
        half = self._is_half(layer)
        if half and layer.name in self.fused.ceilings and isinstance(layer.operator, Add):
            raise HwsimError(
                f'the addition "{layer.name}" is clipped, which is not done in half precision; '
                "choose placement=integer"
            )
        reads_half = half and not layer.has_weights
        inputs = tuple(self._read(name, reads_half) for name in layer.inputs)
        self.layers.append(replace(layer, inputs=inputs))
        if half:
            self.halves.add(layer.name)

    def _is_half(self, layer: Layer) -> bool:
        match layer.operator:
            case Add():
                return True
            case operator if isinstance(operator, Moving):
                return layer.name in self.added or any(name in self.halves for name in layer.inputs)
        clipped = layer.name in self.fused.ceilings
        return layer.has_weights and layer.name in self.added and not clipped

    def _read(self, name: str, half: bool) -> str:
        """Return the tensor through which one is read in half precision or as integers."""
        if (name in self.halves) == half:
            return name
        if (name, half) not in self.converted:
            self.converted[name, half] = self._convert(name, half)
        return self.converted[name, half]

    def _convert(self, name: str, half: bool) -> str:
        made = f"{name}.half" if half else f"{name}.integer"
        while made in self.shapes:
            made += "_"
        operator = Rescale() if half else FromHalf()
        self.layers.append(Layer(made, operator, (name,), (self.shapes[name],)))
        self.shapes[made] = self.shapes[name]
        self.stands_for[made] = name
        if half:
            self.halves.add(made)
        return made

    def placed(self) -> Placed:
        last = self.layers[-1].name
        if last in self.halves:
            self._convert(last, half=False)
        fused = self.fused
        float_names, signed = dict(fused.float_names), dict(fused.signed)
        for made, name in self.stands_for.items():
            float_names[made], signed[made] = float_names[name], signed[name]
        return Placed(
            replace(fused, layers=tuple(self.layers), float_names=float_names, signed=signed),
            frozenset(self.halves),
        )


def _added(layers: tuple[Layer, ...]) -> set[str]:
    """Return the tensors that an addition reads, itself or moved."""
    added: set[str] = set()
    for layer in reversed(layers):
        if isinstance(layer.operator, Add) or (isinstance(layer.operator, Moving) and layer.name in added):
            added.update(layer.inputs)
    return added
