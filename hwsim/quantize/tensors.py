"""Which integer format and scale every tensor gets, and where a rescale has to stand between two.

A tensor is given its integers by the layer that requantizes it; max pooling, concatenation, flattening,
slicing and channel padding pass them on. Tensors joined so are one group and share one format and scale.
The format is the widest that the group's readers with weights demand (of two equally wide, the unsigned
one); without such a reader it has the settings' elementwise width; the group of the network's output is
int16. The threshold is the largest of the group's members, each found by the activations' quantizer; it is
min-max for the groups of the network's input and output.

A rescale is put in before a layer that demands another format than the group's ("conv2.input"), and behind
one that cannot produce the group's tensor itself ("conv1.output"): its ReLU needs an unsigned format's clamp
at 0 but the group is signed, or its clip ends below the group's range.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from hwsim.bits import BitConfig
from hwsim.formats import Int
from hwsim.layers import INPUT, Layer, Rescale, Shape
from hwsim.quantize import min_max
from hwsim.quantize.calibrate import Calibration
from hwsim.quantize.fuse import Fused, requantizes
from hwsim.quantize.scales import scale_of
from hwsim.quantize.settings import Settings

OUTPUT = Int(16)
"""Format of the network's output."""


@dataclass(frozen=True)
class Tensor:
    """An integer tensor, real value = integer * scale, and the folded network's tensor it stands for."""

    format: Int
    scale: float
    float_name: str


@dataclass(frozen=True)
class Assignment:
    """Layers with their rescales, in order, and every tensor by name."""

    layers: tuple[Layer, ...]
    tensors: Mapping[str, Tensor]


def assign(fused: Fused, bits: BitConfig, calibration: Calibration, settings: Settings) -> Assignment:
    """Return the fused layers with rescales put in, and the format and scale of every tensor."""
    return _Assigner(fused, bits, calibration, settings).run()


Sources = frozenset[str]
"""The layers (or the network's input) that requantize what a tensor holds."""


class _Assigner:
    """One pass over the layers in order; the fields are what it knows so far."""

    def __init__(self, fused: Fused, bits: BitConfig, calibration: Calibration, settings: Settings) -> None:
        self.fused, self.bits, self.calibration, self.settings = fused, bits, calibration, settings
        self.sources = _sources(fused.layers)
        self.groups = _groups(self.sources.values())
        self.min_max = {*self._group(fused.layers[-1].name), *self._group(INPUT)}
        self.formats = self._formats()
        self.names = set(self.sources)
        self.layers: list[Layer] = []
        self.tensors = {INPUT: self._group_tensor(INPUT)}
        self.carriers: dict[str, str] = {}
        self.converted: dict[tuple[str, Int], str] = {}

    def run(self) -> Assignment:
        for layer in self.fused.layers:
            inputs = tuple(self.carriers.get(name, name) for name in layer.inputs)
            if layer.has_weights:
                inputs = (self._demanded(layer, inputs[0]),)
            self.layers.append(replace(layer, inputs=inputs))
            wanted = self._group_tensor(layer.name)
            self.tensors[layer.name] = self._producible(layer.name, wanted) if requantizes(layer) else wanted
            if self.tensors[layer.name] != wanted:
                self.carriers[layer.name] = self._rescale(
                    layer.name, f"{layer.name}.output", layer.output_shape, wanted
                )
        return Assignment(tuple(self.layers), self.tensors)

    def _group(self, tensor: str) -> Sources:
        return self.groups[min(self.sources[tensor])]

    def _formats(self) -> dict[Sources, Int]:
        demands: dict[Sources, list[Int]] = {group: [] for group in self.groups.values()}
        for layer in self.fused.layers:
            if layer.has_weights:
                demands[self._group(layer.inputs[0])].append(self.bits[layer.name].activation)
        demands[self._group(self.fused.layers[-1].name)].append(OUTPUT)
        return {group: self._widest(group, demanded) for group, demanded in demands.items()}

    def _widest(self, group: Sources, demanded: list[Int]) -> Int:
        signed = any(self.fused.signed[name] for name in group)
        widest = max(demanded, key=lambda form: (form.bits, not form.signed), default=None)
        if widest is None:
            return Int(self.settings.elementwise, signed)
        return Int(widest.bits, signed=signed or widest.signed)

    def _threshold(self, source: str, target: Int) -> float:
        method = min_max.threshold if source in self.min_max else self.settings.activation_quantizer
        seen = self.calibration.statistics[self.fused.float_names[source]]
        return min(float(method(seen, target)), self.fused.ceilings.get(source, math.inf))

    def _tensor(self, sources: Sources, target: Int, float_name: str) -> Tensor:
        threshold = max(self._threshold(source, target) for source in sources)
        return Tensor(target, float(scale_of(threshold, target)), float_name)

    def _group_tensor(self, name: str) -> Tensor:
        group = self._group(name)
        return self._tensor(group, self.formats[group], self.fused.float_names[name])

    def _producible(self, name: str, wanted: Tensor) -> Tensor:
        """Return the tensor nearest to the group's that a layer's requantizer can clamp to."""
        target = wanted.format
        if target.signed and name in self.fused.clamped_at_zero:
            target = Int(target.bits - 1, signed=False)
        own = self._tensor(frozenset([name]), target, wanted.float_name)
        ends_below = name in self.fused.ceilings and own.scale < wanted.scale
        return own if ends_below else replace(wanted, format=target)

    def _demanded(self, layer: Layer, source: str) -> str:
        """Return the tensor through which a layer with weights reads another, in the format it demands."""
        target = self.bits[layer.name].activation
        if self.tensors[source].format == target:
            return source
        if (source, target) not in self.converted:
            (read,) = layer.inputs
            tensor = self._tensor(self.sources[read], target, self.fused.float_names[read])
            name = self._rescale(source, f"{layer.name}.input", layer.input_shapes[0], tensor)
            self.converted[source, target] = name
        return self.converted[source, target]

    def _rescale(self, source: str, name: str, shape: Shape, tensor: Tensor) -> str:
        while name in self.names:
            name += "_"
        self.names.add(name)
        self.layers.append(Layer(name, Rescale(), (source,), (shape,)))
        self.tensors[name] = tensor
        return name


def _sources(layers: tuple[Layer, ...]) -> dict[str, Sources]:
    sources = {INPUT: frozenset([INPUT])}
    for layer in layers:
        passed_on = frozenset[str]().union(*(sources[name] for name in layer.inputs))
        sources[layer.name] = frozenset([layer.name]) if requantizes(layer) else passed_on
    return sources


def _groups(joined: Iterable[Sources]) -> dict[str, Sources]:
    """Return, for each source, all sources that are joined to it directly or through others."""
    groups: dict[str, Sources] = {}
    for sources in joined:
        group = sources.union(*(groups.get(source, frozenset()) for source in sources))
        groups |= dict.fromkeys(group, group)
    return groups
