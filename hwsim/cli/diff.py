"""``hwsim diff``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwsim.cli.options import Json
from hwsim.cli.output import print_json
from hwsim.columns import columns

if TYPE_CHECKING:
    from hwsim.comparison import Difference, Domination, Interval, PointComparison, StudyComparison

WIDEST = 48
"""Characters of a value that a table shows on a terminal; elsewhere it is whole."""

SHOWN = 8
"""Dominated points of each front that the text names; --json has all."""


def command(
    first: Annotated[
        str, typer.Argument(help="A folder written by hwsim explore, or a point of it: FOLDER:KEY.")
    ],
    second: Annotated[str, typer.Argument(help="Another of the same kind.")],
    as_json: Json = False,
) -> None:
    """Compare two explorations or two design points.

    What differs in how they came about; front against front, or metric by metric and layer by layer."""
    from hwsim.comparison import StudyComparison
    from hwsim.steps.diff import compare

    compared = compare(first, second)
    if as_json:
        return print_json(compared.to_json())
    lines = _studies(compared) if isinstance(compared, StudyComparison) else _points(compared)
    print("\n".join(lines))
    return None


def _studies(compared: StudyComparison) -> Iterator[str]:
    yield from _table("what differs", compared.facts)
    if any(row.what == "model sha256" for row in compared.facts):
        yield "two networks: their costs are those of different tasks"
    (a, b), (on_a, on_b) = compared.fronts, compared.joint
    yield f"fronts in {', '.join(compared.objectives)}:"
    yield f"  first   {compared.evaluated[0]} design points, {a} on its front, {on_a} of them on the front of both"
    yield f"  second  {compared.evaluated[1]} design points, {b} on its front, {on_b} of them on the front of both"
    low, high, both = compared.volumes
    yield (
        f"  hypervolume of the front of both: first {100 * low / both:.2f}%, second {100 * high / both:.2f}%"
        if both
        else "  hypervolume: none"
    )
    best = "  ".join(compared.best)
    yield _accuracy(f"most accurate of each front ({best})", compared.accuracy)
    yield from _dominated("first", compared.dominated[0])
    yield from _dominated("second", compared.dominated[1])
    changed = f"{len(compared.changed)} with other figures: {', '.join(compared.changed[:SHOWN])}"
    told = changed if compared.changed else "all with the same figures"
    yield f"{compared.same} design points were evaluated in both" + (f", {told}" if compared.same else "")


def _dominated(side: str, dominated: tuple[Domination, ...]) -> Iterator[str]:
    for found in dominated[:SHOWN]:
        more = f" and {len(found.by) - 1} more" if len(found.by) > 1 else ""
        yield f"  {found.point} of the {side} is dominated by {found.by[0]}{more}"
    if len(dominated) > SHOWN:
        yield f"  and {len(dominated) - SHOWN} more of the {side}"


def _points(compared: PointComparison) -> Iterator[str]:
    yield from _table("choice", compared.choices)
    yield from _table("metric", tuple(replace(row, what=_with_unit(row.what)) for row in compared.metrics))
    yield _accuracy("accuracy", compared.accuracy)
    if compared.dominates:
        yield f"the {compared.dominates} dominates"
    for layer in compared.layers:
        yield from _table(layer.layer, layer.differences)
    if not compared.layers:
        yield "all layers are the same"


def _with_unit(metric: str) -> str:
    from hwsim.explore.evaluation import METRICS
    from hwsim.report.wording import unit

    return f"{metric}, {unit(METRICS[metric])}"


def _accuracy(what: str, interval: Interval) -> str:
    only = interval.only
    how = (
        f"not paired: {interval.unpaired}"
        if only is None
        else f"image by image: {only[0]} right in the first alone, {only[1]} in the second alone"
    )
    return (
        f"{what}: {interval.difference:+.2f} points from first to second, 95% interval {interval.low:+.2f} to "
        f"{interval.high:+.2f}{'' if interval.decided else ', undecided'}; {how}"
    )


def _table(title: str, rows: tuple[Difference, ...]) -> Iterator[str]:
    """Yield a table of differences: what, first, second, and by how much where both are numbers."""
    if not rows:
        return
    cells = [(title, "first", "second", "")]
    cells += [(row.what, _cell(row.first), _cell(row.second), _change(row)) for row in rows]
    yield from columns(cells, left=range(4))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    shown = text if len(text) <= WIDEST or not sys.stdout.isatty() else text[: WIDEST - 3] + "..."
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in shown)


def _change(row: Difference) -> str:
    if not isinstance(row.first, int | float) or not isinstance(row.second, int | float):
        return ""
    if row.first == row.second:
        return "same"
    percent = f" ({100 * (row.second / row.first - 1):+.1f}%)" if row.first else ""
    return f"{row.second - row.first:+.6g}{percent}"
