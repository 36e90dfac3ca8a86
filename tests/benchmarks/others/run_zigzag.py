"""Runs ZigZag on the layers of standard input and prints the bits it moves over DRAM; needs zigzag-dse 3.9 and six.

Input: {"buffer_bytes", "rows", "columns", "mapping": "even" | "uneven", "factors", "layers": [{"K", "C", "OX", "OY",
"FX", "FY", "stride", "padding", "W", "I", "O", "sum"}, ...]}: loops, and bits of weights, inputs, outputs and sums.
The array holds weights, input channels along its rows and output channels along its columns.
"""

import json
import logging
import sys
import tempfile
import time
from pathlib import Path

import yaml

logging.disable(logging.CRITICAL)
from zigzag.api import get_hardware_performance_zigzag  # noqa: E402

WORD = 64


def port(name, kind, widest, *allocation):
    bandwidth = {"bandwidth_min": 8, "bandwidth_max": widest}
    return {"name": f"{name}_port_1", "type": kind, **bandwidth, "allocation": list(allocation)}


def memory(size, cost, operands, served, *ports):
    common = {"area": 0, "latency": 1, "auto_cost_extraction": False}
    energy = {"size": size, "r_cost": cost, "w_cost": cost}
    return {**energy, **common, "operands": operands, "ports": list(ports), "served_dimensions": served}


def accelerator(asked):
    every, both = ["I1", "I2", "O"], ["D1", "D2"]
    down, up = ("I1, fh", "I2, fh", "O, fh", "O, fl"), ("I1, tl", "I2, tl", "O, tl", "O, th")
    return {
        "name": "array",
        "memories": {
            "weight": memory(
                8, 0.01, ["I2"], [], port("r", "read", 8, "I2, tl"), port("w", "write", 8, "I2, fh")
            ),
            "buffer": memory(
                8 * asked["buffer_bytes"],
                50,
                every,
                both,
                port("r", "read", 4096, *up),
                port("w", "write", 4096, *down),
            ),
            "dram": memory(10**12, 100_000, every, both, port("rw", "read_write", WORD, *down, *up)),
        },
        "operational_array": {
            "input_precision": [8, 8],
            "unit_energy": 0.04,
            "unit_area": 1,
            "dimensions": both,
            "sizes": [asked["rows"], asked["columns"]],
        },
    }


def workload(layer):
    stride, padding = layer["stride"], layer["padding"]
    loops = ["K", "C", "OY", "OX", "FY", "FX"]
    return {
        "id": 0,
        "operator_type": "Conv",
        "equation": "O[b][k][oy][ox]+=W[k][c][fy][fx]*I[b][c][iy][ix]",
        "dimension_relations": [f"ix={stride}*ox+1*fx", f"iy={stride}*oy+1*fy"],
        "loop_dims": ["B", *loops],
        "loop_sizes": [1, *(layer[loop] for loop in loops)],
        "operand_precision": {"W": layer["W"], "I": layer["I"], "O": layer["sum"], "O_final": layer["O"]},
        "operand_source": {"I": 0, "W": 0},
        "pr_loop_dims": ["IX", "IY"],
        "pr_loop_sizes": [layer["width"], layer["height"]],
        "padding": [[padding, padding], [padding, padding]],
    }


def dram_bits(evaluation):
    """Bits that every operand moves at the last level, DRAM."""
    result = {}
    for operand, levels in evaluation.memory_word_access.items():
        result[str(operand)] = WORD * sum(levels[-1].data.values())
    return result


def main():
    asked = json.load(sys.stdin)
    spatial = {"D1": [f"C, {asked['rows']}"], "D2": [f"K, {asked['columns']}"]}
    links = {"O": "O", "W": "I2", "I": "I1"}
    result = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "array.yaml").write_text(yaml.safe_dump(accelerator(asked), sort_keys=False))
        mapping = [{"name": "default", "spatial_mapping": spatial, "memory_operand_links": links}]
        (folder / "mapping.yaml").write_text(yaml.safe_dump(mapping, sort_keys=False))
        for layer in asked["layers"]:
            (folder / "layer.yaml").write_text(yaml.safe_dump([workload(layer)], sort_keys=False))
            start = time.perf_counter()
            _, _, evaluations = get_hardware_performance_zigzag(
                *(str(folder / f"{name}.yaml") for name in ("layer", "array", "mapping")),
                opt="energy",
                dump_folder=str(folder / "out"),
                pickle_filename=str(folder / "out.pickle"),
                lpf_limit=asked["factors"],
                temporal_mapping_type=asked["mapping"],
                loma_show_progress_bar=False,
            )
            found = (
                evaluations[0][0]
                if hasattr(evaluations[0][0], "memory_word_access")
                else evaluations[0][1][0][0]
            )
            result.append({"bits": dram_bits(found), "seconds": time.perf_counter() - start})
    print(json.dumps(result))


main()
