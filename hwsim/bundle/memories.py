"""A network's integers as memory files: one value a line in hexadecimal, for $readmemh."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hwsim.bundle.vectors import digits
from hwsim.datapath.datapath import Datapath, Scheduled
from hwsim.formats import Format, Int, IntArray
from hwsim.network import BIAS, EXPONENT, MASK, MASK_MULTIPLIER, MULTIPLIER, SHIFT, WIDTH, QuantizedNetwork

CONSTANTS: Mapping[str, Int] = {
    "multiplier": MULTIPLIER,
    "bias": BIAS,
    "shift": SHIFT,
    "width": WIDTH,
    "exponent": EXPONENT,
    "masks": MASK,
    "mask_multiplier": MASK_MULTIPLIER,
}
"""Formats of the arrays that go with a layer besides its weights."""


def memories(
    network: QuantizedNetwork, names: Mapping[str, str], circuits: Mapping[str, Mapping[str, Datapath]]
) -> Iterator[tuple[str, str]]:
    """Yield the path and text of each memory file: the input's table, and weights and constants of every layer.

    ``names`` are the layers' identifiers and ``circuits`` their datapaths. Values lie in the arrays' own order, the
    last axis fastest, as the codes of their ports.
    """
    yield "memories/input_table.hex", _text(network.input_table, network.input)
    for item in network.layers:
        name = item.layer.name
        if item.weight is not None:
            mac = circuits[name]["mac"]
            form = mac.weight if isinstance(mac, Scheduled) else mac.inputs["weight"]
            yield f"memories/{names[name]}_weight.hex", _text(item.weight, form)
        for constant, constant_form in CONSTANTS.items():
            if (array := getattr(item, constant)) is not None:
                yield f"memories/{names[name]}_{constant}.hex", _text(array, constant_form)


def _text(array: IntArray, form: Format) -> str:
    shape = " x ".join(map(str, array.shape))
    codes = form.encode(array.ravel()).tolist()
    return "".join([f"// {form}, {shape}\n", *(f"{code:0{digits(form)}x}\n" for code in codes)])
