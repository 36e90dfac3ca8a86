"""The tables as files and in the terminal."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import rich.box
import rich.table
from rich.text import Text

from hwsim.explore.evaluation import METRICS, Evaluation, Metric, known_metrics, point_texts
from hwsim.report.tradeoffs import Row, front_order, rows
from hwsim.report.wording import caption, differing, figure, short_bits, unit, visible

_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
"""What a cell begins with that a spreadsheet takes for a formula, full-width forms too."""


def column(metric: Metric) -> str:
    """Return a metric's column name with its unit last; the unit of a ratio and one already named are left out.

    >>> column(METRICS["gates"]), column(METRICS["bandwidth"]), column(METRICS["file_bytes"])
    ('gates_nand2', 'bandwidth_mb_per_s', 'file_bytes')
    """
    words = metric.unit.lower().replace("/", "_per_").replace("%", "percent")
    suffix = re.sub(r"[^a-z0-9_]", "_", words)
    return metric.name if suffix == "x" or metric.name.endswith(suffix) else f"{metric.name}_{suffix}"


def cell(text: str) -> str:
    """Return a text as a CSV cell that a spreadsheet shows and does not compute.

    >>> cell("=1+1"), cell("conv1")
    ("'=1+1", 'conv1')
    """
    shown = visible(text)
    return f"'{shown}" if shown.lstrip()[:1] in _FORMULA else shown


def evaluations_csv(
    listed: Sequence[Row], first: Mapping[str, Sequence[object]] = MappingProxyType({})
) -> str:
    """Return rows as CSV (RFC 4180, but lines end in LF): one line a point, one column a metric.

    ``first`` are columns that come before all others, each with a value a row.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    metrics = known_metrics(row.evaluation for row in listed)
    facts = [
        "index",
        "key",
        "front",
        "label",
        "datapath",
        "quantizer",
        "bits",
        "correct",
        "images",
        "float_correct",
    ]
    places = [name for name in ("array", "buffers") if any(getattr(r.evaluation.point, name) for r in listed)]
    facts += places
    writer.writerow(
        [*first, *facts, "accuracy_low_percent", "accuracy_high_percent", *map(column, metrics.values())]
    )
    for place, row in enumerate(listed):
        e = row.evaluation
        names = (e.point.label(), e.point.datapath, e.point.quantizer)
        texts = zip(e.point.bits, point_texts(e.point), strict=True)
        bits = "; ".join(f"{name} {text}" for (name, _), text in texts)
        writer.writerow(
            [
                *(column[place] for column in first.values()),
                e.index,
                e.point.key(),
                int(row.on_front),
                *map(cell, (*names, bits)),
                e.correct,
                e.images,
                e.float_correct,
                *(cell(getattr(e.point, name)) for name in places),
            ]
            + [repr(float(value)) for value in (*e.interval, *row.values.values())]
        )
    return buffer.getvalue()


def terminal_table(evaluations: list[Evaluation], objectives: tuple[str, ...]) -> rich.table.Table:
    """Return the front as a table for the terminal, the best in the first objective first.

    Of datapath, array and quantizer it shows only what differs between the evaluations; a line too long ends in dots.
    """
    front = front_order(rows(evaluations, objectives), objectives)
    names = {e.point: f"{e.point.hardware} {e.point.quantizer}" for e in evaluations}
    words = differing(dict.fromkeys(names.values())) if len(set(names.values())) > 1 else {}
    title = f"Pareto front: {len(front)} of {len(evaluations)} design points"
    table = rich.table.Table(
        title=title,
        title_justify="left",
        box=rich.box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("", no_wrap=True)
    for name in objectives:
        metric = METRICS[name]
        table.add_column(
            f"{caption(metric).lower().replace(' ', chr(10))}\n{unit(metric)}", justify="right", no_wrap=True
        )
    table.add_column("weights, activations, accumulators", vertical="bottom")
    for row in front:
        point = row.evaluation.point
        design = "  ".join(
            filter(None, (short_bits(point).replace(" · ", "  "), words.get(names[point], "")))
        )
        table.add_row(
            row.name,
            *(figure(METRICS[name], row.values[name]) for name in objectives),
            Text(visible(design), no_wrap=True, overflow="ellipsis"),
        )
    return table
