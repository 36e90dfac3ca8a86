"""Each layer's sensitivity as a still picture: weights and inputs apart, measured and estimated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hwsim.quantize.alone import Effect
from hwsim.report.figures import LINE, STYLE, vector_files

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5c6573", "#1d2430")
_LOWEST = 1e-9
"""Nats below which a divergence is drawn at the axis: a logarithm has no zero."""


def sensitivity_drawings(layers: Mapping[str, Mapping[str, Effect]], title: str) -> dict[str, bytes]:
    """Return the effects "weights FORMAT" and "input FORMAT" of each layer as ``svg`` and ``pdf``, the same bytes each time."""
    with matplotlib.rc_context(STYLE):
        drawn = Figure(figsize=(max(7.2, 2.5 + 0.32 * len(layers)), 7.2), layout="constrained")
        FigureCanvasAgg(drawn)
        both: list[Any] = list(drawn.subplots(2, sharex=True))
        for axes, part in zip(both, ("weights", "input"), strict=True):
            _draw(axes, layers, part)
        both[0].set_title(_plain(title), loc="left", fontsize=12, fontweight="bold", parse_math=False)
        both[1].set_xticks(range(len(layers)), [_plain(name) for name in layers], rotation=90, fontsize=8)
        for label in both[1].get_xticklabels():
            label.set_parse_math(False)
        return vector_files(drawn)


def _draw(axes: Any, layers: Mapping[str, Mapping[str, Effect]], part: str) -> None:
    formats = dict.fromkeys(
        _width(text) for found in layers.values() for text in found if text.startswith(part)
    )
    for colour, width in zip(_COLOURS * len(formats), formats, strict=False):
        effects = [
            (place, effect)
            for place, found in enumerate(layers.values())
            for text, effect in found.items()
            if text.startswith(part) and _width(text) == width
        ]
        places = [place for place, _ in effects]
        measured = [max(effect.divergence, _LOWEST) for _, effect in effects]
        estimated = [max(effect.estimated, _LOWEST) for _, effect in effects]
        axes.plot(places, measured, color=colour, lw=1, marker="o", ms=4, label=width)
        axes.plot(places, estimated, color=colour, lw=0, marker="o", ms=7, mfc="none", mew=0.8)
    axes.set_yscale("log")
    axes.set_ylabel(f"{part} quantized alone:\ndivergence of the output (nats)")
    axes.grid(color=LINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.legend(
        frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), title="dots: measured\nrings: estimated",
        title_fontsize=8,
    )  # fmt: skip


def _width(text: str) -> str:
    """Return the format of "weights int4" or, without its sign, of "input uint4"."""
    form = text.partition(" ")[2]
    return form.removeprefix("u") if text.startswith("input") else form


def _plain(text: str) -> str:
    """Return text in characters that the figure's font surely has."""
    plain = text.encode("latin-1", "replace").decode("latin-1")
    return "".join(c if c.isprintable() else "?" for c in plain)[:60]
