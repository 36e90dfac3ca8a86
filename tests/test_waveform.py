"""Waveforms read back by an independent parser of VCD."""

import json
import re
import signal

import numpy as np
import pytest
from vcdvcd import VCDVCD

import hwsim
import networks
import tiny
from hwsim.errors import HwsimError
from hwsim.formats import Int, Overflow
from hwsim.simulate.waveform import record, vcd
from hwsim.steps.waveform import record_waveform

# Importing vcdvcd lets a broken pipe end the process, as it never ends a Python program otherwise.
signal.signal(signal.SIGPIPE, signal.SIG_IGN)


@pytest.fixture(scope="module")
def network():
    return hwsim.quantize_model("digits", "w6a8/int12")


def signed(values, bits):
    return [v - (v >> bits - 1 << bits) for v in values]


def read(waveform):
    """Every signal's value just before each rising edge from the second on, and just after it, by its name."""
    parsed = VCDVCD(vcd_string=vcd(waveform))
    edges = [time for time, value in parsed["circuit.CLOCK"].tv if value == "1"][1:]
    assert len(edges) == len(waveform.accumulator) and set(np.diff(edges)) <= {10}
    found = {}
    for name in parsed.signals:
        bits = int(parsed[name].size)
        rows = {
            when: [int(parsed[name][edge + d], 2) for edge in edges]
            for when, d in (("before", -1), ("after", 0))
        }
        found[name.partition("[")[0]] = bits, rows
    return found


def test_a_sum_walks_until_it_wraps_as_python_integers_do(network):
    waveform = record_waveform(network)
    assert waveform.overflow.any() and "overflows in cycle" in str(waveform)
    found = read(waveform)
    weights = signed(found["circuit.weight"][1]["before"], 6)
    activations = found["circuit.activation"][1]["before"]
    assert waveform.datapath.activation == Int(8, signed=False)
    register, exact, total = [], [], 0
    for w, a in zip(weights, activations, strict=True):
        total += w * a
        exact.append(total)
        register.append((total + 2048) % 4096 - 2048)
    assert signed(found["circuit.accumulator"][1]["after"], 12) == register
    assert signed(found["reference.exact_sum"][1]["after"], 63) == exact
    assert signed(found["reference.product"][1]["before"], 32) == np.diff(exact, prepend=0).tolist()
    before = [0, *register[:-1]]
    left = [not -2048 <= b + w * a < 2048 for b, w, a in zip(before, weights, activations, strict=True)]
    assert found["reference.overflow"][1]["before"] == list(map(int, left)) and any(left)
    assert found["circuit.RESET"][1]["before"] == [0] * len(register)


def test_the_register_is_unknown_until_the_reset_s_edge(network):
    parsed = VCDVCD(vcd_string=vcd(record_waveform(network)))
    assert parsed["circuit.RESET"].tv[:2] == [(0, "1"), (10, "0")]
    (name,) = (name for name in parsed.signals if name.startswith("circuit.accumulator"))
    assert parsed[name].tv[:2] == [(0, "x"), (5, "0")]


@pytest.mark.parametrize("overflow", Overflow)
@pytest.mark.parametrize("layer", ["conv", "depthwise", "grouped", "scores"])
def test_the_last_accumulator_is_that_of_the_network(layer, overflow):
    """Of every kind of layer with weights, powers of two among them, wrapping and saturating."""
    net = networks.every_kind(overflow=overflow)
    waveform = record(net, networks.images(4), layer=layer)
    total = 0
    for product in waveform.operands["weight"] * waveform.operands["activation"]:
        total += int(product)
        total = (
            max(-8192, min(8191, total)) if overflow is Overflow.SATURATE else (total + 8192) % 16384 - 8192
        )
    assert signed(read(waveform)["circuit.accumulator"][1]["after"], 14)[-1] == total


def test_a_chosen_sum_is_the_one_recorded(network):
    waveform = record_waveform(network, layer="conv", at="20,3,1,2")
    assert (waveform.layer, waveform.place) == ("conv", (20, 3, 1, 2))
    assert len(waveform.accumulator) == 144
    weight = next(item.weight for item in network.layers if item.layer.name == "conv")
    np.testing.assert_array_equal(waveform.operands["weight"], weight[3].ravel())


def test_no_name_of_the_network_is_in_the_file(network):
    text = vcd(record_waveform(network, layer="block2_pointwise"))
    assert "block2" not in text and text.startswith("$comment layer number 7, image 0, channel")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"layer": "block1_add"}, 'no layer "block1_add" has sums of products; those that have: stem, block1_depthwise'),
        ({"at": "0,0,0"}, '"0,0,0" is no place of an output; write image,channel,row,column'),
        ({"at": "0,0,0,-1"}, "is no place of an output"),
        ({"at": "0,16,0,0", "layer": "stem"}, 'has no output at 0,16,0,0; give image,channel,row,column below'),
        ({"at": "697,0,0,0"}, "there is no image 697; the split has 697"),
    ],
)  # fmt: skip
def test_a_sum_that_is_not_there_is_refused_in_one_sentence(network, options, sentence):
    with pytest.raises(HwsimError) as error:
        record_waveform(network, **options)
    assert sentence in str(error.value) and "\n" not in str(error.value)


def test_the_command_writes_the_file_beside_the_simulation(network, tmp_path):
    hwsim.save(network, tmp_path / "net.safetensors")
    simulate = ("simulate", "net.safetensors", "--images", "8", "--backend", "arithmetic", "--json")
    done = tiny.hwsim(*simulate, "--vcd", "sum.vcd", cwd=tmp_path)
    told = json.loads(done.stdout)
    assert told["vcd"] == "sum.vcd" and re.match(
        "stem, image 0, channel .* overflows in cycle", told["waveform"]
    )
    assert (tmp_path / "sum.vcd").read_text() == vcd(record_waveform(network))
    done = tiny.hwsim(*simulate, "--layer", "stem", cwd=tmp_path)
    assert done.returncode == 2 and "name its file with --vcd" in done.stderr
