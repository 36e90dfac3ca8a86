"""The bench of a study: its network, calibration and test split, and the measuring of one design point on them."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from hwsim.bits import BitConfig, LayerBits, bit_config
from hwsim.catalogue import file_digest
from hwsim.cost.compression import compress, float32_bytes, layer_bytes
from hwsim.cost.decoding import DECODERS_VERSION, decoding
from hwsim.cost.hardware import Part
from hwsim.cost.hardware import circuits as network_circuits
from hwsim.cost.memory.energy import buffers_um2
from hwsim.cost.memory.hierarchy import Accelerator
from hwsim.cost.memory.network import network_memory
from hwsim.cost.network_energy import layer_energies
from hwsim.cost.shared_array import array_parts
from hwsim.cost.technology import technology
from hwsim.cost.traffic import LayerTraffic, traffic
from hwsim.data import Split, network_split
from hwsim.errors import HwsimError
from hwsim.explore.evaluation import (
    EVALUATOR_VERSION,
    OF_ELEMENTS,
    ArrayResult,
    DesignPoint,
    Evaluation,
    LayerResult,
    marks,
)
from hwsim.explore.study import Study
from hwsim.models import load_model
from hwsim.models.channel_groups import split_channels
from hwsim.network import FloatNetwork, IntegerLayer, QuantizedNetwork
from hwsim.quantize import Calibration, once, quantize
from hwsim.quantize.settings import Settings
from hwsim.simulate.circuits import Circuits
from hwsim.simulate.inference import Accuracy, compute_layer, measure_accuracy

COMPARED_IMAGES = 64
"""Test images, from the first on, for which each design point's circuits are compared with exact arithmetic."""

ENERGY_IMAGES = 8
"""Test images, from the first on, that the operands of an energy are drawn from."""


@dataclass(frozen=True)
class Given:
    """What one bench has computed and another of the same study need not: see :class:`Bench`."""

    float_correct: int
    calibration: bytes


@dataclass(frozen=True, eq=False)
class Bench:
    """What every evaluation of a study shares: the float network, its calibration and the test split.

    ``float_correct`` are the float network's correct predictions on the test split. They and the calibration are
    computed when they are first asked for, or given to :func:`open_bench` by a bench that has them.
    """

    study: Study
    network: FloatNetwork
    calibration_split: Split
    test: Split
    given: Given | None = None

    @cached_property
    def calibration(self) -> Calibration:
        if self.given:
            return once.from_bytes(self.given.calibration, self.network)
        asked = any(settings.compensates for settings in self.study.settings)
        return once.calibrate_once(self.network, self.calibration_split, moments=asked)

    @cached_property
    def float_correct(self) -> int:
        if self.given:
            return self.given.float_correct
        from hwsim.models.forward import accuracy  # torch, which a bench with everything given does without

        return accuracy(self.network, self.test)[0]

    def computed(self) -> Given:
        """Return what another bench of the study need not compute again."""
        return Given(self.float_correct, once.to_bytes(self.calibration))

    @cached_property
    def stamp(self) -> str:
        """Return the digest of everything besides the design point that a result depends on."""
        study = self.study
        facts = [
            EVALUATOR_VERSION,
            self.network.digest(),
            *(split.digest() for split in (self.calibration_split, self.test)),
            study.hardware.model_dump(),
            study.memory.model_dump(),
            *([] if study.array is None else [study.array.model_dump()]),
            technology(study.hardware.technology).digest,
            *self._energy_facts(),
            *(["array", *study.asked_of_array] if study.asked_of_array else []),
            *(["decoders", DECODERS_VERSION] if study.coded else []),
            *(file_digest(name) for name in study.space.datapaths),
            *(file_digest(name) for settings in study.settings for name in settings.methods),
        ]
        return hashlib.blake2b(json.dumps(facts).encode(), digest_size=16).hexdigest()

    def _energy_facts(self) -> list[Any]:
        """Return what only the energy depends on; nothing where the study does not ask for it."""
        model = self.study.at(*self.study.places[0]).energy_model("mac")
        if model is None:
            return []
        clock = model.technology.flip_flop
        facts = [
            "energy",
            clock.clock_capacitance,
            clock.clock_energy,
            str(model.memories.sram),
            model.cycles,
        ]
        chosen = ((model.minimise, "traffic"), (model.mapping, "balanced"))
        return facts + [value for value, usual in chosen if value != usual]

    def quantized(self, point: DesignPoint) -> QuantizedNetwork:
        """Return the integer network of a design point."""
        return quantize(
            self.network, point_bits(point), self.calibration, settings=Settings.parse(point.quantizer)
        )

    def evaluate(self, index: int, point: DesignPoint, *, threads: int = 0) -> Evaluation:
        """Measure one design point: the accuracy of its circuits, their cost, traffic and compressed file.

        ``threads`` work on it, as many as there are processor cores if 0. Raises :class:`HwsimError` where the
        circuits differ from exact arithmetic.
        """
        network = self.quantized(point)
        circuits = Circuits(network, mac=point.datapath, threads=threads or os.cpu_count() or 1)
        accuracy = measure_accuracy(
            network,
            self.test.images,
            self.test.labels,
            compute=circuits.compute,
            against=compute_layer,
            compared=COMPARED_IMAGES,
        )
        if accuracy.difference is not None:
            raise HwsimError(f"circuit and arithmetic differ at {point.label()}: {accuracy.difference}")
        cycles = accuracy.images * sum(map(circuits.cycles, network.layers))
        return self.costed(index, point, network, accuracy, cycles)

    def costed(
        self,
        index: int,
        point: DesignPoint,
        network: QuantizedNetwork,
        accuracy: Accuracy,
        circuit_cycles: int = 0,
    ) -> Evaluation:
        """Return the evaluation of a point whose network's circuits have run, with what it costs."""
        return Evaluation(
            index=index,
            point=point,
            correct=accuracy.correct,
            images=accuracy.images,
            float_correct=self.float_correct,
            float32_bytes=float32_bytes(network),
            file_bytes=file_bytes(network, point),
            images_per_second=self.study.hardware.images_per_second,
            layers=self._layers(network, point, accuracy),
            circuit_cycles=circuit_cycles,
            compared_images=min(COMPARED_IMAGES, accuracy.images),
            right=marks(np.array(accuracy.classes) == self.test.labels),
            array=self._array(network, point),
        )

    def _array(self, network: QuantizedNetwork, point: DesignPoint) -> ArrayResult | None:
        """Return what is measured of a point's array itself; nothing where the study does not ask for it."""
        accelerator, asked = self.study.of(point).accelerator(), self.study.asked_of_array
        if accelerator is None or not asked:
            return None
        found = ArrayResult(self.study.hardware.clock_mhz, accelerator.hierarchy.buffers_bytes)
        if not set(OF_ELEMENTS) & set(asked):
            return found
        elements = array_parts(network, accelerator.array, self.study.hardware.value(point.datapath))
        return replace(found, elements=elements, buffers_um2=buffers_area(self.study, accelerator))

    def _layers(
        self, network: QuantizedNetwork, point: DesignPoint, accuracy: Accuracy
    ) -> tuple[LayerResult, ...]:
        """Return what each layer costs, and how many of its sums overflowed."""
        parts = network_circuits(network, self.study.hardware.value(point.datapath))
        study = self.study.of(point)
        moved = {item.layer: item for item in study_traffic(study, network)}
        cycles = array_cycles(study, network) if "latency" in study.asked_of_array else {}
        packed = layer_bytes(network, codecs=point.coder_of)
        overflows = {item.layer: item for item in accuracy.overflows}
        energies = self._energies(network, point)
        rows = []
        for item in network.layers:
            name = item.layer.name
            over = overflows.get(name)
            decoders, weight_bytes = self._decoded(
                item, point, moved[name].weight_bytes if name in moved else 0
            )
            rows.append(
                LayerResult(
                    name=name,
                    kind=item.layer.kind,
                    bits=str(item.bits) if item.bits else "",
                    output=str(item.output),
                    macs=item.layer.macs,
                    weights=0 if item.weight is None else item.weight.size,
                    parts=(*parts.get(name, ()), *decoders),
                    weight_bytes=weight_bytes,
                    input_bytes=moved[name].input_bytes if name in moved else 0,
                    output_bytes=moved[name].output_bytes if name in moved else 0,
                    file_bytes=packed.get(name, 0),
                    sums=over.sums if over else 0,
                    overflowed=over.overflowed if over else 0,
                    energy_pj=energies.get(name),
                    array_cycles=cycles.get(name, 0),
                    own_quantizer=item.quantizer,
                )
            )
        return tuple(rows)

    def _decoded(
        self, item: IntegerLayer, point: DesignPoint, packed_bytes: int
    ) -> tuple[tuple[Part, ...], int]:
        """Return a layer's decoders, and the bytes of weights that move where they take ``packed_bytes`` packed."""
        coder = point.coder_of.get(item.layer.name)
        if coder is None:
            return (), packed_bytes
        how = decoding(item, coder)
        hardware = self.study.hardware.value(point.datapath)
        return how.circuits(item, packed_bytes, hardware), how.moved_bytes(item, packed_bytes)

    def _energies(self, network: QuantizedNetwork, point: DesignPoint) -> dict[str, dict[str, float]]:
        """Return every layer's energy in pJ by where it goes; nothing where the study does not ask for it."""
        model = self.study.of(point).energy_model(point.datapath)
        if model is None:
            return {}
        images = self.test.images[:ENERGY_IMAGES]
        found = layer_energies(network, images, model, coders=point.coder_of, compare=False)
        return {layer.layer: {name: fj / 1e3 for name, fj in layer.by_part.items()} for layer in found}


def study_traffic(study: Study, network: QuantizedNetwork) -> tuple[LayerTraffic, ...]:
    """Return every layer's bytes between external memory and the chip: on the study's array, if it has one."""
    accelerator = study.accelerator()
    if accelerator is None:
        return traffic(network, study.memory.value())
    return tuple(layer.dram_traffic for layer in network_memory(network, accelerator, study.minimise))


def buffers_area(study: Study, accelerator: Accelerator) -> float:
    """Return the area of an accelerator's buffers in um2 in the study's technology; 0 where that has no sizes."""
    sram = technology(study.hardware.technology).sram
    return buffers_um2(accelerator.hierarchy, sram) if sram else 0.0


def array_cycles(study: Study, network: QuantizedNetwork) -> dict[str, int]:
    """Return the cycles of an image in every layer on the study's array; nothing where it has none."""
    accelerator = study.accelerator()
    if accelerator is None:
        return {}
    return {item.layer: item.cycles for item in network_memory(network, accelerator, study.minimise)}


def file_bytes(network: QuantizedNetwork, point: DesignPoint) -> int:
    """Return the bytes of the compressed file of a design point's network, each layer by the point's coder."""
    return len(compress(network, codecs=point.coder_of))


def point_bits(point: DesignPoint) -> BitConfig:
    """Return the bit configuration of a design point."""
    own = zip((name for name, _ in point.bits), point.layer_quantizers, strict=False)
    return bit_config(
        ((name, LayerBits.parse(text, signed=False)) for name, text in point.bits),
        {name: text for name, text in own if text},
    )


def open_bench(study: Study, given: Given | None = None) -> Bench:
    """Load a study's network and splits; with ``given``, nothing of it needs the float network's forward pass."""
    network = split_channels(load_model(study.model), study.space.channels)
    data, where = study.data, 'in the study\'s [data]: {} = "file.npz"'
    seen, tested = (
        network_split(network, source, split, where.format(split), images)
        for source, split, images in (
            (data.calibration, "calibration", data.calibration_images),
            (data.test, "test", data.test_images),
        )
    )
    return Bench(study, network, seen, tested, given)
