"""Circuits against arithmetic on a network's own operands."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

import networks
from hwsim.formats import Int, Overflow, Rounding
from hwsim.simulate import replay as replay_module
from hwsim.simulate.replay import replay

COMPUTING = ["conv", "depthwise", "grouped", "rescaled", "sum", "pool", "mean", "scores"]


@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize("overflow", Overflow)
@pytest.mark.parametrize("channels", [False, True])
def test_the_circuits_of_every_kind_of_layer_agree_with_the_arithmetic(channels, overflow, rounding):
    network = replace(networks.every_kind(3, Int(12), overflow, channels), rounding=rounding)
    replays = replay(network, networks.images(4), outputs=12)
    assert [r.layer for r in replays] == COMPUTING
    assert [r.difference for r in replays] == [None] * len(COMPUTING)
    layers = {item.layer.name: item.layer for item in network.layers}
    for row in replays:
        assert row.compared == 12
        if layers[row.layer].has_weights:
            assert row.cycles == 12 * (layers[row.layer].products + 1 + channels)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("verilator"), reason="Debian's package verilator is not installed")
def test_a_network_is_replayed_in_verilator():
    found = replay(networks.every_kind(3), networks.images(2), outputs=2, simulators=["verilator"])
    assert [r.difference for r in found] == [None] * len(COMPUTING)


def test_the_sample_favours_sums_that_overflowed():
    output = np.zeros((4, 3, 5, 5), np.int64)
    overflowed = np.zeros(output.shape, bool)
    overflowed[1, 2, 3, 4] = overflowed[2, 0, 0, 0] = True
    places = replay_module.sample(output, overflowed, 8, np.random.default_rng(0)).tolist()
    assert {(1, 2, 3, 4), (2, 0, 0, 0)} <= set(map(tuple, places)) and len(places) == 8


@pytest.mark.parametrize(
    ("layer", "part"),
    [
        ("conv", "requantize"),
        ("sum", "add"),
        ("mean", "requantize"),
        ("pool", "max_pool"),
        ("sum", "channel_clamp"),
    ],
)
def test_a_value_that_differs_is_found_and_named(monkeypatch, layer, part):
    network = networks.every_kind(3, channels=part == "channel_clamp")
    honest = replay_module._streams

    def off_by_one(item, part_name, *others):
        streams, expected = honest(item, part_name, *others)
        wrong = expected.copy()
        wrong[2] += item.layer.name == layer and part_name == part
        return streams, wrong

    monkeypatch.setattr(replay_module, "_streams", off_by_one)
    differences = [r.difference for r in replay(network, networks.images(4), outputs=6) if r.difference]
    assert [(d.layer, d.part, d.arithmetic - d.circuit) for d in differences] == [(layer, part, 1)]
    assert f"layer {layer}, {part} at" in str(differences[0])
