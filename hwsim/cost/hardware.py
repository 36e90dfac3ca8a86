"""The circuits of a whole network, as many as a throughput needs.

The design is layer-pipelined: every layer works on an image of its own at the same time and owns enough
copies of its circuits to finish in the clock cycles that one image may take. Memories, wiring and control
are not counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from typing import Any

from hwsim.cost.synthesis import MAPPINGS, Cost, synthesize
from hwsim.cost.technology import technology
from hwsim.datapath import Datapath, describe, parts
from hwsim.datapath.datapath import sum_cycles
from hwsim.errors import HwsimError, unknown
from hwsim.layers import AveragePool, MaxPool
from hwsim.network import IntegerLayer, QuantizedNetwork


@dataclass(frozen=True)
class Part:
    """``count`` copies of one circuit in one layer; ``part`` is its name in :data:`hwsim.datapath.DATAPATHS`, mac first.

    ``cycles`` is how many clock cycles one operation takes: more than one where the critical path is longer
    than the clock period. A technology without sizes has no ``area_um2`` and no ``critical_path_ps``.
    """

    part: str
    circuit: str
    count: int
    nand2_equivalents: float
    flip_flops: int
    area_um2: float | None
    critical_path_ps: float | None
    equivalent: bool
    cycles: int = 1

    @property
    def fastest_mhz(self) -> float:
        """The fastest clock that the critical path allows for one operation a cycle, in MHz."""
        return 1e6 / self.critical_path_ps if self.critical_path_ps else math.inf


@dataclass(frozen=True)
class Hardware:
    """Clock, throughput and technology of a layer-pipelined design, and the multiply-accumulate it is made of.

    ``mac`` is a datapath's name or ``file.py:NAME``, ``mac_options`` its parameters besides the layer's
    formats, as (name, value) pairs. All circuits are mapped at one point (:data:`hwsim.cost.synthesis.MAPPINGS`).
    """

    clock_mhz: float = 500.0
    images_per_second: float = 10_000.0
    technology: str = "open45"
    mac: str = "mac"
    mac_options: tuple[tuple[str, Any], ...] = ()
    mapping: str = "balanced"

    def __post_init__(self) -> None:
        for what, value in (("clock", self.clock_mhz), ("throughput", self.images_per_second)):
            if not (math.isfinite(value) and value > 0):
                raise HwsimError(f"the {what} is a finite number above 0, not {value}")
        if not self.cycles_per_image:
            raise HwsimError(
                f"{self.images_per_second:g} images a second leave a {self.clock_mhz:g} MHz clock no whole cycle "
                "an image; lower the throughput or raise the clock"
            )
        if self.mapping not in MAPPINGS:
            raise unknown("mapping", self.mapping, MAPPINGS)
        technology(self.technology)

    @property
    def cycles_per_image(self) -> int:
        """Whole clock cycles from one image to the next.

        >>> Hardware(clock_mhz=500, images_per_second=10_000).cycles_per_image
        50000
        """
        return int(Fraction(str(self.clock_mhz)) * 1_000_000 / Fraction(str(self.images_per_second)))

    @property
    def period_ps(self) -> float:
        """Clock period in picoseconds."""
        return 1e6 / self.clock_mhz

    def datapaths(self, network: QuantizedNetwork, item: IntegerLayer) -> dict[str, Datapath]:
        """Return the circuits of one layer by part; empty where the layer only moves data."""
        return parts(item, network.formats(), network.rounding, self.mac, **dict(self.mac_options))


def circuits(network: QuantizedNetwork, hardware: Hardware) -> dict[str, tuple[Part, ...]]:
    """Return the circuits of every layer that runs any, in network order.

    A circuit does one operation a cycle (:func:`operations`). One whose critical path is longer than the clock period takes as
    many cycles for each operation as the path needs (a multi-cycle path, the registers enabled in its last
    cycle; that enable is not counted) and so more copies: the throughput holds at the stated clock. Without
    timing in the technology every operation takes one cycle. ``count`` is
    ceil(operations per image * cycles / cycles per image).
    """
    found = {item.layer.name: layer_circuits(network, item, hardware) for item in network.layers}
    return {name: parts for name, parts in found.items() if parts}


def layer_circuits(network: QuantizedNetwork, item: IntegerLayer, hardware: Hardware) -> tuple[Part, ...]:
    """Return the circuits of one layer of a network; see :func:`circuits`."""
    datapaths = hardware.datapaths(network, item)
    return tuple(_part(item, name, datapath, hardware) for name, datapath in datapaths.items())


def distinct_datapaths(networks: Iterable[QuantizedNetwork], hardware: Hardware) -> tuple[Datapath, ...]:
    """Return each different circuit of the networks once, in order of appearance: what must be synthesised."""
    return tuple(
        dict.fromkeys(
            datapath
            for network in networks
            for item in network.layers
            for datapath in hardware.datapaths(network, item).values()
        )
    )


def operations(item: IntegerLayer, part: str, datapath: Datapath | None = None) -> int:
    """Return in how many cycles one image uses a part of a layer.

    A mac works once for each product of an output, unless its ``datapath`` has another schedule, and a pool once for
    each element of its window (padding counted in both), and once more to reset its register; an add or a requantizer
    works once for an output. A pipelined mac works its latency longer, for the reset of the next sum clears its pipeline too.
    An input_sum works like a mac for each mask, of a mask that all outputs share once for each group and position.
    """
    layer = item.layer
    if part == "mac":
        cycles = layer.products if datapath is None else sum_cycles(datapath, layer.products)
        return layer.outputs * (cycles + 1)
    if part == "input_sum":
        positions = math.prod(layer.output_shape[1:])
        return positions * sum(map(len, item.mask_rows)) * (layer.products + 1)
    if part in ("max_pool", "average_pool"):
        assert isinstance(layer.operator, MaxPool | AveragePool)
        return layer.outputs * (math.prod(layer.operator.kernel) + 1)
    return layer.outputs


@cache
def _cost(datapath: Datapath, technology_name: str, mapping: str) -> Cost:
    return synthesize(datapath, technology_name, mapping=mapping)


def _part(item: IntegerLayer, name: str, datapath: Datapath, hardware: Hardware) -> Part:
    return circuit_part(name, datapath, operations(item, name, datapath), hardware)


def circuit_part(name: str, datapath: Datapath, operations: int, hardware: Hardware) -> Part:
    """Return as many copies of a circuit as some operations an image need at a design's throughput."""
    one = one_part(name, datapath, hardware)
    return replace(one, count=-(-operations * one.cycles // hardware.cycles_per_image))


def one_part(name: str, datapath: Datapath, hardware: Hardware) -> Part:
    """Return one copy of a circuit."""
    cost = _cost(datapath, hardware.technology, hardware.mapping)
    cycles = max(1, math.ceil((cost.critical_path_ps or 0.0) / hardware.period_ps))
    return Part(
        part=name,
        circuit=describe(datapath),
        count=1,
        nand2_equivalents=cost.nand2_equivalents,
        flip_flops=cost.flip_flops,
        area_um2=cost.area_um2,
        critical_path_ps=cost.critical_path_ps,
        equivalent=cost.equivalent,
        cycles=cycles,
    )
