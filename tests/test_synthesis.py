"""Synthesis: figures against published ones, netlists against exhaustive evaluation by other code."""

from __future__ import annotations

import itertools
import json
import os
import random
import site
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pyrtl
import pytest

from at_work import all_ended
from hwsim.cost import TECHNOLOGIES, Cost, characterisation, synthesize
from hwsim.cost.characterisation import Characterisation, Claims
from hwsim.cost.equivalence import circuit_graph, compare
from hwsim.cost.netlist import Instance, Mapped
from hwsim.cost.synthesis import map_onto
from hwsim.cost.technology import Technology
from hwsim.cost.timing import critical_path_ps, logic_depth
from hwsim.datapath.apot_mac import ApotMac
from hwsim.datapath.datapath import Register
from hwsim.datapath.mac import Mac
from hwsim.datapath.netlist import clock_cycle, verilog
from hwsim.datapath.requantize import Requantize
from hwsim.datapath.shift_mac import ShiftMac
from hwsim.errors import HwsimError
from hwsim.formats import AdditivePowersOfTwo, Int, Overflow, PowerOfTwo

OPEN45 = TECHNOLOGIES["open45"]
Wires = Mapping[str, pyrtl.WireVector]


@dataclass(frozen=True)
class Logic:
    """A combinational circuit of unsigned inputs and outputs, or with one register, for these tests."""

    name: str
    input_bits: tuple[int, ...]
    output_bits: tuple[int, ...]
    function: Callable[..., tuple[pyrtl.WireVector, ...]]
    register: Register | None = None

    @property
    def inputs(self) -> dict[str, Int]:
        return {f"a{i}": Int(bits, signed=False) for i, bits in enumerate(self.input_bits)}

    @property
    def registers(self) -> dict[str, Register]:
        return {"state": self.register} if self.register else {}

    @property
    def outputs(self) -> dict[str, Int]:
        return {f"y{i}": Int(bits, signed=False) for i, bits in enumerate(self.output_bits)}

    def connect(self, wires: Wires) -> dict[str, pyrtl.WireVector]:
        results = self.function(*wires.values())
        names = [*self.outputs, *self.registers]
        return dict(zip(names, results, strict=True))

    def __str__(self) -> str:
        return self.name


def wrapping_sum(bits: int) -> Logic:
    return Logic(f"add{bits}", (bits, bits), (bits,), lambda a, b: ((a + b)[:bits],))


def exclusive_or(a: pyrtl.WireVector, b: pyrtl.WireVector) -> tuple[pyrtl.WireVector, ...]:
    return (a ^ b,)


XOR = Logic("xor", (1, 1), (1,), exclusive_or)
COUNTER = Logic("counter", (2,), (), lambda a, state: ((state + a)[:3],), Register(Int(3, signed=False), 5))
SMALL_MAC = Mac(Int(3), Int(3), Int(8))
MEDIUM_MAC = Mac(Int(4), Int(8, signed=False), Int(16))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests are of synthesis: nothing is known before."""
    monkeypatch.setenv("HWSIM_CACHE", str(tmp_path / "cache"))
    nothing = Characterisation(Claims("none", {}, {}), ())
    monkeypatch.setattr(characterisation, "shipped", lambda: nothing)


def test_an_exclusive_or_is_one_cell_of_the_librarys_area_and_delay() -> None:
    cost = synthesize(XOR)
    assert cost.cells == {"XOR2": 1} and cost.flip_flops == 0 and cost.logic_depth == 1
    assert (cost.area_um2, cost.nand2_equivalents, cost.critical_path_ps) == (1.596, 2.0, 33.0)
    assert cost.equivalent and cost.equivalence == "compared on all 4 inputs between registers"
    assert cost.tool.startswith("Yosys 0.")


@pytest.mark.parametrize(
    ("circuit", "published_um2", "tolerance", "source"),
    [
        (wrapping_sum(8), 36, 0.25, "Horowitz, ISSCC 2014, 45 nm"),
        (wrapping_sum(16), 67, 0.25, "Horowitz, ISSCC 2014, 45 nm"),
        (
            Mac(Int(8), Int(8), Int(32)),
            687.6,
            0.15,
            "Sharma et al., Bit Fusion, ISCA 2018, RTL synthesis 45 nm",
        ),
        (
            Mac(Int(4), Int(4), Int(16)),
            282.2,
            0.25,
            "Sharma et al., Bit Fusion, ISCA 2018, RTL synthesis 45 nm",
        ),
    ],
    ids=str,
)
def test_areas_at_45_nm_are_near_the_published_ones(
    circuit: Logic | Mac, published_um2: float, tolerance: float, source: str
) -> None:
    assert synthesize(circuit).area_um2 == pytest.approx(published_um2, rel=tolerance), source


@pytest.mark.parametrize(
    ("datapath", "full_library"),
    [
        (Mac(Int(8), Int(8), Int(32)), 864),
        (Mac(Int(8), Int(8), Int(32), multiplier="baugh_wooley"), 883),
        (Mac(Int(4), Int(8), Int(16)), 410),
        (Mac(Int(4), Int(4), Int(16)), 297),
        (Mac(Int(2), Int(2), Int(16)), 222),
        (ShiftMac(PowerOfTwo(4), Int(8), Int(16)), 331),
        (ApotMac(AdditivePowersOfTwo(5), Int(8), Int(32)), 604),
        (ApotMac(AdditivePowersOfTwo(5), Int(4), Int(16)), 309),
    ],
    ids=str,
)
def test_gates_agree_with_the_134_cells_of_the_full_nangate_library(
    datapath: Mac | ShiftMac | ApotMac, full_library: float
) -> None:
    """NAND2 equivalents by Yosys 0.70 and the whole Nangate 45 nm library, circuits without a reset."""
    assert synthesize(datapath).nand2_equivalents == pytest.approx(full_library, rel=0.10)


@pytest.mark.parametrize("technology", list(TECHNOLOGIES))
def test_area_grows_with_every_width(technology: str) -> None:
    def gates(weight: int, activation: int, accumulator: int) -> float:
        mac = Mac(Int(weight), Int(activation), Int(accumulator))
        return synthesize(mac, technology).nand2_equivalents

    assert gates(2, 4, 16) < gates(4, 4, 16) < gates(6, 4, 16)
    assert gates(4, 4, 16) < gates(4, 8, 16) < gates(4, 8, 24)


def test_130_nm_costs_about_as_many_gates_and_far_more_area() -> None:
    """Over 21 circuits sky130_fd_sc_hd counted 0.90 to 1.26 of Nangate's NAND2 equivalents."""
    old, new = synthesize(MEDIUM_MAC, "open130"), synthesize(MEDIUM_MAC, "open45")
    assert 0.9 < old.nand2_equivalents / new.nand2_equivalents < 1.26
    assert old.area_um2 is not None and new.area_um2 is not None and old.area_um2 > 4 * new.area_um2


def test_technology_free_gates_have_no_area_and_no_picoseconds() -> None:
    """Wegener 1987: an n-bit sum needs at most 5n - 3 gates, and the parity of n bits n - 1."""
    cost = synthesize(wrapping_sum(8), "gates")
    assert cost.area_um2 is None and cost.critical_path_ps is None and cost.nand2_equivalents <= 5 * 8 - 3
    parity = Logic("parity", (8,), (1,), lambda a: (pyrtl.xor_all_bits(a),))
    assert synthesize(parity, "gates").nand2_equivalents == 7
    assert synthesize(COUNTER, "gates").flip_flops == 3


def test_the_sum_of_cells_is_the_area() -> None:
    cost = synthesize(MEDIUM_MAC)
    areas = {cell.name: cell.area for cell in (*OPEN45.cells, OPEN45.flip_flop)}
    assert cost.area_um2 == pytest.approx(sum(areas[name] * n for name, n in cost.cells.items()), abs=1e-3)
    assert cost.nand2_equivalents == pytest.approx(cost.area_um2 / 0.798, abs=0.01)
    assert cost.cells["DFF"] == cost.flip_flops == 16


def test_a_requantizer_is_proved() -> None:
    cost = synthesize(Requantize(Int(16), Int(8, signed=False)))
    assert cost.equivalent and cost.equivalence == "proved by SAT (ABC cec) between registers"


@pytest.mark.parametrize("technology", list(TECHNOLOGIES))
def test_every_pyrtl_operation_is_synthesized_and_proved(technology: str) -> None:
    def every(a: pyrtl.WireVector, b: pyrtl.WireVector, s: pyrtl.WireVector) -> tuple[pyrtl.WireVector, ...]:
        constant = pyrtl.Const(11, 4)
        return (
            pyrtl.concat(a & b, a | b, a ^ b, ~a, a.nand(b), a & constant),
            pyrtl.concat(a + b, a - b, constant - a, a * b),
            pyrtl.concat(a < b, a > b, a == b, a == constant, a < 3),
            pyrtl.select(s, a, b),
            pyrtl.concat(a[1], constant[0:3], b[::-1], s),
            pyrtl.Const(5, 3),
            pyrtl.as_wires(a),
        )

    circuit = Logic("every", (4, 4, 1), (24, 23, 5, 4, 9, 3, 4), every)
    cost = synthesize(circuit, technology)
    assert cost.equivalent


def test_a_circuit_of_wires_costs_nothing() -> None:
    cost = synthesize(Logic("wires", (4,), (4, 1), lambda a: (a[::-1], pyrtl.Const(1, 1))))
    assert cost.cells == {} and cost.nand2_equivalents == 0 and cost.critical_path_ps == 0 and cost.equivalent


def test_a_port_may_have_the_name_of_a_verilog_keyword() -> None:
    @dataclass(frozen=True)
    class Keywords(Logic):
        @property
        def outputs(self) -> dict[str, Int]:
            return {"output": Int(1, signed=False)}

        @property
        def inputs(self) -> dict[str, Int]:
            return {"wire": Int(1, signed=False), "module": Int(1, signed=False)}

    assert synthesize(Keywords("keywords", (1, 1), (1,), exclusive_or)).cells == {"XOR2": 1}


def test_the_reset_is_synchronous_and_loads_the_reset_value() -> None:
    graph = circuit_graph(clock_cycle(COUNTER))  # inputs by name: RESET, a0 (2 bits), state (3 bits)
    for reset, step, state in itertools.product(range(2), range(4), range(8)):
        packed = [reset, step & 1, step >> 1, state & 1, state >> 1 & 1, state >> 2]
        value = sum(bit << i for i, bit in enumerate(graph.simulate(packed, 1)))
        assert value == (5 if reset else (state + step) % 8)


def test_the_circuits_graph_is_pyrtls_own_simulation() -> None:
    for datapath in (MEDIUM_MAC, Mac(Int(5), Int(3), Int(8), Overflow.SATURATE), COUNTER):
        block = clock_cycle(datapath)
        graph, source = circuit_graph(block), random.Random(1)
        inputs = sorted(block.wirevector_subset(pyrtl.Input), key=lambda wire: str(wire.name))
        outputs = sorted(block.wirevector_subset(pyrtl.Output), key=lambda wire: str(wire.name))
        simulation = pyrtl.FastSimulation(block=block, tracer=None)
        for _ in range(200):
            values = {wire.name: source.getrandbits(len(wire)) for wire in inputs}
            simulation.step(values)
            bits = [values[wire.name] >> i & 1 for wire in inputs for i in range(len(wire))]
            expected = [simulation.inspect(w.name) >> i & 1 for w in outputs for i in range(len(w))]
            assert graph.simulate(bits, 1) == expected


def evaluate(netlist: Mapped, technology: Technology) -> list[int]:
    """Every output of a mapped netlist over all inputs, one packed integer a bit, by Python's own operators."""
    bits = [net for nets in netlist.inputs.values() for net in nets]
    count = 1 << len(bits)
    nets = {0: 0, 1: (1 << count) - 1}
    for position, net in enumerate(bits):
        period = 1 << position
        nets[net] = int(("1" * period + "0" * period) * (count // period // 2), 2)
    for instance in netlist.instances:
        pins = {pin: nets[net] for pin, net in instance.pins.items()}
        text = technology.cell[instance.cell].function.replace("!", "~")
        nets[instance.output] = eval(text, {}, pins) & nets[1]
    return [nets[net] for nets_ in netlist.outputs.values() for net in nets_]


def mutants(netlist: Mapped, technology: Technology, count: int) -> list[Mapped]:
    """Netlists that differ in one cell: another cell of the same pins, two pins exchanged, or a pin rewired."""
    source, result = random.Random(2), []
    while len(result) < count:
        index = source.randrange(len(netlist.instances))
        old = netlist.instances[index]
        pins = dict(old.pins)
        kind = old.cell
        choice = source.randrange(3)
        if choice == 0:
            others = [c.name for c in technology.cells if c.inputs == tuple(sorted(pins)) and c.name != kind]
            kind = source.choice(others) if others else kind
        elif choice == 1 and len(pins) > 1:
            first, second = source.sample(sorted(pins), 2)
            pins[first], pins[second] = pins[second], pins[first]
        else:
            earlier = [net for bits in netlist.inputs.values() for net in bits]
            earlier += [instance.output for instance in netlist.instances[:index]]
            pins[source.choice(sorted(pins))] = source.choice([0, 1, *earlier])
        instances = list(netlist.instances)
        instances[index] = Instance(kind, pins, old.output)
        result.append(replace(netlist, instances=tuple(instances)))
    return result


def sums(bits: int) -> Logic:
    """Twelve or, with a 12-bit third input, twenty input bits: below and above what is tried exhaustively."""

    def connect(
        a: pyrtl.WireVector, b: pyrtl.WireVector, c: pyrtl.WireVector
    ) -> tuple[pyrtl.WireVector, ...]:
        return ((a + b)[:4] & c[:4] | (a ^ c[-4:]), pyrtl.xor_all_bits(c))

    return Logic(f"sums{bits}", (4, 4, bits), (4, 1), connect)


@pytest.mark.parametrize(("circuit", "count"), [(sums(4), 150), (sums(12), 40)], ids=["exhaustive", "SAT"])
def test_a_mutant_is_refused_exactly_when_it_computes_something_else(circuit: Logic, count: int) -> None:
    block = clock_cycle(circuit)
    netlist = map_onto(verilog(block), OPEN45)
    right = evaluate(netlist, OPEN45)
    assert compare(block, netlist, OPEN45, 60)[0]
    wrong = 0
    for mutant in mutants(netlist, OPEN45, count):
        if evaluate(mutant, OPEN45) != right:
            wrong += 1
            with pytest.raises(HwsimError, match="differs from its circuit"):
                compare(block, mutant, OPEN45, 60)
        else:
            assert compare(block, mutant, OPEN45, 60)[0]
    assert 20 <= wrong < count


def test_without_time_to_prove_the_row_says_simulated_and_is_not_equivalent() -> None:
    block = clock_cycle(MEDIUM_MAC)
    netlist = map_onto(verilog(block), OPEN45)
    assert compare(block, netlist, OPEN45, 0.001) == (False, "simulated 65536 random vectors, not proved")
    first = netlist.instances[0]
    broken = replace(
        netlist, instances=(replace(first, pins=dict.fromkeys(first.pins, 0)), *netlist.instances[1:])
    )
    with pytest.raises(HwsimError, match="differs from its circuit"):
        compare(block, broken, OPEN45, 0.001)


def test_other_ports_are_no_equal_netlist() -> None:
    block = clock_cycle(XOR)
    netlist = map_onto(verilog(block), OPEN45)
    with pytest.raises(HwsimError, match="other ports"):
        compare(block, replace(netlist, outputs={"z": netlist.outputs["y0"]}), OPEN45, 10)


def test_static_timing_is_the_sum_along_the_path_computed_by_hand() -> None:
    """Register q -> NAND2 -> INV -> register: loads 1.63, 1.70 and 1.04 fF on the way, then the setup time."""
    chain = (Instance("NAND2", {"A": 10, "B": 11}, 12), Instance("INV", {"A": 12}, 13))
    netlist = Mapped({"a": [11], "q": [10]}, {"next_q": [13], "y": [12]}, chain)
    launch = 86.9 + 1.84 * 1.63
    expected = launch + (14.0 + 2.45 * 1.70) + (9.3 + 2.28 * 1.04) + 40.0
    assert critical_path_ps(netlist, OPEN45, ["q"]) == pytest.approx(expected, abs=1e-9)
    assert critical_path_ps(netlist, OPEN45, []) == pytest.approx(14.0 + 2.45 * 1.70 + 9.3, abs=1e-9)
    assert logic_depth(netlist) == 1


def test_the_result_does_not_depend_on_hash_seed_or_on_what_was_elaborated_before() -> None:
    program = (
        "import sys\n"
        "from hwsim.cost import synthesize\n"
        "from hwsim.datapath.mac import Mac\n"
        "from hwsim.formats import Int, Overflow\n"
        "from hwsim.datapath.datapath import elaborate\n"
        "if len(sys.argv) > 1: elaborate(Mac(Int(8), Int(8), Int(32)))\n"
        "print(synthesize(Mac(Int(5), Int(4), Int(12), Overflow.SATURATE), reuse=False).to_json())\n"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", program, *more],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, more in (("1", []), ("2", ["x"]))
    ]
    assert said[0] == said[1] and "'equivalent': True" in said[0]


def test_a_kept_result_needs_no_tool_time_and_damage_is_recomputed(tmp_path: Path) -> None:
    first = synthesize(COUNTER)
    (kept,) = (tmp_path / "cache").rglob("*.json")
    assert synthesize(COUNTER, timeout_s=1e-6) == first  # no tool could answer in that time
    other = replace(COUNTER, name="counts")
    assert synthesize(other, timeout_s=1e-6) == replace(
        first, datapath=first.datapath.replace("counter", "counts")
    )
    for damage in (
        b"",
        kept.read_bytes()[:-9],
        kept.read_bytes().replace(b"DFF", b"DFG"),
        b"\xff\xfe",
        b"x\n{}",
    ):
        kept.write_bytes(damage)
        assert synthesize(COUNTER) == first
    with pytest.raises(HwsimError, match=r"logic synthesis took more than 1e-06 s; raise the limit"):
        synthesize(COUNTER, timeout_s=1e-6, reuse=False)


def test_a_cache_that_cannot_be_written_costs_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HWSIM_CACHE", str(tmp_path / "file"))
    assert synthesize(XOR).cells == {"XOR2": 1}


def test_a_changed_technology_is_another_result(tmp_path: Path) -> None:
    larger = replace(OPEN45, cells=tuple(replace(cell, area=2 * cell.area) for cell in OPEN45.cells))
    assert synthesize(XOR, larger).area_um2 == 2 * 1.596 and synthesize(XOR).area_um2 == 1.596


def test_running_out_of_time_leaves_no_file_and_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    with pytest.raises(HwsimError, match="raise the limit"):
        synthesize(Requantize(Int(32), Int(8)), timeout_s=0.4)
    assert list(place.iterdir()) == []
    assert all_ended(place)


def test_nothing_is_printed_and_the_cost_is_one_json_object(capfd: pytest.CaptureFixture[str]) -> None:
    cost = synthesize(COUNTER)
    assert capfd.readouterr() == ("", "")
    assert Cost(**json.loads(json.dumps(cost.to_json()))) == cost
    assert "3 flip-flops" in str(cost) and "equivalent     yes" in str(cost)


def test_several_at_once_share_one_cache_and_agree() -> None:
    macs = [Mac(Int(2 + i % 2), Int(3), Int(8)) for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        costs = list(pool.map(synthesize, macs))
    assert costs[:2] * 4 == costs


def test_a_register_that_the_datapath_does_not_declare_is_refused() -> None:
    def remember(a: pyrtl.WireVector) -> tuple[pyrtl.WireVector, ...]:
        register = pyrtl.Register(1)
        register.next <<= a
        return (register ^ a,)

    with pytest.raises(HwsimError, match="makes an input, register or memory of its own"):
        synthesize(Logic("hidden", (1,), (1,), remember))


def test_without_yosys_one_sentence_says_how_to_install_it(tmp_path: Path) -> None:
    for folder in site.getsitepackages():
        for entry in Path(folder).iterdir():
            if not entry.name.startswith("pyosys"):
                (tmp_path / entry.name).symlink_to(entry)
    program = "import hwsim.cost as c, test_synthesis as t\nc.synthesize(t.XOR)"
    here = Path(__file__).parent
    run = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={
            **os.environ,
            "PATH": "",
            "PYTHONPATH": os.pathsep.join(map(str, (here.parent, here, tmp_path))),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].endswith(
        "logic synthesis needs Yosys; install it with: pip install pyosys, or name a program in HWSIM_YOSYS"
    )
