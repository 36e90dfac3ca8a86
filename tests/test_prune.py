"""Pruning by magnitude: how many weights go, which, and what is refused."""

import numpy as np
import pytest

from hwsim.errors import HwsimError
from hwsim.models import load_model
from hwsim.quantize.prune import prune, sparsity_of


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.3, 0.75])
def test_the_smallest_weights_of_all_layers_go_and_nothing_else(sparsity):
    network = load_model("digits")
    pruned = prune(network, sparsity)
    names = [f"{layer.name}.weight" for layer in network.layers if layer.has_weights]
    gone, left = [], []
    for name in names:
        before, after = network.parameters[name], pruned.parameters[name]
        np.testing.assert_array_equal(after[after != 0], before[after != 0])
        gone.append(np.abs(before[after == 0]))
        left.append(np.abs(before[after != 0]))
    assert np.concatenate(gone).size == round(sparsity * sum(network.parameters[name].size for name in names))
    assert np.concatenate(gone).max(initial=0.0) <= np.concatenate(left).min()
    for name in set(network.parameters) - set(names):
        np.testing.assert_array_equal(pruned.parameters[name], network.parameters[name])
    assert sparsity_of(pruned) == pytest.approx(sparsity, abs=1e-4)


def test_pruning_twice_is_pruning_once():
    network = load_model("digits")
    once, twice = prune(network, 0.6), prune(prune(network, 0.4), 0.6)
    assert once.digest() == twice.digest()


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, float("nan")])
def test_a_sparsity_out_of_range_is_refused(sparsity):
    with pytest.raises(HwsimError, match="at least 0 and below 1"):
        prune(load_model("digits"), sparsity)


@pytest.mark.parametrize("sparsity", [0.3, 0.9])
def test_each_layer_can_lose_the_share_of_its_own(sparsity):
    network = load_model("digits")
    pruned = prune(network, sparsity, scope="layer")
    for layer in network.layers:
        if layer.has_weights:
            before, after = (n.parameters[f"{layer.name}.weight"] for n in (network, pruned))
            gone = after == 0
            assert gone.sum() == round(sparsity * before.size)
            assert np.abs(before[gone]).max() <= np.abs(before[~gone]).min()
            np.testing.assert_array_equal(after[~gone], before[~gone])


def test_an_unknown_scope_is_refused():
    with pytest.raises(HwsimError, match='unknown scope of pruning "channel"; known: network, layer'):
        prune(load_model("digits"), 0.5, scope="channel")
