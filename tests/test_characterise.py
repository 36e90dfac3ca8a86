"""The characterisation: what its rows claim, that they hold, and that nothing is estimated without saying so."""

from __future__ import annotations

import gzip
import json
import os
import random
import site
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from hwsim.bits import parse_overflow
from hwsim.cost import TECHNOLOGIES, characterisation, synthesize, yosys
from hwsim.cost.characterisation import Characterisation, Claims, merged, read, shipped
from hwsim.cost.characterise import characterise
from hwsim.cost.equivalence import compare, mapped_graph
from hwsim.cost.estimate import estimate, fit
from hwsim.cost.family import designs, families
from hwsim.cost.netlist import Mapped
from hwsim.cost.synthesis import (
    MAPPINGS,
    SHIPPED,
    SYNTHESISED,
    THREE,
    known,
    library_digest,
    map_onto,
    netlist_digest,
    recipe,
)
from hwsim.datapath import describe
from hwsim.datapath.mac import Mac
from hwsim.datapath.netlist import clock_cycle, verilog
from hwsim.datapath.shift_mac import ShiftMac
from hwsim.errors import HwsimError
from hwsim.explore.study import Space
from hwsim.formats import Int, Overflow, PowerOfTwo, parse_int, parse_weight
from hwsim.steps.cost import estimate_datapath
from test_synthesis import mutants

OPEN45 = TECHNOLOGIES["open45"]
UINT8 = Int(8, signed=False)
KNOWN = Mac(Int(4), UINT8, Int(16))
UNKNOWN = Mac(Int(3), Int(5), Int(13))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWSIM_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> str:
        raise AssertionError("a tool was started")

    monkeypatch.setattr(yosys.process, "run", refuse)


@cache
def circuits() -> dict[str, object]:
    """Every circuit of every family, by its name and parameters."""
    return {describe(circuit): circuit for name in families() for circuit in designs(name)}


# What is shipped


def test_every_multiply_accumulate_of_the_default_space_is_shipped_at_every_mapping_point() -> None:
    space = Space()
    formats = product(
        map(parse_weight, space.weights),
        space.activations,
        map(parse_int, space.accumulators),
        map(parse_overflow, space.overflows),
    )
    for weight, bits, accumulator, overflow in formats:
        made = ShiftMac if isinstance(weight, PowerOfTwo) else Mac
        row = shipped().by_datapath[describe(made(weight, Int(bits, signed=False), accumulator, overflow))]
        assert set(product(("open45", "open130"), THREE)) <= row.costs.keys()


def test_shipped_rows_are_those_of_the_circuits_as_they_are() -> None:
    """A circuit that was changed has another netlist: characterise it again."""
    held = [(row, circuits()[row.datapath]) for row in shipped().rows if row.datapath in circuits()]
    assert len(held) > 600
    for row, circuit in held[:: len(held) // 12]:
        assert row.netlist == netlist_digest(verilog(clock_cycle(circuit))), row.datapath


def test_shipped_claims_are_those_of_this_package() -> None:
    claims = shipped().claims
    assert dict(claims.recipes) == {name: recipe(name) for name in MAPPINGS}
    assert dict(claims.libraries) == {name: library_digest(TECHNOLOGIES[name]) for name in claims.libraries}


def test_the_shipped_file_is_small() -> None:
    assert characterisation.SHIPPED.stat().st_size < 2_000_000


def test_every_shipped_row_was_checked_and_proved_in_both_technologies_at_every_mapping_point() -> None:
    for row in shipped().rows:
        assert set(product(("open45", "open130"), THREE)) <= row.costs.keys()
        assert row.check["cycles"] >= 256 and (row.check["exhaustive"] or row.check["points"] >= 1 << 14)
        for cost in row.costs.values():
            method = cost["equivalence"]
            assert (
                method.startswith("compared on all ") or method == "proved by SAT (ABC cec) between registers"
            )


def test_shipped_figures_are_sums_over_their_cells() -> None:
    for row in shipped().rows:
        for (technology, _), cost in row.costs.items():
            library = TECHNOLOGIES[technology]
            cells = {cell.name: cell for cell in library.cells} | {library.flip_flop.name: library.flip_flop}
            area = sum(cells[name].area * count for name, count in cost["cells"].items())
            assert cost["nand2_equivalents"] == pytest.approx(area / library.nand2_area, abs=0.006)
            assert cost["cells"].get(library.flip_flop.name, 0) == cost["flip_flops"]
            if library.physical:
                leakage = sum(cells[name].leakage * count for name, count in cost["cells"].items())
                assert cost["leakage_nw"] == pytest.approx(leakage, abs=1e-3)


@pytest.mark.parametrize("mapping", THREE)
def test_a_shipped_row_is_what_synthesis_says(mapping: str) -> None:
    if yosys.installed() != shipped().claims.tool:
        pytest.skip("another Yosys is installed than the one that the rows are of")
    for circuit in (KNOWN, ShiftMac(PowerOfTwo(4), UINT8, Int(16), Overflow.SATURATE)):
        fresh = synthesize(circuit, mapping=mapping, reuse=False)
        found = synthesize(circuit, mapping=mapping)
        assert found == fresh
        assert (found.origin, fresh.origin) == (SHIPPED, SYNTHESISED)


@pytest.mark.slow
def test_every_twentieth_shipped_row_is_what_synthesis_says() -> None:
    for _, circuit in sorted(circuits().items())[::20]:
        assert synthesize(circuit) == synthesize(circuit, reuse=False)


def test_smallest_netlists_agree_with_the_fit_to_another_library_and_another_generator() -> None:
    """NAND2 equivalents of fused MACs without flip-flops, mapped for area onto another library of the same class:
    6.31 wa - 1.36 (w + a) + 7.04 acc - 6.6, mean error 0.9%. That was a measurement of another generator, without reset."""
    flip_flop = OPEN45.flip_flop.area / OPEN45.nand2_area
    ratios = []
    for circuit in designs("mac"):
        if (
            circuit.overflow is Overflow.SATURATE
            or not circuit.activation.signed
            or circuit.multiplier != "fused"
        ):
            continue
        w, a, n = circuit.weight.bits, circuit.activation.bits, circuit.accumulator.bits
        cost = shipped().by_datapath[describe(circuit)].costs["open45", "smallest"]
        logic = cost["nand2_equivalents"] - flip_flop * n
        ratios.append(logic / (6.31 * w * a - 1.36 * (w + a) + 7.04 * n - 6.6))
    assert len(ratios) > 30
    assert np.mean(ratios) == pytest.approx(1, abs=0.05) and min(ratios) > 0.85 and max(ratios) < 1.15


def test_a_wider_multiplier_is_larger_at_every_point() -> None:
    for mapping in THREE:
        for a in range(2, 9):
            gates = [
                shipped()
                .by_datapath[describe(Mac(Int(w), Int(a, signed=False), Int(32)))]
                .costs["open45", mapping]
                for w in (2, 4, 6, 8)
            ]
            sizes = [cost["nand2_equivalents"] for cost in gates]
            assert sizes == sorted(sizes), (mapping, a)


def test_mapping_points_are_in_the_order_of_their_names() -> None:
    """The heuristics may lose by a little on a circuit, never on the whole family."""
    of = {
        mapping: [row.costs["open45", mapping] for row in shipped().rows if row.family == "mac"]
        for mapping in THREE
    }
    area = {mapping: sum(cost["area_um2"] for cost in costs) for mapping, costs in of.items()}
    time = {mapping: sum(cost["critical_path_ps"] for cost in costs) for mapping, costs in of.items()}
    assert area["smallest"] < area["balanced"] < area["fastest"]
    assert time["smallest"] > time["balanced"] > time["fastest"]


def test_gates_at_130_nm_are_near_those_at_45_nm_as_in_the_whole_libraries() -> None:
    """NAND2 equivalents by sky130_fd_sc_hd over those by Nangate 45 nm, whole libraries, 21 designs: 0.90 to 1.26.

    A circuit of a few cells can be all one kind of cell, and then has the ratio of that cell.
    """
    rows = [row.costs for row in shipped().rows]
    rows = [costs for costs in rows if costs["open45", "balanced"]["nand2_equivalents"] > 50]
    assert len(rows) > 900
    for mapping in THREE:
        gates = np.array(
            [[row[name, mapping]["nand2_equivalents"] for name in ("open45", "open130")] for row in rows]
        )
        ratio = gates[:, 1] / gates[:, 0]
        assert ratio.min() > 0.9 and np.percentile(ratio, 99) < 1.26 and ratio.max() < 1.3
        assert np.corrcoef(gates.T.argsort().argsort())[0, 1] > 0.98


# Looking a cost up


@pytest.mark.usefixtures("no_process")
def test_a_known_circuit_starts_no_process() -> None:
    for mapping in THREE:
        cost = synthesize(KNOWN, mapping=mapping)
        assert cost.equivalent and cost.mapping == mapping and cost.origin == SHIPPED
        assert "kept in the package's characterisation" in str(cost)
    with pytest.raises(AssertionError, match="a tool was started"):
        synthesize(UNKNOWN)


def test_a_known_circuit_needs_no_tool_installed(tmp_path: Path) -> None:
    for folder in site.getsitepackages():
        for entry in Path(folder).iterdir():
            if not entry.name.startswith("pyosys"):
                (tmp_path / entry.name).symlink_to(entry)
    program = (
        "import sys; from hwsim.cli import main; sys.argv = ['hwsim', 'cost', 'mac', '--weight', sys.argv[1],"
        "'--activation', 'uint8', '--accumulator', 'int16', '--json']; main()"
    )
    here = Path(__file__).parent
    ran = [
        subprocess.run(
            [sys.executable, "-S", "-c", program, weight],
            env={**os.environ, "PATH": "", "PYTHONPATH": os.pathsep.join(map(str, (here.parent, tmp_path)))},
            capture_output=True,
            text=True,
            check=False,
        )
        for weight in ("int4", "int10")
    ]
    assert json.loads(ran[0].stdout)["nand2_equivalents"] == synthesize(KNOWN).nand2_equivalents
    assert ran[1].returncode == 2 and "out of range" in ran[1].stderr


@pytest.mark.parametrize(
    "changed",
    [
        lambda claims: replace(claims, tool="Yosys 0.1"),
        lambda claims: replace(claims, recipes={**claims.recipes, "balanced": "another"}),
        lambda claims: replace(claims, libraries={**claims.libraries, "open45": "another"}),
    ],
    ids=["tool", "recipe", "library"],
)
def test_a_row_whose_claims_do_not_hold_is_not_used(
    changed: Callable[[Claims], Claims], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(shipped(), claims=changed(shipped().claims))
    monkeypatch.setattr(characterisation, "shipped", lambda: other)
    assert known(KNOWN, OPEN45) is None
    assert synthesize(KNOWN).origin == SYNTHESISED


def test_a_row_counts_where_no_tool_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yosys, "installed", lambda: None)
    found = known(KNOWN, OPEN45)
    assert found is not None and found.tool == shipped().claims.tool
    with pytest.raises(HwsimError, match="pip install pyosys"):
        synthesize(UNKNOWN)


def test_a_changed_technology_of_a_known_name_is_synthesised() -> None:
    larger = replace(OPEN45, cells=tuple(replace(cell, area=2 * cell.area) for cell in OPEN45.cells))
    assert known(KNOWN, larger) is None and known(KNOWN, OPEN45) is not None


# The file


SMALL = Characterisation(
    Claims("Yosys 0.70", {"balanced": "r"}, {"open45": "l"}),
    (replace(shipped().rows[0], costs={("open45", "balanced"): {"nand2_equivalents": 7.0}}),),
)


def test_a_file_reads_back_and_is_the_same_each_time(tmp_path: Path) -> None:
    (tmp_path / "c.gz").write_bytes(SMALL.to_bytes())
    assert read(tmp_path / "c.gz") == SMALL
    assert read(characterisation.SHIPPED).to_bytes() == characterisation.SHIPPED.read_bytes()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"plain text",
        gzip.compress(b"", mtime=0),
        gzip.compress(b"[]\n", mtime=0),
        gzip.compress(b'{"format":2,"tool":"","recipes":{},"libraries":{}}\n', mtime=0),
        gzip.compress(b'{"format":1,"tool":"","recipes":{},"libraries":{}}\n{"datapath":"x"}\n', mtime=0),
        gzip.compress(b'{"format":1}\n', mtime=0),
        gzip.compress(b"\xff\n", mtime=0),
        SMALL.to_bytes()[:-20],
        SMALL.to_bytes()[:60],
        gzip.compress(b"[" * 100_000, mtime=0),
    ],
)
def test_a_file_that_is_none_is_refused_in_one_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "c.gz").write_bytes(content)
    with pytest.raises(HwsimError, match="is no characterisation of this version") as refused:
        read(tmp_path / "c.gz")
    assert "\n" not in str(refused.value)


def test_a_file_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(characterisation, "LIMIT_BYTES", 1000)
    (tmp_path / "c.gz").write_bytes(gzip.compress(b" " * 100_000))
    with pytest.raises(HwsimError, match="too large"):
        read(tmp_path / "c.gz")


def test_of_a_circuit_in_both_the_costs_are_joined_unless_its_netlist_changed() -> None:
    (row,) = SMALL.rows
    fastest = replace(row, costs={("open45", "fastest"): {"nand2_equivalents": 9.0}})
    (joined,) = merged([row], [fastest])
    assert joined.costs.keys() == {("open45", "balanced"), ("open45", "fastest")}
    (changed,) = merged([row], [replace(fastest, netlist="another")])
    assert changed.costs.keys() == {("open45", "fastest")}


# Characterising


@dataclass(frozen=True)
class Small(Mac):
    """A family of two circuits for these tests."""

    @staticmethod
    def variants() -> Iterator[Small]:
        yield Small(Int(2), Int(2), Int(8))
        yield Small(Int(2), Int(3), Int(8), Overflow.SATURATE)


@dataclass(frozen=True)
class Wrong(Small):
    """One whose arithmetic is another than its circuit's."""

    def compute(self, values):  # type: ignore[no-untyped-def]
        return {"accumulator": super().compute(values)["accumulator"] ^ 1}

    @staticmethod
    def variants() -> Iterator[Wrong]:
        yield Wrong(Int(2), Int(2), Int(8))


HERE = Path(__file__)


def test_a_sweep_goes_on_with_what_its_file_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, family, told = tmp_path / "rows.jsonl.gz", f"{HERE}:Small", list[tuple[str, int, int]]()
    first = characterise([family], path=path, mappings=["balanced"], progress=lambda *at: told.append(at))
    assert told == [(family, done, 2) for done in (0, 1, 2)] and first.reused == 0 and not first.refused
    again = characterise([family], path=path, mappings=["balanced", "smallest"], jobs=2)
    monkeypatch.setenv("HWSIM_CACHE", str(tmp_path / "another"))
    monkeypatch.setattr(yosys.process, "run", lambda *a: pytest.fail("a tool was started"))
    third = characterise([family], path=path, mappings=["balanced", "smallest"])
    assert third.reused == 2 and third.characterisation == again.characterisation == read(path)
    row = third.characterisation.by_datapath[describe(Small(Int(2), Int(2), Int(8)))]
    assert row.family == family and row.check == {"points": 4096, "exhaustive": True, "cycles": 256}
    assert row.costs.keys() == {("open45", "balanced"), ("open45", "smallest")}
    assert capsys.readouterr().out == ""


def test_a_rows_costs_are_those_of_synthesis() -> None:
    sweep = characterise([f"{HERE}:Small"], ["gates"], ["fastest"])
    cost = synthesize(Small(Int(2), Int(2), Int(8)), "gates", mapping="fastest")
    row = sweep.characterisation.by_datapath[cost.datapath].costs["gates", "fastest"]
    assert {name: getattr(cost, name) for name in row} == row


def test_a_circuit_that_differs_from_its_arithmetic_has_no_row() -> None:
    sweep = characterise([f"{HERE}:Wrong"], mappings=["balanced"])
    assert not sweep.characterisation.rows
    (sentence,) = sweep.refused
    assert "differs from its arithmetic at" in sentence and "so it has no row" in sentence


def test_a_circuit_that_takes_too_long_has_no_row_and_the_sweep_goes_on() -> None:
    sweep = characterise([f"{HERE}:Small"], mappings=["balanced"], timeout_s=1e-3)
    assert len(sweep.refused) == 2 and all("raise the limit" in sentence for sentence in sweep.refused)


def test_rows_of_circuits_that_a_family_no_longer_has_go_and_others_stay(tmp_path: Path) -> None:
    path, family = tmp_path / "rows.jsonl.gz", f"{HERE}:Small"
    held = characterise([family], mappings=["balanced"], path=path).characterisation
    row = held.rows[0]
    gone = replace(row, datapath="Small(weight=int7)", netlist="a")
    other = replace(row, datapath="Other()", family="other", netlist="b")
    path.write_bytes(replace(held, rows=(*held.rows, gone, other)).to_bytes())
    again = characterise([family], mappings=["balanced"], path=path).characterisation
    assert set(again.by_datapath) == {*held.by_datapath, "Other()"}


def test_rows_of_a_changed_library_are_done_again(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    sweep = characterise([f"{HERE}:Small"], mappings=["balanced"], path=path)
    held = sweep.characterisation
    stale = replace(held, claims=replace(held.claims, libraries={"open45": "another"}))
    path.write_bytes(stale.to_bytes())
    again = characterise([f"{HERE}:Small"], mappings=["balanced"], path=path)
    assert again.reused == 0 and again.characterisation == held


def test_unknown_families_and_mapping_points_are_refused() -> None:
    with pytest.raises(HwsimError, match='unknown mapping "cheapest"'):
        characterise(["mac"], mappings=["cheapest"])
    with pytest.raises(HwsimError, match='unknown datapath "mca"'):
        characterise(["mca"])


# Mutants


def outputs(netlist: Mapped, stimuli: list[int], mask: int) -> list[int]:
    return mapped_graph(netlist, OPEN45).simulate(stimuli, mask)


@pytest.mark.parametrize(
    "name",
    [
        "Mac(weight=int4, activation=uint4, accumulator=int16, overflow=saturate, multiplier=fused)",
        "ShiftMac(weight=pow2x4, activation=uint8, accumulator=int16, overflow=wrap)",
        "HalfAdd(first=e3m2, second=e3m2, output=e3m2)",
        "MaxPool(activation=int5)",
        "RunLengthDecode(bits=3, run_bits=3)",
    ],
)
def test_planted_mutants_of_a_characterised_netlist_are_all_refused(name: str) -> None:
    """Twenty netlists that differ from the circuit at some of 4,096 random vectors; none passes the comparison."""
    block = clock_cycle(circuits()[name])
    netlist = map_onto(verilog(block), OPEN45)
    source, count = random.Random(3), 4096
    stimuli = [source.getrandbits(count) for bits in netlist.inputs.values() for _ in bits]
    right = outputs(netlist, stimuli, (1 << count) - 1)
    planted = [m for m in mutants(netlist, OPEN45, 40) if outputs(m, stimuli, (1 << count) - 1) != right]
    assert len(planted) >= 20
    for mutant in planted[:20]:
        with pytest.raises(HwsimError, match="differs from its circuit"):
            compare(block, mutant, OPEN45, 60)


# Estimates


def test_leave_one_out_errors_are_those_of_fits_that_did_not_see_the_circuit() -> None:
    source = np.random.default_rng(0)
    table = np.column_stack([np.ones(30), source.integers(2, 9, (30, 2))])
    measured = table @ [20.0, 3.0, 5.0] + source.normal(size=30)
    found = fit(["1", "a", "b"], table, measured)
    errors = []
    for out in range(30):
        kept = np.arange(30) != out
        coefficients, *_ = np.linalg.lstsq(table[kept], measured[kept])
        errors.append(100 * abs(table[out] @ coefficients - measured[out]) / measured[out])
    assert (found.mean_error, found.worst_error) == pytest.approx(
        (np.mean(errors), np.max(errors)), abs=0.006
    )


@pytest.mark.usefixtures("no_process")
def test_an_estimate_says_that_it_is_one_and_how_far_off_it_may_be() -> None:
    found = estimate_datapath("mac", weight="int5", activation="uint7", accumulator="int17")
    text = str(found)
    assert "ESTIMATED, not synthesised" in text and "where one is left out" in text
    assert found.to_json()["estimated"] is True and "equivalent" not in found.to_json()


def test_an_estimate_is_within_its_worst_error_of_synthesis() -> None:
    for circuit in (Mac(Int(5), Int(7, signed=False), Int(17)), ShiftMac(PowerOfTwo(4), UINT8, Int(22))):
        guess, real = estimate(circuit, OPEN45, "balanced"), synthesize(circuit)
        error = 100 * abs(guess.nand2_equivalents / real.nand2_equivalents - 1)
        assert error < max(guess.gates.worst_error, 5)
        assert guess.gates.mean_error < 5 and not guess.outside


@pytest.mark.usefixtures("no_process")
def test_a_known_circuit_is_not_estimated() -> None:
    cost = estimate_datapath("mac", weight="int4", activation="uint8", accumulator="int16")
    assert cost == synthesize(KNOWN)


def test_an_estimate_beyond_the_characterised_widths_says_so() -> None:
    assert (
        estimate(Mac(Int(4), UINT8, Int(10)), OPEN45, "balanced").outside == "accumulators of 12 to 32 bits"
    )


def test_what_nothing_of_its_kind_is_characterised_for_is_not_estimated(tmp_path: Path) -> None:
    with pytest.raises(HwsimError, match="none of the characterised datapaths"):
        estimate(Small(Int(2), Int(2), Int(9)), OPEN45, "balanced")
    with pytest.raises(HwsimError, match="circuits of its kind are characterised"):
        estimate_datapath("to_half", accumulator="int31")
