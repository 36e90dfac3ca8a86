"""``hwsim traffic``: what a network moves on an array of processing elements, and the cycles it takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.columns import columns
from hwsim.cost.memory.hierarchy import Accelerator
from hwsim.cost.memory.network import LayerMemory, network_memory
from hwsim.errors import HwsimError
from hwsim.network import QuantizedNetwork
from hwsim.steps.inputs import read_network


@dataclass(frozen=True)
class NetworkTraffic:
    """Every layer of a network on an accelerator, at a clock of ``clock_mhz``."""

    network: str
    accelerator: Accelerator
    layers: tuple[LayerMemory, ...]
    clock_mhz: float

    @property
    def cycles(self) -> int:
        """Cycles of one image, layer after layer."""
        return sum(layer.cycles for layer in self.layers)

    @property
    def dram_bytes(self) -> int:
        """Bytes over the bus for one image, whole bursts."""
        return sum(layer.dram_bytes for layer in self.layers)

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @property
    def images_per_second(self) -> float:
        return self.clock_mhz * 1e6 / self.cycles

    @property
    def utilisation(self) -> float:
        """Multiply-accumulates of an image, of those that the array could do meanwhile."""
        return self.macs / (self.cycles * self.accelerator.array.elements)

    def bandwidth(self, images_per_second: float) -> float:
        """Return the megabytes a second over the bus at a throughput that the cycles allow."""
        if not 0 < images_per_second <= self.images_per_second:
            raise HwsimError(
                f"a throughput is above 0 and at most the {self.images_per_second:.4g} images a second that {self.cycles} "
                f"cycles at {self.clock_mhz:g} MHz allow, not {images_per_second:g}; ask for fewer"
            )
        return images_per_second * self.dram_bytes / 1e6

    def to_json(self) -> dict[str, Any]:
        return {
            "network": self.network,
            "accelerator": asdict(self.accelerator),
            "clock_mhz": self.clock_mhz,
            "macs": self.macs,
            "dram_bytes": self.dram_bytes,
            "cycles": self.cycles,
            "utilisation": self.utilisation,
            "images_per_second": self.images_per_second,
            "megabytes_per_second": self.bandwidth(self.images_per_second),
            "layers": [layer.to_json() for layer in self.layers],
        }

    def text(self) -> str:
        """Return the layers as a table for people."""
        heads = (
            "layer",
            "tiles",
            "keeps",
            "DRAM bytes",
            "array bytes",
            "cycles",
            "used",
            "MACs/byte",
            "bound by",
        )
        rows = [heads, *(_traffic_row(layer) for layer in self.layers if layer.cycles)]
        return "\n".join([*columns(rows, left={0, 1, 2}), self._summary()])

    def _summary(self) -> str:
        array, hierarchy = self.accelerator.array, self.accelerator.hierarchy
        memory_bound = sum(layer.dram_cycles for layer in self.layers if layer.bound == "memory")
        return (
            "tiles: groups g, output channels k, input channels c, output rows p and columns q, kernel rows r and columns s\n"
            f"an image: {self.dram_bytes} bytes of DRAM, {self.cycles} cycles, {100 * self.utilisation:.1f}% of the "
            f"{array.rows}x{array.columns} array used, {100 * memory_bound / self.cycles:.0f}% of the cycles wait for the "
            f"{hierarchy.bus_bits}-bit bus\n"
            f"at {self.clock_mhz:g} MHz: {self.images_per_second:.4g} images and "
            f"{self.bandwidth(self.images_per_second):.4g} MB a second"
        )


def _traffic_row(layer: LayerMemory) -> tuple[str, ...]:
    tiles, kept = (
        ("", "")
        if layer.tiling is None
        else (" | ".join(map(str, layer.tiling.tiles)), " | ".join(layer.tiling.kept))
    )
    return (
        layer.layer,
        tiles,
        kept,
        str(layer.dram_bytes),
        str(layer.boundaries[-1].total // 8) if layer.tiling else "",
        str(layer.cycles),
        f"{100 * layer.utilisation:.1f}%" if layer.macs else "",
        f"{layer.intensity:.1f}" if layer.macs else "",
        layer.bound,
    )


def memory_traffic(
    network: QuantizedNetwork | Path | str,
    accelerator: Accelerator,
    *,
    bits: str = "",
    minimise: str = "traffic",
    clock_mhz: float = 500.0,
    **preprocessing: Any,
) -> NetworkTraffic:
    """Return what every layer of a network moves on an accelerator by its best tiling, and the cycles it takes.

    ``network`` is an integer network, its file (.safetensors), or a model as :func:`quantize_model` takes it, which
    gets ``bits``, ``w8a8/int32`` where none are given; a model's images are noise then, for no shape or format depends
    on them. An integer network has its bits and preprocessing, and is refused others.
    """
    if not 0 < clock_mhz < math.inf:
        raise HwsimError(f"the clock is a finite number of MHz above 0, not {clock_mhz}")
    if isinstance(network, str | Path):
        from_file = str(network).endswith(".safetensors")
        if from_file and (bits or preprocessing):
            raise HwsimError(
                f'"{network}" is an integer network with its own bits and preprocessing; leave out --bits, --div, --mean and --std'
            )
        network = read_network(network) if from_file else _on_noise(str(network), bits, preprocessing)
    layers = network_memory(network, accelerator, minimise)
    return NetworkTraffic(network.name, accelerator, layers, clock_mhz)


def _on_noise(model: str, bits: str, preprocessing: Mapping[str, Any]) -> QuantizedNetwork:
    from hwsim.models import load_model
    from hwsim.quantize import quantize

    network = load_model(model, **preprocessing)
    channels, height, width = network.input_shape
    shape = (2, height, width, channels)
    return quantize(
        network, bits or "w8a8/int32", np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    )
