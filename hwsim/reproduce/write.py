"""A filled table as files: every row as CSV, a figure, and a short text that says what was confirmed."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hwsim import files
from hwsim.report.figures import BLUE, INK, LINE, ORANGE, SOFT, STYLE, vector_files
from hwsim.reproduce.table import Setup, Table

GREEN, PURPLE = "#009e73", "#cc79a7"
README = "README.md"
_COLOURS = (BLUE, ORANGE, GREEN, PURPLE)


def write(
    table: Table, directory: Path, command: str, sections: Mapping[str, str], extra: Mapping[str, str]
) -> Path:
    """Write ``README.md``, ``rows.csv``, ``claims.csv``, ``figure.svg`` and ``figure.pdf``; return the first's path.

    ``sections`` are further texts by heading, ``extra`` further files by name.
    """
    readme = directory / README
    contents: dict[Path, bytes | str] = {
        readme: _readme(table, command, sections),
        directory / "rows.csv": as_csv(_rows(table)),
        directory / "claims.csv": as_csv(_claims(table)),
        **{directory / f"figure.{kind}": content for kind, content in figure(table).items()},
    }
    files.write_together(contents | {directory / name: text for name, text in extra.items()})
    return readme


def _rows(table: Table) -> Iterable[dict[str, Any]]:
    """Yield the paper's figures and ours, a row each, in the paper's order."""
    blank = dict.fromkeys(table.rows[0].to_json(0.0), "")
    for setup in table.paper.setups:
        about = {"group": setup.group, "method": setup.method}
        for network, top1 in setup.published.items():
            change = round(top1 - table.paper.float_accuracy[network], 2)
            yield blank | about | {"network": f"{network} (published)", "top1": top1, "change": change}
        for row in table.rows:
            if row.setup == setup:
                yield row.to_json(table.floats[row.network].percent)


def _claims(table: Table) -> Iterable[dict[str, Any]]:
    for claim, network, gained in table.gains():
        yield {
            "claim": claim.text,
            "network": network,
            "points": round(gained.points, 2),
            "low": round(gained.low, 2),
            "high": round(gained.high, 2),
            "verdict": gained.verdict,
            "share_of_loss": "" if (share := table.recovered(claim, network)) is None else round(share, 3),
        }


def as_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows of one form as CSV with a heading."""
    listed = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(listed[0]) if listed else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(listed)
    return text.getvalue()


def markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _readme(table: Table, command: str, sections: Mapping[str, str]) -> str:
    paper = table.paper
    facts = ", ".join(f"{n}: {m.images} images, {m.percent:.2f}% in float" for n, m in table.floats.items())
    parts = [
        f"# {paper.title}",
        f"{paper.citation}, beside the same setups here: {facts}. Accuracies are those of the circuits, which compute every "
        "output of every image; in brackets the points lost against float.",
        "![points lost against float](figure.svg)",
        _table(table),
        "The 95% interval, the fake-quantized accuracy, how many predictions differ from it, overflows and seconds of every "
        "row are in [rows.csv](rows.csv).",
        "## What the paper claims, on these networks",
        "Points gained over the same images, with the 95% interval of the paired difference; where the worse setup loses "
        "half a point against float or more, also which share of that the better one wins back.",
        _verdicts(table),
        *(f"## {heading}\n\n{text}" for heading, text in sections.items()),
        "## What to know",
        *(f"* {note}" for note in paper.notes),
        "## Again",
        f"    {command}",
    ]
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    paper = table.paper
    published = list(paper.float_accuracy)
    floats = ["-", "float", *(f"{top1:.1f}" for top1 in paper.float_accuracy.values())]
    floats += [f"**{m.percent:.2f}**" for m in table.floats.values()]
    rows = [floats]
    for setup in paper.setups:
        printed = [_lost(setup.published.get(n), paper.float_accuracy[n], 1) for n in published]
        ours = [_ours(table, setup, network) for network in table.floats]
        rows.append([setup.group, setup.method, *printed, *ours])
    return markdown(["W/A", "method", *(f"{n} (paper)" for n in published), *table.floats], rows)


def _ours(table: Table, setup: Setup, network: str) -> str:
    measured = table.of(setup.name, network)
    return "" if measured is None else f"**{_lost(measured.percent, table.floats[network].percent, 2)}**"


def _lost(top1: float | None, exact: float, digits: int) -> str:
    return "" if top1 is None else f"{top1:.{digits}f} ({top1 - exact:+.{digits}f})"


def _verdicts(table: Table) -> str:
    found = {
        (claim.text, network): f"{gained.verdict}: {gained}{_share(table.recovered(claim, network))}"
        for claim, network, gained in table.gains()
    }
    rows = [
        [claim.text, *(found.get((claim.text, network), "") for network in table.floats)]
        for claim in table.paper.claims
    ]
    return markdown(["claim", *table.floats], rows)


def _share(recovered: float | None) -> str:
    return "" if recovered is None else f", {100 * recovered:.0f}% of the loss"


def figure(table: Table) -> dict[str, bytes]:
    """Return what setups lose on each network as ``svg`` and ``pdf``."""
    with matplotlib.rc_context(STYLE):
        setups = table.paper.setups
        drawn = Figure(figsize=(8.4, 1.2 + 0.34 * len(setups)), layout="constrained")
        FigureCanvasAgg(drawn)
        axes = drawn.add_subplot()
        _draw_published(axes, table)
        for number, network in enumerate(table.floats):
            _draw_network(axes, table, network, number)
        axes.set_yticks(range(len(setups)), [setup.name for setup in setups], fontsize=8.5, color=INK)
        axes.invert_yaxis()
        axes.set_xscale("symlog", linthresh=5)
        axes.set_xticks(
            [-1, 0, 1, 2, 3, 4, 5, 10, 20, 50], ["-1", "0", "1", "2", "3", "4", "5", "10", "20", "50"]
        )
        axes.set_xlabel("points of top-1 accuracy lost against float, 95% interval (linear up to 5)")
        axes.grid(color=LINE, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.legend(frameon=False, fontsize=8.5, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
        return vector_files(drawn)


def _draw_published(axes: Any, table: Table) -> None:
    exact = table.paper.float_accuracy
    points = [
        (exact[network] - top1, place)
        for place, setup in enumerate(table.paper.setups)
        for network, top1 in setup.published.items()
    ]
    if points:
        x, y = zip(*points, strict=True)
        axes.scatter(
            x, y, s=16, color=SOFT, alpha=0.55, linewidths=0, label="the paper's networks, as published"
        )


def _draw_network(axes: Any, table: Table, network: str, number: int) -> None:
    colour, exact = _COLOURS[number % len(_COLOURS)], table.floats[network].percent
    for place, setup in enumerate(table.paper.setups):
        measured = table.of(setup.name, network)
        if measured is None:
            continue
        low, high = measured.interval
        where = place + 0.16 * (number - (len(table.floats) - 1) / 2)
        axes.plot([exact - high, exact - low], [where, where], color=colour, linewidth=1.2, alpha=0.6)
        label = network if place == 0 else None
        axes.scatter([exact - measured.percent], [where], s=24, color=colour, zorder=3, label=label)
