"""Estimates of circuits that nobody synthesised, from straight-line fits to those that were, with their errors.

A circuit's gates and delay are fitted by least squares over the characterised circuits of its own kind: the same
datapath with the same options, signs and overflow, other widths. What a multiplier's gates grow with is the product and the
sum of its operands' widths, and the accumulator's; for a shifter it is the reach of the shifted activation. Every estimate
carries its leave-one-out error: how far the same fit is off at each characterised circuit that it was not shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from hwsim.cost.characterisation import Characterisation, Characterised, shipped
from hwsim.cost.family import designs, families
from hwsim.cost.technology import Technology
from hwsim.datapath import DATAPATHS, Datapath, describe
from hwsim.errors import HwsimError
from hwsim.formats import Half, Int, PowerOfTwo
from hwsim.network import FloatArray


@dataclass(frozen=True)
class Fit:
    """``value = sum of coefficients * terms``, and its leave-one-out errors in percent over ``circuits`` circuits."""

    terms: Mapping[str, float]
    circuits: int
    mean_error: float
    worst_error: float

    def __str__(self) -> str:
        return " ".join(f"{value:+.4g} {term}" for term, value in self.terms.items()).replace(" 1", "", 1)


@dataclass(frozen=True)
class Estimate:
    """What a circuit would cost by the fits to its kind; no netlist stands behind it.

    ``outside`` names a width that is beyond those fitted: there the errors say nothing. ``critical_path`` is missing in a
    technology without times.
    """

    datapath: str
    technology: str
    mapping: str
    nand2_equivalents: float
    gates: Fit
    area_um2: float | None
    critical_path_ps: float | None
    critical_path: Fit | None
    outside: str
    estimated: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return the estimate as plain data."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [
            f"{self.datapath} in {self.technology}",
            f"  ESTIMATED, not synthesised: a fit to {self.gates.circuits} characterised circuits of its kind"
            + (f", beyond their {self.outside}" if self.outside else ""),
            f"  gates          about {self.nand2_equivalents:g} NAND2 equivalents, {_errors(self.gates)}",
        ]
        if self.critical_path is not None:
            lines.append(f"  area           about {self.area_um2} um2")
            lines.append(f"  critical path  about {self.critical_path_ps} ps, {_errors(self.critical_path)}")
        return "\n".join(
            [*lines, f"  formula        gates = {self.gates}", f"  mapping        {self.mapping}"]
        )


def _errors(fit: Fit) -> str:
    return f"off by {fit.mean_error:.1f}% on average and {fit.worst_error:.1f}% at most where one is left out"


def estimate(
    datapath: Datapath, technology: Technology, mapping: str, given: Characterisation | None = None
) -> Estimate:
    """Return an estimate of a circuit from a characterisation, the package's own if none is given.

    Raises :class:`HwsimError` where too few circuits of its kind are characterised in that technology and mapping point.
    """
    library = shipped() if given is None else given
    rows = {
        circuit: library.by_datapath[describe(circuit)].costs[str(technology), mapping]
        for circuit in _kind(datapath)
        if _has(library, describe(circuit), str(technology), mapping)
    }
    terms = list(map(_terms, rows))
    names = [name for name in _terms(datapath) if name == "1" or len({row[name] for row in terms}) > 1]
    if len(rows) < 2 * len(names):
        raise HwsimError(
            f"{describe(datapath)} has no estimate: {len(rows)} circuits of its kind are characterised in {technology} at "
            f"{mapping}; leave out --estimate to synthesise it"
        )
    at = _terms(datapath)
    table = np.array([[row[name] for name in names] for row in terms], np.float64)
    gates = fit(names, table, np.array([row["nand2_equivalents"] for row in rows.values()]))
    value = sum(gates.terms[name] * at[name] for name in names)
    path = None
    if technology.physical:
        path = fit(names, table, np.array([row["critical_path_ps"] for row in rows.values()]))
    return Estimate(
        datapath=describe(datapath),
        technology=str(technology),
        mapping=mapping,
        nand2_equivalents=round(value, 1),
        gates=gates,
        area_um2=round(value * technology.nand2_area, 1) if technology.physical else None,
        critical_path_ps=None if path is None else round(sum(path.terms[n] * at[n] for n in names)),
        critical_path=path,
        outside=_outside(datapath, list(rows)),
    )


def fit(names: Sequence[str], table: FloatArray, measured: FloatArray) -> Fit:
    """Return the least-squares fit of ``measured`` [circuits] to a table [circuits, terms].

    The fit without a circuit errs at it by ``residual / (1 - leverage)`` (Allen, "The relationship between variable
    selection and data augmentation and a method for prediction", Technometrics 1974), so none is computed again.
    """
    inverse = np.linalg.pinv(table)
    coefficients = inverse @ measured
    leverage = np.einsum("ij,ji->i", table, inverse)
    left_out = (measured - table @ coefficients) / np.maximum(1 - leverage, 1e-9)
    errors = 100 * np.abs(left_out) / measured
    found = {name: float(f"{value:.6g}") for name, value in zip(names, coefficients, strict=True)}
    return Fit(found, len(measured), round(float(errors.mean()), 2), round(float(errors.max()), 2))


def _has(library: Characterisation, name: str, technology: str, mapping: str) -> bool:
    row: Characterised | None = library.by_datapath.get(name)
    return row is not None and (technology, mapping) in row.costs


def _kind(datapath: Datapath) -> list[Datapath]:
    """Return the family's circuits that differ from one in widths only."""
    name = next((name for name in families() if DATAPATHS[name] is type(datapath)), None)
    if name is None:
        raise HwsimError(
            f"{describe(datapath)} has no estimate: it is none of the characterised datapaths; leave out --estimate"
        )
    return [circuit for circuit in designs(name) if _options(circuit) == _options(datapath)]


def _options(datapath: Datapath) -> tuple[Any, ...]:
    """Return what a fit is not made over: signs, and every parameter that is no width."""
    values = [getattr(datapath, f.name) for f in fields(datapath)]  # type: ignore[arg-type]
    return tuple(_sign(value) if _is_width(value) else value for value in values)


def _sign(value: Any) -> tuple[type, bool]:
    return type(value), bool(getattr(value, "signed", True))


def _is_width(value: Any) -> bool:
    return hasattr(value, "bits") and not isinstance(value, Half)


def _widths(datapath: Datapath) -> dict[str, int]:
    named = {f.name: getattr(datapath, f.name) for f in fields(datapath)}  # type: ignore[arg-type]
    return {name: value.bits for name, value in named.items() if _is_width(value)}


def _terms(datapath: Datapath) -> dict[str, float]:
    """Return what the cost of a circuit is fitted to, by name."""
    widths = _widths(datapath)
    weight = getattr(datapath, "weight", None)
    if "activation" not in widths or weight is None or not _is_width(weight):
        return {"1": 1.0, **widths}
    if isinstance(weight, Int):
        product, total = weight.bits * widths["activation"], weight.bits + widths["activation"]
        others = {name: bits for name, bits in widths.items() if name not in ("weight", "activation")}
        return {"1": 1.0, "weight*activation": product, "(weight+activation)": total, **others}
    reach = widths["activation"] + (2 ** (weight.bits - 1) - 2 if isinstance(weight, PowerOfTwo) else 0)
    reach = min(widths["accumulator"], reach)
    return {"1": 1.0, **widths, "reach": reach, "reach*weight": reach * weight.bits}


def _outside(datapath: Datapath, known: Sequence[Datapath]) -> str:
    """Return the first width of a circuit that none of the known ones spans, or nothing."""
    for name, bits in _widths(datapath).items():
        seen = [_widths(circuit)[name] for circuit in known]
        if not min(seen) <= bits <= max(seen):
            return f"{name}s of {min(seen)} to {max(seen)} bits"
    return ""
