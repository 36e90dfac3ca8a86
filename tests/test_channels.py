"""Channels of activations with widths and steps of their own: what is stored, what is clipped, what it costs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.cost.traffic import Memory, traffic
from hwsim.data import load_split
from hwsim.formats import Int
from hwsim.layers import (
    INPUT,
    Add,
    AveragePool,
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
from hwsim.models.forward import forward
from hwsim.network import Preprocessing, load, save, to_bytes
from hwsim.quantize import Settings, calibrate, quantize
from hwsim.quantize.channels import Magnitudes, shared_scale, widths
from hwsim.quantize.min_max import threshold as min_max
from hwsim.simulate.circuits import Circuits
from hwsim.simulate.inference import compute_layer, measure_accuracy, run

CHANNELS = "activation_granularity=channel"
IMAGES = np.random.default_rng(11).integers(0, 256, (30, 6, 6, 2), dtype=np.uint8)
CONVOLUTION = Convolution(6, (3, 3), padding=(1, 1, 1, 1))


def residual(b):
    first = b.add("conv1", CONVOLUTION)
    relu = b.add("relu1", Relu(), first)
    b.add("conv2", CONVOLUTION)
    b.add("add", Add(), relu, "conv2")
    b.add("relu2", Relu())
    b.add("pool", MaxPool((2, 2), (2, 2)))
    b.add("conv3", CONVOLUTION)
    b.add("average", AveragePool((3, 3), (3, 3)))
    b.add("flatten", Flatten())
    b.add("linear", Linear(5))


def moved(b):
    one = b.add("relu1", Relu(), b.add("conv1", CONVOLUTION))
    b.add("slice", Slice((1, 0, 0), (6, 6, 6), (2, 2, 2)), one)
    sliced = b.add("pad", PadChannels(1, 2))
    b.add("conv2", Convolution(4, (3, 3), (2, 2), (1, 1, 1, 1)), INPUT)
    two = b.add("relu2", Relu())
    b.add("both", Concatenate(), sliced, two)
    b.add("max", MaxPool((2, 2), (1, 1)))
    b.add("flatten", Flatten())
    b.add("linear", Linear(5))


def signed(b):
    stem = b.add("conv1", CONVOLUTION)
    b.add("relu", Relu(), b.add("conv2", CONVOLUTION, stem))
    b.add("both", Concatenate(), stem, "relu")
    b.add("conv3", Convolution(6, (1, 1), groups=6))
    b.add("conv4", Convolution(3, (6, 6)), "conv3")


def clipped(b):
    b.add("clip1", Clip(0.0, 0.5), b.add("conv1", CONVOLUTION))
    b.add("clip2", Clip(0.0, 0.5), b.add("conv2", Convolution(6, (3, 3), padding=(1, 1, 1, 1), groups=6)))
    b.add("conv3", Convolution(3, (6, 6)))


GRAPHS = pytest.mark.parametrize("graph", [residual, moved, signed, clipped], ids=lambda g: g.__name__)


def uneven(graph):
    """A network whose convolutions have output channels of very different ranges."""
    build = Builder((2, 6, 6))
    graph(build)
    rng = np.random.default_rng(5)
    for layer in build.layers:
        for key, shape in parameter_shapes(layer).items():
            values = rng.normal(0, 1, shape) / np.sqrt(np.prod(shape[1:], initial=1.0))
            build.parameters[f"{layer.name}.{key}"] = (values.T * 2.0 ** -np.arange(len(values))).T
    return build.network("uneven", Preprocessing(255.0, (0.5, 0.4), (0.25, 0.3)))


def error(quantized, network):
    """Root mean square error of each output, relative to that output's own spread, averaged."""
    expected = forward(network, network.preprocessing.apply(IMAGES))[network.layers[-1].name]
    expected = expected.reshape(len(IMAGES), -1)
    got = run(quantized, IMAGES) * quantized.layers[-1].scale
    return float((np.sqrt(np.square(got - expected).mean(axis=0)) / expected.std(axis=0)).mean())


@GRAPHS
@pytest.mark.parametrize("rule", ["none", "paper", "exact"])
def test_every_value_is_one_of_its_channels_width_times_its_step(graph, rule, tmp_path):
    settings = Settings.parse(f"{CHANNELS} activation_allocation={rule} activations=aciq")
    network = quantize(uneven(graph), "w8a4/int32", IMAGES, settings=settings)
    save(network, tmp_path / "net.safetensors")
    assert to_bytes(load(tmp_path / "net.safetensors")) == to_bytes(network)
    seen = 0

    def visit(item, inputs, output, overflowed):
        nonlocal seen
        if item.width is None:
            return
        seen += 1
        assert (item.width + item.exponent).max() <= item.output.bits <= 8
        width, exponent = item.width[:, None, None], item.exponent[:, None, None]
        stored = output >> exponent
        np.testing.assert_array_equal(stored << exponent, output)
        levels = np.int64(1) << np.maximum(width - item.output.signed, 0)
        assert (stored <= levels - 1).all() and (stored >= -levels * item.output.signed).all()

    run(network, IMAGES, visit)
    assert seen >= 2


@GRAPHS
def test_the_circuits_compute_what_the_arithmetic_does(graph):
    settings = Settings.parse(f"{CHANNELS} activation_allocation=exact")
    network = quantize(uneven(graph), "w6a4/int20", IMAGES, settings=settings)
    labels = np.zeros(len(IMAGES), np.int64)
    circuits = Circuits(network)
    assert (
        measure_accuracy(network, IMAGES, labels, compute=circuits.compute, against=compute_layer).difference
        is None
    )


@pytest.mark.parametrize("graph", [residual, moved, signed], ids=lambda g: g.__name__)
@pytest.mark.parametrize("method", ["min_max", "mse"])
def test_uneven_channels_have_less_error_with_steps_of_their_own(graph, method):
    network = uneven(graph)
    calibration = calibrate(network, IMAGES)

    def of(text):
        settings = Settings.parse(f"activations={method} {text}")
        return error(quantize(network, "w8a4/int32", calibration, settings=settings), network)

    assert of(CHANNELS) < of("")


def test_a_tensor_without_uneven_channels_is_the_same_either_way():
    """Channels that are copies of each other have one step, which is that of the tensor."""
    network = uneven(residual)
    parameters = dict(network.parameters)
    for name in ("conv1", "conv2", "conv3"):
        for key in ("weight", "bias"):
            first = parameters[f"{name}.{key}"][:1]
            parameters[f"{name}.{key}"] = np.repeat(first, 6, axis=0)
    same = type(network)(network.name, network.input_shape, network.preprocessing, network.layers, parameters)
    calibration = calibrate(same, IMAGES)
    plain, channels = (
        quantize(same, "w8a4/int32", calibration, settings=Settings.parse(f"activations=min_max {text}"))
        for text in ("", CHANNELS)
    )
    for ours, theirs in zip(channels.layers, plain.layers, strict=True):
        if ours.width is not None:
            assert ours.output == theirs.output
            assert set(ours.width.tolist()) == {4} and set(ours.exponent.tolist()) == {0}
            # The one of least error of four scales within an octave about that of the range.
            assert 0.5 < ours.scale / theirs.scale < 2


def test_no_channel_reaches_beyond_the_end_of_a_clip():
    for rule in ("none", "paper", "exact"):
        settings = Settings.parse(f"{CHANNELS} activation_allocation={rule} activations=min_max")
        network = quantize(uneven(clipped), "w8a4/int32", IMAGES, settings=settings)
        for item in network.layers[:2]:
            reach = ((1 << item.width) - 1) * 2.0**item.exponent * item.scale
            assert reach.max() <= 0.5 * (1 + 1e-6)


def test_a_budget_of_bits_is_kept_and_counted_in_traffic():
    network = uneven(residual)
    calibration = calibrate(network, IMAGES)

    def of(rule):
        settings = Settings.parse(f"{CHANNELS} activation_allocation={rule} activations=mse")
        return quantize(network, "w8a4/int32", calibration, settings=settings)

    plain, exact, paper = of("none"), of("exact"), of("paper")
    for item in exact.layers:
        assert item.width is None or item.width.mean() <= 4
    assert len({int(w) for item in exact.layers if item.width is not None for w in item.width}) > 2
    assert any(item.width is not None and np.ptp(item.width) > 0 for item in paper.layers)
    assert error(exact, network) < error(plain, network)
    rows = {row.layer: row for row in traffic(plain, Memory(burst_bits=8))}
    # conv1's output: 6 channels of 6x6 elements in 4 bits each, though the operand is wider.
    assert rows["conv1"].output_bytes == 6 * 36 * 4 // 8
    assert plain.layers[0].output.bits > 4


def test_edges_and_wide_tensors_keep_one_step():
    network = quantize(uneven(residual), "w8a8/int32", IMAGES, settings=Settings.parse(CHANNELS))
    assert all(item.width is None for item in network.layers)
    network = quantize(uneven(residual), "w8a4/int32", IMAGES, settings=Settings.parse(CHANNELS))
    assert network.layers[-1].width is None and network.input == Int(4)


MAGNITUDE = st.floats(2.0**-20, 2.0**20)


@given(st.lists(st.tuples(MAGNITUDE, st.integers(2, 8)), min_size=1, max_size=6), st.booleans())
def test_the_shared_scale_gives_the_widest_channel_what_it_asked_for(channels, sign):
    peak, width = np.array([p for p, _ in channels]), np.array([w for _, w in channels])
    asked = peak / ((1 << width - sign) - 1)
    histogram = np.ones((len(peak), 64), np.int64)
    scale, exponent = shared_scale(Magnitudes(peak, histogram), asked, width, sign, np.inf)
    assert exponent.min() == 0 and (exponent + width).max() <= 8
    step = scale * 2.0**exponent
    # Within a factor of two of what was asked for, unless the scale is coarser than that already.
    assert ((step < 2.001 * asked) | (exponent == 0)).all() and (step > 0.499 * asked).all()


def test_channels_of_zeros_take_no_part():
    seen = Magnitudes(np.array([0.0, 1.0]), np.array([[0, 0], [3, 3]]))
    scale, exponent = shared_scale(seen, np.array([0.0, 1 / 15]), np.array([4, 4]), False, np.inf)
    assert exponent.tolist() == [0, 0] and scale * 1.000001 >= 1 / 15 and scale < 2 / 15
    nothing = Magnitudes(np.zeros(2), np.zeros((2, 2), np.int64))
    assert shared_scale(nothing, np.zeros(2), np.array([4, 4]), False, np.inf)[0] == 1.0


def test_signed_channels_of_one_bit_have_none():
    network = uneven(signed)
    seen = calibrate(network, IMAGES).channels["conv1"]
    assert 1 not in widths(seen, Int(2), "paper", min_max).tolist()
    assert (widths(seen, Int(5), "paper", min_max) == 5).all()


def test_digits_in_three_bits_gain_from_bits_shared_out():
    network, images = load_model("digits"), load_split("digits", "calibration").images
    test = load_split("digits", "test")
    calibration = calibrate(network, images)

    def of(text):
        settings = Settings.parse(f"activations=mse {text}")
        quantized = quantize(network, "w8a2/int32 edges=8", calibration, settings=settings)
        return measure_accuracy(quantized, test.images, test.labels).percent

    plain, channels, shared = of(""), of(CHANNELS), of(f"{CHANNELS} activation_allocation=exact")
    assert shared > plain and channels > plain
