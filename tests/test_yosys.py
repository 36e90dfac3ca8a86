"""A Yosys of the user's in place of the package: which one is taken, what its rows say, and what it may do wrong."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from hwsim.cost import characterisation, synthesize, yosys
from hwsim.cost.synthesis import SYNTHESISED, map_onto
from hwsim.cost.technology import technology
from hwsim.datapath.mac import Mac
from hwsim.datapath.shift_mac import ShiftMac
from hwsim.errors import HwsimError
from hwsim.formats import Int, PowerOfTwo
from hwsim.results import _synthesis_tool

UINT8 = Int(8, signed=False)
NATIVE = shutil.which("yosys")
needs_native = pytest.mark.skipif(
    NATIVE is None, reason="needs a program yosys, as in the Debian package of that name"
)
VERSION = 'if test "$1" = -V; then echo "Yosys 0.40 (git sha1 abc1234, g++ 12 -O3)"; exit; fi\n'


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWSIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HWSIM_YOSYS", raising=False)
    yosys._asked.cache_clear()


def program(folder: Path, script: str, name: str = "yosys") -> str:
    """A program of one's own in a folder."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def taken(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("HWSIM_YOSYS", path)


# Which one is taken


def test_the_package_comes_before_the_search_path_and_a_named_program_before_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged = yosys.installed()
    own = program(tmp_path / "bin", VERSION)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert packaged == characterisation.shipped().claims.tool and yosys.installed() == packaged
    monkeypatch.setattr(yosys, "_packaged", lambda: None)
    assert yosys.installed() == "Yosys 0.40 (git sha1 abc1234)"
    monkeypatch.undo()
    taken(monkeypatch, own)
    assert yosys.installed() == "Yosys 0.40 (git sha1 abc1234)"


def test_without_package_and_program_there_is_no_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yosys, "_packaged", lambda: None)
    monkeypatch.setenv("PATH", "")
    assert yosys.installed() is None
    with pytest.raises(HwsimError, match="pip install pyosys, or name a program in HWSIM_YOSYS"):
        yosys.version()


def test_a_program_of_the_packages_version_is_another_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged = yosys.version()
    taken(monkeypatch, program(tmp_path, f'echo "{packaged}"'))
    assert yosys.version() == f"{packaged} (of an unknown revision)"


def test_what_an_exploration_says_of_its_tool_is_the_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _synthesis_tool() == {"pyosys": yosys.version().removeprefix("Yosys ")}
    monkeypatch.setattr(yosys, "installed", lambda: "Yosys 0.40 (git sha1 abc1234)")
    assert _synthesis_tool() == {"synthesis": "Yosys 0.40 (git sha1 abc1234)"}
    monkeypatch.setattr(yosys, "installed", lambda: None)
    assert _synthesis_tool() == {"synthesis": f"kept rows of {characterisation.shipped().claims.tool}"}


# What it says and does


@needs_native
@pytest.mark.parametrize("mapping", ["smallest", "balanced", "fastest"])
def test_a_named_program_synthesises_and_proves_under_its_own_version(
    mapping: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another release maps another netlist of the same circuit; both are proved, and their areas are close."""
    circuits = (Mac(Int(3), Int(4, signed=False), Int(16)), ShiftMac(PowerOfTwo(4), UINT8, Int(16)))
    packaged = [synthesize(circuit, mapping=mapping) for circuit in circuits]
    assert NATIVE is not None
    taken(monkeypatch, NATIVE)
    for circuit, other in zip(circuits, packaged, strict=True):
        cost = synthesize(circuit, mapping=mapping)
        assert cost.equivalent and cost.origin == SYNTHESISED and cost.script == other.script
        assert cost.tool == yosys.version() != other.tool and cost.netlist == other.netlist
        assert cost.nand2_equivalents == pytest.approx(other.nand2_equivalents, rel=0.15)


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        (
            "echo 'GNU bash, version 5'",
            "is no Yosys that works \\(it says its version with: 'GNU bash, version 5'\\)",
        ),
        ("true", "is no Yosys that works \\(it says its version with: ''\\)"),
        ("kill -SEGV $$", "is no Yosys that works \\(it says its version with: 'status -11'\\)"),
        ("sleep 100", "is no Yosys that works \\(it says its version with: 'nothing within 0.3 s'\\)"),
        (
            "echo 'Yosys 0.9 (git sha1 1979e0b)'",
            "is Yosys 0.9, older than 0.23; set HWSIM_YOSYS to a newer one",
        ),
        (
            f"{VERSION}kill -SEGV $$",
            "Yosys 0.40 .* failed with status -11: it says nothing; simplify or report",
        ),
        (
            f"{VERSION}echo 'ERROR: no such'; exit 1",
            "Yosys 0.40 .* failed with status 1: ERROR: no such; simplify",
        ),
        (f"{VERSION}sleep 100", "logic synthesis took more than 0.3 s; raise the limit"),
        (VERSION, "Yosys 0.40 .* ended well but wrote no netlist"),
        (f"{VERSION}echo '{{}}' > mapped.json", "ended well but wrote no netlist"),
        (f"{VERSION}echo '[' > mapped.json", "ended well but wrote no netlist"),
        (f"{VERSION}yes", "logic synthesis took more than 0.3 s; raise the limit"),
    ],
)
def test_a_program_that_fails_is_one_sentence(
    script: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken(monkeypatch, program(tmp_path, script))
    monkeypatch.setattr(yosys, "_ANSWER_S", 0.3)
    with pytest.raises(HwsimError, match=sentence) as refused:
        synthesize(Mac(Int(3), Int(5), Int(13)), timeout_s=0.3)
    assert "\n" not in str(refused.value)


PORTS = {"activation": range(2, 4), "weight": range(4, 7), "RESET": [7], "accumulator": range(8, 11)}
NETS = {name: {"direction": "input", "bits": list(nets)} for name, nets in PORTS.items()}
NETS["next_accumulator"] = {"direction": "output", "bits": [11]}


def module(ports: object = NETS, **cell: object) -> str:
    """A netlist as Yosys writes it: one inverter of the first activation, or what is given of it."""
    one = {"type": "INV", "connections": {"A": [2], "Y": [11]}} | cell
    return json.dumps({"modules": {"datapath": {"ports": ports, "cells": {"one": one}}}})


@pytest.mark.parametrize(
    "content",
    [
        "3",
        "[" * 100_000,
        '{"modules": {"datapath": 3}}',
        '{"modules": {"datapath": {}}}',
        module(3),
        module({"a": {"direction": "inout", "bits": [2]}}),
        module(NETS | {"second": {"direction": "input", "bits": [2]}}),
        module(type="SUN"),
        module(type=["INV"]),
        module(type="DFF"),
        module(type="NAND2"),
        module(connections={"Y": [11]}),
        module(connections={"A": [], "Y": [11]}),
        module(connections={"A": ["z"], "Y": [11]}),
        module(connections={"A": [99], "Y": [11]}),
        module(connections={"A": [2], "Y": [99]}),
        module(connections={"A": [-3], "Y": [11]}),
        module(connections={"A": [2.5], "Y": [11]}),
        module(connections={"A": [[2]], "Y": [11]}),
        module(connections={"A": [2], "Y": [3]}),
    ],
    ids=range(20),
)
def test_what_is_no_netlist_of_the_library_is_one_sentence(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "content").write_text(content)
    taken(monkeypatch, program(tmp_path, f"{VERSION}cp {tmp_path}/content mapped.json"))
    with pytest.raises(HwsimError, match=r"Yosys 0.40 .* ended well but wrote no netlist of its library"):
        map_onto("", technology("open45"))


@pytest.mark.parametrize("named", ["/nowhere/yosys", "no-such-program", "/"])
def test_a_name_of_no_program_is_refused(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken(monkeypatch, named)
    with pytest.raises(
        HwsimError, match=f'HWSIM_YOSYS names "{named}", which is no program; give the path of one'
    ):
        yosys.installed()


@needs_native
def test_a_program_without_abc_beside_it_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken(monkeypatch, program(tmp_path / "bin", f'exec {NATIVE} "$@"'))
    with pytest.raises(
        HwsimError, match=r'the proof of a netlist needs ABC, and there is no program ".*yosys-abc"'
    ):
        synthesize(Mac(Int(4), UINT8, Int(16)))


def test_a_program_is_asked_for_its_version_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken(monkeypatch, program(tmp_path, f"echo asked >> {tmp_path}/log\n{VERSION}"))
    assert {yosys.version() for _ in range(3)} == {"Yosys 0.40 (git sha1 abc1234)"}
    assert (tmp_path / "log").read_text().count("asked") == 1
    assert os.environ["HWSIM_YOSYS"].startswith(str(tmp_path))
