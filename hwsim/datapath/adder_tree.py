"""Several products a cycle into one accumulator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product as combinations

import numpy as np
import pyrtl

from hwsim import arithmetic
from hwsim.datapath.adders import accumulate, add, bits_of, extend, width_of, wire_of
from hwsim.datapath.datapath import Register
from hwsim.datapath.mac import check_operands, fitted
from hwsim.datapath.multipliers import product
from hwsim.errors import HwsimError
from hwsim.formats import Format, Int, IntArray, Overflow

MOST_PRODUCTS = 64


@dataclass(frozen=True)
class AdderTree:
    """Accumulator plus the sum of several products of a weight and an activation, all in one cycle.

    ``next = fit(accumulator + weight0 * activation0 + weight1 * activation1 + ...)``: the exact sum of ``products``, 2
    to 64, fitted once; where it saturates that is another order than one product a cycle. All partial products are
    one reduction by columns (Dadda) with one carry-propagating adder behind it, instead of one for each product
    (E. E. Swartzlander, "Merged arithmetic", IEEE Transactions on Computers, 1980); a second adder accumulates.
    """

    weight: Int
    activation: Int
    accumulator: Int
    products: int = 4
    overflow: Overflow = Overflow.WRAP

    def __post_init__(self) -> None:
        check_operands(self.weight, Int, self.activation, self.accumulator)
        if not 2 <= self.products <= MOST_PRODUCTS:
            raise HwsimError(
                f"an adder tree sums 2 to {MOST_PRODUCTS} products, not {self.products}; for one give mac"
            )

    @property
    def inputs(self) -> dict[str, Format]:
        ports: dict[str, Format] = {f"activation{k}": self.activation for k in range(self.products)}
        return ports | {f"weight{k}": self.weight for k in range(self.products)}

    @property
    def registers(self) -> dict[str, Register]:
        return {"accumulator": Register(self.accumulator)}

    @property
    def outputs(self) -> dict[str, Int]:
        return {}

    @property
    def _reach(self) -> tuple[int, int]:
        """The least and the greatest sum of the products."""
        corners = np.outer(
            [self.weight.minimum, self.weight.maximum], [self.activation.minimum, self.activation.maximum]
        )
        return self.products * int(corners.min()), self.products * int(corners.max())

    def compute(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        exact = values["accumulator"]
        for k in range(self.products):
            exact = exact + values[f"weight{k}"] * values[f"activation{k}"]
        return {"accumulator": arithmetic.fit(exact, self.accumulator, self.overflow)}

    def connect(self, wires: Mapping[str, pyrtl.WireVector]) -> dict[str, pyrtl.WireVector]:
        least, greatest = self._reach
        width = self.accumulator.bits
        if self.overflow is Overflow.SATURATE:
            width = width_of(self.accumulator.minimum + least, self.accumulator.maximum + greatest)
        bits = min(width_of(least, greatest), width)
        terms = [
            term
            for k in range(self.products)
            for term in product(
                bits_of(wires[f"activation{k}"]),
                self.activation.signed,
                bits_of(wires[f"weight{k}"]),
                True,
                bits,
            )
        ]
        total = accumulate(extend(bits_of(wires["accumulator"]), width), add(terms, bits))
        return {"accumulator": wire_of(fitted(total, self.accumulator, self.overflow))}

    def cycles(self, products: int) -> int:
        """Return the clock cycles of a sum: one for every so many products."""
        return -(-products // self.products)

    def operands(self, activations: IntArray, weights: IntArray) -> dict[str, IntArray]:
        """Return the ports' values [cycles, lanes] of sums of activations and weights [products, lanes]."""
        missing = -len(weights) % self.products
        ports: dict[str, IntArray] = {}
        for name, values in (("activation", activations), ("weight", weights)):
            whole = np.concatenate([values, np.zeros((missing, *values.shape[1:]), values.dtype)])
            ports |= {f"{name}{k}": whole[k :: self.products] for k in range(self.products)}
        return ports

    @staticmethod
    def variants() -> Iterator[AdderTree]:
        """Two to sixteen products, narrow and wide, wrapping and saturating, and a sum wider than its accumulator."""
        shapes = [(2, 2, 8, 2), (4, 4, 16, 4), (8, 2, 17, 3), (8, 8, 12, 4), (8, 8, 32, 4), (3, 5, 24, 16)]
        for (w, a, n, k), signed, overflow in combinations(shapes, (False, True), Overflow):
            yield AdderTree(Int(w), Int(a, signed), Int(n), k, overflow)
