"""What the page's scripts draw, as plain data: every design's values and bits, the curves of any two metrics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from hwsim.explore.evaluation import Evaluation, Metric, known_metrics
from hwsim.report import wording
from hwsim.report.section import bit_widths
from hwsim.report.tradeoffs import CLOSE_UP, Row, curve, knee
from hwsim.report.wording import caption, visible


@dataclass(frozen=True)
class Plotted:
    """The rows of one study and its name, for a page that shows one study or several side by side."""

    name: str
    rows: Sequence[Row]


def measured(listed: Sequence[Row]) -> list[Metric]:
    """Return the metrics that were measured: a technology without sizes has no area and no critical path."""
    unknown = {
        name
        for name, field in (
            ("area", "area_um2"),
            ("array_area", "area_um2"),
            ("critical_path", "critical_path_ps"),
        )
        if all(
            getattr(p, field) is None for r in listed for layer in r.evaluation.layers for p in layer.parts
        )
    }
    metrics = known_metrics(row.evaluation for row in listed)
    return [metric for name, metric in metrics.items() if name not in unknown or not listed]


def shown(texts: Iterable[str]) -> dict[str, str]:
    """Return how each datapath (with its array) or quantizer is called in the table; nothing where all points share one."""
    distinct = dict.fromkeys(texts)
    return wording.differing(distinct) if len(distinct) > 1 else {}


def plotted(studies: Sequence[Plotted], objectives: tuple[str, ...]) -> dict[str, Any]:
    """Return the data of the plots; ``curves`` has, for each pair of metrics and study, [indices, knee's or -1]."""
    listed = [row for study in studies for row in study.rows]
    metrics = measured(listed)
    names = [metric.name for metric in metrics]
    first = list(dict.fromkeys([*objectives, *names]))
    points = [row.evaluation.point for row in listed]
    datapaths = list(dict.fromkeys(point.hardware for point in points))
    quantizers = list(dict.fromkeys(point.quantizer for point in points))
    texts = list(dict.fromkeys(text for point in points for _, text in point.bits))
    return {
        "studies": [visible(study.name) for study in studies],
        "metrics": [*map(_metric, metrics), *({"name": "", **entry} for entry in _MEAN_BITS)],
        "objectives": [names.index(name) for name in objectives],
        "parallel": [*map(names.index, first[: len(objectives)]), *range(len(names), len(names) + 3)],
        "close_up": CLOSE_UP,
        "axes": [names.index(name) for name in (first[1], first[0], first[2])],
        "bits": [bit_widths(text) for text in texts],
        "points": [
            _point(row, number, names, datapaths, quantizers, texts)
            for number, study in enumerate(studies)
            for row in study.rows
        ],
        "datapaths": list(map(visible, datapaths)),
        "quantizers": list(map(visible, quantizers)),
        "quantizer_words": [visible(shown(quantizers).get(text, text)) for text in quantizers],
        "curves": _curves(studies, names),
    }


def _curves(studies: Sequence[Plotted], names: list[str]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for x, y in combinations(names, 2):
        start, pair = 0, []
        for study in studies:
            bend = knee(study.rows, x, y)
            ids = [start + i for i in curve(study.rows, x, y)]
            pair.append([ids, -1 if bend is None else start + bend])
            start += len(study.rows)
        found[f"{names.index(x)} {names.index(y)}"] = pair
    return found


def _metric(metric: Metric) -> dict[str, Any]:
    return {
        "name": metric.name,
        "caption": caption(metric),
        "unit": wording.unit(metric),
        "better": metric.better,
    }


_MEAN_BITS = (
    {"caption": "Weight bits, mean", "unit": "", "better": ""},
    {"caption": "Activation bits, mean", "unit": "", "better": ""},
    {"caption": "Accumulator bits, mean", "unit": "", "better": ""},
)


def mean_bits(evaluation: Evaluation) -> tuple[float, float, float]:
    """Return the mean bits of weights, each counted once, and of activations and accumulators, each multiply-accumulate once."""
    rows = [(bit_widths(layer.bits), layer) for layer in evaluation.layers]
    known = [(bits, layer.weights, layer.macs) for bits, layer in rows if bits]
    weights, macs = sum(count for _, count, _ in known) or 1, sum(count for _, _, count in known) or 1
    return (
        sum(bits[0] * count for bits, count, _ in known) / weights,
        sum(bits[1] * count for bits, _, count in known) / macs,
        sum(bits[2] * count for bits, _, count in known) / macs,
    )


def _point(
    row: Row, study: int, names: list[str], datapaths: list[str], quantizers: list[str], texts: list[str]
) -> dict[str, Any]:
    evaluation = row.evaluation
    point = evaluation.point
    values = [*map(row.values.__getitem__, names), *mean_bits(evaluation)]
    beaten = f"{'equal to' if row.equal else 'beaten by'} {row.beaten_by}"
    return {
        "key": row.key,
        "name": row.name,
        "study": study,
        "front": int(row.on_front),
        "status": "on the front" if row.on_front else beaten,
        "values": [float(f"{value:.8g}") for value in values],
        "interval": [round(bound, 4) for bound in evaluation.interval],
        "datapath": datapaths.index(point.hardware),
        "quantizer": quantizers.index(point.quantizer),
        "bits": [texts.index(text) for _, text in point.bits],
        "words": visible(wording.short_bits(point)),
    }
