"""Fine-tuning as a person uses it: the command, the function, the float network's file, what is refused."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy

import hwsim
import tiny
from hwsim.errors import HwsimError
from hwsim.models.checkpoint import load_checkpoint, to_bytes
from hwsim.network import load
from hwsim.network import to_bytes as integer_bytes


@pytest.fixture
def folder(tmp_path):
    """A network of two layers and its images."""
    return tiny.write(tmp_path)


COMMAND = ("fine-tune", "net.py:net", "-o", "out/net.safetensors", "--calibration", "images.npz")


def test_the_command_writes_integers_bits_and_a_float_network_that_quantize_takes(folder):
    done = tiny.hwsim(
        *COMMAND, "--data", "images.npz", "--epochs", 2, "--sparsity", 0.25, "--float-epochs", 1, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        "net.bits.toml",
        "net.float.safetensors",
        "net.safetensors",
    ]
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "stage",
        "pruned",
        "fine-tuned",
        "PTQ",
        "QAT",
        "wrote",
    ]
    assert "QAT, epoch 2: loss " in done.stderr and "images/s" in done.stderr
    assert "scales=trained" in load(folder / "out" / "net.safetensors").source
    again = tiny.hwsim(
        "quantize",
        "out/net.float.safetensors",
        "--calibration",
        "images.npz",
        "-o",
        "q.safetensors",
        cwd=folder,
    )
    assert again.returncode == 0, again.stderr
    simulated = tiny.hwsim(
        "simulate", "out/net.safetensors", "--data", "images.npz", "--verify", 0, "--json", cwd=folder
    )
    assert json.loads(simulated.stdout)["equal"]


def test_the_command_in_json_says_each_epoch(folder):
    done = tiny.hwsim(*COMMAND, "--data", "images.npz", "--epochs", 2, "--json", cwd=folder)
    facts = json.loads(done.stdout)
    assert [stage["stage"] for stage in facts["stages"]] == ["float", "PTQ", "QAT"]
    assert [epoch["number"] for epoch in facts["stages"][-1]["epochs"]] == [1, 2]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "names no data set; give one for its train split: --data file.npz"),
        (("--data", "images.npz", "--sparsity", "1"), "a sparsity is at least 0 and below 1, not 1.0"),
        (("--data", "images.npz", "--rate", "0"), "a learning rate is above 0, not 0.0"),
        (("--data", "images.npz", "--rate", "nan"), "a learning rate is above 0, not nan"),
        (("--data", "images.npz", "--rate", "1e300"), "choose a learning rate below 1e+300"),
        (("--data", "images.npz", "--epochs", "-1"), "Invalid value for '--epochs'"),
        (
            ("--data", "images.npz", "--bits", "f5a8", "--quantizer", "allocation=exact"),
            "focused weights, which have one width and no sum of all inputs",
        ),
        (("--data", "none.npz"), 'no file "none.npz"'),
        (("--data", "images.npz", "--bits", "w9a4"), "width 9"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence_and_leaves_nothing(folder, options, sentence):
    done = tiny.hwsim(*COMMAND, *options, cwd=folder)
    assert done.returncode == 2
    assert sentence in done.stderr.splitlines()[-1] and done.stderr.splitlines()[-1].startswith("hwsim: ")
    assert "Traceback" not in done.stderr and not done.stdout
    assert not (folder / "out").exists()


def test_a_killed_run_leaves_no_file(folder):
    arguments = [*COMMAND, "--data", "images.npz", "--epochs", "100000"]
    run = subprocess.Popen(
        [sys.executable, "-c", "from hwsim.cli import main; main()", *arguments],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "HWSIM_CACHE": str(folder / "cache")},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stderr is not None
    for line in run.stderr:
        if "epoch 2" in line:
            break
    run.send_signal(signal.SIGINT)
    _, rest = run.communicate(timeout=60)
    assert run.returncode == 130 and rest.splitlines()[-1].startswith(
        "hwsim: interrupted; no file is half-written"
    )
    assert not (folder / "out").exists()


def test_a_float_network_comes_back_from_its_file_and_reads_as_a_state_dict(tmp_path):
    network = hwsim.load_model("digits")
    path = tmp_path / "net.safetensors"
    path.write_bytes(to_bytes(network))
    back = hwsim.load_model(str(path))
    assert back.digest() == network.digest() and back.data == "digits"
    assert to_bytes(back) == path.read_bytes()
    stored = safetensors.numpy.load_file(path)
    np.testing.assert_array_equal(stored["stem.weight"], network.parameters["stem.weight"], strict=True)


def test_files_that_are_no_float_network_are_one_sentence(tmp_path):
    path = tmp_path / "net.safetensors"
    with pytest.raises(HwsimError, match="cannot read the float network"):
        load_checkpoint(path)
    path.write_bytes(integer_bytes(hwsim.quantize_model("digits", "w8a8/int32", images=4)))
    with pytest.raises(HwsimError, match="no float network of hwsim or is damaged"):
        load_checkpoint(path)
    good = to_bytes(hwsim.load_model("digits"))
    rng = np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(good)
        broken[rng.integers(12000)] ^= 1 << rng.integers(8)
        path.write_bytes(broken if rng.random() < 0.8 else good[: rng.integers(len(good))])
        try:
            load_checkpoint(path)
        except HwsimError as error:
            assert "\n" not in str(error)


def test_the_function_returns_the_network_and_its_integers(tmp_path, monkeypatch):
    monkeypatch.setenv("HWSIM_CACHE", str(tmp_path))
    seen = []
    tuned = hwsim.fine_tune_model(
        "digits",
        "w4a4/int16",
        epochs=1,
        sparsity=0.2,
        images=50,
        progress=lambda stage, done, planned, epoch: seen.append((stage, done, planned, epoch.images)),
    )
    assert [stage.name for stage in tuned.stages] == ["float", "pruned", "PTQ", "QAT"]
    assert [round(stage.sparsity, 3) for stage in tuned.stages] == [0.0, 0.2, 0.2, 0.2]
    assert seen[-1] == ("QAT", 900, 900, 900)
    again = hwsim.fine_tune_model("digits", "w4a4/int16", epochs=1, sparsity=0.2, images=50)
    assert integer_bytes(again.integers) == integer_bytes(tuned.integers)
    assert again.stages[-1].epochs == tuned.stages[-1].epochs  # kept, its seconds too
    result = hwsim.simulate_network(tuned.integers, images=50, verify=0)
    assert result.difference is None and result.accuracy.percent > 80
