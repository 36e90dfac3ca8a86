"""From an accumulator and sums of inputs to the next layer's integers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product as combinations

from hwsim.datapath.add import ScaledSum
from hwsim.errors import HwsimError
from hwsim.formats import Int, Rounding
from hwsim.network import BIAS, MASK_MULTIPLIER, MULTIPLIER, SHIFT


@dataclass(frozen=True)
class RequantizeSums(ScaledSum):
    """An accumulator and ``count`` sums of inputs, each scaled by its constant, rounded once and clamped.

    ``output = clamp(round((accumulator * accumulator_multiplier + sum0 * sum0_multiplier + ... + bias) / 2^shift))``,
    combinational; the multipliers of the sums have a sign.
    """

    accumulator: Int
    input_sum: Int
    count: int
    output: Int
    rounding: Rounding = Rounding.HALF_UP
    multiplier: Int = MULTIPLIER
    sum_multiplier: Int = MASK_MULTIPLIER
    bias: Int = BIAS
    shift: Int = SHIFT

    def __post_init__(self) -> None:
        if self.count < 1:
            raise HwsimError(
                f"a requantiser adds at least 1 sum of inputs, not {self.count}; choose requantize"
            )
        super().__post_init__()

    @property
    def operands(self) -> dict[str, tuple[Int, Int]]:
        sums = {f"sum{k}": (self.input_sum, self.sum_multiplier) for k in range(self.count)}
        return {"accumulator": (self.accumulator, self.multiplier), **sums}

    @staticmethod
    def variants() -> Iterator[RequantizeSums]:
        """Every rounding on operands so narrow that corners meet, then one and two sums of the widths networks use."""
        small = Int(2, signed=False), Int(3), Int(4), Int(2, signed=False)
        for rounding in Rounding:
            yield RequantizeSums(Int(3), Int(2), 1, Int(3), rounding, *small)
        for count, output in combinations((1, 2), (Int(8), Int(8, signed=False))):
            yield RequantizeSums(Int(32), Int(18), count, output)
        yield RequantizeSums(Int(16), Int(13), 2, Int(16), Rounding.HALF_EVEN, sum_multiplier=Int(16))
