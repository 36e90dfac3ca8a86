"""Energy of the accesses that :mod:`hwsim.cost.memory.network` counts, level by level; and the buffers' area.

DRAM: 640 pJ for 32 bits, of the bits of whole bursts (Horowitz, "Computing's energy problem (and what we can do about
it)", ISSCC 2014, figure 1.1.9: 1.3 to 2.6 nJ for 64 bits; the lower end, as it is usually quoted).

A buffer: every bit that crosses a boundary is read or written in the memories on both sides of it. A buffer is a memory
of words as wide as the bus; an access costs what the technology's fit to published memories says
(:class:`hwsim.cost.technology.Sram`), reading and writing alike. What memories leak is not counted.
"""

from __future__ import annotations

from hwsim.cost.memory.hierarchy import Hierarchy
from hwsim.cost.memory.network import LayerMemory
from hwsim.cost.technology import Sram

DRAM_FJ_PER_BIT = 640e3 / 32


def memory_energy(layer: LayerMemory, hierarchy: Hierarchy, sram: Sram) -> dict[str, float]:
    """Return the energy in fJ of one layer's accesses for one image: of DRAM and of each buffer, the outer one first."""
    names = ["buffer"] if len(hierarchy.buffers_bytes) == 1 else ["outer buffer", "inner buffer"]
    levels = {"DRAM": layer.dram.total * DRAM_FJ_PER_BIT} | dict.fromkeys(names, 0.0)
    sides = zip(names, hierarchy.buffers_bytes, layer.boundaries, layer.boundaries[1:], strict=False)
    for name, size, outside, inside in sides:
        levels[name] = (outside.total + inside.total) * bit_fj(size, hierarchy.bus_bits, sram)
    return levels


def bit_fj(size_bytes: int, width: int, sram: Sram) -> float:
    """Return the energy of reading or writing one bit of a buffer that has words of ``width`` bits."""
    return sram.access_fj(_words(size_bytes, width), width) / width


def buffers_um2(hierarchy: Hierarchy, sram: Sram) -> float:
    """Return the area of all buffers, memories of words as wide as the bus."""
    width = hierarchy.bus_bits
    return sum(sram.area_um2(_words(size, width), width) for size in hierarchy.buffers_bytes)


def _words(size_bytes: int, width: int) -> float:
    return max(8 * size_bytes / width, 1.0)
