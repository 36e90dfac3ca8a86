"""Float networks: execution against its definition, the embedded network, ResNet-20, loading by name."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
import torch
from numpy.lib.stride_tricks import sliding_window_view

from hwsim.data import data_folder, load_split
from hwsim.errors import HwsimError
from hwsim.layers import (
    INPUT,
    Add,
    AveragePool,
    BatchNorm,
    Clip,
    Concatenate,
    Convolution,
    Flatten,
    Linear,
    MaxPool,
    PadChannels,
    Relu,
    Slice,
)
from hwsim.models import MODELS, load_model
from hwsim.models.builder import Builder
from hwsim.models.digits import SHIPPED, train
from hwsim.models.forward import accuracy, forward, logits, predict, run
from hwsim.models.resnet import resnet20
from hwsim.network import Preprocessing

GREY = Preprocessing(1.0, (0.0,), (1.0,))
RNG = np.random.Generator(np.random.PCG64(7))
X = RNG.normal(size=(2, 4, 7, 6))


def _output(operator, *inputs, **parameters):
    build = Builder((4, 7, 6))
    build.add("tested", operator, *inputs, **parameters)
    network = build.network("test", Preprocessing(1.0, (0.0,) * 4, (1.0,) * 4))
    return forward(network, X, {"tested"})["tested"]


def _windows(x, kernel, stride, padding, value=0.0):
    """Return [n, c, out height, out width, kernel height, kernel width]."""
    top, left, bottom, right = padding
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=value)
    return sliding_window_view(x, kernel, (2, 3))[:, :, :: stride[0], :: stride[1]]


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (1, 0, 2, 3)])
def test_convolution_is_the_sum_over_its_windows(groups, padding):
    weight, bias = RNG.normal(size=(8, 4 // groups, 3, 2)), RNG.normal(size=8)
    ours = _output(Convolution(8, (3, 2), (2, 1), padding, groups), weight=weight, bias=bias)
    windows = _windows(X, (3, 2), (2, 1), padding)
    for out in range(8):
        first = out // (8 // groups) * (4 // groups)
        theirs = (
            np.einsum("nchwij,cij->nhw", windows[:, first : first + 4 // groups], weight[out]) + bias[out]
        )
        np.testing.assert_allclose(ours[:, out], theirs, atol=1e-12)


def test_pooling_lets_padding_lose_the_maximum_and_count_as_zeros_in_the_mean():
    where = ((3, 2), (2, 2), (0, 1, 2, 0))
    np.testing.assert_array_equal(_output(MaxPool(*where)), _windows(X, *where, value=-np.inf).max((4, 5)))
    np.testing.assert_allclose(_output(AveragePool(*where)), _windows(X, *where).mean((4, 5)), atol=1e-14)


def test_batch_norm_uses_the_running_statistics():
    gamma, beta, mean, variance = RNG.uniform(0.5, 2, (4, 4, 1, 1))
    ours = _output(
        BatchNorm(0.01),
        weight=gamma.ravel(),
        bias=beta.ravel(),
        running_mean=mean.ravel(),
        running_var=variance.ravel(),
    )
    np.testing.assert_allclose(ours, gamma * (X - mean) / np.sqrt(variance + 0.01) + beta, atol=1e-12)


@pytest.mark.parametrize(
    ("operator", "inputs", "expected"),
    [
        (Relu(), (), np.maximum(X, 0)),
        (Clip(-0.5, 0.25), (), np.clip(X, -0.5, 0.25)),
        (Add(), (INPUT, INPUT), X + X),
        (Concatenate(), (INPUT, INPUT), np.concatenate([X, X], 1)),
        (Flatten(), (), X.reshape(2, -1, 1, 1)),
        (Slice((1, 0, 1), (4, 7, 6), (2, 3, 1)), (), X[:, 1:4:2, 0:7:3, 1:6]),
        (PadChannels(1, 2), (), np.pad(X, ((0, 0), (1, 2), (0, 0), (0, 0)))),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, tuple) else "",
)
def test_the_other_operators_equal_numpy(operator, inputs, expected):
    np.testing.assert_array_equal(_output(operator, *inputs), expected, strict=True)


def test_a_linear_layer_is_a_matrix_product():
    build = Builder((4, 7, 6))
    build.add("flatten", Flatten())
    weight, bias = RNG.normal(size=(3, 168, 1, 1)), RNG.normal(size=3)
    build.add("linear", Linear(3), weight=weight, bias=bias)
    network = build.network("test", Preprocessing(1.0, (0.0,) * 4, (1.0,) * 4))
    np.testing.assert_allclose(logits(network, X), X.reshape(2, -1) @ weight[..., 0, 0].T + bias, atol=1e-12)


def test_every_tensor_is_visited_once_in_network_order_and_images_do_not_mix():
    network = load_model("digits")
    x = network.preprocessing.apply(load_split("digits", "calibration").images[:3])
    seen = {}
    run(network, x, lambda name, values: seen.update({name: values}))
    assert list(seen) == [INPUT, *(layer.name for layer in network.layers)]
    assert all(seen[layer.name].shape == (3, *layer.output_shape) for layer in network.layers)
    alone = forward(network, x[1:2])
    for name, values in seen.items():
        np.testing.assert_allclose(values[1:2], alone[name], atol=1e-12)


def test_images_of_another_shape_are_refused():
    with pytest.raises(HwsimError, match=r"takes images \[n, 1, 8, 8\], not \[1, 3, 8, 8\]"):
        forward(load_model("digits"), np.zeros((1, 3, 8, 8)))


def test_labels_beyond_the_classes_are_refused():
    split = load_split("digits", "test")
    with pytest.raises(HwsimError, match="label 12 is beyond the network's 10 classes"):
        accuracy(load_model("digits"), replace(split, labels=split.labels + 3))


def test_the_embedded_network_gets_98_percent_of_the_test_digits_right():
    correct, count = accuracy(load_model("digits"), load_split("digits", "test"))
    assert count == 697
    assert correct / count > 0.98


def test_the_embedded_network_has_every_kind_of_layer_that_matters():
    network = load_model("digits")
    assert sum(a.size for name, a in network.parameters.items() if "running" not in name) == 8042
    assert sum(layer.macs for layer in network.layers) == 130816
    kinds = {layer.kind for layer in network.layers}
    assert {
        "convolution",
        "batch_norm",
        "relu",
        "add",
        "max_pool",
        "average_pool",
        "flatten",
        "linear",
    } == kinds
    convolutions = [layer.operator for layer in network.layers if layer.kind == "convolution"]
    assert {(c.kernel, c.groups > 1) for c in convolutions} == {
        ((3, 3), False),
        ((3, 3), True),
        ((1, 1), False),
    }
    assert set(network.signed_inputs().values()) == {False, True}


def test_the_shipped_weights_are_all_that_is_loaded():
    stored = safetensors.numpy.load_file(SHIPPED)
    network = load_model("digits")
    assert stored.keys() == network.parameters.keys()
    for name, array in network.parameters.items():
        np.testing.assert_array_equal(array, stored[name].astype(np.float64), strict=True)


def test_training_is_set_by_its_seed_and_learns():
    threads = torch.get_num_threads()
    first, again, other = (train(seed, epochs=4) for seed in (1, 1, 2))
    assert first.digest() == again.digest() != other.digest()
    assert torch.get_num_threads() == threads
    correct, count = accuracy(first, load_split("digits", "test"))
    assert correct / count > 0.8


def _resnet():
    try:
        data_folder()
    except HwsimError as error:
        pytest.skip(str(error))
    return load_model("resnet20-cifar10")


def test_resnet20_is_the_published_size_and_as_good_on_a_sample_as_on_all_images():
    network = _resnet()
    # He et al. 2016, table 6: ResNet-20 has 0.27 M parameters; the whole test split gives 91.70 %.
    assert sum(a.size for name, a in network.parameters.items() if "running" not in name) == 269722
    assert sum(layer.macs for layer in network.layers) == 40551040
    sample = load_split("cifar10", "test").part(slice(200))
    correct, count = accuracy(network, sample)
    assert abs(correct / count - 0.917) < 3 * (0.917 * 0.083 / count) ** 0.5


def _stored():
    _resnet()
    return safetensors.numpy.load_file(data_folder() / "networks" / "resnet20_cifar10.safetensors")


def _drop(stored):
    del stored["layer2.0.conv1.weight"], stored["bn1.weight"]


def _spoil(stored):
    stored["layer3.1.conv2.weight"][:2, 0, 0, 0] = np.nan, np.inf


def _reshape(stored):
    stored["linear.weight"] = stored["linear.weight"].T.copy()


def _extend(stored):
    stored["layer4.0.conv1.weight"] = np.zeros(3, np.float32)


def _negative(stored):
    stored["bn1.running_var"][3] = -1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_drop, r'layer "bn1" has no weight; 2 of the 116 parameters are missing'),
        (_spoil, r'layer "layer3.1.conv2" has 2 of 36864 values in its weight that are NaN or infinite'),
        (_reshape, r'layer "linear" has a weight of shape \[64, 10\], not \[10, 64, 1, 1\]'),
        (_extend, r'holds "layer4.0.conv1.weight", which ResNet-20 does not have'),
        (_negative, r'layer "bn1" has a variance of -1.0'),
    ],
)
def test_a_wrong_checkpoint_is_refused_with_layer_and_count(change, message, tmp_path):
    stored = _stored()
    change(stored)
    safetensors.numpy.save_file(stored, tmp_path / "w.safetensors")
    with pytest.raises(HwsimError, match=message):
        resnet20(tmp_path / "w.safetensors")


def test_a_damaged_checkpoint_is_refused(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"\xff" * 50)
    with pytest.raises(HwsimError, match="no safetensors file"):
        resnet20(tmp_path / "w.safetensors")
    with pytest.raises(HwsimError, match="cannot read the weights file"):
        resnet20(tmp_path / "none.safetensors")


def test_a_network_comes_from_a_function_of_a_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from hwsim.models import load_model\ndef net():\n    return load_model('digits')\n")
    assert load_model(f"{path}:net").digest() == load_model("digits").digest()


@pytest.mark.parametrize(
    ("code", "name", "message"),
    [
        ("x = 1", "x", "not callable"),
        ("x = 1", "y", 'defines no "y"'),
        ("def f(): return 3", "f", "returns int"),
        ("1/0", "f", "cannot be loaded: ZeroDivisionError"),
        ("def f(:", "f", "cannot be loaded: SyntaxError"),
    ],
)
def test_a_file_without_a_network_is_refused(code, name, message, tmp_path):
    (tmp_path / "mine.py").write_text(code)
    with pytest.raises(HwsimError, match=message):
        load_model(f"{tmp_path / 'mine.py'}:{name}")


def test_unknown_models_and_needless_preprocessing_are_refused():
    with pytest.raises(
        HwsimError, match=r'unknown model "lenet"; known: digits, resnet20-cifar10, .*; or give an ONNX'
    ):
        load_model("lenet")
    with pytest.raises(HwsimError, match=r'cannot read the model file "absent.py"'):
        load_model("absent.py:net")
    with pytest.raises(HwsimError, match="knows its own preprocessing"):
        load_model("digits", div=255.0)


def test_every_model_says_in_one_line_what_it_is():
    assert all((function.__doc__ or "").strip().count("\n") == 0 for function in MODELS.values())


def test_the_catalogue_is_imported_without_torch():
    code = (
        "import sys, hwsim.models, hwsim.data; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_builder_keeps_hostile_and_doubled_names_apart():
    build = Builder((1, 2, 2))
    names = [build.add(name, Relu()) for name in ("a", "a", "input", "../x", "a_2")]
    assert names == ["a", "a_2", "input_2", "../x", "a_2_2"]
    assert build.network("n", GREY).layers[4].inputs == ("../x",)


def test_preprocessing_for_other_channels_is_refused():
    with pytest.raises(HwsimError, match="1 means and 1 stds for 3 channels"):
        Builder((3, 2, 2)).network("n", GREY)


def test_predictions_do_not_depend_on_the_batch():
    network, split = load_model("digits"), load_split("digits", "calibration")
    np.testing.assert_array_equal(predict(network, split, 7), predict(network, split, 200), strict=True)
