"""Power-of-two weights: a barrel shifter where the multiplier was, beside the INT4 MAC of as many weight bits.

python designs/pow2_shift_mac.py
hwsim check designs/pow2_shift_mac.py:DESIGN
"""

import numpy as np

from hwsim.cost import synthesize
from hwsim.datapath.mac import Mac
from hwsim.datapath.shift_mac import ShiftMac
from hwsim.formats import Int, PowerOfTwo
from hwsim.simulate.check import check
from hwsim.simulate.circuit import run

DESIGN = ShiftMac(weight=PowerOfTwo(4), activation=Int(8, signed=False), accumulator=Int(16))
MULTIPLYING = Mac(weight=Int(4), activation=Int(8, signed=False), accumulator=Int(16))

if __name__ == "__main__":
    levels = DESIGN.weight.levels
    codes = DESIGN.weight.encode(levels)
    print("weight: code", ", ".join(f"{w}: {c:04b}" for w, c in zip(levels, codes, strict=True)))
    operands = {"activation": np.full(len(levels), 3), "weight": levels}
    print("3 * weight:", run(DESIGN, operands, reset_every=1)["accumulator"].tolist())

    for design in (DESIGN, MULTIPLYING):
        checked = check(design)
        print(checked)
        if checked.counterexample is not None:
            raise SystemExit(1)
        cost = synthesize(design, technology="open45")
        print(f"  {cost.nand2_equivalents:.0f} NAND2 equivalents with {cost.flip_flops} flip-flops, ", end="")
        print(f"{cost.area_um2:.0f} um2, {cost.critical_path_ps:.0f} ps ({cost.tool})")
