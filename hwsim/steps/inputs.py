"""What stages take: an integer network or its file, and a split of a data set."""

from __future__ import annotations

from pathlib import Path

from hwsim.data import Split, load_split
from hwsim.errors import HwsimError
from hwsim.network import FloatNetwork, QuantizedNetwork, load


def read_network(network: QuantizedNetwork | Path | str) -> QuantizedNetwork:
    """Return an integer network, read from its file if it is a path."""
    return network if isinstance(network, QuantizedNetwork) else load(Path(network))


def network_split(
    network: FloatNetwork | QuantizedNetwork, source: str, split: str, purpose: str, images: int = 0
) -> Split:
    """Return a split, or its first ``images``, of ``source``: a data set or file, by default the network's own data.

    ``purpose`` ends the sentence that refuses a network without data: "to test on: --data file.npz". Raises
    :class:`HwsimError` as well where the images' shape or the labels do not fit the network.
    """
    name = source or network.data
    if not name:
        kind = "model" if isinstance(network, FloatNetwork) else "network"
        raise HwsimError(f'{kind} "{network.name}" names no data set; give one {purpose}')
    loaded = load_split(name, split, network.input_shape)
    loaded.check(network.input_shape, network.outputs)
    return loaded.part(slice(images)) if images else loaded
