"""The trained networks of HWSIM_DATA: found by name, with their data, as good as measured when they were collected."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.data import data_folder, load_split
from hwsim.errors import HwsimError
from hwsim.models import load_model
from hwsim.models.forward import accuracy

# FP32 top-1 in percent on the whole test split, as given with the files; their authors' figures are
# 91.78 (ResNet-20), 87.2 (ResNet-8), and for ImageNet those of the selected 1,300 images.
TOP1 = {
    "resnet20-cifar10": 91.70,
    "resnet8-cifar10": 87.13,
    "mobilenet_v1-imagenet": 64.77,
    "mobilenet_v2-imagenet": 80.23,
    "squeezenet-imagenet": 69.85,
    "inverted_residual-fashion_mnist": 91.79,
}


def load(name):
    try:
        data_folder()
    except HwsimError as error:
        pytest.skip(str(error))
    return load_model(name)


@pytest.mark.parametrize("name", TOP1)
def test_a_network_by_name_is_as_good_on_a_sample_of_its_own_data_as_on_all(name):
    network = load(name)
    assert network.name == name
    split = load_split(network.data, "test", network.input_shape)
    sample = split.part(slice(24 if network.data == "imagenet" else 200))
    sample.check(network.input_shape, network.layers[-1].outputs)
    correct, count = accuracy(network, sample, batch=8)
    share = TOP1[name] / 100
    assert abs(correct / count - share) < 3.3 * (share * (1 - share) / count) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", TOP1)
def test_a_network_by_name_reaches_its_figure_on_the_whole_test_split(name):
    network = load(name)
    correct, count = accuracy(network, load_split(network.data, "test", network.input_shape), batch=20)
    assert round(100 * correct / count, 2) == pytest.approx(TOP1[name], abs=0.01)


def test_imagenet_images_are_decoded_when_they_are_looked_at():
    load("squeezenet-imagenet")
    split = load_split("imagenet", "calibration")
    assert split.images.shape == (512, 224, 224, 3)
    part = split.part(slice(10, 12))
    np.testing.assert_array_equal(part.images[:], split.images[10:12], strict=True)
    assert part.digest() != split.part(slice(12, 14)).digest()
    assert len(np.unique(split.labels)) == 512
