"""Every setting of a study moves the figures that it is about, in the direction it must, and no other figure."""

import copy

import numpy as np
import pytest

from hwsim.explore.bench import open_bench
from hwsim.explore.evaluation import known_metrics
from hwsim.explore.search import uniform
from hwsim.explore.space import search_space
from hwsim.explore.study import Study
from hwsim.models import load_model
from hwsim.models.forward import logits

MODEL = """
import numpy as np
from hwsim.layers import Add, AveragePool, Convolution, Flatten, Linear, Relu
from hwsim.models.builder import Builder
from hwsim.network import Preprocessing


def net():
    rng = np.random.default_rng(0)
    build = Builder((1, 6, 6))
    build.add("first", Convolution(4, (3, 3), padding=(1, 1, 1, 1)), weight=rng.normal(size=(4, 1, 3, 3)))
    build.add("relu", Relu())
    build.add("second", Convolution(4, (1, 1)), weight=rng.normal(size=(4, 4, 1, 1)))
    build.add("sum", Add(), "second", "relu")
    build.add("pool", AveragePool((2, 2), (2, 2)))
    build.add("flat", Flatten())
    build.add("out", Linear(3), weight=rng.normal(size=(3, 36, 1, 1)))
    return build.network("small", Preprocessing(255.0, (0.5,), (0.25,)))
"""

BASE = {
    "title": "Knobs",
    "model": "net.py:net",
    "objectives": ["accuracy_loss", "gates", "latency", "array_area"],
    "data": {"calibration": "images.npz", "calibration_images": 8, "test": "images.npz"},
    "space": {
        "weights": ["int4"],
        "activations": [4],
        "accumulators": ["int16"],
        "overflows": ["wrap"],
        "quantizers": ["activations=min_max"],
    },
    "hardware": {"technology": "open45", "clock_mhz": 200.0, "images_per_second": 1e6},
    "memory": {"buffer_bytes": 64, "burst_bits": 32, "bus_bits": 32},
    "array": {"rows": 2, "columns": 2, "dataflow": "weight", "minimise": "time"},
}

PREDICTIONS = "~accuracy ~accuracy_loss ~overflow_rate"
SMALLER = "-gates -area -array_gates -array_area"
LARGER = "+gates +area +array_gates +array_area"
OTHERS = "~gates ~area ~array_gates ~array_area ~critical_path ~flip_flops"
SMALLER_FILE, OTHER_FILE = "-file_bytes +compression_ratio", "~file_bytes ~compression_ratio"


def space(**lists):
    return {"space": {name: [value] for name, value in lists.items()}}


def hardware(**values):
    return {"hardware": values}


def memory(**values):
    return {"memory": values}


def array(**values):
    return {"array": values}


SETTINGS = {
    "weights": (space(weights="int3"), f"{SMALLER} {SMALLER_FILE} -bandwidth {PREDICTIONS} ~latency"),
    "powers of two": (space(weights="pow2x4"), f"{OTHERS} {OTHER_FILE} {PREDICTIONS} -array_gates"),
    "activations": (space(activations=3), f"{SMALLER} -bandwidth {PREDICTIONS} {OTHER_FILE} ~latency"),
    "accumulator": (
        space(accumulators="int8"),
        f"{SMALLER} -flip_flops +overflow_rate {PREDICTIONS} ~critical_path ~bandwidth -latency",
    ),
    "overflow": (space(overflows="saturate"), f"{LARGER} ~critical_path"),
    "quantizer": (space(quantizers="activations=aciq_laplace"), f"{PREDICTIONS} {OTHER_FILE} +accuracy"),
    "bias correction": (
        space(quantizers="activations=min_max bias_correction=mean"),
        f"+gates +area +flip_flops ~critical_path +bandwidth +file_bytes -compression_ratio {PREDICTIONS}",
    ),
    "granularity": (
        space(quantizers="activations=min_max granularity=tensor"),
        f"{PREDICTIONS} {OTHER_FILE}",
    ),
    "elementwise": (
        space(quantizers="activations=min_max elementwise=4"),
        f"-gates -area -flip_flops -bandwidth -latency {PREDICTIONS} {OTHER_FILE}",
    ),
    "multiplier": (space(datapaths="mac multiplier=booth"), f"{OTHERS} +gates"),
    "adder": (space(datapaths="mac adder=kogge_stone"), f"{LARGER} ~critical_path"),
    "coder": (
        space(coders="huffman") | {"objectives": ["accuracy_loss", "gates"]},
        f"+gates +area +flip_flops ~critical_path ~bandwidth {OTHER_FILE}",
    ),
    "clock": (hardware(clock_mhz=400.0), "-gates -area -flip_flops -latency"),
    "throughput": (hardware(images_per_second=4e6), "+bandwidth +gates +area +flip_flops"),
    "technology": (hardware(technology="open130"), f"{OTHERS} +area +critical_path +array_area"),
    "mapping": (hardware(mapping="fastest"), f"{LARGER} -critical_path"),
    "buffer": (memory(buffer_bytes=512), "+buffer_bytes +array_area -latency ~bandwidth"),
    "inner buffer": (memory(inner_buffer_bytes=48), "+buffer_bytes +array_area ~latency ~bandwidth"),
    "burst": (memory(burst_bits=256), "+bandwidth +latency"),
    "bus": (memory(bus_bits=8), "+latency ~bandwidth ~array_area"),
    "double buffering": (memory(double_buffered=False), "~latency ~bandwidth"),
    "rows": (array(rows=4), "+array_gates +array_area -latency ~bandwidth"),
    "columns": (array(columns=1), "-array_gates -array_area +latency ~bandwidth"),
    "dataflow": (array(dataflow="output"), "~array_gates ~array_area ~latency ~bandwidth"),
    "what tilings minimise": (array(minimise="traffic"), "-bandwidth +latency"),
    "test images": ({"data": {"test_images": 20}}, PREDICTIONS),
    "calibration images": ({"data": {"calibration_images": 1}}, f"{PREDICTIONS} {OTHER_FILE}"),
}
"""A setting in another position, and the figures that move: up, down, or either way (~), of which at least one does."""


def merged(table, change):
    result = copy.deepcopy(table)
    for key, value in change.items():
        result[key] = merged(result.get(key, {}), value) if isinstance(value, dict) else value
    return result


def figures(change):
    """Every figure of the study's one design."""
    study = Study.model_validate(merged(BASE, change))
    bench = open_bench(study)
    (point,) = uniform(search_space(study, bench.network), [], study.objectives, np.random.default_rng(0), 1)
    evaluation = bench.evaluate(0, point, threads=1)
    return {name: metric.of(evaluation) for name, metric in known_metrics([evaluation]).items()}


@pytest.fixture(scope="module")
def usual(tmp_path_factory, working_in):
    folder = tmp_path_factory.mktemp("knobs")
    (folder / "net.py").write_text(MODEL)
    x = np.random.default_rng(1).integers(0, 256, (60, 6, 6), dtype=np.uint8)
    network = load_model(f"{folder}/net.py:net")
    labels = logits(network, network.preprocessing.apply(x[..., None])).argmax(axis=1)
    np.savez(folder / "images.npz", x=x, y=labels)
    working_in(folder)
    return figures({})


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_moves_its_figures_and_no_others(usual, name):
    change, moves = SETTINGS[name]
    expected = {move[1:]: move[0] for move in moves.split()}  # the last word on a figure counts
    found = figures(change)
    moved = {figure: "+-"[value < usual[figure]] for figure, value in found.items() if value != usual[figure]}
    assert moved
    surely = {figure: sign for figure, sign in expected.items() if sign != "~"}
    assert {figure: moved.get(figure) for figure in surely} == surely
    assert moved.keys() <= expected.keys()
