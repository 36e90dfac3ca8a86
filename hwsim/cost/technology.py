"""Technologies: the cells a circuit is mapped onto, as small tables of published facts.

A technology is one TOML file (``libraries/``): a table of combinational cells, each with one output ``Y`` and a
Boolean function of its inputs, and one flip-flop. The Liberty text that logic synthesis reads is written from
the table, so that area, delay and the logic that equivalence is proved against have one source.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from hwsim.catalogue import look_up
from hwsim.cost import standard_cells
from hwsim.errors import HwsimError, unknown
from hwsim.files import read_text

_LIBRARIES = Path(__file__).parent / "libraries"
_TOKEN = re.compile(r"\s*([A-Z][A-Z0-9]*|[!&|^()])")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")
Bit = TypeVar("Bit")


@dataclass(frozen=True)
class Cell:
    """One combinational cell: ``Y = function``; the delay in ps is ``delay + resistance * load``."""

    name: str
    function: str
    area: float  # um2
    capacitance: float = 1.0  # fF, of each input
    delay: float = 1.0  # ps
    resistance: float = 0.0  # ps/fF
    leakage: float = 0.0  # nW
    energy: float = 0.0  # fJ inside the cell, an output transition

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Input pins, sorted."""
        return tuple(sorted(set(re.findall(r"[A-Z][A-Z0-9]*", self.function))))

    def output(
        self, pins: Mapping[str, Bit], conjoin: Callable[[Bit, Bit], Bit], negate: Callable[[Bit], Bit]
    ) -> Bit:
        """Return ``Y`` in any Boolean algebra given by its two operations.

        >>> xor = Cell("XOR2", "A ^ B", 1.596)
        >>> xor.output({"A": 0b0011, "B": 0b0101}, int.__and__, lambda bits: bits ^ 0b1111)
        6
        """
        value: Bit = _Parser(self.function, pins, conjoin, negate).result()
        return value


class _Parser:
    """Recursive descent over a cell's function, evaluated as it is read: ``!`` binds before ``&``, ``^``, ``|``."""

    def __init__(self, text: str, pins: Mapping[str, Any], conjoin: Any, negate: Any) -> None:
        self.text, self.pins, self.conjoin, self.negate = text, pins, conjoin, negate
        self.tokens = _TOKEN.findall(text)
        if _TOKEN.sub("", text).strip() or not self.tokens:
            raise self.error()

    def error(self) -> HwsimError:
        return HwsimError(f'cell function "{self.text}" is no expression; write pins with ! & ^ | and ( )')

    def result(self) -> Any:
        try:
            value = self.disjunction()
        except RecursionError:
            raise self.error() from None
        if self.tokens:
            raise self.error()
        return value

    def take(self, token: str) -> bool:
        if self.tokens[:1] != [token]:
            return False
        self.tokens.pop(0)
        return True

    def either(self, left: Any, right: Any) -> Any:
        return self.negate(self.conjoin(self.negate(left), self.negate(right)))

    def disjunction(self) -> Any:
        value = self.parity()
        while self.take("|"):
            value = self.either(value, self.parity())
        return value

    def parity(self) -> Any:
        value = self.conjunction()
        while self.take("^"):
            right = self.conjunction()
            value = self.conjoin(self.either(value, right), self.negate(self.conjoin(value, right)))
        return value

    def conjunction(self) -> Any:
        value = self.factor()
        while self.take("&"):
            value = self.conjoin(value, self.factor())
        return value

    def factor(self) -> Any:
        if self.take("!"):
            return self.negate(self.factor())
        if self.take("("):
            value = self.disjunction()
            if not self.take(")"):
                raise self.error()
            return value
        if not self.tokens or self.tokens[0] not in self.pins:
            raise self.error()
        return self.pins[self.tokens.pop(0)]


@dataclass(frozen=True)
class FullAdder:
    """The cell of two outputs that adds three bits; as a :class:`Cell` has it, but for the function."""

    area: float
    capacitance: float = 1.0
    delay: float = 1.0
    resistance: float = 0.0
    leakage: float = 0.0
    energy: float = 0.0

    def cells(self) -> tuple[Cell, Cell]:
        """Return it as two cells on the same pins: the sum has its area, pins and leakage, the carry none."""
        total = Cell("FA", "A ^ B ^ C", **vars(self))
        return total, Cell(
            "FA_CO", "(A & B) | (C & (A | B))", 0.0, 0.0, self.delay, self.resistance, 0.0, self.energy
        )


@dataclass(frozen=True)
class FlipFlop:
    """The D flip-flop: ``delay + resistance * load`` from clock to Q, ``setup`` before the next edge, in ps."""

    name: str
    area: float
    capacitance: float = 1.0
    delay: float = 1.0
    resistance: float = 0.0
    setup: float = 0.0
    leakage: float = 0.0
    energy: float = 0.0
    clock_capacitance: float = field(default=0.0, repr=False)  # fF of the clock pin
    clock_energy: float = field(default=0.0, repr=False)  # fJ inside the cell, both edges of a cycle


@dataclass(frozen=True)
class Sram:
    """Energy of one access to an on-chip memory: ``factor * words ** by_words * width ** by_width`` fJ; its area likewise."""

    factor: float
    by_words: float
    by_width: float
    area_factor: float = field(repr=False)
    area_by_words: float = field(repr=False)
    area_by_width: float = field(repr=False)

    def access_fj(self, words: float, width: int) -> float:
        """Return the energy of reading or writing one of ``words`` words of ``width`` bits.

        >>> round(Sram(3.45, 0.476, 1.076, 1.086, 0.815, 1.143).access_fj(1024, 64))
        8207
        """
        return float(self.factor * words**self.by_words * width**self.by_width)

    def area_um2(self, words: float, width: int) -> float:
        """Return the area of a memory of ``words`` words of ``width`` bits.

        >>> round(Sram(3.45, 0.476, 1.076, 1.086, 0.815, 1.143).area_um2(1024, 32))
        16204
        """
        return float(self.area_factor * words**self.area_by_words * width**self.area_by_width)


@dataclass(frozen=True)
class Technology:
    """A named set of cells; ``nand2`` names the cell whose area is one NAND2 equivalent.

    Where ``physical`` is false the areas are gate counts, and neither um2 nor ps is reported. ``sram`` is there where
    memories of the technology are published, ``full_adder`` where such a cell is known. What synthesis does not read is
    left out of the digest that names its results.
    """

    name: str
    description: str
    cells: tuple[Cell, ...]
    flip_flop: FlipFlop
    nand2: str
    voltage: float = 0.0
    physical: bool = True
    source: str = field(default="", repr=False)  # the file's hash, of a Liberty file
    sram: Sram | None = field(default=None, repr=False)
    full_adder: FullAdder | None = None

    def __str__(self) -> str:
        return f"{self.name} ({self.source})" if self.source else self.name

    @cached_property
    def cell(self) -> Mapping[str, Cell]:
        """Combinational cells by name, the full adder's two outputs among them."""
        adder = self.full_adder.cells() if self.full_adder else ()
        return {cell.name: cell for cell in (*self.cells, *adder)}

    @property
    def nand2_area(self) -> float:
        return self.cell[self.nand2].area

    @property
    def digest(self) -> str:
        """A hash of every fact of the technology that synthesis reads, and of the library written from them."""
        return hashlib.sha256(f"{self!r}\n{self.liberty()}".encode()).hexdigest()

    def liberty(self) -> str:
        """Return the combinational cells as Liberty text, for the mapper only.

        Rise equals fall, and every output slew grows with the input slew: ABC's delay-driven mappers refuse a
        library whose slews do not, or that has cells of no delay. So a delay is at least 0.01, and an area 0.001, since
        the mapper counts cells of no area freely.
        """
        table = '(d) {{ index_1 ("1, 20, 200"); index_2 ("0.5, 5, 50"); values ({}); }}'
        return "\n".join(
            [
                f"library ({self.name}) {{",
                '  time_unit : "1ps"; capacitive_load_unit (1, ff); voltage_unit : "1V"; current_unit : "1mA";',
                '  leakage_power_unit : "1nW"; pulling_resistance_unit : "1kohm"; delay_model : table_lookup;',
                "  lu_table_template (d) { variable_1 : input_net_transition;",
                '    variable_2 : total_output_net_capacitance; index_1 ("1, 20, 200"); index_2 ("0.5, 5, 50"); }',
                *(_liberty_cell(cell, table) for cell in self.cells),
                "}\n",
            ]
        )


def _liberty_cell(cell: Cell, table: str) -> str:
    def values(at: Callable[[float, float], float]) -> str:
        rows = (", ".join(f"{at(slew, load):.4f}" for load in (0.5, 5, 50)) for slew in (1, 20, 200))
        return table.format(", ".join(f'"{row}"' for row in rows))

    least = max(cell.delay, 0.01)
    delay = values(lambda slew, load: least * (0.95 + slew / 400) + cell.resistance * load)
    slew = values(lambda slew, load: least + 2 * cell.resistance * load + 0.1 * slew)
    arcs = f"cell_rise {delay} cell_fall {delay} rise_transition {slew} fall_transition {slew}"
    pins = [f"pin ({pin}) {{ direction : input; capacitance : {cell.capacitance}; }}" for pin in cell.inputs]
    timing = [
        f'timing () {{ related_pin : "{pin}"; timing_sense : non_unate; {arcs} }}' for pin in cell.inputs
    ]
    output = f'pin (Y) {{ direction : output; function : "{cell.function}"; {" ".join(timing)} }}'
    area = f"area : {max(cell.area, 0.001)}; cell_leakage_power : {cell.leakage};"
    return f"  cell ({cell.name}) {{ {area} {' '.join(pins)} {output} }}"


def _parse(name: str, text: str) -> Technology:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise HwsimError(
            f'technology "{name}" is no TOML: {error}; copy one of hwsim/cost/libraries'
        ) from None
    return _build(name, table)


def _build(name: str, table: dict[str, Any]) -> Technology:
    missing = {"description", "cells", "flip_flop", "nand2"} - table.keys()
    if missing:
        raise HwsimError(f'technology "{name}" lacks {", ".join(sorted(missing))}; add it')
    rows = _table(name, "cells", table.pop("cells"))
    cells = [_record(name, Cell, {**_table(name, key, row), "name": key}) for key, row in rows.items()]
    flip_flop = _record(name, FlipFlop, _table(name, "flip_flop", table.pop("flip_flop")))
    whole = {**table, "name": name, "cells": tuple(cells), "flip_flop": flip_flop}
    if "sram" in table:
        whole["sram"] = _record(name, Sram, _table(name, "sram", table["sram"]))
    if "full_adder" in table:
        whole["full_adder"] = _record(name, FullAdder, _table(name, "full_adder", table["full_adder"]))
    result: Technology = _record(name, Technology, whole)
    _check(result)
    return result


def _table(technology: str, key: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise HwsimError(f'technology "{technology}": {key} = {value!r} must be a table; correct it')
    return value


_RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "float": ("a number from 0", lambda v: type(v) in (int, float) and 0 <= v < 1e9),
    "str": ("text", lambda v: isinstance(v, str)),
    "bool": ("true or false", lambda v: isinstance(v, bool)),
}


def _record(technology: str, kind: Any, row: Mapping[str, Any]) -> Any:
    """Build one dataclass from a table's row, each value of its field's type."""
    known = {field.name: str(field.type) for field in fields(kind)}
    for key, value in row.items():
        if key not in known:
            raise unknown(f'key of technology "{technology}"', key, known)
        rule, holds = _RULES.get(known[key], ("", lambda value: True))
        if not holds(value):
            raise HwsimError(f'technology "{technology}": {key} = {value!r} must be {rule}; correct it')
    try:
        return kind(**row)
    except TypeError as error:
        raise HwsimError(
            f'technology "{technology}", {row.get("name", "flip_flop")}: {error}; add it'
        ) from None


def _check(technology: Technology) -> None:
    for name in (*(cell.name for cell in technology.cells), technology.flip_flop.name):
        if not _NAME.fullmatch(name):
            raise HwsimError(f'technology "{technology}": "{name}" is no cell name; write NAND2, say')
    for cell in technology.cells:
        if "Y" in cell.inputs or not 1 <= len(cell.inputs) <= 6:
            raise HwsimError(
                f'technology "{technology}": {cell.name} needs 1 to 6 inputs, none named Y; rename'
            )
        cell.output(dict.fromkeys(cell.inputs, 0), int.__and__, lambda bit: bit ^ 1)
    if technology.full_adder and len(technology.cell) < len(technology.cells) + 2:
        raise HwsimError(
            f'technology "{technology}" has a full_adder and a cell FA or FA_CO besides; rename the cell'
        )
    if not {"A", "!A"} <= {cell.function for cell in technology.cells}:
        raise HwsimError(
            f'technology "{technology}" lacks a cell of function "A" or "!A"; the mapper needs both'
        )
    if technology.nand2 not in technology.cell or technology.nand2_area <= 0:
        raise HwsimError(
            f'technology "{technology}": nand2 = "{technology.nand2}" must name a cell with an area'
        )


def read_liberty(path: Path) -> Technology:
    """Return the technology of a Liberty file; :mod:`hwsim.cost.standard_cells` says how it is reduced."""
    table = standard_cells.read(path)
    return _build(str(table["name"]), table)


def technology(text: str, liberty: str = "") -> Technology:
    """Return a technology by its name, from a Liberty file (.lib, .lib.gz) or from a TOML file like those beside this one.

    ``liberty`` is the path of a Liberty file, whatever its name, in place of the default open45.

    >>> technology("open45").nand2_area
    0.798
    """
    if liberty:
        if text != "open45":
            raise HwsimError(f"give technology {text} or a Liberty file, not both")
        return read_liberty(Path(liberty))
    if text.endswith(".toml"):
        return _parse(Path(text).stem, read_text(Path(text), "technology file"))
    if text.endswith((".lib", ".lib.gz")):
        return read_liberty(Path(text))
    return look_up(
        "technology", text, TECHNOLOGIES, "give the path of a technology file (.toml, .lib or .lib.gz)"
    )


TECHNOLOGIES: dict[str, Technology] = {
    name: _parse(name, (_LIBRARIES / f"{name}.toml").read_text(encoding="utf-8"))
    for name in ("open45", "open130", "gates")
}
"""Built-in technologies by name."""
