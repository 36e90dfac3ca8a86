"""The command line: what is asked for on stdout and nothing else, on every kind of terminal."""

import html
import json
import os
import pty
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from contextlib import suppress
from importlib.metadata import version

import pytest
from rich.table import Table
from rich.text import Text

import tiny
from hwsim import cli
from hwsim.cli import listing, output

COMMANDS = [
    "list",
    "quantize",
    "fine-tune",
    "simulate",
    "certify",
    "check",
    "cost",
    "characterise",
    "traffic",
    "energy",
    "compress",
    "decompress",
    "sensitivity",
    "explore",
    "report",
    "diff",
    "export",
    "reproduce",
    "teach",
]


@pytest.fixture(scope="module")
def done(tmp_path_factory, synthesis_cache):
    """The commands in their order in one folder, each in a process of its own, with --json."""
    folder = tiny.write(tmp_path_factory.mktemp("cli"))
    own = {"HWSIM_CACHE": str(synthesis_cache), "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}

    def run(*arguments):
        return tiny.hwsim(*arguments, cwd=folder, **own)

    return folder, run


def test_help_lists_the_commands_in_the_order_of_the_work(done):
    _, run = done
    for arguments in ([], ["--help"]):
        shown = run(*arguments)
        assert (shown.returncode, shown.stderr) == (0, "")
        listed = shown.stdout.partition("Commands:\n")[2].split("\n")
        assert [line.split()[0] for line in listed if line.strip()] == COMMANDS


def test_the_version_is_that_of_the_package_and_the_package_runs_as_a_module():
    shown = subprocess.run([sys.executable, "-m", "hwsim", "--version"], capture_output=True, text=True)
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, f"hwsim {version('hwsim')}\n", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(monkeypatch, capsys, command):
    out = in_process(monkeypatch, capsys, command, "--help")
    assert f"Usage: hwsim {command}" in out or f" {command} " in out
    assert "\n  " in out


def in_process(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["hwsim", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    out, err = capsys.readouterr()
    assert (end.value.code, err) == (0, "")
    return out


@pytest.mark.parametrize("kind", listing.KINDS)
def test_a_catalogue_lists_each_entry_with_one_line(monkeypatch, capsys, kind):
    entries = json.loads(in_process(monkeypatch, capsys, "list", kind, "--json"))[kind]
    assert entries
    assert all(line.strip() and "\n" not in line for line in entries.values())
    text = in_process(monkeypatch, capsys, "list", kind)
    assert [line.split()[0] for line in text.splitlines()] == [kind, *entries]


def test_the_list_holds_every_catalogue(monkeypatch, capsys):
    assert list(json.loads(in_process(monkeypatch, capsys, "list", "--json"))) == list(listing.KINDS)


def test_every_json_command_prints_one_value_and_nothing_else(done):
    folder, run = done
    quantize = [
        "quantize",
        "net.py:net",
        "--bits",
        "w4a4/int12",
        "--calibration",
        "images.npz",
        "-o",
        "net.safetensors",
    ]
    values = {}
    for arguments in (
        ["list"],
        quantize,
        ["simulate", "net.safetensors", "--data", "images.npz"],
        ["certify", "net.safetensors"],
        ["energy", "net.safetensors", "--data", "images.npz", "--cycles", "40"],
        ["compress", "net.safetensors", "-o", "net.hwz", "--codec", "best"],
        ["decompress", "net.hwz", "-o", "back.safetensors"],
        ["check", "max_pool"],
        ["cost", "mac", "--weight", "int2", "--activation", "uint2", "--accumulator", "int8"],
        ["explore", "study.toml", "-o", "out"],
    ):
        shown = run(*arguments, "--json")
        assert shown.returncode == 0, shown.stderr
        assert shown.stdout.count("\n") == 1
        values[arguments[0]] = json.loads(shown.stdout)
        assert shown.stderr.isascii()
        assert all(re.fullmatch(r"[a-z, ]+: \d+ of \d+", line) for line in shown.stderr.splitlines())
    assert values["quantize"]["layers"] == {"conv": "int4*int4/int12", "out": "int4*uint4/int12"}
    assert values["simulate"]["images"] == 40
    assert values["simulate"]["equal"] is True
    assert ": all agree\n" in run("simulate", "net.safetensors", "--data", "images.npz").stdout
    assert all(check["counterexample"] is None for check in values["check"]["circuits"])
    cost = values["cost"]
    assert {"nand2_equivalents", "flip_flops", "area_um2", "critical_path_ps", "equivalent", "tool"} <= set(
        cost
    )
    assert (cost["flip_flops"], cost["equivalent"]) == (8, True)
    assert (values["explore"]["evaluated"], values["explore"]["reused"]) == (10, 0)

    assert values["compress"]["bytes"] == (folder / "net.hwz").stat().st_size
    assert (folder / "back.safetensors").read_bytes() == (folder / "net.safetensors").read_bytes()

    bits = (folder / "net.bits.toml").read_text()
    again = run(*quantize[:2], "--bits", "net.bits.toml", *quantize[4:-1], "again.safetensors")
    assert again.returncode == 0
    assert bits in (folder / "again.bits.toml").read_text()
    assert (folder / "again.safetensors").read_bytes() == (folder / "net.safetensors").read_bytes()


@pytest.fixture(scope="module")
def explored(done):
    """The folder with an exploration in it."""
    _, run = done
    shown = run("explore", "study.toml", "-o", "out")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.isascii()
    return done


def test_a_report_is_redrawn_to_the_same_bytes(explored):
    folder, run = explored
    drawn = {
        p: p.read_bytes()
        for p in (folder / "out").rglob("*")
        if p.suffix in (".html", ".csv", ".svg", ".png")
    }
    for path in drawn:
        path.unlink()
    shown = run("report", "out")
    assert (shown.returncode, shown.stderr, shown.stdout) == (0, "", "report: out/index.html\n")
    assert {path: path.read_bytes() for path in drawn} == drawn


def test_pages_say_with_which_versions_tools_seed_model_images_and_commands_they_were_made(explored):
    folder, run = explored
    shown = run("report", "out", "out", "-o", "both")
    assert shown.returncode == 0, shown.stderr
    stamp = json.loads((folder / "out" / "results.json").read_text())["facts"]["stamp"]
    for package in ("hwsim", "pyrtl", "numpy", "torch"):
        assert stamp[package] == version(package).partition("+")[0]
    assert {"pyosys", "synthesis"} & set(stamp)
    assert re.fullmatch(r"[0-9a-f]{64}", stamp["model sha256"])
    assert re.fullmatch(r"8 images, sha256 [0-9a-f]{64}", stamp["calibration"])
    assert re.fullmatch(r"40 images, sha256 [0-9a-f]{64}", stamp["test"])
    assert stamp["search"].endswith(", seed 3, budget 10")
    for page in ("out", "both"):
        text = html.unescape((folder / page / "index.html").read_text(encoding="utf-8"))
        absent = [f"{what} {which}" for what, which in stamp.items() if what not in text or which not in text]
        assert absent == []
        assert "hwsim explore study.toml -o out" in text


def test_the_commands_that_a_report_gives_rebuild_its_points(explored):
    folder, run = explored
    results = json.loads((folder / "out" / "results.json").read_text())
    commands = list(results["facts"]["rebuild"].values())[1]
    quantize, simulate = (shlex.split(command)[1:] for command in commands.split(" && "))
    assert run(*quantize).returncode == 0
    simulated = json.loads(run(*simulate, "--json").stdout)
    bits = tomllib.loads((folder / quantize[3]).read_text())["layers"]
    evaluated = next(
        e
        for e in results["evaluations"]
        if dict(e["point"]["bits"]) == bits and e["point"]["quantizer"] == quantize[5]
    )
    assert (simulated["correct"], simulated["images"]) == (evaluated["correct"], evaluated["images"])
    sums = {layer["name"]: layer["overflowed"] for layer in evaluated["layers"] if layer["sums"]}
    assert {o["layer"]: o["overflowed"] for o in simulated["overflows"]} == sums


def test_a_narrow_terminal_shows_the_table_without_colour(explored, synthesis_cache):
    folder, _ = explored
    own = {"HWSIM_CACHE": str(synthesis_cache), "COLUMNS": "40", "NO_COLOR": "1"}
    narrow = tiny.hwsim("explore", "study.toml", "-o", "out", cwd=folder, **own)
    assert narrow.returncode == 0, narrow.stderr
    assert "\x1b" not in narrow.stdout + narrow.stderr
    assert max(map(len, narrow.stdout.splitlines()[:6])) <= 40


def test_who_has_no_folder_of_ones_own_hears_no_warning(tmp_path):
    """matplotlib logs one where it can keep no cache."""
    script = "import sys; from hwsim import cli; sys.argv = ['hwsim', 'report', '.']; cli.main()"
    environment = {"PYTHONPATH": tiny.PACKAGE, "HOME": "/proc/none"}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True)
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1, done.stderr.decode()


def test_a_table_is_cut_to_a_terminal_and_whole_elsewhere(monkeypatch, capsys):
    table = Table("design")
    table.add_row(Text("w 4 " * 100, no_wrap=True, overflow="ellipsis"))
    monkeypatch.delenv("COLUMNS", raising=False)
    output.print_table(table)
    assert "w 4 " * 100 in capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "60")
    output.print_table(table)
    shown = capsys.readouterr().out
    assert "w 4 " * 20 not in shown
    assert max(map(len, shown.splitlines())) == 60


def test_what_asks_a_command_to_end_interrupts_it_once_unless_it_is_ignored():
    """As ``timeout`` tells a process and then its group, and ``nohup`` keeps it from hearing of a terminal's end."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        cli._interrupt_at_signals()
        signal.raise_signal(signal.SIGHUP)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


STAGES = [("load", 0, 1), ("load", 1, 1)] + [("evaluate", done, 4) for done in (0, 1, 1, 2, 3, 4, 4)]


def test_progress_of_quick_work_is_silent_where_there_is_no_terminal(capsys):
    with output.live_progress() as show:
        for stage in STAGES:
            show(*stage)
    assert capsys.readouterr().err == ""


def test_progress_of_long_work_is_lines_where_there_is_no_terminal(capsys):
    show = output.progress_lines(seconds=0)
    for stage in STAGES:
        show(*stage)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["load: 0 of 1", "load: 1 of 1", *(f"evaluate: {done} of 4" for done in range(5))]


def test_a_step_that_takes_long_is_told_while_it_runs(monkeypatch):
    ours, theirs = os.pipe()
    with os.fdopen(ours) as said, os.fdopen(theirs, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        with output.repeated(output.progress_lines(seconds=0.05), seconds=0.02) as show:
            show("compile", 0, 2)
            assert select.select([said], [], [], 60)[0], "nothing is told"
            assert said.readline() == "compile: 0 of 2\n"


def test_progress_is_a_bar_on_a_terminal(monkeypatch):
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        with output.live_progress() as show:
            for stage in STAGES:
                show(*stage)
    shown = ""
    with suppress(OSError):  # what a pseudo-terminal without another end raises instead of an end of file
        while read := os.read(ours, 65536):
            shown += read.decode()
    os.close(ours)
    assert "load" in shown
    assert "4/4" in shown


@pytest.mark.parametrize("backend", ["arithmetic", "pyrtl", "lanes", "verilog"])
def test_every_backend_measures_the_same_accuracy(explored, backend):
    folder, _ = explored
    if backend == "verilog" and not shutil.which("iverilog"):
        pytest.skip("Icarus Verilog is not installed (Debian package iverilog)")
    network = folder / "backends.safetensors"
    if not network.exists():
        made = tiny.hwsim(
            "quantize", "net.py:net", "--calibration", "images.npz", "-o", network.name, cwd=folder
        )
        assert made.returncode == 0, made.stderr
    shown = tiny.hwsim(
        "simulate",
        network.name,
        "--data",
        "images.npz",
        "--backend",
        backend,
        "--verify",
        "3",
        "--json",
        cwd=folder,
        PATH=os.environ["PATH"],
    )
    assert shown.returncode == 0, shown.stderr
    result = json.loads(shown.stdout)
    assert (result["backend"], result["images"], result["equal"]) == (backend, 40, True)
    ran = {"arithmetic": [], "pyrtl": ["pyrtl"], "verilog": ["verilog"]}.get(backend)
    assert result["verified_in"] == ran if ran is not None else "pyrtl" in result["verified_in"]
    assert bool(result["circuit_cycles"]) is (backend == "lanes")
    assert all(row["compared"] == 3 and row["difference"] is None for row in result["verified"])


def test_every_command_takes_json():
    from inspect import signature

    from hwsim.cli import COMMANDS

    assert [
        name for name, command in COMMANDS.items() if "as_json" not in signature(command).parameters
    ] == []
