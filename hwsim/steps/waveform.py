"""``hwsim simulate --vcd``: one sum of a network on its circuit, as a waveform."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hwsim.data import network_split
from hwsim.errors import HwsimError
from hwsim.network import QuantizedNetwork
from hwsim.simulate.waveform import Waveform, record
from hwsim.steps.inputs import read_network
from hwsim.steps.simulate import VERIFIED_IMAGES


def record_waveform(
    network: QuantizedNetwork | Path | str, *, data: str = "", layer: str = "", at: str = "", mac: str = "mac"
) -> Waveform:
    """Return the waveform of one sum of a network, on an image of the test split.

    ``at`` is image,channel,row,column of ``layer``'s output. Left out, they are the first sum that overflows over the
    first 16 images, and the first sum of all if none does. :func:`hwsim.simulate.waveform.vcd` gives the file.
    """
    chosen = read_network(network)
    split = network_split(chosen, data, "test", "to test on: --data file.npz")
    if not at:
        return record(chosen, split.images[:VERIFIED_IMAGES], layer=layer, mac=mac)
    image, *place = _place(at)
    if image >= len(split):
        raise HwsimError(f"there is no image {image}; the split has {len(split)}")
    found = record(
        chosen, split.images[image : image + 1], layer=layer, place=(0, place[0], place[1], place[2]), mac=mac
    )
    return replace(found, place=(image, place[0], place[1], place[2]))


def _place(text: str) -> list[int]:
    parts = text.split(",")
    if len(parts) != 4 or not all(part.isascii() and part.isdecimal() and len(part) < 10 for part in parts):
        raise HwsimError(f'"{text}" is no place of an output; write image,channel,row,column, 0,3,1,1 say')
    return [int(part) for part in parts]
