"""What one bit more or less in each layer of a design would cost."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from hwsim.bits import BitConfig, LayerBits, bit_config
from hwsim.cost.configurations import METRICS, Configurations, Level
from hwsim.errors import HwsimError
from hwsim.explore.bench import Bench, point_bits
from hwsim.explore.evaluation import DesignPoint, Evaluation
from hwsim.explore.explanation import Step
from hwsim.formats import Int
from hwsim.network import QuantizedNetwork
from hwsim.quantize.settings import Settings

SPAN = (16, 32)
"""Between these widths lies the mean price of an accumulator's bit. The two circuits are in the package's characterisation for
common formats; what mapping does to those one bit apart is as large as that price."""


def steps(bench: Bench, evaluation: Evaluation) -> tuple[Step, ...]:
    """Return the steps of a measured design, layer by layer, those that a format has no room for left out.

    A bit of an accumulator is the mean over :data:`SPAN`, once a layer.

    Empty where the design's costs are no sums over layers and formats of tensors, as with additions in half precision:
    where :class:`Configurations` refuses the design or does not come to its measured gates and traffic.
    """
    bits = point_bits(evaluation.point)
    changes = list(_changes(bits))
    spans = list(_spans(bits))
    ends = (end for _, *both in spans for end in both)
    try:
        priced = _prices(bench, evaluation.point, [bits, *(changed for *_, changed in changes), *ends])
    except HwsimError:
        return ()
    own, *others = priced.tolist()
    if not np.allclose(own[:2], _measured(evaluation), rtol=1e-9):
        return ()
    stepped = (
        Step(name, what, by, round(gates - own[0], 2), int(moved - own[1]), int(stored - own[2]))
        for (name, what, by, _), (gates, moved, stored) in zip(changes, others, strict=False)
    )
    first, last = priced[1 + len(changes) :: 2, 0], priced[2 + len(changes) :: 2, 0]
    a_bit = (last - first) / (SPAN[1] - SPAN[0])
    widened = (
        Step(name, "accumulator", 1, round(gates, 2), 0, 0)
        for (name, *_), gates in zip(spans, a_bit.tolist(), strict=True)
    )
    return (*stepped, *widened)


def _changes(bits: BitConfig) -> Iterator[tuple[str, str, int, BitConfig]]:
    for name, layer in bits.items():
        for what in ("weight", "activation"):
            for by in (-1, 1):
                changed = _changed(layer, what, by)
                if changed is not None:
                    yield name, what, by, bit_config({**bits, name: changed}.items())


def _spans(bits: BitConfig) -> Iterator[tuple[str, BitConfig, BitConfig]]:
    """Yield each layer and the configurations in which its accumulator alone has the two widths of :data:`SPAN`."""
    for name, layer in bits.items():
        few, many = (bit_config({**bits, name: replace(layer, accumulator=Int(n))}.items()) for n in SPAN)
        yield name, few, many


def _changed(bits: LayerBits, what: str, by: int) -> LayerBits | None:
    try:
        if what == "weight":
            return replace(bits, weight=replace(bits.weight, bits=bits.weight.bits + by))
        return replace(bits, activation=replace(bits.activation, bits=bits.activation.bits + by))
    except HwsimError:
        return None


def _prices(bench: Bench, point: DesignPoint, configurations: list[BitConfig]) -> np.ndarray:
    """Return gates, bytes per image and stored bits of configurations around a design point, [configurations, 3]."""
    study = bench.study.of(point)

    @functools.cache
    def of_width(width: int) -> QuantizedNetwork:
        """Return the point's network with activations of one width."""
        bits = (
            (name, str(replace(bits, activation=Int(width, bits.activation.signed))))
            for name, bits in point_bits(point).items()
        )
        return bench.quantized(replace(point, bits=tuple(bits)))

    network = of_width(8)
    choices = {name: tuple(dict.fromkeys(c[name] for c in configurations)) for name in network.bits}
    widths = {bits.activation.bits for given in choices.values() for bits in given}
    channels = Settings.parse(point.quantizer).has_channel_widths
    space = Configurations(
        network,
        choices,
        hardware=study.hardware.value(point.datapath),
        memory=study.accelerator() or study.memory.value(),
        minimise=study.minimise,
        others={Level(width): of_width(width) for width in widths} if channels else None,
    )
    prices = space.price(space.indices(configurations))
    gates, stored, *moved = (
        prices[:, METRICS.index(name)]
        for name in ("gates", "stored_bits", "weight_bytes", "input_bytes", "output_bytes")
    )
    return np.stack([gates, sum(moved), stored], axis=1)


def _measured(evaluation: Evaluation) -> tuple[float, float]:
    layers = evaluation.layers
    gates = sum(part.count * part.nand2_equivalents for layer in layers for part in layer.parts)
    return gates, sum(layer.weight_bytes + layer.input_bytes + layer.output_bytes for layer in layers)
