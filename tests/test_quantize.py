"""From a float network to integers: folding, calibration, formats, scales, constants, whole networks."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.bits import LayerBits, bit_config
from hwsim.cost.hardware import Hardware
from hwsim.data import load_split
from hwsim.errors import HwsimError
from hwsim.formats import AdditivePowersOfTwo, Format, Int, IntArray, PowerOfTwo
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
from hwsim.models import load_model
from hwsim.models.builder import Builder, parameter_shapes
from hwsim.models.forward import accuracy, forward
from hwsim.network import (
    FloatArray,
    FloatNetwork,
    Images,
    Preprocessing,
    QuantizedNetwork,
    load,
    look_up,
    save,
    to_bytes,
)
from hwsim.quantize import Calibration, Settings, calibrate, fold_batch_norm, quantize
from hwsim.quantize.bias_correction import correction, expected_input_sum
from hwsim.quantize.scales import requantizer, rounded, scale_of
from hwsim.quantize.settings import QUANTIZERS
from hwsim.quantize.statistics import BINS, CHANNEL_BINS
from hwsim.quantize.weights import IntegerWeight, quantize_weight, round_to
from hwsim.simulate.circuits import Circuits
from hwsim.simulate.inference import measure_accuracy, run

SIGNED_PIXELS = Preprocessing(255.0, (0.5, 0.4), (0.25, 0.3))
UNSIGNED_PIXELS = Preprocessing(255.0, (0.0, 0.0), (1.0, 0.5))


def _network(
    write: Callable[[Builder], object], preprocessing: Preprocessing = SIGNED_PIXELS
) -> FloatNetwork:
    """Return the network that ``write`` builds on a 2x6x6 input, with random parameters."""
    build = Builder((2, 6, 6))
    write(build)
    rng = np.random.default_rng(5)
    for layer in build.layers:
        for key, shape in parameter_shapes(layer).items():
            values = rng.normal(0, 1, shape) / np.sqrt(np.prod(shape[1:], initial=1.0))
            build.parameters[f"{layer.name}.{key}"] = np.abs(values) + 0.1 if key == "running_var" else values
    return build.network("example", preprocessing)


IMAGES: Images = np.random.default_rng(11).integers(0, 256, (40, 6, 6, 2), dtype=np.uint8)


def _convolution(channels: int = 4) -> Convolution:
    return Convolution(channels, (3, 3), padding=(1, 1, 1, 1))


# --- graphs that between them hold every operator and every way a tensor is shared


def _norms(b: Builder) -> None:
    first = b.add("conv1", Convolution(4, (3, 3), padding=(1, 0, 1, 0)))
    b.add("norm1", BatchNorm())
    b.add("conv2", Convolution(4, (1, 1)))
    b.add("add", Add(), first, "conv2")
    b.add("norm2", BatchNorm())
    b.add("relu", Relu())
    b.add("conv3", Convolution(2, (2, 2), (2, 2)))
    b.add("norm3", BatchNorm())


def _norm_first(b: Builder) -> None:
    b.add("norm", BatchNorm())
    b.add("norm_again", BatchNorm())
    b.add("conv", _convolution())


def _residual(b: Builder) -> None:
    b.add("conv1", _convolution())
    skip = b.add("relu1", Relu())
    b.add("conv2", _convolution())
    b.add("add", Add(), skip, "conv2")
    b.add("relu2", Relu())
    b.add("pool", MaxPool((3, 3), (2, 2), (1, 1, 1, 1)))
    b.add("average", AveragePool((3, 3), (3, 3)))
    b.add("flatten", Flatten())
    b.add("linear", Linear(5))


def _shortcut(b: Builder) -> None:
    stem = b.add("conv1", _convolution())
    relu = b.add("relu1", Relu(), stem)
    b.add("slice", Slice((0, 0, 0), (4, 6, 6), (1, 2, 2)), stem)
    b.add("pad", PadChannels(1, 3))
    b.add("conv2", Convolution(8, (3, 3), (2, 2), (1, 1, 1, 1)), relu)
    b.add("add", Add(), "pad", "conv2")
    b.add("conv3", Convolution(8, (3, 3), padding=(1, 1, 1, 1), groups=8))
    b.add("clip", Clip(0.0, 0.5))
    b.add("pool", AveragePool((2, 2), (1, 1)))


def _concatenated(b: Builder) -> None:
    b.add("conv1", _convolution())
    positive = b.add("relu1", Relu())
    clipped = b.add("clip1", Clip(0.0, 0.3), b.add("conv2", _convolution(), INPUT))
    signed = b.add("conv3", _convolution(), INPUT)
    b.add("concat", Concatenate(), positive, clipped, signed)
    b.add("pool", MaxPool((2, 2), (2, 2)))
    b.add("conv4", _convolution())
    b.add("conv5", Convolution(3, (1, 1)), positive)
    b.add("pool5", MaxPool((2, 2), (2, 2)))
    b.add("concat2", Concatenate(), "conv4", "pool5")


def _shared_relu(b: Builder) -> None:
    conv = b.add("conv", _convolution())
    relu = b.add("relu", Relu(), conv)
    b.add("relu6", Clip(0.0, 6.0), relu)
    b.add("clip", Clip(-0.4, 0.4), conv)
    b.add("add", Add(), "relu6", "clip")
    b.add("last", Relu())


def _relu_behind_pool(b: Builder) -> None:
    b.add("conv", _convolution())
    b.add("pool", MaxPool((2, 2), (2, 2)))
    b.add("relu", Relu())
    b.add("twice", Add(), "relu", "relu")


GRAPHS = [_norms, _norm_first, _residual, _shortcut, _concatenated, _shared_relu, _relu_behind_pool]
BY_NAME: Mapping[str, object] = {"ids": lambda value: getattr(value, "__name__", str(value)).lstrip("_")}


def _dequantized_error(network: QuantizedNetwork, original: FloatNetwork, images: Images = IMAGES) -> float:
    """Return the largest error of the integer network's output, as a share of the float output's range."""
    expected = forward(original, original.preprocessing.apply(images))[original.layers[-1].name]
    got = run(network, images) * network.layers[-1].scale
    return float(np.abs(got - expected.reshape(got.shape)).max() / np.abs(expected).max())


@pytest.mark.parametrize("preprocessing", [SIGNED_PIXELS, UNSIGNED_PIXELS], ids=["signed", "unsigned"])
@pytest.mark.parametrize("graph", GRAPHS, **BY_NAME)
def test_the_integer_network_follows_the_float_network(
    graph: Callable[[Builder], None], preprocessing: Preprocessing
) -> None:
    network = _network(graph, preprocessing)
    quantized = quantize(network, "w8a8/int32", IMAGES, settings=Settings(activations="min_max"))
    assert _dequantized_error(quantized, network) < 0.05


@pytest.mark.parametrize("bits", ["w8s8/int32", "w4a3/int16", "p4a8/int32", "w2a2/int8/saturate"])
@pytest.mark.parametrize("graph", GRAPHS, **BY_NAME)
def test_a_network_file_holds_the_same_network(
    graph: Callable[[Builder], None], bits: str, tmp_path: Path
) -> None:
    quantized = quantize(_network(graph), bits, IMAGES)
    save(quantized, tmp_path / "net.safetensors")
    read = load(tmp_path / "net.safetensors")
    assert read.digest() == quantized.digest()
    np.testing.assert_array_equal(run(read, IMAGES[:5]), run(quantized, IMAGES[:5]), strict=True)


@pytest.mark.parametrize("graph", GRAPHS, **BY_NAME)
def test_forced_signed_activations_change_the_formats_and_not_the_function(
    graph: Callable[[Builder], None],
) -> None:
    network = _network(graph, UNSIGNED_PIXELS)
    quantized = quantize(network, "w8s8/int32", IMAGES, settings=Settings(activations="min_max"))
    assert all(item.bits.activation == Int(8) for item in quantized.layers if item.bits)
    assert _dequantized_error(quantized, network) < 0.05


# --- batch norm


@pytest.mark.parametrize("graph", GRAPHS, **BY_NAME)
def test_folding_batch_norm_keeps_the_function(graph: Callable[[Builder], None]) -> None:
    network = _network(graph)
    folded = fold_batch_norm(network)
    x = network.preprocessing.apply(IMAGES)
    before, after = (forward(net, x)[net.layers[-1].name] for net in (network, folded))
    assert not any(layer.kind == "batch_norm" for layer in folded.layers)
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-12)


def test_a_batch_norm_that_shares_its_producer_becomes_a_depthwise_convolution() -> None:
    folded = fold_batch_norm(_network(_norms))
    assert [layer.name for layer in folded.layers] == [
        "conv1",
        "norm1",
        "conv2",
        "add",
        "norm2",
        "relu",
        "conv3",
    ]
    assert [folded.layers[i].operator for i in (1, 4)] == [Convolution(4, (1, 1), groups=4)] * 2


def test_a_network_without_batch_norm_is_folded_already() -> None:
    network = _network(_residual)
    assert fold_batch_norm(network) is network


def test_a_variance_of_zero_is_divided_by_the_root_of_epsilon() -> None:
    network = _network(lambda b: b.add("norm", BatchNorm()))
    parameters = dict(network.parameters) | {"norm.running_var": np.zeros(2), "norm.weight": np.ones(2)}
    folded = fold_batch_norm(replace(network, parameters=parameters))
    np.testing.assert_allclose(folded.parameters["norm.weight"].ravel(), 1e-5**-0.5)


# --- calibration


READ_BY_A_CLIP_ALONE = {"conv3"}


def test_calibration_equals_statistics_of_all_tensors_at_once() -> None:
    network = _network(_shortcut)
    calibration = calibrate(network, IMAGES, batch=7)
    for name, values in forward(network, network.preprocessing.apply(IMAGES)).items():
        seen = calibration.statistics[name]
        assert (seen.count, seen.minimum, seen.maximum) == (values.size, values.min(), values.max())
        np.testing.assert_allclose(seen.mean, values.mean(), atol=1e-12)
        np.testing.assert_allclose(seen.deviation, np.abs(values - values.mean()).mean(), rtol=1e-12)
        np.testing.assert_allclose(seen.std, values.std(), rtol=1e-12)
        np.testing.assert_allclose(calibration.channel_means(name), values.mean(axis=(0, 2, 3)), atol=1e-12)
        nonzero = np.abs(values[values != 0])
        expected, _ = np.histogram(nonzero, BINS, (0, float(seen.peak)))
        assert (seen.histogram is None) == (name in READ_BY_A_CLIP_ALONE)
        if seen.histogram is not None:
            assert np.abs(seen.histogram - expected).sum() <= 4  # a value on an edge may go either way


def test_the_statistics_of_a_channel_are_those_of_a_tensor_of_that_channel_alone() -> None:
    network = _network(_shortcut)
    channels = calibrate(network, IMAGES, batch=7).channels
    for name, values in forward(network, network.preprocessing.apply(IMAGES)).items():
        rows = values.transpose(1, 0, 2, 3).reshape(values.shape[1], -1)
        for index, row in enumerate(rows):
            seen = channels[name].select(index)
            assert (seen.count, seen.minimum, seen.maximum) == (row.size, row.min(), row.max())
            expected = [row.mean(), np.abs(row - row.mean()).mean(), row.std()]
            np.testing.assert_allclose([seen.mean, seen.deviation, seen.std], expected, rtol=1e-9, atol=1e-12)
            counts, _ = np.histogram(np.abs(row[row != 0]), CHANNEL_BINS, (0, float(seen.peak) or 1.0))
            assert (seen.histogram is None) == (name in READ_BY_A_CLIP_ALONE)
            if seen.histogram is not None:
                assert np.abs(seen.histogram - counts).sum() <= 4


@pytest.mark.parametrize("method", QUANTIZERS)
def test_every_quantizer_takes_a_channel_as_it_takes_a_tensor(method: str) -> None:
    quantizer = QUANTIZERS[method]
    seen = calibrate(_network(_shortcut), IMAGES).channels["relu1"]
    thresholds = quantizer(seen, Int(4, signed=False))
    assert thresholds.shape == (4,)
    for index in range(4):
        assert thresholds[index] == quantizer(seen.select(index), Int(4, signed=False))


def test_a_tensor_behind_a_relu_knows_the_relus_input() -> None:
    calibration = calibrate(_network(_shortcut), IMAGES)
    for statistics in (calibration.statistics, calibration.channels):
        assert statistics["relu1"].before_relu is statistics["conv1"]
        assert statistics["clip"].before_relu is statistics["conv3"]
        assert statistics["conv1"].before_relu is None


def test_calibration_reports_its_progress() -> None:
    seen: list[tuple[int, int]] = []
    calibrate(_network(_residual), IMAGES, batch=16, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(n, 80) for n in (16, 32, 40, 56, 72, 80)]


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (IMAGES[:0], "the calibration set is empty; give at least one image"),
        (IMAGES[..., :1], r"images are uint8 \[40, 6, 6, 1\]; the network takes uint8 \[images, 6, 6, 2\]"),
        (IMAGES[0], r"images are uint8 \[6, 6, 2\]"),
        (IMAGES.astype(np.float32), "images are float32"),
    ],
    ids=["empty", "channels", "one", "float"],
)
def test_wrong_calibration_images_are_refused(images: Images, sentence: str) -> None:
    with pytest.raises(HwsimError, match=sentence):
        quantize(_network(_residual), "w8a8/int32", images)


def test_values_that_overflow_in_calibration_are_refused_by_name() -> None:
    network = _network(_residual)
    huge = {
        name: array * 1e300 if name == "conv2.weight" else array for name, array in network.parameters.items()
    }
    huge["conv1.weight"] = huge["conv1.weight"] * 1e100
    with pytest.raises(HwsimError, match='tensor "conv2" is not finite'):
        calibrate(replace(network, parameters=huge), IMAGES)


# --- formats and rescales


def _bits(**layers: str) -> dict[str, LayerBits]:
    return {name: LayerBits.parse(text, signed=False) for name, text in layers.items()}


def _branches(b: Builder) -> None:
    """Two layers with weights read one tensor, one of them through a pool."""
    b.add("conv1", _convolution())
    relu = b.add("relu", Relu())
    b.add("conv2", _convolution(), relu)
    b.add("pool", MaxPool((3, 3), (1, 1), (1, 1, 1, 1)), relu)
    b.add("conv3", _convolution())
    b.add("add", Add(), "conv2", "conv3")


def _assigned(graph: Callable[[Builder], None], **bits: str) -> dict[str, tuple[tuple[str, ...], str]]:
    """Return each layer's inputs and output format."""
    config = bit_config(_bits(**bits).items())
    quantized = quantize(_network(graph, UNSIGNED_PIXELS), config, IMAGES)
    return {item.layer.name: (item.layer.inputs, str(item.output)) for item in quantized.layers}


def test_a_tensor_has_the_widest_format_its_readers_demand_and_the_narrower_reads_a_rescaled_one() -> None:
    assert _assigned(_branches, conv1="w8u8", conv2="w8u3", conv3="w8u6") == {
        "conv1": (("input",), "uint6"),
        "conv2.input": (("conv1",), "uint3"),
        "conv2": (("conv2.input",), "int8"),
        "pool": (("conv1",), "uint6"),
        "conv3": (("pool",), "int8"),
        "add": (("conv2", "conv3"), "int16"),
    }


def test_a_relu_in_a_signed_tensor_is_clamped_unsigned_first_at_the_same_scale() -> None:
    config = bit_config(_bits(conv1="w8u8", conv2="w8s5", conv3="w8s5").items())
    quantized = quantize(_network(_branches, UNSIGNED_PIXELS), config, IMAGES)
    layers = {item.layer.name: item for item in quantized.layers}
    assert (str(layers["conv1"].output), str(layers["conv1.output"].output)) == ("uint4", "int5")
    assert layers["conv1"].scale == layers["conv1.output"].scale
    assert layers["conv2"].layer.inputs == layers["pool"].layer.inputs == ("conv1.output",)


def test_two_readers_of_one_narrower_format_share_the_rescale() -> None:
    def graph(b: Builder) -> None:
        _branches(b)
        b.add("conv4", _convolution(), "relu")
        b.add("add2", Add(), "add", "conv4")

    assigned = _assigned(graph, conv1="w8u8", conv2="w8u3", conv3="w8u6", conv4="w4u3")
    assert assigned["conv2"][0] == assigned["conv4"][0] == ("conv2.input",)


def test_a_rescale_takes_a_free_name() -> None:
    def graph(b: Builder) -> None:
        b.add("conv2.input", _convolution())
        b.add("relu", Relu())
        b.add("conv2", _convolution())
        b.add("conv3", _convolution(), "relu")
        b.add("add", Add(), "conv2", "conv3")

    assigned = _assigned(graph, **{"conv2.input": "w8u8", "conv2": "w8u3", "conv3": "w8u6"})
    assert assigned["conv2"][0] == ("conv2.input_",)


def test_joined_tensors_share_one_format_and_scale() -> None:
    quantized = quantize(_network(_concatenated), "w8a8/int32", IMAGES)
    layers = {item.layer.name: item for item in quantized.layers}
    joined = [layers[name] for name in layers["concat"].layer.inputs] + [layers["concat"], layers["pool"]]
    assert [item.layer.name for item in joined] == ["conv1.output", "conv2.output", "conv3", "concat", "pool"]
    assert len({(item.output, item.scale) for item in joined}) == 1
    assert layers["conv2"].scale * layers["conv2"].output.maximum <= 0.3 * (1 + 1e-6)


def test_a_shared_relu_becomes_a_rescale_with_an_unsigned_output() -> None:
    assigned = {
        item.layer.name: (item.layer.kind, str(item.output))
        for item in quantize(
            _network(_shared_relu), "w8a8/int32", IMAGES, settings=Settings(elementwise=6)
        ).layers
    }
    assert assigned == {
        "conv": ("convolution", "int6"),
        "relu": ("rescale", "uint6"),
        "relu6": ("rescale", "uint6"),
        "clip": ("rescale", "int6"),
        "add": ("add", "uint15"),
        "add.output": ("rescale", "int16"),
    }


def test_the_output_is_int16_and_min_max() -> None:
    network = _network(_residual)
    calibration = calibrate(network, IMAGES)
    last = quantize(network, "w2a2/int32", calibration).layers[-1]
    assert last.output == Int(16)
    assert last.scale == float(np.float32(calibration.statistics["linear"].peak / 32767))


def test_the_input_table_is_every_pixel_rounded_half_to_even() -> None:
    network = _network(_residual)
    quantized = quantize(network, "w8a5/int32", IMAGES)
    expected = np.clip(np.rint(network.preprocessing.values() / quantized.input_scale), -16, 15).astype(
        np.int64
    )
    np.testing.assert_array_equal(quantized.input_table, expected, strict=True)


@pytest.mark.parametrize(
    "operator", [Clip(-1.0, 2.0), Clip(0.5, 2.0), Clip(0.0, -1.0), Clip(0.0, float("nan"))]
)
def test_a_clip_that_integers_about_zero_cannot_hold_is_refused(operator: Clip) -> None:
    def graph(b: Builder) -> None:
        b.add("conv", _convolution())
        b.add("clip", operator)

    network = _network(graph)
    with pytest.raises(HwsimError, match=r'clip "clip" to \[.*\] has no integer form'):
        quantize(network, "w8a8/int32", IMAGES)


# --- scales, weights and requantiser constants


@settings(deadline=None)
@given(st.floats(1e-30, 1e30))
def test_scales_have_the_significand_of_a_float32(value: float) -> None:
    assert float(rounded(np.array(value))) == float(np.float32(value))


def test_a_threshold_of_zero_has_scale_one() -> None:
    np.testing.assert_array_equal(scale_of(np.array([0.0, 127.0]), Int(8)), [1.0, 1.0], strict=True)


@settings(deadline=None)
@given(
    st.lists(st.floats(-200, 200), min_size=1),
    st.sampled_from([Int(2), Int(8), PowerOfTwo(2), PowerOfTwo(4), AdditivePowersOfTwo(5)]),
)
def test_weights_round_to_a_nearest_value(values: list[float], target: Format) -> None:
    given_values = np.array(values)
    levels = np.arange(-target.maximum, target.maximum + 1) if isinstance(target, Int) else target.levels
    chosen = round_to(given_values, target)
    assert np.isin(chosen, levels).all()
    np.testing.assert_array_equal(
        np.abs(chosen - given_values), np.abs(levels[:, None] - given_values).min(axis=0), strict=True
    )
    np.testing.assert_array_equal(round_to(-given_values, target), -chosen, strict=True)


@pytest.mark.parametrize("granularity", ["channel", "tensor"])
@pytest.mark.parametrize("target", [Int(4), PowerOfTwo(4), AdditivePowersOfTwo(4)], ids=str)
def test_the_largest_weight_becomes_the_largest_level(target: Format, granularity: str) -> None:
    weight = np.random.default_rng(0).normal(0, 1, (5, 3, 2, 2))
    integers = quantize_weight(weight, target, Settings(granularity=granularity))
    magnitude = np.abs(integers.values).max(axis=(1, 2, 3))
    assert (magnitude == target.maximum).sum() == 5 or granularity == "tensor"
    assert np.abs(integers.values)[np.abs(weight) == np.abs(weight).max()] == target.maximum
    assert len(set(integers.scale)) == (5 if granularity == "channel" else 1)


@settings(deadline=None)
@given(
    st.lists(st.floats(1e-9, 6e4), min_size=1, max_size=4),
    st.floats(-1e4, 1e4),
    st.integers(-(2**31), 2**31 - 1),
)
def test_requantisers_hold_ratio_and_offset(ratios: list[float], offset: float, total: int) -> None:
    got = requantizer("layer", np.array(ratios)[:, None], np.full(len(ratios), offset))
    scaled = got.multiplier / 2.0**got.shift
    rounding = 0.5 / 2.0**got.shift + 2.0**-17
    steps = rounding + (abs(offset) + np.abs(total * np.array(ratios))) * 2.0**-16
    assert got.multiplier.max() < 2**16
    assert (np.abs(got.bias) < 2**47).all()
    assert ((got.shift >= 0) & (got.shift <= 47)).all()
    assert (
        np.abs(total * scaled + got.bias / 2.0**got.shift - total * np.array(ratios) - offset) <= steps
    ).all()


@pytest.mark.parametrize(
    ("ratio", "multiplier", "shift"), [(1.0, 2**15, 15), (0.75, 3 * 2**14, 16), (1 - 2**-20, 2**15, 15)]
)
def test_multipliers_are_normalised(ratio: float, multiplier: int, shift: int) -> None:
    got = requantizer("layer", np.array([[ratio]]), np.zeros(1))
    assert (got.multiplier.tolist(), got.shift.tolist()) == ([multiplier], [shift])


@pytest.mark.parametrize(("ratio", "offset"), [(1e5, 0.0), (1.0, 1e15), (np.inf, 0.0)])
def test_constants_beyond_a_requantiser_are_refused(ratio: float, offset: float) -> None:
    with pytest.raises(HwsimError, match='layer "conv" would be scaled by'):
        requantizer("conv", np.array([[ratio]]), np.array([offset]))


def test_one_layer_equals_an_independent_fake_quantised_convolution() -> None:
    """Float convolution of rounded operands, rounded once: what torch users call fake quantisation."""

    def graph(b: Builder) -> None:
        b.add("conv", Convolution(6, (3, 3), (2, 1), (1, 1, 0, 0), groups=2))
        b.add("relu", Relu())
        b.add("last", Convolution(2, (1, 1)))

    network = _network(graph)
    outputs: dict[str, IntArray] = {}
    quantized = quantize(network, "w5a7/int32", IMAGES)
    run(quantized, IMAGES, lambda item, inputs, output, over: outputs.__setitem__(item.layer.name, output))
    first = quantized.layers[0]
    x = torch.tensor(network.preprocessing.apply(IMAGES))
    x = (x / quantized.input_scale).round().clamp(-64, 63) * quantized.input_scale
    w = torch.tensor(network.parameters["conv.weight"])
    step = (w.abs().amax(dim=(1, 2, 3), keepdim=True) / 15).float().double()
    w = (w / step).round() * step
    bias = torch.tensor(network.parameters["conv.bias"])
    y = torch.nn.functional.conv2d(torch.nn.functional.pad(x, (1, 0, 1, 0)), w, bias, (2, 1), groups=2)
    exact = (y / first.scale).clamp(0, 127).numpy()
    got = outputs["conv"]
    assert np.abs(got - exact).max() < 0.5 + 127 * 2.0**-15
    assert (got == np.floor(exact + 0.5)).mean() > 0.995


def test_a_channel_of_zeros_gives_its_bias() -> None:
    network = _network(_residual)
    weight = network.parameters["linear.weight"].copy()
    weight[2] = 0.0
    network = replace(network, parameters=dict(network.parameters) | {"linear.weight": weight})
    quantized = quantize(network, "w4a4/int32", IMAGES, settings=Settings(bias_correction=True))
    expected = network.parameters["linear.bias"][2] / quantized.layers[-1].scale
    np.testing.assert_array_equal(run(quantized, IMAGES)[:, 2], np.floor(expected + 0.5).astype(np.int64))


def test_a_network_of_zeros_is_quantized_to_zeros() -> None:
    network = _network(_residual)
    zeros = {name: np.zeros_like(array) for name, array in network.parameters.items()}
    for activations in ("min_max", "aciq_laplace", "aciq_gauss", "kl"):
        settings = Settings(activations=activations, bias_correction=True)
        quantized = quantize(replace(network, parameters=zeros), "w4a4/int32", IMAGES, settings=settings)
        assert not run(quantized, IMAGES).any()


@pytest.mark.parametrize("factor", [2.0**-40, 2.0**20])
def test_scaling_weights_and_biases_by_a_power_of_two_changes_scales_only(factor: float) -> None:
    network = _network(_residual)
    scaled = dict(network.parameters)
    for name in ("linear.weight", "linear.bias"):
        scaled[name] = scaled[name] * factor
    before, after = (
        quantize(net, "w4a4/int32", IMAGES) for net in (network, replace(network, parameters=scaled))
    )
    assert after.layers[-1].scale == before.layers[-1].scale * factor
    np.testing.assert_array_equal(run(after, IMAGES), run(before, IMAGES), strict=True)


@pytest.mark.parametrize("threshold", [float("nan"), float("inf"), -1.0])
def test_a_quantizers_impossible_threshold_is_refused(threshold: float) -> None:
    with pytest.raises(HwsimError, match="a threshold is finite and not negative"):
        scale_of(np.array([1.0, threshold]), Int(8))


# --- bias correction


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 8), st.integers(0, 10**6), st.integers(2, 40))
def test_corrected_weights_have_the_mean_and_spread_of_the_float_ones(
    bits: int, seed: int, count: int
) -> None:
    weight = np.random.default_rng(seed).normal(0.1, 1, (3, count, 1, 1))
    integers = quantize_weight(weight, Int(bits), Settings())
    dequantized = integers.values * integers.scale[:, None, None, None]
    factor, offset = (array[:, None, None, None] for array in correction(weight, dequantized))
    corrected = factor * dequantized + offset
    np.testing.assert_allclose(corrected.mean(axis=(1, 2, 3)), weight.mean(axis=(1, 2, 3)), atol=1e-6)
    varies = dequantized.std(axis=(1, 2, 3)) > 0
    np.testing.assert_allclose(
        corrected.std(axis=(1, 2, 3))[varies], weight.std(axis=(1, 2, 3))[varies], rtol=1e-6
    )


@pytest.mark.parametrize(
    "operator",
    [
        Convolution(6, (3, 3), (2, 1), (1, 2, 0, 1), groups=2),
        Convolution(2, (5, 1), padding=(2, 0, 2, 0), groups=2),
        Convolution(3, (1, 1)),
    ],
)
def test_the_expected_input_sum_counts_padding_as_zeros(operator: Convolution) -> None:
    network = _network(lambda b: b.add("conv", operator))
    (layer,) = network.layers
    ones = {"conv.weight": np.ones(layer.weight_shape)}
    x = np.broadcast_to(np.array([0.7, -0.2])[:, None, None], (1, 2, 6, 6))
    sums = forward(replace(network, parameters=ones), x)["conv"].mean(axis=(0, 2, 3))
    np.testing.assert_allclose(expected_input_sum(layer, np.array([0.7, -0.2])), sums, atol=1e-12)


def test_bias_correction_lowers_the_error_of_the_outputs_mean() -> None:
    network, images = load_model("digits"), load_split("digits", "calibration").images
    calibration = calibrate(network, images)
    expected = calibration.channel_means("classifier")

    def error(bias_correction: bool) -> float:
        quantized = quantize(
            network, "w3a8/int32", calibration, settings=Settings(bias_correction=bias_correction)
        )
        means = run(quantized, images).mean(axis=0) * quantized.layers[-1].scale
        return float(np.abs(means - expected).mean())

    assert error(True) < 0.5 * error(False)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 8), st.integers(0, 10**6), st.integers(2, 40))
def test_the_published_correction_restores_the_mean_and_leaves_the_spread(
    bits: int, seed: int, count: int
) -> None:
    weight = np.random.default_rng(seed).normal(0.1, 1, (3, count, 1, 1))
    integers = quantize_weight(weight, Int(bits), Settings())
    dequantized = integers.values * integers.scale[:, None, None, None]
    factor, offset = correction(weight, dequantized, mean_only=True)
    assert (factor == 1).all()
    corrected = dequantized + offset[:, None, None, None]
    # The offset has 24 bits.
    difference = np.abs(corrected.mean(axis=(1, 2, 3)) - weight.mean(axis=(1, 2, 3)))
    assert (difference <= np.abs(offset) * 2.0**-24 + 1e-12).all()
    np.testing.assert_allclose(corrected.std(axis=(1, 2, 3)), dequantized.std(axis=(1, 2, 3)), rtol=1e-12)


@pytest.mark.parametrize("correct", ["mean", "full"])
@pytest.mark.parametrize("bits", ["w2s8/int32", "w4s8/int32", "p3s8/int32"])
@pytest.mark.parametrize(
    "operator",
    [
        Convolution(6, (3, 3), (2, 1), (1, 2, 0, 1), groups=2),
        Convolution(2, (5, 1), padding=(2, 0, 2, 0), groups=2),
        Convolution(3, (1, 1)),
    ],
)
def test_exactly_corrected_integers_are_the_float_layer_of_corrected_weights(
    operator: Convolution, bits: str, correct: str
) -> None:
    network = _network(lambda b: b.add("conv", operator))
    weight = network.parameters["conv.weight"]
    quantized = quantize(network, bits, IMAGES, settings=Settings(bias_correction=correct))
    (item,) = quantized.layers
    assert item.weight is not None and item.masks is not None and item.masks.shape[:2] == (1, 1)
    target = item.bits.weight if item.bits else Int(2)
    integers = quantize_weight(weight, target, Settings())
    dequantized = integers.values * integers.scale[:, None, None, None]
    factor, offset = correction(weight, dequantized, mean_only=correct == "mean")
    corrected = factor[:, None, None, None] * dequantized + offset[:, None, None, None]
    x = look_up(quantized.input_table, IMAGES) * quantized.input_scale
    expected = forward(replace(network, parameters=network.parameters | {"conv.weight": corrected}), x)[
        "conv"
    ]
    found = run(quantized, IMAGES).reshape(expected.shape)
    wanted = np.clip(np.rint(expected / item.scale), item.output.minimum, item.output.maximum)
    # Constants of 16 bits: within a step and 2^-15 of the 2^15 steps an int16 has.
    assert np.abs(found - wanted).max() <= 2


def test_a_channel_of_zeros_is_its_mean_times_the_sum_of_its_inputs() -> None:
    """What the authors' channels of no bits cannot be on an affine grid, exact correction makes of ours."""
    network = _network(lambda b: b.add("conv", Convolution(4, (3, 3))))
    weight = network.parameters["conv.weight"]
    weight[1] = weight[1] * 1e-4 + 2e-4
    quantized = quantize(
        network, "w2s8/int32", IMAGES, settings=Settings(allocation="exact", bias_correction="mean")
    )
    (item,) = quantized.layers
    assert item.weight is not None and not item.weight[1].any()
    means = weight.copy()
    means[:] = weight.mean(axis=(1, 2, 3), keepdims=True)
    x = look_up(quantized.input_table, IMAGES) * quantized.input_scale
    expected = forward(replace(network, parameters=network.parameters | {"conv.weight": means}), x)["conv"][
        :, 1
    ]
    found = run(quantized, IMAGES).reshape(40, 4, 4, 4)[:, 1]
    assert np.abs(found - expected / item.scale).max() <= 1


@pytest.mark.parametrize("correct", ["mean", "full"])
def test_an_exactly_corrected_network_runs_on_its_circuits_and_pays_for_the_sums(correct: str) -> None:
    plain, corrected = (
        quantize(_network(_residual), "w3a4/int32", IMAGES, settings=Settings(bias_correction=c))
        for c in (False, correct)
    )
    circuits = Circuits(corrected)
    np.testing.assert_array_equal(
        run(corrected, IMAGES[:4], compute=circuits.compute), run(corrected, IMAGES[:4])
    )
    for before, after in zip(plain.layers, corrected.layers, strict=True):
        parts = set(Hardware().datapaths(corrected, after)) - set(Hardware().datapaths(plain, before))
        assert parts == ({"input_sum", "requantize_sums"} if after.layer.has_weights else set())


@pytest.mark.parametrize(
    ("text", "meaning", "written"),
    [
        ("false", False, "false"),
        ("none", False, "false"),
        ("true", True, "true"),
        ("absorbed", True, "true"),
        ("mean", "mean", "mean"),
        ("full", "full", "full"),
    ],
)
def test_corrections_of_today_keep_their_text(text: str, meaning: bool | str, written: str) -> None:
    chosen = Settings.parse(f"bias_correction={text}")
    assert chosen.bias_correction == meaning and f"bias_correction={written} " in str(chosen)
    with pytest.raises(HwsimError, match='unknown bias correction "half"; known: none, false, absorbed'):
        Settings(bias_correction="half")


# --- whole networks


@pytest.fixture(scope="module")
def digits() -> tuple[FloatNetwork, Calibration]:
    network = load_model("digits")
    return network, calibrate(network, load_split("digits", "calibration").images)


@pytest.mark.parametrize("activations", ["min_max", "aciq_laplace", "aciq_gauss", "kl"])
def test_digits_in_eight_bits_keep_the_float_accuracy(
    digits: tuple[FloatNetwork, Calibration], activations: str
) -> None:
    network, calibration = digits
    split = load_split("digits", "calibration")
    quantized = quantize(network, "w8a8/int32", calibration, settings=Settings(activations=activations))
    correct, images = accuracy(network, split)
    assert (
        abs(measure_accuracy(quantized, split.images, split.labels).percent - 100 * correct / images) <= 0.5
    )


def test_quantizing_twice_gives_one_file(digits: tuple[FloatNetwork, Calibration]) -> None:
    network, calibration = digits
    images = load_split("digits", "calibration").images
    assert quantize(network, "p4a3", calibration).digest() == quantize(network, "p4a3", images).digest()


def test_rounded_scales_do_not_depend_on_the_order_of_sums(digits: tuple[FloatNetwork, Calibration]) -> None:
    network, calibration = digits
    chosen = Settings(bias_correction=True)
    other = calibrate(network, load_split("digits", "calibration").images, batch=23)
    assert any(
        other.statistics[name].deviation != seen.deviation for name, seen in calibration.statistics.items()
    )
    first, second = (
        quantize(network, "w3a4", seen, settings=chosen).digest() for seen in (calibration, other)
    )
    assert first == second


def test_quantizing_with_a_given_calibration_needs_no_torch() -> None:
    script = "import hwsim.quantize, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_layers_with_bits_keep_the_float_networks_names(digits: tuple[FloatNetwork, Calibration]) -> None:
    network, calibration = digits
    quantized = quantize(network, "w4a4/int16", calibration)
    assert list(quantized.bits) == list(network.signed_inputs())


def _squared_error(weight: FloatArray, text: str, bits: int = 4) -> tuple[float, IntegerWeight]:
    quantized = quantize_weight(weight, Int(bits), Settings.parse(text))
    return float(np.square(quantized.values * quantized.scale[:, None, None, None] - weight).sum()), quantized


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("method", ["min_max", "mse", "aciq"])
def test_bits_shared_out_among_channels_keep_their_budget_and_lower_the_error(method: str, bits: int) -> None:
    rng = np.random.default_rng(bits)
    weight = rng.laplace(0, 1, (32, 5, 3, 3)) * np.exp(rng.normal(0, 0.8, (32, 1, 1, 1)))
    alike, _ = _squared_error(weight, f"weights={method}", bits)
    published, by_rule = _squared_error(weight, f"weights={method} allocation=paper", bits)
    least, by_error = _squared_error(weight, f"weights={method} allocation=exact", bits)
    assert by_rule.width is not None and by_error.width is not None
    assert by_error.width.sum() <= 32 * bits and by_rule.width.mean() == pytest.approx(bits, abs=0.1)
    assert least < alike and (least < published or by_rule.width.sum() > 32 * bits)
    if bits == 4:
        assert published < alike
    for quantized in (by_rule, by_error):
        assert quantized.width is not None
        limit = np.maximum((1 << np.maximum(quantized.width, 1) - 1) - 1, 0)
        assert (np.abs(quantized.values).max(axis=(1, 2, 3)) <= limit).all()


@pytest.mark.parametrize("factor", [2.0**-600, 2.0**600])
@pytest.mark.parametrize("rule", ["paper", "exact"])
def test_bits_are_shared_out_alike_among_weights_of_any_size(rule: str, factor: float) -> None:
    rng = np.random.default_rng(0)
    weight = rng.laplace(0, 1, (16, 5, 3, 3)) * np.exp(rng.normal(0, 0.8, (16, 1, 1, 1)))
    one, other = (quantize_weight(w, Int(4), Settings(allocation=rule)) for w in (weight, weight * factor))
    np.testing.assert_array_equal(one.values, other.values)


def test_no_other_widths_of_few_channels_have_a_smaller_error() -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 1, (3, 4, 1, 1)) * np.array([0.2, 1.0, 3.0])[:, None, None, None]
    least, _ = _squared_error(weight, "allocation=exact", 3)
    errors = [
        [_squared_error(row[None], "", w)[0] if w > 1 else float(np.square(row).sum()) for w in range(9)]
        for row in weight
    ]
    every = (
        sum(e[w] for e, w in zip(errors, ws, strict=True))
        for ws in product(range(9), repeat=3)
        if sum(ws) <= 9
    )
    assert least == pytest.approx(min(every), rel=1e-6)


def test_the_published_rule_leaves_layers_of_more_than_four_bits_alike() -> None:
    weight = np.random.default_rng(0).normal(size=(4, 3, 3, 3)) * np.arange(1, 5)[:, None, None, None]
    quantized = quantize_weight(weight, Int(5), Settings.parse("allocation=paper"))
    plain = quantize_weight(weight, Int(5), Settings())
    np.testing.assert_array_equal(quantized.values, plain.values)
    assert quantized.width is not None and quantized.width.tolist() == [5] * 4


@pytest.mark.parametrize("rule", ["paper", "exact"])
def test_a_network_of_shared_out_bits_has_the_widest_ones_in_its_circuits(
    digits: tuple[FloatNetwork, Calibration], tmp_path: Path, rule: str
) -> None:
    network, calibration = digits
    quantized = quantize(network, "w4a8/int32", calibration, settings=Settings(allocation=rule))
    save(quantized, tmp_path / "net.safetensors")
    assert to_bytes(load(tmp_path / "net.safetensors")) == to_bytes(quantized)
    for item in quantized.layers:
        if item.bits is not None:
            assert item.weight_width is not None
            assert item.bits.weight.bits == max(2, item.weight_width.max())
    assert len({bits.weight for bits in quantized.bits.values()}) > 1


def test_allocation_is_refused_for_powers_of_two_and_for_one_scale_a_tensor() -> None:
    with pytest.raises(HwsimError, match="integer weights, not of pow2x4; write int4"):
        quantize(_network(_residual), "p4a8", IMAGES, settings=Settings(allocation="exact"))
    with pytest.raises(HwsimError, match="it needs granularity=channel"):
        Settings.parse("allocation=exact granularity=tensor")
    with pytest.raises(HwsimError, match="it needs activation_granularity=channel"):
        Settings.parse("activation_allocation=paper")
    for name in ("allocation", "activation_allocation"):
        with pytest.raises(HwsimError, match='unknown allocation "best"; known: none, paper, exact'):
            Settings.parse(f"{name}=best")


@pytest.mark.parametrize(
    ("write", "wide"),
    [
        (_residual, {"conv1": "int8*int8", "conv2": "int4*uint8", "linear": "int8*uint8"}),
        (_shortcut, {"conv1": "int8*int8", "conv2": "int4*uint8", "conv3": "int8*int4"}),
        (
            _concatenated,
            dict.fromkeys(("conv1", "conv2", "conv3"), "int8*int8")
            | {"conv4": "int4*int8", "conv5": "int8*uint8"},
        ),
    ],
)
def test_edges_are_first_layers_what_reads_them_or_a_pool_and_the_last_weights(
    write: Callable[[Builder], object], wide: dict[str, str]
) -> None:
    """ACIQ's exceptions: weights and output of the first layer, the classifier's weights, pooling outputs."""
    quantized = quantize(_network(write), "w4a4/int32 edges=8", IMAGES)
    assert {name: str(bits).removesuffix("/int32") for name, bits in quantized.bits.items()} == wide


def test_the_source_says_what_it_was_made_of(digits: tuple[FloatNetwork, Calibration]) -> None:
    network, calibration = digits
    chosen = Settings(weights="aciq_gauss", tolerance=1.5, bias_correction=True)
    source = quantize(network, "w4a4/int16", calibration, settings=chosen).source
    head, _, text = source.partition(" calibration_images=200 ")
    assert head == f"float={network.digest()}"
    assert Settings.parse(text) == chosen


@pytest.mark.parametrize(
    "text",
    [
        "",
        "activations=kl",
        "allocation=exact percent=99",
        "activation_granularity=channel activation_allocation=paper",
        "granularity=tensor bias_correction=true elementwise=6 tolerance=inf",
    ],
)
def test_settings_are_their_text(text: str) -> None:
    chosen = Settings.parse(text)
    assert Settings.parse(str(chosen)) == chosen


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("weights=acid", 'unknown quantizer "acid"; known: min_max, aciq, aciq_laplace, aciq_gauss, kl'),
        ("activations=octav", 'unknown quantizer "octav"'),
        ("weights=kl", "kl needs the histogram of an activation; choose min_max or aciq_laplace for weights"),
        ("weights=kl_tensorrt", "kl_tensorrt needs the histogram of an activation"),
        ("granularity=row", 'unknown granularity "row"; known: channel, tensor'),
        ("tolerance=0.5", "a factor of at least 1, not 0.5"),
        ("tolerance=nan", "a factor of at least 1, not nan"),
        ("tolerance=much", 'tolerance cannot be "much"'),
        ("bias_correction=1", 'bias_correction cannot be "1"'),
        ("elementwise=1", "2 to 16 bits, not 1"),
        ("colour=red", '"colour=red" are not understood; write each once as name=value'),
        ("tolerance", '"tolerance" are not understood'),
        ("tolerance=1 tolerance=2", '"tolerance=2" are not understood'),
    ],
)
def test_wrong_settings_are_refused(text: str, sentence: str) -> None:
    with pytest.raises(HwsimError, match=sentence):
        Settings.parse(text)


def test_weights_that_are_not_finite_are_refused_by_layer_and_count() -> None:
    network = _network(_residual)
    weight = network.parameters["conv2.weight"].copy()
    weight[0, 0, 0, :2] = np.nan, np.inf
    with pytest.raises(
        HwsimError, match='layer "conv2" has 2 of 144 values in its weight that are NaN or infinite'
    ):
        quantize(
            replace(network, parameters=dict(network.parameters) | {"conv2.weight": weight}), "w8a8", IMAGES
        )


def test_a_calibration_of_another_network_is_refused() -> None:
    with pytest.raises(HwsimError, match='that of another network than "example"; calibrate it anew'):
        quantize(_network(_residual), "w8a8", calibrate(_network(_shortcut), IMAGES))


def test_a_network_without_layers_is_refused() -> None:
    with pytest.raises(HwsimError, match='network "example" has no layers'):
        quantize(FloatNetwork("example", (2, 6, 6), SIGNED_PIXELS, (), {}), "w8a8", IMAGES)


@pytest.mark.parametrize(
    ("layers", "sentence"),
    [
        (
            {"conv1": "w8s8", "conv2": "w8u8"},
            'disagree on layer "linear"; give bits for exactly conv1, conv2, linear',
        ),
        ({"conv1": "w8s8", "conv2": "w8u8", "linear": "w8u8", "x": "w8u8"}, 'disagree on layer "x"'),
        ({"conv1": "w8u8", "conv2": "w8u8", "linear": "w8u8"}, 'the input of layer "conv1" can be negative'),
    ],
)
def test_bits_that_contradict_the_network_are_refused(layers: dict[str, str], sentence: str) -> None:
    with pytest.raises(HwsimError, match=sentence):
        quantize(_network(_residual), bit_config(_bits(**layers).items()), IMAGES)


def test_power_of_two_weights_with_an_aciq_threshold_are_refused() -> None:
    with pytest.raises(HwsimError, match="choose min_max for its weights"):
        quantize(_network(_residual), "p4a8", IMAGES, settings=Settings(weights="aciq_gauss"))
