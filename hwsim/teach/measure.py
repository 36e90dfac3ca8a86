"""What the teaching page shows, measured: every choice's sum on its circuit, its cost, and its network's accuracy.

A choice gives all layers of the network the same bits; the sums are those of one of its layers.
"""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.bits import BitConfig, LayerBits, bit_config
from hwsim.cost.energy import circuit_energy
from hwsim.cost.hardware import circuits
from hwsim.cost.operands import in_place
from hwsim.cost.synthesis import synthesize
from hwsim.cost.technology import technology
from hwsim.datapath import parts
from hwsim.errors import HwsimError, unknown
from hwsim.explore.bench import Bench, open_bench
from hwsim.explore.evaluation import METRICS, pareto_front
from hwsim.explore.folder import STUDY
from hwsim.explore.front import nondominated
from hwsim.explore.study import read_study
from hwsim.formats import IntArray, parse_format
from hwsim.network import FloatArray, FloatNetwork, Images, IntegerLayer, QuantizedNetwork
from hwsim.quantize import quantize
from hwsim.quantize.settings import Settings
from hwsim.quantize.weights import quantize_weight
from hwsim.results import Results, read_results, stamp
from hwsim.simulate import circuit
from hwsim.simulate.inference import Accuracy, measure_accuracy, run
from hwsim.simulate.replay import SIMULATORS, runs

WEIGHTS = ("int2", "int3", "int4", "int6", "int8", "pow2x3", "pow2x4")
ACTIVATIONS = (2, 4, 8)
ACCUMULATORS = (12, 16, 32)
OVERFLOWS = ("wrap", "saturate")
SAFE = 32
"""Accumulator bits of the layers before the sum that is shown, which none of its choices overflows."""

SETTINGS = Settings.parse("activations=aciq_laplace")

IMAGE = 0
"""The test image whose sum is shown: the largest of its layer's outputs with the page's widest formats."""

WIDEST = ("int8", 8)

WEIGHTS_SHOWN = 4096
"""Weights that the histogram of a larger layer is drawn from, evenly spaced by rank."""

PIXELS_SHOWN = 64
"""Pixels of a side that a larger image is thinned to."""

ENERGY_IMAGES = 16
"""Images whose sums of that kind the energy of an operation is the mean over."""

Progress = Callable[[str, int, int], None]


def key(weight: str, activation: int, accumulator: int, overflow: str) -> str:
    """Return a choice as text: ``int4*8/16/wrap``."""
    return f"{weight}*{activation}/{accumulator}/{overflow}"


def measure(
    source: Path, layer: str = "", progress: Progress = lambda stage, done, planned: None
) -> dict[str, Any]:
    """Return the page's data, measured; ``source`` is an exploration's folder, whose points are shown, or a study file.

    ``layer`` is whose sums are shown, the network's last one with weights if left out. Every sum is PyRTL's simulation of the
    circuit, behind layers whose accumulators hold all of their sums; gates and delay are its synthesis, energy that of the mapped
    netlist on the sums of the first 16 test images, accuracy that of exact arithmetic on the study's test images, which
    hwsim simulate holds against the circuits. The network's gates are counted as the study counts them.
    """
    found = read_results(source) if source.is_dir() else None
    bench = open_bench(read_study(source / STUDY if found else source))
    if not technology(bench.study.hardware.technology).physical:
        raise HwsimError(
            f"technology {bench.study.hardware.technology} has no delay and no energy to show; choose open45, say"
        )
    shown = _layer(bench.network, layer)
    formats = list(itertools.product(WEIGHTS, ACTIVATIONS))
    operands: dict[str, dict[str, list[int]]] = {}
    choices: dict[str, dict[str, Any]] = {}
    places = _largest_outputs(bench, shown)
    for done, read in enumerate(formats):
        progress("measure formats", done, len(formats))
        streams = _streams(bench, shown, places, *read)
        operands["{}*{}".format(*read)] = {name: row.tolist() for name, row in _first(streams).items()}
        choices |= _choices(bench, shown, streams, *read)
    progress("measure formats", len(formats), len(formats))
    weight = bench.network.parameters[f"{shown}.weight"]
    return {
        "model": bench.network.name,
        "layer": shown,
        "scores": bench.network.layers[-1].name == shown,
        "signed": bench.network.signed_inputs()[shown],
        "place": places[IMAGE, 1:].tolist(),
        "label": int(bench.test.labels[IMAGE]),
        "image": _thinned(bench.test.images[IMAGE : IMAGE + 1][0]),
        "images": len(bench.test),
        "float_correct": bench.float_correct,
        "weights": _drawn(_rows(weight)).round(4).tolist(),
        "levels": {name: _levels(weight, name) for name in WEIGHTS},
        "operands": operands,
        "choices": choices,
        "study": {
            "title": bench.study.title,
            "explored": found is not None,
            "points": _explored(found) if found else _uniform(bench, choices),
            "commands": [
                *([found.facts.command] if found else []),
                shlex.join(["hwsim", "teach", str(source), *(["--layer", layer] if layer else [])]),
            ],
        },
        "technology": str(technology(bench.study.hardware.technology)),
        "stamp": stamp(bench) | {"quantizer": str(SETTINGS)},
    }


def _layer(network: FloatNetwork, name: str) -> str:
    """Return the layer to show: the one of that name, or the last with weights."""
    known = [layer.name for layer in network.layers if layer.has_weights]
    if name and name not in known:
        raise unknown("layer with weights", name, known)
    return name or known[-1]


def _thinned(image: Images) -> Any:
    """Return an image [h, w, c] as nested lists, [h][w] where it has not the three channels of a colour."""
    step = -(-max(image.shape[:2]) // PIXELS_SHOWN)
    thin = image[::step, ::step]
    return (thin if thin.shape[2] == 3 else thin[:, :, 0]).tolist()


def _rows(weight: FloatArray) -> FloatArray:
    """Return weights as shares of the largest magnitude in their output channel, which min-max makes the last level."""
    return weight.reshape(len(weight), -1) / _largest(weight)


def _largest(weight: FloatArray) -> FloatArray:
    most: FloatArray = np.abs(weight.reshape(len(weight), -1)).max(axis=1, keepdims=True)
    return np.where(most == 0, 1.0, most)


def _drawn(shares: FloatArray) -> FloatArray:
    """Return the sorted weights that a histogram is drawn from."""
    ranks = np.linspace(0, shares.size - 1, min(shares.size, WEIGHTS_SHOWN)).round().astype(np.int64)
    return np.sort(shares, axis=None)[ranks]


def _levels(weight: Any, name: str) -> dict[str, Any]:
    """Return the levels of a format as those shares, and how many weights take each."""
    integers, rows = quantize_weight(weight, parse_format(name), SETTINGS), _rows(weight)
    real = integers.real.reshape(rows.shape) / _largest(weight)
    codes = integers.values.reshape(rows.shape)
    taken, counts = np.unique(codes, return_counts=True)
    places = [float(real[codes == code].mean()) for code in taken]
    error = float(np.sqrt(np.mean((real - rows) ** 2)))
    return {
        "codes": taken.tolist(),
        "places": np.round(places, 5).tolist(),
        "counts": counts.tolist(),
        "error": round(error, 5),
    }


def _largest_outputs(bench: Bench, layer: str) -> IntArray:
    """Return the place of the layer's largest output on each of the first images, int64 [images, 4]."""
    *_, output = _run(bench, layer, *WIDEST)
    flat = output.reshape(len(output), -1).argmax(axis=1)
    return np.stack([np.arange(len(output)), *np.unravel_index(flat, output.shape[1:])], axis=1)


def _streams(bench: Bench, layer: str, places: IntArray, weight: str, activation: int) -> dict[str, IntArray]:
    """Return what the sums at ``places`` read, int64 [products, images], where no layer before overflows."""
    network, item, x, output = _run(bench, layer, weight, activation)
    mac = parts(item, network.formats(), network.rounding)["mac"]
    (ran,) = runs(item, {"mac": mac}, (x,), output, places, SIMULATORS["pyrtl"])
    return ran.streams


def _choices(
    bench: Bench, layer: str, streams: Mapping[str, IntArray], weight: str, activation: int
) -> dict[str, dict[str, Any]]:
    """Return every choice of these two formats, narrow accumulators first.

    Once a saturating one left its range in no sum, neither does a wider one, which predicts the same.
    """
    found: dict[str, dict[str, Any]] = {}
    settled: Accuracy | None = None
    for accumulator, overflow in itertools.product(ACCUMULATORS, OVERFLOWS):
        network = _network(bench, weight, activation, accumulator, overflow)
        accuracy = settled or measure_accuracy(network, bench.test.images, bench.test.labels)
        if overflow == "saturate" and not any(o.overflowed for o in accuracy.overflows):
            settled = accuracy
        found[key(weight, activation, accumulator, overflow)] = _choice(
            bench, layer, streams, network, accuracy
        )
    return found


def _choice(
    bench: Bench, layer: str, streams: Mapping[str, IntArray], network: QuantizedNetwork, accuracy: Accuracy
) -> dict[str, Any]:
    """Return what one choice measures; ``streams`` are those of its weights and activations."""
    item = next(item for item in network.layers if item.layer.name == layer)
    mac = parts(item, network.formats(), network.rounding)["mac"]
    hardware = bench.study.hardware
    cost = synthesize(mac, hardware.technology)
    energy = circuit_energy(
        mac, technology(hardware.technology), in_place(mac, streams), clock_mhz=hardware.clock_mhz
    )
    priced = circuits(network, hardware.value("mac"))
    return {
        "sum": circuit.run(mac, _first(streams))["accumulator"].tolist(),
        "gates": cost.nand2_equivalents,
        "delay_ps": cost.critical_path_ps,
        "equivalent": cost.equivalent,
        "energy_fj": {name: round(value, 3) for name, value in energy.operation.parts.items()},
        "correct": accuracy.correct,
        "overflowed": sum(o.overflowed for o in accuracy.overflows),
        "sums": sum(o.sums for o in accuracy.overflows),
        "network_gates": round(
            sum(part.count * part.nand2_equivalents for found in priced.values() for part in found), 2
        ),
    }


def _first(streams: Mapping[str, IntArray]) -> dict[str, IntArray]:
    return {name: values[:, IMAGE] for name, values in streams.items()}


def _network(bench: Bench, weight: str, activation: int, accumulator: int, overflow: str) -> QuantizedNetwork:
    text = f"{weight}*int{activation}/int{accumulator}/{overflow}"
    return quantize(bench.network, _bits(bench, text), bench.calibration, settings=SETTINGS)


def _bits(bench: Bench, text: str) -> BitConfig:
    """Return the configuration that gives every layer the same bits, activations signed where they must be."""
    weight, rest = text.split("*int")
    signed = bench.network.signed_inputs()
    return bit_config(
        (name, LayerBits.parse(f"{weight}*{'' if negative else 'u'}int{rest}", negative))
        for name, negative in signed.items()
    )


def _run(
    bench: Bench, layer: str, weight: str, activation: int
) -> tuple[QuantizedNetwork, IntegerLayer, IntArray, IntArray]:
    """Return the network in these formats whose sums do not overflow, and the layer with its input and output on images."""
    network = _network(bench, weight, activation, SAFE, "wrap")
    seen: list[tuple[IntegerLayer, IntArray, IntArray]] = []

    def visit(item: IntegerLayer, inputs: tuple[IntArray, ...], output: IntArray, overflowed: Any) -> None:
        if item.layer.name == layer:
            seen.append((item, inputs[0], output))

    run(network, bench.test.images[:ENERGY_IMAGES], visit)
    return network, *seen[0]


def _explored(results: Results) -> list[list[float]]:
    """Return the designs of an exploration, each [accuracy lost, gates, whether it is on the front of both]."""
    objectives = ("accuracy_loss", "gates")
    front = {e.point.key() for e in pareto_front(results.evaluations, objectives)}
    return [
        [*(round(METRICS[name].of(e), 4) for name in objectives), int(e.point.key() in front)]
        for e in results.evaluations
    ]


def _uniform(bench: Bench, choices: Mapping[str, Mapping[str, Any]]) -> list[list[float]]:
    """Return the page's own choices likewise."""
    lost = 100 * np.array([bench.float_correct - c["correct"] for c in choices.values()]) / len(bench.test)
    points = np.stack([lost.round(4), [c["network_gates"] for c in choices.values()]], axis=1)
    front = set(nondominated(points).tolist())
    return [[*point, int(k in front)] for k, point in enumerate(points.tolist())]
