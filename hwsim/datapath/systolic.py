"""Systolic arrays: a grid of processing elements that hand their operands and sums to their neighbours."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any

import pyrtl

from hwsim.datapath.apot_mac import ApotMac
from hwsim.datapath.datapath import Datapath, Register
from hwsim.datapath.mac import Mac
from hwsim.datapath.shift_mac import ShiftMac
from hwsim.errors import HwsimError
from hwsim.formats import AdditivePowersOfTwo, Format, Int, IntArray, Overflow, PowerOfTwo

MACS: Mapping[type[Any], type[Any]] = {Int: Mac, PowerOfTwo: ShiftMac, AdditivePowersOfTwo: ApotMac}
"""The multiply-accumulate that each kind of weight has."""

MOST_ELEMENTS = 256
"""Elements of the largest array that is one netlist."""

LONGEST = 4096
"""Rows or columns of the largest array."""


class ProcessingElement:
    """Formats and arithmetic of an array's element; a design adds its registers and its wires.

    A register holds a weight as its code word, so that a weight port carries code words as well: of an integer that
    is the integer, of any other format an unsigned pattern.
    """

    weight: Format
    activation: Int
    accumulator: Int
    overflow: Overflow
    multiplier: str
    adder: str

    def __post_init__(self) -> None:
        if "accumulator" not in self.mac.registers:  # which refuses what it does not have
            raise HwsimError(
                f"an element keeps its sum in one register, not as adder {self.adder} does; give ripple, say"
            )

    @property
    def outputs(self) -> dict[str, Int]:
        return {}

    @property
    def mac(self) -> Datapath:
        """The multiply-accumulate of the weight's format; ``multiplier`` is that of integers."""
        options = {"adder": self.adder} | (
            {"multiplier": self.multiplier} if isinstance(self.weight, Int) else {}
        )
        made: Datapath = MACS[type(self.weight)](
            self.weight, self.activation, self.accumulator, self.overflow, **options
        )
        return made

    @property
    def code(self) -> Int:
        """The format of a weight's code word."""
        return self.weight if isinstance(self.weight, Int) else Int(self.weight.bits, signed=False)

    def sum(self, accumulator: IntArray, activation: IntArray, code: IntArray) -> IntArray:
        """Return ``fit(accumulator + weight * activation)`` of a weight's code word."""
        weight = code if isinstance(self.weight, Int) else self.weight.decode(code)
        operands = {"accumulator": accumulator, "activation": activation, "weight": weight}
        return self.mac.compute(operands)["accumulator"]

    def sum_wires(
        self, accumulator: pyrtl.WireVector, activation: pyrtl.WireVector, code: pyrtl.WireVector
    ) -> pyrtl.WireVector:
        """Return the wires of :meth:`sum`."""
        operands = {"accumulator": accumulator, "activation": activation, "weight": code}
        return self.mac.connect(operands)["accumulator"]


class SystolicArray(ABC):
    """Registers, outputs and one cycle of a grid of elements; a design adds its elements, its ports and what joins them.

    A register of an element is called ``<register>_<row>_<column>``; ``sum<c>`` is the sum in the bottom row of column c.
    """

    accumulator: Int
    rows: int
    columns: int

    def __post_init__(self) -> None:
        if not (1 <= self.rows <= LONGEST and 1 <= self.columns <= LONGEST):
            raise HwsimError(
                f"an array has 1 to {LONGEST} rows and columns, not {self.rows} x {self.columns}; write 2 and 2, say"
            )
        _ = self.element(0, 0)  # which refuses formats

    @abstractmethod
    def element(self, row: int, column: int) -> Datapath:
        """Return the element at a place."""

    @abstractmethod
    def around(self, values: Mapping[str, Any], row: int, column: int) -> dict[str, Any]:
        """Return what the element at a place sees on its ports, of the array's ports and registers."""

    @property
    @abstractmethod
    def inputs(self) -> Mapping[str, Format]:
        """Input ports."""

    @property
    def elements(self) -> Counter[Datapath]:
        """How many there are of each element: those inside and at each edge are alike."""
        counted: Counter[Datapath] = Counter()
        for (r, high), (c, wide) in product(_alike(self.rows), _alike(self.columns)):
            counted[self.element(r, c)] += high * wide
        return counted

    @property
    def places(self) -> Iterator[tuple[int, int]]:
        """Every row and column."""
        return product(range(self.rows), range(self.columns))

    @property
    def registers(self) -> dict[str, Register]:
        return {
            place(name, r, c): register
            for r, c in self.places
            for name, register in self.element(r, c).registers.items()
        }

    @property
    def outputs(self) -> dict[str, Int]:
        return {f"sum{c}": self.accumulator for c in range(self.columns)}

    def compute(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        return self._cycle(values, lambda element, seen: element.compute(seen))

    def connect(self, wires: Mapping[str, pyrtl.WireVector]) -> dict[str, pyrtl.WireVector]:
        if self.rows * self.columns > MOST_ELEMENTS:
            raise HwsimError(
                f"an array of {self.rows} x {self.columns} elements is too large for one netlist, which holds up to "
                f"{MOST_ELEMENTS}; its cost is composed from its elements"
            )
        return self._cycle(wires, lambda element, seen: element.connect(seen))

    def _cycle(
        self, values: Mapping[str, Any], step: Callable[[Datapath, Any], Mapping[str, Any]]
    ) -> dict[str, Any]:
        results = {f"sum{c}": values[place("accumulator", self.rows - 1, c)] for c in range(self.columns)}
        for r, c in self.places:
            element = self.element(r, c)
            own = {name: values[place(name, r, c)] for name in element.registers}
            found = step(element, self.around(values, r, c) | own)
            results |= {place(name, r, c): value for name, value in found.items()}
        return results


def place(name: str, row: int, column: int) -> str:
    """Return the name of an element's register in its array.

    >>> place("accumulator", 1, 0)
    'accumulator_1_0'
    """
    return f"{name}_{row}_{column}"


def _alike(count: int) -> list[tuple[int, int]]:
    """Return the places of a row or column that differ, the ends from the middle, and how many are like each."""
    return [(k, n) for k, n in ((0, 1), (1, count - 2), (count - 1, 1 if count > 1 else 0)) if n > 0]
