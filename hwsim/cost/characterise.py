"""Characterising a family: every circuit checked against its arithmetic, synthesised and proved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import pyrtl

from hwsim import files
from hwsim.cost import yosys
from hwsim.cost.characterisation import Characterisation, Characterised, Claims, merged, read
from hwsim.cost.family import designs
from hwsim.cost.synthesis import MAPPINGS, THREE, library_digest, measured, netlist_digest, recipe, synthesize
from hwsim.cost.technology import Technology, technology
from hwsim.datapath.datapath import ELABORATING, Datapath, describe
from hwsim.datapath.netlist import clock_cycle, verilog
from hwsim.errors import HwsimError, unknown
from hwsim.simulate.check import CYCLES, check

Progress = Callable[[str, int, int], None]
"""Called with a family, how many of its circuits are characterised, and how many it has."""

Point = tuple[Technology, str]
"""A technology and a mapping point."""


@dataclass(frozen=True)
class Sweep:
    """What was characterised, and the circuits that have no row with the sentence that says why."""

    characterisation: Characterisation
    reused: int
    refused: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the claims, the rows' counts and the refusals as plain data."""
        rows = self.characterisation.rows
        counts = {
            name: sum(row.family == name for row in rows) for name in dict.fromkeys(r.family for r in rows)
        }
        costs = sum(len(row.costs) for row in rows)
        return {
            **asdict(self.characterisation.claims),
            "circuits": counts,
            "costs": costs,
            "reused": self.reused,
            "refused": list(self.refused),
        }


def characterise(
    families: Sequence[str],
    technologies: Sequence[str] = ("open45",),
    mappings: Sequence[str] = THREE,
    *,
    path: Path | None = None,
    timeout_s: float = 120,
    jobs: int = 1,
    progress: Progress = lambda family, done, planned: None,
) -> Sweep:
    """Return the characterisation of families (:func:`hwsim.cost.family.designs`), written to ``path`` family by family.

    What ``path`` holds already and what still counts is not done again; its rows of other families stay, and those of
    circuits that a family no longer has go. Single costs are also kept in the user's cache folder, so that a sweep that was interrupted goes on. A circuit that differs from its
    arithmetic, cannot be mapped in ``timeout_s`` or is not proved gets no row. ``jobs`` circuits are mapped at a time.
    """
    yosys.check_limit(timeout_s)
    if path is not None:
        files.check_place(path)
    targets = [technology(name) for name in technologies]
    for name in mappings:
        if name not in MAPPINGS:
            raise unknown("mapping", name, MAPPINGS)
    asked = {name: designs(name) for name in dict.fromkeys(families)}
    held = _continued(path, {str(target): library_digest(target) for target in targets})
    sweep = Sweep(held, 0, ())
    for family, circuits in asked.items():
        sweep = _family(sweep, family, circuits, tuple(product(targets, mappings)), timeout_s, jobs, progress)
        if path is not None:
            files.write(path, sweep.characterisation.to_bytes())
    return sweep


def _continued(path: Path | None, libraries: Mapping[str, str]) -> Characterisation:
    """Return what a file holds of rows that still count, under the claims of now."""
    tool, recipes = yosys.version(), {name: recipe(name) for name in MAPPINGS}
    old = read(path) if path is not None and path.exists() else None
    if old is None or old.claims.tool != tool:
        return Characterisation(Claims(tool, recipes, dict(libraries)), ())
    claims = Claims(tool, recipes, dict(sorted({**old.claims.libraries, **libraries}.items())))

    def counts(technology: str, mapping: str) -> bool:
        return (claims.libraries[technology], recipes.get(mapping)) == (
            old.claims.libraries[technology],
            old.claims.recipes[mapping],
        )

    rows = (
        replace(row, costs={key: cost for key, cost in row.costs.items() if counts(*key)}) for row in old.rows
    )
    return Characterisation(claims, tuple(rows))


def _family(
    sweep: Sweep,
    family: str,
    circuits: Sequence[Datapath],
    points: Sequence[Point],
    timeout_s: float,
    jobs: int,
    progress: Progress,
) -> Sweep:
    known = sweep.characterisation.by_netlist
    rows, refused, reused = list[Characterised](), list(sweep.refused), sweep.reused

    def one(circuit: Datapath) -> Characterised | str:
        try:
            return _characterised(family, circuit, points, timeout_s, known)
        except HwsimError as error:
            return f"{describe(circuit)}: {error}"

    progress(family, 0, len(circuits))
    with ThreadPoolExecutor(jobs) as pool:
        for done, row in enumerate(pool.map(one, circuits), 1):
            if isinstance(row, str):
                refused.append(row)
            else:
                rows.append(row)
                reused += row is known.get(row.netlist)
            progress(family, done, len(circuits))
    names = {describe(circuit) for circuit in circuits}
    before = (r for r in sweep.characterisation.rows if r.family != family or r.datapath in names)
    held = merged(before, rows)
    return Sweep(replace(sweep.characterisation, rows=held), reused, tuple(refused))


def _characterised(
    family: str,
    circuit: Datapath,
    points: Sequence[Point],
    timeout_s: float,
    known: Mapping[str, Characterised],
) -> Characterised:
    """Return a circuit's row; the known one where it has all that is asked for."""
    block = clock_cycle(circuit)
    netlist, name = netlist_digest(verilog(block)), describe(circuit)
    row = known.get(netlist)
    if row is None or row.datapath != name:
        row = Characterised(name, family, netlist, _checked(circuit), _pyrtl_um2(block))
    missing = [(target, mapping) for target, mapping in points if (str(target), mapping) not in row.costs]
    if not missing:
        return row
    costs = {
        (str(target), mapping): _cost(circuit, target, mapping, timeout_s) for target, mapping in missing
    }
    return replace(row, costs={**row.costs, **costs})


def _checked(circuit: Datapath) -> dict[str, Any]:
    """Return what the contract check covered; refuse a circuit that differs from its arithmetic."""
    found = check(circuit)
    if found.counterexample is not None:
        raise HwsimError(f"it differs from its arithmetic at {found.counterexample}, so it has no row")
    return {"points": found.points, "exhaustive": found.exhaustive, "cycles": CYCLES}


def _pyrtl_um2(block: pyrtl.Block) -> float:
    """Return PyRTL's own estimate of the logic's area in um2 at 45 nm."""
    with ELABORATING:
        logic_mm2, _ = pyrtl.area_estimation(tech_in_nm=45, block=block)
    return round(1e6 * float(logic_mm2), 3)


def _cost(circuit: Datapath, target: Technology, mapping: str, timeout_s: float) -> dict[str, Any]:
    cost = synthesize(circuit, target, mapping=mapping, timeout_s=timeout_s)
    if not cost.equivalent:
        raise HwsimError(f"its {mapping} netlist is not proved ({cost.equivalence}), so it has no row")
    return measured(cost)
