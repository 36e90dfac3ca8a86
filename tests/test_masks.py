"""Layers that add sums of some of their inputs: by hand, on circuits, in other simulators, in files, at a price."""

from dataclasses import replace
from math import floor

import numpy as np
import pytest

import networks
from hwsim.cost.compression import compress, decompress
from hwsim.cost.hardware import Hardware, operations
from hwsim.cost.traffic import Memory, traffic
from hwsim.datapath.input_sum import InputSum, sum_format
from hwsim.datapath.requantize_sums import RequantizeSums
from hwsim.errors import HwsimError
from hwsim.formats import Int, Overflow, Rounding
from hwsim.network import load, save, to_bytes
from hwsim.simulate import replay as replay_module
from hwsim.simulate.circuits import Circuits
from hwsim.simulate.inference import compute_layer, measure_accuracy, run
from hwsim.simulate.replay import replay

WIDE = Int(32)


def items_of(network):
    return {item.layer.name: item for item in network.layers}


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("layer", ["conv", "depthwise", "grouped"])
def test_a_layer_adds_its_masked_sums_before_the_one_rounding(layer, shared):
    network = networks.masked(networks.every_kind(2, WIDE), count=2, shared=shared)
    seen = {}
    run(
        network,
        networks.images(2),
        lambda item, inputs, output, _: seen.update({item.layer.name: (inputs[0], output)}),
    )
    x, output = seen[layer]
    item = items_of(network)[layer]
    operator, form = item.layer.operator, item.output
    top, left, bottom, right = operator.padding
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    rng = np.random.default_rng(0)
    for image, channel, row, column in rng.integers(0, output.shape, (20, 4)).tolist():
        inputs, height, width = item.weight.shape[1:]
        first = channel // (output.shape[1] // operator.groups) * inputs
        r, c = row * operator.stride[0], column * operator.stride[1]
        down, along = operator.dilation
        window = x[image, first : first + inputs, r : r + height * down : down, c : c + width * along : along]
        exact = int((window * item.weight[channel]).sum()) * int(item.multiplier[channel]) + int(
            item.bias[channel]
        )
        for masks, constants in zip(item.masks, item.mask_multiplier, strict=True):
            exact += int((window * masks[0 if shared else channel]).sum()) * int(constants[channel])
        shift = int(item.shift[channel])
        rounded = floor((exact + (1 << shift - 1)) / (1 << shift)) if abs(exact) < 1 << 52 else None
        assert output[image, channel, row, column] == min(max(rounded, form.minimum), form.maximum)


def test_a_mask_of_zeros_or_a_multiplier_of_zero_changes_nothing():
    network = networks.every_kind(3)
    images = networks.images(3)
    masked = networks.masked(network)
    for field in ("masks", "mask_multiplier"):
        silent = [
            item if item.masks is None else replace(item, **{field: np.zeros_like(getattr(item, field))})
            for item in masked.layers
        ]
        np.testing.assert_array_equal(
            run(replace(masked, layers=tuple(silent)), images), run(network, images)
        )


def test_ones_in_the_weights_are_a_mask_with_the_multiplier_of_the_weights():
    network = networks.every_kind(5, WIDE)
    conv, *rest = network.layers
    ones = (conv.weight > 60).astype(np.int64)[None]
    split = replace(conv, weight=conv.weight - ones[0], masks=ones, mask_multiplier=conv.multiplier[None])
    images = networks.images(3)
    np.testing.assert_array_equal(
        run(replace(network, layers=(split, *rest)), images), run(network, images), strict=True
    )


@pytest.mark.parametrize(("count", "shared", "gates"), [(1, True, False), (2, False, True)])
def test_the_circuits_compute_what_the_arithmetic_does(count, shared, gates):
    network = networks.masked(
        networks.every_kind(4, Int(12), Overflow.SATURATE, channels=gates), count, shared
    )
    circuits = Circuits(network, gates=gates)
    images, labels = networks.images(4), np.zeros(4, np.int64)
    result = measure_accuracy(network, images, labels, compute=circuits.compute, against=compute_layer)
    assert result.difference is None
    assert any(step.startswith("proved") for step in circuits.steps.values()) is not gates


@pytest.mark.parametrize(("rounding", "shared"), [(Rounding.FLOOR, True), (Rounding.HALF_EVEN, False)])
def test_a_sample_agrees_in_the_simulator_of_pyrtl(rounding, shared):
    network = replace(networks.masked(networks.every_kind(6, channels=shared), 2, shared), rounding=rounding)
    replays = {row.layer: row for row in replay(network, networks.images(3), outputs=6)}
    assert all(row.difference is None for row in replays.values())
    assert replays["conv"].cycles == 6 * (18 + 2 * 18 + 1 + shared)


@pytest.mark.parametrize("part", ["input_sum", "requantize_sums"])
def test_a_masked_sum_that_differs_is_found_and_named(monkeypatch, part):
    network = networks.masked(networks.every_kind(3))
    network = replace(network, layers=network.layers[:1])
    honest = replay_module._streams

    def off_by_one(item, part_name, *rest):
        streams, expected = honest(item, part_name, *rest)
        expected = expected.copy()
        expected[-1] += part_name == part
        return streams, expected

    monkeypatch.setattr(replay_module, "_streams", off_by_one)
    (found,) = (row.difference for row in replay(network, networks.images(4), outputs=3))
    assert (found.layer, found.part, found.arithmetic - found.circuit) == ("conv", part, 1)


@pytest.mark.parametrize("activation", [Int(8), Int(8, signed=False), Int(2, signed=False)], ids=str)
@pytest.mark.parametrize("count", [1, 9, 576, 4608])
def test_the_accumulator_of_a_masked_sum_holds_every_sum_and_one_bit_less_does_not(activation, count):
    form = sum_format(activation, count)
    ends = count * activation.minimum, count * activation.maximum
    form.encode(np.array(ends))
    with pytest.raises(HwsimError):
        Int(form.bits - 1).encode(np.array(ends))


def test_a_network_with_masks_reads_back_and_one_without_says_nothing_of_them(tmp_path):
    for shared in (False, True):
        network = networks.masked(networks.every_kind(), shared=shared)
        save(network, tmp_path / "net.safetensors")
        loaded = load(tmp_path / "net.safetensors")
        for old, new in zip(network.layers, loaded.layers, strict=True):
            for field in ("masks", "mask_multiplier"):
                np.testing.assert_equal(getattr(new, field), getattr(old, field))
    assert b"mask" not in to_bytes(networks.every_kind())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"masks": None}, "mask_multiplier is not wanted"),
        ({"mask_multiplier": None}, "mask_multiplier is missing"),
        ({"masks": np.full((2, 4, 2, 3, 3), 2)}, "do not fit uint1"),
        ({"masks": np.ones((2, 3, 2, 3, 3), np.int64)}, r"the masks is int64 \(2, 3, 2, 3, 3\)"),
        (
            {"masks": np.zeros((0, 1, 2, 3, 3), np.int64), "mask_multiplier": np.zeros((0, 4), np.int64)},
            "the masks is",
        ),
        ({"mask_multiplier": np.full((2, 4), 1 << 31)}, "do not fit int32"),
        (
            {
                "masks": np.ones((1 << 18, 1, 2, 3, 3), np.int64),
                "mask_multiplier": np.ones((1 << 18, 4), np.int64),
            },
            "too many",
        ),
    ],
)
def test_masks_that_contradict_their_layer_are_refused(tmp_path, change, sentence):
    network = networks.masked(networks.every_kind())
    first, *rest = network.layers
    save(replace(network, layers=(replace(first, **change), *rest)), tmp_path / "net.safetensors")
    with pytest.raises(HwsimError, match=sentence):
        load(tmp_path / "net.safetensors")


@pytest.mark.parametrize("shared", [False, True])
def test_masks_come_back_from_the_compressed_file(shared):
    network = networks.masked(networks.every_kind(channels=shared), shared=shared)
    back = decompress(compress(network))
    for item in network.layers:
        if item.masks is not None:
            for field in ("weight", "bias", "masks", "mask_multiplier"):
                np.testing.assert_array_equal(
                    getattr(back[item.layer.name], field), getattr(item, field), strict=True
                )


def test_a_layer_pays_for_its_masks_circuits_and_cycles():
    plain = networks.every_kind()
    for shared, sums in ((False, 144), (True, 36)):
        network = networks.masked(plain, shared=shared)
        item = items_of(network)["conv"]
        found = Hardware().datapaths(network, item)
        assert found["input_sum"] == InputSum(Int(8), Int(13))  # 18 activations down to -128
        assert found["requantize_sums"] == RequantizeSums(
            Int(14), Int(13), 2, Int(8, signed=False), sum_multiplier=Int(24)
        )
        # 6x6 positions, 18 products and a reset each, two masks; a shared one has a sum for all 4 outputs.
        assert operations(item, "input_sum") == 2 * sums * 19
        memory = Memory(burst_bits=8)
        before, after = (traffic(n, memory)[0].weight_bytes for n in (plain, network))
        bits = 4 * (18 * (8 + (0 if shared else 2)) + 16 + 48 + 6 + 2 * 32)
        assert after == -(-bits // 8) > before
    circuits = Circuits(networks.masked(plain, shared=True))
    assert circuits.cycles(items_of(networks.masked(plain, shared=True))["conv"]) == 144 * 19 + 2 * 36 * 18


def test_formats_the_circuits_do_not_have_are_refused():
    with pytest.raises(HwsimError, match="accumulator int8 is out of range; give int9"):
        InputSum(Int(8, signed=False), Int(8))
    with pytest.raises(HwsimError, match="at least 1 sum of inputs, not 0"):
        RequantizeSums(Int(16), Int(12), 0, Int(8))
    with pytest.raises(HwsimError, match="takes 64 bits here"):
        RequantizeSums(Int(16), Int(32), 1, Int(8))
