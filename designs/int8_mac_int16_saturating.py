"""INT8 products into an INT16 accumulator that saturates: cheaper than INT32, and the order of terms counts.

python designs/int8_mac_int16_saturating.py
hwsim check designs/int8_mac_int16_saturating.py:DESIGN
"""

import numpy as np

from hwsim.cost import synthesize
from hwsim.datapath.mac import Mac
from hwsim.formats import Int, Overflow
from hwsim.simulate.check import check
from hwsim.simulate.circuit import run

DESIGN = Mac(weight=Int(8), activation=Int(8), accumulator=Int(16), overflow=Overflow.SATURATE)
WRAPPING = Mac(weight=Int(8), activation=Int(8), accumulator=Int(16))

if __name__ == "__main__":
    # The same four products in two orders: 3 * 127 * 127 - 127 * 127 is 32258 exactly, and 48387 on the way.
    activation = np.full(4, 127)
    for weight in ([127, 127, 127, -127], [127, -127, 127, 127]):
        operands = {"activation": activation, "weight": np.array(weight)}
        for design in (DESIGN, WRAPPING):
            accumulator = run(design, operands)["accumulator"]
            print(f"weights {weight}, {design.overflow}: {accumulator.tolist()}")

    for design in (DESIGN, WRAPPING):
        checked = check(design)
        print(checked)
        if checked.counterexample is not None:
            raise SystemExit(1)
        cost = synthesize(design, technology="open45")
        print(f"  {cost.nand2_equivalents:.0f} NAND2 equivalents with {cost.flip_flops} flip-flops, ", end="")
        print(f"{cost.area_um2:.0f} um2, {cost.critical_path_ps:.0f} ps ({cost.tool})")
