"""Pooling: a running maximum and a running sum, one element of the window a cycle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyrtl

from hwsim import arithmetic
from hwsim.datapath.adders import Bit, accumulate, bits_of, choose, differ, wire_of
from hwsim.datapath.datapath import Register
from hwsim.errors import HwsimError
from hwsim.formats import Format, Int, IntArray, Overflow


@dataclass(frozen=True)
class MaxPool:
    """The largest activation since reset; the register starts at the format's minimum."""

    activation: Int

    @property
    def inputs(self) -> dict[str, Format]:
        return {"activation": self.activation}

    @property
    def registers(self) -> dict[str, Register]:
        return {"maximum": Register(self.activation, self.activation.minimum)}

    @property
    def outputs(self) -> dict[str, Int]:
        return {}

    def compute(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        return {"maximum": np.maximum(values["activation"], values["maximum"])}

    def connect(self, wires: Mapping[str, pyrtl.WireVector]) -> dict[str, pyrtl.WireVector]:
        activation, maximum = bits_of(wires["activation"]), bits_of(wires["maximum"])
        larger: Bit = 0
        for k, (a, m) in enumerate(zip(activation, maximum, strict=True)):
            # A set sign bit makes a number smaller: at that place the two change sides.
            if self.activation.signed and k == self.activation.bits - 1:
                a, m = m, a
            larger = choose(differ(a, m), a, larger)
        return {"maximum": wire_of([choose(larger, a, m) for a, m in zip(activation, maximum, strict=True)])}

    @staticmethod
    def variants() -> Iterator[MaxPool]:
        """Every width from 2 to 8 bits and 16, signed and unsigned."""
        for bits in (2, 3, 4, 5, 6, 7, 8, 16):
            for signed in (False, True):
                yield MaxPool(Int(bits, signed))


@dataclass(frozen=True)
class AveragePool:
    """The sum of the activations since reset, wrapping; a requantiser divides it by the window.

    An accumulator of the activation's bits plus ceil(log2(window)) never wraps.
    """

    activation: Int
    accumulator: Int

    def __post_init__(self) -> None:
        if self.activation.bits > self.accumulator.bits or self.accumulator.bits > 48:
            raise HwsimError(
                f"accumulator {self.accumulator} is out of range; give {self.activation.bits} bits, those of the activation, to 48"
            )

    @property
    def inputs(self) -> dict[str, Format]:
        return {"activation": self.activation}

    @property
    def registers(self) -> dict[str, Register]:
        return {"accumulator": Register(self.accumulator)}

    @property
    def outputs(self) -> dict[str, Int]:
        return {}

    def compute(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        exact = values["accumulator"] + values["activation"]
        return {"accumulator": arithmetic.fit(exact, self.accumulator, Overflow.WRAP)}

    def connect(self, wires: Mapping[str, pyrtl.WireVector]) -> dict[str, pyrtl.WireVector]:
        addend = bits_of(wires["activation"])
        if not self.activation.signed:
            addend.append(0)
        total = accumulate(bits_of(wires["accumulator"]), addend[: self.accumulator.bits])
        return {"accumulator": wire_of(total)}

    @staticmethod
    def variants() -> Iterator[AveragePool]:
        """Windows of one element up to 1024, signed and unsigned."""
        for bits, extra in ((2, 0), (4, 2), (8, 4), (8, 6), (8, 10)):
            for signed in (False, True):
                yield AveragePool(Int(bits, signed), Int(bits + extra, signed))
