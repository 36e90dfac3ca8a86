"""Compensated rounding: that of optimal brain quantization, then no single weight that would lower the error."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hwsim.data import load_split
from hwsim.errors import HwsimError
from hwsim.layers import Convolution, Flatten, Linear, Relu
from hwsim.models import load_model
from hwsim.models.builder import Builder
from hwsim.models.forward import forward
from hwsim.network import Preprocessing
from hwsim.quantize import Settings, calibrate, quantize
from hwsim.quantize import moments as moments_module
from hwsim.quantize.compensated import DAMPING, compensated, descended, fed_back, left_over
from hwsim.quantize.fold import fold_batch_norm
from hwsim.quantize.moments import second_moments
from hwsim.quantize.once import calibrate_once, from_bytes, to_bytes
from hwsim.quantize.pipeline import stages
from hwsim.quantize.training import Recipe

FOCUSED = 'default = "w4a8/int32"\n[layers]\nconv = "focused5*int8/int32"'
SEEDS = st.integers(0, 2**32 - 1)


def nearest(values):
    return np.clip(np.rint(values), -7, 7)


def layer(seed, groups=1, outputs=3, taps=6):
    """Weights in steps and second moments of correlated inputs."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(groups, 200, taps)) @ rng.normal(size=(groups, taps, taps)) + rng.normal(
        size=taps
    )
    return rng.uniform(-7, 7, (groups, outputs, taps)), inputs.transpose(0, 2, 1) @ inputs / 200


def damped(moments):
    """What GPTQ adds to the diagonal, on the scale of its mean."""
    mean = np.trace(moments, axis1=1, axis2=2)[:, None, None] / moments.shape[1]
    return moments / mean + DAMPING * np.eye(moments.shape[1])


def errors(steps, levels, moments):
    """e' H e of each output channel."""
    e = steps - levels
    return np.einsum("gri,gij,grj->gr", e, moments, e)


def optimal_brain_quantization(steps, moments):
    """The published algorithm, an output channel at a time: the inverse of what is left, an elimination a weight."""
    levels = np.zeros_like(steps)
    for group, row in np.ndindex(steps.shape[:2]):
        weights, inverse = steps[group, row].copy(), np.linalg.inv(moments[group])
        for tap in range(len(weights)):
            levels[group, row, tap] = nearest(weights[tap])
            weights -= (weights[tap] - levels[group, row, tap]) / inverse[tap, tap] * inverse[tap]
            inverse = inverse - np.outer(inverse[:, tap], inverse[tap]) / inverse[tap, tap]
    return levels


@given(SEEDS)
def test_errors_fed_back_give_the_integers_of_optimal_brain_quantization(seed):
    steps, moments = layer(seed, groups=2)
    moments = damped(moments)
    np.testing.assert_array_equal(
        fed_back(steps, moments, nearest), optimal_brain_quantization(steps, moments)
    )


@given(SEEDS)
def test_uncorrelated_inputs_are_rounded_to_the_nearest(seed):
    steps, _ = layer(seed)
    moments = np.diag(np.random.default_rng(seed).uniform(0, 9, steps.shape[2]))[None]
    np.testing.assert_array_equal(compensated(steps, moments, nearest), nearest(steps))
    np.testing.assert_array_equal(compensated(steps, 0 * moments, nearest), nearest(steps))


@given(SEEDS)
def test_a_grouped_layer_is_its_groups_one_by_one(seed):
    steps, moments = layer(seed, groups=4, outputs=1)
    one_by_one = [compensated(steps[g : g + 1], moments[g : g + 1], nearest)[0] for g in range(4)]
    np.testing.assert_array_equal(compensated(steps, moments, nearest), np.stack(one_by_one))


@given(SEEDS)
def test_no_weight_can_move_a_level_and_lower_the_error_and_descending_only_lowers_it(seed):
    steps, moments = layer(seed)
    moments = damped(moments)
    begun = fed_back(steps, moments, nearest)
    levels = descended(steps, begun, moments, nearest)
    least = errors(steps, levels, moments)
    assert (least <= errors(steps, begun, moments) + 1e-9).all()
    for tap, move in itertools.product(range(steps.shape[2]), (-1, 1)):
        moved = levels.copy()
        moved[:, :, tap] = np.clip(moved[:, :, tap] + move, -7, 7)
        assert (errors(steps, moved, moments) >= least - 1e-6).all()


def test_the_error_is_near_the_least_of_all_roundings_and_far_below_the_nearest():
    ratios, plain = [], []
    for seed in range(40):
        steps, moments = layer(seed, outputs=1, taps=5)
        near = np.stack(list(itertools.product(*([k - 1, k, k + 1, k + 2] for k in np.floor(steps[0, 0])))))
        best = errors(steps, np.clip(near, -7, 7)[None], damped(moments)).min()
        for found, method in (
            (ratios, compensated(steps, moments, nearest)),
            (plain, nearest(steps)),
        ):
            found.append(errors(steps, method, damped(moments)).item() / best)
    assert min(ratios) >= 1 - 1e-9
    assert np.median(ratios) < 1.05 < 1.25 < np.median(plain)
    assert np.mean(ratios) < 1.2 < 2 < np.mean(plain)


@given(SEEDS)
def test_no_output_channel_has_a_larger_error_than_by_rounding_to_the_nearest(seed):
    steps, moments = layer(seed, groups=2)
    made = errors(steps, compensated(steps, moments, nearest), damped(moments))
    assert (made <= errors(steps, nearest(steps), damped(moments)) * (1 + 1e-6)).all()


def test_a_weight_that_is_zero_stays_zero():
    steps, moments = layer(0)
    steps[:, :, ::2] = 0
    assert not compensated(steps, moments, nearest)[:, :, ::2].any()


@pytest.mark.parametrize("correction", [False, True, "mean", "full"])
def test_what_a_correction_leaves_is_that_of_the_inputs_themselves(correction):
    x = np.random.default_rng(0).normal(1, 1, (2, 50, 4))
    z = np.concatenate([x, np.ones((2, 50, 1))], axis=2)
    left = {
        False: x,
        True: x - x.mean(axis=(1, 2), keepdims=True),
        "mean": x - x.mean(axis=2, keepdims=True),
        "full": x - x.mean(axis=2, keepdims=True),
    }[correction]
    np.testing.assert_allclose(
        left_over(z.transpose(0, 2, 1) @ z / 50, correction), left.transpose(0, 2, 1) @ left / 50, atol=1e-12
    )


@pytest.fixture(scope="module")
def shapes():
    """A network whose layers are grouped, strided and padded unevenly, depthwise and dilated, and linear."""
    rng = np.random.default_rng(3)
    build = Builder((4, 7, 6))
    grouped = Convolution(6, (3, 2), (2, 1), (1, 0, 2, 1), groups=2)
    build.add("grouped", grouped, weight=rng.normal(size=(6, 2, 3, 2)), bias=rng.normal(size=6))
    build.add("relu", Relu())
    depthwise = Convolution(6, (3, 3), (1, 1), (1, 2, 1, 2), groups=6, dilation=(1, 2))
    build.add("depthwise", depthwise, weight=rng.normal(size=(6, 1, 3, 3)))
    build.add("flat", Flatten())
    build.add("out", Linear(5), weight=rng.normal(size=(5, 144, 1, 1)))
    return build.network("shapes", Preprocessing(255.0, (0.1,) * 4, (0.5,) * 4))


def images(count):
    return np.random.default_rng(1).integers(0, 256, (count, 7, 6, 4), dtype=np.uint8)


def windows(layer, x):
    """The inputs of every output as torch's unfold has them, [groups, products, outputs]."""
    operator = layer.as_convolution
    top, left, bottom, right = operator.padding
    padded = torch.nn.functional.pad(torch.from_numpy(x), (left, right, top, bottom))
    columns = torch.nn.functional.unfold(padded, operator.kernel, operator.dilation, stride=operator.stride)
    grouped = columns.unflatten(1, (operator.groups, -1)).permute(1, 2, 0, 3)
    return grouped.reshape(operator.groups, layer.products, -1).numpy()


def test_second_moments_are_those_of_every_window_in_units_of_a_power_of_two(shapes):
    x = images(40)
    calibration = calibrate(shapes, x)
    tensors = forward(shapes, shapes.preprocessing.apply(x))
    found = second_moments(shapes, x, calibration)
    assert list(found) == ["grouped", "depthwise", "out"]
    for item in shapes.layers:
        if item.has_weights:
            z = windows(item, tensors[item.inputs[0]])
            z = z / 2.0 ** np.frexp(np.abs(tensors[item.inputs[0]]).max())[1]
            z = np.concatenate([z, np.ones_like(z[:, :1])], axis=1)
            expected = z @ z.transpose(0, 2, 1) / z.shape[2]
            np.testing.assert_allclose(found[item.name], expected, rtol=1e-6, atol=1e-9)


def test_a_sample_of_windows_is_an_image_as_a_whole_wherever_its_rows_end(monkeypatch):
    """An identity over positions: every window is one pixel, so that what was sampled shows in the mean of each channel."""
    build = Builder((64, 8, 8))
    build.add("out", Convolution(1, (1, 1)), weight=np.ones((1, 64, 1, 1)))
    network = build.network("positions", Preprocessing(1.0, (0.0,) * 64, (1.0,) * 64))
    x = np.zeros((256, 64, 64), np.uint8) + np.eye(64, dtype=np.uint8)
    x = x.reshape(256, 8, 8, 64)
    monkeypatch.setattr(moments_module, "SAMPLES", 256 * 8)
    shares = second_moments(network, x, calibrate(network, x))["out"][0, -1, :64] * 2
    assert shares.sum() == pytest.approx(1)
    assert shares.max() < 3 / 64 and (shares > 0).sum() > 50


def test_second_moments_are_the_same_on_any_number_of_threads(shapes):
    x = images(50)
    calibration = calibrate(shapes, x)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(second_moments(shapes, x, calibration))
    finally:
        torch.set_num_threads(before)
    for name, moments in found[0].items():
        np.testing.assert_array_equal(moments, found[1][name], strict=True)


def test_a_layer_too_wide_to_factor_is_refused_by_name(shapes, monkeypatch):
    monkeypatch.setattr(moments_module, "LARGEST", 100)
    with pytest.raises(HwsimError, match='layer "out" sums 144 products, more than the 100'):
        second_moments(shapes, images(4), calibrate(shapes, images(4)))


def output_errors(network, integers, x, correction=None):
    """The mean squared error of each layer's sums that its weights alone make, on the float network's inputs."""
    tensors, found = forward(network, network.preprocessing.apply(x)), {}
    scales = {"input": integers.input_scale} | {item.layer.name: item.scale for item in integers.layers}
    for item in integers.layers:
        if item.layer.has_weights:
            scale = np.ldexp(item.multiplier * item.scale, -item.shift) / scales[item.layer.inputs[0]]
            exact = network.parameters[f"{item.layer.name}.weight"]
            left = (exact - item.weight * scale[:, None, None, None]).reshape(len(exact), -1)
            z = windows(item.layer, tensors[network_input(network, item.layer.name)])
            grouped = left.reshape(len(z), -1, item.layer.products)
            if correction:
                grouped = grouped - grouped.mean(axis=2, keepdims=True)
            found[item.layer.name] = np.square(grouped @ z).mean()
    return found


def network_input(network, name):
    return next(layer.inputs[0] for layer in network.layers if layer.name == name)


@pytest.mark.parametrize(
    ("bits", "settings"),
    [
        ("w4a8/int32", ""),
        ("w3a8/int32", "weights=mse granularity=tensor"),
        ("w8a8/int32", "weights=aciq_laplace"),
        ("pow2", "weights=mse"),
        ("w4a8/int32", "allocation=exact"),
        ("w4a8/int32", "bias_correction=mean"),
        ("w4a8/int32 edges=8", "weights=percentile"),
    ],
)
def test_the_output_error_on_calibration_is_below_that_of_the_nearest_in_every_layer(shapes, bits, settings):
    if bits == "pow2":
        bits = 'default = "pow2x4*int8/int32"\n[layers]\ndepthwise = "pow2x4*uint8/int32"'
    x, settings = images(300), f"{settings} activations=min_max"
    near, made = (
        output_errors(
            shapes,
            quantize(shapes, bits, x, settings=Settings.parse(f"{settings} rounding={rounding}")),
            x,
            correction="bias" in settings,
        )
        for rounding in ("nearest", "compensated")
    )
    assert all(made[name] <= near[name] * 1.001 for name in near)
    assert made["out"] < 0.6 * near["out"]
    assert sum(made.values()) < sum(near.values())


def test_widths_of_channels_and_scales_stay_those_of_the_nearest(shapes):
    settings = "allocation=exact activations=min_max"
    near, made = (
        quantize(shapes, "w4a8/int32", images(50), settings=Settings.parse(f"{settings} rounding={rounding}"))
        for rounding in ("nearest", "compensated")
    )
    for item, other in zip(near.layers, made.layers, strict=True):
        if item.weight is not None:
            np.testing.assert_array_equal(item.weight_width, other.weight_width)
            largest = np.maximum(2 ** (item.weight_width - 1) - 1, 0)
            assert (np.abs(other.weight).max(axis=(1, 2, 3)) <= largest).all()
            assert (item.weight != other.weight).any()
    assert "rounding" not in near.source.replace("rounding=nearest", "")
    assert made.source.endswith("rounding=compensated")


def test_the_default_is_nearest_and_is_not_written():
    assert "rounding" not in str(Settings())
    assert Settings.parse(str(Settings(rounding="compensated"))) == Settings(rounding="compensated")
    with pytest.raises(HwsimError, match='unknown rounding "best"; known: nearest, compensated'):
        Settings.parse("rounding=best")


def test_a_kept_calibration_serves_both_and_moments_are_read_back(tmp_path, monkeypatch):
    monkeypatch.setenv("HWSIM_CACHE", str(tmp_path))
    monkeypatch.setattr("hwsim.quantize.once.WORTH_KEEPING_S", 0.0)
    network, split = load_model("digits"), load_split("digits", "calibration")
    plain = calibrate_once(network, split)
    assert not plain.moments
    monkeypatch.setattr("hwsim.quantize.once.calibrate", None)
    asked = calibrate_once(network, split, moments=True)
    monkeypatch.setattr("hwsim.quantize.moments.second_moments", None)
    again = calibrate_once(network, split, moments=True)
    carried = from_bytes(to_bytes(asked), network)
    for other in (again, carried):
        assert set(other.moments) == set(asked.moments)
        for name, moments in asked.moments.items():
            np.testing.assert_array_equal(other.moments[name], moments, strict=True)


def test_a_calibration_without_moments_is_refused():
    network, split = load_model("digits"), load_split("digits", "calibration")
    with pytest.raises(HwsimError, match=r"calibrate_once\(..., moments=True\)"):
        quantize(
            network,
            "w4a4/int32",
            calibrate(fold_batch_norm(network), split.images),
            settings=Settings(rounding="compensated"),
        )


def test_a_layer_of_its_own_quantizer_is_rounded_for_its_inputs_and_no_other(shapes):
    bits = 'default = "w4a8/int32"\n'
    near, made = (
        {i.layer.name: i.weight for i in quantize(shapes, text, images(50)).layers if i.weight is not None}
        for text in (bits, f'{bits}[quantizers]\nout = "rounding=compensated"')
    )
    same = {name: np.array_equal(weight, made[name]) for name, weight in near.items()}
    assert same == {"grouped": True, "depthwise": True, "out": False}


def test_focused_weights_and_fine_tuning_have_no_compensated_rounding():
    network, split = load_model("digits"), load_split("digits", "calibration")
    with pytest.raises(HwsimError, match="has focused weights, whose mean is chosen for each"):
        quantize(network, FOCUSED, split.images[:20], settings=Settings(rounding="compensated"))
    with pytest.raises(HwsimError, match="are trained to be rounded to the nearest"):
        list(
            stages(
                network,
                "w4a4/int32",
                load_split("digits", "train"),
                split,
                settings=Settings(rounding="compensated"),
                recipe=Recipe(epochs=1),
            )
        )
