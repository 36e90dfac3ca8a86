"""The certificate of accumulators, against brute force, exact arithmetic and circuits."""

import json
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

import hwsim
import networks
import tiny
from hwsim.arithmetic import dot
from hwsim.bits import LayerBits
from hwsim.certificate import certify, narrowed, tensor_ranges, witness
from hwsim.data import load_split
from hwsim.datapath import multiply_accumulate
from hwsim.errors import HwsimError
from hwsim.formats import Int, Overflow
from hwsim.layers import INPUT, Convolution, Layer
from hwsim.network import IntegerLayer, QuantizedNetwork
from hwsim.simulate.inference import measure_accuracy, run
from hwsim.simulate.lanes import reduce


def one_layer(weight, activation, accumulator, padding=(0, 0, 0, 0), table=None):
    """A network of one 1x1 convolution whose input tensor holds every value of a format."""
    channels = weight.shape[1]
    shape = (channels, 1, 1)
    layer = Layer("conv", Convolution(len(weight), (1, 1), padding=padding), (INPUT,), (shape,))
    count = len(weight)
    constants = (np.full(count, 1 << 15), np.zeros(count, np.int64), np.full(count, 15))
    bits = LayerBits(Int(4), activation, accumulator)
    item = IntegerLayer(layer, Int(8), 1.0, bits, weight[:, :, None, None], *constants)
    if table is None:
        table = np.resize(np.arange(activation.minimum, activation.maximum + 1), (channels, 256))
    return QuantizedNetwork("one", shape, activation, 1.0, table, (item,))


def brute_force(weight, activation, accumulator):
    """Which channels overflow for some activations, by trying all of them."""
    values = range(activation.minimum, activation.maximum + 1)
    inputs = np.array(list(product(values, repeat=weight.shape[1])), np.int64)
    return np.flatnonzero(dot(inputs, weight.T, accumulator, Overflow.WRAP).overflowed.any(axis=0))


@pytest.mark.parametrize("activation", [Int(3, signed=False), Int(3), Int(2)], ids=str)
@pytest.mark.parametrize("seed", range(6))
def test_certificate_equals_brute_force(activation, seed):
    weight = np.random.default_rng(seed).integers(-8, 8, (40, 4))
    accumulator = Int(8)
    network = one_layer(weight * 4, activation, accumulator)
    (certificate,) = certify(network)
    np.testing.assert_array_equal(
        certificate.unsafe, brute_force(weight * 4, activation, accumulator), strict=True
    )
    for channel in range(len(weight)):
        found = witness(network, "conv", channel)
        assert (found is not None) == (channel in certificate.unsafe)
        if found is not None:
            assert activation.minimum <= found.min() <= found.max() <= activation.maximum
            sums = dot(
                found[None], network.layers[0].weight[channel].reshape(-1, 1), accumulator, Overflow.WRAP
            )
            assert sums.overflowed.all()


def test_products_that_can_never_overflow_16_bits_are_those_of_the_table():
    """Unsigned and signed activations: products of the largest magnitudes that fit, by adding them up."""
    table = {
        (6, 8): (4, 8), (7, 7): (4, 8), (8, 6): (4, 8), (5, 8): (8, 17),
        (4, 8): (18, 36), (4, 4): (312, 668), (2, 8): (128, 258), (8, 8): (1, 2),
    }  # fmt: skip
    for (w, a), counts in table.items():
        for signed, count in zip((False, True), counts, strict=True):
            largest = Int(w).maximum
            safe = [certify(_equal(largest, a, signed, k))[0].proved for k in (count, count + 1)]
            assert safe == [True, False], (w, a, signed)


def _equal(weight, activation_bits, signed, products):
    form = Int(activation_bits, signed)
    table = np.resize(
        np.array([0, form.maximum]) if not signed else np.arange(-form.maximum, form.maximum + 1),
        (products, 256),
    )
    network = one_layer(np.zeros((1, products), np.int64), form, Int(16), table=table)
    (item,) = network.layers
    bits = replace(item.bits, weight=Int(8))
    return replace(network, layers=(replace(item, bits=bits, weight=np.full(item.weight.shape, weight)),))


def test_a_witness_overflows_the_circuit():
    network, count = networks.every_kind(), 0
    for certificate in certify(network):
        item = next(item for item in network.layers if item.layer.name == certificate.layer)
        mac = multiply_accumulate(item.bits, "mac")
        for channel in certificate.unsafe:
            activations = witness(network, certificate.layer, int(channel))
            weights = item.weight[channel].reshape(-1, 1)
            assert reduce(mac, activations[None], weights, observe=["overflow"]).overflowed.all()
            count += 1
    assert count > 5


def assert_within_ranges(network, images):
    ranges = tensor_ranges(network)

    def visit(item, inputs, output, overflowed):
        low, high = ranges[item.layer.name]
        assert (output >= low[:, None, None]).all()
        assert (output <= high[:, None, None]).all()

    run(network, images, visit)


def test_every_tensor_stays_within_its_range():
    assert_within_ranges(networks.every_kind(), networks.images(50))


def test_channels_with_widths_of_their_own_reach_less_and_need_narrower_accumulators():
    channels = "activations=min_max activation_granularity=channel activation_allocation=paper"
    narrow = hwsim.quantize_model("digits", "w4a4/int32", quantizer=channels)
    assert_within_ranges(narrow, load_split("digits", "test").images[:50])
    whole = replace(narrow, layers=tuple(replace(i, width=None, exponent=None) for i in narrow.layers))
    pairs = list(zip(certify(narrow), certify(whole), strict=True))
    assert all((few.high <= all_.high).all() and (few.low >= all_.low).all() for few, all_ in pairs)
    assert any((few.high < all_.high).any() for few, all_ in pairs)


def test_the_narrowest_proved_accumulators_compute_the_same():
    network = networks.every_kind(accumulator=Int(32))
    narrow = narrowed(network)
    images = networks.images(20)
    np.testing.assert_array_equal(run(narrow, images), run(network, images), strict=True)
    assert sum(o.overflowed for o in measure_accuracy(narrow, images, np.zeros(20, np.int64)).overflows) == 0
    for before, after in zip(certify(network), certify(narrow), strict=True):
        assert after.proved
        assert after.bits.accumulator == Int(before.width)
        assert not _with_accumulator(narrow, after.layer, before.width - 1).proved


def _with_accumulator(network, name, bits):
    layers = tuple(
        replace(item, bits=replace(item.bits, accumulator=Int(bits))) if item.layer.name == name else item
        for item in network.layers
    )
    return next(c for c in certify(replace(network, layers=layers)) if c.layer == name)


def test_padding_lets_a_product_be_zero():
    weight = np.array([[-1, 1]])
    table = np.full((2, 256), 7)  # both activations are 7, so the sum is -7 and then 0
    assert certify(one_layer(weight, Int(8), Int(8), table=table))[0].high.tolist() == [0]
    padded = one_layer(weight, Int(8), Int(8), padding=(1, 1, 1, 1), table=table)
    assert certify(padded)[0].high.tolist() == [7]


def test_a_layer_or_channel_that_is_not_there_is_refused():
    network = networks.every_kind()
    with pytest.raises(HwsimError, match='no layer "pool" with weights'):
        witness(network, "pool", 0)
    with pytest.raises(HwsimError, match="no output 9"):
        witness(network, "conv", 9)


def test_commands_say_what_is_proved_and_take_the_narrowest_accumulators(tmp_path):
    quantize = ("quantize", "digits", "--bits", "w6a8/int16", "-o", "net.safetensors")
    assert tiny.hwsim(*quantize, cwd=tmp_path).returncode == 0
    said = json.loads(tiny.hwsim("certify", "net.safetensors", "--json", cwd=tmp_path).stdout)
    safe = [layer["layer"] for layer in said["layers"] if layer["proved"]]
    assert safe == ["block1_depthwise"]
    assert (said["certified"], said["proved"]) == (7, 1)
    assert all(layer["proved"] or layer["witness"]["overflowed"] for layer in said["layers"])
    narrow = json.loads(tiny.hwsim(*quantize, "--accumulators", "proved", "--json", cwd=tmp_path).stdout)
    needed = {layer["layer"]: layer["narrowest_accumulator_bits"] for layer in said["layers"]}
    assert {n: int(b.rpartition("int")[2]) for n, b in narrow["layers"].items()} == needed
    lines = tiny.hwsim("certify", "net.safetensors", cwd=tmp_path).stdout.splitlines()
    assert lines[-1] == "7 of 7 layers are proved safe"
    wrong = tiny.hwsim(*quantize, "--accumulators", "small", cwd=tmp_path)
    assert wrong.returncode == 2
    assert 'unknown choice of accumulators "small"' in wrong.stderr
