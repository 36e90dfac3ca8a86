"""Technologies: facts against the libraries' published geometry, functions against Python's own operators."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from hwsim.cost.technology import TECHNOLOGIES, Cell, Technology, technology
from hwsim.errors import HwsimError

CELLS = [pytest.param(t, c, id=f"{t}-{c.name}") for t in TECHNOLOGIES.values() for c in t.cells]
EXAMPLE = """
description = "two cells"
nand2 = "NAND2"
[cells]
INV = { area = 0.5, function = "!A" }
BUF = { area = 1.0, function = "A" }
NAND2 = { area = 1.0, function = "!(A & B)" }
[flip_flop]
name = "DFF"
area = 6
"""


@pytest.mark.parametrize(
    ("name", "site_um2"),
    [
        ("open45", 0.19 * 1.4),  # the placement site of the Nangate 45 nm Open Cell Library's LEF
        ("open130", 0.46 * 2.72),  # the site "unithd" of sky130_fd_sc_hd's LEF
    ],
)
def test_every_cell_is_a_whole_number_of_placement_sites(name: str, site_um2: float) -> None:
    target = TECHNOLOGIES[name]
    for cell in (*target.cells, target.flip_flop):
        assert cell.area / site_um2 == pytest.approx(round(cell.area / site_um2), abs=1e-6), cell.name


@pytest.mark.parametrize(("target", "cell"), CELLS)
def test_a_cell_function_is_pythons_reading_of_it(target: Technology, cell: Cell) -> None:
    for bits in itertools.product((0, 1), repeat=len(cell.inputs)):
        pins = dict(zip(cell.inputs, bits, strict=True))
        expected = eval(cell.function.replace("!", "~"), {}, pins) & 1
        assert cell.output(pins, int.__and__, lambda bit: bit ^ 1) == expected


@pytest.mark.parametrize(
    ("function", "arguments", "expected"),
    [
        ("A | B & C", (1, 0, 0), 1),
        ("A ^ B & C", (1, 1, 0), 1),
        ("A | B ^ C", (1, 1, 1), 1),
        ("!!A", (1,), 1),
        ("!(A | B) ^ C", (0, 0, 1), 0),
    ],
)
def test_precedence_is_negation_and_parity_or(
    function: str, arguments: tuple[int, ...], expected: int
) -> None:
    cell = Cell("X", function, 1.0)
    pins = dict(zip(cell.inputs, arguments, strict=True))
    assert cell.output(pins, int.__and__, lambda bit: bit ^ 1) == expected


def test_every_delay_and_slew_in_liberty_is_positive_and_slews_grow_with_the_input_slew() -> None:
    for target in TECHNOLOGIES.values():
        for table in target.liberty().split("values (")[1:]:
            rows = [
                [float(x) for x in row.split(",")] for row in table.split(")")[0].strip('"').split('", "')
            ]
            assert len(rows) == 3 and all(value > 0 for row in rows for value in row)
            assert rows == sorted(rows) and all(row == sorted(row) for row in rows)


def test_gates_are_the_full_binary_basis() -> None:
    """Wegener, "The Complexity of Boolean Functions" (1987): ten of the 16 functions depend on both inputs."""
    target = TECHNOLOGIES["gates"]
    tables = set()
    for cell in target.cells:
        for flips in itertools.product((0, 1), repeat=3):
            if len(cell.inputs) == 2:
                assert cell.area == 1
                tables.add(
                    tuple(
                        flips[2]
                        ^ cell.output({"A": a ^ flips[0], "B": b ^ flips[1]}, int.__and__, lambda x: x ^ 1)
                        for a, b in itertools.product((0, 1), repeat=2)
                    )
                )
    assert len(tables) == 10 and target.cell["INV"].area == 0 and not target.physical


def test_a_users_technology_is_one_toml_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(EXAMPLE)
    mine = technology(str(path))
    assert str(mine) == "mine" and mine.nand2_area == 1.0 and mine.flip_flop.area == 6
    assert mine.digest != replace(mine, voltage=1.0).digest


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('description = "two cells"', "", "lacks description"),
        ("[cells]", "[cells", "no TOML"),
        ('"!(A & B)"', '"!(A & B"', "no expression"),
        ('"!(A & B)"', '"A @ B"', "no expression"),
        ('"!(A & B)"', '"A B"', "no expression"),
        ('"!(A & B)"', '""', "1 to 6 inputs"),
        ('"!(A & B)"', '"A & Y"', "none named Y"),
        ('"!(A & B)"', '"A&B&C&D&E&F&G"', "1 to 6 inputs"),
        ("area = 0.5", "area = -0.5", "must be a number from 0"),
        ("area = 0.5", "area = nan", "must be a number from 0"),
        ("area = 0.5", "area = true", "must be a number from 0"),
        ("area = 0.5", 'area = "0.5"', "must be a number from 0"),
        ("area = 0.5, ", "", "area"),
        ("area = 0.5", "size = 0.5", 'unknown key of technology "mine" "size"'),
        ('nand2 = "NAND2"', 'nand2 = "NAND3"', "must name a cell"),
        ('nand2 = "NAND2"', "nand2 = 2", "must be text"),
        ("INV =", '"inv;" =', "no cell name"),
        ('name = "DFF"', 'name = "d\\n`include"', "no cell name"),
        ('"!(A & B)"', f'"{"(" * 3000}A & B{")" * 3000}"', "no expression"),
        ('area = 1.0, function = "!(', 'area = 0, function = "!(', "must name a cell with an area"),
        ('function = "!A"', 'function = "!B"', "the mapper needs both"),
        ('function = "!A"', "function = 3", "must be text"),
        ("[cells]", "cells = 3\n[x]", "a table"),
        ('INV = { area = 0.5, function = "!A" }', "INV = 3", "a table"),
        ("[flip_flop]", "[[flip_flop]]", "a table"),
        ('name = "DFF"', "name = 1", "must be text"),
        ('nand2 = "NAND2"', 'nand2 = "NAND2"\nphysical = 1', "true or false"),
    ],
)
def test_a_malformed_technology_is_one_sentence(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(EXAMPLE.replace(old, new, 1))
    with pytest.raises(HwsimError, match=sentence):
        technology(str(path))


def test_unknown_names_and_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HwsimError, match='unknown technology "open46"; known: open45, open130, gates'):
        technology("open46")
    with pytest.raises(HwsimError, match="cannot read the technology file"):
        technology(str(tmp_path / "none.toml"))
