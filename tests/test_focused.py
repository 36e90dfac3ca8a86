"""Focused quantization: the paper's worked filter, closed forms, published and recomputed figures, whole networks."""

import shutil
from dataclasses import replace
from math import pi

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import networks
from hwsim.bits import LayerBits
from hwsim.cost.activity import activity
from hwsim.cost.compression import compress, decompress, layer_bytes
from hwsim.cost.mapping import mapped_netlist
from hwsim.cost.memory.hierarchy import Accelerator, Array
from hwsim.cost.network_energy import EnergyModel, layer_energies
from hwsim.cost.operands import layer_traces
from hwsim.cost.technology import technology
from hwsim.cost.timing import loads
from hwsim.data import load_split
from hwsim.datapath import describe, parts
from hwsim.datapath.focused_mac import FocusedMac
from hwsim.datapath.mac import Mac
from hwsim.datapath.requantize_sums import RequantizeSums
from hwsim.datapath.shift_mac import ShiftMac
from hwsim.errors import HwsimError
from hwsim.formats import Focused, Int, Overflow, PowerOfTwo, parse_format, parse_weight
from hwsim.models import load_model
from hwsim.network import load, save
from hwsim.quantize import Settings, quantize
from hwsim.quantize.focused import focus, round_to_shift, shift_bias
from hwsim.quantize.mixture import Mixture, fit_mixture, responsibilities, separation
from hwsim.quantize.prune import prune
from hwsim.quantize.weights import focused_weight
from hwsim.simulate import circuit
from hwsim.simulate.circuits import Circuits
from hwsim.simulate.inference import compute_layer, measure_accuracy, run
from hwsim.simulate.replay import SIMULATORS, replay, runs, sample
from icarus_activity import icarus_changes

FIVE = Focused(5)
DEFAULT = Settings()


def gauss(n=100_000, sparsity=0.0):
    return pruned(stats.norm.ppf((np.arange(n) + 0.5) / n), sparsity)


def laplace(n=100_000, sparsity=0.0):
    return pruned(stats.laplace.ppf((np.arange(n) + 0.5) / n), sparsity)


def pruned(weights, sparsity):
    return np.where(np.abs(weights) < np.quantile(np.abs(weights), sparsity), 0.0, weights)


# The worked filter of figures 2 and 4; weights and means in 1/128, inputs in 1/8.

FILTER = np.array([0, -3.81, 1.50, 5.63, 0, -5.69, 4.54, -3.13, 2.44])
INPUTS = np.array([1, 1, 2, 12, 35, 4, 2, 6, 3])


def test_the_worked_filter_of_the_paper():
    second = (FILTER > 0).astype(np.int64)
    centred = np.where(FILTER == 0, 0, FILTER - np.where(second, 4, -4))
    np.testing.assert_allclose(centred, [0, 0.19, -2.5, 1.63, 0, -1.69, 0.54, 0.87, -1.56])
    bias = shift_bias(np.array([0.25, 2.0]), 2)
    values = round_to_shift(centred * 2**bias, 4)
    assert (bias, values.tolist()) == (2, [0, 1, -8, 8, 0, -8, 2, 4, -8])
    represented = values / 4 + np.where(FILTER == 0, 0, np.where(second, 4, -4))
    assert represented.tolist() == [0, -3.75, 2, 6, 0, -6, 4.5, -3, 2]
    sums = [(INPUTS * values).sum() / 4, INPUTS[FILTER < 0].sum(), INPUTS[FILTER > 0].sum()]
    assert sums == [13.25, 11, 19]
    assert sums[0] - 4 * sums[1] + 4 * sums[2] == (INPUTS * represented).sum() == 45.25
    masks = np.stack([FILTER < 0, FILTER > 0]).astype(np.int64)
    symbols = FIVE.encode(values, masks)
    # mean, sign, exponent: 0 is pruned; 4/4 below the second mean is the first's -1 + ...
    assert symbols.tolist() == [
        0,
        0b0_0_001,
        0b1_1_100,
        0b1_0_100,
        0,
        0b0_1_100,
        0b1_0_010,
        0b0_0_011,
        0b1_1_100,
    ]


def test_the_worked_filter_runs_in_its_circuits_bit_for_bit():
    masks = np.stack([FILTER < 0, FILTER > 0]).astype(np.int64)
    symbols = FIVE.encode(np.array([0, 1, -8, 8, 0, -8, 2, 4, -8]), masks)
    mac = FocusedMac(FIVE, Int(8, signed=False), Int(16))
    sums = {
        name: values[-1:]
        for name, values in circuit.run(mac, {"activation": INPUTS, "weight": symbols}).items()
    }
    assert {name: value.item() for name, value in sums.items()} == {
        "accumulator": 4 * 13.25,
        "sum0": 11,
        "sum1": 19,
    }
    requantize = RequantizeSums(Int(16), Int(18), 2, Int(16), sum_multiplier=Int(8))
    constants = {
        "accumulator_multiplier": 1,
        "sum0_multiplier": -16,
        "sum1_multiplier": 16,
        "bias": 0,
        "shift": 0,
    }
    operands = sums | {name: np.array([value]) for name, value in constants.items()}
    assert circuit.run(requantize, operands)["output"].tolist() == [4 * 45.25]


def test_a_focused_mac_is_a_shift_mac_and_two_input_sums():
    rng = np.random.default_rng(3)
    for form in (FIVE, Focused(7)):
        mac = FocusedMac(form, Int(8), Int(20), Overflow.SATURATE, Int(17))
        which = rng.integers(0, 3, 300)
        values = (rng.choice([-1, 0, 1], 300) << rng.integers(0, form.exponents(recentralized=True), 300)) * (
            which > 0
        )
        masks = np.stack([which == 1, which == 2]).astype(np.int64)
        x = rng.integers(-128, 128, 300)
        found = circuit.run(mac, {"activation": x, "weight": form.encode(values, masks)})
        for k in (0, 1):
            np.testing.assert_array_equal(found[f"sum{k}"], (x * masks[k]).cumsum())
        shift = ShiftMac(form.shift(recentralized=True), Int(8), Int(20), Overflow.SATURATE)
        expected = circuit.run(shift, {"activation": x, "weight": values})["accumulator"]
        np.testing.assert_array_equal(found["accumulator"], expected)


@given(st.integers(4, 7), st.booleans(), st.integers(0, 2**32))
def test_symbols_are_one_for_each_meaning_and_decode_to_it(bits, recentralized, seed):
    form, rng = Focused(bits), np.random.default_rng(seed)
    count = form.exponents(recentralized=recentralized)
    values = rng.choice([-1, 0, 1], 200) << rng.integers(0, count, 200)
    masks = None
    if recentralized:
        which = rng.integers(0, 3, 200)
        values[which == 0] = 0
        masks = np.stack([which == 1, which == 2]).astype(np.int64)
    symbols = form.encode(values, masks)
    assert symbols.min() >= 0 and symbols.max() < 1 << bits
    back = form.decode(symbols, recentralized=recentralized)
    np.testing.assert_equal(back, (values, masks))


def test_the_alphabets_have_as_many_symbols_as_the_paper_counts():
    assert [Focused(bits).symbols for bits in (4, 5, 6)] == [11, 19, 35]
    every, masks = [0], [0]
    for mean in (1, 2):
        every += [0, *(s << e for s in (1, -1) for e in range(4))]
        masks += [mean] * 9
    masks = np.array([np.equal(masks, 1), np.equal(masks, 2)]).astype(np.int64)
    assert len(set(FIVE.encode(np.array(every), masks).tolist())) == 19
    # The paper's 7 bits have 16 exponents, 67 symbols; the circuits hold 15 of them.
    assert Focused(7).symbols == 63 == 67 - 2 * 2


def test_formats_of_focused_weights():
    assert str(LayerBits.parse("f5a8/int32", signed=False)) == "focused5*uint8/int32"
    assert LayerBits.parse("focused5*uint8/int32", signed=False).weight == FIVE == parse_weight("focused5")
    assert FIVE.shift(recentralized=True) == PowerOfTwo(4) and FIVE.shift(recentralized=False) == PowerOfTwo(
        5
    )
    with pytest.raises(HwsimError, match="a focused format has 4 to 7 bits, not 8"):
        parse_weight("focused8")
    with pytest.raises(HwsimError, match='unknown number format "focused5"; write int8'):
        parse_format("focused5")
    for values, masks in ((16, [0, 1]), (1, [0, 0]), (0, [1, 1])):
        with pytest.raises(HwsimError):
            FIVE.encode(np.array([values]), np.array(masks)[:, None])
    with pytest.raises(HwsimError):
        FIVE.encode(np.array([256]))


# The mixture


@pytest.mark.parametrize("share", [0.5, 0.35])
def test_a_mixture_is_recovered_to_two_percent(share):
    rng = np.random.default_rng(1)
    first = rng.random(400_000) < share
    weights = np.where(first, rng.normal(-1.5, 0.5, first.size), rng.normal(1.0, 0.4, first.size))
    found = fit_mixture(weights)
    np.testing.assert_allclose(found.mean, [-1.5, 1.0], rtol=0.02)
    np.testing.assert_allclose(found.deviation, [0.5, 0.4], rtol=0.02)
    np.testing.assert_allclose(found.share, [share, 1 - share], rtol=0.02)
    assert found.pooled_deviation == pytest.approx(np.sqrt(share * 0.25 + (1 - share) * 0.16), rel=0.02)


def halves(weights):
    sides = [weights[weights < 0], weights[weights > 0]]
    return Mixture(*(np.array([f(side) for side in sides]) for f in (np.mean, np.std)), np.array([0.5, 0.5]))


def test_the_separation_of_sign_halves_has_its_closed_forms():
    for weights, expected in ((gauss(), 8 / pi), (laplace(), 2.0)):
        assert separation(halves(weights), weights.var()) == pytest.approx(expected, rel=0.02)


@given(st.floats(-5, 5), st.floats(0.1, 5), st.floats(0.1, 3))
def test_equal_balanced_components_are_never_further_apart_than_four(mean, gap, deviation):
    mixture = Mixture(np.array([mean - gap, mean + gap]), np.full(2, deviation), np.full(2, 0.5))
    apart = separation(mixture, gap**2 + deviation**2)  # the variance of the mixture
    assert apart == pytest.approx(4 * gap**2 / (gap**2 + deviation**2)) and apart < 4


@pytest.mark.parametrize(
    ("weights", "sparsity", "expected", "tolerance"),
    [(gauss, 0.0, 0.63, 0.1), (gauss, 0.2, 2.70, 0.02), (gauss, 0.5, 3.48, 0.02), (gauss, 0.75, 3.75, 0.02), (laplace, 0.5, 2.62, 0.02)],
)  # fmt: skip
def test_the_separation_of_what_pruning_leaves(weights, sparsity, expected, tolerance):
    present = weights(sparsity=sparsity)
    present = present[present != 0]
    assert separation(fit_mixture(present), present.var()) == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("weights", [np.zeros(9), np.ones(9), np.array([0.5, 0.0, 2.0]), np.zeros(0)])
def test_weights_of_one_sign_have_no_mixture_and_are_plain(weights):
    assert fit_mixture(weights[weights != 0]) is None
    form = focus(weights, FIVE)
    assert form.masks is None and form.separation == 0
    np.testing.assert_allclose(form.real, weights, rtol=0.34)


@pytest.mark.parametrize("size", [1, 50])
def test_two_weights_alone_are_their_means(size):
    weights = np.tile([-0.75, 0.75], size)
    form = focus(weights, FIVE)
    np.testing.assert_allclose(form.real, weights, rtol=0.34)


# The quantizer


def relative_error(weights, quantized):
    return ((quantized - weights) ** 2).sum() / (weights**2).sum()


def shifted(weights, bits, scale):
    return round_to_shift(weights / scale, 1 << bits) * scale


@pytest.mark.parametrize(("bits", "best", "minimum"), [(1, 0, 0.092), (2, 2, 0.0419), (3, 5, 0.0379)])
def test_the_overflow_rule_takes_the_best_bias_of_a_gaussian(bits, best, minimum):
    weights = gauss()
    errors = {b: relative_error(weights, shifted(weights, bits, 2.0**-b)) for b in range(-2, 9)}
    assert shift_bias(weights, bits) == best == min(errors, key=errors.get)
    assert errors[best] == pytest.approx(minimum, rel=0.01)
    # Read with one bit less, 1 / (2^(bits+1) + 1), the rule would clip 4.6% at 3 bits: 0.0410.
    assert errors[6] == pytest.approx(0.0410, rel=0.01) or bits != 3


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [
        (lambda m: round_to_shift(m, 4), 0.0419),
        (lambda m: np.where(m < 0.5, 0, 2.0 ** np.clip(np.rint(np.log2(m)), 0, 3)), 0.0447),
        (lambda m: np.where(m < 0.5, 0, 2.0 ** np.clip(np.floor(np.log2(m)), 0, 3)), 0.0989),
    ],
    ids=["nearest", "logarithm", "floor"],
)
def test_rounding_to_the_nearest_level_errs_least(rounding, expected):
    weights = np.abs(gauss())
    error = min(relative_error(weights, rounding(weights * 2.0**b) * 2.0**-b) for b in range(5))
    assert error == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    ("weights", "sparsity", "expected"),
    [(gauss, 0.5, 0.0372), (gauss, 0.75, 0.0341), (laplace, 0.75, 0.0363)],
)
def test_plain_shift_at_its_best_scale_errs_as_published(weights, sparsity, expected):
    present = weights(sparsity=sparsity)
    scales = 2.0 ** np.arange(-8, -2, 0.05)
    assert min(relative_error(present, shifted(present, 3, s)) for s in scales) == pytest.approx(
        expected, rel=0.01
    )
    assert relative_error(present, focus(present, FIVE, threshold=9).real) < 1.25 * expected


@pytest.mark.parametrize(("sparsity", "expected"), [(0.5, 0.0075), (0.75, 0.0040)])
def test_means_take_most_of_the_error_of_sparse_layers(sparsity, expected):
    present = gauss(sparsity=sparsity)
    form = focus(present, FIVE)
    assert relative_error(present, form.real) == pytest.approx(expected, rel=0.05)
    assert form.means == (-form.means[1], form.means[1]) and form.means[1].bit_count() == 1


def test_sampled_components_err_more_where_they_overlap_and_as_little_where_they_do_not():
    dense, sparse = gauss(), gauss(sparsity=0.75)
    for weights, low, high in ((dense, 1.2, 1.8), (sparse, 0.99, 1.01)):
        errors = [
            relative_error(weights, focus(weights, FIVE, threshold=0, components=kind, seed=3).real)
            for kind in ("map", "sampled")
        ]
        assert low < errors[1] / errors[0] < high
    one, same, other = (focus(dense, FIVE, threshold=0, components="sampled", seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(one.masks, same.masks)
    assert (one.masks != other.masks).any()
    mixture = fit_mixture(dense)
    drawn = responsibilities(dense, mixture)[1].mean()
    assert one.masks[1].mean() == pytest.approx(drawn, abs=0.005)


@given(st.integers(4, 7), st.floats(0, 0.9), st.integers(0, 2**32), st.floats(1e-6, 1e6))
def test_zeros_stay_zero_and_the_representation_follows_the_separation(bits, sparsity, seed, scale):
    weights = pruned(np.random.default_rng(seed).normal(size=500), sparsity) * scale
    form = focus(weights, Focused(bits))
    assert (form.masks is not None) == (form.separation >= 2)
    assert not form.real[weights == 0].any()
    if form.masks is not None:
        np.testing.assert_array_equal(form.masks.sum(axis=0), weights != 0)
    Focused(bits).encode(form.values, form.masks)


def test_the_scale_follows_the_weights():
    weights = gauss(2000, 0.5)
    one, other = (focus(weights * factor, FIVE) for factor in (1.0, 0.125))
    np.testing.assert_array_equal(one.integers, other.integers)
    assert one.scale == 8 * other.scale


def test_a_mean_below_a_step_is_the_one_that_weights_are_centred_on():
    # Components with means of half a step and of two: rounding to their alphabet cannot be worse than to any other level.
    weights = np.random.default_rng(2).normal(size=(8, 1, 3, 3)) - 0.5
    form = focus(weights, Focused(4), threshold=0)
    assert form.means is not None and form.masks is not None and min(map(abs, form.means)) < 1
    levels = np.concatenate([[0], 2 ** np.arange(form.exponents)])
    for mean, mask in zip(form.means, form.masks, strict=True):
        reachable = (mean + np.concatenate([levels, -levels])) * form.scale
        least = np.abs(weights[..., None] - reachable).min(axis=-1)
        np.testing.assert_allclose(np.abs(form.real - weights)[mask == 1], least[mask == 1], atol=1e-12)


def test_a_channel_whose_factor_is_zero_computes_zero():
    weight, gain = np.random.default_rng(5).normal(size=(3, 2, 3, 3)), np.array([0.5, 0.0, -2.0])
    integers = focused_weight(weight, gain, FIVE, DEFAULT)
    assert not integers.real[1].any() and integers.real[2].any()
    assert not integers.values[1].any() and not integers.means[:, 1].any()


# Networks


@pytest.fixture(scope="module")
def sparse():
    """The digits network with half of its weights pruned, in 5 bits."""
    images = load_split("digits", "calibration").images
    return quantize(prune(load_model("digits"), 0.5, scope="layer"), "f5a8/int32", images)


def test_a_focused_layer_computes_what_its_dequantized_weights_do():
    rng = np.random.default_rng(5)
    item = networks.every_kind(4, Int(32)).layers[0]
    weight, gain = prune_array(rng.normal(size=item.weight.shape)), np.array([0.5, -2.0, 1.0, 0.25])
    integers = focused_weight(weight, gain, FIVE, DEFAULT)
    assert integers.masks is not None
    np.testing.assert_allclose(integers.real, focus(weight, FIVE).real * gain[:, None, None, None], rtol=1e-6)
    multiplier = np.full(4, 3)
    focused = replace(
        item,
        weight=integers.values,
        multiplier=multiplier,
        masks=integers.masks,
        mask_multiplier=integers.means * multiplier,
    )
    whole = np.rint(integers.real / integers.scale[:, None, None, None]).astype(np.int64)
    inputs = (rng.integers(-128, 128, (3, 2, 6, 6)),)
    rounding = networks.every_kind().rounding
    np.testing.assert_array_equal(
        compute_layer(focused, inputs, rounding)[0],
        compute_layer(replace(item, weight=whole, multiplier=multiplier), inputs, rounding)[0],
    )


def prune_array(weights):
    return np.where(np.abs(weights) < np.median(np.abs(weights)), 0.0, weights)


@pytest.mark.parametrize("mac", ["mac", "focused_mac"])
def test_the_circuits_of_a_sparse_network_compute_what_the_arithmetic_does(sparse, mac):
    sparse = replace(sparse, layers=sparse.layers[:2])
    split = load_split("digits", "test")
    circuits = Circuits(sparse, mac=mac)
    result = measure_accuracy(
        sparse, split.images[:20], split.labels[:20], compute=circuits.compute, against=compute_layer
    )
    assert result.difference is None


def test_a_sparse_network_reads_back_from_both_files(sparse, tmp_path):
    save(sparse, tmp_path / "net.safetensors")
    loaded, coded = load(tmp_path / "net.safetensors"), decompress(compress(sparse))
    for item, other in zip(sparse.layers, loaded.layers, strict=True):
        for field in ("weight", "masks", "mask_multiplier", "multiplier", "bias"):
            np.testing.assert_equal(getattr(other, field), getattr(item, field))
            if item.weight is not None:
                np.testing.assert_equal(getattr(coded[item.layer.name], field), getattr(item, field))
    # Less than the packed symbols, 5 bits each, although the Huffman tables are in it.
    assert layer_bytes(sparse)["conv"] < 5 * 3 * 3 * 16 * 32 / 8 + 32 * (16 + 48 + 6 + 2 * 32) / 8


def test_the_nearer_the_weights_the_nearer_the_network(sparse):
    images = load_split("digits", "calibration").images
    float_like = quantize(prune(load_model("digits"), 0.5, scope="layer"), "w8a8/int32", images)
    plain = quantize(
        prune(load_model("digits"), 0.5, scope="layer"),
        "f5a8/int32",
        images,
        settings=Settings(separation=9.0),
    )
    shown = load_split("digits", "test").images
    answers = [run(network, shown).argmax(axis=1) for network in (float_like, sparse, plain)]
    assert (answers[1] == answers[0]).mean() > (answers[2] == answers[0]).mean() + 0.2
    for item in sparse.layers:
        if item.weight is not None:
            assert item.masks is not None
            mac = parts(item, sparse.formats(), sparse.rounding)["mac"]
            assert mac == ShiftMac(PowerOfTwo(4), item.bits.activation, Int(32))
    assert all(item.masks is None for item in plain.layers)


def test_the_focused_mac_takes_the_place_of_three_circuits(sparse):
    for item in sparse.layers:
        if item.weight is not None:
            found = parts(item, sparse.formats(), sparse.rounding, "focused_mac")
            apart = parts(item, sparse.formats(), sparse.rounding)
            one = apart["input_sum"].accumulator
            assert list(found) == ["mac", "requantize_sums"] and list(apart) == [
                "mac",
                "input_sum",
                "requantize_sums",
            ]
            assert found["mac"] == FocusedMac(FIVE, item.bits.activation, Int(32), input_sum=one)
            assert found["requantize_sums"] == apart["requantize_sums"]
    conv = networks.every_kind().layers[0]
    assert isinstance(parts(conv, {"input": Int(8)}, sparse.rounding, "focused_mac")["mac"], Mac)


def first_layer(network, images):
    """The first layer with weights, its inputs and its output."""
    found = []
    run(network, images, lambda item, x, y, _: found.append((item, x, y)))
    return next(one for one in found if one[0].weight is not None)


def test_the_focused_mac_s_three_sums_are_replayed_as_one_circuit(sparse):
    images = load_split("digits", "test").images[:3]
    found = replay(sparse, images, outputs=3, simulators=["pyrtl"], mac="focused_mac")
    layers = {item.layer.name: item for item in sparse.layers}
    assert [one.difference for one in found] == [None] * len(found)
    for one in found:
        if layers[one.layer].weight is not None:
            assert one.cycles == 3 * (layers[one.layer].layer.products + 1)  # not thrice the products
    item, inputs, output = first_layer(sparse, images)
    places = sample(output, None, 2, np.random.default_rng(0))
    circuits = parts(item, sparse.formats(), sparse.rounding, "focused_mac")
    one, _ = runs(item, circuits, inputs, output, places, SIMULATORS["pyrtl"])
    symbols = FIVE.encode(item.weight, item.masks)[places[:, 1]].reshape(len(places), -1)
    np.testing.assert_array_equal(one.streams["weight"], symbols.T, strict=True)


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="needs Icarus Verilog (iverilog)")
@pytest.mark.parametrize("dataflow", ["output", "weight"])
def test_the_energy_of_a_focused_layer_is_that_of_its_one_circuit(sparse, dataflow, tmp_path):
    """Every net changes as often as in event-driven simulation of the mapped netlist on the layer's own symbols."""
    cells, images = technology("open45"), load_split("digits", "test").images[:2]
    accelerator = Accelerator(Array(dataflow=dataflow))
    model = EnergyModel(cells, accelerator, mac="focused_mac", cycles=100)
    short = replace(sparse, layers=sparse.layers[:1])
    (energy,) = layer_energies(short, images, model, compare=False)
    item, inputs, output = first_layer(short, images)
    circuits = parts(item, sparse.formats(), sparse.rounding, "focused_mac")
    assert [part.part for part in energy.parts] == ["mac", "requantize_sums"]
    assert energy.parts[0].one.circuit == describe(circuits["mac"])
    assert energy.parts[0].operations == item.layer.macs + item.layer.outputs * (dataflow == "output")
    trace = layer_traces(item, circuits, inputs, output, dataflow=dataflow, cycles=100)["mac"]
    netlist = mapped_netlist(circuits["mac"], cells)
    counted = activity(netlist, cells, trace.inputs, circuits["mac"].registers)
    theirs = icarus_changes(netlist, cells, trace.inputs, circuits["mac"].registers, tmp_path)
    total = sum(theirs.values())
    assert total > 5_000
    assert sum(counted.changes.values()) == pytest.approx(total, rel=2e-3)
    # What the layer's energy is made of: the changes above, at half of capacitance times voltage squared and inside.
    load = loads(netlist, cells, circuits["mac"].registers)
    inside = {cell.output: cells.cell[cell.cell].energy for cell in netlist.instances}
    registers = {net for name in circuits["mac"].registers for net in netlist.inputs[name]}
    fj = {net: 0.5 * load.get(net, 0.0) * cells.voltage**2 + inside.get(net, 0.0) for net in theirs}
    fj |= {net: fj[net] + cells.flip_flop.energy for net in registers}
    dynamic = sum(theirs[net] * fj[net] for net in theirs) / 100
    one = energy.parts[0].one.operation
    assert one.switching + one.glitches + one.flip_flops == pytest.approx(dynamic, rel=2e-3)


def test_settings_of_focused_weights_are_read_written_and_refused():
    assert "components" not in str(DEFAULT) and "separation" not in str(DEFAULT)
    text = str(Settings.parse("components=sampled separation=2.5"))
    assert text.endswith("components=sampled separation=2.5") and Settings.parse(text).separation == 2.5
    for wrong, sentence in (
        ("components=soft", "known: map, sampled"),
        ("separation=-1", "at least 0, not -1.0"),
    ):
        with pytest.raises(HwsimError, match=sentence):
            Settings.parse(wrong)
