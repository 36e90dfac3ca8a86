"""What many bit configurations of one network cost, all at once: sums of tables by layer and choice, and maxima.

A layer's circuits, traffic and stored bits depend on its own bits and on the formats of the tensors it reads and
writes, and a tensor's format is the widest that its readers demand (:mod:`hwsim.quantize.tensors`). So a network's
cost is a sum of table entries, one for each layer and one for each rescale before a layer that demands another format than its
tensor has. An entry is what :mod:`hwsim.cost.hardware` and the memory's traffic say of that layer in a network with
those formats, worked out when a configuration first needs it. What else a tensor's format brings with it, the widths of its
channels and the rescale behind a clip that ends below its range, is that of a network all of whose layers demand the same. The longest path of a network is the largest of its
entries in place of their sum.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hwsim.bits import BitConfig, LayerBits
from hwsim.cost.decoding import Decoding
from hwsim.cost.energy_estimate import estimated_energy
from hwsim.cost.hardware import Hardware, layer_circuits
from hwsim.cost.memory.hierarchy import Accelerator
from hwsim.cost.memory.network import channel_bits, layer_memory
from hwsim.cost.network_energy import EnergyModel
from hwsim.cost.traffic import Memory, layer_traffic, stored_bits
from hwsim.errors import HwsimError, unknown
from hwsim.formats import Half, Int, IntArray, TensorFormat
from hwsim.layers import INPUT, Layer, MaxPool, Moving, Rescale
from hwsim.network import FloatArray, IntegerLayer, QuantizedNetwork

METRICS = (
    "gates",
    "flip_flops",
    "area_um2",
    "weight_bytes",
    "input_bytes",
    "output_bytes",
    "cycles",
    "stored_bits",
    "critical_path_ps",
    "circuits_fj",
    "memory_fj",
)
"""What :meth:`Configurations.price` returns: NAND2 equivalents, flip-flops and cell area of all circuits, bytes
per image, cycles of an accelerator, bits of weights and constants, the slowest circuit's critical path, and an image's
energy, that of the circuits estimated (:mod:`hwsim.cost.energy_estimate`). What was not asked for is 0."""

LARGEST = (METRICS.index("critical_path_ps"),)
"""Columns of :data:`METRICS` in which a configuration has the largest of its entries, not their sum; none is below 0."""

_PACKED = Decoding()
_RESCALED = ("source", "target")
"""What the rescale before a layer depends on: what its tensor's format is demanded by, and what the layer demands."""


class Level(NamedTuple):
    """What a layer demands of the tensor it reads: its bits, and how its activations are quantized where costs depend on it."""

    bits: int
    quantizer: str = ""


_FIXED = 0
"""The level of tensors whose format no layer with weights demands; others are counted from 1."""


@dataclass(eq=False)
class _Term:
    """A table of costs: an entry for each combination of what it depends on, NaN until it is needed."""

    layer: str
    tensors: tuple[str, ...]
    levels: int
    table: FloatArray

    def code(self, choice: IntArray, levels: Sequence[IntArray]) -> IntArray:
        """Return the place of each configuration's entry."""
        return functools.reduce(lambda place, level: place * self.levels + level, levels, choice)

    def decode(self, code: int) -> tuple[int, tuple[int, ...]]:
        """Return the choice and the tensors' levels of an entry's place."""
        levels: tuple[int, ...] = ()
        for _ in self.tensors:
            code, level = divmod(code, self.levels)
            levels = (level, *levels)
        return code, levels


Axis = tuple[tuple[int, tuple[int, ...]], ...]
"""What a place along an axis of a table follows from: layers, each with the ranks of its choices, of which the largest counts."""


@dataclass(frozen=True, eq=False)
class Table:
    """What a few layers' choices cost together.

    ``costs`` is [places along each axis, ..., METRICS]: a tensor is as wide as its widest reader demands.
    ``name`` is that of the layer of the integer network that costs it; a rescale has none.
    """

    axes: tuple[Axis, ...]
    costs: FloatArray
    name: str = ""

    @property
    def layers(self) -> frozenset[int]:
        """The layers that it depends on."""
        return frozenset(layer for axis in self.axes for layer, _ in axis)

    def of(self, choices: IntArray) -> FloatArray:
        """Return the costs of rows of choices [rows, layers of the network], [rows, METRICS]."""
        ranks = ([np.array(own)[choices[:, layer]] for layer, own in axis] for axis in self.axes)
        return self.at([functools.reduce(np.maximum, own) for own in ranks], len(choices))

    def spread(self, choices: IntArray) -> FloatArray:
        """Return the costs; where no layer is alone on an axis, the mean of what they are at each layer's own ranks."""
        axes = [dict(axis) for axis in self.axes]
        if not axes or any(len(axis) == 1 for axis in axes):
            return self.of(choices)
        none = (0,) * (int(choices.max()) + 1)
        shares = [
            self.at([np.array(axis.get(layer, none))[choices[:, layer]] for axis in axes], len(choices))
            for layer in self.layers
        ]
        return np.asarray(np.mean(shares, axis=0))

    def at(self, places: Sequence[IntArray], count: int) -> FloatArray:
        """Return the costs at ``count`` places, each given along every axis, [count, METRICS]."""
        costs: FloatArray = self.costs[tuple(places)]
        return np.broadcast_to(costs, (count, costs.shape[-1]))


def joined(first: FloatArray, second: FloatArray, largest: Sequence[int] = LARGEST) -> FloatArray:
    """Return what two parts cost together, [rows, columns]: in the columns ``largest`` the larger of both, else the sum."""
    total = first + second
    columns = list(largest)
    total[:, columns] = np.maximum(first[:, columns], second[:, columns])
    return total


class Configurations:
    """The bit configurations that one network can have, and what they cost.

    ``network`` is the network under any configuration in which every activation has one width; ``choices`` the bits
    that each layer with weights may have. ``hardware`` prices circuits, ``memory`` counts traffic: a buffer, or an
    accelerator with the tiling of each layer that is best at what ``minimise`` names. Either may be left out.
    ``decodings`` says of each layer's choices how their weights move; without it they are packed. ``stored`` is each layer
    under each of its choices, where channels have widths of their own or layers quantizers. ``energy`` asks for that of an
    image and needs hardware and an accelerator. ``quantizers`` says how each layer's choices quantize activations, where
    costs depend on that, and ``others`` holds the network in which all layers demand one level, by level: without it channels
    have no widths of their own, and rescales stand behind the same layers at all widths.
    """

    def __init__(
        self,
        network: QuantizedNetwork,
        choices: Mapping[str, Sequence[LayerBits]],
        *,
        hardware: Hardware | None = None,
        memory: Memory | Accelerator | None = None,
        minimise: str = "traffic",
        decodings: Mapping[str, Sequence[Decoding]] | None = None,
        stored: Mapping[str, Sequence[IntegerLayer]] | None = None,
        energy: EnergyModel | None = None,
        quantizers: Mapping[str, Sequence[str]] | None = None,
        others: Mapping[Level, QuantizedNetwork] | None = None,
    ) -> None:
        self.decodings, self.stored, self.energy = decodings or {}, stored or {}, energy
        self.hardware, self.memory, self.minimise = hardware, memory, minimise
        self.choices = {name: tuple(choices.get(name, ())) for name in network.bits}
        self.layers = tuple(self.choices)
        self._check(network, choices)
        self.network = _without_readers_rescales(network)
        others = {level: _without_readers_rescales(other) for level, other in (others or {}).items()}
        self.items = _all_items([self.network, *others.values()])
        self.behind = {
            item.layer.inputs[0]: name for name, item in self.items.items() if _behind_a_layer(item)
        }
        self.groups = _groups(self.items.values())
        self.readers = self._readers()
        self._rank(quantizers)
        self.at = [self.network, *(others.get(level) or self._in_width(level.bits) for level in self.levels)]
        self.items_at = [{item.layer.name: item for item in made.layers} for made in self.at]
        self.unlike = [self._is_unlike(name) for name in self.layers]
        self._check_channels()
        self.terms = {name: self._term(item) for name, item in self.items.items() if _computes(item)}
        self.rescales = {name: self._table(name, 1, _RESCALED) for name in self.layers}

    def _rank(self, quantizers: Mapping[str, Sequence[str]] | None) -> None:
        """Rank what choices demand: a tensor is as the highest rank among its readers has it.

        Of readers that demand as many bits it is the first, where it matters how activations are quantized.
        """
        demanded = [
            [
                (bits.activation.bits, -place if quantizers else 0, how)
                for bits, how in zip(
                    given, quantizers[name] if quantizers else [""] * len(given), strict=True
                )
            ]
            for place, (name, given) in enumerate(self.choices.items())
        ]
        ranks = sorted({demand for given in demanded for demand in given})
        self.levels = sorted({Level(bits, how) for bits, _, how in ranks})
        self.level_of = np.array(
            [1 + self.levels.index(Level(bits, how)) for bits, _, how in ranks], np.int64
        )
        self.bits_of = np.array([bits for bits, *_ in ranks], np.int64)
        self.activations = [np.array([ranks.index(one) for one in given], np.int64) for given in demanded]

    def _check(self, network: QuantizedNetwork, choices: Mapping[str, Sequence[LayerBits]]) -> None:
        formats = network.formats()
        for name in choices:
            if name not in self.choices:
                raise unknown("layer with weights", name, self.choices)
        for item in network.layers:
            name, source = item.layer.name, formats[item.layer.inputs[0]]
            given = self.choices.get(name)
            wrong = next((bits for bits in given or () if bits.activation.signed != source.signed), None)
            if given == () or wrong is not None:
                raise HwsimError(
                    f'layer "{name}" has the choices {", ".join(map(str, given or ())) or "none"}; give at least one, all '
                    f"with activations like {source}"
                )
            if not isinstance(item.output, Int):
                raise HwsimError(
                    f'layer "{name}" gives {item.output}, and configurations are those of integers; quantize '
                    "with placement=integer"
                )
            if _before_a_reader(item) and item.width is None and item.output.bits != source.bits:
                raise HwsimError(
                    f'the network has "{name}" between two formats of one tensor; give it under one width of '
                    "all activations"
                )

    def _check_channels(self) -> None:
        """Refuse what reads a part of a group's tensors at a width of its own, where channels have theirs: those of the part alone."""
        sources = _sources(self.items.values())
        for group, readers in self.readers.items():
            members = {tensor for tensor, own in self.groups.items() if own == group}
            whole = frozenset().union(*(sources[tensor] for tensor in members))
            widths = {self.bits_of[rank] for place in readers for rank in self.activations[place]}
            if len(widths) == 1 or not any(self._has_channels(group, level) for level in range(len(self.at))):
                continue
            for name in (self.layers[place] for place in readers):
                if sources[self._read_by(name)] != whole:
                    raise HwsimError(
                        f'layer "{name}" reads a part of what others read concatenated, whose channels have widths of their '
                        'own: there are no prices of that; choose activation_granularity=tensor or search = "evolve"'
                    )

    def _has_channels(self, group: str, level: int) -> bool:
        items = self.items_at[level].values()
        return any(item.width is not None for item in items if self.groups[item.layer.name] == group)

    def _read_by(self, layer: str) -> str:
        """Return the tensor that a layer with weights reads."""
        (tensor,) = self.items[layer].layer.inputs
        return tensor

    def circuit_bits(self) -> dict[str, tuple[LayerBits, ...]]:
        """Return the bits of each layer's circuits under each of its choices."""
        found = {}
        for name, ranks in zip(self.layers, self.activations, strict=True):
            items = (
                self._under_choice(self.items[name], place, self._read_at(name, level).output)
                for place, level in enumerate(self.level_of[ranks].tolist())
            )
            found[name] = tuple(item.bits for item in items if item.bits is not None)
        return found

    def _readers(self) -> dict[str, list[int]]:
        """Return the places of the layers with weights that demand each group's format; none where it is fixed."""
        readers: dict[str, list[int]] = {group: [] for group in self.groups.values()}
        for place, name in enumerate(self.layers):
            readers[self.groups[self._read_by(name)]].append(place)
        readers[self.groups[[*self.items][-1]]] = []
        return readers

    def _table(self, layer: str, choices: int, tensors: tuple[str, ...]) -> _Term:
        size = choices * len(self.at) ** len(tensors)
        return _Term(layer, tensors, len(self.at), np.full((size, len(METRICS)), np.nan))

    def _term(self, item: IntegerLayer) -> _Term:
        layer = item.layer
        return self._table(
            layer.name, len(self.choices.get(layer.name, (None,))), (*layer.inputs, layer.name)
        )

    def indices(self, configurations: Sequence[BitConfig]) -> IntArray:
        """Return each configuration as places in the layers' choices, [configurations, layers]."""
        known = [{bits: place for place, bits in enumerate(given)} for given in self.choices.values()]
        rows = []
        for configuration in configurations:
            for name, places in zip(self.layers, known, strict=True):
                if configuration[name] not in places:
                    raise unknown(f'bits of layer "{name}"', configuration[name], map(str, places))
            rows.append(
                [places[configuration[name]] for name, places in zip(self.layers, known, strict=True)]
            )
        return np.array(rows, np.int64).reshape(-1, len(self.layers))

    def price(self, indices: IntArray) -> FloatArray:
        """Return the cost of configurations given as places in the layers' choices, [configurations, METRICS]."""
        self._check_indices(indices)
        columns = np.ascontiguousarray(indices.T)
        demanded = [ranks[column] for ranks, column in zip(self.activations, columns, strict=True)]
        nothing = np.zeros(len(indices), np.int64)
        ranked = {
            group: functools.reduce(np.maximum, [demanded[place] for place in readers])
            for group, readers in self.readers.items()
            if readers
        }
        levels = dict.fromkeys(self.readers, nothing) | {
            group: self.level_of[own] for group, own in ranked.items()
        }
        total = np.zeros((len(indices), len(METRICS)))
        places = {name: place for place, name in enumerate(self.layers)}
        for name, term in self.terms.items():
            choice = columns[places[name]] if name in places else nothing
            code = term.code(choice, [levels[self.groups[t]] for t in term.tensors])
            total = joined(total, self._entries(term, code))
        for place, (name, term) in enumerate(self.rescales.items()):
            source = ranked[self.groups[self._read_by(name)]]
            some = np.flatnonzero(self._rescaled(place, demanded, source))
            if some.size:
                own = self.level_of[source[some]], self.level_of[demanded[place][some]]
                total[some] = joined(total[some], self._entries(term, term.code(nothing[some], own)))
        return total

    def tables(self, choice_of: Sequence[int] = ()) -> Iterator[Table]:
        """Yield the tables whose entries, joined over a configuration, are its price.

        Where layers choose together, ``choice_of`` is the number of each layer's choice, and the tables' layers are those
        numbers; layers of one number take the choice at one place of their lists.
        """
        number = tuple(choice_of) or tuple(range(len(self.layers)))
        places = {name: place for place, name in enumerate(self.layers)}
        for name, term in self.terms.items():
            yield self._whole(term, places.get(name), number)
        readers: dict[str, list[int]] = {}
        for place, name in enumerate(self.layers):
            readers.setdefault(self._read_by(name), []).append(place)
        for tensor, own in readers.items():
            yield from self._rescaling(tensor, own, number)

    def _whole(self, term: _Term, own: int | None, number: tuple[int, ...]) -> Table:
        """Return a term's entries for all that it depends on: its own layer's choice, and what its tensors are demanded as."""
        tied = [] if own is None else [place for place, one in enumerate(number) if one == number[own]]
        count = 1 if own is None else len(self.activations[own])
        axes: list[Axis] = [] if own is None else [((number[own], tuple(range(count))),)]
        demands = {}
        for group in dict.fromkeys(self.groups[tensor] for tensor in term.tensors):
            readers = self.readers[group]
            demands[group], axis = self._demands(readers if {*readers} - {*tied} else [], number)
            axes += [axis] if axis else []
        choice, *others = np.indices((count, *map(len, demands.values()))).reshape(1 + len(demands), -1)
        levels = {}
        for (group, ranks), row in zip(demands.items(), others, strict=True):
            mine = [self.activations[p][choice] for p in self.readers[group] if p in tied]
            highest = functools.reduce(np.maximum, mine, ranks[row])
            levels[group] = self.level_of[highest] if self.readers[group] else np.full_like(choice, _FIXED)
        costs = self._entries(term, term.code(choice, [levels[self.groups[t]] for t in term.tensors]))
        sizes = [1 + max(max(ranks) for _, ranks in axis) for axis in axes]
        return Table(tuple(axes), costs.reshape(*sizes, -1), term.layer)

    def _rescaling(self, tensor: str, own: list[int], number: tuple[int, ...]) -> Iterator[Table]:
        """Yield, for each width that some layers demand of the tensor they read, what the rescale to it costs.

        It is there where one of them demands the width and the tensor has more.
        """
        readers = self.readers[self.groups[tensor]]
        bits = [self.bits_of[ranks] for ranks in self.activations]
        together = len({number[place] for place in readers}) == 1
        unlike = self.unlike[own[0]]
        if together and not unlike and all(np.array_equal(bits[place], bits[own[0]]) for place in readers):
            return
        ranks, source = self._demands(readers, number)
        term = self.rescales[self.layers[own[0]]]
        for width in np.unique(np.concatenate([bits[place] for place in own])):
            some = np.flatnonzero(self.bits_of[ranks] > width - unlike)
            if some.size:
                demand = {number[place]: np.zeros_like(bits[place]) for place in own}
                for place in own:
                    demand[number[place]] |= bits[place] == width
                costs = np.zeros((2, len(ranks), len(METRICS)))
                sources = self.level_of[ranks[some]]
                (level, *_) = self.level_of[self.bits_of == width]
                costs[1, some] = self._entries(
                    term, term.code(np.zeros_like(sources), [sources, np.full_like(sources, level)])
                )
                yield Table((_axis(demand), source), costs)

    def _demands(self, readers: list[int], number: tuple[int, ...]) -> tuple[IntArray, Axis]:
        """Return the ranks that the highest of a tensor's readers can have, and which of them each of their choices has.

        Without readers it is the rank 0 alone.
        """
        demanded: dict[int, IntArray] = {}
        for place in readers:
            own = self.activations[place]
            demanded[number[place]] = np.maximum(demanded.get(number[place], own), own)
        return largest_axis(demanded)

    def _check_indices(self, indices: IntArray) -> None:
        counts = np.array([len(given) for given in self.choices.values()])
        if indices.ndim != 2 or indices.shape[1] != counts.size or not indices.size:
            raise HwsimError(
                f"configurations are places [configurations, {counts.size} layers], not of shape {list(indices.shape)}"
            )
        if indices.min() < 0 or (indices >= counts).any():
            raise HwsimError(
                f"places in the layers' choices are 0 to below {counts.tolist()}, not {int(indices.min())} to "
                f"{int(indices.max())}"
            )

    def _rescaled(self, place: int, demanded: list[IntArray], source: IntArray) -> npt.NDArray[np.bool_]:
        """Return where a layer needs a rescale of its own: it demands another format than its tensor has, and first."""
        tensor, bits = self._read_by(self.layers[place]), self.bits_of[demanded[place]]
        needed: npt.NDArray[np.bool_] = (bits != self.bits_of[source]) | self.unlike[place]
        for other in range(place):
            if self._read_by(self.layers[other]) == tensor:
                needed &= self.bits_of[demanded[other]] != bits
        return needed

    def _is_unlike(self, layer: str) -> bool:
        """Return whether a layer demands a tensor without sign, where that is joined to one that has one."""
        group = self.groups[self._read_by(layer)]
        forms = (form for name, form in self.network.formats().items() if self.groups[name] == group)
        return not self.choices[layer][0].activation.signed and any(form.signed for form in forms)

    def _entries(self, term: _Term, code: IntArray) -> FloatArray:
        """Return the entries at the places given, worked out where they are missing."""
        entries: FloatArray = term.table[code]
        if np.isnan(entries[:, 0]).any():
            for place in np.unique(code[np.isnan(entries[:, 0])]).tolist():
                term.table[place] = self._cost(term, place)
            entries = term.table[code]
        return entries

    def _cost(self, term: _Term, place: int) -> list[float]:
        """Work out one entry in a network whose tensors are demanded so."""
        owner, (place, levels) = term.layer, term.decode(place)
        if term.tensors == _RESCALED:
            source, own = levels
            network = self._with_rescale(self._under({self._read_by(owner): source}), owner, own)
            return self._measure(network, f"{owner}.input")
        if owner not in self.items_at[levels[-1]]:
            return [0.0] * len(METRICS)
        network = self._under(dict(zip(term.tensors, levels, strict=True)))
        if not self.items[owner].layer.has_weights:
            return self._measure(network, owner)
        number = self.layers.index(owner)
        own = int(self.level_of[self.activations[number][place]])
        if self.levels[own - 1].bits != self.levels[levels[0] - 1].bits or self.unlike[number]:
            network = self._with_rescale(network, owner, own)
        formats = network.formats()
        layers = tuple(
            self._under_choice(item, place, formats[item.layer.inputs[0]])
            if item.layer.name == owner
            else item
            for item in network.layers
        )
        decoding = self.decodings[owner][place] if owner in self.decodings else _PACKED
        return self._measure(replace(network, layers=layers), owner, decoding)

    def _under_choice(self, item: IntegerLayer, place: int, source: TensorFormat) -> IntegerLayer:
        """Return a layer that reads integers of a format with the bits of one of its choices.

        Where choices are stored, it has the widths of the choice's channels and its masks.
        """
        name = item.layer.name
        assert isinstance(source, Int)
        bits = replace(self.choices[name][place], activation=source)
        if name not in self.stored:
            return replace(item, bits=bits)
        stored = self.stored[name][place]
        assert stored.bits is not None
        return replace(
            item,
            bits=replace(bits, weight=stored.bits.weight),
            weight=stored.weight,
            weight_width=stored.weight_width,
            masks=stored.masks,
            mask_multiplier=stored.mask_multiplier,
        )

    def _under(self, levels: Mapping[str, int]) -> QuantizedNetwork:
        """Return the network in which the groups of some tensors are at levels."""
        at = {self.groups[tensor]: level for tensor, level in levels.items()}
        layers: list[IntegerLayer] = []
        behind: dict[str, str] = {}
        for name in self.items:
            item = self.items_at[at.get(self.groups[name], _FIXED)].get(name)
            if item is None:
                continue
            (source, *_) = item.layer.inputs
            if _behind_a_layer(item):
                behind[source] = name
            elif behind:
                item = _reading(item, behind)
            layers.append(item)
        given = self.at[at.get(self.groups[INPUT], _FIXED)]
        return replace(self.network, input=given.input, layers=tuple(layers))

    def _in_width(self, width: int) -> QuantizedNetwork:
        """Return the network with all tensors that layers with weights demand in another width.

        What a rescale behind a layer reads has no sign where its group has one, and so a bit less than it.
        """
        formats = self.network.formats()

        def form(tensor: str, given: Int | Half) -> Int:
            group = self.groups[tensor]
            of_group = formats[group]
            assert isinstance(given, Int) and isinstance(of_group, Int)
            less = of_group.bits - given.bits
            return Int(width - less, given.signed) if self.readers[group] else given

        items = (replace(item, output=form(item.layer.name, item.output)) for item in self.network.layers)
        return replace(self.network, input=form(INPUT, self.network.input), layers=tuple(items))

    def _read_at(self, reader: str, level: int) -> IntegerLayer:
        """Return the rescale that gives a layer its tensor as it demands it at a level."""
        tensor = self._read_by(reader)
        network = self._under({tensor: level})
        behind = self.behind.get(tensor, tensor)
        carrier = behind if behind in self.items_at[level] else tensor
        form = network.formats()[carrier]
        assert isinstance(form, Int)
        own = Int(form.bits, self.choices[reader][0].activation.signed)
        width = channel_bits(network)[carrier] if self._has_channels(self.groups[tensor], level) else None
        layer = Layer(f"{reader}.input", Rescale(), (tensor,), self.items[reader].layer.input_shapes)
        return IntegerLayer(layer, own, 1.0, width=width)

    def _with_rescale(self, network: QuantizedNetwork, reader: str, level: int) -> QuantizedNetwork:
        """Return a network in which a layer reads its tensor through a rescale to what it demands at a level."""
        layers: list[IntegerLayer] = []
        for item in network.layers:
            if item.layer.name == reader:
                rescale = self._read_at(reader, level)
                (source,) = item.layer.inputs
                layers.append(_reading(rescale, {rescale.layer.inputs[0]: source}))
                item = _reading(item, {source: rescale.layer.name})
            layers.append(item)
        return replace(network, layers=tuple(layers))

    def _measure(self, network: QuantizedNetwork, name: str, decoding: Decoding = _PACKED) -> list[float]:
        """Return the metrics of one layer of a network."""
        item = next(item for item in network.layers if item.layer.name == name)
        parts = () if self.hardware is None else layer_circuits(network, item, self.hardware)
        cycles, moved, traffic, energy = 0, (0, 0, 0), None, (0.0, 0.0)
        if isinstance(self.memory, Accelerator):
            layer = layer_memory(network, item, self.memory, self.minimise)
            cycles, traffic = layer.cycles, layer.dram_traffic
            if self.energy is not None and self.hardware is not None:
                energy = estimated_energy(network, item, self.hardware, self.energy, decoding, layer)
        elif self.memory is not None:
            traffic = layer_traffic(network, item, self.memory)
        if traffic is not None:
            moved = (traffic.weight_bytes, traffic.input_bytes, traffic.output_bytes)
        if decoding.weights:
            parts += () if self.hardware is None else decoding.circuits(item, moved[0], self.hardware)
            moved = (decoding.moved_bytes(item, moved[0]), *moved[1:])
        return [
            sum(part.count * part.nand2_equivalents for part in parts),
            sum(part.count * part.flip_flops for part in parts),
            sum(part.count * (part.area_um2 or 0.0) for part in parts),
            *moved,
            cycles,
            stored_bits(item),
            max((part.critical_path_ps or 0.0 for part in parts), default=0.0),
            *energy,
        ]


def largest_axis(values: Mapping[int, IntArray]) -> tuple[IntArray, Axis]:
    """Return what the largest of some values can be, from what each layer has under its choices, and the axis of it."""
    least = max((int(own.min()) for own in values.values()), default=0)
    levels = np.unique(np.maximum(np.concatenate([[least], *values.values()]), least)).astype(np.int64)
    return levels, _axis(
        {one: np.searchsorted(levels, np.maximum(own, least)) for one, own in values.items()}
    )


def _axis(ranks: Mapping[int, IntArray]) -> Axis:
    return tuple((layer, tuple(own.tolist())) for layer, own in sorted(ranks.items()))


def _computes(item: IntegerLayer) -> bool:
    return not isinstance(item.layer.operator, Moving)


def _reading(item: IntegerLayer, instead: Mapping[str, str]) -> IntegerLayer:
    """Return a layer that reads other tensors instead of some."""
    inputs = tuple(instead.get(name, name) for name in item.layer.inputs)
    return replace(item, layer=replace(item.layer, inputs=inputs))


def _put_in(item: IntegerLayer, name: str) -> bool:
    """Return whether a layer is a rescale that quantization put in under a name."""
    return isinstance(item.layer.operator, Rescale) and item.layer.name.rstrip("_") == name


def _behind_a_layer(item: IntegerLayer) -> bool:
    return _put_in(item, f"{item.layer.inputs[0]}.output")


def _passes_on(item: IntegerLayer) -> bool:
    """Return whether what a layer writes has the format of what it reads."""
    return isinstance(item.layer.operator, Moving | MaxPool) or _behind_a_layer(item)


def _before_a_reader(item: IntegerLayer) -> bool:
    return _put_in(item, f"{item.layer.name.rstrip('_').removesuffix('.input')}.input")


def _without_readers_rescales(network: QuantizedNetwork) -> QuantizedNetwork:
    """Return a network whose layers read tensors themselves, not through rescales before a reader or behind a layer."""
    read: dict[str, str] = {}
    layers: list[IntegerLayer] = []
    for item in network.layers:
        (source, *_) = item.layer.inputs
        if _before_a_reader(item) or _behind_a_layer(item):
            read[item.layer.name] = read.get(source, source)
        if not _before_a_reader(item):
            layers.append(_reading(item, read))
    return replace(network, layers=tuple(layers))


def _all_items(networks: Sequence[QuantizedNetwork]) -> dict[str, IntegerLayer]:
    """Return the layers of networks that differ in the rescales behind layers alone, in order."""
    behind = {item.layer.inputs[0]: item for one in networks for item in one.layers if _behind_a_layer(item)}
    layers = [item for item in networks[0].layers if not _behind_a_layer(item)]
    both = ((item, behind[item.layer.name]) if item.layer.name in behind else (item,) for item in layers)
    return {item.layer.name: item for items in both for item in items}


def _sources(items: Iterable[IntegerLayer]) -> dict[str, frozenset[str]]:
    """Return, for each tensor, the layers (or the input) whose requantised integers it holds."""
    sources = {INPUT: frozenset([INPUT])}
    for item in items:
        passed = (sources[name] for name in item.layer.inputs)
        own = frozenset().union(*passed) if _passes_on(item) else frozenset([item.layer.name])
        sources[item.layer.name] = own
    return sources


def _groups(items: Iterable[IntegerLayer]) -> dict[str, str]:
    """Return, for each tensor, the first of those that share its format: what only moves integers joins them.

    A rescale behind a layer makes of its tensor what the group has, so that both are in it.
    """
    groups = {INPUT: INPUT}
    for item in items:
        layer = item.layer
        if not _passes_on(item):
            groups[layer.name] = layer.name
            continue
        joined = {groups[name] for name in layer.inputs}
        first = next(group for group in groups.values() if group in joined)
        groups = {name: first if group in joined else group for name, group in groups.items()}
        groups[layer.name] = first
    return groups
