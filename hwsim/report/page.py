"""The report as one HTML file that needs no network: drawn from a template, with its data and scripts inside."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import accumulate, combinations
from typing import TYPE_CHECKING, Any

import plotly.offline
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hwsim.explore.evaluation import METRICS, LayerResult, Metric, Part, traffic_bytes
from hwsim.report import wording
from hwsim.report.tradeoffs import (
    CLOSE_UP,
    Choice,
    Row,
    choices,
    curve,
    front_order,
    gain,
    knee,
    price,
    reference,
)
from hwsim.report.wording import TIMES, caption, number, quantity, visible

if TYPE_CHECKING:
    from hwsim.report import StudyFacts

PARTS = ("mac", "requantize", "add", "max_pool", "average_pool")
OTHER = "other"
TRAFFIC = ("weights", "inputs", "outputs")


def page(listed: Sequence[Row], study: StudyFacts) -> str:
    """Return the report of a study's rows as HTML."""
    scripts = [_script(plotly.offline.get_plotlyjs()), _script(_packaged("page.js"))]
    front = front_order(listed, study.objectives)
    base = reference(listed) if listed else None
    points = [r.evaluation.point for r in listed]
    metrics = _metrics(listed)
    return (
        _environment()
        .get_template("page.html")
        .render(
            study=study,
            listed=listed,
            front=front,
            sections=[_section(row) for row in front],
            scales=_scales(front),
            base=base,
            choices=choices(listed, study.objectives) if listed else [],
            price=price(study.objectives),
            close_up=CLOSE_UP,
            metrics=metrics,
            objectives=[METRICS[name] for name in study.objectives],
            others=[metric for metric in metrics if metric.name not in study.objectives],
            datapaths=_shown(p.datapath for p in points),
            quantizers=_shown(p.quantizer for p in points),
            beaters={row.name: row.key for row in front},
            circuits=_circuits(front),
            data=_json(_data(listed, metrics, study.objectives)),
            style=_markup(_packaged("page.css")),
            scripts=scripts,
            hashes=" ".join(f"'sha256-{_digest(script)}'" for script in scripts),
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("hwsim.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: visible(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "caption": caption,
        "quantity": lambda metric, row: quantity(metric, row.values[metric.name]),
        "figure": lambda metric, row: wording.figure(metric, row.values[metric.name]),
        "short_bits": lambda row: wording.short_bits(row.evaluation.point),
        "unit": wording.unit,
    }
    environment.globals |= {
        "gain": _gain_words,
        "sentence": _sentence,
        "strip": _strip,
        "traffic": traffic_bytes,
    }
    return environment


def _packaged(name: str) -> str:
    return (resources.files("hwsim.report") / name).read_text(encoding="utf-8")


def _script(text: str) -> Markup:
    """Return a script of ours or a package's as it stands; one that would end its own element is refused."""
    if "</script" in text.lower() or "<!--" in text or "\r" in text:
        raise ValueError("a script that holds </script, <!-- or a carriage return cannot stand in a page")
    return _markup(text)


def _markup(text: str) -> Markup:
    """Return markup as it stands: only for what this module made of numbers, or packaged, or escaped itself."""
    return Markup(text)  # noqa: S704


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


_ESCAPES = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}


def _json(data: dict[str, Any]) -> Markup:
    """Return data as JSON in ASCII that no HTML parser reads anything into."""
    return _markup(json.dumps(data, separators=(",", ":"), allow_nan=False).translate(_ESCAPES))


def _metrics(listed: Sequence[Row]) -> list[Metric]:
    """Return the metrics that were measured: a technology without sizes has no area and no critical path."""
    unknown = {
        name
        for name, field in (("area", "area_um2"), ("critical_path", "critical_path_ps"))
        if all(
            getattr(p, field) is None for r in listed for layer in r.evaluation.layers for p in layer.parts
        )
    }
    return [metric for name, metric in METRICS.items() if name not in unknown or not listed]


def _shown(texts: Iterable[str]) -> dict[str, str]:
    """Return how each datapath or quantizer is called in the table; nothing where all points share one."""
    distinct = dict.fromkeys(texts)
    return wording.differing(distinct) if len(distinct) > 1 else {}


# What the plot draws


def _data(listed: Sequence[Row], metrics: Sequence[Metric], objectives: tuple[str, ...]) -> dict[str, Any]:
    """Return what the plot needs; a curve is [indices, index of the knee or -1] for each pair of metrics."""
    names = [metric.name for metric in metrics]
    first = list(dict.fromkeys([*objectives, *names]))
    datapaths = list(dict.fromkeys(r.evaluation.point.datapath for r in listed))
    quantizers = list(dict.fromkeys(r.evaluation.point.quantizer for r in listed))
    curves = {}
    for x, y in combinations(names, 2):
        bend = knee(listed, x, y)
        curves[f"{names.index(x)} {names.index(y)}"] = [curve(listed, x, y), -1 if bend is None else bend]
    return {
        "metrics": [_metric(metric) for metric in metrics],
        "objectives": [names.index(name) for name in objectives],
        "parts": [*PARTS, OTHER],
        "traffic": TRAFFIC,
        "close_up": CLOSE_UP,
        "axes": [names.index(name) for name in (first[1], first[0], first[2])],
        "points": [_point(row, names, datapaths, quantizers) for row in listed],
        "datapaths": list(map(visible, datapaths)),
        "quantizers": list(map(visible, quantizers)),
        "quantizer_words": [visible(_shown(quantizers).get(text, text)) for text in quantizers],
        "curves": curves,
    }


def _metric(metric: Metric) -> dict[str, Any]:
    return {
        "name": metric.name,
        "caption": caption(metric),
        "unit": wording.unit(metric),
        "better": metric.better,
    }


def _point(row: Row, names: list[str], datapaths: list[str], quantizers: list[str]) -> dict[str, Any]:
    point = row.evaluation.point
    return {
        "key": row.key,
        "name": row.name,
        "front": int(row.on_front),
        "values": [float(f"{value:.8g}") for value in map(row.values.__getitem__, names)],
        "interval": [round(bound, 4) for bound in row.evaluation.interval],
        "datapath": datapaths.index(point.datapath),
        "quantizer": quantizers.index(point.quantizer),
    }


# What a section shows


@dataclass(frozen=True)
class Bar:
    """A stacked bar: its total and, as an HTML attribute, the running sums as CSS custom properties a to f."""

    total: float
    style: Markup


def _bar(named: Sequence[tuple[str, float]]) -> Bar:
    """Return the bar of (name, size) in their fixed order; what has no size is left out."""
    stops = zip("abcdef", accumulate(size for _, size in named), named, strict=False)
    style = ";".join(f"--{letter}:{stop:.0f}" for letter, stop, (_, size) in stops if size)
    return Bar(sum(size for _, size in named), _markup(f" style={style}") if style else Markup())


@dataclass(frozen=True)
class LayerRow:
    """A layer as a section shows it; ``widths`` are (bits, text) of weight, activation and accumulator."""

    result: LayerResult
    widths: tuple[tuple[int, str], ...]
    gates: Bar
    traffic: Bar


@dataclass(frozen=True)
class Section:
    """A front point as its section shows it."""

    row: Row
    spark: Markup
    layers: tuple[LayerRow, ...]
    gates: tuple[tuple[str, float], ...]
    traffic: tuple[tuple[str, float], ...]
    overflowed: int
    sums: int
    unproved: tuple[tuple[str, str], ...]
    proved: int


def _scales(front: Sequence[Row]) -> tuple[str, str]:
    """Return the gates and the traffic of the front's largest layer: the full length of all bars."""
    layers = [layer for row in front for layer in row.evaluation.layers]
    sizes = [[_bar(kind(layer)).total for layer in layers] for kind in (_layer_gates, _layer_traffic)]
    return f"{max([1, *sizes[0]]):.0f}", f"{max([1, *sizes[1]]):.0f}"


def _section(row: Row) -> Section:
    layers = row.evaluation.layers
    circuits = {
        (layer.name, part.part, part.circuit): part.equivalent for layer in layers for part in layer.parts
    }
    return Section(
        row,
        _spark([_widths(layer) for layer in layers]),
        tuple(
            LayerRow(layer, _widths(layer), _bar(_layer_gates(layer)), _bar(_layer_traffic(layer)))
            for layer in layers
        ),
        tuple(_gates_by_part(row).items()),
        tuple((name, sum(dict(_layer_traffic(layer))[name] for layer in layers)) for name in TRAFFIC),
        sum(layer.overflowed for layer in layers),
        sum(layer.sums for layer in layers),
        tuple((layer, circuit) for (layer, _, circuit), proved in circuits.items() if not proved),
        len({circuit for (_, _, circuit), proved in circuits.items() if proved}),
    )


def _widths(layer: LayerResult) -> tuple[tuple[int, str], ...]:
    bits = wording.layer_bits(layer.bits)
    if bits is None:
        return ()
    tail = "" if bits.overflow == "wrap" else " sat"
    return (
        (bits.weight.bits, str(bits.weight)),
        (bits.activation.bits, str(bits.activation)),
        (bits.accumulator.bits, f"{bits.accumulator}{tail}"),
    )


def _spark(widths: Sequence[tuple[tuple[int, str], ...]]) -> Markup:
    """Return a small drawing of the bits: a column a layer, weight bits upwards, activation bits downwards."""
    columns = [
        (6 * i + 3, weight, activation)
        for i, ((weight, _), (activation, _), _) in enumerate(filter(None, widths))
    ]
    if not columns:
        return Markup()
    up = "".join(f"M{x} 8v-{weight}" for x, weight, _ in columns)
    down = "".join(f"M{x} 9v{activation}" for x, _, activation in columns)
    box = f"0 0 {6 * len(columns)} 17"
    return _markup(
        f'<svg class=spark aria-hidden=true viewBox="{box}"><path d="{up}"/><path class=a d="{down}"/></svg>'
    )


def _layer_gates(layer: LayerResult) -> list[tuple[str, float]]:
    sizes = dict.fromkeys((*PARTS, OTHER), 0.0)
    for part in layer.parts:
        sizes[part.part if part.part in PARTS else OTHER] += part.count * part.nand2_equivalents
    return list(sizes.items())


def _layer_traffic(layer: LayerResult) -> list[tuple[str, float]]:
    return list(zip(TRAFFIC, (layer.weight_bytes, layer.input_bytes, layer.output_bytes), strict=True))


def _gates_by_part(row: Row) -> dict[str, float]:
    """Return the gates of each part that a point has."""
    sizes: dict[str, float] = {}
    for layer in row.evaluation.layers:
        for name, size in _layer_gates(layer):
            sizes[name] = sizes.get(name, 0.0) + size
    return {name: size for name, size in sizes.items() if size}


@dataclass(frozen=True)
class Circuit:
    """A circuit that designs of the front use: one part, how many of the designs use it."""

    part: Part
    designs: int


def _circuits(front: Sequence[Row]) -> list[Circuit]:
    """Return the distinct circuits of the front in order of part and name."""
    users: dict[tuple[str, str], tuple[Part, set[str]]] = {}
    for row in front:
        for layer in row.evaluation.layers:
            for part in layer.parts:
                users.setdefault((part.part, part.circuit), (part, set()))[1].add(row.key)
    return [Circuit(part, len(keys)) for _, (part, keys) in sorted(users.items(), key=lambda item: item[0])]


# Words and small drawings

_COMPARATIVES = {
    "gates": ("fewer gates", "more gates"),
    "bandwidth": ("less memory traffic", "more memory traffic"),
    "compression_ratio": ("smaller file", "larger file"),
    "file_bytes": ("smaller file", "larger file"),
    "flip_flops": ("fewer flip-flops", "more flip-flops"),
    "area": ("less area", "more area"),
}


def _gain_words(metric: Metric, row: Row, base: Row) -> str:
    """Return ``2.3x fewer gates``; "" for accuracies, for equal values and where a ratio is not defined."""
    ratio = gain(row, base, metric.name)
    if ratio is None or metric.name not in _COMPARATIVES or f"{ratio:.2f}" == "1.00":
        return ""
    better, worse = _COMPARATIVES[metric.name]
    return f"{ratio:.1f}{TIMES} {better}" if ratio > 1 else f"{1 / ratio:.1f}{TIMES} {worse}"


def _sentence(choice: Choice, base: Row, objectives: Sequence[Metric]) -> str:
    """Return what a choice wins over the reference, in words."""
    if choice.row.key == base.key:
        return "is the reference itself: nothing cheaper was found at this loss"
    *most, last = [words for words in (_gain_words(m, choice.row, base) for m in objectives) if words] or [""]
    listed = f"{', '.join(most)} and {last}" if most else last
    return f"has {listed} than {base.name}" if listed else f"costs the same as {base.name}"


def _strip(row: Row) -> dict[str, float]:
    """Return where a drawing of 0 to 100 wide puts a point's accuracy, its interval and the float accuracy.

    The left end is ten points below the float network's accuracy, or further down where the interval is.
    """
    e = row.evaluation
    low, high = e.interval
    floating = 100 * e.float_correct / e.images
    left = float(max(0, math.floor(min(low - 1, floating - 10))))
    place = {"low": low, "high": high, "accuracy": row.values["accuracy"], "float": floating}
    return {name: round(100 * (value - left) / (100 - left), 2) for name, value in place.items()} | {
        "left": left
    }
