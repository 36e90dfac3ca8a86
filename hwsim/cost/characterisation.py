"""A characterisation: what many circuits cost, measured once and kept as one small file.

A file is gzip-compressed JSON lines. The first says what every row claims: the synthesis tool with its version, a digest
of the commands of each mapping point and of each technology's facts. Every other line is one circuit: its name and
parameters, a digest of its netlist's text, its contract check, PyRTL's own area estimate, and its cost by technology and
mapping point with the equivalence check that each passed.

A row is what its tool says, and counts wherever that tool would be given the same input: netlist, library and commands
have the row's digests and the installed tool is of the row's version, whatever the machine. Where no tool is installed the
row counts as well, since nothing measured here could be mixed with it; under another version it does not.
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from hwsim import files
from hwsim.errors import HwsimError

SHIPPED = Path(__file__).parent / "characterised.jsonl.gz"
"""The characterisation that comes with the package."""

LIMIT_BYTES = 64 << 20
_FORMAT = 1


@dataclass(frozen=True)
class Claims:
    """What a file's rows are true under: the tool, and digests of recipes and libraries by name."""

    tool: str
    recipes: Mapping[str, str]
    libraries: Mapping[str, str]


@dataclass(frozen=True)
class Characterised:
    """One circuit: ``costs`` by (technology, mapping) as :class:`hwsim.cost.synthesis.Measured` has them.

    ``netlist`` is the digest of its Verilog text, ``check`` the points, whether they were all, and the cycles of the
    contract check, ``pyrtl_um2`` the area that PyRTL estimates for its logic without registers at 45 nm.
    """

    datapath: str
    family: str
    netlist: str
    check: Mapping[str, Any]
    pyrtl_um2: float
    costs: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Characterisation:
    """Circuits and what their rows claim."""

    claims: Claims
    rows: tuple[Characterised, ...]

    @cached_property
    def by_netlist(self) -> Mapping[str, Characterised]:
        return {row.netlist: row for row in self.rows}

    @cached_property
    def by_datapath(self) -> Mapping[str, Characterised]:
        return {row.datapath: row for row in self.rows}

    def holds(self, tool: str | None, technology: str, library: str, mapping: str, recipe: str) -> bool:
        """Return whether rows of a technology and a mapping point are what would be measured here and now."""
        claims = self.claims
        return (
            tool in (None, claims.tool)
            and claims.libraries.get(technology) == library
            and claims.recipes.get(mapping) == recipe
        )

    def to_bytes(self) -> bytes:
        """Return the file, the same for the same rows."""
        head = {"format": _FORMAT, **asdict(self.claims)}
        lines = [head, *(_line(row) for row in sorted(self.rows, key=lambda row: row.datapath))]
        text = "".join(json.dumps(line, separators=(",", ":"), allow_nan=False) + "\n" for line in lines)
        return gzip.compress(text.encode(), 9, mtime=0)


def _line(row: Characterised) -> dict[str, Any]:
    return {**asdict(row), "costs": {"/".join(key): cost for key, cost in sorted(row.costs.items())}}


def merged(old: Iterable[Characterised], new: Iterable[Characterised]) -> tuple[Characterised, ...]:
    """Return the rows of both by circuit; of a circuit in both the costs of the new count first."""
    rows = {row.datapath: row for row in old}
    for row in new:
        before = rows.get(row.datapath)
        kept = before.costs if before is not None and before.netlist == row.netlist else {}
        rows[row.datapath] = replace(row, costs={**kept, **row.costs})
    return tuple(rows.values())


def read(path: Path) -> Characterisation:
    """Return the characterisation in a file; :class:`HwsimError` where it is none, damaged or too large."""
    content = files.read(path, "characterisation")
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            text = stream.read(LIMIT_BYTES + 1)
        if len(text) > LIMIT_BYTES:
            raise ValueError("it is too large")
        head, *lines = map(json.loads, text.splitlines())
        if head.pop("format") != _FORMAT:
            raise ValueError("its format is another")
        return Characterisation(Claims(**head), tuple(_row(line) for line in lines))
    except (
        OSError,
        EOFError,
        zlib.error,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
    ) as error:
        raise HwsimError(
            f'"{path}" is no characterisation of this version ({type(error).__name__}: {error}); write it again with '
            "hwsim characterise"
        ) from None


def _row(line: dict[str, Any]) -> Characterised:
    costs = {tuple(key.rsplit("/", 1)): cost for key, cost in line.pop("costs").items()}
    return Characterised(**line, costs=costs)


@cache
def shipped() -> Characterisation:
    """Return the characterisation that comes with the package, read when it is first asked for."""
    return read(SHIPPED)
