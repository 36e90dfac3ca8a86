"""``--json`` of every command: one object on stdout and nothing else, or one sentence on stderr and nothing on stdout."""

import json
import sys
from dataclasses import replace

import pytest

import tiny
from hwsim import cli
from hwsim.reproduce import PAPERS

NETWORK, IMAGES = "net.safetensors", "images.npz"
FLOAT = ("net.py:net", "--calibration", IMAGES)
CASES = {
    "list": ([], ["modells"]),
    "quantize": ([*FLOAT, "-o", "new.safetensors"], [*FLOAT, "--bits", "w9a8", "-o", "new.safetensors"]),
    "fine-tune": (
        [*FLOAT, "--data", IMAGES, "--epochs", "1", "-o", "tuned.safetensors"],
        [*FLOAT, "--data", "none.npz", "-o", "tuned.safetensors"],
    ),
    "simulate": (
        [NETWORK, "--data", IMAGES, "--backend", "arithmetic", "--verify", "0"],
        [NETWORK, "--data", "none.npz"],
    ),
    "certify": ([NETWORK], ["none.safetensors"]),
    "check": (["max_pool"], ["max_pol"]),
    "cost": (["constant_dot", "--set", "weights=3,-1", "--activation", "uint2"], ["mac", "--weight", "int4"]),
    "characterise": (
        ["--family", "half_add", "--technology", "gates", "--mapping", "balanced", "-o", "t.jsonl.gz"],
        ["--technology", "none.lib", "-o", "t.jsonl.gz"],
    ),
    "traffic": ([NETWORK], [NETWORK, "--buffer", "1"]),
    "energy": ([NETWORK, "--data", IMAGES, "--cycles", "40"], [NETWORK, "--data", IMAGES, "--array", "0x4"]),
    "compress": ([NETWORK, "-o", "new.hwz"], [NETWORK, "-o", "new.hwz", "--codec", "zip"]),
    "decompress": (["net.hwz", "-o", "back.safetensors"], [NETWORK, "-o", "back.safetensors"]),
    "sensitivity": (["study.toml"], ["none.toml"]),
    "explore": (["study.toml", "-o", "out"], ["none.toml", "-o", "nothing"]),
    "explore --dry-run": (["study.toml"], ["net.py"]),
    "report": (["out"], ["."]),
    "diff": (["out", "out"], ["out", "."]),
    "export": ([NETWORK, "--data", IMAGES, "-o", "bundle"], ["out", "none", "-o", "nothing"]),
    "reproduce": (
        ["bag-of-tricks", "--network", "digits", "--images", "20", "-o", "table"],
        ["aciqq", "-o", "nothing"],
    ),
    "teach": ([], ["out", "-o", "nothing.html"]),
}
"""Of each command, arguments that it answers and arguments that it refuses."""

TABLE = PAPERS["bag-of-tricks"]
SHORT = replace(TABLE, setups=TABLE.setups[:1], claims=())


@pytest.fixture(scope="module")
def folder(tmp_path_factory, synthesis_cache):
    """What the commands read: a network of integers, packed too, and an explored study."""
    folder = tiny.write(tmp_path_factory.mktemp("json"))
    study = tiny.STUDY.replace("budget = 10", "budget = 2").replace(
        "[space]", "test_images = 1000\n\n[space]"
    )
    (folder / "study.toml").write_text(study)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HWSIM_CACHE", str(synthesis_cache))
        patch.chdir(folder)
        patch.setattr(sys, "dont_write_bytecode", True)
        for arguments in (
            ["quantize", *FLOAT, "-o", NETWORK],
            ["compress", NETWORK, "-o", "net.hwz"],
            ["explore", "study.toml", "-o", "out"],
        ):
            patch.setattr(sys, "argv", ["hwsim", *arguments])
            with pytest.raises(SystemExit, match="0"):
                cli.main()
        yield folder


def command(monkeypatch, capfd, name, arguments):
    """Run a command with --json in this process; return status, stdout and stderr, also what C code writes there."""
    monkeypatch.setattr(sys, "argv", ["hwsim", *name.split(), *arguments, "--json"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code, *capfd.readouterr()


def test_an_exploration_says_how_many_images_it_took(folder, monkeypatch, capfd):
    """A split with fewer than are asked for is taken whole."""
    status, out, err = command(monkeypatch, capfd, "explore", ["study.toml", "-o", "out"])
    assert status == 0, err
    assert "test_images = 1000" in (folder / "study.toml").read_text()
    assert (json.loads(out)["calibration_images"], json.loads(out)["test_images"]) == (8, 40)
    assert "40 images, sha256" in (folder / "out" / "index.html").read_text()


def test_every_command_has_a_case():
    assert {name.split()[0] for name in CASES} == set(cli.COMMANDS)


@pytest.mark.parametrize("name", CASES)
def test_json_is_one_object_in_one_line(folder, monkeypatch, capfd, name):
    monkeypatch.setitem(PAPERS, "bag-of-tricks", SHORT)
    status, out, err = command(monkeypatch, capfd, name, CASES[name][0])
    assert status == 0, err
    assert out.count("\n") == 1 and out.endswith("\n")
    assert type(json.loads(out, parse_constant=pytest.fail)) is dict


@pytest.mark.parametrize("name", CASES)
def test_json_of_what_is_refused_is_one_sentence_on_stderr(folder, monkeypatch, capfd, name):
    status, out, err = command(monkeypatch, capfd, name, CASES[name][1])
    assert (status, out) == (2, "")
    assert err.startswith("hwsim: ") and err.count("\n") == 1 and err.endswith("\n")
    assert "see hwsim --help" not in err, "the command refuses its options, not what they say"
    assert not (folder / "nothing").exists()
