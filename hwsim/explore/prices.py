"""What the designs of a space cost, as tables whose entries add up or the largest of which counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hwsim.bits import LayerBits, bit_config
from hwsim.cost.compression import FRAME_BYTES, float32_bytes, layer_bytes
from hwsim.cost.configurations import METRICS, Configurations, Level, Table, joined
from hwsim.cost.decoding import Decoding, decoding
from hwsim.cost.memory.hierarchy import Accelerator
from hwsim.cost.shared_array import array_count, array_tables
from hwsim.datapath import multiply_accumulate
from hwsim.errors import HwsimError
from hwsim.explore.bench import buffers_area
from hwsim.explore.evaluation import LOSSES, OF_ELEMENTS, Choice, Shared
from hwsim.explore.front import alone
from hwsim.explore.question import Alive, Pricing
from hwsim.formats import Int, IntArray, WeightFormat
from hwsim.layers import Clip, Concatenate
from hwsim.network import FloatArray, IntegerLayer, QuantizedNetwork
from hwsim.quantize import fold_batch_norm, quantize
from hwsim.quantize.settings import Settings

if TYPE_CHECKING:
    from hwsim.explore.bench import Bench
    from hwsim.explore.search import SearchSpace
    from hwsim.explore.study import Study

_FILE = "file_bytes"


class _Weights(NamedTuple):
    """A format of weights, and what their quantizer differs in from the design's."""

    format: WeightFormat
    quantizer: str = ""


class _Chosen(NamedTuple):
    """What a layer may choose."""

    bits: LayerBits
    coder: str
    quantizer: str

    @property
    def weights(self) -> _Weights:
        return _Weights(self.bits.weight, self.quantizer)


_Choices = Mapping[str, tuple[_Chosen, ...]]

PRICED: dict[str, tuple[str, ...]] = {
    "gates": ("gates",),
    "flip_flops": ("flip_flops",),
    "area": ("area_um2",),
    "bandwidth": ("weight_bytes", "input_bytes", "output_bytes"),
    "file_bytes": (_FILE,),
    "compression_ratio": (_FILE,),
    "latency": ("cycles",),
    "buffer_bytes": (),
    "critical_path": ("critical_path_ps",),
    "energy": ("circuits_fj", "memory_fj"),
    "array_gates": ("array_nand2",),
    "array_area": ("array_um2",),
}
"""The figures of tables that an objective follows from; buffers are there whatever the layers choose."""

MOST_ARRAYS = 128
"""Arrays of different formats that are synthesised, for one grid and datapath, before anything is measured."""

_OF_GRIDS = ("array_nand2", "array_um2")
"""The columns of :func:`hwsim.cost.shared_array.array_tables`."""

MAXIMA = ("critical_path",)
"""Objectives in which the largest entry counts; in the others entries add up."""

ESTIMATED = ("energy",)
"""Objectives that tables tell nearly: designs that were measured say how nearly (:mod:`hwsim.explore.energy_prices`)."""


@dataclass(frozen=True, eq=False)
class Prices:
    """The costs of designs that share ``shared``: the sum of ``tables`` and ``start``, then ``scale`` of it.

    In the objectives ``largest``, given as places, it is the largest entry in place of the sum.
    An objective's cost is lower the better, as :meth:`hwsim.explore.evaluation.Metric.cost` has it. The tables' layers
    are the space's choices, and their places the ones in ``kept``: all that the space gives, but those left out.
    """

    shared: Shared
    kept: tuple[IntArray, ...]
    tables: tuple[Table, ...]
    start: FloatArray
    scale: tuple[Callable[[FloatArray], FloatArray], ...]
    largest: tuple[int, ...] = ()
    circuits: tuple[FloatArray, ...] = ()

    @property
    def counts(self) -> tuple[int, ...]:
        """How many places each choice has here."""
        return tuple(map(len, self.kept))

    def within(self, choices: IntArray) -> npt.NDArray[np.bool_]:
        """Return which rows of the space's places are all among those kept, [points]."""
        columns = zip(choices.T, self.kept, strict=True)
        return np.asarray(np.all([np.isin(column, kept) for column, kept in columns], axis=0))

    def places(self, choices: IntArray) -> IntArray:
        """Return the places in the tables of rows of the space's places, all kept."""
        columns = zip(choices.T, self.kept, strict=True)
        return np.stack([np.searchsorted(kept, column) for column, kept in columns], axis=1)

    def of(self, choices: IntArray) -> FloatArray:
        """Return the costs [points, objectives] of rows of the space's places, all kept."""
        return self.costs(self._joined(choices, Table.of, self.largest))

    def spread(self, choices: IntArray) -> FloatArray:
        """Return the costs with sums and means in place of maxima: one layer alone seldom lowers a maximum, but its share of those."""
        return self.costs(self._joined(choices, Table.spread, ()))

    def _joined(
        self, choices: IntArray, of: Callable[[Table, IntArray], FloatArray], largest: Sequence[int]
    ) -> FloatArray:
        """Return what the table entries of rows of the space's places come to, [points, objectives]."""
        places, found = self.places(choices), np.zeros((len(choices), len(self.start)))
        for table in self.tables:
            found = joined(found, of(table, places), largest)
        return found

    def costs(self, sums: FloatArray) -> FloatArray:
        """Return the costs [points, objectives] of what table entries come to, [points, objectives]."""
        columns = [of(sums[:, place] + self.start[place]) for place, of in enumerate(self.scale)]
        return np.stack(columns, axis=1) if columns else sums


def priced_objectives(objectives: Sequence[str]) -> tuple[str, ...]:
    """Return the objectives that tables price; refuse those that nothing tells before they are measured, but the accuracy."""
    for name in objectives:
        if name not in PRICED and name not in LOSSES:
            raise HwsimError(
                f'search "exact" has no prices of {name}, which is known where it is measured; leave it out of the objectives '
                'or choose search = "evolve"'
            )
    return tuple(name for name in objectives if name in PRICED)


def few_arrays(space: SearchSpace) -> bool:
    """Return whether the arrays that a space's designs need differ little enough in their formats for tables."""
    found = (
        [[multiply_accumulate(_chosen(text).bits, datapath) for text in texts] for _, texts in space.layers]
        for datapath in space.datapaths
    )
    return all(array_count(macs, space.choice_of) <= MOST_ARRAYS for macs in found)


def prices(space: SearchSpace, objectives: tuple[str, ...]) -> tuple[Prices, ...]:
    """Return the prices of all that layers can share but what is left out; circuits not met before are synthesised.

    Raises :class:`HwsimError` for the metrics of an array that has too many different formats.
    """
    named = [name for name in objectives if name in OF_ELEMENTS]
    if named and not few_arrays(space):
        raise HwsimError(
            f"{named[0]} has prices where the widest formats of a design's layers are one of at most {MOST_ARRAYS}; give fewer "
            'weights, activations, accumulators or overflows, or choose search = "evolve"'
        )
    asked = [Pricing(shared, space.layers, space.choice_of, objectives) for shared in space.shared]
    return tuple(_read(space, question, answer) for question, answer in space.answers(asked))


def _read(space: SearchSpace, question: Pricing, answer: Any) -> Prices:
    """Return prices from what :func:`priced` made."""
    assert space.bench is not None
    of = {
        number: (texts, have)
        for number, (_, texts), (_, have) in zip(space.choice_of, space.layers, question.layers, strict=True)
    }
    kept = (np.flatnonzero([text in have for text in texts]) for texts, have in of.values())
    tables = (
        Table(
            tuple(tuple((layer, tuple(ranks)) for layer, ranks in axis) for axis in table["axes"]),
            np.array(table["costs"], np.float64).reshape(table["shape"]),
            table["name"],
        )
        for table in answer["tables"]
    )
    circuits = (
        np.array(fj).reshape(table["shape"][:-1])
        for fj, table in zip(answer["circuits"], answer["tables"], strict=False)
    )
    study = space.bench.study
    scale = tuple(_scale(name, study, answer["float32_bytes"]) for name in question.objectives)
    largest = tuple(place for place, name in enumerate(question.objectives) if name in MAXIMA)
    start = np.array(answer["start"])
    return Prices(question.shared, tuple(kept), tuple(tables), start, scale, largest, tuple(circuits))


def priced(bench: Bench, question: Pricing, alive: Alive) -> dict[str, Any]:
    """Return the tables, start and bytes in float of :class:`Prices` as plain data."""
    objectives, quantizer = question.objectives, question.shared.quantizer
    study = bench.study.at(question.shared.array, question.shared.buffers)
    choices = {name: tuple(map(_chosen, texts)) for name, texts in question.layers}
    reference = _quantized(bench, dict.fromkeys(choices, _Weights(Int(8))), quantizer)
    own = any(choice.quantizer for given in choices.values() for choice in given)
    figures = {figure for name in objectives for figure in PRICED[name]}
    circuits = bool(figures & {"gates", "flip_flops", "area_um2", "critical_path_ps", "circuits_fj"})
    decodings = _decodings(bench, choices, quantizer)
    alive()
    memory = study.accelerator() or study.memory.value()
    # Traffic says how many decoders there are.
    moves = bool({"bandwidth", "latency", "energy"} & set(objectives)) or (circuits and bool(decodings))
    configurations = Configurations(
        reference,
        {name: [choice.bits for choice in given] for name, given in choices.items()},
        hardware=study.hardware.value(question.shared.datapath) if circuits else None,
        memory=memory if moves else None,
        minimise=study.minimise,
        decodings=decodings,
        stored=_stored(bench, choices, quantizer) if own or _own_widths(reference) else None,
        energy=study.energy_model(question.shared.datapath) if "energy" in objectives else None,
        **_other_levels(bench, choices, quantizer),
    )
    tables, estimated = [], list[list[float]]()
    for table in configurations.tables(question.choice_of):
        tables.append(_objectives(table, objectives))
        if "energy" in objectives:
            estimated.append(table.costs[..., METRICS.index("circuits_fj")].ravel().tolist())
        alive()
    start = np.zeros(len(objectives))
    if isinstance(memory, Accelerator):
        fixed = {
            "buffer_bytes": sum(memory.hierarchy.buffers_bytes),
            "array_area": buffers_area(study, memory),
        }
        start += [fixed.get(name, 0) for name in objectives]
        if set(OF_ELEMENTS) & set(objectives):
            macs = [
                [multiply_accumulate(bits, question.shared.datapath) for bits in given]
                for given in configurations.circuit_bits().values()
            ]
            hardware = study.hardware.value(question.shared.datapath)
            grids = array_tables(macs, question.choice_of, memory.array, hardware, alive)
            tables += [_objectives(grid, objectives, _OF_GRIDS) for grid in grids]
    if _FILE in figures:
        packed = [_FILE in PRICED[name] for name in objectives]
        bytes_of, rest = _file_bytes(bench, choices, quantizer)
        tables += [
            alone(number, np.outer(sizes, packed))
            for number, sizes in zip(question.choice_of, bytes_of, strict=True)
        ]
        start += np.array(packed) * float(rest)
    plain = [
        {
            "axes": table.axes,
            "shape": table.costs.shape,
            "costs": table.costs.ravel().tolist(),
            "name": table.name,
        }
        for table in tables
    ]
    return {
        "tables": plain,
        "start": start.tolist(),
        "float32_bytes": float32_bytes(reference),
        "circuits": estimated,
    }


def _chosen(text: str) -> _Chosen:
    choice = Choice.parse(text)
    return _Chosen(LayerBits.parse(choice.bits, signed=False), choice.coder, choice.quantizer)


def _objectives(table: Table, objectives: tuple[str, ...], figures: tuple[str, ...] = METRICS) -> Table:
    """Return a table of some figures with a column for each objective; what follows from others stays 0."""
    columns = [
        sum(table.costs[..., figures.index(figure)] for figure in PRICED[name] if figure in figures)
        + np.zeros(table.costs.shape[:-1])
        for name in objectives
    ]
    return replace(table, costs=np.stack(columns, axis=-1))


def _scale(name: str, study: Study, whole: int) -> Callable[[FloatArray], FloatArray]:
    images_per_second, clock_mhz = study.hardware.images_per_second, study.hardware.clock_mhz
    match name:
        case "area" | "array_area":
            return lambda um2: um2 / 1e6
        case "bandwidth":
            return lambda image_bytes: image_bytes * images_per_second / 1e6
        case "latency":
            return lambda cycles: cycles / clock_mhz
        case "energy":
            return lambda fj: fj / 1e9
        case "compression_ratio":
            return lambda file_bytes: -whole / file_bytes
    return lambda figure: figure


def _file_bytes(bench: Bench, choices: _Choices, quantizer: str) -> tuple[list[FloatArray], int]:
    """Return the coded bytes of each layer's choices, and those of all else in the file.

    They depend on the weights and, in the constants of requantisers, on the width of the inputs; with another width of the
    outputs those differ by a byte or two.
    """
    sizes: dict[tuple[_Weights, str], dict[str, int]] = {}
    for weights, network in _by_weights(bench, choices, quantizer):
        for coder in dict.fromkeys(choice.coder for given in choices.values() for choice in given):
            sizes[weights, coder] = layer_bytes(network, coder or "huffman")
    widest = {name: given[0].weights for name, given in choices.items()}
    at_width = {
        bits: layer_bytes(_quantized(bench, widest, quantizer, bits))
        for bits in {8, *(c.bits.activation.bits for given in choices.values() for c in given)}
    }
    rest = FRAME_BYTES + sum(size for name, size in at_width[8].items() if name not in choices)
    return [
        np.array(
            [
                float(
                    sizes[c.weights, c.coder][name]
                    + at_width[c.bits.activation.bits][name]
                    - at_width[8][name]
                )
                for c in given
            ]
        )
        for name, given in choices.items()
    ], rest


def _decodings(bench: Bench, choices: _Choices, quantizer: str) -> dict[str, tuple[Decoding, ...]]:
    """Return how the weights of each layer's choices move; nothing where no coder is chosen."""
    if not any(choice.coder for given in choices.values() for choice in given):
        return {}
    items = _items(bench, choices, quantizer)
    pairs = {name: [(choice.weights, choice.coder) for choice in given] for name, given in choices.items()}
    found = {
        (name, weights, coder): decoding(items[weights, name], coder)
        for name, given in pairs.items()
        for weights, coder in dict.fromkeys(given)
    }
    return {name: tuple(found[name, *pair] for pair in given) for name, given in pairs.items()}


def _other_levels(bench: Bench, choices: _Choices, quantizer: str) -> dict[str, Any]:
    """Return what layers' choices demand of their inputs and the network under each of that, where costs depend on more than widths.

    They do where channels of activations have widths of their own, and where concatenated tensors are clipped: whether a rescale
    stands behind a clip depends on the range that the concatenation has.
    """
    whole = Settings.parse(quantizer)
    demanded = {
        name: [whole.of_layer(choice.quantizer).of_activations for choice in given]
        for name, given in choices.items()
    }
    distinct = {text for given in demanded.values() for text in given}
    channels = any("activation_granularity=channel" in text for text in distinct)
    kinds = {type(layer.operator) for layer in bench.network.layers}
    if not channels and not {Clip, Concatenate} <= kinds:
        return {}
    if channels and len(distinct) > 1:
        raise HwsimError(
            f"designs with {quantizer} whose layers quantize activations otherwise have no prices where channels have widths of "
            "their own; leave activations out of the quantizers of layers, or choose activation_granularity=tensor or "
            'search = "evolve"'
        )
    many = len(distinct) > 1
    others = {
        Level(choice.bits.activation.bits, how if many else ""): how
        for name, given in choices.items()
        for choice, how in zip(given, demanded[name], strict=True)
    }
    networks = {
        level: _quantized(bench, dict.fromkeys(choices, _Weights(Int(8), how)), quantizer, level.bits)
        for level, how in others.items()
    }
    return {"quantizers": demanded if many else None, "others": networks}


def _own_widths(network: QuantizedNetwork) -> bool:
    return any(item.weight_width is not None for item in network.layers)


def _stored(bench: Bench, choices: _Choices, quantizer: str) -> dict[str, tuple[IntegerLayer, ...]]:
    """Return each layer under each of its choices."""
    items = _items(bench, choices, quantizer)
    return {name: tuple(items[choice.weights, name] for choice in given) for name, given in choices.items()}


def _items(bench: Bench, choices: _Choices, quantizer: str) -> dict[tuple[_Weights, str], IntegerLayer]:
    """Return the layers by kind of weights and name."""
    return {
        (weights, item.layer.name): item
        for weights, network in _by_weights(bench, choices, quantizer)
        for item in network.layers
    }


def _by_weights(
    bench: Bench, choices: _Choices, quantizer: str
) -> Iterator[tuple[_Weights, QuantizedNetwork]]:
    """Yield each kind of weights with a network in which every layer that may have it does."""
    for weights in dict.fromkeys(choice.weights for given in choices.values() for choice in given):
        wanted = {
            name: next((c.weights for c in given if c.weights == weights), given[0].weights)
            for name, given in choices.items()
        }
        yield weights, _quantized(bench, wanted, quantizer)


def _quantized(
    bench: Bench, weights: Mapping[str, _Weights], quantizer: str, width: int = 8
) -> QuantizedNetwork:
    """Return the network with some kinds of weights and activations of one width."""
    signed = fold_batch_norm(bench.network).signed_inputs()
    bits = bit_config(
        ((name, LayerBits(weights[name].format, Int(width, signed[name]), Int(32))) for name in signed),
        {name: kind.quantizer for name, kind in weights.items() if kind.quantizer},
    )
    return quantize(bench.network, bits, bench.calibration, settings=Settings.parse(quantizer))
