"""Circuits of a network: enough copies for the pace, no copy too many, each costed as synthesis costs it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import networks
from hwsim.cost.hardware import Hardware, circuits, distinct_datapaths, operations
from hwsim.cost.synthesis import synthesize
from hwsim.datapath import describe
from hwsim.errors import HwsimError
from hwsim.network import QuantizedNetwork


@pytest.fixture(scope="module")
def small() -> QuantizedNetwork:
    """The layers of a network whose circuits are quick to synthesise: a max pool behind a narrow convolution."""
    network = networks.every_kind()
    kept = [item for item in network.layers if item.layer.name in ("conv", "depthwise", "grouped", "pool")]
    return replace(network, layers=tuple(kept))


def test_every_layer_that_computes_has_its_circuits():
    network = networks.every_kind()
    found = {
        item.layer.name: list(parts)
        for item in network.layers
        if (parts := Hardware().datapaths(network, item))
    }
    assert found == {
        **{name: ["mac", "requantize"] for name in ("conv", "depthwise", "grouped", "scores")},
        "rescaled": ["requantize"],
        "sum": ["add"],
        "pool": ["max_pool"],
        "mean": ["average_pool", "requantize"],
    }


def test_operations_worked_by_hand():
    items = {item.layer.name: item for item in networks.every_kind().layers}
    # conv: 4x6x6 outputs of 2x3x3 products; pool: 6x3x3 outputs of 2x2 elements; each sum is reset once.
    assert operations(items["conv"], "mac") == 144 * 18 + 144 == items["conv"].layer.macs + 144
    assert operations(items["conv"], "requantize") == 144
    assert operations(items["pool"], "max_pool") == items["pool"].layer.outputs * 5
    assert operations(items["mean"], "average_pool") == items["mean"].layer.outputs * 5
    assert operations(items["sum"], "add") == items["sum"].layer.outputs


@pytest.mark.parametrize("clock_mhz, images_per_second", [(500, 10_000), (500, 1_000_000), (20_000, 3e6)])
def test_the_copies_keep_the_pace_at_the_clock_and_one_fewer_would_not(small, clock_mhz, images_per_second):
    hardware = Hardware(clock_mhz, images_per_second)
    items = {item.layer.name: item for item in small.layers}
    for name, parts in circuits(small, hardware).items():
        for part in parts:
            assert part.critical_path_ps is not None
            periods = part.critical_path_ps / hardware.period_ps
            assert part.cycles - 1 < periods <= part.cycles
            work = operations(items[name], part.part) * part.cycles
            assert part.count * hardware.cycles_per_image >= work
            assert (part.count - 1) * hardware.cycles_per_image < work


def test_a_part_states_what_synthesis_says_of_its_circuit(small):
    parts = {part.circuit: part for row in circuits(small, Hardware()).values() for part in row}
    datapaths = distinct_datapaths([small], Hardware())
    assert sorted(parts) == sorted(map(describe, datapaths))
    for datapath in datapaths:
        part, cost = parts[describe(datapath)], synthesize(datapath)
        assert part.equivalent == cost.equivalent
        assert (part.nand2_equivalents, part.flip_flops) == (cost.nand2_equivalents, cost.flip_flops)
        assert (part.area_um2, part.critical_path_ps) == (cost.area_um2, cost.critical_path_ps)


def test_circuits_are_mapped_at_the_hardwares_point(small):
    for mapping in ("smallest", "fastest"):
        for row in circuits(small, Hardware(mapping=mapping)).values():
            for part in row:
                circuit = next(
                    d for d in distinct_datapaths([small], Hardware()) if describe(d) == part.circuit
                )
                assert part.nand2_equivalents == synthesize(circuit, mapping=mapping).nand2_equivalents


def test_without_sizes_a_part_has_no_area_and_takes_one_cycle(small):
    pool = replace(small, layers=small.layers[-1:], input=small.layers[-2].output)
    pool = replace(
        pool, layers=(replace(pool.layers[0], layer=replace(pool.layers[0].layer, inputs=("input",))),)
    )
    (part,) = circuits(pool, Hardware(technology="gates"))["pool"]
    assert (part.area_um2, part.critical_path_ps, part.cycles) == (None, None, 1)


def test_networks_that_share_circuits_name_each_once(small):
    once = distinct_datapaths([small], Hardware())
    assert distinct_datapaths([small, small], Hardware()) == once
    assert len(set(once)) == len(once)


def test_the_options_of_the_mac_reach_it(small):
    fused, baugh_wooley = (
        Hardware(mac_options=(("multiplier", name),)).datapaths(small, small.layers[0])["mac"]
        for name in ("fused", "baugh_wooley")
    )
    assert "fused" in describe(fused) and "baugh_wooley" in describe(baugh_wooley)


@given(st.integers(1, 10_000), st.integers(1, 10_000_000))
def test_the_cycles_of_an_image_are_whole_and_no_more_than_there_are(clock_mhz, images_per_second):
    try:
        cycles = Hardware(clock_mhz, images_per_second).cycles_per_image
    except HwsimError:
        assert clock_mhz * 1_000_000 < images_per_second
    else:
        assert cycles * images_per_second <= clock_mhz * 1_000_000 < (cycles + 1) * images_per_second


def test_decimal_fractions_lose_no_cycle():
    assert Hardware(clock_mhz=100.0, images_per_second=0.1).cycles_per_image == 10**9


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"clock_mhz": 0.0}, "the clock is a finite number above 0, not 0.0"),
        ({"images_per_second": math.nan}, "the throughput is a finite number above 0, not nan"),
        ({"clock_mhz": 1.0, "images_per_second": 2e6}, "no whole cycle an image"),
        ({"technology": "open46"}, 'unknown technology "open46"'),
    ],
)
def test_hardware_that_cannot_be_is_refused(options, sentence):
    with pytest.raises(HwsimError, match=sentence):
        Hardware(**options)
