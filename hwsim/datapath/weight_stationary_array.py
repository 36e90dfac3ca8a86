"""A systolic array whose weights stay where they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import pyrtl

from hwsim.datapath.adders import bits_of, choose, wire_of
from hwsim.datapath.datapath import Register
from hwsim.datapath.systolic import ProcessingElement, SystolicArray, place
from hwsim.formats import AdditivePowersOfTwo, Format, Int, IntArray, Overflow, PowerOfTwo

_LOAD = Int(1, signed=False)


@dataclass(frozen=True)
class WeightStationaryElement(ProcessingElement):
    """One element: it adds its weight times the activation to the sum of the element above.

    Where ``load`` is 1 it takes the weight of the element above. It keeps the activation for the element to the right
    unless it is in the ``last`` column.
    """

    weight: Format
    activation: Int
    accumulator: Int
    overflow: Overflow = Overflow.WRAP
    last: bool = False
    multiplier: str = field(default="fused", repr=False)
    adder: str = field(default="ripple", repr=False)

    @property
    def inputs(self) -> dict[str, Format]:
        operands = {"activation": self.activation, "weight": self.code}
        return {**operands, "load": _LOAD, "above": self.accumulator}

    @property
    def registers(self) -> dict[str, Register]:
        passed = {} if self.last else {"activation_right": Register(self.activation)}
        return {"accumulator": Register(self.accumulator), "held": Register(self.code), **passed}

    def compute(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        activation, held = values["activation"], values["held"]
        found = {
            "accumulator": self.sum(values["above"], activation, held),
            "held": np.where(values["load"], values["weight"], held),
            "activation_right": activation,
        }
        return {name: found[name] for name in self.registers}

    def connect(self, wires: Mapping[str, pyrtl.WireVector]) -> dict[str, pyrtl.WireVector]:
        pairs = zip(bits_of(wires["weight"]), bits_of(wires["held"]), strict=True)
        found = {
            "accumulator": self.sum_wires(wires["above"], wires["activation"], wires["held"]),
            "held": wire_of([choose(wires["load"], loaded, kept) for loaded, kept in pairs]),
            "activation_right": wires["activation"],
        }
        return {name: found[name] for name in self.registers}


@dataclass(frozen=True)
class WeightStationaryArray(SystolicArray):
    """A weight-stationary systolic array: every element holds one weight, activations pass to the right, sums down.

    With ``load`` 1 weights, as code words, move down from ``weight<c>``, the bottom row's first, ``rows`` cycles in all.
    Then row r gets activations on ``activation<r>``, and ``above<c>`` is the sum that column c begins with: that
    of the products of an earlier fold, or 0. They come skewed from outside (:meth:`streams`): the t-th of row r in cycle
    t + r, of column c in cycle t + c. The t-th sum of column c is on ``sum<c>``, a register, after cycle
    t + rows - 1 + c: ``stream + 2 rows + columns - 2`` cycles a fold, as :mod:`hwsim.cost.memory` counts them; the last sum is
    read while the next fold's first weights enter. Elements are a mac, shift_mac or apot_mac, as the weight's format is, with its ``multiplier`` and ``adder``.
    H. T. Kung, "Why systolic architectures?" (1982); Jouppi et al., "In-datacenter performance analysis of a tensor
    processing unit" (2017).
    """

    weight: Format
    activation: Int
    accumulator: Int
    rows: int = 2
    columns: int = 2
    overflow: Overflow = Overflow.WRAP
    multiplier: str = field(default="fused", repr=False)
    adder: str = field(default="ripple", repr=False)

    def element(self, row: int, column: int) -> WeightStationaryElement:
        """Return the element at a place."""
        del row
        last = column == self.columns - 1
        formats = self.weight, self.activation, self.accumulator, self.overflow
        return WeightStationaryElement(*formats, last, multiplier=self.multiplier, adder=self.adder)

    @property
    def inputs(self) -> dict[str, Format]:
        ports: dict[str, Format] = {f"activation{r}": self.activation for r in range(self.rows)}
        ports |= {f"weight{c}": self.element(0, c).code for c in range(self.columns)}
        return ports | {f"above{c}": self.accumulator for c in range(self.columns)} | {"load": _LOAD}

    def around(self, values: Mapping[str, Any], row: int, column: int) -> dict[str, Any]:
        """Return what an element sees on its ports."""
        left = place("activation_right", row, column - 1) if column else f"activation{row}"
        upper = place("held", row - 1, column) if row else f"weight{column}"
        above = place("accumulator", row - 1, column) if row else f"above{column}"
        operands = {"activation": values[left], "weight": values[upper]}
        return {**operands, "load": values["load"], "above": values[above]}

    def fold_cycles(self, stream: int) -> int:
        """Return the clock cycles of one fold: the weights' way in, one a sum of the stream, and the skew."""
        return stream + 2 * self.rows + self.columns - 2

    def streams(
        self, activations: IntArray, weights: IntArray, begun: IntArray | None = None
    ) -> dict[str, IntArray]:
        """Return the ports' values [cycles] of one fold of activations [stream, rows] and weights [rows, columns].

        ``begun`` [stream, columns] are the sums to go on with, 0 if left out.
        """
        stream = len(activations)
        codes = weights if isinstance(self.weight, Int) else self.weight.encode(weights)
        ports = {name: np.zeros(self.fold_cycles(stream), np.int64) for name in self.inputs}
        ports["load"][: self.rows] = 1
        for r in range(self.rows):
            ports[f"activation{r}"][self.rows + r : self.rows + r + stream] = activations[:, r]
        for c in range(self.columns):
            ports[f"weight{c}"][: self.rows] = codes[::-1, c]
            if begun is not None:
                ports[f"above{c}"][self.rows + c : self.rows + c + stream] = begun[:, c]
        return ports

    def product(self, registers: Mapping[str, IntArray]) -> IntArray:
        """Return the sums [stream, columns] from the registers' values after every cycle of a fold."""
        bottom = [registers[place("accumulator", self.rows - 1, c)] for c in range(self.columns)]
        stream = len(bottom[0]) - self.fold_cycles(0)
        first = 2 * self.rows - 1
        return np.stack([sums[first + c : first + c + stream] for c, sums in enumerate(bottom)], axis=1)

    @staticmethod
    def variants() -> Iterator[WeightStationaryArray]:
        """One element to two by three, every kind of element, wrapping and saturating."""
        for overflow, signed in product(Overflow, (False, True)):
            yield WeightStationaryArray(Int(4), Int(3, signed), Int(8), 1, 1, overflow)
            yield WeightStationaryArray(Int(3), Int(4, signed), Int(12), 2, 3, overflow)
        yield WeightStationaryArray(PowerOfTwo(4), Int(4), Int(16), 3, 2)
        yield WeightStationaryArray(AdditivePowersOfTwo(4), Int(4, signed=False), Int(16), 2, 2)
        yield WeightStationaryArray(Int(8), Int(8), Int(32), 2, 2)
