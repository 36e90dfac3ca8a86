"""Yosys and ABC, always in processes of their own: the package ``pyosys``, or a program of the user's."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
import os
import re
import shutil
import sys
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path

from hwsim import process
from hwsim.errors import HwsimError
from hwsim.process import OutOfTimeError

__all__ = ["OutOfTimeError", "abc", "check_limit", "installed", "version", "workplace", "yosys"]

_PURPOSE = "logic synthesis"

_CHILD = """
import sys
from pyosys import libyosys
design = libyosys.Design()
for command in sys.argv[1:]:
    libyosys.run_pass(command, design)
"""

_OLDEST = (0, 23)
"""The oldest release that the tests have run."""

_ANSWER_S = 10.0
"""How long a program may take to say its version."""


def installed() -> str | None:
    """Return the tool's name and version, or nothing where there is none.

    ``HWSIM_YOSYS`` names a program to take; else it is ``pyosys`` where that is installed, else ``yosys`` on the search
    path. A program is asked for its version once, and its name ends with its revision: another build under the same
    version number may carry another ABC, so its rows are not those of ``pyosys``. Raises :class:`HwsimError` where the
    program is missing, does not answer, is no Yosys or is older than 0.23.
    """
    program, packaged = _program(), _packaged()
    if program is not None:
        return _asked(program)
    return None if packaged is None else f"Yosys {packaged}"


def version() -> str:
    """Return the tool's name and version; raise :class:`HwsimError` where it is not installed."""
    found = installed()
    if found is None:
        raise HwsimError(
            "logic synthesis needs Yosys; install it with: pip install pyosys, or name a program in HWSIM_YOSYS"
        )
    return found


def check_limit(timeout_s: float) -> None:
    """Refuse a time limit that is none."""
    if not 0 < timeout_s < math.inf:
        raise HwsimError(f"the synthesis may take a finite number of seconds above 0, not {timeout_s}")


def workplace() -> AbstractContextManager[Path]:
    """Return a folder for a tool's files that is gone afterwards."""
    return process.workplace(_PURPOSE)


def yosys(commands: list[str], folder: Path, timeout_s: float) -> str:
    """Run Yosys commands in a folder in a process of their own; return the log, or raise with its error line."""
    program = _program()
    if program is None:
        return _run([sys.executable, "-P", "-c", _CHILD, *commands], folder, timeout_s)
    options = [word for command in commands for word in ("-p", command)]
    return _run([program, "-Q", "-T", *options], folder, timeout_s)


def abc(commands: str, folder: Path, timeout_s: float) -> str:
    """Run ABC, the one that comes with Yosys, on commands in a folder; return what it printed."""
    version()
    beside = Path(_program() or _package()).parent / "yosys-abc"
    if not os.access(beside, os.X_OK):
        raise HwsimError(
            f'the proof of a netlist needs ABC, and there is no program "{beside}"; install it there'
        )
    return _run([str(beside), "-q", commands], folder, timeout_s)


def _package() -> str:
    specification = importlib.util.find_spec("pyosys")
    assert specification is not None and specification.origin is not None
    return specification.origin


def _packaged() -> str | None:
    """Return the version of the package, or nothing where it is not installed."""
    try:
        return importlib.metadata.version("pyosys")
    except importlib.metadata.PackageNotFoundError:
        return None


def _program() -> str | None:
    """Return the path of the program to run in place of the package, or nothing."""
    named = os.environ.get("HWSIM_YOSYS", "")
    if not named and _packaged():
        return None
    found = shutil.which(named or "yosys")
    if named and found is None:
        raise HwsimError(
            f'HWSIM_YOSYS names "{named}", which is no program; give the path of one or unset it'
        )
    return None if found is None else str(Path(found).absolute())


@cache
def _asked(program: str) -> str:
    """Return what a program says that it is, its build in parentheses, the options of its compiler left out."""
    try:
        with workplace() as folder:
            said = process.run(_PURPOSE, [program, "-V"], folder, _ANSWER_S)
    except process.OutOfTimeError:
        said = f"nothing within {_ANSWER_S:g} s"
    except process.FailedError as error:
        said = f"status {error.status}"
    found = re.match(r"Yosys (\d+)\.(\d+)[^\s,()]*(?: \((git sha1 \w+))?", said)
    if found is None:
        raise HwsimError(
            f'"{program}" is no Yosys that works (it says its version with: {said.strip()[:60]!r}); set HWSIM_YOSYS to one'
        )
    release = found[0].partition(" (")[0]
    if (int(found[1]), int(found[2])) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise HwsimError(f'"{program}" is {release}, older than {oldest}; set HWSIM_YOSYS to a newer one')
    return f"{release} ({found[3] or 'of an unknown revision'})"


def _run(command: list[str], folder: Path, timeout_s: float) -> str:
    try:
        return process.run(_PURPOSE, command, folder, timeout_s)
    except process.FailedError as error:
        raise HwsimError(
            f"{version()} failed with status {error.status}: {error.complaint or 'it says nothing'}; simplify or report "
            "the datapath"
        ) from None
