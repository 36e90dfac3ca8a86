"""The cells of a Liberty file as the table of a technology: what of it a cost is computed from.

Kept are the cells of one output whose function reads every input, at most six, and the plainest flip-flop.
Left out are cells marked ``dont_use``, tie cells, latches, cells of several outputs, of buses or with a third
state. Delay is reduced to one straight line in the load, as :mod:`hwsim.cost.timing` reads it:

- the input slew is the one that an inverter driving four of its own kind reproduces at its output, of the
  library's smallest inverter;
- a cell's delay at a load is the mean of rise and fall on its slowest arc; the line goes through the delays at
  the loads of one and of eight such inverters. Between table entries delays are interpolated linearly, beyond
  them extrapolated, as static timing analysis does;
- capacitance is the mean over the inputs, setup the larger of rise and fall, internal energy the mean over arcs,
  rise and fall at four such inverters; the clock's is that of both edges at the flip-flop's clock pin, each the mean
  over its stated conditions.
"""

from __future__ import annotations

import hashlib
import math
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from hwsim.cost import liberty, logic
from hwsim.cost.liberty import Group, error_at, quote
from hwsim.errors import HwsimError

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")
_LETTERS = "ABCDEF"
_INVERTER, _BUFFER, _NAND2 = (1, 0b01), (1, 0b10), (2, 0b0111)
_SCALE = {
    "time_unit": ("s", {"f": 1e-3, "p": 1.0, "n": 1e3, "u": 1e6}),
    "capacitive_load_unit": ("f", {"f": 1.0, "p": 1e3, "n": 1e6}),
    "leakage_power_unit": ("w", {"f": 1e-6, "p": 1e-3, "n": 1.0, "u": 1e3, "m": 1e6}),
    "voltage_unit": ("v", {"m": 1e-3, "": 1.0}),
}
_AXIS = {
    "input_net_transition": "slew",
    "input_transition_time": "slew",
    "related_pin_transition": "slew",
    "constrained_pin_transition": "slew",
    "total_output_net_capacitance": "load",
}
_ARC = ("", "combinational", "combinational_rise", "combinational_fall")


@dataclass(frozen=True)
class _Table:
    """Values over axes of ("slew" or "load", its grid), in the file's units."""

    axes: tuple[tuple[str, tuple[float, ...]], ...]
    values: tuple[float, ...]

    def at(self, slew: float, load: float) -> float:
        """Return the value between grid points, or beyond them, by straight lines."""
        if not self.axes:
            return self.values[0]
        (name, grid), *rest = self.axes
        size = len(self.values) // len(grid)

        def row(index: int) -> float:
            return _Table(tuple(rest), self.values[index * size : (index + 1) * size]).at(slew, load)

        if len(grid) == 1:
            return row(0)
        low = min(max(bisect_right(grid, slew if name == "slew" else load) - 1, 0), len(grid) - 2)
        share = ((slew if name == "slew" else load) - grid[low]) / (grid[low + 1] - grid[low])
        return row(low) * (1 - share) + row(low + 1) * share


@dataclass(frozen=True)
class _Gate:
    """A cell that may be used: its group, its output and inputs by their pin groups."""

    name: str
    group: Group
    area: float
    output: Group
    inputs: tuple[Group, ...]
    function: str = ""
    kind: tuple[int, int] = (0, 0)  # number of inputs and truth table


@dataclass(frozen=True)
class _Library:
    """A library's units and templates, and the operating point that its tables are read at."""

    what: str
    time_ps: float
    load_ff: float
    leakage_nw: float
    volts: float
    templates: dict[str, Group]
    slew: float = 0.0  # in the file's unit, as load is
    load: float = 0.0  # of one inverter

    def error(self, group: Group, complaint: str) -> HwsimError:
        return error_at(self.what, group.line, complaint)

    def number(self, group: Group, name: str, default: float = 0.0) -> float:
        """Return an attribute as a finite number below a billion."""
        if name not in group.attributes:
            return default
        found = group.attributes[name]
        return _number(self.what, found.line, name, " ".join(found.values))

    def numbers(self, group: Group, name: str) -> tuple[float, ...]:
        found = group.attributes[name]
        words = re.split(r"[\s,\\]+", " ".join(found.values).strip(" \t\r\n,\\"))
        return tuple(_number(self.what, found.line, name, word) for word in words)

    def table(self, group: Group) -> _Table:
        """Return a lookup table, its grid its own or its template's."""
        if "values" not in group.attributes:
            raise self.error(group, f"the table {group.name} has no values; write values (...)")
        name = group.arguments[0] if group.arguments else "scalar"
        template = self.templates.get(name)
        if template is None and name != "scalar":
            raise self.error(group, f"the table {group.name} names no template of the library; add it")
        axes = [] if template is None else self.axes(group, template)
        values = self.numbers(group, "values")
        if len(values) != math.prod(len(grid) for _, grid in axes):
            raise self.error(group, f"{group.name} has {len(values)} values for another grid; correct it")
        return _Table(tuple(axes), values)

    def axes(self, group: Group, template: Group) -> list[tuple[str, tuple[float, ...]]]:
        result = []
        for index, variable in (("index_1", "variable_1"), ("index_2", "variable_2")):
            quantity = template.text(variable)
            if not quantity:
                break
            place = group if index in group.attributes else template
            if quantity not in _AXIS or index not in place.attributes:
                raise self.error(
                    group,
                    f"{group.name} depends on {quote(quantity)} without a grid or meaning here; "
                    "write tables over transition and load",
                )
            grid = self.numbers(place, index)
            if any(a >= b for a, b in pairwise(grid)):
                raise self.error(place, f"{index} must grow from number to number; sort it")
            result.append((_AXIS[quantity], grid))
        if "variable_3" in template.attributes:
            raise self.error(
                group, f"{group.name} has three variables; write tables over transition and load"
            )
        return result

    def mean(self, arc: Group, names: Sequence[str], slew: float, load: float) -> float | None:
        """Return the mean of an arc's tables of these names, or nothing where it has none."""
        found = [self.table(group).at(slew, load) for group in arc.of(*names)]
        return math.fsum(found) / len(found) if found else None


def _number(what: str, line: int, name: str, text: str) -> float:
    try:
        value = math.nan if "_" in text else float(text)
    except ValueError:
        value = math.nan
    if not abs(value) < 1e9:
        raise error_at(what, line, f"{name} {quote(text)} is no finite number below 1e9; correct it")
    return value


def read(path: Path) -> dict[str, Any]:
    """Return a Liberty file's cells as the table that a technology file has, with the library's name and hash."""
    content = liberty.read(path)
    return {**_read(content, liberty.name_of(path))}


@lru_cache(maxsize=4)
def _read(content: bytes, what: str) -> dict[str, Any]:
    root = liberty.parse(content, what)
    name = root.arguments[0] if root.arguments else ""
    if not _NAME.fullmatch(name):
        raise error_at(what, root.line, f"{quote(name)} is no library name; {_NAMING}")
    library = _library(root, what)
    cells = root.of("cell")
    _refuse_duplicates(library, cells)
    gates = [gate for cell in cells if (gate := _gate(library, cell))]
    inverter = _smallest(library, gates, _INVERTER, "an inverter")
    library = _at_operating_point(library, inverter)
    flip_flop = _flip_flop(library, cells)
    slew_ps = library.slew * library.time_ps
    _smallest(library, gates, _BUFFER, "a buffer")
    return {
        "name": name,
        "source": f"sha256 {hashlib.sha256(content).hexdigest()[:16]}",
        "description": f"Liberty library {name}: {len(gates)} of {len(cells)} cells and a flip-flop, "
        f"linear delays at an input slew of {slew_ps:.4g} ps, no wires",
        "voltage": library.number(root, "nom_voltage") * library.volts,
        "nand2": _smallest(library, gates, _NAND2, "a two-input NAND, the unit of area,").name,
        "cells": {gate.name: _row(library, gate) for gate in gates},
        "flip_flop": flip_flop,
    }


_NAMING = "use a letter, then at most 99 letters, digits or _"


def _library(root: Group, what: str) -> _Library:
    factor = {name: _unit(root, what, name) for name in _SCALE}
    return _Library(
        what,
        factor["time_unit"],
        factor["capacitive_load_unit"],
        factor["leakage_power_unit"],
        factor["voltage_unit"],
        {
            group.arguments[0]: group
            for group in root.of("lu_table_template", "power_lut_template")
            if group.arguments
        },
    )


def _unit(root: Group, what: str, name: str) -> float:
    """Return a unit in ps, fF, nW or V; the last two are 1 nW and 1 V where the file is silent."""
    letter, scale = _SCALE[name]
    default = {"leakage_power_unit": "1nW", "voltage_unit": "1V"}.get(name, "")
    text = root.text(name, default).replace(" ", "").lower()
    found = re.fullmatch(r"([0-9.]{1,20})([a-z]?)" + letter, text)
    if not found or found[2] not in scale:
        raise error_at(what, root.line, f"{name} is {quote(text)}; write 1ns, (1, pf), 1nW or 1V, say")
    factor = _number(what, root.line, name, found[1]) * scale[found[2]]
    if factor <= 0:
        raise error_at(what, root.line, f"{name} must be above 0, not {quote(text)}; correct it")
    return factor


def _refuse_duplicates(library: _Library, cells: Sequence[Group]) -> None:
    seen: dict[str, int] = {}
    for cell in cells:
        name = cell.arguments[0] if cell.arguments else ""
        if not _NAME.fullmatch(name) or name == "datapath":
            raise library.error(cell, f"{quote(name)} is no cell name; {_NAMING}, and not datapath")
        if name in seen:
            raise library.error(
                cell, f"cell {name} is there already, in line {seen[name]}; remove one of them"
            )
        seen[name] = cell.line


def _left_out(cell: Group) -> bool:
    banned = cell.text("dont_use").lower() == "true" or "clock_gating_integrated_cell" in cell.attributes
    return banned or cell.text("is_macro_cell").lower() == "true" or bool(cell.of("bus", "bundle"))


def _pins(cell: Group, direction: str) -> list[Group]:
    return [
        replace(pin, arguments=(name,))
        for pin in cell.of("pin")
        if pin.text("direction") == direction
        for name in pin.arguments
    ]


def _gate(library: _Library, cell: Group) -> _Gate | None:
    """Return a cell that may be used, or nothing where it is of no use between registers."""
    outputs, inputs = _pins(cell, "output"), _pins(cell, "input")
    if (
        _left_out(cell)
        or cell.of("ff", "ff_bank", "latch", "latch_bank", "statetable")
        or len(outputs) != 1
        or "three_state" in outputs[0].attributes
        or not 1 <= len(inputs) <= len(_LETTERS)
    ):
        return None
    name, output = cell.arguments[0], outputs[0]
    if "function" not in output.attributes:
        raise library.error(output, f"the output of cell {name} has no function; add it or dont_use : true")
    if output.text("function").strip("() ") in ("0", "1"):
        return None
    expression, order = _function(library, name, output, inputs)
    if len(logic.pins(expression)) < len(inputs):
        return None
    kind = (len(inputs), logic.truth_table(expression, order))
    function = logic.written(expression, dict(zip(order, _LETTERS, strict=False)))
    function = {_INVERTER: "!A", _BUFFER: "A"}.get(kind, function)
    return _Gate(name, cell, _area(library, cell), output, tuple(inputs), function, kind)


def _function(
    library: _Library, name: str, output: Group, inputs: Sequence[Group]
) -> tuple[logic.Expression, list[str]]:
    text, order = output.text("function"), sorted(pin.arguments[0] for pin in inputs)
    line = output.attributes["function"].line
    try:
        expression = logic.parse(text)
    except ValueError as error:
        complaint = f"function {quote(text)} of cell {name} {error}; correct it or write dont_use : true"
        raise error_at(library.what, line, complaint) from None
    unknown = sorted(logic.pins(expression) - set(order))
    if unknown or len(set(order)) < len(order):
        complaint = (
            f"function {quote(text)} of cell {name} reads {quote(' '.join(unknown))}, no input of its own"
        )
        raise error_at(library.what, line, f"{complaint}; correct it")
    return expression, order


def _area(library: _Library, cell: Group) -> float:
    area = library.number(cell, "area")
    if area <= 0:
        line = cell.attributes["area"].line if "area" in cell.attributes else cell.line
        complaint = f"cell {cell.arguments[0]} has area {area:g}; write one above 0 or dont_use : true"
        raise error_at(library.what, line, complaint)
    return area


def _smallest(library: _Library, gates: Sequence[_Gate], kind: tuple[int, int], what: str) -> _Gate:
    found = [gate for gate in gates if gate.kind == kind]
    if not found:
        raise HwsimError(f"{library.what} lacks {what} that may be used; add a cell to it")
    return min(found, key=lambda gate: (gate.area, gate.name))


def _capacitance(library: _Library, pins: Sequence[Group]) -> float:
    """Return the mean capacitance of input pins, in the file's unit."""
    found = [library.number(pin, "capacitance", -1.0) for pin in pins]
    for pin, value in zip(pins, found, strict=True):
        if value < 0:
            raise library.error(pin, f"input {quote(pin.arguments[0])} has no capacitance from 0; write it")
    return math.fsum(found) / len(found)


def _at_operating_point(library: _Library, inverter: _Gate) -> _Library:
    """Return the library at the slew that an inverter driving four of its kind reproduces."""
    load = _capacitance(library, inverter.inputs)
    if load <= 0:
        raise library.error(inverter.group, f"cell {inverter.name} has no input capacitance; write it")
    arcs = _arcs(inverter.output, _ARC)
    slew = 0.0
    for _ in range(40):
        found = [library.mean(arc, ("rise_transition", "fall_transition"), slew, 4 * load) for arc in arcs]
        slew = max((value for value in found if value is not None), default=0.0)
        if not 0 <= slew < 1e6:
            raise library.error(
                inverter.group, f"the transitions of cell {inverter.name} never settle; correct them"
            )
    return replace(library, slew=float(f"{slew:.4g}"), load=load)


def _arcs(output: Group, types: Sequence[str]) -> list[Group]:
    return [arc for arc in output.of("timing") if arc.text("timing_type") in types]


def _delay(library: _Library, arc: Group, load: float) -> float | None:
    """Return an arc's delay at a load, in the file's unit: the mean of rise and fall."""
    tables = library.mean(arc, ("cell_rise", "cell_fall"), library.slew, load)
    if tables is not None or not {"intrinsic_rise", "intrinsic_fall"} & arc.attributes.keys():
        return tables
    rise, fall = (
        library.number(arc, f"intrinsic_{edge}") + load * library.number(arc, f"{edge}_resistance")
        for edge in ("rise", "fall")
    )
    return (rise + fall) / 2


def _line(library: _Library, gate: _Gate, types: Sequence[str]) -> dict[str, float]:
    """Return ``delay`` in ps and ``resistance`` in ps/fF of a cell's slowest arc."""

    def slowest(load: float) -> float:
        found = [
            delay for arc in _arcs(gate.output, types) if (delay := _delay(library, arc, load)) is not None
        ]
        if not found:
            raise library.error(
                gate.output, f"the output of cell {gate.name} has no delay; add timing or dont_use : true"
            )
        return max(found)

    near, far = slowest(library.load), slowest(8 * library.load)
    slope = max((far - near) / (7 * library.load), 0.0)
    delay = max(near - slope * library.load, 0.0)
    return {
        "delay": _rounded(delay * library.time_ps),
        "resistance": _rounded(slope * library.time_ps / library.load_ff),
    }


def _rounded(value: float) -> float:
    """Drop the last digits, which only tell how the interpolation was rounded."""
    return float(f"{value:.9g}")


def _row(library: _Library, gate: _Gate) -> dict[str, Any]:
    return {"function": gate.function, **_physics(library, gate, gate.inputs, _ARC)}


def _physics(library: _Library, gate: _Gate, pins: Sequence[Group], types: Sequence[str]) -> dict[str, float]:
    """Return area, capacitance of ``pins``, delay, leakage and energy in a technology's units."""
    return {
        "area": gate.area,
        "capacitance": _rounded(_capacitance(library, pins) * library.load_ff),
        **_line(library, gate, types),
        "leakage": _rounded(_leakage(library, gate.group) * library.leakage_nw),
        "energy": _energy(library, gate.output),
    }


def _leakage(library: _Library, cell: Group) -> float:
    """Return the cell's leakage, or the mean over its stated conditions."""
    if "cell_leakage_power" in cell.attributes:
        return max(library.number(cell, "cell_leakage_power"), 0.0)
    found = [library.number(group, "value") for group in cell.of("leakage_power")]
    return max(math.fsum(found) / len(found), 0.0) if found else 0.0


def _energy(library: _Library, output: Group) -> float:
    """Return the internal energy of an output transition in fJ."""
    return _rounded(max(_mean_energy(library, output, ("rise_power", "fall_power", "power")), 0.0))


def _mean_energy(library: _Library, pin: Group, names: Sequence[str]) -> float:
    """Return the mean of a pin's power tables in fJ: their unit is that of load times voltage squared."""
    groups = pin.of("internal_power")
    found = [library.mean(group, names, library.slew, 4 * library.load) for group in groups]
    stated = [value for value in found if value is not None]
    mean = math.fsum(stated) / len(stated) if stated else 0.0
    return mean * library.load_ff * library.volts**2


def _flip_flop(library: _Library, cells: Sequence[Group]) -> dict[str, Any]:
    """Return the smallest flip-flop on the rising edge, with as few clears and presets as there are."""
    found = [one for cell in cells if (one := _storage(library, cell))]
    if not found:
        raise HwsimError(
            f"{library.what} lacks a flip-flop whose next state is one pin, clocked on a rising edge; add one"
        )
    _, gate, data = min(found, key=lambda one: (one[0], one[1].area, one[1].name))
    return {
        "name": gate.name,
        **_physics(library, gate, [data], ("rising_edge",)),
        "setup": _rounded(_setup(library, data) * library.time_ps),
        **_clock(library, gate),
    }


def _clock(library: _Library, gate: _Gate) -> dict[str, float]:
    """Return the capacitance of a flip-flop's clock pin and the internal energy of a clock cycle there, both edges."""
    name = gate.group.of("ff")[0].text("clocked_on").strip("() ")
    (pin,) = (pin for pin in gate.inputs if pin.arguments[0] == name)
    edges = [_mean_energy(library, pin, (f"{edge}_power", "power")) for edge in ("rise", "fall")]
    return {
        "clock_capacitance": _rounded(max(library.number(pin, "capacitance"), 0.0) * library.load_ff),
        "clock_energy": _rounded(max(math.fsum(edges), 0.0)),
    }


def _setup(library: _Library, data: Group) -> float:
    """Return the larger setup time of rise and fall, both edges at the library's slew; 0 where none is stated."""
    times = [0.0]
    for arc in _arcs(data, ("setup_rising",)):
        tables = arc.of("rise_constraint", "fall_constraint")
        times += [library.table(group).at(library.slew, library.slew) for group in tables]
        times += [library.number(arc, f"intrinsic_{edge}") for edge in ("rise", "fall")]
    return max(times)


def _storage(library: _Library, cell: Group) -> tuple[int, _Gate, Group] | None:
    """Return a plain flip-flop's number of clears and presets, its Q and its data pin; nothing for another cell."""
    states = cell.of("ff")
    if _left_out(cell) or len(states) != 1 or not states[0].arguments:
        return None
    state, inputs = states[0], {pin.arguments[0]: pin for pin in _pins(cell, "input")}
    data, clock = (state.text(name).strip("() ") for name in ("next_state", "clocked_on"))
    outputs = [
        pin for pin in _pins(cell, "output") if pin.text("function").strip("() ") == state.arguments[0]
    ]
    if data not in inputs or clock not in inputs or not outputs:
        return None
    forced = len({"clear", "preset"} & state.attributes.keys())
    gate = _Gate(cell.arguments[0], cell, _area(library, cell), outputs[0], tuple(inputs.values()))
    return forced, gate, inputs[data]
