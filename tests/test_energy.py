"""Switching activity and energy of circuits: against event-driven simulation, hand counts and published figures."""

import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from hwsim.cost.activity import activity
from hwsim.cost.energy import circuit_energy, clock_fj
from hwsim.cost.mapping import mapped_netlist
from hwsim.cost.netlist import Instance, Mapped
from hwsim.cost.operands import in_place, passing, random_trace
from hwsim.cost.synthesis import synthesize
from hwsim.cost.technology import technology
from hwsim.datapath.mac import Mac
from hwsim.datapath.requantize import Requantize
from hwsim.datapath.shift_mac import ShiftMac
from hwsim.errors import HwsimError
from hwsim.formats import Int, Overflow, PowerOfTwo, Rounding
from icarus_activity import icarus_changes

OPEN45 = technology("open45")
SMALL = Mac(Int(4), Int(4, False), Int(12), Overflow.SATURATE)
INT4 = Mac(Int(4), Int(8, False), Int(32))
SHIFT = ShiftMac(PowerOfTwo(4), Int(8, False), Int(32))


def random_codes(netlist, cycles, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.integers(1 << len(nets), size=cycles) for name, nets in netlist.inputs.items()}


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="needs Icarus Verilog (iverilog)")
@pytest.mark.parametrize("name", ["open45", "open130"])
@pytest.mark.parametrize("datapath", [SMALL, INT4, SHIFT], ids=lambda d: type(d).__name__)
def test_every_net_changes_as_often_as_in_event_driven_simulation(datapath, name, tmp_path):
    cells = technology(name)
    netlist = mapped_netlist(datapath, cells)
    codes = random_codes(netlist, 160)
    ours = activity(netlist, cells, codes, datapath.registers).changes
    theirs = icarus_changes(netlist, cells, codes, datapath.registers, tmp_path)
    total = sum(theirs.values())
    assert total > 10_000
    assert sum(ours.values()) == pytest.approx(total, rel=1e-3)
    # Of changes at the very same time Icarus sees one before the other, which can cancel a pulse that is on its way.
    assert sum(abs(theirs[net] - ours.get(net, 0)) for net in theirs) <= total * 2e-3


def test_settled_changes_are_those_of_cells_evaluated_one_by_one():
    netlist = mapped_netlist(SMALL, OPEN45)
    codes = random_codes(netlist, 90)
    before, expected = None, dict.fromkeys(range(10_000), 0)
    for cycle in range(90):
        now = {0: 0, 1: 1}
        for name, nets in netlist.inputs.items():
            now |= {net: int(codes[name][cycle]) >> bit & 1 for bit, net in enumerate(nets)}
        for cell in netlist.instances:
            pins = {pin: now[net] for pin, net in cell.pins.items()}
            now[cell.output] = OPEN45.cell[cell.cell].output(pins, int.__and__, lambda bit: bit ^ 1)
        for net in now if before else ():
            expected[net] += now[net] != before[net]
        before = now
    counted = activity(netlist, OPEN45, codes, SMALL.registers)
    assert counted.settled == {net: expected[net] for net in counted.settled}
    assert sum(counted.settled.values()) == sum(expected.values())
    assert activity(netlist, OPEN45, codes, SMALL.registers, glitches=False).changes == counted.settled


def test_cycles_are_counted_the_same_in_one_go_and_in_pieces():
    """2,500 cycles go through several blocks; 1,300 and 1,200 of them do otherwise."""
    netlist = mapped_netlist(SMALL, OPEN45)
    codes = random_codes(netlist, 2501)
    whole = activity(netlist, OPEN45, codes, SMALL.registers)
    pieces = [
        activity(netlist, OPEN45, {name: row[part] for name, row in codes.items()}, SMALL.registers)
        for part in (slice(0, 1301), slice(1300, 2501))
    ]
    assert whole.changes == pieces[0].changes + pieces[1].changes
    assert all((whole.changes[net] - whole.settled[net]) % 2 == 0 for net in whole.changes)


def behind_a_register(*cells):
    """A register bit that changes in each of ten cycles, and cells behind it; net 5 is its next value."""
    netlist = Mapped({"state": [2]}, {"next_state": [5]}, cells)
    return activity(netlist, OPEN45, {"state": np.arange(11) % 2}, ["state"])


NAND_OF_BOTH = Instance("NAND2", {"A": 3, "B": 4}, 5)
INVERTERS = Instance("INV", {"A": 2}, 3), Instance("INV", {"A": 3}, 4)


def test_a_pulse_shorter_than_the_delay_does_not_pass():
    """When the register falls, both inputs of the NAND are 1 for the second inverter's 9.3 + 2.28 * 1.63 = 13.0 ps.

    The NAND in front of a flip-flop takes 14 + 2.45 * 1.04 = 16.5 ps.
    """
    counted = behind_a_register(*INVERTERS, NAND_OF_BOTH)
    assert counted.settled == Counter({2: 10, 3: 10, 4: 10})
    assert counted.changes == counted.settled


def test_a_longer_pulse_is_a_glitch():
    """Two more inverters slow the second one down to 9.3 + 2.28 * 5.03 = 20.8 ps; it passes in every other cycle."""
    more = Instance("INV", {"A": 4}, 6), Instance("INV", {"A": 4}, 7)
    counted = behind_a_register(*INVERTERS, NAND_OF_BOTH, *more)
    assert counted.settled[5] == 0
    assert counted.changes[5] == 10


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="needs Icarus Verilog (iverilog)")
def test_the_energy_of_changes_is_that_of_event_driven_simulation(tmp_path):
    trace = random_trace(INT4, 200)
    netlist = mapped_netlist(INT4, OPEN45)
    theirs = icarus_changes(netlist, OPEN45, trace.inputs, INT4.registers, tmp_path)
    pins = [(net, OPEN45.cell[c.cell].capacitance) for c in netlist.instances for net in c.pins.values()]
    pins += [(net, 1.04) for net in netlist.outputs["next_accumulator"]]
    energy = sum(theirs[net] * 0.5 * fF * 1.1**2 for net, fF in pins if net > 1)
    energy += sum(theirs[cell.output] * OPEN45.cell[cell.cell].energy for cell in netlist.instances)
    energy += sum(theirs[net] * 4.176 for net in netlist.inputs["accumulator"])
    ours = circuit_energy(INT4, OPEN45, trace).operation
    assert ours.switching + ours.glitches + ours.flip_flops == pytest.approx(energy / 200, rel=1e-3)


def test_a_circuit_at_rest_costs_its_clock_and_its_leakage():
    """32 bits of 2 * 0.5 * 0.95 fF * 1.21 V^2 and 7.235 fJ; the leakage of all cells, from the synthesis' list of them."""
    still = {"activation": np.full((40, 1), 3), "weight": np.zeros((40, 1), np.int64)}
    trace = passing(INT4, still, np.arange(40))
    slow, fast = (circuit_energy(INT4, OPEN45, trace, clock_mhz=mhz).operation for mhz in (250, 500))
    assert slow.switching == slow.glitches == slow.flip_flops == 0
    assert slow.clock == pytest.approx(32 * (0.95 * 1.21 + 7.235))
    cells = synthesize(INT4, "open45").cells
    leakage = sum(
        count * (79.112 if name == "DFF" else OPEN45.cell[name].leakage) for name, count in cells.items()
    )
    assert slow.leakage == pytest.approx(leakage * 4e-3)
    assert fast.leakage == pytest.approx(slow.leakage / 2)


def test_the_clock_of_a_bit_costs_what_aladdin_publishes():
    """0.009 pJ a bit: register of Shao et al., "Aladdin" (ISCA 2014), 40 nm."""
    assert clock_fj(OPEN45) == pytest.approx(9, rel=0.1)


def cnn_like(datapath, held, cycles=2048):
    """Gaussian weights, each held so many cycles, and activations behind a ReLU, half of them zero: [cycles, 1]."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=-(-cycles // held)).repeat(held)[:cycles] / 3
    activations = np.clip(np.round(rng.normal(size=cycles) / 3 * 255), 0, 255)
    levels = getattr(datapath.weight, "levels", np.arange(-7, 8))
    nearest = np.abs(weights[:, None] * levels.max() - levels).argmin(axis=1)
    return {"activation": activations.astype(np.int64)[:, None], "weight": levels[nearest][:, None]}


def test_shift_and_multiplier_change_places_with_the_dataflow():
    """A 4-bit shift MAC costs more than an INT4 x 8 multiplier where weights change in every cycle, and less where they stay."""

    def energy(datapath, held):
        return circuit_energy(datapath, OPEN45, in_place(datapath, cnn_like(datapath, held))).operation.total

    changing = {d: energy(d, 1) for d in (SHIFT, INT4)}
    staying = {d: energy(d, 64) for d in (SHIFT, INT4)}
    assert changing[SHIFT] > 1.15 * changing[INT4]
    assert staying[SHIFT] < 0.9 * staying[INT4]
    assert synthesize(SHIFT, "open45").area_um2 < synthesize(INT4, "open45").area_um2


def test_random_operands_cost_more_than_those_of_a_network():
    random = circuit_energy(INT4, OPEN45, random_trace(INT4)).operation
    assert (
        random.total > 1.3 * circuit_energy(INT4, OPEN45, in_place(INT4, cnn_like(INT4, 1))).operation.total
    )
    assert random.glitches > 0.2 * random.switching


def test_a_combinational_circuit_has_no_clock():
    datapath = Requantize(Int(12), Int(4, False), Rounding.HALF_UP)
    found = circuit_energy(datapath, OPEN45, random_trace(datapath, 100)).operation
    assert found.clock == found.flip_flops == 0 < found.switching


def test_a_trace_that_the_netlist_does_not_compute_is_refused():
    trace = random_trace(SMALL, 50)
    codes = trace.outputs["next_accumulator"].copy()
    codes[31] ^= 4
    with pytest.raises(HwsimError, match=r"next_accumulator = \d+ in cycle 31 and its arithmetic \d+"):
        circuit_energy(SMALL, OPEN45, replace(trace, outputs={"next_accumulator": codes}))


@pytest.mark.parametrize(
    ("old", "new"), [("NAND2", "NOR2"), ("XOR2", "XNOR2"), ("AOI21", "OAI21"), ("INV", "BUF")]
)
def test_a_mutant_of_the_netlist_is_refused(old, new, monkeypatch):
    netlist = mapped_netlist(SMALL, OPEN45)
    place = next(k for k, cell in enumerate(netlist.instances) if cell.cell == old)
    cells = list(netlist.instances)
    cells[place] = replace(cells[place], cell=new)
    monkeypatch.setattr(
        "hwsim.cost.energy.mapped_netlist", lambda *_, **__: replace(netlist, instances=cells)
    )
    with pytest.raises(HwsimError, match="the mapped netlist of Mac"):
        circuit_energy(SMALL, OPEN45, random_trace(SMALL, 500))


def test_a_technology_without_a_voltage_is_refused():
    with pytest.raises(HwsimError, match='technology "gates" has no voltage and so no energy; choose open45'):
        circuit_energy(SMALL, technology("gates"), random_trace(SMALL, 10))


def test_a_trace_of_one_cycle_is_refused():
    with pytest.raises(HwsimError, match="needs two cycles"):
        circuit_energy(SMALL, OPEN45, random_trace(SMALL, 10).first(0))


def test_a_sum_in_place_begins_behind_a_reset_with_what_the_sum_before_left():
    streams = {"activation": np.array([[1, 2], [3, 4]]), "weight": np.array([[1, 1], [2, -1]])}
    trace = in_place(SMALL, streams)
    assert trace.inputs["RESET"].tolist() == [1, 0, 0, 1, 0, 0]
    assert trace.inputs["activation"].tolist() == [1, 1, 3, 2, 2, 4]
    assert trace.inputs["accumulator"].tolist() == [4094, 0, 1, 7, 0, 2]
    assert trace.outputs["next_accumulator"].tolist() == [0, 1, 7, 0, 2, 4094]


def test_sums_that_pass_arrive_from_the_product_before():
    streams = {"activation": np.array([[1, 2], [3, 4]]), "weight": np.array([[1, 1], [2, 2]])}
    trace = passing(SMALL, streams, np.array([1]))
    assert {name: codes.tolist() for name, codes in trace.inputs.items()} == {
        "activation": [3, 4],
        "weight": [2, 2],
        "accumulator": [1, 2],
        "RESET": [0, 0],
    }
    assert trace.outputs["next_accumulator"].tolist() == [7, 10]
