"""Quantizers of single layers: in the bit configuration, in integers and tensors, in training, and refused."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hwsim import cli
from hwsim.bits import read_bits
from hwsim.cost.archive import pack_network, unpack_network
from hwsim.data import load_split
from hwsim.errors import HwsimError
from hwsim.layers import Add, Convolution, Flatten, Linear, Relu
from hwsim.models import load_model
from hwsim.models.builder import Builder, parameter_shapes
from hwsim.network import ARRAYS, Preprocessing, load, save, to_bytes
from hwsim.quantize import Settings, calibrate, fold_batch_norm, quantize
from hwsim.quantize.fake_quantize import fake_quantize
from hwsim.simulate.circuits import Circuits
from hwsim.simulate.inference import compute_layer, measure_accuracy, run

BITS = 'default = "w4a4/int16"\n'


@pytest.fixture(scope="module")
def digits():
    network = load_model("digits")
    return network, calibrate(network, load_split("digits", "calibration").images)


def quantized(digits, own="", settings=""):
    network, calibration = digits
    return quantize(network, f"{BITS}[quantizers]\n{own}", calibration, settings=Settings.parse(settings))


def same(ours, theirs):
    """Whether two layers have the same integers, formats and scale."""
    arrays = (
        np.array_equal(getattr(ours, field), getattr(theirs, field))
        if getattr(ours, field) is not None
        else getattr(theirs, field) is None
        for field in ARRAYS
    )
    return all(arrays) and (ours.output, ours.scale, ours.bits) == (theirs.output, theirs.scale, theirs.bits)


# The contract


LAYERS = {"a": True, "b b": False}


def test_the_file_names_quantizers_and_reads_back_equal():
    text = 'default = "w4a8/int16"\n[quantizers]\n"b b" = "weights=mse granularity=tensor"\n'
    bits = read_bits(text, LAYERS)
    assert bits.quantizers == (("b b", "weights=mse granularity=tensor"),)
    assert read_bits(bits.to_toml(), LAYERS) == bits
    assert read_bits(bits.to_toml(), LAYERS).quantizers == bits.quantizers
    assert "quantizers" not in read_bits("w4a8/int16", LAYERS).to_toml()


@pytest.mark.parametrize(
    "text, sentence",
    [
        (
            "quantizers = 3\n",
            'the bit configuration holds "quantizers"; it takes default, a [layers] table and',
        ),
        (
            '[quantizers]\nz = "weights=mse"\n',
            'the bit configuration names layer "z"; the network has a, b b',
        ),
        ("[quantizers]\na = 3\n", 'the quantizer of layer "a" is no text; write "a" = "weights=mse", say'),
    ],
)
def test_a_table_of_another_form_is_refused_in_a_sentence(text, sentence):
    with pytest.raises(HwsimError) as refused:
        read_bits(f'default = "w8a8"\n{text}', LAYERS)
    assert str(refused.value).startswith(sentence)


@pytest.mark.parametrize(
    "own, sentence",
    [
        (
            "placement=half",
            "a layer's quantizer sets no placement, which is the whole network's; leave it out of",
        ),
        (
            "weights=mse elementwise=8",
            "a layer's quantizer sets no elementwise, which is the whole network's",
        ),
        ("edges=8", 'settings "edges=8" are not understood; write each once as name=value: weights=min_max'),
        ("weights=best", 'unknown quantizer "best"; known: min_max'),
        (
            "granularity=tensor allocation=exact",
            "allocation=exact gives channels widths of their own; it needs",
        ),
    ],
)
def test_settings_that_no_layer_has_are_refused_before_calibration(own, sentence):
    network = load_model("digits")
    with pytest.raises(HwsimError) as refused:
        quantize(network, f'{BITS}[quantizers]\nconv = "{own}"', np.zeros((0, 8, 8, 1), np.uint8))
    assert str(refused.value).startswith(f'the quantizer of layer "conv": {sentence}')


def test_settings_of_a_layer_must_agree_with_those_of_the_network(digits):
    with pytest.raises(HwsimError, match=r"bias_correction=mean adds sums of inputs .* placement=half"):
        quantized(digits, 'conv = "bias_correction=mean"', "placement=half")


def test_a_configuration_made_by_hand_names_no_other_layer(digits):
    network, calibration = digits
    bits = read_bits("w4a4/int16", fold_batch_norm(network).signed_inputs())
    with pytest.raises(HwsimError, match='names the quantizer of layer "head"; the network has stem, '):
        quantize(network, replace(bits, quantizers=(("head", "weights=mse"),)), calibration)


# Integers


@pytest.mark.parametrize(
    "how",
    [
        "weights=mse",
        "granularity=tensor",
        "allocation=exact",
        "bias_correction=true",
        "bias_correction=full",
        "weights=percentile percent=99.0",
    ],
)
def test_a_layer_has_the_weights_that_its_quantizer_gives_the_whole_network(digits, how):
    plain, whole, mixed = quantized(digits), quantized(digits, "", how), quantized(digits, f'conv = "{how}"')
    for other, everywhere, item in zip(plain.layers, whole.layers, mixed.layers, strict=True):
        expected = everywhere if item.layer.name == "conv" else other
        assert same(item, expected), item.layer.name
        assert item.quantizer == (how if item.layer.name == "conv" else "")


@pytest.mark.parametrize("how", ["activations=min_max", "activation_granularity=channel"])
def test_a_layer_reads_what_its_quantizer_makes_of_its_input(digits, how):
    """The stem's output is read by the first depthwise convolution and by an addition, whose input follows it."""
    whole, mixed = quantized(digits, "", how), quantized(digits, f'block1_depthwise = "{how}"')
    items = {item.layer.name: item for item in mixed.layers}
    expected = {item.layer.name: item for item in whole.layers}
    plain = {item.layer.name: item for item in quantized(digits).layers}
    assert same(items["stem"], expected["stem"]) and not same(items["stem"], plain["stem"])
    for name in ("conv", "block2_depthwise", "max_pool"):
        assert same(items[name], plain[name])


def test_what_every_layer_names_is_what_the_network_has(digits):
    network, _ = digits
    how = "weights=mse activations=kl bias_correction=true"
    own = "\n".join(f'{name} = "{how}"' for name in fold_batch_norm(network).signed_inputs())
    named = quantized(digits, own, how)
    assert to_bytes(named) == to_bytes(quantized(digits, "", how))  # nothing differs, so nothing is said
    over = quantized(digits, own)
    assert {item.quantizer for item in over.layers if item.bits} == {how}
    for item, expected in zip(over.layers, quantized(digits, "", how).layers, strict=True):
        read = {name for layer in over.layers if layer.bits for name in layer.layer.inputs}
        if item.layer.name in read:
            assert same(item, expected), item.layer.name


def shared() -> Builder:
    """Two convolutions of one tensor."""
    rng = np.random.default_rng(1)
    build = Builder((1, 4, 4))
    build.add("first", Convolution(3, (3, 3), padding=(1, 1, 1, 1)))
    read = build.add("relu", Relu())
    build.add("left", Convolution(2, (1, 1)), read)
    build.add("right", Convolution(2, (1, 1)), read)
    build.add("sum", Add(), "left", "right")
    build.add("flat", Flatten())
    build.add("out", Linear(3))
    for layer in build.layers:
        for key, shape in parameter_shapes(layer).items():
            build.parameters[f"{layer.name}.{key}"] = rng.normal(0, 1, shape)
    return build.network("shared", Preprocessing(255.0, (0.5,), (0.25,)))


IMAGES = np.random.default_rng(2).integers(0, 256, (20, 4, 4, 1), dtype=np.uint8)


@pytest.mark.parametrize(
    "left, right, made_by",
    [("w4a4", "w4a4", "left"), ("w4a4", "w4a6", "right"), ("w4a6", "w4a4", "left")],
)
def test_a_tensor_is_quantized_as_its_widest_reader_asks_and_of_two_the_first(left, right, made_by):
    methods = {"left": "activations=min_max", "right": "activations=aciq_gauss"}
    bits = f'default = "w8a8"\n[layers]\nleft = "{left}"\nright = "{right}"\n'
    own = "".join(f'{name} = "{how}"\n' for name, how in methods.items())

    def items(text, settings=""):
        found = quantize(shared(), text, IMAGES, settings=Settings.parse(settings))
        return {item.layer.name: item for item in found.layers}

    mixed = items(f"{bits}[quantizers]\n{own}")
    alone = {name: items(bits, how) for name, how in methods.items()}
    assert mixed["first"].scale == alone[made_by]["first"].scale != alone[_other(made_by)]["first"].scale
    rescaled = f"{_other(made_by)}.input"
    assert (rescaled in mixed) == (left != right)
    if rescaled in mixed:
        assert mixed[rescaled].scale == alone[_other(made_by)][rescaled].scale


def _other(name):
    return {"left": "right", "right": "left"}[name]


MIXED = """
stem = "weights=mse bias_correction=full"
block1_depthwise = "activation_granularity=channel activation_allocation=exact"
conv = "allocation=exact activations=kl tolerance=2"
classifier = "granularity=tensor bias_correction=true"
"""


@pytest.fixture(scope="module")
def mixed(digits):
    return quantized(digits, MIXED)


def test_circuits_are_the_arithmetic_at_every_tensor(mixed):
    test = load_split("digits", "test").part(slice(40))
    computed = Circuits(mixed, threads=1).compute
    found = measure_accuracy(mixed, test.images, test.labels, compute=computed, against=compute_layer)
    assert found.difference is None and found.percent > 80


def test_the_network_and_its_archive_say_which_quantizers_made_it(mixed, digits, tmp_path):
    save(mixed, tmp_path / "net.safetensors")
    assert load(tmp_path / "net.safetensors").bits == mixed.bits
    assert dict(mixed.bits.quantizers)["conv"] == "activations=kl tolerance=2.0 allocation=exact"
    assert to_bytes(unpack_network(pack_network(mixed)[0])) == to_bytes(mixed)


def test_the_command_honours_the_file_and_writes_it_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    own = 'stem = "weights=mse bias_correction=full"\nconv = "activations=kl"\n'
    Path("given.bits.toml").write_text(f"{BITS}[quantizers]\n{own}")
    for bits, output in (("given.bits.toml", "first"), ("first.bits.toml", "second")):
        command = [
            "hwsim",
            "quantize",
            "digits",
            "--bits",
            bits,
            "--images",
            "20",
            "-o",
            f"{output}.safetensors",
        ]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code == 0
        assert "  int4*uint4/int16  weights=mse bias_correction=full\n" in capsys.readouterr().out
    assert load(Path("first.safetensors")).digest() == load(Path("second.safetensors")).digest()


def test_the_form_that_is_trained_has_the_values_of_the_integers(digits, mixed):
    network, calibration = digits
    images = load_split("digits", "test").images
    bits = read_bits(f"{BITS}[quantizers]\n{MIXED}", fold_batch_norm(network).signed_inputs())
    form = fake_quantize(network, bits, calibration, Settings())
    with torch.inference_mode():
        parameters = {name: torch.tensor(array) for name, array in network.parameters.items()}
        fake = form.forward(parameters, torch.from_numpy(images)).numpy()
    exact = run(mixed, images).reshape(len(images), -1)
    assert (fake.argmax(1) != exact.argmax(1)).sum() <= 3
    assert np.mean(np.abs(fake / mixed.layers[-1].scale - exact) < 0.5) > 0.5
