"""Why a design costs what it costs: which layer and which part dominates each of its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from hwsim.explore.evaluation import Evaluation, LayerResult

Shares = tuple[tuple[str, float], ...]
"""Names with what each of them has of a figure, the largest first."""


@dataclass(frozen=True)
class Dominance:
    """Who has how much of one figure: its ``total``, the layers and the parts, each with the largest first."""

    figure: str
    unit: str
    total: float
    layers: Shares
    parts: Shares

    @property
    def halving(self) -> int:
        """Return how many layers, the largest first, have half of the figure.

        >>> Dominance("gates", "", 10.0, (("a", 4.0), ("b", 3.0), ("c", 3.0)), ()).halving
        2
        """
        reached = 0.0
        for count, (_, size) in enumerate(self.layers, 1):
            reached += size
            if 2 * reached >= self.total:
                return count
        return len(self.layers)


def dominances(evaluation: Evaluation) -> list[Dominance]:
    """Return who dominates each additive figure of a design, without those that are zero."""
    layers = evaluation.layers
    found = [
        _dominance("Gates", "NAND2", layers, lambda layer: _parts(layer, "nand2_equivalents")),
        _dominance("Flip-flops", "bits", layers, lambda layer: _parts(layer, "flip_flops")),
        _dominance("Cell area", "µm²", layers, lambda layer: _parts(layer, "area_um2")),
        _dominance("Energy", "pJ per image", layers, _energy),
        _dominance(
            "Array cycles", "per image", layers, lambda layer: [(layer.kind, float(layer.array_cycles))]
        ),
        _dominance("Memory traffic", "bytes per image", layers, _traffic),
        _dominance(
            "Compressed file",
            "bytes",
            layers,
            lambda layer: [("weights and constants", layer.file_bytes)],
            {"frame": evaluation.frame_bytes},
        ),
        _dominance("Multiply-accumulates", "per image", layers, lambda layer: [(layer.kind, layer.macs)]),
    ]
    return [dominance for dominance in found if dominance.total]


def _parts(layer: LayerResult, field: str) -> list[tuple[str, float]]:
    return [(part.part.replace("_", " "), part.count * (getattr(part, field) or 0.0)) for part in layer.parts]


def _energy(layer: LayerResult) -> list[tuple[str, float]]:
    return [(where.replace("_", " "), size) for where, size in (layer.energy_pj or {}).items()]


def _traffic(layer: LayerResult) -> list[tuple[str, float]]:
    return [("weights", layer.weight_bytes), ("inputs", layer.input_bytes), ("outputs", layer.output_bytes)]


def _dominance(
    figure: str,
    unit: str,
    layers: Iterable[LayerResult],
    sizes: Callable[[LayerResult], list[tuple[str, float]]],
    of_none: Mapping[str, float] = MappingProxyType({}),
) -> Dominance:
    """``of_none`` are parts that belong to no layer."""
    by_layer: dict[str, float] = {}
    by_part = dict(of_none)
    for layer in layers:
        for part, size in sizes(layer):
            by_layer[layer.name] = by_layer.get(layer.name, 0.0) + size
            by_part[part] = by_part.get(part, 0.0) + size
    return Dominance(figure, unit, sum(by_part.values()), _ranked(by_layer), _ranked(by_part))


def _ranked(sizes: dict[str, float]) -> Shares:
    return tuple(sorted(((n, s) for n, s in sizes.items() if s), key=lambda item: -item[1]))
