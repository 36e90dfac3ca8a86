"""What answers a question about prices: the tables of what designs cost, made where design points are evaluated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from hwsim.bits import LayerBits, bit_config
from hwsim.cost.compression import FRAME_BYTES, float32_bytes, layer_bytes
from hwsim.cost.configurations import METRICS, Configurations, Level, Table
from hwsim.cost.decoding import Decoding, decoding
from hwsim.cost.memory.hierarchy import Accelerator
from hwsim.cost.shared_array import array_tables
from hwsim.cost.traffic import Memory
from hwsim.datapath import multiply_accumulate
from hwsim.errors import HwsimError
from hwsim.explore.bench import Bench, buffers_area
from hwsim.explore.evaluation import OF_ELEMENTS, Choice, Layers, Shared
from hwsim.explore.front import alone
from hwsim.explore.study import Study
from hwsim.formats import Int, WeightFormat
from hwsim.layers import Clip, Concatenate
from hwsim.network import FloatArray, IntegerLayer, QuantizedNetwork
from hwsim.quantize import fold_batch_norm, quantize
from hwsim.quantize.settings import Settings

_FILE = "file_bytes"

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

_OF_CIRCUITS = {"gates", "flip_flops", "area_um2", "critical_path_ps", "circuits_fj"}

_OF_TRAFFIC = {"bandwidth", "latency", "energy"}
"""Objectives that need the bytes that move."""

_OF_GRIDS = ("array_nand2", "array_um2")
"""The columns of :func:`hwsim.cost.shared_array.array_tables`."""


class _Weights(NamedTuple):
    """A format of weights, and what their quantizer differs in from the design's."""

    format: WeightFormat
    quantizer: str = ""


class Chosen(NamedTuple):
    """What a layer may choose."""

    bits: LayerBits
    coder: str
    quantizer: str

    @property
    def weights(self) -> _Weights:
        return _Weights(self.bits.weight, self.quantizer)

    @staticmethod
    def parse(text: str) -> Chosen:
        choice = Choice.parse(text)
        return Chosen(LayerBits.parse(choice.bits, signed=False), choice.coder, choice.quantizer)


def priced(
    bench: Bench,
    shared: Shared,
    layers: Layers,
    choice_of: tuple[int, ...],
    objectives: tuple[str, ...],
    alive: Callable[[], None],
) -> dict[str, Any]:
    """Return the tables, start and bytes in float of :class:`hwsim.explore.prices.Prices` as plain data."""
    designs = _Designs(bench, shared, {name: tuple(map(Chosen.parse, texts)) for name, texts in layers})
    study, memory = designs.study, designs.memory
    configurations = designs.configurations(objectives)
    alive()
    tables, estimated = [], list[list[float]]()
    for table in configurations.tables(choice_of):
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
            bits = configurations.circuit_bits().values()
            macs = [[multiply_accumulate(one, shared.datapath) for one in given] for given in bits]
            hardware = study.hardware.value(shared.datapath)
            grids = array_tables(macs, choice_of, memory.array, hardware, alive)
            tables += [_objectives(grid, objectives, _OF_GRIDS) for grid in grids]
    packed = np.array([_FILE in PRICED[name] for name in objectives])
    if packed.any():
        bytes_of, rest = designs.file_bytes()
        tables += [
            alone(number, np.outer(sizes, packed)) for number, sizes in zip(choice_of, bytes_of, strict=True)
        ]
        start += packed * float(rest)
    return {
        "tables": [
            {
                "axes": table.axes,
                "shape": table.costs.shape,
                "costs": table.costs.ravel().tolist(),
                "name": table.name,
            }
            for table in tables
        ],
        "start": start.tolist(),
        "float32_bytes": float32_bytes(designs.reference),
        "circuits": estimated,
    }


def _objectives(table: Table, objectives: tuple[str, ...], figures: tuple[str, ...] = METRICS) -> Table:
    """Return a table of some figures with a column for each objective; what follows from others stays 0."""
    columns = [
        sum(table.costs[..., figures.index(figure)] for figure in PRICED[name] if figure in figures)
        + np.zeros(table.costs.shape[:-1])
        for name in objectives
    ]
    return replace(table, costs=np.stack(columns, axis=-1))


@dataclass(frozen=True, eq=False)
class _Designs:
    """Designs that share all of ``shared``, and what each of their layers may choose."""

    bench: Bench
    shared: Shared
    choices: Mapping[str, tuple[Chosen, ...]]

    @property
    def every(self) -> list[Chosen]:
        """All that some layer may choose."""
        return [choice for given in self.choices.values() for choice in given]

    @cached_property
    def study(self) -> Study:
        """The study with the designs' array and buffers."""
        return self.bench.study.at(self.shared.array, self.shared.buffers)

    @cached_property
    def memory(self) -> Memory | Accelerator:
        """What the designs' tensors move through."""
        return self.study.accelerator() or self.study.memory.value()

    @cached_property
    def reference(self) -> QuantizedNetwork:
        """The network with 8 bits everywhere."""
        return self._quantized(dict.fromkeys(self.choices, _Weights(Int(8))))

    def configurations(self, objectives: tuple[str, ...]) -> Configurations:
        """Return the designs' circuits and traffic, as far as objectives need them."""
        study, datapath = self.study, self.shared.datapath
        circuits = any(_OF_CIRCUITS & set(PRICED[name]) for name in objectives)
        decodings = self._decodings()
        # Traffic says how many decoders there are.
        moves = bool(_OF_TRAFFIC & set(objectives)) or (circuits and bool(decodings))
        own_widths = any(item.weight_width is not None for item in self.reference.layers)
        own = any(choice.quantizer for choice in self.every)
        return Configurations(
            self.reference,
            {name: [choice.bits for choice in given] for name, given in self.choices.items()},
            hardware=study.hardware.value(datapath) if circuits else None,
            memory=self.memory if moves else None,
            minimise=study.minimise,
            decodings=decodings,
            stored=self._stored() if own or own_widths else None,
            energy=study.energy_model(datapath) if "energy" in objectives else None,
            **self._other_levels(),
        )

    def file_bytes(self) -> tuple[list[FloatArray], int]:
        """Return the coded bytes of each layer's choices, and those of all else in the file.

        They depend on the weights and, in the constants of requantisers, on the width of the inputs; with another width of
        the outputs those differ by a byte or two.
        """
        sizes = {
            (weights, coder): layer_bytes(network, coder or "huffman")
            for weights, network in self._networks.items()
            for coder in dict.fromkeys(choice.coder for choice in self.every)
        }
        widest = {name: given[0].weights for name, given in self.choices.items()}
        at_width = {
            bits: layer_bytes(self._quantized(widest, bits))
            for bits in {8, *(choice.bits.activation.bits for choice in self.every)}
        }

        def size(name: str, choice: Chosen) -> float:
            constants = at_width[choice.bits.activation.bits][name] - at_width[8][name]
            return float(sizes[choice.weights, choice.coder][name] + constants)

        rest = FRAME_BYTES + sum(own for name, own in at_width[8].items() if name not in self.choices)
        return [np.array([size(name, one) for one in given]) for name, given in self.choices.items()], rest

    def _decodings(self) -> dict[str, tuple[Decoding, ...]]:
        """Return how the weights of each layer's choices move; nothing where no coder is chosen."""
        if not any(choice.coder for choice in self.every):
            return {}
        pairs = {
            name: [(choice.weights, choice.coder) for choice in given] for name, given in self.choices.items()
        }
        found = {
            (name, weights, coder): decoding(self._items[weights, name], coder)
            for name, given in pairs.items()
            for weights, coder in dict.fromkeys(given)
        }
        return {name: tuple(found[name, *pair] for pair in given) for name, given in pairs.items()}

    def _other_levels(self) -> dict[str, Any]:
        """Return what layers' choices demand of their inputs and the network under each of that, where costs depend on more than widths.

        They do where channels of activations have widths of their own, and where concatenated tensors are clipped: whether a
        rescale stands behind a clip depends on the range that the concatenation has.
        """
        whole = Settings.parse(self.shared.quantizer)
        settings = {
            name: [whole.of_layer(choice.quantizer) for choice in given]
            for name, given in self.choices.items()
        }
        demanded = {name: [one.of_activations for one in given] for name, given in settings.items()}
        distinct = {text for given in demanded.values() for text in given}
        channels = any(one.has_channel_widths for given in settings.values() for one in given)
        kinds = {type(layer.operator) for layer in self.bench.network.layers}
        if not channels and not {Clip, Concatenate} <= kinds:
            return {}
        if channels and len(distinct) > 1:
            raise HwsimError(
                f"designs with {self.shared.quantizer} whose layers quantize activations otherwise have no prices where channels "
                "have widths of their own; leave activations out of the quantizers of layers, or choose "
                'activation_granularity=tensor or search = "evolve"'
            )
        many = len(distinct) > 1
        others = {
            Level(choice.bits.activation.bits, how if many else ""): how
            for name, given in self.choices.items()
            for choice, how in zip(given, demanded[name], strict=True)
        }
        networks = {
            level: self._quantized(dict.fromkeys(self.choices, _Weights(Int(8), how)), level.bits)
            for level, how in others.items()
        }
        return {"quantizers": demanded if many else None, "others": networks}

    def _stored(self) -> dict[str, tuple[IntegerLayer, ...]]:
        """Return each layer under each of its choices."""
        return {
            name: tuple(self._items[choice.weights, name] for choice in given)
            for name, given in self.choices.items()
        }

    @cached_property
    def _items(self) -> dict[tuple[_Weights, str], IntegerLayer]:
        """The layers by kind of weights and name."""
        return {
            (weights, item.layer.name): item
            for weights, network in self._networks.items()
            for item in network.layers
        }

    @cached_property
    def _networks(self) -> dict[_Weights, QuantizedNetwork]:
        """For each kind of weights a network in which every layer that may have it does."""
        found = {}
        for weights in dict.fromkeys(choice.weights for choice in self.every):
            wanted = {
                name: next((one.weights for one in given if one.weights == weights), given[0].weights)
                for name, given in self.choices.items()
            }
            found[weights] = self._quantized(wanted)
        return found

    def _quantized(self, weights: Mapping[str, _Weights], width: int = 8) -> QuantizedNetwork:
        """Return the network with some kinds of weights and activations of one width."""
        signed = self._signed
        bits = bit_config(
            ((name, LayerBits(weights[name].format, Int(width, signed[name]), Int(32))) for name in signed),
            {name: kind.quantizer for name, kind in weights.items() if kind.quantizer},
        )
        settings = Settings.parse(self.shared.quantizer)
        return quantize(self.bench.network, bits, self.bench.calibration, settings=settings)

    @cached_property
    def _signed(self) -> dict[str, bool]:
        """Whether each layer with weights reads integers with a sign."""
        return fold_batch_norm(self.bench.network).signed_inputs()
