"""A systolic array whose sums stay where they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import pyrtl

from hwsim.datapath.adders import Bits, bits_of, both, choose, invert, wire_of
from hwsim.datapath.datapath import Register
from hwsim.datapath.systolic import ProcessingElement, SystolicArray, place
from hwsim.formats import AdditivePowersOfTwo, Format, Int, IntArray, Overflow, PowerOfTwo


@dataclass(frozen=True)
class OutputStationaryElement(ProcessingElement):
    """One element: it accumulates, or takes the sum of the element ``above`` where ``drain`` is 1.

    It keeps its operands for its neighbours a cycle later: the activation for the one to the right unless it is in
    the ``last`` column, the weight for the one below unless it is in the ``bottom`` row. In the ``top`` row zeros drain in.
    """

    weight: Format
    activation: Int
    accumulator: Int
    overflow: Overflow = Overflow.WRAP
    top: bool = False
    bottom: bool = False
    last: bool = False
    multiplier: str = field(default="fused", repr=False)
    adder: str = field(default="ripple", repr=False)

    @property
    def inputs(self) -> dict[str, Format]:
        above: dict[str, Format] = {} if self.top else {"above": self.accumulator}
        return {"activation": self.activation, "weight": self.code, "drain": _DRAIN, **above}

    @property
    def registers(self) -> dict[str, Register]:
        passed = {} if self.last else {"activation_right": Register(self.activation)}
        passed |= {} if self.bottom else {"weight_below": Register(self.code)}
        return {"accumulator": Register(self.accumulator), **passed}

    def compute(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        activation, weight = values["activation"], values["weight"]
        total = self.sum(values["accumulator"], activation, weight)
        drained = np.where(values["drain"], 0 if self.top else values["above"], total)
        found = {"accumulator": drained, "activation_right": activation, "weight_below": weight}
        return {name: found[name] for name in self.registers}

    def connect(self, wires: Mapping[str, pyrtl.WireVector]) -> dict[str, pyrtl.WireVector]:
        activation, weight, drain = wires["activation"], wires["weight"], wires["drain"]
        total = bits_of(self.sum_wires(wires["accumulator"], activation, weight))
        if self.top:
            kept = invert(drain)
            drained: Bits = [both(bit, kept) for bit in total]
        else:
            above = bits_of(wires["above"])
            drained = [choose(drain, one, zero) for one, zero in zip(above, total, strict=True)]
        found = {"accumulator": wire_of(drained), "activation_right": activation, "weight_below": weight}
        return {name: found[name] for name in self.registers}


_DRAIN = Int(1, signed=False)


@dataclass(frozen=True)
class OutputStationaryArray(SystolicArray):
    """An output-stationary systolic array: every element sums one output, operands pass through, sums drain downwards.

    Row r gets activations on ``activation<r>``, column c weights on ``weight<c>`` as code words; an element uses what
    arrives and hands it to its right and lower neighbour a cycle later. Operands come skewed from outside
    (:meth:`streams`): the k-th activation of row r in cycle k + r, the k-th weight of column c in cycle k + c, and
    zeros before and behind. After ``products + rows + columns - 2`` cycles every sum is there; ``rows`` more with
    ``drain`` 1 move them down, ``sum<c>`` being the one in the bottom row, and leave zeros for the next fold:
    ``products + 2 rows + columns - 2`` cycles a fold, as :mod:`hwsim.cost.memory` counts them. Elements are a mac, shift_mac
    or apot_mac, as the weight's format is, with its ``multiplier`` and ``adder``. H. T. Kung, "Why systolic architectures?" (1982).
    """

    weight: Format
    activation: Int
    accumulator: Int
    rows: int = 2
    columns: int = 2
    overflow: Overflow = Overflow.WRAP
    multiplier: str = field(default="fused", repr=False)
    adder: str = field(default="ripple", repr=False)

    def element(self, row: int, column: int) -> OutputStationaryElement:
        """Return the element at a place."""
        edges = row == 0, row == self.rows - 1, column == self.columns - 1
        formats = self.weight, self.activation, self.accumulator, self.overflow
        return OutputStationaryElement(*formats, *edges, multiplier=self.multiplier, adder=self.adder)

    @property
    def inputs(self) -> dict[str, Format]:
        ports: dict[str, Format] = {f"activation{r}": self.activation for r in range(self.rows)}
        return (
            ports | {f"weight{c}": self.element(0, c).code for c in range(self.columns)} | {"drain": _DRAIN}
        )

    def around(self, values: Mapping[str, Any], row: int, column: int) -> dict[str, Any]:
        """Return what an element sees on its ports."""
        left = place("activation_right", row, column - 1) if column else f"activation{row}"
        upper = place("weight_below", row - 1, column) if row else f"weight{column}"
        above = {"above": values[place("accumulator", row - 1, column)]} if row else {}
        return {"activation": values[left], "weight": values[upper], "drain": values["drain"], **above}

    def fold_cycles(self, products: int) -> int:
        """Return the clock cycles of one fold: ``products`` a sum, the skew, and the sums' way out."""
        return products + 2 * self.rows + self.columns - 2

    def streams(self, activations: IntArray, weights: IntArray) -> dict[str, IntArray]:
        """Return the ports' values [cycles] of one fold of activations [rows, k] and weights [k, columns]."""
        products = weights.shape[0]
        cycles = self.fold_cycles(products)
        codes = weights if isinstance(self.weight, Int) else self.weight.encode(weights)
        ports = {name: np.zeros(cycles, np.int64) for name in self.inputs}
        for r in range(self.rows):
            ports[f"activation{r}"][r : r + products] = activations[r]
        for c in range(self.columns):
            ports[f"weight{c}"][c : c + products] = codes[:, c]
        ports["drain"][-self.rows :] = 1
        return ports

    def product(self, outputs: Mapping[str, IntArray]) -> IntArray:
        """Return the sums [rows, columns] from the output ports' values [cycles] of a fold."""
        return np.stack([outputs[f"sum{c}"][: -self.rows - 1 : -1] for c in range(self.columns)], axis=1)

    @staticmethod
    def variants() -> Iterator[OutputStationaryArray]:
        """One element to four by four, every kind of element, wrapping and saturating."""
        for overflow, signed in product(Overflow, (False, True)):
            yield OutputStationaryArray(Int(4), Int(3, signed), Int(8), 1, 1, overflow)
            yield OutputStationaryArray(Int(3), Int(4, signed), Int(12), 2, 3, overflow)
        yield OutputStationaryArray(PowerOfTwo(4), Int(4), Int(16), 3, 2)
        yield OutputStationaryArray(AdditivePowersOfTwo(4), Int(4, signed=False), Int(16), 2, 2)
        yield OutputStationaryArray(Int(8), Int(8), Int(32), 2, 2)
