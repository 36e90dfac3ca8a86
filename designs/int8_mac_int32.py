"""INT8 weights times INT8 activations into an INT32 accumulator, in both multiplier architectures.

python designs/int8_mac_int32.py
hwsim check designs/int8_mac_int32.py:DESIGN
"""

import numpy as np

from hwsim.cost import synthesize
from hwsim.datapath.mac import Mac
from hwsim.formats import Int, Overflow
from hwsim.simulate.check import check
from hwsim.simulate.circuit import run

DESIGN = Mac(
    weight=Int(8), activation=Int(8), accumulator=Int(32), overflow=Overflow.WRAP, multiplier="fused"
)
TWO_ADDERS = Mac(Int(8), Int(8), Int(32), multiplier="baugh_wooley")

if __name__ == "__main__":
    # Two sums of three products, one behind the other; the accumulator is reset before each.
    activations, weights = np.array([1, -2, 3, -128, -128, 127]), np.array([10, 20, 30, -128, 127, 127])
    sums = run(DESIGN, {"activation": activations, "weight": weights}, reset_every=3)["accumulator"]
    print("accumulator after each product:", sums.tolist())

    for design in (DESIGN, TWO_ADDERS):
        checked = check(design)
        print(checked)
        if checked.counterexample is not None:
            raise SystemExit(1)
        cost = synthesize(design, technology="open45")
        print(f"  {cost.nand2_equivalents:.0f} NAND2 equivalents with {cost.flip_flops} flip-flops, ", end="")
        print(f"{cost.area_um2:.0f} um2, {cost.critical_path_ps:.0f} ps ({cost.tool})")
