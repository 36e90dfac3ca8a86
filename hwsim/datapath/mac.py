"""Multiply-accumulate of integers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
import pyrtl

from hwsim import arithmetic
from hwsim.datapath.adders import (
    ADDERS,
    Bit,
    Bits,
    bits_of,
    both,
    carry_save,
    differ,
    extend,
    kogge_stone,
    saturate,
    width_of,
    wire_of,
)
from hwsim.datapath.datapath import Register
from hwsim.datapath.multipliers import MULTIPLIERS
from hwsim.datapath.resolve import Resolve
from hwsim.errors import HwsimError, unknown
from hwsim.formats import Format, Int, IntArray, Overflow

CARRY_SAVE = "carry_save"
"""The adder that propagates no carries: the accumulator is the sum of two registers."""


class MultiplyAccumulate:
    """Ports and arithmetic of every multiply-accumulate; a design adds its formats and its circuit.

    ``adder`` is what accumulates: ``ripple``, ``kogge_stone``, or ``carry_save``, which keeps the accumulator as
    the sum of two registers, ``sum`` and ``carry``, without a carry from one bit to the next; :class:`Resolve` adds
    them up once a sum is complete. With ``stages=2`` registers hold the product of the cycle before, so that
    the sum is there one cycle after its last operands (``latency``).
    """

    weight: Format
    activation: Int
    accumulator: Int
    overflow: Overflow
    adder: str = "ripple"
    stages: int = 1

    @property
    def inputs(self) -> dict[str, Format]:
        return {"activation": self.activation, "weight": self.weight}

    @property
    def registers(self) -> dict[str, Register]:
        names = ("sum", "carry") if self.adder == CARRY_SAVE else ("accumulator",)
        pipeline = self.pipeline if self.stages > 1 else {}
        return pipeline | {name: Register(self.accumulator) for name in names}

    @property
    def pipeline(self) -> dict[str, Register]:
        """Registers between two stages."""
        raise NotImplementedError

    @property
    def outputs(self) -> dict[str, Int]:
        return {}

    @property
    def latency(self) -> int:
        """Cycles after the last operands until the sum is there."""
        return self.stages - 1

    @property
    def resolver(self) -> Resolve | None:
        """The circuit that adds up a sum in carry-save form."""
        return Resolve(self.accumulator) if self.adder == CARRY_SAVE else None

    @property
    def plain(self) -> MultiplyAccumulate:
        """The multiply-accumulate of the same sums with one register for each."""
        return replace(self, adder="ripple")  # type: ignore[type-var]

    def compute(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        product = values["weight"] * values["activation"]
        held = self.held(values["weight"], product) if self.stages > 1 else {}
        if self.adder == CARRY_SAVE:
            return {**held, **self.saved(values)}
        added = sum(values[name] for name in held) if held else product
        return {
            **held,
            "accumulator": arithmetic.fit(values["accumulator"] + added, self.accumulator, self.overflow),
        }

    def saved(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        """Return the next two registers of a carry-save sum."""
        raise NotImplementedError

    def pair(
        self, values: Mapping[str, IntArray], addend: IntArray, one: IntArray | int = 0
    ) -> dict[str, IntArray]:
        """Return the two registers after an addend and a carry: a full adder a bit."""
        total, carry = values["sum"], values["carry"]
        carries = (total & carry | total & addend | carry & addend) << 1 | one
        return {
            "sum": arithmetic.fit(total ^ carry ^ addend, self.accumulator, Overflow.WRAP),
            "carry": arithmetic.fit(carries, self.accumulator, Overflow.WRAP),
        }

    def held(self, weight: IntArray, product: IntArray) -> dict[str, IntArray]:
        """Return what the registers between the stages hold of a product: numbers with its sum."""
        raise NotImplementedError

    @property
    def width(self) -> int:
        """Bits of the exact sum that decide the accumulator's next value."""
        if self.stages == 1 or self.overflow is Overflow.WRAP:
            return sum_width(self.weight, self.activation, self.accumulator, self.overflow)
        held = [register.format for register in self.pipeline.values()]
        least, most = sum(form.minimum for form in held), sum(form.maximum for form in held)
        return width_of(self.accumulator.minimum + least, self.accumulator.maximum + most)

    def add(self, total: Bits, addend: Bits, carry: Bit = 0) -> Bits:
        """Return the fitted sum of an accumulator, a two's complement addend and a carry."""
        width = self.width
        return fitted(
            ADDERS[self.adder](extend(total, width), addend[:width], carry), self.accumulator, self.overflow
        )

    def accumulated(
        self, wires: Mapping[str, pyrtl.WireVector], addend: Bits, carry: Bit = 0
    ) -> dict[str, pyrtl.WireVector]:
        """Return the accumulator's next registers after an addend and a carry, which carry-save keeps as a carry."""
        bits = self.accumulator.bits
        if self.adder == CARRY_SAVE:
            long = extend(addend, bits)[:bits]
            total, carries = carry_save(bits_of(wires["sum"]), bits_of(wires["carry"]), long)
            return {"sum": wire_of(total), "carry": wire_of([carry, *carries[1:]])}
        return {"accumulator": wire_of(self.add(bits_of(wires["accumulator"]), addend, carry))}


class AddSubtract(MultiplyAccumulate):
    """A multiply-accumulate that makes a magnitude and adds or subtracts it, by the weight's sign.

    -x = ~x + 1: every bit is complemented, the sign itself is the 1, as a carry into the adder. Of two stages,
    registers hold the complemented magnitude and that carry.
    """

    @property
    def pipeline(self) -> dict[str, Register]:
        most = self.weight.maximum
        low, high = self.activation.minimum * most, self.activation.maximum * most
        width = width_of(min(low, -high - 1), max(high, -low - 1))
        return {"addend": Register(held_format(width, self)), "negative": Register(Int(1, signed=False))}

    def saved(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        if self.stages > 1:
            return self.pair(values, values["addend"], values["negative"])
        negative = (values["weight"] < 0).astype(np.int64)
        return self.pair(values, values["weight"] * values["activation"] - negative, negative)

    def held(self, weight: IntArray, product: IntArray) -> dict[str, IntArray]:
        negative = (weight < 0).astype(np.int64)
        addend = arithmetic.fit(product - negative, self.pipeline["addend"].format, Overflow.WRAP)
        return {"addend": addend, "negative": negative}

    @property
    def magnitude_width(self) -> int:
        """How many bits of the magnitude decide anything."""
        return self.width if self.stages == 1 else self.pipeline["addend"].format.bits

    def add_or_subtract(
        self, wires: Mapping[str, pyrtl.WireVector], magnitude: Bits, sign: Bit, nonzero: Bit
    ) -> dict[str, pyrtl.WireVector]:
        """Return the next registers; where they would show it, a weight that is 0 has no sign."""
        if self.stages > 1 or self.adder == CARRY_SAVE:
            sign = both(sign, nonzero)
        addend = [differ(bit, sign) for bit in magnitude]
        if not self.activation.signed:
            addend.append(sign)
        if self.stages == 1:
            return self.accumulated(wires, addend, sign)
        width = self.pipeline["addend"].format.bits
        held = {"addend": wire_of(extend(addend, width)[:width]), "negative": wire_of([sign])}
        return {**held, **self.accumulated(wires, bits_of(wires["addend"]), wires["negative"])}


@dataclass(frozen=True)
class Mac(MultiplyAccumulate):
    """Accumulator plus weight times activation, one product a cycle, wrapping or saturating.

    ``next = fit(accumulator + weight * activation)``: the exact sum, fitted once. Weights are signed,
    activations signed or unsigned, 2 to 8 bits each, and signed ones of 9, which hold both kinds; accumulators are signed,
    8 to 32 bits. ``multiplier``
    names the architecture: ``fused``, ``baugh_wooley``, ``wallace`` or ``booth``
    (:data:`hwsim.datapath.multipliers.MULTIPLIERS`). ``adder`` is ``ripple``, ``kogge_stone`` or ``carry_save`` and
    ``stages`` 1 or 2 (:class:`MultiplyAccumulate`): of two, nothing is left to fuse, a Kogge-Stone adder makes
    the product of a carry-save sum, and the register holds as much of it as the accumulator needs.
    """

    weight: Int
    activation: Int
    accumulator: Int
    overflow: Overflow = Overflow.WRAP
    multiplier: str = "fused"
    adder: str = field(default="ripple", repr=False)
    stages: int = field(default=1, repr=False)

    def __post_init__(self) -> None:
        check_operands(self.weight, Int, self.activation, self.accumulator, signed_bits=9)
        if self.multiplier not in MULTIPLIERS:
            raise unknown("multiplier", self.multiplier, MULTIPLIERS)
        check_architecture(self.adder, self.stages, self.overflow)

    @property
    def pipeline(self) -> dict[str, Register]:
        return {"product": Register(held_format(self.weight.bits + self.activation.bits, self))}

    def saved(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        """Return the next two registers: of one stage, what the multiplier's own reduction makes of bits as arrays."""
        if self.stages > 1:
            return self.pair(values, values["product"])
        formats = {"weight": self.weight, "activation": self.activation}
        formats |= dict.fromkeys(("sum", "carry"), self.accumulator)
        weight, activation, total, carry = (_bits(values[name], form) for name, form in formats.items())
        reduced = MULTIPLIERS[self.multiplier].redundant(
            weight, activation, self.activation.signed, total, carry
        )
        return {
            name: _number(bits, self.accumulator)
            for name, bits in zip(("sum", "carry"), reduced, strict=True)
        }

    def held(self, weight: IntArray, product: IntArray) -> dict[str, IntArray]:
        return {"product": arithmetic.fit(product, self.pipeline["product"].format, Overflow.WRAP)}

    def connect(self, wires: Mapping[str, pyrtl.WireVector]) -> dict[str, pyrtl.WireVector]:
        operands = bits_of(wires["weight"]), bits_of(wires["activation"]), self.activation.signed
        multiplier = MULTIPLIERS[self.multiplier]
        add = ADDERS.get(self.adder, kogge_stone)
        if self.stages > 1:
            product = multiplier.product(*operands, self.pipeline["product"].format.bits, add)
            return {"product": wire_of(product), **self.accumulated(wires, bits_of(wires["product"]))}
        if self.adder == CARRY_SAVE:
            pair = multiplier.redundant(*operands, bits_of(wires["sum"]), bits_of(wires["carry"]))
            return dict(zip(("sum", "carry"), map(wire_of, pair), strict=True))
        total = multiplier.accumulate(*operands, bits_of(wires["accumulator"]), self.width, add)
        return {"accumulator": wire_of(fitted(total, self.accumulator, self.overflow))}

    @staticmethod
    def variants() -> Iterator[Mac]:
        """The widths' corners with every multiplier, each multiplier with every adder and pipeline, and a product
        wider than its accumulator."""
        shapes = [(2, 2, 8), (2, 8, 16), (4, 4, 16), (8, 2, 17), (8, 8, 8), (8, 8, 32), (5, 7, 12)]
        for (w, a, n), signed, overflow, multiplier in product(shapes, (False, True), Overflow, MULTIPLIERS):
            yield Mac(Int(w), Int(a, signed), Int(n), overflow, multiplier)
        shapes = [(3, 4, 16), (8, 8, 8), (8, 8, 32), (5, 7, 12)]
        for (adder, stages, overflow), (k, (w, a, n)), (m, multiplier) in product(
            architectures(), enumerate(shapes), enumerate(MULTIPLIERS)
        ):
            yield Mac(Int(w), Int(a, (k + m) % 2 == 0), Int(n), overflow, multiplier, adder, stages)


def _bits(values: IntArray, form: Int) -> Bits:
    """Return numbers as arrays of single bits: what a circuit is to wires, its functions are to these."""
    codes = form.encode(np.asarray(values, np.int64))
    return [(codes >> place & 1).astype(np.bool_) for place in range(form.bits)]


def _number(bits: Bits, form: Int) -> IntArray:
    """Return the numbers of arrays of single bits."""
    codes = sum(np.asarray(bit, np.int64) << place for place, bit in enumerate(bits))
    return form.decode(np.asarray(codes, np.int64))


def architectures() -> Iterator[tuple[str, int, Overflow]]:
    """Yield every adder, number of stages and overflow that a multiply-accumulate has besides the default ones."""
    for adder, stages, overflow in product((*ADDERS, CARRY_SAVE), (1, 2), Overflow):
        if (adder, stages) != ("ripple", 1) and (adder, overflow) != (CARRY_SAVE, Overflow.SATURATE):
            yield adder, stages, overflow


def held_format(bits: int, mac: MultiplyAccumulate) -> Int:
    """Return the format of a register for numbers of so many bits, of which a wrapping sum needs its own width at most."""
    return Int(min(bits, mac.accumulator.bits) if mac.overflow is Overflow.WRAP else bits)


def check_architecture(adder: str, stages: int, overflow: Overflow) -> None:
    """Refuse an adder or a pipeline that a multiply-accumulate does not have."""
    if adder not in (*ADDERS, CARRY_SAVE):
        raise unknown("adder", adder, (*ADDERS, CARRY_SAVE))
    if stages not in (1, 2):
        raise HwsimError(f"stages {stages} are out of range; give 1, or 2 to register the product")
    if adder == CARRY_SAVE and overflow is Overflow.SATURATE:
        raise HwsimError(
            "a carry-save accumulator cannot saturate, for it knows its value only after the last product; "
            "let it wrap, or give adder ripple or kogge_stone"
        )


def check_operands(
    weight: Format, kind: type[Format], activation: Int, accumulator: Int, *, signed_bits: int = 8
) -> None:
    """Refuse formats that a multiply-accumulate circuit does not have; ``signed_bits`` has its widest signed activation."""
    if not isinstance(weight, kind) or not weight.signed or not 2 <= weight.bits <= 8:
        example = "int4" if kind is Int else "pow2x4"
        raise HwsimError(f"weight {weight} is out of range; this circuit takes 2 to 8 bits like {example}")
    if not isinstance(activation, Int) or not 2 <= activation.bits <= (
        signed_bits if activation.signed else 8
    ):
        raise HwsimError(
            f"activation {activation} is out of range; give int2 to int{signed_bits} or uint2 to uint8"
        )
    check_accumulator(accumulator)


def check_accumulator(accumulator: Int) -> None:
    """Refuse an accumulator that is unsigned or has not 8 to 32 bits."""
    if not isinstance(accumulator, Int) or not accumulator.signed or not 8 <= accumulator.bits <= 32:
        raise HwsimError(f"accumulator {accumulator} is out of range; give int8 to int32")


def sum_width(weight: Format, activation: Int, accumulator: Int, overflow: Overflow) -> int:
    """Return how many bits of the exact sum decide the accumulator's next value."""
    if overflow is Overflow.WRAP:
        return accumulator.bits
    corners = np.outer([weight.minimum, weight.maximum], [activation.minimum, activation.maximum])
    return width_of(
        accumulator.minimum + min(0, int(corners.min())), accumulator.maximum + int(corners.max())
    )


def fitted(total: Bits, accumulator: Int, overflow: Overflow) -> Bits:
    """Return a sum of :func:`sum_width` bits fitted to the accumulator."""
    return total if overflow is Overflow.WRAP else saturate(total, accumulator)
