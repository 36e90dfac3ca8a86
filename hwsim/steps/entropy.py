"""``hwsim quantize --entropy``: the entropy of a network's integers."""

from __future__ import annotations

from pathlib import Path

from hwsim.cost.entropy import Entropies, measure_entropies
from hwsim.data import network_split
from hwsim.network import QuantizedNetwork
from hwsim.steps.inputs import read_network


def measure_network_entropies(
    network: QuantizedNetwork | Path | str, *, data: str = "", images: int = 64
) -> Entropies:
    """Return the entropy of a network's weights and activations, over the first ``images`` of a calibration split.

    The split is that of ``data``, or of the network's own data; with 0 images the whole of it.
    """
    chosen = read_network(network)
    purpose = "to measure entropy on: --calibration file.npz"
    return measure_entropies(chosen, network_split(chosen, data, "calibration", purpose, images).images)
