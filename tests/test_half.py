"""Half precision against numpy.float16 and fractions; its circuits at the places where floating point goes wrong."""

import math
from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.cost.traffic import Memory, traffic
from hwsim.data import load_split
from hwsim.datapath import elaborate
from hwsim.datapath.from_half import FromHalf
from hwsim.datapath.half_add import HalfAdd
from hwsim.datapath.to_half import ToHalf
from hwsim.errors import HwsimError
from hwsim.formats import HALF, Half, Int, Rounding, parse_tensor_format
from hwsim.half import add_halves, from_half, to_half
from hwsim.layers import Add, Clip, Convolution
from hwsim.models import load_model
from hwsim.network import load, look_up, save, to_bytes
from hwsim.quantize import Settings, calibrate, quantize
from hwsim.simulate.circuit import evaluate
from hwsim.simulate.circuits import Circuits
from hwsim.simulate.inference import compute_layer, measure_accuracy, run
from hwsim.simulate.replay import replay
from test_quantize import GRAPHS, IMAGES, _network, _residual

# Zeros, the smallest and largest subnormals and normals, ones, their neighbours, infinities, NaN; and the negatives.
CORNERS = [0, 1, 2, 0x3FE, 0x3FF, 0x400, 0x401, 0x7FF, 0x800, 0x3BFF, 0x3C00, 0x3C01]
CORNERS += [0x4C00, 0x6800, 0x7BFE, 0x7BFF, 0x7C00, 0x7C01, 0x7E00, 0x7FFF]
CORNERS = np.array([sign | code for code, sign in product(CORNERS, (0, 0x8000))])


def floats(patterns):
    return np.asarray(patterns).astype(np.uint16).view(np.float16)


def patterns(values):
    """The patterns of float16 values, every NaN the one that the arithmetic returns."""
    return np.where(np.isnan(values), HALF.nan, values.view(np.uint16).astype(np.int64))


def pairs(count=200_000):
    """Pairs of corners, of any patterns, and of patterns near each other, so that much cancels."""
    rng = np.random.default_rng(0)
    first, second = (grid.ravel() for grid in np.meshgrid(CORNERS, CORNERS))
    a, b = rng.integers(0, 1 << 16, (2, count))
    near = a ^ rng.integers(0, 1 << 13, count) ^ (rng.integers(0, 2, count) << 15)
    return np.concatenate([first, a, a]), np.concatenate([second, b, near])


def test_sums_are_those_of_numpy():
    a, b = pairs()
    with np.errstate(all="ignore"):
        expected = patterns(floats(a) + floats(b))
    np.testing.assert_array_equal(add_halves(a, b, (HALF, HALF), HALF), expected, strict=True)


def test_the_adders_circuit_sums_as_numpy_does():
    a, b = pairs(30_000)
    with np.errstate(all="ignore"):
        expected = patterns(floats(a) + floats(b))
    found = evaluate(elaborate(HalfAdd()), {"first": a, "second": b})["output"]
    np.testing.assert_array_equal(found, expected, strict=True)


def test_integers_are_converted_as_numpy_does():
    rng = np.random.default_rng(1)
    values = rng.integers(-(2**53), 2**53, 200_000) >> rng.integers(0, 53, 200_000)
    shift = rng.integers(0, 64, values.size)
    with np.errstate(over="ignore"):
        expected = patterns(np.ldexp(values.astype(np.float64), -shift).astype(np.float16))
    np.testing.assert_array_equal(to_half(values, shift, HALF), expected, strict=True)


def test_every_half_way_point_between_two_neighbours_goes_to_the_even_one():
    finite = np.arange(HALF.infinity - 1)
    scale = 2.0**25
    middle = (floats(finite).astype(np.float64) + floats(finite + 1).astype(np.float64)) / 2 * scale
    exact = middle.astype(np.int64)
    assert (exact == middle).all()
    np.testing.assert_array_equal(to_half(exact, 25, HALF), finite + (finite & 1), strict=True)
    # Half a step above the largest finite number is infinity; just below it is not.
    edge = (65504 + 16) * (1 << 20)
    assert to_half(np.array([edge, edge - 1]), 20, HALF).tolist() == [HALF.infinity, HALF.infinity - 1]


def near(low, high):
    return st.one_of(st.integers(low, high), st.sampled_from([low, high, 0, 1]))


@given(near(-(1 << 31), (1 << 31) - 1), near(0, 65535), near(-(1 << 47), (1 << 47) - 1), near(0, 63))
def test_an_accumulator_is_rounded_once(accumulator, multiplier, bias, shift):
    names = ("accumulator", "multiplier", "bias", "shift")
    values = dict(zip(names, map(np.array, (accumulator, multiplier, bias, shift)), strict=True))
    found = float(floats(ToHalf(Int(32)).compute(values)["output"][None])[0])
    exact = Fraction(accumulator * multiplier + bias, 2**shift)
    if abs(exact) >= 65520:
        assert found == math.copysign(math.inf, exact)
        return
    # No neighbour is nearer; a tie has the even pattern.
    step = Fraction(2) ** max(math.frexp(abs(found))[1] - 11, -24)
    assert abs(Fraction(found) - exact) <= step / 2
    if abs(Fraction(found) - exact) == step / 2:
        assert Fraction(found) / step % 2 == 0


ROUND = {
    Rounding.FLOOR: math.floor,
    Rounding.HALF_UP: lambda x: math.floor(x + Fraction(1, 2)),
    Rounding.HALF_EVEN: round,
}


@given(st.one_of(st.integers(0, 65535), st.sampled_from(CORNERS.tolist())), near(0, 65535), near(0, 63))
@pytest.mark.parametrize("rounding", Rounding)
def test_a_half_becomes_the_rounded_and_clamped_product(rounding, pattern, multiplier, shift):
    arrays = map(np.array, (multiplier, shift))
    found = int(from_half(np.array(pattern), HALF, *arrays, rounding, Int(8)))
    value = float(floats([pattern])[0])
    if math.isnan(value):
        assert found == 0
    elif math.isinf(value):
        assert found == (127 if value > 0 else -128)
    else:
        exact = ROUND[rounding](Fraction(value) * multiplier / 2**shift)
        assert found == min(max(exact, -128), 127)


def test_the_circuit_from_half_is_right_at_the_corners_of_every_shift():
    grid = np.meshgrid(CORNERS, [0, 1, 1 << 15, 65535], np.arange(64), indexing="ij")
    pattern, multiplier, shift = (axis.ravel() for axis in grid)
    datapath = FromHalf(HALF, Int(8))
    values = {"value": pattern, "multiplier": multiplier, "shift": shift}
    found = evaluate(elaborate(datapath), values)["output"]
    np.testing.assert_array_equal(Int(8).decode(found), datapath.compute(values)["output"], strict=True)


def test_an_unsigned_result_is_the_relu_of_the_signed_one():
    a, b = pairs(20_000)
    signed = add_halves(a, b, (HALF, HALF), HALF)
    unsigned = add_halves(a, b, (HALF, HALF), Half(signed=False))
    expected = np.where(signed >> 15, 0, signed)
    np.testing.assert_array_equal(unsigned, expected, strict=True)


@pytest.mark.parametrize("text", ["fp16", "ufp16", "e3m2", "ue4m3", "int8", "uint4"])
def test_a_tensors_format_is_its_text(text):
    assert str(parse_tensor_format(text)) == text


@pytest.mark.parametrize("widths", [(1, 1), (6, 10), (5, 11), (3, 4), (5, 0)])
def test_widths_that_a_float_cannot_have_are_refused(widths):
    with pytest.raises(HwsimError, match="out of range"):
        Half(*widths)


def test_an_adder_of_two_widths_is_refused():
    with pytest.raises(HwsimError, match="differ in their widths"):
        HalfAdd(HALF, Half(3, 2), HALF)


# --- additions of whole networks


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.__name__.lstrip("_"))
@pytest.mark.parametrize("channels", ["", "activation_granularity=channel"])
def test_a_network_with_additions_in_half_precision_is_its_circuits_and_its_file(graph, channels, tmp_path):
    settings = Settings.parse(f"activations=min_max placement=half {channels}")
    network = quantize(_network(graph), "w8a5/int32", IMAGES, settings=settings)
    save(network, tmp_path / "net.safetensors")
    assert to_bytes(load(tmp_path / "net.safetensors")) == to_bytes(network)
    circuits, images, labels = Circuits(network), IMAGES[:10], np.zeros(10, np.int64)
    compared = measure_accuracy(network, images, labels, compute=circuits.compute, against=compute_layer)
    assert compared.difference is None
    assert {row.difference for row in replay(network, images[:2], outputs=6)} == {None}
    formats = network.formats()
    for item in network.layers:
        assert (item.layer.kind == "add") <= isinstance(item.output, Half)
        if item.layer.has_weights or item.layer.kind in ("max_pool", "average_pool"):
            assert isinstance(formats[item.layer.inputs[0]], Int)
    assert isinstance(network.layers[-1].output, Int)
    rows = {row.layer: row for row in traffic(network, Memory(burst_bits=8))}
    for item in network.layers:
        if item.layer.kind == "add":
            operands = sum(formats[name].bits for name in item.layer.inputs)
            assert rows[item.layer.name].input_bytes == pytest.approx(
                operands * item.layer.outputs / 8, abs=2
            )
            assert rows[item.layer.name].weight_bytes == 0


def test_the_tensors_that_an_addition_reads_are_numpys_half_precision_of_the_real_values():
    network = _network(_residual)
    quantized = quantize(network, "w8a8/int32", IMAGES, settings=Settings.parse("placement=half"))
    tensors = {}

    def visit(item, inputs, output, overflowed):
        tensors[item.layer.name] = output

    run(quantized, IMAGES, visit)
    items = {item.layer.name: item for item in quantized.layers}
    for name in ("conv1", "conv2"):
        item = items[name]
        source = item.layer.inputs[0]
        x = tensors.get(source, look_up(quantized.input_table, IMAGES))
        exact = compute_layer(replace(item, output=Int(62), **handing_on(item)), (x,), Rounding.FLOOR)[0]
        scaled = exact * item.multiplier[:, None, None] + item.bias[:, None, None]
        real = np.ldexp(scaled.astype(np.float64), -item.shift[:, None, None])
        if not item.output.signed:
            real = np.maximum(real, 0)
        np.testing.assert_array_equal(tensors[name], patterns(real.astype(np.float16)))
    summed = floats(tensors["conv1"]) + floats(tensors["conv2"])
    np.testing.assert_array_equal(tensors["add"], patterns(np.maximum(summed, np.float16(0))))


def handing_on(item):
    """Constants of a requantiser that hands its sum on."""
    ones = np.ones_like(item.multiplier)
    return {"multiplier": ones, "bias": 0 * ones, "shift": 0 * ones}


def test_digits_keep_their_accuracy_with_additions_in_half_precision():
    network, test = load_model("digits"), load_split("digits", "test")
    calibration = calibrate(network, load_split("digits", "calibration").images)
    found = {
        placement: measure_accuracy(
            quantize(network, "w8a8/int32", calibration, settings=Settings(placement=placement)),
            test.images,
            test.labels,
        ).correct
        for placement in ("integer", "half")
    }
    assert abs(found["half"] - found["integer"]) <= 4


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("placement=float", 'unknown placement "float"; known: integer, half'),
        ("placement=half bias_correction=mean", "has no circuit for; choose bias_correction=true"),
    ],
)
def test_a_placement_that_there_is_not_is_refused(text, sentence):
    with pytest.raises(HwsimError, match=sentence):
        Settings.parse(text)


def test_a_clipped_addition_in_half_precision_is_refused():
    def clipped(b):
        one = b.add("conv", Convolution(4, (1, 1)))
        b.add("clip", Clip(0.0, 6.0), b.add("add", Add(), one, one))
        b.add("out", Convolution(2, (1, 1)))

    with pytest.raises(HwsimError, match='the addition "add" is clipped'):
        quantize(_network(clipped), "w8a8", IMAGES, settings=Settings(placement="half"))


def test_a_file_that_mixes_integers_and_halves_is_refused(tmp_path):
    network = quantize(_network(_residual), "w8a8/int32", IMAGES, settings=Settings(placement="half"))
    for name, output in (("conv2", Int(8)), ("add.integer", HALF), ("add", Half(4, 3)), ("pool", HALF)):
        wrong = tuple(
            replace(item, output=output) if item.layer.name == name else item for item in network.layers
        )
        save(replace(network, layers=wrong), tmp_path / "net.safetensors")
        with pytest.raises(HwsimError, match="which there is not"):
            load(tmp_path / "net.safetensors")
