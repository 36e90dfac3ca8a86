"""The report as one HTML file that needs no network: drawn from templates, with its data and scripts inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hwsim import inline
from hwsim.explore.evaluation import METRICS, Metric, Part, traffic_bytes
from hwsim.explore.explanation import Beliefs, Explanation
from hwsim.report import wording
from hwsim.report.believed import believed
from hwsim.report.convergence import REFERENCE, convergence, hypervolume, scaled_costs
from hwsim.report.plotted import Plotted, measured, plotted, shown
from hwsim.report.roofline import roofline
from hwsim.report.section import STEPS, Section, sections
from hwsim.report.svg import accuracy_strip, markup, steps
from hwsim.report.tradeoffs import CLOSE_UP, Row, choices, front_order, gain, price, reference, thinned
from hwsim.report.wording import TIMES, caption, number, quantity, visible

if TYPE_CHECKING:
    from hwsim.report import StudyFacts

SCRIPTS = (
    "model",
    "scales",
    "drawing",
    "scatter",
    "explorer",
    "multiples",
    "parallel",
    "inspector",
    "table",
    "limits",
    "sections",
    "start",
)
"""The page's scripts in the order in which they run, as one function."""

MOST_BYTES = 6_000_000
"""What a page may take."""

MOST_ROWS = 2000
"""Designs that plots and table show at most."""

MOST_SECTIONS = 300
"""Designs of the front that have a section at most, if there is room."""


def page(
    listed: Sequence[Row],
    study: StudyFacts,
    explanations: Mapping[str, Explanation],
    beliefs: Beliefs | None = None,
) -> str:
    """Return the report of a study's rows as HTML."""
    front = front_order(listed, study.objectives)
    base = reference(listed) if listed else None
    chosen = choices(listed, study.objectives) if listed else []
    named = {choice.row.key for choice in chosen} | ({base.key} if base else set())
    values = {
        "study": study,
        "title": study.title,
        "every": listed,
        "front": front,
        "steps": STEPS,
        "base": base,
        "choices": chosen,
        "price": price(study.objectives),
        "circuits": _circuits(front),
        "believed": believed(beliefs, listed),
        "converged": _converged(listed, study.objectives),
        "reference_point": f"{REFERENCE:g}",
        **explorer([Plotted(study.title, thinned(listed, named, MOST_ROWS))], study.objectives),
    }

    def drawn(count: int) -> str:
        return _report(sections(thinned(front, named, count), explanations, study.array), values)

    return _longest(drawn, min(len(front), MOST_SECTIONS))


def _longest(drawn: Callable[[int], str], count: int) -> str:
    """Return what is drawn of ``count`` sections, or of as many as there is room for."""
    whole = drawn(count)
    bare = len(drawn(0).encode()) if len(whole.encode()) > MOST_BYTES else 0
    while count and (size := len(whole.encode())) > MOST_BYTES:
        count = max(0, min(count - 1, int(count * (MOST_BYTES - bare) / (size - bare))))
        whole = drawn(count)
    return whole


def _report(shown_sections: Sequence[Section], values: Mapping[str, Any]) -> str:
    drawings = dict.fromkeys(h.drawing for section in shown_sections for h in section.histograms)
    shapes = {drawing: number for number, drawing in enumerate(drawings)}
    explained = {section.row.key for section in shown_sections}
    return render("report.html", sections=shown_sections, shapes=shapes, explained=explained, **values)


def explorer(studies: Sequence[Plotted], objectives: tuple[str, ...]) -> dict[str, Any]:
    """Return what the plots and the table of all designs of some studies need."""
    listed = [row for study in studies for row in study.rows]
    metrics = measured(listed)
    return {
        "listed": listed,
        "beaters": {row.name: row.key for row in listed if row.on_front},
        "metrics": metrics,
        "objectives": [METRICS[name] for name in objectives],
        "others": [metric for metric in metrics if metric.name not in objectives],
        "limits": [METRICS[name] for name in dict.fromkeys((*objectives, "accuracy"))],
        "datapaths": shown(row.evaluation.point.hardware for row in listed),
        "quantizers": shown(row.evaluation.point.quantizer for row in listed),
        "close_up": CLOSE_UP,
        "data": markup(inline.data(plotted(studies, objectives))),
    }


def render(template: str, **values: Any) -> str:
    """Return a page under a policy that allows its one script, its one style sheet and nothing else."""
    scripts = "\n".join(_packaged(f"scripts/{name}.js") for name in SCRIPTS)
    script, style = markup(inline.script(scripts)), markup(_packaged("templates/page.css"))
    hashes = {"script_hash": inline.source(script), "style_hash": inline.source(style)}
    return _environment().get_template(template).render(script=script, style=style, **hashes, **values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("hwsim.report"),
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
        "signed": wording.signed,
    }
    environment.globals |= {
        "gain": _gain_words,
        "roofline": roofline,
        "accuracy_strip": accuracy_strip,
        "traffic": traffic_bytes,
    }
    return environment


def _packaged(name: str) -> str:
    return (resources.files("hwsim.report") / name).read_text(encoding="utf-8")


@dataclass(frozen=True)
class Converged:
    """The hypervolume over evaluations as a drawing, and after how many it reached half and 99% of the last."""

    drawing: Markup
    half: int
    nearly: int


def _converged(listed: Sequence[Row], objectives: tuple[str, ...]) -> Converged | None:
    if len(listed) < 3 or len(objectives) < 2:
        return None
    costs = scaled_costs([row.evaluation for row in listed], objectives)
    shares = convergence(costs, hypervolume(costs))
    drawing = steps([shares], "Hypervolume of the front over evaluations")
    half, nearly = (
        next(i for i, share in enumerate(shares, 1) if share >= reached) for reached in (0.5, 0.99)
    )
    return Converged(drawing, half, nearly)


@dataclass(frozen=True)
class Circuit:
    """A circuit that designs of the front use: one part, how many of the designs use it."""

    part: Part
    designs: int


def _circuits(front: Sequence[Row]) -> list[Circuit]:
    """Return the distinct circuits of the front in order of part and name."""
    users: dict[tuple[str, str], tuple[Part, set[str]]] = {}
    for row in front:
        for _, part in row.evaluation.parts:
            users.setdefault((part.part, part.circuit), (part, set()))[1].add(row.key)
    return [Circuit(part, len(keys)) for _, (part, keys) in sorted(users.items(), key=lambda item: item[0])]


_COMPARATIVES = {
    "gates": ("fewer gates", "more gates"),
    "bandwidth": ("less memory traffic", "more memory traffic"),
    "compression_ratio": ("smaller file", "larger file"),
    "file_bytes": ("smaller file", "larger file"),
    "flip_flops": ("fewer flip-flops", "more flip-flops"),
    "area": ("less area", "more area"),
    "latency": ("faster", "slower"),
    "buffer_bytes": ("smaller buffers", "larger buffers"),
    "array_gates": ("fewer gates", "more gates"),
    "array_area": ("less area", "more area"),
}


def _gain_words(metric: Metric, row: Row, base: Row) -> str:
    """Return ``2.3x fewer gates``; "" for accuracies, for values as good as equal and where a ratio is not defined."""
    ratio = gain(row, base, metric.name)
    if ratio is None or metric.name not in _COMPARATIVES or f"{max(ratio, 1 / ratio):.1f}" == "1.0":
        return ""
    better, worse = _COMPARATIVES[metric.name]
    return f"{ratio:.1f}{TIMES} {better}" if ratio > 1 else f"{1 / ratio:.1f}{TIMES} {worse}"
