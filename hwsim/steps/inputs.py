"""What stages take: an integer network or its file."""

from __future__ import annotations

from pathlib import Path

from hwsim.network import QuantizedNetwork, load


def read_network(network: QuantizedNetwork | Path | str) -> QuantizedNetwork:
    """Return an integer network, read from its file if it is a path."""
    return network if isinstance(network, QuantizedNetwork) else load(Path(network))
