"""An exploration: the design points a search proposes, evaluated one by one and kept."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from hwsim import files
from hwsim.bits import BitConfig, LayerBits, bit_config
from hwsim.catalogue import call, file_digest, look_up
from hwsim.cost.compression import compress, float32_bytes, layer_bytes
from hwsim.cost.hardware import circuits as network_circuits
from hwsim.cost.memory.network import network_memory
from hwsim.cost.technology import technology
from hwsim.cost.traffic import LayerTraffic, traffic
from hwsim.data import Split, load_split
from hwsim.datapath import multiply_accumulate
from hwsim.errors import HwsimError
from hwsim.explore.evaluation import (
    EVALUATOR_VERSION,
    DesignPoint,
    Evaluation,
    LayerResult,
    pareto_front,
)
from hwsim.explore.search import SEARCHES, SearchSpace
from hwsim.explore.store import Store, open_store
from hwsim.formats import PowerOfTwo, parse_int, parse_weight
from hwsim.models import load_model
from hwsim.models.forward import accuracy as float_accuracy
from hwsim.network import FloatNetwork, QuantizedNetwork
from hwsim.quantize import Calibration, quantize
from hwsim.quantize.once import calibrate_once
from hwsim.quantize.settings import Settings
from hwsim.simulate.circuits import Circuits
from hwsim.simulate.inference import compute_layer, measure_accuracy
from hwsim.study import Study, read_study

STUDY, STORE = "study.toml", "evaluations.sqlite"
"""Files of an exploration's folder: the study with every default written out, and what was evaluated so far."""

BATCH = 8
"""Design points proposed at a time; part of the result, like the seed."""

LOADING, EVALUATING = "load", "evaluate design points"
"""Stages of an exploration, as its progress names them."""

COMPARED_IMAGES = 64
"""Test images, from the first on, for which each design point's circuits are compared with exact arithmetic."""


Progress = Callable[[str, int, int], None]
"""Called with a stage, what is done of it and what is planned."""


@dataclass(frozen=True)
class Explored:
    """All evaluations of a study in order, how many came from the store, and the study's bench."""

    evaluations: list[Evaluation]
    reused: int
    bench: Bench

    @property
    def front(self) -> list[Evaluation]:
        """The evaluations that no other dominates in the study's objectives."""
        return pareto_front(self.evaluations, self.bench.study.objectives)


@dataclass(frozen=True, eq=False)
class Bench:
    """What every evaluation of a study shares: the float network, its calibration and the test split."""

    study: Study
    network: FloatNetwork
    calibration_split: Split
    test: Split

    @cached_property
    def calibration(self) -> Calibration:
        return calibrate_once(self.network, self.calibration_split)

    @cached_property
    def float_correct(self) -> int:
        """Correct predictions of the float network on the test split."""
        return float_accuracy(self.network, self.test)[0]

    @cached_property
    def stamp(self) -> str:
        """Return the digest of everything besides the design point that a result depends on."""
        study = self.study
        facts = [
            EVALUATOR_VERSION,
            self.network.digest(),
            *(split.digest() for split in (self.calibration_split, self.test)),
            study.hardware.model_dump(),
            study.memory.model_dump(),
            *([] if study.array is None else [study.array.model_dump()]),
            technology(study.hardware.technology).digest,
            *(file_digest(name) for name in study.space.datapaths),
            *(file_digest(name) for text in study.space.quantizers for name in Settings.parse(text).methods),
        ]
        return hashlib.blake2b(json.dumps(facts).encode(), digest_size=16).hexdigest()

    def quantized(self, point: DesignPoint) -> QuantizedNetwork:
        """Return the integer network of a design point."""
        return quantize(
            self.network, point_bits(point), self.calibration, settings=Settings.parse(point.quantizer)
        )

    def evaluate(self, index: int, point: DesignPoint) -> Evaluation:
        """Measure one design point: the accuracy of its circuits, their cost, traffic and compressed file."""
        study = self.study
        network = self.quantized(point)
        circuits = Circuits(network, mac=point.datapath, threads=os.cpu_count() or 1)
        x, labels = self.test.images, self.test.labels
        accuracy = measure_accuracy(network, x, labels, compute=circuits.compute)
        few = slice(COMPARED_IMAGES)
        checked = measure_accuracy(
            network, x[few], labels[few], compute=circuits.compute, against=compute_layer
        )
        if checked.difference is not None:
            raise HwsimError(f"circuit and arithmetic differ at {point.label()}: {checked.difference}")
        parts = network_circuits(network, study.hardware.value(point.datapath))
        moved = {item.layer: item for item in study_traffic(study, network)}
        packed = layer_bytes(network)
        overflows = {item.layer: item for item in accuracy.overflows}
        rows = []
        for item in network.layers:
            name = item.layer.name
            over = overflows.get(name)
            rows.append(
                LayerResult(
                    name=name,
                    kind=item.layer.kind,
                    bits=str(item.bits) if item.bits else "",
                    output=str(item.output),
                    macs=item.layer.macs,
                    weights=0 if item.weight is None else item.weight.size,
                    parts=parts.get(name, ()),
                    weight_bytes=moved[name].weight_bytes if name in moved else 0,
                    input_bytes=moved[name].input_bytes if name in moved else 0,
                    output_bytes=moved[name].output_bytes if name in moved else 0,
                    file_bytes=packed.get(name, 0),
                    sums=over.sums if over else 0,
                    overflowed=over.overflowed if over else 0,
                )
            )
        return Evaluation(
            index=index,
            point=point,
            correct=accuracy.correct,
            images=accuracy.images,
            float_correct=self.float_correct,
            float32_bytes=float32_bytes(network),
            file_bytes=len(compress(network)),
            images_per_second=study.hardware.images_per_second,
            layers=tuple(rows),
            circuit_cycles=accuracy.images * sum(map(circuits.cycles, network.layers)),
            compared_images=checked.images,
        )


def study_traffic(study: Study, network: QuantizedNetwork) -> tuple[LayerTraffic, ...]:
    """Return every layer's bytes between external memory and the chip: on the study's array, if it has one."""
    accelerator = study.accelerator()
    if accelerator is None or study.array is None:
        return traffic(network, study.memory.value())
    return tuple(layer.dram_traffic for layer in network_memory(network, accelerator, study.array.minimise))


def point_bits(point: DesignPoint) -> BitConfig:
    """Return the bit configuration of a design point."""
    return bit_config((name, LayerBits.parse(text, signed=False)) for name, text in point.bits)


def open_bench(study: Study) -> Bench:
    """Load a study's network and splits."""
    network = load_model(study.model)
    data = study.data
    return Bench(
        study,
        network,
        _split(network, data.calibration, "calibration", data.calibration_images),
        _split(network, data.test, "test", data.test_images),
    )


def _split(network: FloatNetwork, given: str, split: str, limit: int) -> Split:
    name = given or network.data
    if not name:
        raise HwsimError(f'the model names no data set; give one: [data] {split} = "file.npz"')
    loaded = load_split(name, split, network.input_shape)
    loaded.check(network.input_shape, network.layers[-1].outputs)
    return loaded.part(slice(limit)) if limit else loaded


def search_space(study: Study, network: FloatNetwork) -> SearchSpace:
    """Return a study's choices for a network's layers; a fixed layer has one choice.

    Raises :class:`HwsimError` for bits that a layer cannot have or a datapath cannot be made for.
    """
    space, signed = study.space, network.signed_inputs()
    for name in space.fixed:
        if name not in signed:
            raise HwsimError(f'space.fixed names layer "{name}"; the network has {", ".join(signed)}')
    fixed = {name: _fixed(name, text, signed[name]) for name, text in space.fixed.items()}
    patterns = [
        (weight, bits, f"{accumulator}/{overflow}")
        for accumulator, weight, bits, overflow in itertools.product(
            sorted(space.accumulators, key=lambda text: -parse_int(text).bits),
            sorted(space.weights, key=_fewest_bits_last),
            sorted(space.activations, reverse=True),
            space.overflows,
        )
    ]

    def text(name: str, weight: str, bits: int, rest: str) -> str:
        if name in fixed:
            return fixed[name]
        activation = f"{'' if signed[name] else 'u'}int{bits}"
        return str(LayerBits.parse(f"{weight}*{activation}/{rest}", signed[name]))

    layers = tuple((name, tuple(dict.fromkeys(text(name, *p) for p in patterns))) for name in signed)
    for datapath, bits in itertools.product(
        space.datapaths, sorted({bits for _, texts in layers for bits in texts})
    ):
        multiply_accumulate(LayerBits.parse(bits, signed=False), datapath)
    return SearchSpace(
        layers=layers,
        patterns=tuple(dict.fromkeys(tuple(text(name, *p) for name in signed) for p in patterns)),
        datapaths=space.datapaths,
        quantizers=space.quantizers,
    )


def _fewest_bits_last(weight: str) -> tuple[int, bool]:
    form = parse_weight(weight)
    return (-form.bits, isinstance(form, PowerOfTwo))


def _fixed(name: str, text: str, signed: bool) -> str:
    try:
        return str(LayerBits.parse(text, signed))
    except HwsimError as error:
        raise HwsimError(f"space.fixed.{name}: {error}") from None


def explore(
    study: Study, directory: Path, *, progress: Progress = lambda stage, done, planned: None
) -> Explored:
    """Evaluate a study's budget of design points, keeping each in ``directory`` as soon as it is measured.

    What ``directory`` already holds is reused. A folder that holds another study, or files that are none of
    hwsim's, is refused.
    """
    refuse_other(study, directory)
    progress(LOADING, 0, 1)
    bench = open_bench(study)
    space = replace(search_space(study, bench.network), bench=bench)
    files.write(directory / STUDY, study.to_toml())
    progress(LOADING, 1, 1)
    planned = min(study.budget, space.size)
    evaluations: list[Evaluation] = []
    reused = 0
    with open_store(directory / STORE) as store:
        for point in _proposals(study, space, evaluations):
            progress(EVALUATING, len(evaluations), planned)
            evaluation = _stored(store, bench, point, len(evaluations))
            if evaluation is None:
                evaluation = bench.evaluate(len(evaluations), point)
                store.put(_key(bench, point), json.dumps(evaluation.to_json(), allow_nan=False))
            else:
                reused += 1
            evaluations.append(evaluation)
    progress(EVALUATING, len(evaluations), len(evaluations))
    return Explored(evaluations, reused, bench)


def _proposals(study: Study, space: SearchSpace, done: list[Evaluation]) -> Iterator[DesignPoint]:
    """Yield points batch by batch; the caller appends each one's evaluation to ``done`` before the next."""
    search = look_up("search", study.search, SEARCHES)
    while len(done) < study.budget:
        rng = np.random.default_rng([study.seed, len(done)])
        count = min(BATCH, study.budget - len(done))
        what = f'search "{study.search}"'
        batch = call(what, search, space, list(done), study.objectives, rng, count)
        if len(batch) > count or len({*batch, *(e.point for e in done)}) < len(batch) + len(done):
            raise HwsimError(f"{what} proposes a point again or more than {count}; propose new points only")
        if not batch:
            return
        yield from batch


def _key(bench: Bench, point: DesignPoint) -> str:
    return f"{bench.stamp}-{point.key()}"


def _stored(store: Store, bench: Bench, point: DesignPoint, index: int) -> Evaluation | None:
    text = store.get(_key(bench, point))
    return None if text is None else replace(_EVALUATION.validate_json(text), index=index)


_EVALUATION = TypeAdapter(Evaluation)


def refuse_other(study: Study, directory: Path) -> None:
    """Refuse a folder that holds another study, or files that are none of hwsim's; only the budget may differ."""
    if (directory / STUDY).exists():
        if not _same_but_budget(directory / STUDY, study):
            raise HwsimError(f'"{directory}" holds another study; choose another folder with -o or remove it')
    elif directory.exists() and (not directory.is_dir() or _holds_files(directory)):
        raise HwsimError(f'"{directory}" is not empty and holds no study; choose another folder with -o')


def _same_but_budget(path: Path, study: Study) -> bool:
    try:
        return read_study(path).model_copy(update={"budget": study.budget}) == study
    except HwsimError:
        return False


def _holds_files(directory: Path) -> bool:
    return any(not path.name.startswith(files.UNFINISHED) for path in directory.iterdir())
