"""Multiply-accumulate of focused weights: one shift accumulator and the sums of the inputs of either mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import pyrtl

from hwsim.datapath.adders import any_of, bits_of, both, invert, wire_of
from hwsim.datapath.datapath import Register
from hwsim.datapath.input_sum import InputSum
from hwsim.datapath.shift_mac import ShiftMac
from hwsim.errors import HwsimError
from hwsim.formats import Focused, Format, Int, IntArray, Overflow

INPUT_SUM = Int(18)
"""Holds the sum of 512 unsigned activations of 8 bits; a layer's own is as wide as its products need."""


@dataclass(frozen=True)
class FocusedMac:
    """A shifted activation is accumulated, and added to the sum of its weight's mean: no multiplier.

    The datapath of Zhao et al., "Focused Quantization for Sparse CNNs" (2019), figure 4, up to the last line: ``weight``
    is a symbol of the recentralized alphabet (:class:`hwsim.formats.Focused`), a pruned one adds to no sum, and
    ``requantize_sums`` multiplies and adds what the three registers hold. They are those of a shift_mac and of two
    input_sum; sum0 belongs to the mean of the symbols whose highest bit is 0.
    """

    weight: Focused
    activation: Int
    accumulator: Int
    overflow: Overflow = Overflow.WRAP
    input_sum: Int = INPUT_SUM

    def __post_init__(self) -> None:
        if not isinstance(self.weight, Focused):
            raise HwsimError(f"weight {self.weight} is out of range; this circuit takes focused4 to focused7")
        _ = self._shift, self._sum  # which refuse what they do not have

    @property
    def _shift(self) -> ShiftMac:
        powers = self.weight.shift(recentralized=True)
        return ShiftMac(powers, self.activation, self.accumulator, self.overflow)

    @property
    def _sum(self) -> InputSum:
        return InputSum(self.activation, self.input_sum)

    @property
    def inputs(self) -> dict[str, Format]:
        return {"activation": self.activation, "weight": Int(self.weight.bits, signed=False)}

    @property
    def registers(self) -> dict[str, Register]:
        sums = {"sum0": Register(self.input_sum), "sum1": Register(self.input_sum)}
        return {"accumulator": Register(self.accumulator), **sums}

    @property
    def outputs(self) -> dict[str, Int]:
        return {}

    def compute(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        activation, symbols = values["activation"], values["weight"]
        _, masks = self.weight.decode(symbols, recentralized=True)
        assert masks is not None
        places = self._shift.weight.bits - 1
        code = symbols & ((1 << places) - 1) | (symbols >> (self.weight.bits - 2) & 1) << places
        shifted = {"weight": self._shift.weight.decode(code), "accumulator": values["accumulator"]}
        results = self._shift.compute({"activation": activation, **shifted})
        for name, mask in zip(("sum0", "sum1"), masks, strict=True):
            added = {"activation": activation, "weight": mask, "accumulator": values[name]}
            results[name] = self._sum.compute(added)["accumulator"]
        return results

    def connect(self, wires: Mapping[str, pyrtl.WireVector]) -> dict[str, pyrtl.WireVector]:
        *exponent, sign, second = bits_of(wires["weight"])
        code = wire_of([*exponent[: self._shift.weight.bits - 1], sign])
        shifted = {"weight": code, "accumulator": wires["accumulator"]}
        results = self._shift.connect({"activation": wires["activation"], **shifted})
        present = any_of([*exponent, sign])
        for name, chosen in (("sum0", invert(second)), ("sum1", second)):
            selected = wire_of([both(present, chosen)])
            added = {"activation": wires["activation"], "weight": selected, "accumulator": wires[name]}
            results[name] = self._sum.connect(added)["accumulator"]
        return results

    @staticmethod
    def variants() -> Iterator[FocusedMac]:
        """Every width of symbols with narrow and wide activations and accumulators, wrapping and saturating."""
        shapes = [(4, 2, 8, 9), (5, 8, 16, 18), (5, 8, 32, 18), (6, 4, 17, 13), (7, 8, 32, 21)]
        for (w, a, n, s), signed, overflow in product(shapes, (False, True), Overflow):
            yield FocusedMac(Focused(w), Int(a, signed), Int(n), overflow, Int(s))
