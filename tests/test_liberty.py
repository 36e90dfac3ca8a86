"""Liberty files: cells against the same library as a TOML technology, refusals of hostile ones, mapping points."""

from __future__ import annotations

import gzip
import itertools
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hwsim.cost import liberty, logic, synthesize, yosys
from hwsim.cost.hardware import Hardware
from hwsim.cost.synthesis import MAPPINGS, THREE, map_onto
from hwsim.cost.technology import Technology, read_liberty, technology
from hwsim.cost.timing import critical_path_ps
from hwsim.datapath.mac import Mac
from hwsim.datapath.netlist import clock_cycle, verilog
from hwsim.errors import HwsimError
from hwsim.formats import Int
from hwsim.steps.cost import cost_datapath

SMALL_MAC = Mac(Int(3), Int(3), Int(8))

TOML = """
description = "five cells"
nand2 = "nd2"
voltage = 0.9
[cells]
inv = { area = 0.5, capacitance = 2.0, delay = 10, resistance = 2.5, leakage = 3.5, energy = 1.0, function = "!A" }
buf = { area = 0.75, capacitance = 1.5, delay = 20, resistance = 2.0, leakage = 5, function = "A" }
nd2 = { area = 1.0, capacitance = 1.75, delay = 14, resistance = 3.0, leakage = 6, function = "!(A & B)" }
xo2 = { area = 2.25, capacitance = 2.5, delay = 30, resistance = 3.5, leakage = 9, function = "(A ^ B)" }
oai = { area = 1.25, capacitance = 1.5, delay = 16, resistance = 3.25, leakage = 7, function = "!((A | B) & C)" }
[flip_flop]
name = "dff"
area = 5.5
capacitance = 1.25
delay = 80
resistance = 2.0
setup = 35
leakage = 20
clock_capacitance = 1.0
clock_energy = 8.0
"""

LIBERTY = r"""
/* Five cells, a flip-flop and what must be left out: the TOML above in ns and pF. */
library (five) {
  delay_model : table_lookup;
  time_unit : "1ns";  voltage_unit : "1V"
  capacitive_load_unit (1, pf);
  leakage_power_unit : "1nW";
  nom_voltage : 0.9;
  define (made_up, cell, string);
  lu_table_template (load_first) {
    variable_1 : total_output_net_capacitance;
    variable_2 : input_net_transition;
    index_1 ("0.001, 0.004, 0.1");
    index_2 ("0.01, 0.3");
  }
  lu_table_template (by_load) { variable_1 : total_output_net_capacitance; index_1 ("0, 1"); }
  power_lut_template (by_slew) { variable_1 : input_transition_time; index_1 ("0.01, 0.3"); }
  lu_table_template (setup) {
    variable_1 : related_pin_transition; variable_2 : constrained_pin_transition;
    index_1 ("0.01, 0.3"); index_2 ("0.01, 0.3");
  }
  operating_conditions (typical) { process : 1; voltage : 0.9; temperature : 25; }

  cell (inv) { // delays of rise and fall differ; their mean is 10 ps + 2.5 ps/fF
    area : 0.5; cell_leakage_power : 3.5; made_up : "module; endmodule";
    pg_pin (VDD) { pg_type : primary_power; }
    pin (in) { direction : input; capacitance : 0.002; }
    pin (out) { direction : output; function : "in'"; max_capacitance : VDD / 2 + 0.05;
      timing () { related_pin : "in";
        cell_rise (load_first) { values ("0.0145, 0.0145", \
                                         "0.0220, 0.0220", "0.262, 0.262"); }
        cell_fall (load_first) { values ("0.0105, 0.0105", "0.018, 0.018", "0.258, 0.258"); }
        rise_transition (scalar) { values ("0.02"); }
        fall_transition (scalar) { values ("0.02"); }
      }
      internal_power () { related_pin : "in";
        rise_power (by_slew) { values ("0.0015, 0.0015"); }
        fall_power (scalar) { values (0.0005); }
      }
    }
  }
  cell ("buf") {
    area : 0.75; leakage_power () { when : "a"; value : 4; } leakage_power () { when : "!a"; value : 6; }
    pin (a) { direction : "input"; capacitance : 1.5e-3; }
    pin (y) { direction : "output"; function : "(a)";
      timing () { related_pin : "a"; intrinsic_rise : 0.021; intrinsic_fall : 0.019;
        rise_resistance : 1.5; fall_resistance : 2.5; } }
  }
  cell (nd2) {
    area : 1; cell_leakage_power : 6;
    pin (B) { direction : input; capacitance : 0.002; }
    pin (A) { direction : input; capacitance : 0.0015; }
    pin (Y) { direction : output; function : "(A B)'";
      timing () { related_pin : "A"; cell_rise (by_load) { values ("0.014, 3.014"); } }
      timing () { related_pin : "B"; cell_rise (by_load) { values ("0.013, 3.013"); } }
      timing () { related_pin : "B"; timing_type : three_state_disable;
        cell_rise (by_load) { values ("9, 9"); } } }
  }
  cell (xo2) {
    area : 2.25; cell_leakage_power : 9;
    pin (A, B) { direction : input; capacitance : 0.0025; }
    pin (Y) { direction : output; function : "A ^ B";
      timing () { related_pin : "A B"; cell_rise (by_load) { values ("0.030, 3.530"); } } }
  }
  cell (oai) {
    area : 1.25; cell_leakage_power : 7;
    pin (A1) { direction : input; capacitance : 0.0015; }
    pin (A2) { direction : input; capacitance : 0.0015; }
    pin (B) { direction : input; capacitance : 0.0015; }
    pin (Y) { direction : output; function : "!((A1 + A2) * B)";
      timing () { related_pin : "A1"; cell_fall (by_load) { index_1 ("0, 2"); values ("0.016, 6.516"); } } }
  }
  cell (dff) {
    area : 5.5; cell_leakage_power : 20;
    ff (IQ, IQN) { clocked_on : "CK"; next_state : "D"; }
    pin (D) { direction : input; capacitance : 0.00125;
      timing () { related_pin : "CK"; timing_type : setup_rising;
        rise_constraint (setup) { values ("0.035, 0.035", "0.035, 0.035"); }
        fall_constraint (setup) { values ("0.025, 0.025", "0.025, 0.025"); } }
      timing () { related_pin : "CK"; timing_type : hold_rising;
        rise_constraint (setup) { values ("9, 9", "9, 9"); } } }
    pin (CK) { direction : input; capacitance : 0.001; clock : true;
      internal_power () { when : "D"; rise_power (scalar) { values ("0.003"); } fall_power (scalar) { values ("0.005"); } }
      internal_power () { when : "!D"; rise_power (scalar) { values ("0.001"); } fall_power (scalar) { values ("0.007"); } } }
    pin (Q) { direction : output; function : "IQ";
      timing () { related_pin : "CK"; timing_type : rising_edge; cell_rise (by_load) { values ("0.08, 2.08"); } } }
    pin (QN) { direction : output; function : "IQN"; }
  }
  cell (dffr) { area : 1.0; ff (IQ, IQN) { clocked_on : "CK"; next_state : "D"; clear : "!R"; }
    pin (D, CK, R) { direction : input; capacitance : 0.001; } pin (Q) { direction : output; function : "IQ"; } }
  cell (scan) { area : 1.0; ff (IQ, IQN) { clocked_on : "CK"; next_state : "(D !S) + (T S)"; }
    pin (D, CK, S, T) { direction : input; capacitance : 0.001; } pin (Q) { direction : output; function : "IQ"; } }
  cell (latch) { area : 1.0; latch (IQ, IQN) { enable : "G"; data_in : "D"; }
    pin (D, G) { direction : input; capacitance : 0.001; } pin (Q) { direction : output; function : "IQ"; } }
  cell (magic) { area : 0.001; dont_use : true; pin (A, B) { direction : input; } pin (Y) { direction : output;
    function : "A ^ B"; } }
  cell (tie1) { area : 0.1; pin (Y) { direction : output; function : "1"; } }
  cell (tri) { area : 0.1; pin (A, E) { direction : input; capacitance : 0.001; }
    pin (Y) { direction : output; function : "A"; three_state : "!E"; } }
  cell (fa) { area : 0.1; pin (A, B, C) { direction : input; capacitance : 0.001; }
    pin (S) { direction : output; function : "A ^ B ^ C"; } pin (K) { direction : output; function : "A B"; } }
  cell (fill) { area : 3; };
};
"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWSIM_CACHE", str(tmp_path / "cache"))


def written(folder: Path, text: str | bytes, name: str = "five.lib") -> Path:
    path = folder / name
    path.write_bytes(text.encode("latin-1") if isinstance(text, str) else text)
    return path


def twins(folder: Path) -> tuple[Technology, Technology]:
    return technology(str(written(folder, LIBERTY))), technology(str(written(folder, TOML, "five.toml")))


def facts(cells: Technology) -> dict[str, tuple[float, ...]]:
    rows = {cell.name: cell for cell in cells.cells}
    return {
        name: (c.area, c.capacitance, c.delay, c.resistance, c.leakage, c.energy) for name, c in rows.items()
    }


def test_a_liberty_file_has_the_facts_of_the_same_library_as_toml(tmp_path: Path) -> None:
    read, typed = twins(tmp_path)
    assert facts(read) == {name: pytest.approx(row, rel=1e-8) for name, row in facts(typed).items()}
    assert read.flip_flop == typed.flip_flop
    assert (read.nand2, read.voltage, read.cell["oai"].function) == (
        "nd2",
        0.9,
        typed.cell["oai"].function,
    )
    assert "5 of 14 cells" in read.description and "20 ps" in read.description


def test_a_circuit_costs_the_same_on_both_and_the_row_names_library_and_hash(tmp_path: Path) -> None:
    read, typed = (synthesize(SMALL_MAC, target) for target in twins(tmp_path))
    assert (read.area_um2, read.critical_path_ps, read.cells) == (
        typed.area_um2,
        typed.critical_path_ps,
        typed.cells,
    )
    assert read.equivalent and set(read.cells) <= {"inv", "buf", "nd2", "xo2", "oai", "dff"}
    assert read.technology.startswith("five (sha256 ") and len(read.technology) == len("five (sha256 )") + 16


CONDITIONS = "  operating_conditions (typical) { process : 1; voltage : 0.9; temperature : 25; }\n"
TIME, LOAD, LEAKAGE, VOLTAGE = (
    'time_unit : "1ns"',
    "capacitive_load_unit (1, pf)",
    'leakage_power_unit : "1nW"',
    'voltage_unit : "1V"',
)


@pytest.mark.parametrize(
    ("old", "new", "time", "load", "leakage", "volts"),
    [
        (CONDITIONS, "", 1, 1, 1, 1),
        (LEAKAGE, "", 1, 1, 1, 1),
        (TIME, "time_unit : 1ns", 1, 1, 1, 1),
        (TIME, 'time_unit : " 1 NS "', 1, 1, 1, 1),
        (TIME, 'time_unit : "10ps"', 0.01, 1, 1, 1),
        (TIME, 'time_unit : "1us"', 1000, 1, 1, 1),
        (TIME, 'time_unit : "100fs"', 1e-4, 1, 1, 1),
        (LOAD, 'capacitive_load_unit (1, "ff")', 1, 1e-3, 1, 1),
        (LOAD, "capacitive_load_unit (10.000000, FF)", 1, 0.01, 1, 1),
        (LOAD, "capacitive_load_unit (0.001, pf)", 1, 1e-3, 1, 1),
        (LOAD, "capacitive_load_unit (1, nf)", 1, 1e3, 1, 1),
        (LEAKAGE, 'leakage_power_unit : "10pW"', 1, 1, 0.01, 1),
        (LEAKAGE, "leakage_power_unit : 1uW", 1, 1, 1e3, 1),
        (VOLTAGE, 'voltage_unit : "100mV"', 1, 1, 1, 0.1),
    ],
)
def test_facts_are_in_the_file_s_units(
    tmp_path: Path, old: str, new: str, time: float, load: float, leakage: float, volts: float
) -> None:
    assert old in LIBERTY
    plain, other = (technology(str(written(tmp_path, text))) for text in (LIBERTY, LIBERTY.replace(old, new)))
    assert other.voltage == pytest.approx(volts * plain.voltage)
    assert other.flip_flop.setup == pytest.approx(time * plain.flip_flop.setup)
    for name, cell in plain.cell.items():
        read = other.cell[name]
        assert (read.area, read.delay, read.capacitance, read.leakage) == pytest.approx(
            (cell.area, time * cell.delay, load * cell.capacitance, leakage * cell.leakage)
        )
        assert read.resistance == pytest.approx(cell.resistance * time / load)
        assert read.energy == pytest.approx(cell.energy * load * volts**2)


def test_the_operating_point_is_the_slew_that_an_inverter_driving_four_reproduces(tmp_path: Path) -> None:
    """A transition of 0.2 slew + 10 load settles at 10 * 0.008 / 0.8 ns = 100 ps; there the table reads 2 slew."""
    text = LIBERTY.replace(
        'rise_transition (scalar) { values ("0.02"); }',
        'rise_transition (load_first) { values ("0.012, 0.07", "0.042, 0.1", "1.002, 1.06"); }',
    ).replace("fall_transition (scalar)", "unknown (scalar)")
    text = text.replace(
        'cell_rise (by_load) { values ("0.030, 3.530"); }',
        'cell_rise (load_first) { values ("0.02, 0.6", "0.02, 0.6", "0.02, 0.6"); }',
    )
    read = technology(str(written(tmp_path, text)))
    assert "an input slew of 100 ps" in read.description
    assert read.cell["xo2"].delay == pytest.approx(200) and read.cell["xo2"].resistance == 0


@pytest.mark.parametrize(
    ("function", "python"),
    [
        ("A B' + C", "(A & ~B) | C"),
        ("A ^ B C", "(A ^ B) & C"),
        ("A * B ^ C | !A", "(A & (B ^ C)) | ~A"),
        ("!(A + B)'", "A | B"),
        ("!A''", "~A"),
        ("(A)(B)(!C)", "A & B & ~C"),
        ("A+B+C^A^B", "A | B | (C ^ A ^ B)"),
        ("!!(A&B)'|C'", "~(A & B) | ~C"),
    ],
)
def test_a_function_is_read_by_libertys_precedence(function: str, python: str) -> None:
    expression = logic.parse(function)
    table = logic.truth_table(expression, "ABC")
    for row, (c, b, a) in enumerate(itertools.product((0, 1), repeat=3)):
        assert table >> row & 1 == eval(python, {}, {"A": a, "B": b, "C": c}) & 1


@pytest.mark.parametrize(
    "function", ["", "A B)", "(A", "A &", "A @ B", "A 1", "'A", "((" * 40 + "A", "A+" * 3000]
)
def test_what_is_no_function_is_refused(function: str) -> None:
    with pytest.raises(ValueError, match=r"stand|closed|constant|longer|deeper"):
        logic.parse(function)


INVERTER = LIBERTY[LIBERTY.index("  cell (inv)") : LIBERTY.index('  cell ("buf")')]
FLIP_FLOP = 'ff (IQ, IQN) { clocked_on : "CK"; next_state : "D"; }'


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("library (five)", "module (five)", 'line @: a Liberty file begins with library (name) {, not "module"'),
        ("library (five)", "library ()", 'line @: "" is no library name'),
        ("library (five)", 'library ("a\nb")', 'line @: "a\\nb" is no library name'),
        ("};\n", "", "the file ends inside the"),
        ("};\n", "}; }", 'line @: "}" follows the library'),
        (" cells, a flip-flop and what must be left out: the TOML above in ns and pF. */", "", "line 2: a comment"),
        ('"1ns"', '"1ns', 'line 7: "1nW" must be followed by'),
        ('"A B"; } }', '"A B; } }', "a quoted text is never closed"),
        ("area : 0.5;", "area 0.5;", 'line @: "area" must be followed by : or (, not by "0.5"'),
        ("area : 0.5;", "area : ;", "line @: a value is missing after the colon"),
        ("area : 0.5;", ": 0.5;", 'line @: ":" stands where a name must'),
        ("area : 0.5;", "area : { ;", 'line @: "{" stands inside a value'),
        ("area : 0.5;", r"area : \ 0.5;", "line @: a lone backslash"),
        ("area : 0.5;", "area : 0;", "line @: cell inv has area 0; write one above 0"),
        ("area : 0.5;", "area : -1;", "line @: cell inv has area -1; write one above 0"),
        ("area : 0.5;", "", "cell inv has area 0; write one above 0"),
        ("area : 0.5;", "area : nan;", 'line @: area "nan" is no finite number'),
        ("area : 0.5;", "area : inf;", 'line @: area "inf" is no finite number'),
        ("area : 0.5;", "area : 1e99;", 'line @: area "1e99" is no finite number'),
        ("area : 0.5;", "area : 1_0;", 'line @: area "1_0" is no finite number'),
        ("area : 5.5;", "area : 0;", "cell dff has area 0"),
        ("capacitance : 0.002; }", "}", 'input "in" has no capacitance'),
        ("capacitance : 0.002; }", "capacitance : -1; }", 'input "in" has no capacitance'),
        ("capacitance : 0.002; }", "capacitance : 0; }", "cell inv has no input capacitance"),
        ('function : "A ^ B";', "", "the output of cell xo2 has no function; add it or dont_use"),
        ('function : "A ^ B";', 'function : "A ^ Z";', 'cell xo2 reads "Z", no input of its own'),
        ('function : "A ^ B";', 'function : "A ^ (B";', "never closed"),
        ('function : "A ^ B";', 'function : "A ^ 1";', "constant 1"),
        ('function : "A ^ B";', 'function : "";', "ends where a pin must stand"),
        ("cell (xo2)", "cell (nd2)", "cell nd2 is there already, in line "),
        ("cell (xo2)", 'cell ("xo2\nendmodule")', '"xo2\\nendmodule" is no cell name'),
        ("cell (xo2)", 'cell ("`include x")', "is no cell name"),
        ("cell (xo2)", f"cell ({'x' * 5000})", 'xxx..." is no cell name'),
        ("cell (xo2)", "cell (datapath)", "is no cell name"),
        ("cell (xo2)", "cell (_const1_)", "is no cell name"),
        ("cell (xo2)", "cell ()", "is no cell name"),
        (INVERTER, "", "lacks an inverter that may be used"),
        ('"in\'"', '"in"', "lacks an inverter that may be used"),
        ("function : \"(A B)'\"", 'function : "A B"', "lacks a two-input NAND"),
        ('function : "(a)"', 'function : "!a"', "lacks a buffer"),
        ("library (five) {", "library (five) { cell (dff) {} ", "cell dff is there already"),
        (FLIP_FLOP, "", "the output of cell dffr has no delay"),
        ("timing () { related_pin : \"A B\"; cell_rise", "timing () { other", "the output of cell xo2 has no delay"),
        ('"0.030, 3.530"', '"0.030"', "line @: cell_rise has 1 values for another grid"),
        ('"0.030, 3.530"', '"0.030, x"', 'line @: values "x" is no finite number'),
        ('values ("0.030, 3.530")', "x : 1", "the table cell_rise has no values"),
        ('cell_rise (by_load) { values ("0.030', 'cell_rise (none) { values ("0.030', "names no template"),
        ('index_1 ("0, 1"); }', 'index_1 ("1, 0"); }', "index_1 must grow"),
        ('index_1 ("0, 1"); }', "}", "without a grid or meaning here"),
        ("variable_1 : total_output_net_capacitance; index_1", "variable_1 : weather; index_1", '"weather"'),
        ('time_unit : "1ns"', 'time_unit : "1 fortnight"', "time_unit is"),
        ('time_unit : "1ns"', 'time_unit : "0ns"', "must be above 0"),
        ("capacitive_load_unit (1, pf);", "", "capacitive_load_unit is"),
        ('(scalar) { values ("0.02"); }', '(scalar) { values ("-1"); }', "never settle"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_one_sentence(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    assert old in LIBERTY
    text = LIBERTY.replace(old, new, 1)
    if old.startswith("(scalar)"):
        text = text.replace(old, new)
    path = str(written(tmp_path, text))
    sentence = sentence.replace("@", str(LIBERTY[: LIBERTY.index(old)].count("\n") + 1))
    if (
        not sentence
    ):  # an opening inside a comment is text; without dff the one with a clear serves, if it had delays
        sentence = "output of cell dffr has no delay" if old == FLIP_FLOP else ""
    with pytest.raises(HwsimError) as refusal:
        technology(path)
    said = str(refusal.value)
    assert said.startswith('Liberty file "five.lib"') and "\n" not in said and len(said) < 300
    assert sentence in said


def test_without_a_flip_flop_one_sentence_says_so(tmp_path: Path) -> None:
    text = LIBERTY.replace("ff (IQ", "statetable (IQ")
    with pytest.raises(HwsimError, match="lacks a flip-flop whose next state is one pin"):
        technology(str(written(tmp_path, text)))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\x01\xff" * 1000,
        b"library (a) {" + b"cell (x) {" * 100_000,
        b"library (a) {" + b"(" * 100_000,
        b"library (a) {" + b'"' * 99_999,
        b"library (a) {" + b"/*" * 100_000,
        b"library (a) {" + b"\\" * 100_000,
        b"library (a) {" + b"a : b c " * 100_000,
        b"library (a) {" + b"x (" + b"," * 300_000,
        b"library (" * 100_000,
        b"library (a) {" + b"cell (x) { area : 1; }" * 20_000 + b"}",
        b"library (a) { time_unit : " + b"9" * 300_000 + b"; }",
    ],
    ids=range(12),
)
def test_hostile_content_is_one_sentence_soon(tmp_path: Path, content: bytes) -> None:
    path, start = written(tmp_path, content), time.process_time()
    with pytest.raises(HwsimError) as refusal:
        technology(str(path))
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 300
    assert time.process_time() - start < 5


def test_a_file_too_large_or_no_file_is_refused_unread(tmp_path: Path) -> None:
    large = tmp_path / "large.lib"
    with large.open("wb") as file:
        file.truncate(100_000_000)
    with pytest.raises(HwsimError, match="larger than 64 MiB"):
        technology(str(large))
    for place, sentence in (
        (tmp_path, "no regular file"),
        (tmp_path / "none.lib", '^Liberty file "none.lib" is missing'),
    ):
        with pytest.raises(HwsimError, match=sentence):
            read_liberty(place)


@pytest.mark.parametrize("limit", ["_TOKENS", "_GROUPS"])
def test_the_number_of_words_and_groups_is_bounded(
    tmp_path: Path, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liberty, limit, 20)
    with pytest.raises(HwsimError, match="more than 20"):
        technology(str(written(tmp_path, LIBERTY + " ")))


@pytest.mark.parametrize("name", ["module", "wire", "OUTPUT", "x" * 100, "INV__1"])
def test_a_cell_may_have_the_name_of_a_keyword(tmp_path: Path, name: str) -> None:
    read = technology(str(written(tmp_path, LIBERTY.replace("xo2", name))))
    cost = synthesize(SMALL_MAC, read)
    assert cost.cells[name] > 0 and cost.equivalent


def test_each_mapping_point_is_proved_and_does_what_it_is_called() -> None:
    mac = Mac(Int(4), Int(8, signed=False), Int(16))
    smallest, balanced, fastest = (synthesize(mac, mapping=name) for name in THREE)
    assert smallest.nand2_equivalents < balanced.nand2_equivalents < fastest.nand2_equivalents
    assert smallest.critical_path_ps > balanced.critical_path_ps > fastest.critical_path_ps  # type: ignore[operator]
    assert all(cost.equivalent for cost in (smallest, balanced, fastest))
    assert "amap" in smallest.script and "smallest: strash" in str(smallest) and fastest.mapping == "fastest"


@pytest.mark.parametrize("mapping", THREE)
def test_a_cell_without_delay_maps_too(tmp_path: Path, mapping: str) -> None:
    text = LIBERTY.replace('"0.030, 3.530"', '"0, 0"').replace('"0.014, 3.014"', '"0, 0"')
    cost = synthesize(SMALL_MAC, technology(str(written(tmp_path, text))), mapping=mapping)
    assert cost.equivalent and cost.area_um2


def test_a_study_names_a_liberty_file_as_its_technology(tmp_path: Path) -> None:
    assert Hardware(technology=str(written(tmp_path, LIBERTY))).technology.endswith("five.lib")
    with pytest.raises(HwsimError, match="lacks an inverter"):
        Hardware(technology=str(written(tmp_path, LIBERTY.replace(INVERTER, ""))))


def test_the_command_takes_a_liberty_file_and_a_mapping(tmp_path: Path) -> None:
    path = str(written(tmp_path, LIBERTY, "any.name"))
    parameters = {"weight": "int2", "activation": "int2", "accumulator": "int8"}
    cost = cost_datapath("mac", liberty=path, mapping="fastest", **parameters)
    assert cost.technology.startswith("five (sha256 ") and json.dumps(cost.to_json())
    refused: list[tuple[Callable[[], object], str]] = [
        (lambda: cost_datapath("mac", liberty=path, technology="gates", **parameters), "not both"),
        (lambda: cost_datapath("mac", mapping="cheapest", **parameters), 'unknown mapping "cheapest"'),
    ]
    for call, sentence in refused:
        with pytest.raises(HwsimError, match=sentence):
            call()


def test_a_packed_file_is_the_same_library(tmp_path: Path) -> None:
    plain = technology(str(written(tmp_path, LIBERTY)))
    packed = technology(str(written(tmp_path, gzip.compress(LIBERTY.encode()), "five.lib.gz")))
    assert packed == plain and str(packed) == str(plain)
    assert read_liberty(written(tmp_path, gzip.compress(LIBERTY.encode()), "packed")) == plain


@pytest.mark.parametrize(
    "content", [gzip.compress(LIBERTY.encode())[:-99], b"\x1f\x8b\x08", b"\x1f\x8b" + bytes(99)], ids=len
)
def test_a_damaged_packed_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(
        HwsimError, match=r'Liberty file "five.lib.gz" is damaged: .*; pack it again with gzip'
    ):
        technology(str(written(tmp_path, content, "five.lib.gz")))


def test_a_file_that_unpacks_to_too_much_is_refused_soon(tmp_path: Path) -> None:
    path = written(tmp_path, gzip.compress(bytes(liberty.LIMIT_BYTES + 1), 1), "five.lib.gz")
    with pytest.raises(HwsimError, match="is larger than 64 MiB"):
        technology(str(path))


SEVERAL_OUTPUTS = r"""
  cell (HA_X1) { area : 2.66; cell_leakage_power : 61;
    pin (CO) { direction : output; function : "(A & B)"; timing () { related_pin : "A"; cell_rise (by_load) { values ("1, 2"); } } }
    pin (S) { direction : output; function : "(A ^ B)"; timing () { related_pin : "A"; cell_rise (by_load) { values ("1, 2"); } } }
    pin (A, B) { direction : input; capacitance : 0.0033; } }
  cell (FA_X1) { area : 4.256;
    pin (CO) { direction : output; function : "((A & B) | (CI & (A | B)))"; }
    pin (S) { direction : output; function : "(CI ^ (A ^ B))"; }
    pin (A) { direction : input; capacitance : 0.0036; } pin (B) { direction : input; capacitance : 0.0034; }
    pin (CI) { direction : input; capacitance : 0.0028; } }
  cell (FA_bundled) { area : 4; bundle (out) { members (S, CO); direction : output; function : "A"; }
    pin (A) { direction : input; capacitance : 0.003; } }
  cell (LOGIC01) { area : 0.5; pin (HI) { direction : output; function : "1"; } pin (LO) { direction : output; function : "0"; } }
  cell (CLKBUF2) { area : 0.1; pin (A) { direction : input; capacitance : 0.001; }
    pin (Y) { direction : output; function : "A"; } pin (YN) { direction : output; function : "!A"; } }
  cell (COMPRESS42) { area : 8; pin (A, B, C, D, E) { direction : input; capacitance : 0.003; }
    pin (S) { direction : output; function : "A^B^C^D^E"; } pin (K1) { direction : output; function : "A"; }
    pin (K2) { direction : output; } }
"""


def test_cells_of_several_outputs_are_left_out_and_change_no_cost(tmp_path: Path) -> None:
    """The mapper takes cells of one output: half and full adders may be in a library, and are not used."""
    more = LIBERTY.replace("  cell (inv)", f"{SEVERAL_OUTPUTS}  cell (inv)", 1)
    plain, library = (technology(str(written(tmp_path, text))) for text in (LIBERTY, more))
    assert facts(library) == facts(plain) and library.flip_flop == plain.flip_flop
    assert "5 of 20 cells" in library.description
    costs = [synthesize(SMALL_MAC, each) for each in (plain, library)]
    assert costs[0].cells == costs[1].cells and costs[1].equivalent


def large(cells: int) -> str:
    """The library with that many NANDs more, each with tables of 7 x 7 as characterised libraries have them."""
    grid = '"0.001, 0.004, 0.01, 0.02, 0.05, 0.08, 0.1"'
    rows = ", ".join(
        '"' + ", ".join(f"{0.01 + 0.001 * i + 0.002 * j:.6f}" for j in range(7)) + '"' for i in range(7)
    )
    table = f"(seven) {{ index_1 ({grid}); index_2 ({grid}); values ({rows}); }}\n"
    delays = "".join(
        f"{name} {table}" for name in ("cell_rise", "cell_fall", "rise_transition", "fall_transition")
    )
    power = f"internal_power () {{ rise_power {table} fall_power {table} }}"
    text = []
    for place in range(cells):
        pins = "ABCDE"[: 2 + place % 4]
        arcs = "".join(f'timing () {{ related_pin : "{pin}"; {delays} }} {power}\n' for pin in pins)
        inputs = " ".join(f"pin ({pin}) {{ direction : input; capacitance : 0.0016; }}" for pin in pins)
        output = f'pin (Y) {{ direction : output; function : "!({" & ".join(pins)})"; {arcs} }}'
        text.append(f"cell (more{place}) {{ area : {2 + place % 4}; {inputs} {output} }}\n")
    template = (
        "lu_table_template (seven) { variable_1 : input_net_transition; variable_2 : total_output_net_capacitance; "
        f"index_1 ({grid}); index_2 ({grid}); }}\n"
    )
    return LIBERTY.replace("  cell (inv)", f"{template}{''.join(text)}  cell (inv)", 1)


def test_a_library_of_hundreds_of_cells_with_full_tables_is_read_in_time_in_proportion(
    tmp_path: Path,
) -> None:
    seconds = []
    for cells in (50, 400):
        path = written(tmp_path, large(cells))
        start = time.process_time()
        library = technology(str(path))
        seconds.append((time.process_time() - start) / path.stat().st_size)
        assert len(library.cells) == cells + 5
    assert path.stat().st_size > 5_000_000
    assert seconds[1] < 3 * seconds[0]
    assert library.cell["more0"].function == "!(A & B)"


DEBIAN = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")


@pytest.mark.skipif(not DEBIAN.exists(), reason="needs the Debian package qflow-tech-osu018")
@pytest.mark.parametrize("mapping", ["smallest", "balanced"])
def test_a_real_library_maps_as_it_does_in_the_tools_own_reading_of_it(mapping: str) -> None:
    """Yosys and ABC on the file itself: equal area; the delay by its full tables is within a tenth of ours."""
    mac = Mac(Int(4), Int(8, signed=False), Int(16))
    library, design = read_liberty(DEBIAN), verilog(clock_cycle(mac))
    netlist = map_onto(design, library, mapping=mapping)
    with yosys.workplace() as folder:
        (folder / "design.v").write_text(design)
        (folder / "map.abc").write_text(MAPPINGS[mapping].replace("; ", "\n") + "\ntopo\nstime\n")
        (folder / "cells.lib").write_bytes(DEBIAN.read_bytes())
        commands = ["read_verilog design.v", "synth -flatten -noabc -noshare -top datapath"]
        said = yosys.yosys([*commands, "abc -liberty cells.lib -script map.abc"], folder, 60)
    measured = re.search(r"Area =\s*([0-9.]+).*?Delay =\s*([0-9.]+)", said)
    assert measured is not None
    area = sum(library.cell[instance.cell].area for instance in netlist.instances)
    assert area == pytest.approx(float(measured[1]))
    assert critical_path_ps(netlist, library, []) == pytest.approx(float(measured[2]), rel=0.1)
