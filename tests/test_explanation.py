"""What explains a front's designs: the price of one bit, the weights on their levels, accumulators no input overflows."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwsim.bits import LayerBits
from hwsim.certificate import witness
from hwsim.cost.configurations import stored_bits
from hwsim.cost.hardware import circuits
from hwsim.explore.bench import Bench, open_bench, study_traffic
from hwsim.explore.evaluation import DesignPoint, Evaluation
from hwsim.explore.explain import explain
from hwsim.explore.explanation import BINS, Explanation, Step
from hwsim.explore.study import Study
from hwsim.formats import Int
from hwsim.results import read_results, redraw_report

ROOT = Path(__file__).parent.parent
MIXED = ("int4*uint6/int16", "int3*uint4/int16", "int4*uint4/int20", "pow2x3*uint6/int16")


@pytest.fixture(scope="module")
def bench() -> Bench:
    study = Study.model_validate(
        {"title": "t", "model": "digits", "data": {"calibration_images": 16, "test_images": 8}}
    )
    return open_bench(study)


def design(bench: Bench, quantizer: str) -> DesignPoint:
    signs = bench.network.signed_inputs()
    texts = [MIXED[i % len(MIXED)] for i in range(len(signs))]
    bits = (
        (name, text.replace("*u", "*") if signed else text)
        for (name, signed), text in zip(signs.items(), texts, strict=True)
    )
    return DesignPoint(tuple(bits), "mac", quantizer)


def costs(bench: Bench, point: DesignPoint) -> tuple[float, int, int]:
    """Gates, bytes an image moves and stored bits of a design that is quantized and priced by itself."""
    network = bench.quantized(point)
    parts = circuits(network, bench.study.hardware.value(point.datapath)).values()
    moved = study_traffic(bench.study, network)
    return (
        sum(part.count * part.nand2_equivalents for layer in parts for part in layer),
        sum(layer.weight_bytes + layer.input_bytes + layer.output_bytes for layer in moved),
        sum(map(stored_bits, network.layers)),
    )


def changed(point: DesignPoint, step: Step) -> DesignPoint:
    def text(name: str, bits: str) -> str:
        parsed = LayerBits.parse(bits, signed=False)
        form = getattr(parsed, step.what)
        new = dataclasses.replace(parsed, **{step.what: dataclasses.replace(form, bits=form.bits + step.by)})
        return str(new) if name == step.layer else bits

    return dataclasses.replace(point, bits=tuple((name, text(name, bits)) for name, bits in point.bits))


@pytest.mark.parametrize(
    "quantizer",
    [
        "activations=aciq_laplace bias_correction=true",
        "activations=aciq_laplace activation_granularity=channel",
        "activations=aciq_laplace activation_granularity=channel activation_allocation=exact",
    ],
)
def test_a_step_changes_what_the_changed_design_costs_by_itself(bench: Bench, quantizer: str) -> None:
    point = design(bench, quantizer)
    steps = explain(bench, bench.evaluate(0, point)).steps
    own = costs(bench, point)
    assert len(steps) == 35 and {step.what for step in steps[28:]} == {"accumulator"}
    for step in [*steps[:4], *steps[9:13], *steps[25:28]]:
        other = costs(bench, changed(point, step))
        gates, moved, stored = (b - a for a, b in zip(own, other, strict=True))
        assert (step.gates, step.traffic_bytes, step.stored_bits) == (
            pytest.approx(gates, abs=0.01),
            moved,
            stored,
        )
        assert step.by * step.stored_bits >= 0 and (step.what == "activation" or step.by * step.gates > 0)


def test_a_bit_of_an_accumulator_is_the_mean_from_16_to_32_bits(bench: Bench) -> None:
    point = design(bench, "activations=min_max")
    found = [step for step in explain(bench, bench.evaluate(0, point)).steps if step.what == "accumulator"]
    assert [step.layer for step in found] == [name for name, _ in point.bits]
    for step in (found[0], found[3]):
        narrow, wide = (
            tuple((n, re.sub("int..$", f"int{width}", t) if n == step.layer else t) for n, t in point.bits)
            for width in (16, 32)
        )
        low, high = (costs(bench, dataclasses.replace(point, bits=bits)) for bits in (narrow, wide))
        assert step.gates == pytest.approx((high[0] - low[0]) / 16, abs=0.01) and step.gates > 0
        assert (step.by, step.traffic_bytes, step.stored_bits) == (1, 0, 0) and low[1:] == high[1:]


def test_a_format_without_room_has_no_step(bench: Bench) -> None:
    point = design(bench, "activations=min_max")
    narrow = tuple(
        (name, bits.replace("int4*", "int8*").replace("int3*", "int2*")) for name, bits in point.bits
    )
    steps = explain(bench, bench.evaluate(0, dataclasses.replace(point, bits=narrow))).steps
    formats = {name: LayerBits.parse(bits, signed=False).weight for name, bits in narrow}
    taken = {(step.layer, step.by) for step in steps if step.what == "weight"}
    for name, form in formats.items():
        assert ((name, 1) in taken) == (form != Int(8)) and ((name, -1) in taken) == (form != Int(2))


def test_costs_that_are_no_sums_over_layers_have_no_steps(bench: Bench) -> None:
    measured = bench.evaluate(0, design(bench, "activations=min_max"))
    half = explain(bench, dataclasses.replace(measured, point=design(bench, "placement=half")))
    assert half.steps == () and half.weights and half.safe_bits
    cheaper = dataclasses.replace(measured, layers=measured.layers[1:])
    assert explain(bench, measured).steps and not explain(bench, cheaper).steps


def test_every_weight_is_counted_and_what_rounds_to_zero_lies_within_half_a_step(bench: Bench) -> None:
    point = design(bench, "weights=mse granularity=tensor")
    network = bench.quantized(point)
    weights = {item.layer.name: item.weight for item in network.layers if item.weight is not None}
    explained = explain(bench, bench.evaluate(0, point)).weights
    assert [given.layer for given in explained] == list(weights)
    for given in explained:
        integers = weights[given.layer]
        counts = np.array(given.counts.split(), np.int64)
        edges = np.linspace(-given.edge, given.edge, BINS + 1)
        assert integers is not None and counts.sum() == integers.size and counts.size == BINS
        inside = counts[(edges[:-1] >= -0.5) & (edges[1:] <= 0.5)].sum()
        around = counts[(edges[1:] >= -0.5) & (edges[:-1] <= 0.5)].sum()
        assert inside <= (integers == 0).sum() <= around


@pytest.fixture(params=["digits", "resnet20-cifar10"])
def checked_in(request: Any) -> list[tuple[Evaluation, Explanation]]:
    results = read_results(ROOT / "reports" / request.param)
    by_key = {e.point.key(): e for e in results.evaluations}
    return [(by_key[key], explanation) for key, explanation in results.explanations.items()]


def test_accumulators_that_were_seen_to_overflow_are_not_called_safe(
    checked_in: list[tuple[Evaluation, Explanation]],
) -> None:
    assert checked_in
    for evaluation, explanation in checked_in:
        for layer in evaluation.layers:
            bits = LayerBits.parse(layer.bits, signed=False) if layer.bits else None
            if bits is not None and layer.overflowed:
                assert explanation.safe_bits[layer.name] > bits.accumulator.bits


def test_an_accumulator_one_bit_narrower_than_safe_has_an_input_that_overflows_it(bench: Bench) -> None:
    point = design(bench, "activations=min_max")
    safe = explain(bench, bench.evaluate(0, point)).safe_bits
    network = bench.quantized(point)
    for bits, overflows in ((0, False), (-1, True)):
        layers = tuple(
            item
            if item.bits is None
            else dataclasses.replace(
                item,
                bits=dataclasses.replace(item.bits, accumulator=Int(max(8, safe[item.layer.name] + bits))),
            )
            for item in network.layers
        )
        fitted = dataclasses.replace(network, layers=layers)
        for item in fitted.layers:
            if item.bits is not None and safe[item.layer.name] > 8:
                channels = range(item.layer.output_shape[0])
                found = any(witness(fitted, item.layer.name, c) is not None for c in channels)
                assert found == overflows


def test_results_without_explanations_are_still_drawn(tmp_path: Path) -> None:
    fields = json.loads((ROOT / "reports" / "digits" / "results.json").read_text())
    del fields["explanations"]
    (tmp_path / "results.json").write_text(json.dumps(fields))
    page = redraw_report(tmp_path).read_text()
    assert "One bit less or more" not in page and "What dominates" in page
