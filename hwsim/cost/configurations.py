"""What many bit configurations of one network cost, all at once: sums of tables by layer and choice, and maxima.

A layer's circuits, traffic and stored bits depend on its own bits and on the formats of the tensors it reads and
writes, and a tensor's format is the widest that its readers demand (:mod:`hwsim.quantize.tensors`). So a network's
cost is a sum of table entries, one for each layer and one for each rescale before a layer that demands less than its
tensor has. An entry is what :mod:`hwsim.cost.hardware` and the memory's traffic say of that layer in a network with
those formats, worked out when a configuration first needs it. The longest path of a network is the largest of its
entries in place of their sum.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hwsim.bits import BitConfig, LayerBits
from hwsim.cost.decoding import Decoding
from hwsim.cost.energy_estimate import estimated_energy
from hwsim.cost.hardware import Hardware, layer_circuits
from hwsim.cost.memory.hierarchy import Accelerator
from hwsim.cost.memory.network import layer_memory
from hwsim.cost.network_energy import EnergyModel
from hwsim.cost.traffic import Memory, layer_traffic, stored_bits
from hwsim.errors import HwsimError, unknown
from hwsim.formats import Half, Int, IntArray
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

_WIDTHS = 33
_PACKED = Decoding()
_RESCALED = ("source", "target")
"""What the rescale before a layer depends on: the formats of its tensor and of what the layer demands."""


@dataclass(eq=False)
class _Term:
    """A table of costs: an entry for each combination of what it depends on, NaN until it is needed."""

    layer: str
    tensors: tuple[str, ...]
    table: FloatArray

    def code(self, choice: IntArray, widths: Sequence[IntArray]) -> IntArray:
        """Return the place of each configuration's entry."""
        place = choice
        for width in widths:
            place = place * _WIDTHS + width
        return place


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
    image and needs hardware and an accelerator. ``others`` are the network under other single widths, which tell where a rescale
    behind a layer stands: whether its clip ends below the range of what it is joined to may depend on the width.
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
        others: Sequence[QuantizedNetwork] = (),
    ) -> None:
        self.decodings, self.stored, self.energy = decodings or {}, stored or {}, energy
        self.network, self.hardware, self.memory, self.minimise = network, hardware, memory, minimise
        self.items = {item.layer.name: item for item in network.layers}
        self.choices = {name: tuple(choices.get(name, ())) for name in network.bits}
        self.layers = tuple(self.choices)
        self.groups = _groups(network)
        self._check(choices)
        self.absent = {
            (name, other.formats()[self.items[name].layer.inputs[0]].bits)
            for other in others
            for name in self.items.keys() - {item.layer.name for item in other.layers}
        }
        self.readers = self._readers()
        self.activations = [
            np.array([bits.activation.bits for bits in given], np.int64) for given in self.choices.values()
        ]
        self.terms = {item.layer.name: self._term(item) for item in network.layers if _computes(item)}
        self.rescales = {name: self._table(name, 1, _RESCALED) for name in self.layers}

    def _check(self, choices: Mapping[str, Sequence[LayerBits]]) -> None:
        formats = self.network.formats()
        for name in choices:
            if name not in self.choices:
                raise unknown("layer with weights", name, self.choices)
        for name, given in self.choices.items():
            source = formats[self.items[name].layer.inputs[0]]
            wrong = next((bits for bits in given if bits.activation.signed != source.signed), None)
            if not given or wrong is not None:
                raise HwsimError(
                    f'layer "{name}" has the choices {", ".join(map(str, given)) or "none"}; give at least one, all with '
                    f"activations like {source}"
                )
        for item in self.network.layers:
            if not isinstance(item.output, Int):
                raise HwsimError(
                    f'layer "{item.layer.name}" gives {item.output}, and configurations are those of integers; quantize '
                    "with placement=integer"
                )
            if _is_rescale(item) and item.layer.name.endswith(".input"):
                raise HwsimError(
                    f'the network has "{item.layer.name}" between two formats of one tensor; give it under one width of '
                    "all activations"
                )

    def circuit_bits(self) -> dict[str, tuple[LayerBits, ...]]:
        """Return the bits of each layer's circuits under each of its choices."""
        found = {}
        for name, given in self.choices.items():
            items = (self._under_choice(self.items[name], place) for place in range(len(given)))
            found[name] = tuple(item.bits for item in items if item.bits is not None)
        return found

    def _readers(self) -> dict[str, list[int]]:
        """Return the places of the layers with weights that demand each group's format; none where it is fixed."""
        readers: dict[str, list[int]] = {group: [] for group in self.groups.values()}
        for place, name in enumerate(self.layers):
            readers[self.groups[self.items[name].layer.inputs[0]]].append(place)
        readers[self.groups[self.network.layers[-1].layer.name]] = []
        return readers

    def _table(self, layer: str, choices: int, tensors: tuple[str, ...]) -> _Term:
        size = choices * _WIDTHS ** len(tensors)
        return _Term(layer, tensors, np.full((size, len(METRICS)), np.nan))

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
        demanded = [bits[column] for bits, column in zip(self.activations, columns, strict=True)]
        widths = {
            group: self._widest(group, [demanded[place] for place in readers], len(indices))
            for group, readers in self.readers.items()
        }
        total = np.zeros((len(indices), len(METRICS)))
        places = {name: place for place, name in enumerate(self.layers)}
        nothing = np.zeros(len(indices), np.int64)
        for name, term in self.terms.items():
            choice = columns[places[name]] if name in places else nothing
            code = term.code(choice, [widths[self.groups[t]] for t in term.tensors])
            total = joined(total, self._entries(term, code))
        for place, (name, term) in enumerate(self.rescales.items()):
            source = widths[self.groups[self.items[name].layer.inputs[0]]]
            some = np.flatnonzero(self._rescaled(place, demanded, source))
            if some.size:
                code = term.code(nothing[some], [source[some], demanded[place][some]])
                total[some] = joined(total[some], self._entries(term, code))
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
            readers.setdefault(self.items[name].layer.inputs[0], []).append(place)
        for tensor, own in readers.items():
            yield from self._rescaling(tensor, own, number)

    def _whole(self, term: _Term, own: int | None, number: tuple[int, ...]) -> Table:
        """Return a term's entries for all that it depends on: its own layer's choice, and the widths of its tensors."""
        tied = [] if own is None else [place for place, one in enumerate(number) if one == number[own]]
        count = 1 if own is None else len(self.activations[own])
        axes: list[Axis] = [] if own is None else [((number[own], tuple(range(count))),)]
        demands = {}
        for group in dict.fromkeys(self.groups[tensor] for tensor in term.tensors):
            readers = self.readers[group]
            demands[group], axis = self._demands(readers if {*readers} - {*tied} else [], number)
            axes += [axis] if axis else []
        choice, *others = np.indices((count, *map(len, demands.values()))).reshape(1 + len(demands), -1)
        widths = {}
        for (group, levels), row in zip(demands.items(), others, strict=True):
            mine = [self.activations[p][choice] for p in self.readers[group] if p in tied]
            widths[group] = self._widest(group, [*mine, levels[row]] if levels.any() else mine, len(choice))
        costs = self._entries(term, term.code(choice, [widths[self.groups[t]] for t in term.tensors]))
        sizes = [1 + max(max(ranks) for _, ranks in axis) for axis in axes]
        return Table(tuple(axes), costs.reshape(*sizes, -1), term.layer)

    def _rescaling(self, tensor: str, own: list[int], number: tuple[int, ...]) -> Iterator[Table]:
        """Yield, for each width that some layers demand of the tensor they read, what the rescale to it costs.

        It is there where one of them demands the width and the tensor has more.
        """
        readers = self.readers[self.groups[tensor]]
        together = len({number[place] for place in readers}) == 1
        if together and all(
            np.array_equal(self.activations[place], self.activations[own[0]]) for place in readers
        ):
            return
        levels, source = self._demands(readers, number)
        term = self.rescales[self.layers[own[0]]]
        for width in np.unique(np.concatenate([self.activations[place] for place in own])):
            wider = np.flatnonzero(levels > width)
            if wider.size:
                demand = {number[place]: np.zeros_like(self.activations[place]) for place in own}
                for place in own:
                    demand[number[place]] |= self.activations[place] == width
                costs = np.zeros((2, len(levels), len(METRICS)))
                sources = levels[wider]
                costs[1, wider] = self._entries(
                    term, term.code(np.zeros_like(sources), [sources, np.full_like(sources, width)])
                )
                yield Table((_axis(demand), source), costs)

    def _demands(self, readers: list[int], number: tuple[int, ...]) -> tuple[IntArray, Axis]:
        """Return the widths that a tensor can have for its readers, and which of them each of their choices demands.

        Without readers it is the width 0 alone.
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

    def _widest(self, group: str, demanded: Sequence[IntArray], count: int) -> IntArray:
        """Return the bits of a group's tensors under each configuration, from what its readers demand."""
        if not demanded:
            return np.full(count, self.network.formats()[group].bits, np.int64)
        return functools.reduce(np.maximum, demanded)

    def _rescaled(self, place: int, demanded: list[IntArray], source: IntArray) -> npt.NDArray[np.bool_]:
        """Return where a layer needs a rescale of its own: it demands less than its tensor has, and first."""
        (tensor,) = self.items[self.layers[place]].layer.inputs
        needed: npt.NDArray[np.bool_] = demanded[place] != source
        for other in range(place):
            if self.items[self.layers[other]].layer.inputs == (tensor,):
                needed &= demanded[other] != demanded[place]
        return needed

    def _entries(self, term: _Term, code: IntArray) -> FloatArray:
        """Return the entries at the places given, worked out where they are missing."""
        entries: FloatArray = term.table[code]
        if np.isnan(entries[:, 0]).any():
            for place in np.unique(code[np.isnan(entries[:, 0])]).tolist():
                term.table[place] = self._cost(term, place)
            entries = term.table[code]
        return entries

    def _cost(self, term: _Term, place: int) -> list[float]:
        """Work out one entry in a network with those formats."""
        widths: list[int] = []
        for _ in term.tensors:
            place, width = divmod(place, _WIDTHS)
            widths.insert(0, width)
        owner = term.layer
        if term.tensors == _RESCALED:
            source = self._under({self.items[owner].layer.inputs[0]: widths[0]})
            return self._measure(self._with_rescale(source, owner, widths[1]), f"{owner}.input")
        if (owner, widths[-1]) in self.absent:
            return [0.0] * len(METRICS)
        network = self._under(dict(zip(term.tensors, widths, strict=True)))
        if self.items[owner].layer.has_weights:
            bits = self.choices[owner][place]
            decoding = self.decodings[owner][place] if owner in self.decodings else _PACKED
            if bits.activation.bits != widths[0]:
                network = self._with_rescale(network, owner, bits.activation.bits)
            layers = tuple(
                self._under_choice(item, place) if item.layer.name == owner else item
                for item in network.layers
            )
            return self._measure(replace(network, layers=layers), owner, decoding)
        return self._measure(network, owner)

    def _under_choice(self, item: IntegerLayer, place: int) -> IntegerLayer:
        """Return a layer with the bits of one of its choices, and where they are stored its channels' widths and its masks."""
        name = item.layer.name
        bits = self.choices[name][place]
        if name not in self.stored:
            return replace(item, bits=bits)
        stored = self.stored[name][place]
        assert stored.bits is not None
        in_circuit = replace(bits, weight=stored.bits.weight)
        return replace(
            item,
            bits=in_circuit,
            weight=stored.weight,
            weight_width=stored.weight_width,
            masks=stored.masks,
            mask_multiplier=stored.mask_multiplier,
        )

    def _under(self, widths: Mapping[str, int]) -> QuantizedNetwork:
        """Return the network with all tensors of the groups of some tensors in other widths.

        What a rescale behind a layer reads has no sign where its group has one, and so a bit less than it.
        """
        wanted = {self.groups[tensor]: bits for tensor, bits in widths.items()}
        formats = self.network.formats()

        def form(tensor: str, given: Int | Half) -> Int:
            group = self.groups[tensor]
            of_group = formats[group]
            assert isinstance(given, Int) and isinstance(of_group, Int)
            less = of_group.bits - given.bits
            return Int(wanted[group] - less, given.signed) if group in wanted else given

        return replace(
            self.network,
            input=form(INPUT, self.network.input),
            layers=tuple(
                replace(item, output=form(item.layer.name, item.output)) for item in self.network.layers
            ),
        )

    def _with_rescale(self, network: QuantizedNetwork, reader: str, bits: int) -> QuantizedNetwork:
        """Return a network in which a layer reads its tensor through a rescale to other bits."""
        layers: list[IntegerLayer] = []
        formats = network.formats()
        for item in network.layers:
            if item.layer.name == reader:
                (source,) = item.layer.inputs
                rescale = Layer(f"{reader}.input", Rescale(), (source,), item.layer.input_shapes)
                layers.append(IntegerLayer(rescale, Int(bits, formats[source].signed), 1.0))
                item = replace(item, layer=replace(item.layer, inputs=(rescale.name,)))
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


def _is_rescale(item: IntegerLayer) -> bool:
    return isinstance(item.layer.operator, Rescale)


def _groups(network: QuantizedNetwork) -> dict[str, str]:
    """Return, for each tensor, the first of those that share its format: what only moves integers joins them.

    A tensor that only a rescale reads has the width of what that makes of it, and is in its group.
    """
    groups = {INPUT: INPUT}
    for item in network.layers:
        layer = item.layer
        if not isinstance(layer.operator, Moving | MaxPool):
            groups[layer.name] = layer.name
            continue
        joined = {groups[name] for name in layer.inputs}
        first = next(group for group in groups.values() if group in joined)
        groups = {name: first if group in joined else group for name, group in groups.items()}
        groups[layer.name] = first
    behind = {item.layer.inputs[0]: item.layer.name for item in network.layers if _is_rescale(item)}
    return groups | {tensor: groups[rescale] for tensor, rescale in behind.items()}
