"""The memories of a simulation: each lane's own RAM, and ROMs that all share."""

from __future__ import annotations

import math
import mmap
import sys
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyrtl

from hwsim.simulate.lanes.analysis import storage_bits
from hwsim.simulate.lanes.form import WORD
from hwsim.simulate.lanes.netlist import memory_name, widths_of_parts
from hwsim.simulate.lanes.values import Array, SimulationError, checked, joined, shown, storage
from hwsim.simulate.lanes.wordwise import TABLE_OCTETS, Place

MEMORY_BYTES = 1 << 40
"""What a memory may take in all lanes, where it begins with zeros: only the pages that are used take any memory."""

_SPARSE_BYTES = 1 << 30
"""From this size on an array is reserved without being counted as memory in use."""

_NORESERVE = 0x4000
"""Linux's MAP_NORESERVE, which Python's mmap does not name in every version."""


_ROM_BITS = 22
"""A ROM's function is asked for the value at every address of so many bits."""


class Memories:
    """The arrays of a block's memories and ROMs, and what they begin with.

    ``padded`` are the lanes with those that fill the last vector, and a vector's lanes. A memory is [vector of lanes,
    address, lane]: what a vector's lanes hold lies together, and goes through the caches together.
    """

    def __init__(
        self,
        block: pyrtl.Block,
        given: Mapping[Any, Mapping[int, Any]],
        lanes: int,
        padded: tuple[int, int],
        default_value: int,
    ) -> None:
        self.block, self.lanes, self.default_value = block, lanes, default_value
        self.padded, self.vector = padded
        self.arrays: dict[Place, Array] = {}
        memories = {memory_name(net): net.op_param[1] for net in sorted(block.logic_subset("m@"), key=str)}
        mapped = getattr(self.block, "mem_map", {})
        _check_given(given)
        by_id = {mapped.get(memory, memory).id: (memory, values) for memory, values in given.items()}
        for name, memory in memories.items():
            if isinstance(memory, pyrtl.RomBlock):
                self._rom(name, memory)
            else:
                self._ram(name, memory, by_id.get(memory.id, (memory, {}))[1])

    def _rom(self, name: str, rom: pyrtl.RomBlock) -> None:
        if rom.addrwidth > _ROM_BITS:
            raise SimulationError(
                f'the ROM "{rom.name}" has {rom.addrwidth} address bits, more than {_ROM_BITS}; give it fewer'
            )
        try:
            data = np.array([rom._get_read_data(address) for address in range(1 << rom.addrwidth)], object)
        except pyrtl.PyrtlError as error:
            raise SimulationError(f'the ROM "{rom.name}" has no value at every address: {error}') from None
        for k, size in enumerate(widths_of_parts(rom.bitwidth)):
            part = data >> WORD * k & ((1 << size) - 1)
            array = np.zeros(max(len(part), TABLE_OCTETS), storage(size))
            array[: len(part)] = part
            self.arrays[Place("memory", name, k)] = array

    def _ram(self, name: str, memory: pyrtl.MemBlock, given: Mapping[int, Any]) -> None:
        words = 1 << memory.addrwidth
        self._refuse_large(memory, words, self.padded)
        for k, size in enumerate(widths_of_parts(memory.bitwidth)):
            start = int(checked(memory.name, self.default_value, memory.bitwidth)[()]) >> WORD * k & (
                (1 << size) - 1
            )
            array = _zeros((self.padded // self.vector, words, self.vector), storage(size))
            if start:
                array[:] = start
            self.arrays[Place("memory", name, k)] = array
        for address, values in given.items():
            if not isinstance(address, int | np.integer) or not 0 <= address < words:
                raise SimulationError(
                    f'the memory "{memory.name}" has no address {address!r}; give one of 0 to {words - 1}'
                )
            stored = checked(memory.name, values, memory.bitwidth)
            if stored.shape not in ((), (self.lanes,)):
                raise SimulationError(
                    f'the values of "{memory.name}" at {address} are {stored.shape}; give one a lane'
                )
            for k, size in enumerate(widths_of_parts(memory.bitwidth)):
                part = stored >> WORD * k & ((1 << size) - 1) if stored.dtype == object else stored
                row = np.zeros(self.padded, storage(size))
                row[: self.lanes] = part
                self.arrays[Place("memory", name, k)][:, address] = row.reshape(-1, self.vector)

    def _refuse_large(self, memory: pyrtl.MemBlock, words: int, lanes: int) -> None:
        size = sum(storage_bits(size) // 8 for size in widths_of_parts(memory.bitwidth)) * words * lanes
        limit = _SPARSE_BYTES if self.default_value else MEMORY_BYTES
        if size > limit:
            raise SimulationError(
                f'the memory "{memory.name}" takes {size} bytes in {lanes} lanes, more than {limit}; '
                "give it fewer address bits or the simulation fewer lanes"
            )

    def content(self, memory: pyrtl.MemBlock) -> Any:
        if not isinstance(memory, pyrtl.MemBlock):
            raise SimulationError(f"{shown(memory)} is no memory; give a pyrtl.MemBlock of the block")
        block = getattr(self.block, "mem_map", {}).get(memory, memory)
        names = {place.name for place in self.arrays if place.name.endswith(f" {block.id}")}
        if not names:
            raise SimulationError(
                f'"{memory.name}" is no memory of the block; give one that it reads or writes'
            )
        name = names.pop()
        parts = [self.arrays[Place("memory", name, k)] for k in range(len(widths_of_parts(block.bitwidth)))]
        if isinstance(block, pyrtl.RomBlock):
            parts = [part[: 1 << block.addrwidth, None] for part in parts]
        elif self.lanes == 1:
            parts = [part.reshape(-1, 1) for part in parts]
        else:
            parts = [part.transpose(1, 0, 2).reshape(-1, self.padded)[:, : self.lanes] for part in parts]
        if self.lanes == 1:
            return Content(parts, block.bitwidth)
        return joined(parts, block.bitwidth).copy()


def _check_given(given: Any) -> None:
    """Refuse initial values that are not those of memories at addresses."""
    if not isinstance(given, Mapping):
        raise SimulationError(
            f"memory_value_map is {shown(given)}; give a mapping of memories to their values"
        )
    for memory, values in given.items():
        if not isinstance(memory, pyrtl.MemBlock):
            raise SimulationError(
                f"memory_value_map gives {shown(memory)} values; give them to a pyrtl.MemBlock"
            )
        if isinstance(memory, pyrtl.RomBlock):
            raise SimulationError(
                f'the memory "{memory.name}" is a ROM; it takes no initial values; leave it out of memory_value_map'
            )
        if not isinstance(values, Mapping):
            raise SimulationError(
                f'the initial values of "{memory.name}" are {shown(values)}; give a mapping of addresses to values'
            )


class Content(MutableMapping[int, int]):
    """What a memory holds now, by address; changing it changes the memory.

    Equal to any mapping that gives the same value for every address, 0 where it gives none.
    """

    def __init__(self, parts: Sequence[Array], width: int) -> None:
        self._parts, self._width = parts, width

    def __getitem__(self, address: int) -> int:
        if not 0 <= address < len(self):
            raise KeyError(address)
        return sum(int(part[address, 0]) << WORD * k for k, part in enumerate(self._parts))

    def __setitem__(self, address: int, value: int) -> None:
        number = int(checked("memory", value, self._width)[()])
        for part, size, k in zip(
            self._parts, widths_of_parts(self._width), range(len(self._parts)), strict=True
        ):
            part[address, 0] = number >> WORD * k & ((1 << size) - 1)

    def __delitem__(self, address: int) -> None:
        self[address] = 0

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))

    def __len__(self) -> int:
        return len(self._parts[0])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and all(self[key] == other.get(key, 0) for key in {*self, *other})

    __hash__ = None  # type: ignore[assignment]


def _zeros(shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """Return an array of zeros whose pages come into being when they are used."""
    count = math.prod(shape)
    size = count * np.dtype(dtype).itemsize
    if size < _SPARSE_BYTES or sys.platform != "linux":
        return np.zeros(shape, dtype)
    pages = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE)
    return np.frombuffer(pages, dtype, count).reshape(shape)
