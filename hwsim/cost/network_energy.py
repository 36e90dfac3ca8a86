"""Energy of a whole network for one image: its circuits on its own operands, the registers beside them, its memories.

Every layer's circuits run on a sample of the layer's own operands (:mod:`hwsim.cost.operands`), and the mean energy of an
operation is multiplied by the operations of an image. Each multiply-accumulate has registers for its operands in front,
as an element of a systolic array has: clocked when they take a new value, a weight that stays only once. Weights in a code
are read from DRAM in their code's bytes, and a decoder works for each (:mod:`hwsim.cost.decoding`), on a piece of the layer's
own bit stream; buffers hold them decoded. A circuit
leaks while it works; what an idle element leaks is not counted, nor are wires, control and clock trees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from hwsim.cost.decoding import Decoding, decoding
from hwsim.cost.energy import CircuitEnergy, Energy, check_technology, circuit_energy, clock_fj
from hwsim.cost.hardware import operations
from hwsim.cost.memory.energy import memory_energy
from hwsim.cost.memory.hierarchy import Accelerator
from hwsim.cost.memory.network import LayerMemory, layer_memory
from hwsim.cost.operands import (
    DATAFLOWS,
    HELD,
    Trace,
    decoder_trace,
    layer_traces,
    passes_sums,
    random_trace,
)
from hwsim.cost.synthesis import MAPPINGS
from hwsim.cost.technology import TECHNOLOGIES, Technology
from hwsim.datapath import parts
from hwsim.datapath.datapath import Datapath, Scheduled
from hwsim.errors import HwsimError, unknown
from hwsim.formats import IntArray
from hwsim.network import Images, IntegerLayer, QuantizedNetwork
from hwsim.simulate.inference import Overflowed, run

LONGEST = 1 << 20
"""Cycles of a circuit's operands at most: they are held in memory."""


@dataclass(frozen=True)
class PartEnergy:
    """One circuit of a layer: the mean energy of an operation, and its operations for one image."""

    part: str
    one: CircuitEnergy
    operations: int

    @property
    def energy(self) -> Energy:
        """The energy of one image in fJ."""
        return self.one.operation * self.operations


@dataclass(frozen=True)
class LayerEnergy:
    """What one layer costs for one image, in fJ.

    ``registers`` are those of the operands in front of the multiply-accumulates, ``memory`` is by level. ``mac_fj`` is one
    multiply-accumulate by what it reads: uniformly ``random`` bits, or the layer's own operands with a new weight in
    every cycle (``output``) or one that stays (``weight``); empty where a layer has none or nobody asked.
    """

    layer: str
    macs: int
    parts: tuple[PartEnergy, ...]
    registers: float
    memory: Mapping[str, float]
    mac_fj: Mapping[str, float]

    @property
    def circuits(self) -> Energy:
        """The energy of all circuits of the layer."""
        return sum((part.energy for part in self.parts), Energy())

    @property
    def by_part(self) -> dict[str, float]:
        """Where the energy goes: the circuits' parts, the operands' registers and the levels of memory."""
        return self.circuits.parts | {"registers": self.registers} | dict(self.memory)

    @property
    def total(self) -> float:
        return math.fsum(self.by_part.values())

    def to_json(self) -> dict[str, Any]:
        """Return the layer as plain data, energies in pJ."""
        return {
            "layer": self.layer,
            "macs": self.macs,
            "energy_pj": {name: value / 1e3 for name, value in self.by_part.items()},
            "total_pj": self.total / 1e3,
            "pj_per_mac": self.total / 1e3 / self.macs if self.macs else None,
            "mac_pj": {name: value / 1e3 for name, value in self.mac_fj.items()},
            "circuits": [
                {
                    "part": part.part,
                    "circuit": part.one.circuit,
                    "operations": part.operations,
                    "cycles_an_operation": part.one.slots,
                    "sampled_cycles": part.one.cycles,
                    "operation_fj": asdict(part.one.operation),
                }
                for part in self.parts
            ],
        }


@dataclass(frozen=True)
class EnergyModel:
    """What an energy is that of: cells and how they are mapped to, clock, array and memories, multiply-accumulate, and sample.

    ``minimise`` is what the tilings on the array are best at, as in :func:`hwsim.cost.memory.network.network_memory`.
    """

    technology: Technology
    accelerator: Accelerator = field(default_factory=Accelerator)
    clock_mhz: float = 500.0
    mac: str = "mac"
    mac_options: tuple[tuple[str, Any], ...] = ()
    cycles: int = 2048
    seed: int = 0
    minimise: str = "traffic"
    mapping: str = "balanced"

    def __post_init__(self) -> None:
        check_technology(self.technology)
        if not 0 < self.clock_mhz < math.inf:
            raise HwsimError(f"the clock is a finite number of MHz above 0, not {self.clock_mhz}")
        if self.dataflow not in DATAFLOWS:
            raise unknown("dataflow of an energy", self.dataflow, DATAFLOWS)
        if self.mapping not in MAPPINGS:
            raise unknown("mapping", self.mapping, MAPPINGS)
        if not 2 <= self.cycles <= LONGEST:
            raise HwsimError(f"switching is counted in 2 to {LONGEST} cycles, not {self.cycles}; take 2048")

    @property
    def dataflow(self) -> str:
        return self.accelerator.array.dataflow

    @property
    def memories(self) -> Technology:
        """The technology whose memories are used: the 45 nm class's where a library has none of its own."""
        return self.technology if self.technology.sram else TECHNOLOGIES["open45"]


def layer_energies(
    network: QuantizedNetwork,
    images: Images,
    model: EnergyModel,
    *,
    coders: Mapping[str, str] | None = None,
    compare: bool = True,
    progress: Callable[[int, int], None] = lambda done, planned: None,
) -> tuple[LayerEnergy, ...]:
    """Return what every layer of a network costs for one image, its operands sampled from ``images``.

    ``coders`` says by name in which of :data:`hwsim.cost.decoding.CODERS` a layer's weights cross the bus; where it is silent
    they are packed, and what unpacks them is not counted. With ``compare`` a multiply-accumulate is measured on random operands and in the other dataflow as well.
    ``progress`` is told the layers done and planned. Raises :class:`HwsimError` as
    :func:`hwsim.cost.energy.circuit_energy` does.
    """
    found = list[LayerEnergy]()
    random: dict[Datapath, float] = {}

    def visit(
        item: IntegerLayer, inputs: tuple[IntArray, ...], output: IntArray, _: Overflowed | None
    ) -> None:
        coder = (coders or {}).get(item.layer.name, "")
        found.append(_layer(network, item, (inputs, output), model, coder, random if compare else None))
        progress(len(found), len(network.layers))

    run(network, images, visit)
    return tuple(found)


def _layer(
    network: QuantizedNetwork,
    item: IntegerLayer,
    tensors: tuple[tuple[IntArray, ...], IntArray],
    model: EnergyModel,
    coder: str,
    random: dict[Datapath, float] | None,
) -> LayerEnergy:
    circuits = parts(item, network.formats(), network.rounding, model.mac, **dict(model.mac_options))
    mac, by_operands, registers = circuits.get("mac"), dict[str, float](), 0.0
    dataflows = DATAFLOWS if passes_sums(mac) else dict.fromkeys(("output", model.dataflow))
    traces = {dataflow: _traces(item, circuits, tensors, model, dataflow) for dataflow in dataflows}
    chosen = traces[model.dataflow]
    found = tuple(
        PartEnergy(
            name,
            _measured(circuits[name], trace, model),
            layer_operations(item, name, circuits[name], model.dataflow),
        )
        for name, trace in chosen.items()
    )
    if mac is not None:
        registers = _operand_registers(mac, chosen["mac"], item, model)
        if random is not None:
            others = {name: one["mac"] for name, one in traces.items() if name != model.dataflow}
            by_operands = _by_operands(mac, found[0].one, others, model, random)
    packed = layer_memory(network, item, model.accelerator, model.minimise)
    how = decoding(item, coder)
    found += _decoder(item, how, packed, model)
    memory = layer_memory_energy(item, how, packed, model)
    return LayerEnergy(item.layer.name, item.layer.macs, found, registers, memory, by_operands)


def _decoder(
    item: IntegerLayer, how: Decoding, packed: LayerMemory, model: EnergyModel
) -> tuple[PartEnergy, ...]:
    """Return the decoder of a layer's weights; none where nobody asked for it."""
    if how.circuit is None:
        return ()
    one = _measured(how.circuit, decoder_trace(how.circuit, item, model.cycles, model.seed), model)
    return (PartEnergy(how.part, one, how.decoded(item, packed.dram.weights // 8)),)


def layer_memory_energy(
    item: IntegerLayer, how: Decoding, packed: LayerMemory, model: EnergyModel
) -> dict[str, float]:
    """Return the energy in fJ of a layer's accesses by level; ``packed`` is what would move were its weights packed."""
    sram = model.memories.sram
    assert sram is not None
    return memory_energy(_moved_coded(item, how, packed), model.accelerator.hierarchy, sram)


def _moved_coded(item: IntegerLayer, how: Decoding, packed: LayerMemory) -> LayerMemory:
    """Return a layer's traffic with its weights coded on the bus alone."""
    if not how.weights:
        return packed
    bits = 8 * how.moved_bytes(item, packed.dram.weights // 8)
    return replace(packed, dram=replace(packed.dram, weights=bits))


def _traces(
    item: IntegerLayer,
    circuits: Mapping[str, Datapath],
    tensors: tuple[tuple[IntArray, ...], IntArray],
    model: EnergyModel,
    dataflow: str,
) -> dict[str, Trace]:
    return layer_traces(item, circuits, *tensors, dataflow=dataflow, cycles=model.cycles, seed=model.seed)


def _measured(datapath: Datapath, trace: Trace, model: EnergyModel) -> CircuitEnergy:
    return circuit_energy(datapath, model.technology, trace, clock_mhz=model.clock_mhz, mapping=model.mapping)


def layer_operations(item: IntegerLayer, part: str, datapath: Datapath, dataflow: str) -> int:
    """Return in how many cycles an image uses a circuit; sums that pass are not reset."""
    cycles = operations(item, part, datapath)
    return cycles - item.layer.outputs if part == "mac" and dataflow == "weight" else cycles


def _by_operands(
    mac: Datapath,
    own: CircuitEnergy,
    others: Mapping[str, Trace],
    model: EnergyModel,
    random: dict[Datapath, float],
) -> dict[str, float]:
    """Return the energy of a multiply-accumulate by what it reads; see :class:`LayerEnergy`."""
    found = {name: _measured(mac, trace, model).operation.total for name, trace in others.items()}
    found[model.dataflow] = own.operation.total
    if not isinstance(mac, Scheduled):
        if mac not in random:
            random[mac] = _measured(mac, random_trace(mac, model.cycles, model.seed), model).operation.total
        found["random"] = random[mac]
    return {name: found[name] for name in ("random", *DATAFLOWS) if name in found}


def _operand_registers(mac: Datapath, trace: Trace, item: IntegerLayer, model: EnergyModel) -> float:
    """Return the energy in fJ of the registers in front of a layer's multiply-accumulates for one image."""
    flip_flop, count = model.technology.flip_flop, layer_operations(item, "mac", mac, model.dataflow)
    working = layer_operations(item, "mac", mac, "weight")
    held = min(HELD, math.prod(item.layer.output_shape[1:])) if model.dataflow == "weight" else 1
    energy = 0.0
    for name, form in mac.inputs.items():
        codes = trace.inputs[name]
        changes = int(np.bitwise_count(codes[1:] ^ codes[:-1]).sum()) / trace.cycles
        clocked = form.bits * working / (held if name == "weight" else 1)
        leaking = form.bits * flip_flop.leakage * 1e-6 * 1e6 / model.clock_mhz
        energy += count * (changes * flip_flop.energy + leaking) + clocked * clock_fj(model.technology)
    return energy
