"""Several explorations on one page: their fronts in the same plots, and what each costs at the same accuracy loss."""

from __future__ import annotations

import itertools
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from hwsim import files
from hwsim.errors import HwsimError
from hwsim.explore.evaluation import METRICS, Evaluation, pareto_front
from hwsim.report.convergence import REFERENCE, convergence, hypervolume, scaled_costs
from hwsim.report.figures import comparisons
from hwsim.report.page import MOST_ROWS, explorer, render
from hwsim.report.plotted import Plotted
from hwsim.report.svg import steps
from hwsim.report.tables import evaluations_csv
from hwsim.report.tradeoffs import ACCEPTED_LOSSES, Row, price, rows, thinned

if TYPE_CHECKING:
    from hwsim.report import StudyFacts

MOST = 6
"""Studies that one page tells apart by colour."""


@dataclass(frozen=True)
class Compared:
    """One study beside others: its facts, its rows named by its letter, and how far its front reaches.

    ``joint`` are the keys of its designs that no design of any study beats; ``share`` is the hypervolume of its front
    in percent of that of all fronts together.
    """

    letter: str
    facts: StudyFacts
    rows: tuple[Row, ...]
    joint: frozenset[str]
    share: float

    @property
    def front(self) -> list[Row]:
        return [row for row in self.rows if row.on_front]


def write_comparison(directory: Path, studies: Sequence[tuple[StudyFacts, list[Evaluation]]]) -> Path:
    """Write the page that shows the fronts of two to six studies together and return its path.

    Beside it lie the figures as SVG, PDF and PNG, ``evaluations.csv`` with all designs and ``front.csv`` with those that no
    design of any study beats; the same studies give the same bytes.
    The fronts are those in the objectives that all of the studies have. Raises :class:`HwsimError` for studies with
    fewer than two objectives in common or without an evaluation.
    """
    objectives = _common(studies)
    costs = scaled_costs([e for _, evaluations in studies for e in evaluations], objectives)
    ends = [sum(len(evaluations) for _, evaluations in studies[:i]) for i in range(len(studies) + 1)]
    own = [costs[start:end] for start, end in itertools.pairwise(ends)]
    whole = hypervolume(costs)
    compared = [
        replace(study, share=100 * hypervolume(part) / whole)
        for study, part in zip(_compared(studies, objectives), own, strict=True)
    ]
    drawing = steps(
        [convergence(part, whole) for part in own], "Hypervolume of each front over its evaluations"
    )
    title = f"Fronts of {len(compared)} studies"
    named = [(f"{study.letter} {study.facts.title}", study.rows) for study in compared]
    for name, content in comparisons(named, objectives, title):
        files.write(directory / "figures" / name, content)
    files.write(directory / "evaluations.csv", _csv(compared, lambda study, row: True))
    files.write(directory / "front.csv", _csv(compared, lambda study, row: row.key in study.joint))
    files.write(directory / "index.html", _page(compared, objectives, drawing))
    return directory / "index.html"


def _csv(compared: Sequence[Compared], chosen: Callable[[Compared, Row], bool]) -> str:
    picked = [(study, row) for study in compared for row in study.rows if chosen(study, row)]
    first: dict[str, list[object]] = {
        "study": [study.letter for study, _ in picked],
        "joint_front": [int(row.key in study.joint) for study, row in picked],
    }
    return evaluations_csv([row for _, row in picked], first)


def _common(studies: Sequence[tuple[StudyFacts, list[Evaluation]]]) -> tuple[str, ...]:
    if not 2 <= len(studies) <= MOST:
        raise HwsimError(f"a comparison shows 2 to {MOST} studies, not {len(studies)}")
    for facts, evaluations in studies:
        if not evaluations:
            raise HwsimError(f'"{facts.title}" has no evaluation to compare; explore it with a larger budget')
    first, *others = (facts for facts, _ in studies)
    common = tuple(name for name in first.objectives if all(name in facts.objectives for facts in others))
    if len(common) < 2:
        listed = "; ".join(", ".join(facts.objectives) for facts, _ in studies)
        raise HwsimError(
            f"studies are compared in two objectives or more that all have, and these have {listed}; explore one again"
        )
    return common


def _compared(
    studies: Sequence[tuple[StudyFacts, list[Evaluation]]], objectives: tuple[str, ...]
) -> list[Compared]:
    joint = {id(e) for e in pareto_front([e for _, listed in studies for e in listed], objectives)}
    found = []
    for letter, (facts, evaluations) in zip(string.ascii_uppercase, studies, strict=False):
        named = tuple(_lettered(row, letter) for row in rows(evaluations, objectives))
        keys = frozenset(row.key for row in named if id(row.evaluation) in joint)
        found.append(Compared(letter, facts, named, keys, 0.0))
    return found


def _lettered(row: Row, letter: str) -> Row:
    """Return a row whose names tell its study: A12 for P12."""
    return replace(
        row,
        name=f"{letter}{row.name[1:]}",
        key=f"{letter.lower()}-{row.key}",
        beaten_by=f"{letter}{row.beaten_by[1:]}" if row.beaten_by else "",
    )


@dataclass(frozen=True)
class Offer:
    """What the studies offer at an accepted accuracy loss: each one's cheapest design, or None; the ``best`` one's key."""

    accepted: float
    rows: tuple[Row | None, ...]
    best: str


def offers(compared: Sequence[Compared], cost: str) -> list[Offer]:
    """Return each study's cheapest design, by the metric ``cost``, at each accepted loss that any of them reaches."""
    found = []
    for accepted in ACCEPTED_LOSSES:
        cheapest = tuple(
            min(
                (row for row in study.front if row.values["accuracy_loss"] <= accepted),
                key=lambda row: (row.cost(cost), row.values["accuracy_loss"]),
                default=None,
            )
            for study in compared
        )
        known = [row for row in cheapest if row is not None]
        if known:
            found.append(Offer(accepted, cheapest, min(known, key=lambda row: row.cost(cost)).key))
    return found


def _page(compared: Sequence[Compared], objectives: tuple[str, ...], drawing: Markup) -> str:
    cost = price(objectives)
    offered = offers(compared, cost) if cost and "accuracy_loss" in objectives else []
    named = {row.key for offer in offered for row in offer.rows if row}
    most = MOST_ROWS // len(compared)
    stamps = list(dict.fromkeys(what for study in compared for what in study.facts.stamp))
    return render(
        "compare.html",
        title=" and ".join(study.facts.title for study in compared),
        studies=compared,
        offers=offered,
        cost=METRICS[cost] if cost else None,
        joint=sum(len(study.joint) for study in compared),
        stamps=[(what, [study.facts.stamp.get(what, "") for study in compared]) for what in stamps],
        differing=_differing(compared),
        drawing=drawing,
        reference_point=f"{REFERENCE:g}",
        explained=set[str](),
        every=[row for study in compared for row in study.rows],
        **explorer(
            [
                Plotted(f"{study.letter}: {study.facts.title}", thinned(study.rows, named, most))
                for study in compared
            ],
            objectives,
        ),
    )


def _differing(compared: Sequence[Compared]) -> list[str]:
    """Return what must be the same for accuracies to be compared, and is not."""
    told: dict[str, set[object]] = {
        "network": {(study.facts.model, study.facts.stamp.get("model sha256")) for study in compared},
        "test images": {
            (study.facts.stamp.get("test"), study.rows[0].evaluation.images) for study in compared
        },
        "throughput": {study.rows[0].evaluation.images_per_second for study in compared},
    }
    return [what for what, values in told.items() if len(values) > 1]
