"""Whole networks on their compiled circuits, against exact arithmetic at every tensor."""

from dataclasses import replace

import numpy as np
import pytest

import networks
from hwsim.formats import Int, Overflow, Rounding
from hwsim.simulate.circuits import Circuits
from hwsim.simulate.inference import compute_layer, measure_accuracy, run
from hwsim.steps.simulate import simulate_network

ALL_LABELS = np.zeros(5, np.int64)


def compared(network, **options):
    """Accuracy and overflows of the circuits, compared at every output and overflow of five images."""
    circuits = Circuits(network, **options)
    images = networks.images(len(ALL_LABELS))
    return circuits, measure_accuracy(
        network, images, ALL_LABELS, compute=circuits.compute, against=compute_layer
    )


@pytest.mark.parametrize("accumulator", [Int(11), Int(32)], ids=str)
@pytest.mark.parametrize("overflow", Overflow)
@pytest.mark.parametrize("channels", [False, True])
def test_the_circuits_of_every_kind_of_layer_compute_what_the_arithmetic_does(
    channels, accumulator, overflow
):
    network = networks.every_kind(4, accumulator, overflow, channels)
    _, result = compared(network)
    assert result.difference is None
    assert sum(o.overflowed for o in result.overflows) > 0 or accumulator.bits == 32
    images = networks.images(len(ALL_LABELS))
    assert result == measure_accuracy(network, images, ALL_LABELS)


@pytest.mark.parametrize("rounding", [Rounding.FLOOR, Rounding.HALF_EVEN])
def test_requantisers_round_as_the_network_says(rounding):
    _, result = compared(replace(networks.every_kind(5), rounding=rounding))
    assert result.difference is None


def test_gates_and_threads_change_nothing():
    network = networks.every_kind(6, Int(12), Overflow.SATURATE)
    circuits, result = compared(network, gates=True, threads=2)
    assert result.difference is None
    assert set(circuits.steps.values()) == {"netlist, gate by gate"}


WRONG = """
from dataclasses import dataclass
import pyrtl
from hwsim.datapath import Mac

@dataclass(frozen=True)
class Wrong(Mac):
    def connect(self, wires):
        (sum,) = super().connect(wires).values()
        flip = (wires["weight"] == WEIGHT) & (wires["activation"] == ACTIVATION)
        return {"accumulator": sum ^ pyrtl.concat(flip, pyrtl.Const(0, len(sum) - 1))}
"""


@pytest.mark.parametrize("gates", [False, True])
def test_a_circuit_that_is_wrong_at_one_pair_of_operands_is_found_in_the_network(tmp_path, gates):
    network = networks.every_kind(8)
    network = replace(network, layers=network.layers[:1])
    images, labels = networks.images(40), np.zeros(40, np.int64)
    operands = {
        "WEIGHT": network.layers[0].weight[0, 0, 1, 1],
        "ACTIVATION": network.input_table[0, images[0, 2, 2, 0]],
    }
    source = WRONG
    for name, value in operands.items():
        source = source.replace(name, str(value % 256))
    (tmp_path / "wrong.py").write_text(source)
    for mac, found in (("mac", False), (f"{tmp_path / 'wrong.py'}:Wrong", True)):
        circuits = Circuits(network, mac=mac, gates=gates)
        result = measure_accuracy(network, images, labels, compute=circuits.compute, against=compute_layer)
        assert (result.difference is not None) is found


def test_circuits_compute_the_same_without_watching_overflows():
    network, images = networks.every_kind(), networks.images(6)
    watched, unwatched = Circuits(network), Circuits(network, overflows=False)
    np.testing.assert_array_equal(
        run(network, images, compute=unwatched.compute), run(network, images, compute=watched.compute)
    )
    seen = []
    run(network, images, lambda item, inputs, output, over: seen.append(over), compute=unwatched.compute)
    assert not any(over is not None for over in seen)


def test_every_stage_of_a_simulation_tells_where_it_stands_after_every_layer(tmp_path):
    network, told = networks.every_kind(4), {}
    np.savez(tmp_path / "images.npz", x=networks.images(5), y=ALL_LABELS)
    simulate_network(
        network,
        data=str(tmp_path / "images.npz"),
        verify=1,
        progress=lambda stage, *counts: told.setdefault(stage, []).append(counts),
    )
    assert list(told) == ["compile layers", "simulate images", "verify layers"]
    weighted = sum(item.weight is not None for item in network.layers)
    assert [len(counts) for counts in told.values()] == [
        weighted + 1,
        len(network.layers) + 1,
        len(network.layers),
    ]
    for counts in told.values():
        (planned,) = {total for _, total in counts}
        done = [count for count, _ in counts]
        assert done == sorted(done) and done[-1] == planned
