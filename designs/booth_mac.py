"""A datapath of your own: a radix-4 Booth MAC from the ground up (hwsim has one as ``multiplier=booth``).

    python designs/booth_mac.py
    hwsim check designs/booth_mac.py:BoothMac

Two weight bits a row instead of one: each row adds -2, -1, 0, 1 or 2 times the activation (A. D. Booth,
"A signed binary multiplication technique", 1951; radix 4 by O. L. MacSorley, 1961).
"""

from dataclasses import dataclass

from hwsim.arithmetic import fit
from hwsim.cost import synthesize
from hwsim.datapath import Register
from hwsim.datapath.adders import Term, add, bits_of, both, differ, either, invert, number, wire_of
from hwsim.datapath.mac import Mac, fitted, sum_width
from hwsim.formats import Int, Overflow
from hwsim.simulate.check import check_datapath


@dataclass(frozen=True)
class BoothMac:
    """Accumulator plus weight times activation, the weight recoded to radix 4."""

    weight: Int
    activation: Int
    accumulator: Int
    overflow: Overflow = Overflow.WRAP

    # The ports: what goes in, what is kept (and seen), what else comes out.
    inputs = property(lambda self: {"activation": self.activation, "weight": self.weight})
    registers = property(lambda self: {"accumulator": Register(self.accumulator)})
    outputs = property(lambda self: {})

    def compute(self, values):
        """The arithmetic: what the circuit has to equal."""
        exact = values["accumulator"] + values["weight"] * values["activation"]
        return {"accumulator": fit(exact, self.accumulator, self.overflow)}

    def connect(self, wires):
        """The circuit: from the wires of inputs and registers to those of the registers' next values."""
        weight, activation = bits_of(wires["weight"]), bits_of(wires["activation"])
        if not self.activation.signed:
            activation.append(0)
        once, twice = [*activation, activation[-1]], [0, *activation]
        digits = [0, *weight, weight[-1]]
        terms = number(bits_of(wires["accumulator"]), signed=True)
        for place in range(0, len(weight), 2):
            below, low, high = digits[place : place + 3]
            one = differ(low, below)
            two = both(differ(high, low), invert(one))
            row = [either(both(one, x), both(two, y)) for x, y in zip(once, twice, strict=True)]
            # -x = ~x + 1; the digit 0 written as 111 is complemented too, and ~0 + 1 is 0.
            terms += number([differ(bit, high) for bit in row], signed=True, position=place)
            terms.append(Term(high, place))
        total = add(terms, sum_width(self.weight, self.activation, self.accumulator, self.overflow))
        return {"accumulator": wire_of(fitted(total, self.accumulator, self.overflow))}

    @staticmethod
    def variants():
        """The parameters that `hwsim check` covers."""
        for w, a, n in ((2, 2, 8), (3, 8, 16), (5, 4, 12), (8, 8, 8), (8, 8, 32)):
            for signed in (False, True):
                for overflow in Overflow:
                    yield BoothMac(Int(w), Int(a, signed), Int(n), overflow)


if __name__ == "__main__":
    for checked in check_datapath(f"{__file__}:BoothMac"):
        print(checked)
        if checked.counterexample is not None:
            raise SystemExit(1)
    for mac in (BoothMac, Mac):
        cost = synthesize(mac(Int(8), Int(8), Int(32)), technology="open45")
        print(
            f"{cost.datapath}: {cost.nand2_equivalents:.0f} NAND2 equivalents, {cost.critical_path_ps:.0f} ps"
        )
