"""Energy of a layer whose circuits have not run: their gates in place of their changes, its memories as they are measured.

How often a gate changes depends on data that only a run shows; but it changes about as often in all circuits of a layer, and
not much more or less in those of another. In open45 the energy of an operation was 0.65 to 2.25 fJ for each NAND2 equivalent of all
multiply-accumulates of 74 designs of the digits network, whose weights stay, and of 19 designs of an untrained network of three
convolutions in both dataflows (2 to 7 bits, powers of two); nine in ten were within a fifth of their layer's mean.
"""

from __future__ import annotations

from hwsim.cost.decoding import Decoding
from hwsim.cost.hardware import Hardware, one_part
from hwsim.cost.memory.network import LayerMemory
from hwsim.cost.network_energy import EnergyModel, layer_memory_energy, layer_operations
from hwsim.cost.technology import Technology
from hwsim.network import IntegerLayer, QuantizedNetwork

CHANGES = 0.44
"""Changes in an operation for each NAND2 equivalent of a circuit, registers and what leaks included."""


def estimated_energy(
    network: QuantizedNetwork,
    item: IntegerLayer,
    hardware: Hardware,
    model: EnergyModel,
    how: Decoding,
    packed: LayerMemory,
) -> tuple[float, float]:
    """Return the energy in fJ of a layer for one image: an estimate of its circuits', and its memories'.

    ``how`` says how its weights move, ``packed`` what would move were they packed.
    """
    circuits = {
        name: (circuit, layer_operations(item, name, circuit, model.dataflow))
        for name, circuit in hardware.datapaths(network, item).items()
    }
    if how.circuit is not None:
        circuits[how.part] = how.circuit, how.decoded(item, packed.dram.weights // 8)
    gates = sum(
        count * one_part(name, circuit, hardware).nand2_equivalents
        for name, (circuit, count) in circuits.items()
    )
    memory = layer_memory_energy(item, how, packed, model)
    return CHANGES * gates * _change_fj(model.technology), sum(memory.values())


def _change_fj(technology: Technology) -> float:
    """Return the energy of a change of a NAND2 gate's output that drives two inputs of its like."""
    cell = technology.cell[technology.nand2]
    return cell.capacitance * technology.voltage**2 + cell.energy
