"""The network file: what is written reads back, and what is damaged is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy

import networks
from hwsim.errors import HwsimError
from hwsim.network import Preprocessing, header, load, look_up, save, to_bytes


@pytest.mark.parametrize("channels", [False, True])
def test_a_saved_network_loads_with_every_field_equal(tmp_path, channels):
    network = networks.every_kind(channels=channels)
    save(network, tmp_path / "net.safetensors")
    loaded = load(tmp_path / "net.safetensors")
    assert to_bytes(loaded) == to_bytes(network)
    for old, new in zip(network.layers, loaded.layers, strict=True):
        assert (old.layer, old.output, old.scale, old.bits) == (new.layer, new.output, new.scale, new.bits)
        for field in ("weight", "multiplier", "bias", "shift", "width", "exponent", "weight_width"):
            if getattr(old, field) is None:
                assert getattr(new, field) is None
            else:
                np.testing.assert_array_equal(getattr(new, field), getattr(old, field), strict=True)


def test_a_file_names_a_dilation_only_where_there_is_one(tmp_path):
    """What earlier versions wrote, whose convolutions have no such field, is what is written and read now."""
    operators = [row["layer"] for row in header(networks.every_kind())["layers"]]
    found = {row["name"]: row.get("dilation") for row in operators if row["operator"] == "convolution"}
    assert found == {"conv": (2, 1), "depthwise": (2, 2), "grouped": None}
    assert all("dilation" not in row for row in operators if row["operator"] != "convolution")


def test_a_mutated_file_is_refused_in_one_sentence_or_loads_valid(tmp_path):
    content = to_bytes(networks.every_kind())
    header = 8 + int.from_bytes(content[:8], "little")
    path = tmp_path / "net.safetensors"
    rng = np.random.default_rng(0)
    refused = 0
    for trial in range(400):
        mutant = bytearray(content)
        place = rng.integers(header if trial % 2 else len(mutant))
        mutant[place] ^= 1 << rng.integers(8)
        if trial % 5 == 0:
            mutant = mutant[: rng.integers(len(mutant))]
        path.write_bytes(mutant)
        try:
            load(path)
        except HwsimError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 150


def rewritten(path, change):
    """Write a network file whose header was changed by ``change(header)``."""
    content = to_bytes(networks.every_kind())
    header = json.loads(
        json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]["hwsim"]
    )
    tensors = safetensors.numpy.load(content)
    change(header, tensors)
    path.write_bytes(safetensors.numpy.save(tensors, metadata={"hwsim": json.dumps(header)}))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda h, t: h.update(version=99), "version is 99"),
        (lambda h, t: h["layers"][1]["layer"].update(name="conv"), 'two layers are named "conv"'),
        (lambda h, t: h["layers"][0]["layer"].update(inputs=["nowhere"]), "missing or of another shape"),
        (lambda h, t: h["layers"][0].update(scale=0), "scale 0"),
        (lambda h, t: h["layers"][0].update(bits=None), "no bits"),
        (lambda h, t: h["layers"][0]["layer"].update(groups=3), "3 groups do not divide"),
        (lambda h, t: t.update({"0.weight": t["0.weight"] * 100}), "do not fit int8"),
        (lambda h, t: t.update({"0.shift": t["0.shift"] + 64}), "do not fit uint6"),
        (lambda h, t: t.pop("0.multiplier"), "multiplier is missing"),
        (lambda h, t: t.update({"0.bias": t["0.bias"][:2]}), "the bias is int64 (2,)"),
        (lambda h, t: h.update(input="uint8"), "do not fit uint8"),
        (lambda h, t: t.update({"0.weight_width": np.full(4, 9)}), "channels wider than its weights, int8"),
        (lambda h, t: t.update({"0.weight_width": np.full(4, 16)}), "do not fit uint4"),
        (lambda h, t: t.update({"0.weight_width": np.full(3, 8)}), "the weight_width is int64 (3,)"),
        (
            lambda h, t: t.update({"0.weight_width": np.array([8, 8, 2, 8])}),
            "channel 2, which do not fit its 2 bits",
        ),
        (
            lambda h, t: t.update({"0.weight_width": np.array([8, 0, 8, 8])}),
            "channel 1, which do not fit its 0 bits",
        ),
        (lambda h, t: t.update({"2.weight_width": np.full(6, 4)}), "channels wider than its weights, pow2x4"),
        (lambda h, t: t.update({"3.weight_width": np.full(4, 4)}), "widths of weights and no weights"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused_with_the_reason(tmp_path, change, says):
    rewritten(tmp_path / "net.safetensors", change)
    with pytest.raises(HwsimError) as refused:
        load(tmp_path / "net.safetensors")
    assert says in str(refused.value)


def test_a_network_without_widths_of_channels_names_none_in_its_file():
    assert b"weight_width" not in to_bytes(networks.every_kind())


def test_the_digest_of_a_network_changes_with_any_weight():
    network = networks.every_kind()
    weight = network.layers[0].weight.copy()
    weight[0, 0, 0, 0] ^= 1
    changed = replace(network, layers=(replace(network.layers[0], weight=weight), *network.layers[1:]))
    assert changed.digest() != network.digest() == networks.every_kind().digest()


def test_a_pixel_table_is_read_by_channel():
    table = np.arange(512).reshape(2, 256)
    images = np.array([[[[3, 250]]]], np.uint8)
    np.testing.assert_array_equal(look_up(table, images), np.array([[[[3]], [[506]]]]), strict=True)


@pytest.mark.parametrize("div", [0.0, -1.0, float("nan"), float("inf")])
def test_preprocessing_that_divides_by_nothing_is_refused(div):
    with pytest.raises(HwsimError, match="div and std above 0"):
        Preprocessing(div, (0.0,), (1.0,))
