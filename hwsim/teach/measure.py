"""What the teaching page shows, measured: every choice's sum on its circuit, its cost, and its network's accuracy.

The layer is the classifier of the digits network. A choice gives all layers of the network the same bits.
"""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Callable, Mapping, Sequence
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
from hwsim.errors import HwsimError
from hwsim.explore.bench import Bench, open_bench
from hwsim.explore.evaluation import METRICS, pareto_front
from hwsim.explore.folder import STUDY
from hwsim.explore.study import read_study
from hwsim.formats import IntArray, parse_format
from hwsim.network import IntegerLayer, QuantizedNetwork
from hwsim.quantize import quantize
from hwsim.quantize.settings import Settings
from hwsim.quantize.weights import quantize_weight
from hwsim.results import read_results, stamp
from hwsim.simulate import circuit
from hwsim.simulate.inference import measure_accuracy, run
from hwsim.simulate.replay import SIMULATORS, runs

MODEL, LAYER = "digits", "classifier"
WEIGHTS = ("int2", "int3", "int4", "int6", "int8", "pow2x3", "pow2x4")
ACTIVATIONS = (2, 4, 8)
ACCUMULATORS = (12, 16, 32)
OVERFLOWS = ("wrap", "saturate")
SAFE = 32
"""Accumulator bits of the layers before the sum that is shown, which none of its choices overflows."""

SETTINGS = Settings.parse("activations=aciq_laplace")

IMAGE = 0
"""The test image whose sum is shown: that of its true class."""

ENERGY_IMAGES = 16
"""Images whose sums of that kind the energy of an operation is the mean over."""

Progress = Callable[[str, int, int], None]


def key(weight: str, activation: int, accumulator: int, overflow: str) -> str:
    """Return a choice as text: ``int4*8/16/wrap``."""
    return f"{weight}*{activation}/{accumulator}/{overflow}"


def measure(folder: Path, progress: Progress = lambda stage, done, planned: None) -> dict[str, Any]:
    """Return the page's data, measured; ``folder`` is an exploration of the digits network, whose points are shown.

    Every sum is PyRTL's simulation of the circuit, behind layers whose accumulators hold all of their sums; gates and delay are its synthesis, energy that of the mapped
    netlist on the sums of the first 16 test images, accuracy that of exact arithmetic on the whole test split, which
    hwsim simulate holds against the circuits. The network's gates are counted as the exploration's study counts them.
    """
    bench = open_bench(read_study(folder / STUDY))
    if bench.network.name != MODEL:
        raise HwsimError(f'"{folder}" explores {bench.network.name}; the page shows {MODEL}')
    label = int(bench.test.labels[IMAGE])
    weight = bench.network.parameters[f"{LAYER}.weight"]
    formats = list(itertools.product(WEIGHTS, ACTIVATIONS))
    operands: dict[str, dict[str, list[int]]] = {}
    choices: dict[str, dict[str, Any]] = {}
    for done, read in enumerate(formats):
        progress("measure formats", done, len(formats))
        streams = _streams(bench, *read)
        operands["{}*{}".format(*read)] = {name: row.tolist() for name, row in _shown(streams).items()}
        for rest in itertools.product(ACCUMULATORS, OVERFLOWS):
            choices[key(*read, *rest)] = _choice(bench, streams, *read, *rest)
    progress("measure formats", len(formats), len(formats))
    return {
        "model": MODEL,
        "layer": LAYER,
        "label": label,
        "image": bench.test.images[IMAGE : IMAGE + 1][0, :, :, 0].tolist(),
        "images": len(bench.test),
        "float_correct": bench.float_correct,
        "weights": np.sort(_normalised(weight)).round(4).tolist(),
        "levels": {name: _levels(weight, name) for name in WEIGHTS},
        "operands": operands,
        "choices": choices,
        "study": _study(folder),
        "technology": str(technology(bench.study.hardware.technology)),
        "stamp": stamp(bench) | {"quantizer": str(SETTINGS)},
    }


def _normalised(weight: Any) -> Any:
    """Return weights as shares of the largest magnitude in their output channel, which min-max makes the last level."""
    rows = weight.reshape(len(weight), -1)
    return (rows / np.abs(rows).max(axis=1, keepdims=True)).ravel()


def _levels(weight: Any, name: str) -> dict[str, Any]:
    """Return the levels of a format as those shares, and how many weights take each."""
    integers = quantize_weight(weight, parse_format(name), SETTINGS)
    rows = weight.reshape(len(weight), -1)
    real = integers.real.reshape(rows.shape) / np.abs(rows).max(axis=1, keepdims=True)
    codes = integers.values.reshape(rows.shape)
    taken, counts = np.unique(codes, return_counts=True)
    places = [float(real[codes == code].mean()) for code in taken]
    error = float(np.sqrt(np.mean((real - rows / np.abs(rows).max(axis=1, keepdims=True)) ** 2)))
    return {
        "codes": taken.tolist(),
        "places": np.round(places, 5).tolist(),
        "counts": counts.tolist(),
        "error": round(error, 5),
    }


def _streams(bench: Bench, weight: str, activation: int) -> dict[str, IntArray]:
    """Return what the shown sums of the first images read, int64 [products, images], where no layer before overflows."""
    network = _network(bench, weight, activation, SAFE, "wrap")
    item, x, output = _last(network, bench.test.images[:ENERGY_IMAGES])
    labels = bench.test.labels[:ENERGY_IMAGES]
    places = np.stack([np.arange(len(labels)), labels, 0 * labels, 0 * labels], axis=1)
    mac = parts(item, network.formats(), network.rounding)["mac"]
    (ran,) = runs(item, {"mac": mac}, (x,), output, places, SIMULATORS["pyrtl"])
    return ran.streams


def _choice(
    bench: Bench,
    streams: Mapping[str, IntArray],
    weight: str,
    activation: int,
    accumulator: int,
    overflow: str,
) -> dict[str, Any]:
    """Return what one choice measures; ``streams`` are those of its weights and activations."""
    network = _network(bench, weight, activation, accumulator, overflow)
    item = next(item for item in network.layers if item.layer.name == LAYER)
    mac = parts(item, network.formats(), network.rounding)["mac"]
    hardware = bench.study.hardware
    cost = synthesize(mac, hardware.technology)
    energy = circuit_energy(
        mac, technology(hardware.technology), in_place(mac, streams), clock_mhz=hardware.clock_mhz
    )
    accuracy = measure_accuracy(network, bench.test.images, bench.test.labels)
    priced = circuits(network, hardware.value("mac"))
    return {
        "sum": circuit.run(mac, _shown(streams))["accumulator"].tolist(),
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


def _shown(streams: Mapping[str, IntArray]) -> dict[str, IntArray]:
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


def _last(network: QuantizedNetwork, images: Any) -> tuple[IntegerLayer, IntArray, IntArray]:
    """Return the layer that the page shows with its input and output on images."""
    seen: list[tuple[IntegerLayer, IntArray, IntArray]] = []

    def visit(item: IntegerLayer, inputs: tuple[IntArray, ...], output: IntArray, overflowed: Any) -> None:
        if item.layer.name == LAYER:
            seen.append((item, inputs[0], output))

    run(network, images, visit)
    return seen[0]


def _study(folder: Path) -> dict[str, Any]:
    """Return the points of an exploration: accuracy lost, gates, and whether they are on the front; the commands of all."""
    results = read_results(folder)
    objectives: Sequence[str] = ("accuracy_loss", "gates")
    front = {e.point.key() for e in pareto_front(results.evaluations, tuple(objectives))}
    points = [
        [round(METRICS[name].of(e), 4) for name in objectives] + [int(e.point.key() in front)]
        for e in results.evaluations
    ]
    commands = [results.facts.command, shlex.join(["hwsim", "teach", "--measure", str(folder)])]
    return {"title": results.facts.title, "points": points, "commands": commands}
