"""Full-adder cells: found wherever a circuit adds, joined to the rest, and held by the proof of every netlist."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from pathlib import Path

import pyrtl
import pytest

from hwsim.cost import TECHNOLOGIES, synthesize
from hwsim.cost.energy import circuit_energy
from hwsim.cost.equivalence import Graph, circuit_graph, compare
from hwsim.cost.full_adders import CARRY, CELL, full_adders
from hwsim.cost.netlist import Instance, Mapped
from hwsim.cost.operands import random_trace
from hwsim.cost.synthesis import FULL_ADDERS, MAPPINGS, THREE, library_digest, map_block, recipe
from hwsim.cost.technology import technology
from hwsim.cost.timing import critical_path_ps
from hwsim.datapath import adders
from hwsim.datapath.apot_mac import ApotMac
from hwsim.datapath.mac import Mac
from hwsim.datapath.netlist import clock_cycle
from hwsim.datapath.shift_mac import ShiftMac
from hwsim.errors import HwsimError
from hwsim.formats import AdditivePowersOfTwo, Int, Overflow, PowerOfTwo
from hwsim.reproduce.circuits import Product, Sum
from test_synthesis import Logic, wrapping_sum

OPEN45 = TECHNOLOGIES["open45"]
ADDER = OPEN45.full_adder
UINT8 = Int(8, signed=False)
MAC = Mac(Int(4), UINT8, Int(16))
assert ADDER is not None


@pytest.fixture(autouse=True)
def _own_cache(synthesis_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWSIM_CACHE", str(synthesis_cache))


def majority(a: pyrtl.WireVector, b: pyrtl.WireVector, c: pyrtl.WireVector) -> tuple[pyrtl.WireVector, ...]:
    return a ^ b ^ c, a & b | a & c | b & c


ONE = Logic("full_adder", (1, 1, 1), (1, 1), majority)


def test_one_full_adder_is_one_cell_of_the_librarys_facts() -> None:
    cost = synthesize(ONE, mapping=FULL_ADDERS)
    assert cost.cells == {"FA": 1} and cost.area_um2 == round(ADDER.area, 3) and cost.logic_depth == 1
    assert cost.leakage_nw == ADDER.leakage and cost.critical_path_ps == ADDER.delay
    assert cost.equivalence == "compared on all 8 inputs between registers"


@pytest.mark.parametrize(("bits", "published_um2"), [(8, 36), (16, 67), (32, 137)])
@pytest.mark.parametrize("written", [Sum, wrapping_sum], ids=["gates", "plus"])
def test_adders_are_within_15_percent_of_the_published_ones(
    bits: int, published_um2: float, written: type
) -> None:
    """M. Horowitz, "Computing's energy problem", ISSCC 2014, 45 nm. The first bit is a half adder, the last a parity."""
    cost = synthesize(written(bits), mapping=FULL_ADDERS)
    assert cost.equivalent and cost.cells["FA"] == bits - 2
    assert cost.area_um2 == pytest.approx(published_um2, rel=0.15)


@pytest.mark.parametrize("odd", list(itertools.product((0, 1), repeat=5)))
def test_an_adder_of_inverted_inputs_and_outputs_is_found(odd: tuple[int, ...]) -> None:
    def inverted(*inputs: pyrtl.WireVector) -> tuple[pyrtl.WireVector, ...]:
        wires = [~wire if one else wire for wire, one in zip(inputs, odd, strict=False)]
        return tuple(~wire if one else wire for wire, one in zip(majority(*wires), odd[3:], strict=True))

    cost = synthesize(replace(ONE, name=f"odd{odd}", function=inverted), mapping=FULL_ADDERS)
    assert cost.cells["FA"] == 1 and set(cost.cells) <= {"FA", "INV"} and cost.equivalent


@pytest.mark.parametrize(
    "circuit",
    [
        MAC,
        Mac(Int(4), Int(4), Int(16), Overflow.SATURATE),
        Mac(Int(6), UINT8, Int(16), multiplier="booth"),
        ShiftMac(PowerOfTwo(4), UINT8, Int(16)),
        ApotMac(AdditivePowersOfTwo(4), UINT8, Int(16)),
        Product(8, 16),
    ],
    ids=str,
)
def test_a_circuit_with_adder_cells_is_proved_and_smaller_than_without(circuit: Mac) -> None:
    cost, plain = (synthesize(circuit, mapping=name) for name in (FULL_ADDERS, "smallest"))
    assert cost.equivalent and cost.mapping == FULL_ADDERS
    assert cost.nand2_equivalents < plain.nand2_equivalents and cost.flip_flops == plain.flip_flops
    cells = {cell.name: cell.area for cell in OPEN45.cells} | {"FA": ADDER.area, "DFF": OPEN45.flip_flop.area}
    area = sum(cells[name] * count for name, count in cost.cells.items())
    assert cost.area_um2 == pytest.approx(area, abs=1e-3)


@pytest.mark.parametrize("bits", [7, 15, 31])
def test_a_compressor_tree_has_the_full_adders_that_it_was_made_of(
    bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of bits that are 1, by Dadda's tree: each of its adders of three wires is found."""
    made, plain = list[int](), adders.full_adder

    def counted(*three: adders.Bit) -> tuple[adders.Bit, adders.Bit]:
        made.append(sum(not isinstance(bit, int) for bit in three))
        return plain(*three)

    monkeypatch.setattr(adders, "full_adder", counted)
    width = bits.bit_length()
    counter = Logic(
        f"count{bits}",
        (bits,),
        (width,),
        lambda a: (adders.wire_of(adders.add([adders.Term(bit, 0) for bit in adders.bits_of(a)], width)),),
    )
    graph = circuit_graph(clock_cycle(counter))
    assert len(full_adders(graph)) == made.count(3) >= bits // 2
    cost = synthesize(counter, mapping=FULL_ADDERS)
    assert cost.equivalent and cost.cells["FA"] >= len(full_adders(graph))


def test_a_circuit_without_adders_is_mapped_as_the_smallest() -> None:
    xor = Logic("xor3", (1, 1, 1), (1,), lambda a, b, c: (a ^ b ^ c,))
    assert "FA" not in synthesize(xor, mapping=FULL_ADDERS).cells
    assert full_adders(Graph(3)) == []


def test_an_adder_that_lacks_a_reader_of_one_output_is_no_cell() -> None:
    carries = Logic("carries", (1, 1, 1), (1,), lambda a, b, c: (majority(a, b, c)[1],))
    assert "FA" not in synthesize(carries, mapping=FULL_ADDERS).cells


@pytest.mark.parametrize("fault", ["exchanged", "another pin", "carry of another"])
def test_a_wrong_full_adder_is_refused(fault: str) -> None:
    block = clock_cycle(MAC)
    netlist = map_block(block, OPEN45, mapping=FULL_ADDERS)
    assert compare(block, netlist, OPEN45, 60)[0]
    source, refused = random.Random(1), 0
    cells = list(netlist.instances)
    places = [
        k for k, cell in enumerate(cells) if cell.cell == (CARRY if fault == "carry of another" else CELL)
    ]
    for place in source.sample(places, 5):
        changed = list(cells)
        if fault == "exchanged":
            changed[place] = replace(cells[place], cell=CARRY)
        elif fault == "another pin":
            changed[place] = replace(cells[place], pins={**cells[place].pins, "A": cells[place].pins["B"]})
        else:
            changed[place] = replace(cells[place], cell=CELL)
        with pytest.raises(HwsimError, match="differs from its circuit"):
            compare(block, Mapped(netlist.inputs, netlist.outputs, tuple(changed)), OPEN45, 60)
        refused += 1
    assert refused == 5


def test_the_path_through_full_adders_is_the_sum_computed_by_hand() -> None:
    """Two in a row: each delays by its own and its resistance times the next one's pin; the last drives nothing."""
    first, second = {"A": 2, "B": 3, "C": 4}, {"A": 5, "B": 6, "C": 7}
    chain = Mapped(
        {"a": [2, 3, 4, 5, 6]},
        {"y": [8, 9]},
        tuple(
            Instance(cell, pins, out)
            for cell, pins, out in ((CARRY, first, 7), (CELL, second, 8), (CARRY, second, 9))
        ),
    )
    expected = 2 * ADDER.delay + ADDER.resistance * ADDER.capacitance
    assert critical_path_ps(chain, OPEN45, []) == pytest.approx(expected)


def test_energy_is_counted_on_a_netlist_with_adder_cells() -> None:
    """Each output's switching is the cell's; what the flip-flops take is that of any mapping."""
    trace = random_trace(MAC, 256)
    cells, plain = (
        circuit_energy(MAC, OPEN45, trace, mapping=name).operation for name in (FULL_ADDERS, "smallest")
    )
    assert 0.5 < cells.total / plain.total < 1.5
    assert cells.parts["clock"] == plain.parts["clock"]


def test_adder_cells_are_facts_of_a_technology_that_its_other_points_do_not_read() -> None:
    without = replace(OPEN45, full_adder=None)
    larger = replace(OPEN45, full_adder=replace(ADDER, area=5.0))
    assert without.liberty() == OPEN45.liberty() and "FA" not in OPEN45.liberty()
    assert len({library_digest(one) for one in (OPEN45, without, larger)}) == 3
    assert len({recipe(name) for name in MAPPINGS}) == len(MAPPINGS) and tuple(MAPPINGS)[:3] == THREE
    assert synthesize(ONE, larger, mapping=FULL_ADDERS).area_um2 == 5.0


def test_a_technology_without_the_cell_is_refused_at_this_point_alone() -> None:
    with pytest.raises(
        HwsimError, match='technology "gates" has no full adder; choose smallest, balanced, fastest'
    ):
        synthesize(ONE, "gates", mapping=FULL_ADDERS)
    assert synthesize(ONE, "gates", mapping="smallest").equivalent


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("[full_adder]\narea = 5.0\nspeed = 2", 'unknown key of technology "t" "speed"'),
        ("[full_adder]\narea = -5.0", "area = -5.0 must be a number from 0"),
        ("[full_adder]\ndelay = 5.0", "area"),
        ("full_adder = 5", "full_adder = 5 must be a table"),
        ('[full_adder]\narea = 5\n[cells.FA]\narea = 1.0\nfunction = "A"', "rename the cell"),
    ],
)
def test_a_full_adder_that_is_none_is_refused(row: str, sentence: str, tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "hwsim/cost/libraries/gates.toml").read_text()
    head, _, tables = text.partition("[cells]")
    (tmp_path / "t.toml").write_text(
        f"{head}\n{row}\n[cells]{tables}" if "=" in row.splitlines()[0] else f"{text}\n{row}\n"
    )
    with pytest.raises(HwsimError, match=sentence):
        technology(str(tmp_path / "t.toml"))
