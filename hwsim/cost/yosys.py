"""Yosys and ABC, always in a process of their own."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from contextlib import AbstractContextManager
from pathlib import Path

from hwsim import process
from hwsim.errors import HwsimError
from hwsim.process import OutOfTimeError

__all__ = ["OutOfTimeError", "abc", "installed", "version", "workplace", "yosys"]

_PURPOSE = "logic synthesis"

_CHILD = """
import sys
from pyosys import libyosys
design = libyosys.Design()
for command in sys.argv[1:]:
    libyosys.run_pass(command, design)
"""


def installed() -> str | None:
    """Return the tool's name and version, or nothing where it is not installed; it is not run for that."""
    try:
        return f"Yosys {importlib.metadata.version('pyosys')}"
    except importlib.metadata.PackageNotFoundError:
        return None


def version() -> str:
    """Return the tool's name and version; raise :class:`HwsimError` where it is not installed."""
    found = installed()
    if found is None:
        raise HwsimError("logic synthesis needs Yosys; install it with: pip install pyosys")
    return found


def workplace() -> AbstractContextManager[Path]:
    """Return a folder for a tool's files that is gone afterwards."""
    return process.workplace(_PURPOSE)


def yosys(commands: list[str], folder: Path, timeout_s: float) -> str:
    """Run Yosys commands in a folder in a fresh interpreter; return the log, or raise with its error line."""
    return _run([sys.executable, "-P", "-c", _CHILD, *commands], folder, timeout_s)


def abc(commands: str, folder: Path, timeout_s: float) -> str:
    """Run ABC, the one that comes with Yosys, on commands in a folder; return what it printed."""
    version()
    specification = importlib.util.find_spec("pyosys")
    assert specification is not None and specification.origin is not None
    return _run([str(Path(specification.origin).parent / "yosys-abc"), "-q", commands], folder, timeout_s)


def _run(command: list[str], folder: Path, timeout_s: float) -> str:
    try:
        return process.run(_PURPOSE, command, folder, timeout_s)
    except process.FailedError as error:
        raise HwsimError(
            f"{version()} failed with status {error.status}: {error.complaint}; simplify or report the datapath"
        ) from None
