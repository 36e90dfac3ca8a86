"""``hwsim energy``: what an image costs on a network's circuits, registers and memories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hwsim.columns import columns
from hwsim.cost.decoding import CODERS, check_coder
from hwsim.cost.memory.hierarchy import Accelerator, Array
from hwsim.cost.network_energy import EnergyModel, LayerEnergy, layer_energies
from hwsim.cost.technology import technology as technology_of
from hwsim.data import network_split
from hwsim.network import QuantizedNetwork
from hwsim.steps.inputs import read_network

_HEADS = {
    "switching": "switching",
    "glitches": "glitches",
    "flip_flops": "flip-flops",
    "clock": "clock",
    "leakage": "leakage",
}


@dataclass(frozen=True)
class NetworkEnergy:
    """The energy of one image by layer, the mean over operands of ``images`` images."""

    network: str
    data: str
    images: int
    model: EnergyModel
    layers: tuple[LayerEnergy, ...]
    coder: str

    @property
    def total_fj(self) -> float:
        return sum(layer.total for layer in self.layers)

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @property
    def by_part(self) -> dict[str, float]:
        """Where the energy of an image goes, in fJ."""
        names = dict.fromkeys(name for layer in self.layers for name in layer.by_part)
        return {name: sum(layer.by_part.get(name, 0.0) for layer in self.layers) for name in names}

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain data, energies in pJ."""
        return {
            "network": self.network,
            "data": self.data,
            "images": self.images,
            "technology": str(self.model.technology),
            "mapping": self.model.mapping,
            "memories": str(self.model.memories),
            "clock_mhz": self.model.clock_mhz,
            "accelerator": asdict(self.model.accelerator),
            "mac": self.model.mac,
            "coder": self.coder or "packed",
            "macs": self.macs,
            "total_pj": self.total_fj / 1e3,
            "pj_per_mac": self.total_fj / 1e3 / self.macs if self.macs else None,
            "energy_pj": {name: value / 1e3 for name, value in self.by_part.items()},
            "layers": [layer.to_json() for layer in self.layers],
        }

    def text(self) -> str:
        """Return the layers as tables for people."""
        return "\n".join([*self._layers(), "", *self._macs(), *self._summary()])

    def _layers(self) -> Iterator[str]:
        names = list(self.by_part)
        heads = ["nJ an image", *(_HEADS.get(name, name) for name in names), "total", "pJ/MAC"]
        rows = [
            [
                layer.layer,
                *(f"{layer.by_part.get(name, 0.0) / 1e6:.3f}" for name in names),
                f"{layer.total / 1e6:.3f}",
                f"{layer.total / 1e3 / layer.macs:.3f}" if layer.macs else "",
            ]
            for layer in self.layers
            if layer.total
        ]
        yield from columns([heads, *rows], left={0})

    def _macs(self) -> Iterator[str]:
        rows = [
            [
                layer.layer,
                *(_picojoules(layer.mac_fj.get(name)) for name in ("random", "output", "weight")),
                layer.parts[0].one.circuit.partition("(")[0],
            ]
            for layer in self.layers
            if layer.mac_fj
        ]
        if rows:
            heads = ["pJ a MAC", "random", "weights change", "weights stay", "circuit"]
            yield from columns([heads, *rows], left={0, 4})
            yield ""

    def _summary(self) -> Iterator[str]:
        array, share = self.model.accelerator.array, self.by_part
        yield (
            f"an image: {self.total_fj / 1e6:.4g} nJ, {self.total_fj / 1e3 / max(self.macs, 1):.3g} pJ for each of "
            f"{self.macs} multiply-accumulates: "
            + ", ".join(
                f"{100 * value / self.total_fj:.1f}% {_HEADS.get(name, name)}"
                for name, value in share.items()
            )
        )
        yield (
            f"{self.model.technology}, mapped {self.model.mapping}, at {self.model.technology.voltage:g} V and {self.model.clock_mhz:g} MHz; "
            f"{array.rows}x{array.columns} array, {array.dataflow} stationary; memories of {self.model.memories}, DRAM "
            f"at 20 pJ a bit; operands of {self.images} images of {self.data}"
        )
        if self.coder:
            yield self._decoders()
        yield from self._slow()
        yield "every output and every flip-flop of the mapped netlists equals the arithmetic in every cycle"

    def _slow(self) -> Iterator[str]:
        """Yield what is to say where a multiply-accumulate's critical path is longer than a cycle of the clock."""
        macs = [part for layer in self.layers for part in layer.parts if part.part == "mac"]
        slow = [part for part in macs if part.one.slots > 1]
        if slow:
            worst = max(slow, key=lambda part: part.one.slots)
            yield (
                f"{self.model.clock_mhz:g} MHz is too fast for a product a cycle in {len(slow)} of {len(macs)} layers; "
                f"{worst.one.circuit} takes {worst.one.slots} cycles"
            )

    def _decoders(self) -> str:
        """Return what decoding the weights takes, and which circuits do it where a code that saves nothing is packed."""
        found = [part for layer in self.layers for part in layer.parts if part.part in CODERS.values()]
        counts = Counter(part.part for part in found)
        words = sum(part.operations for part in found)
        energy = sum(part.energy.total for part in found)
        return (
            f"weights cross the bus {self.coder}: {', '.join(f'{name} in {count}' for name, count in counts.items())} of "
            f"{sum(1 for layer in self.layers if layer.macs)} layers take {energy / 1e6:.4g} nJ, "
            f"{energy / 1e3 / max(words, 1):.3g} pJ for each of {words} weights, a weight a cycle"
        )


def _picojoules(energy_fj: float | None) -> str:
    return "-" if energy_fj is None else f"{energy_fj / 1e3:.3f}"


def network_energy(
    network: QuantizedNetwork | Path | str,
    *,
    data: str = "",
    images: int = 8,
    technology: str = "open45",
    liberty: str = "",
    mapping: str = "balanced",
    accelerator: Accelerator | None = None,
    clock_mhz: float = 500.0,
    mac: str = "mac",
    coder: str = "",
    cycles: int = 2048,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, planned: None,
) -> NetworkEnergy:
    """Return the energy of one image on an integer network's circuits, by layer and by where it goes.

    At most ``cycles`` of each circuit's operands are drawn with ``seed`` from the network's run on the first
    ``images`` of a test split. ``accelerator`` is the array with its dataflow, ``output`` or ``weight`` stationary, and
    its memories; a 16 x 16 output-stationary one with 64 KiB by default. Weights cross the bus packed; with a ``coder``
    (:mod:`hwsim.cost.decoding`) in its code where that saves bytes, and the circuits that make weights of it are counted,
    those of packed weights too. See :mod:`hwsim.cost.network_energy` for what
    is counted and what not.
    """
    if coder:
        check_coder(coder)
    chosen = read_network(network)
    model = EnergyModel(
        technology_of(technology, liberty),
        accelerator or Accelerator(Array(dataflow="output")),
        clock_mhz,
        mac,
        cycles=cycles,
        seed=seed,
        mapping=mapping,
    )
    tested = network_split(chosen, data, "test", "to take operands from: --data file.npz", images)
    coders = {item.layer.name: coder for item in chosen.layers}
    layers = layer_energies(
        chosen, tested.images[: len(tested.images)], model, coders=coders, progress=progress
    )
    return NetworkEnergy(chosen.name, data or chosen.data, len(tested.images), model, layers, coder)
