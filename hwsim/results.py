"""An exploration's folder: everything measured as plain data, and the report drawn from it alone."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from hwsim import files
from hwsim.cost import characterisation, yosys
from hwsim.cost.technology import technology
from hwsim.errors import HwsimError
from hwsim.explore.attempt import Progress, SetAside
from hwsim.explore.bench import COMPARED_IMAGES, Bench, point_bits
from hwsim.explore.evaluation import DesignPoint, Evaluation, pareto_front, plain
from hwsim.explore.explain import explain
from hwsim.explore.explanation import Beliefs, Explanation
from hwsim.explore.exploration import Explored
from hwsim.explore.study import HardwareTable, Study
from hwsim.report import ArrayFacts, StudyFacts, write_report
from hwsim.report.compare import write_comparison

RESULTS = "results.json"


@dataclass(frozen=True)
class Results:
    """What an exploration's folder holds: facts of the study, everything measured, in order, and what explains the front.

    ``explanations`` are by the key of a design point; ``beliefs`` are there where the search had a model.
    """

    facts: StudyFacts
    evaluations: list[Evaluation]
    explanations: dict[str, Explanation] = field(default_factory=dict)
    beliefs: Beliefs | None = None
    set_aside: tuple[SetAside, ...] = ()


EXPLAINING = "explain the front"
"""The stage of an exploration after its evaluations, as its progress names it."""


def write_results(
    explored: Explored,
    directory: Path,
    command: str = "",
    *,
    progress: Progress = lambda stage, done, planned: None,
) -> Path:
    """Write the evaluations and the front's bit configurations, draw the report and return the page's path.

    The data hold no clock, host or path besides ``command``, so that the same study gives the same bytes.
    """
    facts = _facts(explored, directory, command)
    for evaluation in explored.front:
        files.write(_bits_path(directory, evaluation), point_bits(evaluation.point).to_toml())
    explanations = _explanations(explored, progress)
    guided = explored.beliefs
    fields = plain(Results(facts, explored.evaluations, explanations, guided, explored.set_aside))
    if guided is None:
        del fields["beliefs"]
    if not explored.set_aside:
        del fields["set_aside"]
    text = json.dumps(fields, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    files.write(directory / RESULTS, text.encode(errors="replace"))  # a path's bytes need be no text
    return write_report(directory, explored.evaluations, facts, explanations, guided)


def _explanations(explored: Explored, progress: Progress) -> dict[str, Explanation]:
    found: dict[str, Explanation] = {}
    for evaluation in explored.front:
        progress(EXPLAINING, len(found), len(explored.front))
        found[evaluation.point.key()] = explain(explored.bench, evaluation)
    progress(EXPLAINING, len(found), len(found))
    return found


def redraw_report(directory: Path) -> Path:
    """Draw the report of a folder again from its results; raises :class:`HwsimError` where they are missing or damaged."""
    results = read_results(directory)
    return write_report(directory, results.evaluations, results.facts, results.explanations, results.beliefs)


def compare_reports(directories: Sequence[Path], output: Path) -> Path:
    """Draw the fronts of several explorations' folders on one page in ``output`` and return the page's path.

    Raises :class:`HwsimError` where results are missing or damaged, share no two objectives, or lie in ``output``.
    """
    if (output / RESULTS).exists():
        raise HwsimError(
            f'"{output}" is the folder of an exploration, whose page this would replace; choose another'
        )
    read = [read_results(directory) for directory in directories]
    return write_comparison(output, [(results.facts, results.evaluations) for results in read])


def read_results(directory: Path) -> Results:
    """Return what an exploration's folder holds; raises :class:`HwsimError` where it is missing or damaged."""
    way_out = "give a folder that hwsim explore wrote, or let it end there: it reuses its store"
    content = files.read(directory / RESULTS, "results file", way_out)
    try:
        return TypeAdapter(Results).validate_json(content, strict=True)
    except ValidationError as error:
        raise HwsimError(
            f'"{directory / RESULTS}" is damaged ({error.errors()[0]["msg"]}); run hwsim explore again, it reuses its store'
        ) from None


def find_point(results: Results, key: str) -> Evaluation:
    """Return the evaluation of a design point by its key or the beginning of it, which must be that of one point alone."""
    found = [e for e in results.evaluations if e.point.key().startswith(key)]
    if len(found) == 1:
        return found[0]
    front = [e.point.key() for e in pareto_front(results.evaluations, results.facts.objectives)]
    shown = ", ".join([e.point.key() for e in found] if key and found else front)
    why = f"{len(found)} design points have keys that begin so" if found else "no design point has this key"
    raise HwsimError(f'"{key}" names no design point: {why}; give one of {shown}')


def _bits_path(directory: Path, evaluation: Evaluation) -> Path:
    return directory / "points" / f"{evaluation.point.key()}.toml"


def _facts(explored: Explored, directory: Path, command: str) -> StudyFacts:
    bench = explored.bench
    study = bench.study
    low = f"{bench.float_correct} of {len(bench.test.labels)}"
    return StudyFacts(
        title=study.title,
        model=bench.network.name,
        objectives=study.objectives,
        command=command,
        stamp=stamp(bench),
        rebuild={e.point.key(): _rebuild(study, e, directory) for e in explored.front},
        notes=(
            f"The float network is right on {low} test images; quantizers are calibrated on "
            f"{len(bench.calibration_split.labels)} other images. Accuracy is measured on the test split, which also "
            "ranked the points: the interval beside a point covers sampling, not that selection.",
            f"Gates: a layer-pipelined design at {study.hardware.clock_mhz:g} MHz and "
            f"{study.hardware.images_per_second:g} images a second; every layer owns as many copies of its circuits as "
            f"that pace needs, each synthesised for {technology(study.hardware.technology)}{_mapping_note(study)} with its "
            "synchronous reset, wires not counted.",
            _traffic_note(study),
            "Every point's accuracy is that of its circuits, compiled from the netlists: they computed every output of "
            f"every test image, and equal exact arithmetic at every output of the first {COMPARED_IMAGES} images.",
            "One trained network is shown; differences between quantizers at 2 and 3 bits vary with the training seed.",
            *(f"Set aside and in no figure: {item}." for item in explored.set_aside),
        ),
        array=_array(study.at(*study.places[0])),
    )


def stamp(bench: Bench) -> dict[str, str]:
    """Return what figures measured on a bench depend on: versions and tools here, digests of model and images, the seed."""
    study = bench.study
    return {
        "hwsim": version("hwsim"),
        **_synthesis_tool(),
        **{package: _release(package) for package in ("pyrtl", "numpy", "torch")},
        "model sha256": bench.network.digest(),
        "calibration": f"{len(bench.calibration_split.labels)} images, sha256 {bench.calibration_split.digest()}",
        "test": f"{len(bench.test.labels)} images, sha256 {bench.test.digest()}",
        "search": f"{study.search}, seed {study.seed}, budget {study.budget}",
    }


def _array(study: Study) -> ArrayFacts | None:
    if study.array is None:
        return None
    return ArrayFacts(study.array.rows, study.array.columns, study.hardware.clock_mhz, study.memory.bus_bits)


def _mapping_note(study: Study) -> str:
    mapping = study.hardware.mapping
    return "" if mapping == HardwareTable().mapping else f" at the {mapping} mapping point"


def _traffic_note(chosen: Study) -> str:
    study = chosen.at(*chosen.places[0])
    accelerator, memory = study.accelerator(), study.memory
    always = "each layer reads its input from and writes its output to external memory."
    if accelerator is None or study.array is None:
        return (
            f"Traffic: an on-chip buffer of {memory.buffer_bytes} bytes, bursts of {memory.burst_bits} bits, "
            f"loop order {memory.loop_order}; {always}"
        )
    array, sizes = accelerator.array, " and ".join(map(str, accelerator.hierarchy.buffers_bytes))
    grid = f"a {array.rows}x{array.columns} array with a stationary {array.dataflow}"
    buffers = f"on-chip buffers of {sizes} bytes"
    return (
        f"Traffic: {'the array that a point names' if chosen.space.arrays else grid}, "
        f"{'the buffers that it names' if chosen.space.buffers else buffers}, bursts of {memory.burst_bits} bits, each "
        f"layer by its tiling of least {study.array.minimise}; {always}"
    )


def _release(package: str) -> str:
    """Return a package's version without its build, which is the machine's and changes no result."""
    return version(package).partition("+")[0]


def _synthesis_tool() -> dict[str, str]:
    """Return what synthesises here: the package, a program (which names its build), or whose rows stand in for both."""
    tool = yosys.installed()
    if tool is None:
        return {"synthesis": f"kept rows of {characterisation.shipped().claims.tool}"}
    return {"synthesis": tool} if tool.endswith(")") else {"pyosys": _release("pyosys")}


def _rebuild(study: Study, evaluation: Evaluation, directory: Path) -> str:
    """Return the commands that write a point's integer network and run it on the study's test images."""
    bits, point, data = str(_bits_path(directory, evaluation)), evaluation.point, study.data
    quantize = ["hwsim", "quantize", study.model, "--bits", bits, "--quantizer", point.quantizer]
    quantize += _channels(study)
    quantize += _chosen("--calibration", data.calibration) + _chosen("--images", data.calibration_images)
    simulate = ["hwsim", "simulate", "net.safetensors", "--mac", point.datapath]
    simulate += _chosen("--data", data.test) + _chosen("--images", data.test_images)
    commands = [[*quantize, "-o", "net.safetensors"], simulate, *_traffic_command(study.of(point), point)]
    return " && ".join(map(shlex.join, commands))


def _channels(study: Study) -> list[str]:
    """Return the options that put channels into the groups of a study."""
    sizes = {
        name: ",".join(map(str, [given] if isinstance(given, int) else given))
        for name, given in study.space.channels.items()
    }
    return [word for name, text in sizes.items() for word in ("--channels", f"{name}={text}")]


def _traffic_command(study: Study, point: DesignPoint) -> list[list[str]]:
    """Return the command that counts what a point's network moves on the array and buffers that it chose, if it did."""
    accelerator = study.accelerator()
    if accelerator is None or not (point.array or point.buffers):
        return []
    array, memories = accelerator.array, accelerator.hierarchy
    command = ["hwsim", "traffic", "net.safetensors", "--array", f"{array.rows}x{array.columns}"]
    command += ["--dataflow", array.dataflow, "--buffer", ",".join(map(str, memories.buffers_bytes))]
    command += ["--bus", str(memories.bus_bits), "--burst", str(memories.burst_bytes)]
    command += [] if memories.double_buffered else ["--single-buffered"]
    return [[*command, "--minimise", study.minimise, "--clock", f"{study.hardware.clock_mhz:g}"]]


def _chosen(option: str, value: str | int) -> list[str]:
    return [option, str(value)] if value else []
