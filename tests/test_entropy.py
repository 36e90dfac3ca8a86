"""Entropy of a network's integers, against scipy's, Huffman's bounds and figures worked by hand."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

import networks
from hwsim.cost.coding.huffman import code_lengths, encode, encoded_bytes
from hwsim.cost.compression import compress, decompress, layer_bytes
from hwsim.cost.entropy import entropy_bits, measure_entropies
from hwsim.errors import HwsimError
from hwsim.simulate.inference import run


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=40))
def test_entropy_is_that_of_scipy_and_a_huffman_code_takes_less_than_a_bit_more(counts):
    found = entropy_bits(np.array(counts))
    if sum(counts):
        assert found == pytest.approx(scipy.stats.entropy(counts, base=2), abs=1e-9)
    else:
        assert found == 0
    if sum(n > 0 for n in counts) > 1:
        codes = np.repeat(np.arange(len(counts)), counts)
        mean_length = (code_lengths(codes, 6)[codes]).mean()
        assert found - 1e-9 <= mean_length < found + 1


def test_a_constant_has_no_entropy_and_eight_equal_shares_have_three_bits():
    assert entropy_bits(np.array([7])) == 0
    assert entropy_bits(np.full(8, 5)) == 3


def test_a_networks_entropies_are_those_of_the_integers_its_layers_read():
    network, images = networks.every_kind(2), networks.images(5)
    seen, weights = {}, {}

    def visit(item, inputs, output, over):
        if item.weight is not None:
            seen[item.layer.name] = np.unique(inputs[0], return_counts=True)[1]
            weights[item.layer.name] = np.unique(item.weight, return_counts=True)[1]

    run(network, images, visit)
    found = measure_entropies(network, images)
    for measured, mean, counts in (
        (found.activations, found.mean_activation, seen),
        (found.weights, found.mean_weight, weights),
    ):
        expected = {name: scipy.stats.entropy(c, base=2) for name, c in counts.items()}
        assert measured == pytest.approx(expected)
        values = [c.sum() for c in counts.values()]
        assert mean == pytest.approx(np.average(list(expected.values()), weights=values))
    assert found.images == 5


@given(st.lists(st.integers(0, 200), min_size=4, max_size=4).filter(any))
def test_a_codes_length_is_that_of_the_code_itself(counts):
    codes = np.repeat(np.arange(4), counts)
    assert encoded_bytes(np.array(counts)) == len(encode(codes, 2))


def test_what_a_code_takes_is_a_part_of_the_file_and_no_less_than_the_entropy():
    network, images = networks.every_kind(2), networks.images(5)
    found = measure_entropies(network, images)
    assert decompress(compress(network)).keys() == layer_bytes(network).keys()
    for name, bits in found.coded_weights.items():
        (item,) = (item for item in network.layers if item.layer.name == name)
        assert found.weights[name] <= bits < 8 * layer_bytes(network)[name] / item.weight.size
        assert found.coded_activations[name] >= found.activations[name]
        source = network.formats()[item.layer.inputs[0]]
        assert found.coded_activations[name] <= source.bits
    sizes = {i.layer.name: i.weight.size for i in network.layers if i.weight is not None}
    mean = sum(found.coded_weights[name] * n for name, n in sizes.items()) / sum(sizes.values())
    assert found.mean_coded_weight == pytest.approx(mean)
    assert found.mean_coded_activation >= found.mean_activation


def test_entropy_over_no_image_is_refused():
    with pytest.raises(HwsimError, match="at least one image"):
        measure_entropies(networks.every_kind(), networks.images(0))
