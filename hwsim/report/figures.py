"""The front as still pictures for papers and slides: SVG, PDF and PNG, byte for byte the same at every drawing."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from hwsim.explore.evaluation import METRICS, Metric
from hwsim.report.tradeoffs import CLOSE_UP, Row, curve, knee
from hwsim.report.wording import caption, number, unit

INK, SOFT, LINE, BLUE, ORANGE = "#1d2430", "#5c6573", "#dfe3e8", "#0072b2", "#d55e00"
KINDS = (BLUE, ORANGE, "#009e73", "#b0568c", "#b58900", "#59636f")
"""A colour for each study of a comparison."""
STYLE = {
    "svg.hashsalt": "hwsim",
    "svg.fonttype": "path",
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def drawings(listed: Sequence[Row], objectives: tuple[str, ...], title: str) -> Iterator[tuple[str, bytes]]:
    """Yield (file name, content) of the first accuracy objective, or the first, against every other objective."""
    yield from _against(objectives, lambda x, y: _draw(listed, x, y, title))


def comparisons(
    studies: Sequence[tuple[str, Sequence[Row]]], objectives: tuple[str, ...], title: str
) -> Iterator[tuple[str, bytes]]:
    """Yield the same figures of several studies, each (name, rows) with a front of its own."""
    yield from _against(objectives, lambda x, y: _draw_studies(studies, x, y, title))


def _against(objectives: tuple[str, ...], draw: Callable[[str, str], Figure]) -> Iterator[tuple[str, bytes]]:
    y = next((name for name in objectives if name == "accuracy_loss"), objectives[0])
    for x in objectives:
        if x != y:
            with matplotlib.rc_context(STYLE):
                drawn = draw(x, y)
                for kind in _UNDATED:
                    yield f"front_{x}.{kind}", encoded(drawn, kind)


_UNDATED = {"svg": "Date", "pdf": "CreationDate", "png": "Software"}
"""What a file of each kind would say of the moment or the program that wrote it."""


def encoded(drawn: Figure, kind: str) -> bytes:
    """Return a figure as the bytes of a file, ``svg``, ``pdf`` or ``png``, the same each time."""
    buffer = io.BytesIO()
    drawn.savefig(buffer, format=kind, dpi=160, metadata={_UNDATED[kind]: None})
    return buffer.getvalue()


def vector_files(drawn: Figure) -> dict[str, bytes]:
    """Return a figure as ``svg`` and ``pdf``, the same bytes each time."""
    return {kind: encoded(drawn, kind) for kind in ("svg", "pdf")}


def _draw(listed: Sequence[Row], x: str, y: str, title: str) -> Figure:
    drawn, axes = _canvas()
    styles: dict[bool, dict[str, Any]] = {
        False: {"s": 22, "color": SOFT, "alpha": 0.3, "linewidths": 0, "label": "beaten by another point"},
        True: {
            "s": 46,
            "color": BLUE,
            "edgecolors": "white",
            "linewidths": 0.9,
            "label": "Pareto front",
            "zorder": 3,
        },
    }
    for on_front, style in styles.items():
        chosen = [r for r in listed if r.on_front == on_front]
        if chosen:
            axes.scatter([r.values[x] for r in chosen], [r.values[y] for r in chosen], **style)
    _draw_curve(axes, listed, x, y)
    _dress(axes, x, y, _close_up(axes, listed, y), title)
    if listed:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    else:
        axes.text(0.5, 0.5, "no point was evaluated", transform=axes.transAxes, ha="center", color=SOFT)
    return drawn


def _draw_studies(studies: Sequence[tuple[str, Sequence[Row]]], x: str, y: str, title: str) -> Figure:
    drawn, axes = _canvas()
    for (name, listed), colour in zip(studies, KINDS, strict=False):
        for on_front, size in ((False, 18), (True, 40)):
            chosen = [row for row in listed if row.on_front == on_front]
            axes.scatter(
                [row.values[x] for row in chosen],
                [row.values[y] for row in chosen],
                s=size,
                color=colour,
                alpha=1.0 if on_front else 0.3,
                linewidths=0.9 if on_front else 0,
                edgecolors="white",
                zorder=3 if on_front else 2,
                label=_plain(f"{name[:66]} ({len(chosen)} on its front)") if on_front else None,
            )
        _step(axes, listed, x, y, colour)
    _dress(axes, x, y, _close_up(axes, [row for _, listed in studies for row in listed], y), title)
    legend = axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return drawn


def _canvas() -> tuple[Figure, Any]:
    drawn = Figure(figsize=(7.2, 4.6), layout="constrained")
    FigureCanvasAgg(drawn)
    return drawn, drawn.add_subplot()


def _dress(axes: Any, x: str, y: str, note: str, title: str) -> None:
    for axis, text in ((axes.xaxis, _axis_title(METRICS[x]) + note), (axes.yaxis, _axis_title(METRICS[y]))):
        axis.set_label_text(text)
        axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
        axis.set_tick_params(length=0)
    axes.grid(color=LINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_title(_plain(title), loc="left", fontsize=12, fontweight="bold", parse_math=False)


def _close_up(axes: Any, listed: Sequence[Row], y: str) -> str:
    """Limit an accuracy loss to CLOSE_UP points where some designs lose more; return what to say about these."""
    losses = [r.values[y] for r in listed]
    if y != "accuracy_loss" or not (losses and min(losses) < CLOSE_UP < max(losses)):
        return ""
    low = min(losses)
    beyond = sum(loss > CLOSE_UP for loss in losses)
    axes.set_ylim(low - 0.05 * (CLOSE_UP - low), CLOSE_UP)
    return f"\n{beyond} of {len(losses)} designs lose more than {CLOSE_UP:g} points and lie outside"


def _draw_curve(axes: Any, listed: Sequence[Row], x: str, y: str) -> None:
    """Join the points that no other beats in these two metrics, and mark the knee."""
    _step(axes, listed, x, y, BLUE, label="best of these two")
    bend = knee(listed, x, y)
    if bend is not None:
        row = listed[bend]
        place = (row.values[x], row.values[y])
        style = {
            "s": 110,
            "marker": "D",
            "facecolors": "none",
            "edgecolors": ORANGE,
            "linewidths": 1.8,
            "zorder": 4,
        }
        axes.scatter(*place, label=f"knee: {row.name}", **style)


def _step(axes: Any, listed: Sequence[Row], x: str, y: str, colour: str, **named: str) -> None:
    points = [listed[i] for i in curve(listed, x, y)]
    if len(points) > 1:
        where = "post" if METRICS[x].better == "lower" else "pre"
        axes.step(
            [r.values[x] for r in points],
            [r.values[y] for r in points],
            where=where,
            color=colour,
            lw=1.3,
            alpha=0.7,
            **named,
        )


def _axis_title(metric: Metric) -> str:
    return f"{caption(metric)} ({unit(metric)}), {metric.better} is better"


def _plain(text: str) -> str:
    """Return text in characters that the figures' font surely has."""
    return "".join(
        c if c.isprintable() else "?" for c in text.encode("latin-1", "replace").decode("latin-1")
    )[:90]
