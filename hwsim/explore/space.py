"""The space of a study: what each layer of its network may choose."""

from __future__ import annotations

import itertools

from hwsim.bits import LayerBits
from hwsim.datapath import multiply_accumulate
from hwsim.errors import HwsimError
from hwsim.explore.search import SearchSpace
from hwsim.formats import Levels, parse_int, parse_weight
from hwsim.network import FloatNetwork
from hwsim.study import Study


def search_space(study: Study, network: FloatNetwork) -> SearchSpace:
    """Return a study's choices for a network's layers; a fixed layer has one choice.

    Raises :class:`HwsimError` for bits that a layer cannot have or a datapath cannot be made for.
    """
    space, signed = study.space, network.signed_inputs()
    for name in space.fixed:
        if name not in signed:
            raise HwsimError(f'space.fixed names layer "{name}"; the network has {", ".join(signed)}')
    fixed = {name: _fixed(name, text, signed[name]) for name, text in space.fixed.items()}
    patterns = [
        (weight, bits, f"{accumulator}/{overflow}")
        for accumulator, weight, bits, overflow in itertools.product(
            sorted(space.accumulators, key=lambda text: -parse_int(text).bits),
            sorted(space.weights, key=_fewest_bits_last),
            sorted(space.activations, reverse=True),
            space.overflows,
        )
    ]

    def text(name: str, weight: str, bits: int, rest: str) -> str:
        if name in fixed:
            return fixed[name]
        activation = f"{'' if signed[name] else 'u'}int{bits}"
        return str(LayerBits.parse(f"{weight}*{activation}/{rest}", signed[name]))

    layers = tuple((name, tuple(dict.fromkeys(text(name, *p) for p in patterns))) for name in signed)
    for datapath, bits in itertools.product(
        space.datapaths, sorted({bits for _, texts in layers for bits in texts})
    ):
        multiply_accumulate(LayerBits.parse(bits, signed=False), datapath)
    return SearchSpace(
        layers=layers,
        patterns=tuple(dict.fromkeys(tuple(text(name, *p) for name in signed) for p in patterns)),
        datapaths=space.datapaths,
        quantizers=space.quantizers,
    )


def _fewest_bits_last(weight: str) -> tuple[int, bool]:
    form = parse_weight(weight)
    return (-form.bits, isinstance(form, Levels))


def _fixed(name: str, text: str, signed: bool) -> str:
    try:
        return str(LayerBits.parse(text, signed))
    except HwsimError as error:
        raise HwsimError(f"space.fixed.{name}: {error}") from None
