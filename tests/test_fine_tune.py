"""Fine-tuning: gradients through the folded form, agreement with integers, masks, determinism, refusals."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from hwsim.bits import read_bits
from hwsim.data import Split, load_split
from hwsim.errors import HwsimError
from hwsim.layers import BatchNorm, Convolution, Flatten, Linear, Relu
from hwsim.models import load_model
from hwsim.models.builder import Builder, parameter_shapes
from hwsim.models.forward import accuracy
from hwsim.network import Preprocessing, to_bytes
from hwsim.quantize import Settings, calibrate, fold_batch_norm, quantize
from hwsim.quantize.fake_quantize import fake_quantize
from hwsim.quantize.fine_tune import fine_tune, fine_tune_float
from hwsim.quantize.training import Recipe, moved
from hwsim.simulate.inference import measure_accuracy, run

DIGITS = Recipe(epochs=6, rate=0.03, batch=32, shift=1, mirror=False)


@pytest.fixture(scope="module", autouse=True)
def cache_folder(tmp_path_factory):
    """A cache of this module's own: what it trains, it trains."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HWSIM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def digits():
    """The digits network and its calibration."""
    network = load_model("digits")
    return network, calibrate(network, load_split("digits", "calibration").images)


def bits_of(network, text):
    return read_bits(text, fold_batch_norm(network).signed_inputs())


def tensors(network, grad=False):
    return {
        name: torch.tensor(array, dtype=torch.float64, requires_grad=grad and "running" not in name)
        for name, array in network.parameters.items()
    }


def two_layers(gamma_sign=1.0):
    """A convolution with batch norm and ReLU, and a linear layer, with random parameters."""
    rng = np.random.default_rng(3)
    build = Builder((2, 5, 5))
    build.add("conv", Convolution(4, (3, 3), (2, 2), (1, 1, 1, 1)))
    build.add("norm", BatchNorm(1e-3))
    build.add("relu", Relu())
    build.add("flat", Flatten())
    build.add("out", Linear(3))
    for layer in build.layers:
        for key, shape in parameter_shapes(layer).items():
            values = rng.normal(0, 0.5, shape)
            positive = key == "running_var" or (layer.kind == "batch_norm" and key == "weight")
            build.parameters[f"{layer.name}.{key}"] = np.abs(values) + 0.2 if positive else values
    build.parameters["norm.weight"][1] *= gamma_sign
    return build.network("two", Preprocessing(255.0, (0.5, 0.4), (0.25, 0.3)))


PICTURES = np.random.default_rng(4).integers(0, 256, (24, 5, 5, 2), dtype=np.uint8)
LABELS = np.random.default_rng(5).integers(0, 3, 24)


def straight_through(values, scale, low, high):
    """Rounding behind a clip as an identity for gradients, written with detach; the clip is torch's own."""
    clipped = (values / scale).clamp(low, high)
    return (clipped + (torch.floor(clipped + 0.5) - clipped).detach()) * scale


def straight_through_weight(values, scale, high):
    """Rounding before a clip, so that the largest weight, which defines the scale, is inside."""
    steps = values / torch.tensor(scale)[:, None, None, None]
    rounded = steps + (torch.round(steps) - steps).detach()
    return rounded.clamp(-high, high) * torch.tensor(scale)[:, None, None, None]


@pytest.mark.parametrize("gamma_sign", [1.0, -1.0])
def test_gradients_of_the_folded_form_are_those_through_convolution_and_batch_norm(gamma_sign):
    network = two_layers(gamma_sign)
    calibration = calibrate(network, PICTURES)
    bits = bits_of(network, "w4a4/int32")
    form = fake_quantize(network, bits, calibration, Settings(activations="min_max"))
    ours = tensors(network, grad=True)
    functional.cross_entropy(
        form.forward(ours, torch.from_numpy(PICTURES)), torch.from_numpy(LABELS)
    ).backward()

    theirs = tensors(network, grad=True)
    at = form.assignment.tensors
    x = torch.from_numpy(network.preprocessing.apply(PICTURES))
    x = straight_through(x, at["input"].scale, -8, 7)
    weight = {
        name: straight_through_weight(theirs[f"{name}.weight"], s, 7)
        for name, s in ((name, grid.scale) for name, grid in form.grids.items())
    }
    y = functional.conv2d(x, weight["conv"], theirs["conv.bias"], 2, 1)
    mean, var, gamma, beta = (
        theirs[f"norm.{key}"] for key in ("running_mean", "running_var", "weight", "bias")
    )
    y = functional.batch_norm(y, mean, var, gamma, beta, False, 0.1, 1e-3)
    y = straight_through(y, at["conv"].scale, 0, 15)
    out = functional.linear(y.flatten(1), weight["out"][:, :, 0, 0], theirs["out.bias"])
    out = straight_through(out, at["out"].scale, -(1 << 15), (1 << 15) - 1)
    functional.cross_entropy(out, torch.from_numpy(LABELS)).backward()
    for name, tensor in theirs.items():
        if "running" not in name:
            assert ours[name].grad is not None, name
            torch.testing.assert_close(ours[name].grad, tensor.grad, rtol=1e-4, atol=1e-6)


METHODS = [
    ("w3a3", ""),
    ("p4a8", ""),
    ("w3a3", "weights=mse granularity=tensor"),
    ("w3a3", "allocation=paper"),
    ("w4a3", "allocation=exact activation_granularity=channel activation_allocation=exact"),
    ("w3a3", "bias_correction=absorbed"),
    ("w3a3", "bias_correction=mean allocation=paper activation_granularity=channel"),
    ("w3a3", "bias_correction=full"),
    ("w3a3", "placement=half"),
    ("f4a8", ""),
    ("f5a3", "separation=0"),
    ("f5a3", "separation=99"),
    ("f5a3", "separation=0 components=sampled bias_correction=absorbed"),
]
METHODS = [(f"{bits}/int32", settings) for bits, settings in METHODS]
"""Every way to choose a weight's or a tensor's integers, at widths where that matters."""


def as_trained(form, network, images):
    """Return the logits of the form that is trained."""
    with torch.inference_mode():
        return form.forward(tensors(network), torch.from_numpy(images)).numpy()


@pytest.mark.parametrize(
    ("bits", "settings"), [("w8a8/int32", ""), ("w4a4/int32", ""), ("w3a3/int16", ""), *METHODS]
)
def test_the_form_that_is_trained_has_the_values_of_the_integers(digits, bits, settings):
    network, calibration = digits
    settings, images = Settings.parse(settings), load_split("digits", "test").images
    form = fake_quantize(network, bits_of(network, bits), calibration, settings)
    integers = quantize(network, bits, calibration, settings=settings)
    fake, exact = as_trained(form, network, images), run(integers, images).reshape(len(images), -1)
    # Multipliers of 16 bits and ties move a tensor by a step now and then; seldom does that decide an image.
    assert (fake.argmax(1) != exact.argmax(1)).sum() <= 3
    assert np.mean(np.abs(fake / integers.layers[-1].scale - exact) < 0.5) > 0.5


QUICK = METHODS[4], METHODS[6], METHODS[9]


@pytest.mark.parametrize(
    ("bits", "settings"),
    [row if row in QUICK else pytest.param(*row, marks=pytest.mark.slow) for row in METHODS],
)
def test_training_gains_and_keeps_widths_components_and_means(digits, bits, settings):
    network, calibration = digits
    settings, test = Settings.parse(settings), load_split("digits", "test")
    config, train = bits_of(network, bits), load_split("digits", "train")
    recipe = replace(DIGITS, epochs=2)
    tuned = fine_tune(network, config, calibration, train, settings=settings, recipe=recipe)
    before = quantize(network, bits, calibration, settings=settings)
    after = quantize(tuned.network, bits, tuned.calibration, settings=settings)
    gained = np.subtract(*(measure_accuracy(n, test.images, test.labels).percent for n in (after, before)))
    assert gained > -1.0  # the 95% interval of 95% of 697 images is 1.6 points either way

    form = fake_quantize(tuned.network, config, tuned.calibration, settings)
    fake = as_trained(form, tuned.network, test.images)
    assert (fake.argmax(1) != run(after, test.images).argmax(1)).sum() <= 3

    moved = 0
    for first, second in zip(before.layers, after.layers, strict=True):
        assert first.bits == second.bits and first.output == second.output
        for name in ("weight_width", "masks", "width", "exponent"):
            np.testing.assert_array_equal(getattr(first, name), getattr(second, name), strict=True)
        if first.masks is not None and len(first.masks) == 2:
            means = [item.mask_multiplier // item.multiplier for item in (first, second)]
            np.testing.assert_array_equal(*means, strict=True)
        if first.weight_width is not None:
            largest = np.abs(second.weight).reshape(len(second.weight), -1).max(axis=1)
            assert (largest <= np.maximum(2.0 ** (second.weight_width - 1) - 1, 0)).all()
        moved += 0 if first.weight is None else int((first.weight != second.weight).sum())
    assert moved > 100


def test_no_epoch_leaves_the_integers_of_post_training_quantization(digits):
    network, calibration = digits
    tuned = fine_tune(
        network,
        bits_of(network, "w4a4/int32"),
        calibration,
        load_split("digits", "train"),
        settings=Settings(),
        recipe=Recipe(epochs=0),
    )
    before = quantize(network, "w4a4/int32", calibration)
    after = quantize(tuned.network, "w4a4/int32", tuned.calibration)
    for first, second in zip(before.layers, after.layers, strict=True):
        assert first.layer == second.layer and first.output == second.output
        if first is before.layers[-1]:  # the logits are given room to grow
            assert second.scale == pytest.approx(4 * first.scale)
            continue
        assert first.scale == second.scale
        for field in ("weight", "bias", "shift", "multiplier"):
            np.testing.assert_array_equal(getattr(first, field), getattr(second, field), strict=True)


@pytest.fixture(scope="module")
def three_bits(digits, tmp_path_factory):
    """The digits network fine-tuned at three bits with a third of its weights zero."""
    network, calibration = digits
    parameters = dict(network.parameters)
    weight = parameters["conv.weight"]
    parameters["conv.weight"] = np.where(np.abs(weight) < np.quantile(np.abs(weight), 0.3), 0.0, weight)
    pruned = replace(network, parameters=parameters)
    calibration = calibrate(pruned, load_split("digits", "calibration").images)
    train = load_split("digits", "train")
    bits, tuned = bits_of(pruned, "w3a3/int32"), []
    for _ in range(2):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HWSIM_CACHE", str(tmp_path_factory.mktemp("run")))
            tuned.append(fine_tune(pruned, bits, calibration, train, settings=Settings(), recipe=DIGITS))
    return pruned, calibration, tuned


def test_three_bit_digits_gain_ten_points_over_post_training_quantization(three_bits):
    pruned, calibration, (tuned, _) = three_bits
    test = load_split("digits", "test")
    before, after = (
        measure_accuracy(quantize(net, "w3a3/int32", cal), test.images, test.labels).percent
        for net, cal in ((pruned, calibration), (tuned.network, tuned.calibration))
    )
    assert after > 90 and after > before + 10


def test_zeros_stay_zeros_and_only_they(three_bits):
    pruned, _, (tuned, _) = three_bits
    zero = pruned.parameters["conv.weight"] == 0
    np.testing.assert_array_equal(tuned.network.parameters["conv.weight"] == 0, zero)
    assert 0.25 < zero.mean() < 0.35
    integers = quantize(tuned.network, "w3a3/int32", tuned.calibration)
    (conv,) = (item.weight for item in integers.layers if item.layer.name == "conv")
    assert not conv[zero].any()


def test_the_same_seed_gives_the_same_bytes(three_bits):
    *_, runs = three_bits
    first, second = (to_bytes(quantize(t.network, "w3a3/int32", t.calibration)) for t in runs)
    assert first == second


def test_fine_tuned_integers_agree_with_the_form_they_were_trained_in(three_bits):
    *_, (tuned, _) = three_bits
    test = load_split("digits", "test")
    integers = quantize(tuned.network, "w3a3/int32", tuned.calibration)
    form = fake_quantize(tuned.network, bits_of(tuned.network, "w3a3/int32"), tuned.calibration, Settings())
    with torch.inference_mode():
        fake = form.forward(tensors(tuned.network), torch.from_numpy(test.images)).argmax(1).numpy()
    assert (fake != run(integers, test.images).argmax(1)).sum() <= 3


def test_float_fine_tuning_brings_a_pruned_network_back(digits):
    network, _ = digits
    test, train = load_split("digits", "test"), load_split("digits", "train")
    parameters = {
        name: np.where(np.abs(array) < np.quantile(np.abs(array), 0.7), 0.0, array)
        if array.ndim == 4
        else array
        for name, array in network.parameters.items()
    }
    pruned = replace(network, parameters=parameters)
    tuned, epochs = fine_tune_float(pruned, train, recipe=replace(DIGITS, epochs=4))
    assert accuracy(tuned, test)[0] > accuracy(pruned, test)[0] + 0.1 * len(test)
    assert len(epochs) == 4 and epochs[-1].loss < epochs[0].loss
    assert not tuned.parameters["conv.weight"][parameters["conv.weight"] == 0].any()


def test_images_are_moved_by_at_most_the_shift_with_black_behind_them():
    image = torch.zeros((200, 9, 9, 1), dtype=torch.uint8)
    image[:, 4, 3] = 255
    seen = {
        tuple(map(int, where[1:3]))
        for where in moved(image, 2, False, torch.Generator().manual_seed(0)).nonzero()
    }
    assert seen == {(row, column) for row in range(2, 7) for column in range(1, 6)}
    mirrored = moved(image, 0, True, torch.Generator().manual_seed(0)).nonzero()
    assert {int(where[2]) for where in mirrored} == {3, 5}
    still = torch.arange(2 * 9 * 9, dtype=torch.uint8).reshape(2, 9, 9, 1)
    torch.testing.assert_close(moved(still, 0, False, torch.Generator()), still, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"epochs": -1}, "0 or more epochs, not -1"),
        ({"rate": 0.0}, "learning rate is above 0, not 0.0"),
        ({"rate": float("nan")}, "learning rate is above 0, not nan"),
        ({"batch": 0}, "at least one image, not 0"),
        ({"shift": -1}, "0 or more pixels, not -1"),
        ({"seed": -1}, "seed is 0 or more, not -1"),
    ],
)
def test_a_recipe_out_of_range_is_refused(change, sentence):
    with pytest.raises(HwsimError, match=sentence):
        Recipe(**change)


def test_a_rate_that_loses_the_loss_is_refused_in_one_sentence(digits):
    network, _ = digits
    with pytest.raises(
        HwsimError,
        match=r"training diverges in epoch 1: the loss is no number any more; choose a learning rate below 1e\+30",
    ):
        fine_tune_float(network, load_split("digits", "train"), recipe=replace(DIGITS, rate=1e30))


def test_threads_are_given_back(digits):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        fine_tune_float(digits[0], load_split("digits", "train"), recipe=replace(DIGITS, epochs=1))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


class StopError(Exception):
    """What a test stops a training with."""


def test_a_training_that_was_stopped_goes_on_after_its_last_epoch_to_the_same_bytes(
    digits, tmp_path, monkeypatch
):
    network, calibration = digits
    bits, train = bits_of(network, "w4a4/int32"), load_split("digits", "train").part(slice(300))
    recipe = replace(DIGITS, epochs=3)

    def tune(progress):
        tuned = fine_tune(
            network, bits, calibration, train, settings=Settings(), recipe=recipe, progress=progress
        )
        return tuned.network.digest()

    seen = []

    def stop(done, planned, epoch):
        seen.append(epoch.number)
        if done > 650:
            raise StopError

    monkeypatch.setenv("HWSIM_CACHE", str(tmp_path / "one"))
    with pytest.raises(StopError):
        tune(stop)
    seen.clear()
    resumed = tune(lambda done, planned, epoch: seen.append(epoch.number))
    assert set(seen) == {3}
    assert tune(stop) == resumed  # nothing is left to train, so nothing stops it
    monkeypatch.setenv("HWSIM_CACHE", str(tmp_path / "two"))
    assert tune(None) == resumed


def test_weights_on_a_grid_of_another_format_are_refused(digits):
    network, calibration = digits
    bits, train = bits_of(network, "w4a4/int32"), load_split("digits", "train").part(slice(64))
    tuned = fine_tune(
        network, bits, calibration, train, settings=Settings(), recipe=replace(DIGITS, epochs=1)
    )
    with pytest.raises(HwsimError, match='layer "stem" were trained as int4, not as int8; quantize with the'):
        quantize(tuned.network, "w8a4/int32", tuned.calibration)


@pytest.mark.parametrize("settings", ["bias_correction=mean", "allocation=exact"])
def test_what_focused_weights_cannot_be_combined_with_is_refused_before_training(digits, settings):
    network, calibration = digits
    bits = bits_of(network, "f5a8/int32")
    with pytest.raises(HwsimError, match='layer "stem" has focused weights, which have one width'):
        fake_quantize(network, bits, calibration, Settings.parse(settings))


def test_foreign_images_are_refused(digits):
    network, calibration = digits
    bits = bits_of(network, "w4a4/int32")
    with pytest.raises(HwsimError, match="the images are 5x5 with 2 channels"):
        fine_tune(network, bits, calibration, Split(PICTURES, LABELS), settings=Settings(), recipe=DIGITS)


def test_what_training_depends_on_names_it(digits):
    network, calibration = digits
    digests = {
        fake_quantize(network, bits_of(network, bits), calibration, Settings.parse(settings)).digest()
        for bits, settings in METHODS
    }
    assert len(digests) == len(METHODS)


def lone_norms():
    """Two batch norms that no layer with weights comes before, one of their factors 0 and one negative."""
    rng = np.random.default_rng(8)
    build = Builder((2, 5, 5))
    build.add("first", BatchNorm(1e-3))
    build.add("conv", Convolution(4, (3, 3)))
    build.add("relu", Relu())
    build.add("second", BatchNorm(1e-3))
    build.add("again", Convolution(4, (1, 1)))
    build.add("norm", BatchNorm(1e-3))
    build.add("flat", Flatten())
    build.add("out", Linear(3))
    for layer in build.layers:
        for key, shape in parameter_shapes(layer).items():
            values = rng.normal(0, 0.5, shape)
            build.parameters[f"{layer.name}.{key}"] = np.abs(values) + 0.2 if key == "running_var" else values
    build.parameters["norm.weight"][:2] = 0.0, -0.7
    build.parameters["second.weight"][0] = 0.0
    return build.network("lone", Preprocessing(255.0, (0.5, 0.4), (0.25, 0.3)))


@pytest.mark.parametrize(
    ("bits", "settings"),
    [
        ("w4a8/int32", ""),
        ("w4a8/int32", "granularity=tensor"),
        ("w4a8/int32", "allocation=exact bias_correction=mean"),
        ("f5a8/int32", "separation=0"),
    ],
)
def test_factors_of_zero_and_norms_that_stand_alone_are_trained_as_the_integers_are(bits, settings):
    network, settings = lone_norms(), Settings.parse(settings)
    calibration, config = calibrate(network, PICTURES), bits_of(network, bits)
    recipe = Recipe(epochs=2, rate=0.02, batch=8, shift=0, mirror=False)
    tuned = fine_tune(network, config, calibration, Split(PICTURES, LABELS), settings=settings, recipe=recipe)
    for subject, seen in ((network, calibration), (tuned.network, tuned.calibration)):
        form = fake_quantize(subject, config, seen, settings)
        integers = quantize(subject, config, seen, settings=settings)
        fake = as_trained(form, subject, PICTURES) / integers.layers[-1].scale
        exact = run(integers, PICTURES).reshape(fake.shape)
        assert np.mean(np.abs(fake - exact) < 8) > 0.9, np.abs(fake - exact).max()
