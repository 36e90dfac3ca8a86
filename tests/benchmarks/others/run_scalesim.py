"""Runs SCALE-Sim on the layers of standard input and prints what it counts; needs scalesim 3.0 and numpy below 2.

Input: {"rows", "columns", "kilobytes", "dataflow": "ws" | "os" | "is", "layers": [[height, width, kernel height,
kernel width, channels, filters, stride], ...]}. It knows no padding.
"""

import csv
import json
import sys
import tempfile
from pathlib import Path

from scalesim.scale_sim import scalesim

CONFIG = """
[general]
run_name = run
[architecture_presets]
ArrayHeight = {rows}
ArrayWidth = {columns}
IfmapSramSzkB = {kilobytes}
FilterSramSzkB = {kilobytes}
OfmapSramSzkB = {kilobytes}
IfmapOffset = 0
FilterOffset = 10000000
OfmapOffset = 20000000
Bandwidth = 10
Dataflow = {dataflow}
MemoryBanks = 1
ReadRequestBuffer = 32
WriteRequestBuffer = 32
[layout]
IfmapCustomLayout = False
IfmapSRAMBankBandwidth = 10
IfmapSRAMBankNum = 10
IfmapSRAMBankPort = 2
FilterCustomLayout = False
FilterSRAMBankBandwidth = 10
FilterSRAMBankNum = 10
FilterSRAMBankPort = 2
[sparsity]
SparsitySupport = false
SparseRep = ellpack_block
OptimizedMapping = false
BlockSize = 8
RandomNumberGeneratorSeed = 40
[run_presets]
InterfaceBandwidth = CALC
UseRamulatorTrace = False
"""


def table(path):
    with path.open() as file:
        head, *rows = csv.reader(file)
    return [dict(zip((name.strip() for name in head), row, strict=False)) for row in rows]


def main():
    asked = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "run.cfg").write_text(CONFIG.format(**asked))
        rows = [f"l{n},{','.join(map(str, layer))},1:1,\n" for n, layer in enumerate(asked["layers"])]
        (folder / "layers.csv").write_text("name,\n" + "".join(rows))
        (folder / "layout.csv").write_text(
            "name,\n" + "".join(f"l{n}," + "1," * 16 + "\n" for n in range(len(rows)))
        )
        paths = {"config": "run.cfg", "topology": "layers.csv", "layout": "layout.csv"}
        run = scalesim(
            save_disk_space=True,
            verbose=False,
            input_type_gemm=False,
            **{name: str(folder / file) for name, file in paths.items()},
        )
        run.run_scale(top_path=str(folder / "out"))
        cycles = table(folder / "out/run/COMPUTE_REPORT.csv")
        counts = table(folder / "out/run/DETAILED_ACCESS_REPORT.csv")
    result = [
        {
            "cycles": int(float(one["Total Cycles"])),
            "inputs": int(float(two["SRAM IFMAP Reads"])),
            "weights": int(float(two["SRAM Filter Reads"])),
            "outputs": int(float(two["SRAM OFMAP Writes"])),
            "dram_inputs": int(float(two["DRAM IFMAP Reads"])),
            "dram_weights": int(float(two["DRAM Filter Reads"])),
        }
        for one, two in zip(cycles, counts, strict=True)
    ]
    print(json.dumps(result))


main()
