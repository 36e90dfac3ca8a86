"""Reports: what an exploration found, for people to look at and for other programs to read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from hwsim import files
from hwsim.explore.evaluation import Evaluation
from hwsim.explore.explanation import Beliefs, Explanation
from hwsim.report.figures import drawings
from hwsim.report.page import page
from hwsim.report.tables import evaluations_csv, terminal_table
from hwsim.report.tradeoffs import rows

__all__ = ["StudyFacts", "terminal_table", "write_report"]


@dataclass(frozen=True)
class ArrayFacts:
    """The array whose cycles and traffic a report shows: its elements, its clock, and the bus to DRAM."""

    rows: int
    columns: int
    clock_mhz: float
    bus_bits: int

    @property
    def macs_per_second(self) -> float:
        """What all elements can do."""
        return self.rows * self.columns * self.clock_mhz * 1e6

    @property
    def bytes_per_second(self) -> float:
        """What the bus can move."""
        return self.bus_bits / 8 * self.clock_mhz * 1e6


@dataclass(frozen=True)
class StudyFacts:
    """What a report says about its study besides the evaluations; nothing in it depends on clock or machine.

    ``stamp`` maps what to which: tool versions, seeds, digests, sizes of the splits. ``rebuild`` maps the key
    of a design point to the command lines that build it again. ``notes`` are sentences on assumptions, ``array`` is there
    where layers run on one.
    """

    title: str
    model: str
    objectives: tuple[str, ...]
    command: str
    stamp: Mapping[str, str] = field(default_factory=dict)
    rebuild: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    array: ArrayFacts | None = None


def write_report(
    directory: Path,
    evaluations: list[Evaluation],
    study: StudyFacts,
    explanations: Mapping[str, Explanation] = MappingProxyType({}),
    beliefs: Beliefs | None = None,
) -> Path:
    """Write the report of a study into a folder and return the path of its page.

    The files are ``index.html``, ``evaluations.csv``, ``front.csv`` and ``figures/front_<metric>.svg``,
    ``.pdf`` and ``.png``. ``explanations`` are by the key of a design point, ``beliefs`` those of a search that had a model. The same values give the same bytes.
    """
    listed = rows(evaluations, study.objectives)
    for name, content in drawings(listed, study.objectives, study.title):
        files.write(directory / "figures" / name, content)
    files.write(directory / "evaluations.csv", evaluations_csv(listed))
    files.write(directory / "front.csv", evaluations_csv([row for row in listed if row.on_front]))
    files.write(directory / "index.html", page(listed, study, explanations, beliefs))
    return directory / "index.html"
