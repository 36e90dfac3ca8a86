"""The traffic and cycles of single layers beside SCALE-Sim and ZigZag, layer by layer, each difference with its reason.

python tests/benchmarks/traffic.py [--scalesim PYTHON] [--zigzag PYTHON] [--factors N]

PYTHON is an interpreter that has the package (pip install scalesim "numpy<2" "pandas<3"; pip install zigzag-dse six);
what is not given is left out. The exit status is 1 where a figure differs for another reason than those stated.

SCALE-Sim counts cycles and buffer accesses of a systolic array (A. Samajdar et al., "SCALE-Sim: Systolic CNN
Accelerator Simulator", 2018; version 3.0.0). Its layers have no padding, so ours read a padded input as data.
- Cycles: it states the number of the last cycle, counted from 0. With stationary outputs its elements hand their
  results over at once; ours shift them out down the columns, one more cycle a row in each fold.
- Outputs written with stationary outputs: besides the outputs it adds the array's rows plus columns for each fold.

ZigZag searches mappings (L. Mei et al., "ZigZag: enlarging joint architecture-mapping design space exploration for
DNN accelerators", 2021; version 3.9.1), here for the least energy where DRAM costs nearly all of it. Both have one
buffer of 64 KiB without double buffering, sums of 32 bits in it and outputs of 8 bits behind it.
- It counts 64-bit words of each fetch, ours those of whole passes: some bytes.
- Its tiles hold whole rows and columns of the array's channels and split loops by prime factors, N at most; ours
  may have any size and so more input rows. Where it moves more, it repeats the inputs for each row of the kernel, or
  with N = 7 (a minute a layer) fetches smaller tiles: ours moves 0.80 and 0.62 of its bytes in the first two layers.
Ours must never move more than that first difference.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from hwsim.cost.memory.hierarchy import Accelerator, Array, Hierarchy
from hwsim.cost.memory.operation import Operation, Tiling
from hwsim.cost.memory.search import best_tiling
from hwsim.cost.memory.traffic import count

OTHERS = Path(__file__).parent / "others"


def layer(channels, outputs, size, kernel, stride=1, padding=0):
    """A square layer of 8-bit weights, inputs and outputs and 32-bit sums."""
    trips = (size + 2 * padding - kernel) // stride + 1
    return Operation(
        groups=1, outputs=outputs, inputs=channels, rows=trips, columns=trips, kernel_rows=kernel,
        kernel_columns=kernel, height=size, width=size, stride=(stride, stride), padding=(padding, padding),
        weight_bits=(8,) * outputs, input_bits=(8,) * channels, output_bits=(8,) * outputs, sum_bits=32,
    )  # fmt: skip


SYSTOLIC = {
    "3x3": layer(8, 20, 12, 3),
    "3x3 stride 2": layer(6, 10, 13, 3, 2),
    "5x5": layer(3, 17, 11, 5),
    "1x1": layer(20, 24, 9, 1),
    "7x7 stride 2": layer(3, 9, 21, 7, 2),
    "linear": layer(64, 10, 1, 1),
}
MAPPED = {
    "ResNet-18 stage 1": layer(64, 64, 56, 3, 1, 1),
    "ResNet-18 stage 2": layer(128, 128, 28, 3, 1, 1),
    "ResNet-18 stage 3": layer(256, 256, 14, 3, 1, 1),
    "ResNet-18 stage 4": layer(512, 512, 7, 3, 1, 1),
    "1x1": layer(128, 64, 28, 1),
    "linear": layer(512, 1000, 1, 1),
}


def asked(python: str, script: str, question: object) -> list[dict[str, object]]:
    """Return what another package answers, run by an interpreter that has it."""
    run = subprocess.run(
        [python, str(OTHERS / script)],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        sys.exit(f"{script} fails: {run.stderr.strip().splitlines()[-1]}")
    return json.loads(run.stdout.strip().splitlines()[-1])


def beside_scalesim(python: str, rows: int = 8, columns: int = 6) -> bool:
    """Print cycles and accesses of every layer and dataflow; return whether all differences have their reason."""
    explained = True
    for short, dataflow in (("ws", "weight"), ("os", "output"), ("is", "input")):
        layers = [
            [op.height, op.width, op.kernel_rows, op.kernel_columns, op.inputs, op.outputs, op.stride[0]]
            for op in SYSTOLIC.values()
        ]
        question = {"rows": rows, "columns": columns, "kilobytes": 64, "dataflow": short, "layers": layers}
        for (name, op), theirs in zip(
            SYSTOLIC.items(), asked(python, "run_scalesim.py", question), strict=True
        ):
            ours = count(op, Tiling((op.loops,), ("weights",)), Array(rows, columns, dataflow))
            dram, array = ours.boundaries
            written = array.outputs // 8 + array.sums_written // 32
            folds = -(-op.pixels // rows) * -(-op.outputs // columns)
            later, extra = (1 + folds * rows, folds * (rows + columns)) if dataflow == "output" else (1, 0)
            pairs = {
                "cycles": (ours.cycles - later, theirs["cycles"]),
                "inputs": (array.inputs // 8, theirs["inputs"]),
                "weights": (array.weights // 8, theirs["weights"]),
                "outputs": (written + extra, theirs["outputs"]),
                "dram_inputs": (dram.inputs // 8, theirs["dram_inputs"]),
                "dram_weights": (dram.weights // 8, theirs["dram_weights"]),
            }
            differ = {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
            explained &= not differ
            verdict = "accesses equal" if not differ else f"DIFFER: {differ}"
            fewer = f", outputs written {extra} fewer" if extra else ""
            print(
                f"SCALE-Sim {dataflow:6} {name:13} {ours.cycles:5} cycles, {later} more{fewer} by definition; {verdict}"
            )
    return explained


def beside_zigzag(python: str, factors: int, buffer_bytes: int = 65536) -> bool:
    """Print the DRAM traffic of every layer; return whether ours is nowhere more than a rounding above."""
    question = {
        "buffer_bytes": buffer_bytes, "rows": 16, "columns": 16, "mapping": "uneven", "factors": factors,
        "layers": [
            {"K": op.outputs, "C": op.inputs, "OX": op.columns, "OY": op.rows, "FX": op.kernel_columns,
             "FY": op.kernel_rows, "stride": op.stride[0], "padding": op.padding[0], "height": op.height,
             "width": op.width, "W": 8, "I": 8, "O": 8, "sum": 32}
            for op in MAPPED.values()
        ],
    }  # fmt: skip
    hierarchy = Hierarchy((buffer_bytes,), bus_bits=64, burst_bytes=8, double_buffered=False)
    accelerator = Accelerator(Array(), hierarchy)
    explained = True
    for (name, op), theirs in zip(MAPPED.items(), asked(python, "run_zigzag.py", question), strict=True):
        tiling = best_tiling(op, accelerator)
        moved = count(op, tiling, accelerator.array, 64).dram
        ours = {"W": moved.weights, "I": moved.inputs, "O": moved.total - moved.weights - moved.inputs}
        shown = ", ".join(f"{key} {ours[key] // 8} to {theirs['bits'][key] // 8}" for key in ours)
        total = sum(theirs["bits"].values())
        explained &= moved.total <= total * 1.001
        print(
            f"ZigZag {name:18} {moved.total // 8} to {total // 8} bytes, {moved.total / total:.3f} ({shown}); {theirs['seconds']:.1f} s; {tiling.tiles[0]}"
        )
    return explained


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--scalesim", default="")
    options.add_argument("--zigzag", default="")
    options.add_argument("--factors", type=int, default=6)
    given = options.parse_args()
    explained = not given.scalesim or beside_scalesim(given.scalesim)
    if given.zigzag:
        explained &= beside_zigzag(given.zigzag, given.factors)
    sys.exit(not explained)


if __name__ == "__main__":
    main()
