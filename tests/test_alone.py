"""One layer quantized, the others in float: measured on the integers themselves, and estimated near them."""

import numpy as np
import pytest

from hwsim.bits import LayerBits
from hwsim.data import Split, load_split
from hwsim.formats import Int, Overflow, PowerOfTwo
from hwsim.layers import Flatten, Linear
from hwsim.models import load_model
from hwsim.models.builder import Builder
from hwsim.models.forward import logits
from hwsim.network import Preprocessing
from hwsim.quantize import calibrate, quantize
from hwsim.quantize.alone import Change, effects
from hwsim.quantize.settings import Settings
from hwsim.simulate.inference import measure_accuracy, run


def one_layer(negative_pixels=True):
    rng = np.random.default_rng(0)
    build = Builder((2, 3, 3))
    build.add("flat", Flatten())
    build.add("out", Linear(5), weight=rng.normal(size=(5, 18, 1, 1)), bias=rng.normal(size=5))
    mean = 0.5 if negative_pixels else 0.0
    network = build.network("one", Preprocessing(255.0, (mean, mean), (0.3, 0.2)))
    images = rng.integers(0, 256, (90, 3, 3, 2), dtype=np.uint8)
    x = network.preprocessing.apply(images)
    return network, Split(images, logits(network, x).argmax(axis=1))


def divergence(first, second):
    """The mean Kullback-Leibler divergence of the second's softmax from the first's."""
    p, q = (np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) for z in (first, second))
    return (p * np.log(p / q)).sum(axis=1).mean()


@pytest.mark.parametrize(
    "quantizer", ["", "bias_correction=true", "bias_correction=mean", "activations=aciq_laplace"]
)
@pytest.mark.parametrize("bits", ["w3a4/int32", "p3a3/int32", "w4a6/int12", "w8a8/int14/saturate"])
def test_a_network_of_one_layer_changes_as_its_integer_network_does(quantizer, bits):
    network, split = one_layer()
    calibration, settings = calibrate(network, split.images), Settings.parse(quantizer)
    change = Change.of(LayerBits.parse(bits, signed=True))
    effect = effects(network, {"out": [change]}, calibration, split, settings=settings)["out"][change]
    integers = quantize(network, bits, calibration, settings=settings)
    outputs = run(integers, split.images) * integers.layers[-1].scale
    expected = divergence(logits(network, network.preprocessing.apply(split.images)), outputs)
    assert effect.divergence == pytest.approx(expected, rel=2e-3)
    assert effect.lost == len(split) - measure_accuracy(integers, split.images, split.labels).correct


def test_weights_and_input_apart_are_the_whole_where_the_other_is_fine():
    network, split = one_layer(negative_pixels=False)
    calibration = calibrate(network, split.images)
    pairs = {Change(weight=Int(3)): Change(Int(3), 8), Change(activation=3): Change(Int(8), 3)}
    changes = [*pairs, *pairs.values(), Change()]
    found = effects(network, {"out": changes}, calibration, split, settings=Settings())["out"]
    for apart, together in pairs.items():
        assert found[apart].divergence == pytest.approx(found[together].divergence, rel=0.05)
    assert found[Change()].divergence == found[Change()].lost == 0


@pytest.fixture(scope="module")
def digits():
    network, split = load_model("digits"), load_split("digits", "calibration")
    names = list(network.signed_inputs())
    changes = [
        Change(weight=Int(6)),
        Change(weight=Int(4)),
        Change(weight=PowerOfTwo(4)),
        Change(activation=6),
    ]
    changes += [
        Change(activation=4),
        Change(Int(8), 8, Int(16)),
        Change(Int(8), 8, Int(16), Overflow.SATURATE),
    ]
    calibration = calibrate(network, split.images)
    return effects(
        network, dict.fromkeys(names, changes), calibration, split.part(slice(60)), settings=Settings()
    )


def test_the_estimate_is_near_what_is_measured_where_changes_are_small(digits):
    pairs = [
        (e.estimated, e.divergence) for found in digits.values() for e in found.values() if not e.overflowed
    ]
    estimated, measured = np.array([pair for pair in pairs if pair[1] < 0.01]).T
    assert len(measured) > 20
    np.testing.assert_allclose(estimated, measured, rtol=0.35)
    assert np.corrcoef(np.log(estimated), np.log(measured))[0, 1] > 0.99


def test_a_sum_that_wraps_does_more_harm_than_one_that_saturates(digits):
    for found in digits.values():
        wrapped, saturated = (found[Change(Int(8), 8, Int(16), overflow)] for overflow in Overflow)
        assert bool(wrapped.overflowed) <= bool(saturated.overflowed)
        assert wrapped.divergence >= saturated.divergence


def test_effects_do_not_depend_on_the_threads(digits):
    import torch

    network, split = load_model("digits"), load_split("digits", "calibration")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        given = {name: list(found) for name, found in digits.items()}
        calibration = calibrate(network, split.images)
        assert effects(network, given, calibration, split.part(slice(60)), settings=Settings()) == digits
    finally:
        torch.set_num_threads(before)
