"""What the designs of a space cost, as tables whose entries add up or the largest of which counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.cost.configurations import Table, joined
from hwsim.cost.shared_array import array_count
from hwsim.datapath import multiply_accumulate
from hwsim.errors import HwsimError
from hwsim.explore.evaluation import LOSSES, OF_ELEMENTS, Shared
from hwsim.explore.pricing import PRICED, Chosen
from hwsim.explore.question import Pricing
from hwsim.explore.search import SearchSpace
from hwsim.explore.study import Study
from hwsim.formats import IntArray
from hwsim.network import FloatArray

MOST_ARRAYS = 128
"""Arrays of different formats that are synthesised, for one grid and datapath, before anything is measured."""

MAXIMA = ("critical_path",)
"""Objectives in which the largest entry counts; in the others entries add up."""

ESTIMATED = ("energy",)
"""Objectives that tables tell nearly: designs that were measured say how nearly (:mod:`hwsim.explore.energy_prices`)."""


@dataclass(frozen=True, eq=False)
class Prices:
    """The costs of designs that share ``shared``: the sum of ``tables`` and ``start``, then ``scale`` of it.

    In the objectives ``largest``, given as places, it is the largest entry in place of the sum.
    An objective's cost is lower the better, as :meth:`hwsim.explore.evaluation.Metric.cost` has it. The tables' layers
    are the space's choices, and their places the ones in ``kept``: all that the space gives, but those left out.
    """

    shared: Shared
    kept: tuple[IntArray, ...]
    tables: tuple[Table, ...]
    start: FloatArray
    scale: tuple[Callable[[FloatArray], FloatArray], ...]
    largest: tuple[int, ...] = ()
    circuits: tuple[FloatArray, ...] = ()

    @property
    def counts(self) -> tuple[int, ...]:
        """How many places each choice has here."""
        return tuple(map(len, self.kept))

    def within(self, choices: IntArray) -> npt.NDArray[np.bool_]:
        """Return which rows of the space's places are all among those kept, [points]."""
        columns = zip(choices.T, self.kept, strict=True)
        return np.asarray(np.all([np.isin(column, kept) for column, kept in columns], axis=0))

    def places(self, choices: IntArray) -> IntArray:
        """Return the places in the tables of rows of the space's places, all kept."""
        columns = zip(choices.T, self.kept, strict=True)
        return np.stack([np.searchsorted(kept, column) for column, kept in columns], axis=1)

    def of(self, choices: IntArray) -> FloatArray:
        """Return the costs [points, objectives] of rows of the space's places, all kept."""
        return self.costs(self._joined(choices, Table.of, self.largest))

    def spread(self, choices: IntArray) -> FloatArray:
        """Return the costs with sums and means in place of maxima: one layer alone seldom lowers a maximum, but its share of those."""
        return self.costs(self._joined(choices, Table.spread, ()))

    def _joined(
        self, choices: IntArray, of: Callable[[Table, IntArray], FloatArray], largest: Sequence[int]
    ) -> FloatArray:
        """Return what the table entries of rows of the space's places come to, [points, objectives]."""
        places, found = self.places(choices), np.zeros((len(choices), len(self.start)))
        for table in self.tables:
            found = joined(found, of(table, places), largest)
        return found

    def costs(self, sums: FloatArray) -> FloatArray:
        """Return the costs [points, objectives] of what table entries come to, [points, objectives]."""
        columns = [of(sums[:, place] + self.start[place]) for place, of in enumerate(self.scale)]
        return np.stack(columns, axis=1) if columns else sums


def priced_objectives(objectives: Sequence[str]) -> tuple[str, ...]:
    """Return the objectives that tables price; refuse those that nothing tells before they are measured, but the accuracy."""
    for name in objectives:
        if name not in PRICED and name not in LOSSES:
            raise HwsimError(
                f'search "exact" has no prices of {name}, which is known where it is measured; leave it out of the objectives '
                'or choose search = "evolve"'
            )
    return tuple(name for name in objectives if name in PRICED)


def few_arrays(space: SearchSpace) -> bool:
    """Return whether the arrays that a space's designs need differ little enough in their formats for tables."""
    found = (
        [
            [multiply_accumulate(Chosen.parse(text).bits, datapath) for text in texts]
            for _, texts in space.layers
        ]
        for datapath in space.datapaths
    )
    return all(array_count(macs, space.choice_of) <= MOST_ARRAYS for macs in found)


def prices(space: SearchSpace, objectives: tuple[str, ...]) -> tuple[Prices, ...]:
    """Return the prices of all that layers can share but what is left out; circuits not met before are synthesised.

    Raises :class:`HwsimError` for the metrics of an array that has too many different formats.
    """
    named = [name for name in objectives if name in OF_ELEMENTS]
    if named and not few_arrays(space):
        raise HwsimError(
            f"{named[0]} has prices where the widest formats of a design's layers are one of at most {MOST_ARRAYS}; give fewer "
            'weights, activations, accumulators or overflows, or choose search = "evolve"'
        )
    asked = [Pricing(shared, space.layers, space.choice_of, objectives) for shared in space.shared]
    return tuple(_read(space, question, answer) for question, answer in space.answers(asked))


def _read(space: SearchSpace, question: Pricing, answer: Any) -> Prices:
    """Return prices from what :func:`hwsim.explore.pricing.priced` made."""
    assert space.bench is not None
    of = {
        number: (texts, have)
        for number, (_, texts), (_, have) in zip(space.choice_of, space.layers, question.layers, strict=True)
    }
    kept = (np.flatnonzero([text in have for text in texts]) for texts, have in of.values())
    tables = (
        Table(
            tuple(tuple((layer, tuple(ranks)) for layer, ranks in axis) for axis in table["axes"]),
            np.array(table["costs"], np.float64).reshape(table["shape"]),
            table["name"],
        )
        for table in answer["tables"]
    )
    circuits = (
        np.array(fj).reshape(table["shape"][:-1])
        for fj, table in zip(answer["circuits"], answer["tables"], strict=False)
    )
    study = space.bench.study
    scale = tuple(_scale(name, study, answer["float32_bytes"]) for name in question.objectives)
    largest = tuple(place for place, name in enumerate(question.objectives) if name in MAXIMA)
    start = np.array(answer["start"])
    return Prices(question.shared, tuple(kept), tuple(tables), start, scale, largest, tuple(circuits))


def _scale(name: str, study: Study, whole: int) -> Callable[[FloatArray], FloatArray]:
    images_per_second, clock_mhz = study.hardware.images_per_second, study.hardware.clock_mhz
    match name:
        case "area" | "array_area":
            return lambda um2: um2 / 1e6
        case "bandwidth":
            return lambda image_bytes: image_bytes * images_per_second / 1e6
        case "latency":
            return lambda cycles: cycles / clock_mhz
        case "energy":
            return lambda fj: fj / 1e9
        case "compression_ratio":
            return lambda file_bytes: -whole / file_bytes
    return lambda figure: figure
