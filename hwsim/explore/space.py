"""The space of a study: what each layer of its network may choose, by itself or in a group."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from hwsim.bits import LayerBits
from hwsim.cost.memory.hierarchy import Array
from hwsim.cost.shared_array import shared_grids
from hwsim.datapath import multiply_accumulate
from hwsim.errors import HwsimError
from hwsim.explore.evaluation import OF_ELEMENTS, Choice
from hwsim.explore.search import SearchSpace
from hwsim.explore.study import Space, Study
from hwsim.formats import Levels, parse_int, parse_weight
from hwsim.network import FloatNetwork
from hwsim.quantize.fold import fold_batch_norm
from hwsim.quantize.settings import Settings

_LISTS = ("accumulators", "weights", "activations", "overflows", "coders", "quantizers")
"""What a choice is made of, the slowest to change first."""

_NONE = ("",)
"""The coders, or quantizers of its own, of a layer that chooses none."""

_Choice = tuple[Any, ...]
"""An entry of each of the lists."""


def search_space(study: Study, network: FloatNetwork) -> SearchSpace:
    """Return a study's choices for a network's layers, batch norm folded; a fixed layer has one choice.

    Raises :class:`HwsimError` for bits that a layer cannot have or a datapath (or an array) cannot be made for, for groups that are
    empty, overlap or name no layer, and for buffers of the space that hold no tile.
    """
    space, signed = study.space, fold_batch_norm(network).signed_inputs()
    group = _groups(space, tuple(signed))
    _check_named(space, group, tuple(signed))
    fixed = {name: _fixed(name, text, signed[name]) for name, text in space.fixed.items()}
    general = _lists(space, "")

    def text(name: str, choice: _Choice) -> str:
        accumulator, weight, bits, overflow, *others = choice
        if name in fixed:
            return str(Choice(fixed[name], *others))
        activation = f"{'' if signed[name] else 'u'}int{bits}"
        whole = LayerBits.parse(f"{weight}*{activation}/{accumulator}/{overflow}", signed[name])
        return str(Choice(str(whole), *others))

    own = {name: _lists(space, group.get(name, name)) for name in signed}
    layers = tuple(
        (name, tuple(dict.fromkeys(text(name, choice) for choice in itertools.product(*lists))))
        for name, lists in own.items()
    )
    patterns = tuple(
        dict.fromkeys(
            tuple(text(name, _nearest(choice, general, lists)) for name, lists in own.items())
            for choice in itertools.product(*general)
        )
    )
    arrays = _arrays(study)
    for datapath, bits in itertools.product(
        space.datapaths, sorted({Choice.parse(text).bits for _, texts in layers for text in texts})
    ):
        mac = multiply_accumulate(LayerBits.parse(bits, signed=False), datapath)
        for array in arrays:
            shared_grids([mac], array)
    _check_tiles(study, layers)
    _check_quantizers(space, (quantizer for *_, quantizers in own.values() for quantizer in quantizers))
    return SearchSpace(
        layers,
        patterns,
        space.datapaths,
        space.quantizers,
        _ties(group, tuple(signed)),
        space.arrays or ("",),
        space.buffers or ("",),
    )


def _check_quantizers(space: Space, own: Iterable[str]) -> None:
    """Refuse quantizers of layers that do not go with one of the design's."""
    for whole, text in itertools.product(map(Settings.parse, space.quantizers), dict.fromkeys(own)):
        whole.of_layer(text)


def _arrays(study: Study) -> list[Array]:
    """Return the arrays whose circuits the study asks for."""
    if not set(OF_ELEMENTS) & set(study.asked_of_array):
        return []
    places = (study.at(*place).accelerator() for place in study.places)
    return [place.array for place in places if place is not None]


def _check_tiles(study: Study, layers: Iterable[tuple[str, tuple[str, ...]]]) -> None:
    """Refuse buffers that do not hold a weight, an input and a sum of every choice of every layer."""
    bits = {
        (name, LayerBits.parse(Choice.parse(text).bits, signed=False))
        for name, texts in layers
        for text in texts
    }
    elements = {(b.weight.bits + b.activation.bits + b.accumulator.bits, name) for name, b in bits}
    most, layer = max(elements)
    for buffers in study.space.buffers:
        place = study.at(study.places[0][0], buffers).accelerator()
        assert place is not None
        needed = -(-place.hierarchy.copies * most // 8)
        if min(place.hierarchy.buffers_bytes) < needed:
            raise HwsimError(
                f'the buffers "{buffers}" hold no tile of layer "{layer}", the smallest takes {needed} bytes; give larger ones'
            )


def _groups(space: Space, names: tuple[str, ...]) -> dict[str, str]:
    """Return the group of each layer that is in one."""
    found: dict[str, str] = {}
    for group, members in space.groups.items():
        if group in names:
            raise HwsimError(f"space.groups.{group} has the name of a layer; give the group another one")
        for member in members:
            for name in _meant(group, member, names):
                if found.setdefault(name, group) != group:
                    raise HwsimError(
                        f'layer "{name}" is in the groups {found[name]} and {group}; a layer chooses with one group'
                    )
    return found


def _meant(group: str, member: str, names: tuple[str, ...]) -> list[str]:
    """Return the layers that a name or a pattern means."""
    meant = [name for name in names if name == member] or [n for n in names if fnmatchcase(n, member)]
    if not meant:
        raise HwsimError(
            f'space.groups.{group}: no layer is called "{member}"; the network has {", ".join(names)}'
        )
    return meant


def _check_named(space: Space, group: Mapping[str, str], names: Iterable[str]) -> None:
    """Refuse lists and bits of layers that the network does not have, or that their group or bits decide already."""
    for table, known in (("fixed", names), ("layers", (*names, *space.groups))):
        for name in getattr(space, table):
            if name not in known:
                raise HwsimError(f'space.{table} names layer "{name}"; the network has {", ".join(known)}')
            if name in group:
                raise HwsimError(
                    f'space.{table} names layer "{name}", which chooses with group {group[name]}; take it out of one'
                )
    for name in space.fixed.keys() & space.layers.keys():
        raise HwsimError(f'layer "{name}" has fixed bits and lists to choose from; leave one out')


def _lists(space: Space, name: str) -> tuple[tuple[Any, ...], ...]:
    """Return the lists that a layer or group chooses from, in the order of :data:`_LISTS`, the widest choices first."""
    own, lists = space.layers.get(name), {kind: getattr(space, kind) for kind in _LISTS}
    lists["quantizers"] = space.layer_quantizers
    accumulators, weights, activations, overflows, coders, quantizers = (
        getattr(own, kind, None) or lists[kind] for kind in _LISTS
    )
    return (
        tuple(sorted(accumulators, key=lambda text: -parse_int(text).bits)),
        tuple(sorted(weights, key=_fewest_bits_last)),
        tuple(sorted(activations, reverse=True)),
        overflows,
        coders or _NONE,
        tuple(dict.fromkeys(" ".join(text.split()) for text in quantizers)) or _NONE,
    )


def _nearest(choice: _Choice, general: tuple[_Choice, ...], own: tuple[_Choice, ...]) -> _Choice:
    """Return a choice of the space's lists where a layer has lists of its own: the entry itself, or the one of its rank."""
    return tuple(
        entry if entry in given else given[whole.index(entry) * len(given) // len(whole)]
        for entry, whole, given in zip(choice, general, own, strict=True)
    )


def _ties(group: Mapping[str, str], names: Sequence[str]) -> tuple[int, ...]:
    """Return the number of each layer's choice, those of a group the same; nothing where no layers are tied."""
    if not group:
        return ()
    numbers: dict[str, int] = {}
    return tuple(numbers.setdefault(group.get(name, name), len(numbers)) for name in names)


def _fewest_bits_last(weight: str) -> tuple[int, bool]:
    form = parse_weight(weight)
    return (-form.bits, isinstance(form, Levels))


def _fixed(name: str, text: str, signed: bool) -> str:
    try:
        return str(LayerBits.parse(text, signed))
    except HwsimError as error:
        raise HwsimError(f"space.fixed.{name}: {error}") from None
