"""Small drawings inside the page, as SVG made of numbers alone: bars, bits, accuracies, lines and points."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate

from markupsafe import Markup


def markup(text: str) -> Markup:
    """Return markup as it stands: only for what a module made of numbers, or packaged, or escaped itself."""
    return Markup(text)  # noqa: S704


def bar(named: Sequence[tuple[str, float]], longest: float) -> Markup:
    """Return a stacked bar of (class, size) out of ``longest``; what has no size is left out."""
    ends = [100 * end / longest for end in accumulate((size for _, size in named), initial=0.0)]
    pieces = [
        f"<path class={name} d=M{start:.4g},0H{end:.4g}V9H{start:.4g} />"
        for (name, size), start, end in zip(named, ends, ends[1:], strict=False)
        if size
    ]
    box = '<svg class=bar viewBox="0 0 100 9" preserveAspectRatio=none aria-hidden=true>'
    return markup(f"{box}{''.join(pieces)}</svg>" if pieces else "")


def spark(widths: Iterable[Sequence[int]]) -> Markup:
    """Return a column a layer: its weight bits upwards, its activation bits downwards."""
    columns = [(6 * i + 3, weight, activation) for i, (weight, activation, *_) in enumerate(widths)]
    if not columns:
        return Markup()
    up = "".join(f"M{x} 8v-{weight}" for x, weight, _ in columns)
    down = "".join(f"M{x} 9v{activation}" for x, _, activation in columns)
    box = f"0 0 {6 * len(columns)} 17"
    return markup(
        f'<svg class=spark aria-hidden=true viewBox="{box}"><path d="{up}"/><path class=a d="{down}"/></svg>'
    )


def histogram(counts: Sequence[int], edge: float, levels: Sequence[int]) -> Markup:
    """Return what a box of 192 by 53 shows: even bins from -``edge`` to ``edge`` as columns, square roots of counts high, and the levels as ticks below."""
    most = max([1, *counts]) ** 0.5
    width = 192 / max(1, len(counts))
    columns = "".join(
        f"M{width * i:.4g} 44v-{42 * count**0.5 / most:.3g}h{width:.4g}V44Z"
        for i, count in enumerate(counts)
        if count
    )
    ticks = "".join(f"M{96 + 96 * level / edge:.4g} 46v6" for level in levels)
    return markup(f'<path d="{columns}"/><path class=ticks d="{ticks}"/>')


def accuracy_strip(accuracy: float, interval: tuple[float, float], floating: float) -> tuple[Markup, float]:
    """Return an accuracy with its interval and the float network's as a drawing, and the axis's left end, in percent.

    The left end is ten points below the float network's accuracy, or further down where the interval is.
    """
    low, high = interval
    left = float(max(0, math.floor(min(low - 1, floating - 10))))
    at = {
        what: f"{400 * (value - left) / (100 - left):.2f}"
        for what, value in (("low", low), ("high", high), ("accuracy", accuracy), ("float", floating))
    }
    label = f"Accuracy {accuracy:.2f} percent, 95% interval {low:.2f} to {high:.2f} percent"
    return (
        markup(
            f'<svg viewBox="0 0 400 34" role="img" aria-label="{label}"><path class="axis" d="M0 17h400"/>'
            f'<path class="float" d="M{at["float"]} 4v26"/>'
            f'<path class="whisker" d="M{at["low"]} 17H{at["high"]}M{at["low"]} 11v12M{at["high"]} 11v12"/>'
            f'<circle cx="{at["accuracy"]}" cy="17" r="5.5"/></svg>'
        ),
        left,
    )


def steps(series: Sequence[Sequence[float]], label: str) -> Markup:
    """Return rising step lines, one a series, each value a share of 1 after so many evaluations."""
    longest = max((len(values) for values in series), default=0)
    if longest < 2:
        return Markup()
    low = min(min(values) for values in series)
    across = [f"{44 + 1046 * i / (longest - 1):.1f}" for i in range(longest)]
    grid = ""
    for percent in _ticks(100 * low, 100.0):
        y = _height(percent / 100, low)
        grid += f'<path d="M44 {y}H1090"/><text x="38" y="{float(y) + 4:.1f}" text-anchor="end">{percent:g}%</text>'
    for count in (1, *(int(tick) for tick in _ticks(2, longest) if tick == int(tick))):
        grid += f'<text x="{across[count - 1]}" y="220" text-anchor="middle">{count}</text>'
    lines = ""
    for number, values in enumerate(series):
        path = "".join(
            f"{'M' if not i else 'H'}{across[i]}{' ' if not i else 'V'}{_height(value, low)}"
            for i, value in enumerate(values)
        )
        lines += f'<path class="curve study-{number}" d="{path}"/>'
    return markup(
        f'<svg class="chart" viewBox="0 0 1100 246" role="img" aria-label="{label}"><g class="grid">{grid}</g>{lines}'
        '<text class="axis-title" x="567" y="241" text-anchor="middle">evaluations</text></svg>'
    )


_STEPS = [factor * 10.0**power for power in range(-4, 6) for factor in (1, 2, 5)]


def _ticks(low: float, high: float) -> list[float]:
    """Return the multiples of a round step from ``low`` to ``high``, six steps at most."""
    step = next(size for size in _STEPS if (high - low) / size <= 6)
    return [step * i for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def predictions(pairs: Sequence[tuple[float, float]]) -> Markup:
    """Return points of (predicted, measured) accuracy loss beside the line where both are equal, on one scale."""
    low = min((value for pair in pairs for value in pair), default=0.0)
    high = max((value for pair in pairs for value in pair), default=1.0)
    low, span = low - 0.03 * ((high - low) or 1), 1.06 * ((high - low) or 1)

    def at(value: float) -> float:
        return (value - low) / span

    grid = ""
    for value in _ticks(low, low + span):
        x, y = f"{50 + 290 * at(value):.1f}", f"{300 - 290 * at(value):.1f}"
        grid += (
            f'<path d="M{x} 10V300M50 {y}H340"/><text x="{x}" y="317" text-anchor="middle">{value:g}</text>'
        )
        grid += f'<text x="44" y="{float(y) + 4:.1f}" text-anchor="end">{value:g}</text>'
    dots = "".join(
        f'<circle cx="{50 + 290 * at(expected):.1f}" cy="{300 - 290 * at(measured):.1f}" r="4"/>'
        for expected, measured in pairs
    )
    return markup(
        '<svg viewBox="0 0 350 345" role="img" aria-label="Measured accuracy loss against the predicted one">'
        f'<g class="grid">{grid}</g><path class="roof" d="M50 300L340 10"/>{dots}'
        '<text class="axis-title" x="195" y="338" text-anchor="middle">Predicted loss, points</text>'
        '<text class="axis-title" transform="translate(12 155) rotate(-90)" text-anchor="middle">Measured loss, points</text></svg>'
    )


def _height(value: float, low: float) -> str:
    return f"{200 - 185 * (value - low) / ((1 - low) or 1):.1f}"
