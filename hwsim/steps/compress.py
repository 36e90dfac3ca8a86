"""``hwsim compress`` and ``hwsim decompress``: a network's file, coded and decoded again."""

from __future__ import annotations

from pathlib import Path

from hwsim import files
from hwsim.cost.archive import Ledger, pack_network, unpack_network
from hwsim.errors import HwsimError
from hwsim.network import QuantizedNetwork, to_bytes
from hwsim.steps.inputs import read_network


def compress_network(network: QuantizedNetwork | Path | str, codec: str = "huffman") -> tuple[bytes, Ledger]:
    """Return an integer network's compressed file and the ledger of its bytes, after decoding it back.

    ``codec`` is one of huffman, ans, packed, bitmap, run_length and best (the smallest of all, layer by layer). Of a
    file, :func:`decompress_network` gives back the same bytes; one that hwsim did not write so is refused.
    """
    chosen = read_network(network)
    expected = to_bytes(chosen)
    if not isinstance(network, QuantizedNetwork) and files.read(Path(network), "network file") != expected:
        raise HwsimError(f'"{network}" has not the bytes that hwsim writes; write it again with hwsim.save')
    content, ledger = pack_network(chosen, codec)
    if to_bytes(unpack_network(content)) != expected:
        raise AssertionError("the compressed network decodes to another network")
    return content, ledger


def decompress_network(path: Path | str) -> QuantizedNetwork:
    """Return the integer network of a file that :func:`compress_network` made."""
    try:
        return unpack_network(files.read(Path(path), "compressed network"))
    except HwsimError as error:
        raise HwsimError(f'cannot use "{path}": {error}') from None
