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

Where layers have quantizers of their own, a tensor is quantized as the reader asks whose format it has, of several the
first in network order, and so is what a rescale makes for a reader of fewer bits.

With the settings' placement "half" additions are in half precision, whose tensors have scale 1 and which integers
are converted to and from: see :mod:`hwsim.quantize.placement`.

With the settings' activation granularity "channel", a tensor of less than 8 bits has widths and steps per
channel (:mod:`hwsim.quantize.channels`), which every layer that requantizes can produce: a convolution, a linear
layer, an addition, an average pool, a rescale. Nobody who reads it needs to know, since its integers are at one
scale; a multiply-accumulate takes the wider operand. Left per tensor are the network's input and output and what
is joined to them, and groups whose members are clipped at different ends. Bits are shared out among the channels
of one member at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from hwsim.bits import BitConfig
from hwsim.formats import Half, Int, IntArray, TensorFormat
from hwsim.layers import INPUT, Layer, Moving, Rescale, Shape
from hwsim.network import FloatArray
from hwsim.quantize import min_max
from hwsim.quantize.calibrate import Calibration
from hwsim.quantize.channels import OPERAND_BITS, Channels, magnitudes, shared_scale, steps, widths
from hwsim.quantize.fuse import Fused, requantizes
from hwsim.quantize.placement import place_halves
from hwsim.quantize.scales import scale_of
from hwsim.quantize.settings import Settings, by_layer
from hwsim.quantize.statistics import Statistics

OUTPUT = Int(16)
"""Format of the network's output."""


@dataclass(frozen=True)
class Tensor:
    """A tensor, real value = integer (or half-precision number) * scale, and the float network's that it stands for."""

    format: TensorFormat
    scale: float
    float_name: str
    channels: Channels | None = None

    @property
    def demanded(self) -> TensorFormat:
        """The format that its readers ask for; with channels of their own, the format of their mean width."""
        return self.format if self.channels is None else self.channels.target

    @property
    def steps(self) -> FloatArray:
        """The step of each channel, [channels]; of a tensor without channels of their own, [1]."""
        return self.scale * np.ldexp(1.0, [0] if self.channels is None else self.channels.exponent)

    @property
    def ends(self) -> tuple[FloatArray, FloatArray]:
        """The smallest and the largest multiple of a channel's step, of :attr:`steps`' shape each."""
        widths = [self.format.bits] if self.channels is None else self.channels.width
        assert isinstance(self.format, Int)
        forms = [Int(bits, self.format.signed) if bits else None for bits in widths]
        low = [0 if form is None else form.minimum for form in forms]
        high = [0 if form is None else form.maximum for form in forms]
        return np.array(low, np.float64), np.array(high, np.float64)


@dataclass(frozen=True)
class Assignment:
    """Layers with their rescales, in order, and every tensor by name."""

    layers: tuple[Layer, ...]
    tensors: Mapping[str, Tensor]


def assign(fused: Fused, bits: BitConfig, calibration: Calibration, settings: Settings) -> Assignment:
    """Return the fused layers with rescales put in, and the format and scale of every tensor."""
    halves = frozenset[str]()
    if settings.placement == "half":
        fused, halves = place_halves(fused)
    return _Assigner(fused, bits, calibration, settings, halves).run()


class Demand(NamedTuple):
    """What a reader wants a tensor to be: a format, and the settings whose quantizer of activations finds its scale."""

    target: Int
    settings: Settings


Sources = frozenset[str]
"""The layers (or the network's input) that requantize what a tensor holds."""


Shared = tuple[float, dict[str, tuple[IntArray, IntArray]]]
"""The scale of tensors joined to each other, and the widths and exponents of each source's channels."""


class _Assigner:
    """One pass over the layers in order; the fields are what it knows so far."""

    def __init__(
        self,
        fused: Fused,
        bits: BitConfig,
        calibration: Calibration,
        settings: Settings,
        halves: frozenset[str],
    ) -> None:
        self.fused, self.bits, self.calibration, self.settings = fused, bits, calibration, settings
        self.own = by_layer(bits, settings)
        self.halves = halves
        self.sources = _sources(fused.layers)
        self.origins = _origins(fused.layers)
        self.shared: dict[tuple[Sources, Demand], Shared] = {}
        self.groups = _groups(self.sources.values())
        self.min_max = {*self._group(fused.layers[-1].name), *self._group(INPUT)}
        self.demands = self._demands()
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

    def _demands(self) -> dict[Sources, Demand]:
        demands: dict[Sources, list[Demand]] = {group: [] for group in self.groups.values()}
        for layer in self.fused.layers:
            if layer.has_weights:
                demand = Demand(self.bits[layer.name].activation, self.own[layer.name])
                demands[self._group(layer.inputs[0])].append(demand)
        demands[self._group(self.fused.layers[-1].name)].append(Demand(OUTPUT, self.settings))
        return {group: self._widest(group, demanded) for group, demanded in demands.items()}

    def _widest(self, group: Sources, demanded: list[Demand]) -> Demand:
        signed = any(self.fused.signed[name] for name in group)
        widest = max(
            demanded, key=lambda demand: (demand.target.bits, not demand.target.signed), default=None
        )
        if widest is None:
            return Demand(Int(self.settings.elementwise, signed), self.settings)
        return widest._replace(target=Int(widest.target.bits, signed=signed or widest.target.signed))

    def _threshold(self, source: str, demand: Demand) -> float:
        target, settings = demand
        method = min_max.threshold if source in self.min_max else settings.activation_quantizer
        seen = self.calibration.statistics[self.fused.float_names[source]]
        return min(float(method(seen, target)), self.fused.ceilings.get(source, math.inf))

    def _tensor(self, sources: Sources, demand: Demand, name: str) -> Tensor:
        """Return the tensor ``name`` in the format and scale that hold all of ``sources``."""
        target, _ = demand
        if not self._has_channels(sources, demand):
            return self._whole(sources, demand, name)
        if (sources, demand) not in self.shared:
            self.shared[sources, demand] = self._share(sorted(sources), demand)
        scale, members = self.shared[sources, demand]
        operand = max(2, *(int((width + exponent).max()) for width, exponent in members.values()))
        # A channel of padding holds zeros, in no bits.
        places = [
            (0, 0) if source is None else (int(members[source][0][c]), int(members[source][1][c]))
            for source, c in self.origins[name]
        ]
        width, exponent = zip(*places, strict=True)
        channels = Channels(target, width, exponent)
        return Tensor(Int(operand, target.signed), scale, self.fused.float_names[name], channels)

    def _whole(self, sources: Sources, demand: Demand, name: str) -> Tensor:
        threshold = max(self._threshold(source, demand) for source in sources)
        scale = float(scale_of(threshold, demand.target))
        return Tensor(demand.target, scale, self.fused.float_names[name])

    def _has_channels(self, sources: Sources, demand: Demand) -> bool:
        ceilings = {self.fused.ceilings.get(source) for source in sources}
        wanted = demand.settings.activation_granularity == "channel" and demand.target.bits < OPERAND_BITS
        return wanted and len(ceilings) == 1 and not sources & self.min_max

    def _share(self, members: list[str], demand: Demand) -> Shared:
        """Return the scale that the channels of all members share, and each member's widths and exponents."""
        target, settings = demand
        ceiling = self.fused.ceilings.get(members[0], math.inf)

        def threshold(seen: Statistics, form: Int) -> FloatArray:
            return np.minimum(settings.activation_quantizer(seen, form), ceiling)

        seen = [self.calibration.channels[self.fused.float_names[member]] for member in members]
        rule, signed = settings.activation_allocation, target.signed
        width = [widths(statistics, target, rule, threshold) for statistics in seen]
        asked = [steps(s, bits, signed, threshold) for s, bits in zip(seen, width, strict=True)]
        scale, exponent = shared_scale(
            magnitudes(seen), np.concatenate(asked), np.concatenate(width), signed, ceiling
        )
        parts = np.split(exponent, np.cumsum([bits.size for bits in width])[:-1])
        return scale, dict(zip(members, zip(width, parts, strict=True), strict=True))

    def _group_tensor(self, name: str) -> Tensor:
        if name in self.halves:
            return Tensor(Half(signed=self.fused.signed[name]), 1.0, self.fused.float_names[name])
        group = self._group(name)
        return self._tensor(group, self.demands[group], name)

    def _producible(self, name: str, wanted: Tensor) -> Tensor:
        """Return the tensor nearest to the group's that a layer's requantizer can clamp to."""
        if not isinstance(wanted.format, Int):
            return wanted
        if wanted.format.signed and name in self.fused.clamped_at_zero:
            wanted = _unsigned(wanted)
        if wanted.channels is not None:
            return wanted
        target = wanted.demanded
        assert isinstance(target, Int)
        ceiling = self.fused.ceilings.get(name)
        if ceiling is not None and float(scale_of(ceiling, target)) < wanted.scale:
            return self._whole(
                frozenset([name]), Demand(target, self.demands[self._group(name)].settings), name
            )
        return replace(wanted, format=target)

    def _demanded(self, layer: Layer, source: str) -> str:
        """Return the tensor through which a layer with weights reads another, in the format it demands."""
        target = self.bits[layer.name].activation
        if self.tensors[source].demanded == target:
            return source
        if (source, target) not in self.converted:
            (read,) = layer.inputs
            tensor = self._tensor(self.sources[read], Demand(target, self.own[layer.name]), read)
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


def _unsigned(tensor: Tensor) -> Tensor:
    """Return the non-negative half of a signed tensor of integers."""
    form, channels = Int(tensor.format.bits - 1, signed=False), tensor.channels
    if channels is not None:
        target = Int(channels.target.bits - 1, signed=False)
        channels = replace(channels, target=target, width=tuple(max(0, w - 1) for w in channels.width))
    return replace(tensor, format=form, channels=channels)


Origin = tuple[str | None, int]
"""The source of a channel and its index there; no source for a channel of zeros."""


def _origins(layers: tuple[Layer, ...]) -> dict[str, list[Origin]]:
    """Return where each channel of each tensor was requantized."""
    origins: dict[str, list[Origin]] = {}
    for layer in layers:
        if INPUT in layer.inputs:
            channels = layer.input_shapes[layer.inputs.index(INPUT)][0]
            origins[INPUT] = [(INPUT, c) for c in range(channels)]
        read = [origins[name] for name in layer.inputs]
        match layer.operator:
            case _ if requantizes(layer):
                origins[layer.name] = [(layer.name, c) for c in range(layer.output_shape[0])]
            case operator if isinstance(operator, Moving):
                every: list[Origin] = [origin for channels in read for origin in channels] + [(None, 0)]
                origins[layer.name] = [every[channel] for channel in layer.moved_channels]
            case _:
                origins[layer.name] = read[0]
    return origins


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
