"""Odd weights and images in front of the quantizer: a network that computes as it says, or one clear sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import hwsim
from hwsim.errors import HwsimError
from hwsim.quantize import quantize
from hwsim.quantize.settings import Settings
from hwsim.simulate.inference import run

GREY = hwsim.Preprocessing(255.0, (0.5,), (0.25,))
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 6, 6, 1), np.uint8)
METHODS = ("min_max", "aciq_laplace", "aciq_gauss", "kl")


def module():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(16, 3)
    ).double()


def _set(index, key, value, part=slice(None)):
    def change(net):
        getattr(net[index], key).data[part] = value

    return change


def _scale(index, factor):
    def change(net):
        net[index].weight.data *= factor

    return change


WEIGHTS = {
    "zero-variance channel": _set(1, "running_var", 0.0, 2),
    "tiny variance": _set(1, "running_var", 1e-300),
    "huge variance": _set(1, "running_var", 1e300),
    "all-zero weight": _set(3, "weight", 0.0),
    "all-zero channel": _set(0, "weight", 0.0, 1),
    "all-zero batch norm": lambda net: [_set(1, key, 0.0)(net) for key in ("weight", "bias")],
    "all-zero network": lambda net: [p.data.zero_() for p in net.parameters()],
    "subnormal weights": _scale(3, 1e-310),
    "tiny weights": _scale(5, 1e-200),
    "huge weights": _scale(3, 1e150),
    "weights that overflow on the way": lambda net: [_scale(index, 1e200)(net) for index in (0, 3)],
    "one outlier": _set(5, "weight", 1e12, (0, 0)),
    "equal weights": _set(3, "weight", 0.25),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", WEIGHTS)
def test_odd_weights_give_a_network_that_runs_or_one_sentence(case, method):
    net = module()
    WEIGHTS[case](net)
    for correction in ("false", "true"):
        settings = Settings.parse(f"activations={method} bias_correction={correction}")
        try:
            network = quantize(
                hwsim.from_module(net, (1, 6, 6), GREY), "w4a4/int16", IMAGES, settings=settings
            )
        except HwsimError as error:
            assert str(error).isprintable() and "layer" in str(error) + "tensor" + str(error)
            continue
        assert all(np.isfinite(item.scale) and item.scale > 0 for item in network.layers)
        assert run(network, IMAGES).shape == (6, 3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0, 128, 255])
def test_images_of_one_value_calibrate_as_well(value, method):
    images = np.full((2, 6, 6, 1), value, np.uint8)
    settings = Settings.parse(f"activations={method}")
    try:
        network = quantize(
            hwsim.from_module(module(), (1, 6, 6), GREY), "w8a8/int32", images, settings=settings
        )
    except HwsimError as error:
        assert "almost constant in calibration" in str(error)
    else:
        assert run(network, images).shape == (2, 3)


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (IMAGES[:0], "the calibration set is empty"),
        (IMAGES[:, :5], r"uint8 \[6, 5, 6, 1\]; the network takes uint8 \[images, 6, 6, 1\]"),
        (IMAGES.repeat(3, 3), r"\[6, 6, 6, 3\]"),
        (IMAGES / 255, "are float64"),
        (IMAGES.astype(np.int64), "are int64"),
    ],
)
def test_calibration_images_of_another_shape_or_range_are_refused(images, sentence):
    with pytest.raises(HwsimError, match=sentence):
        quantize(hwsim.from_module(module(), (1, 6, 6), GREY), "w8a8", images)


@pytest.mark.parametrize(
    ("index", "key", "sentence"),
    [
        (0, "weight", '"0" has 3 of 36 values in its weight'),
        (1, "running_var", '"1" has 3 of 4'),
        (5, "bias", '"5" has 3 of 3'),
    ],
)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_named_and_counted(index, key, sentence, value):
    net = module()
    getattr(net[index], key).data.view(-1)[:3] = value
    with pytest.raises(HwsimError, match="NaN or infinite") as caught:
        hwsim.from_module(net, (1, 6, 6), GREY)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(("index", "shape"), [(0, (0, 1, 3, 3)), (5, (0, 16))])
def test_layers_without_elements_are_refused(index, shape):
    net = module()
    net[index].weight = nn.Parameter(torch.zeros(shape))
    with pytest.raises(HwsimError, match="module") as caught:
        hwsim.from_module(net, (1, 6, 6), GREY)
    assert str(caught.value).isprintable()


def test_labels_beyond_the_classes_are_refused_before_anything_is_computed(tmp_path):
    np.savez(tmp_path / "images.npz", x=IMAGES, y=np.array([0, 1, 2, 3, 0, 1]))
    network = hwsim.from_module(module(), (1, 6, 6), GREY)
    with pytest.raises(HwsimError, match="label 3 is beyond the network's 3 classes"):
        hwsim.quantize_model(network, "w8a8", calibration=str(tmp_path / "images.npz"))


@pytest.mark.parametrize(
    ("bits", "quantizer", "sentence"),
    [
        ("w8a8/int32", "activations=klx", 'unknown quantizer "klx"'),
        ("w8a8/int32", "placement=half bias_correction=full", "choose bias_correction=true"),
        ("w99a8/int32", "", "99"),
    ],
)
def test_what_was_mistyped_is_told_before_any_image_is_read(tmp_path, bits, quantizer, sentence):
    network = hwsim.from_module(module(), (1, 6, 6), GREY)
    with pytest.raises(HwsimError, match=sentence):
        hwsim.quantize_model(network, bits, quantizer=quantizer, calibration=str(tmp_path / "none.npz"))
