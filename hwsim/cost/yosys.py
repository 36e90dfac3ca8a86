"""Yosys and ABC, always in a process of their own: they end their process on an error, and may hang."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hwsim.errors import HwsimError

_CHILD = """
import sys
from pyosys import libyosys
design = libyosys.Design()
for command in sys.argv[1:]:
    libyosys.run_pass(command, design)
"""


class OutOfTimeError(Exception):
    """A tool ran past its time limit and was ended."""


def version() -> str:
    """Return the tool's name and version; raise :class:`HwsimError` where it is not installed."""
    try:
        return f"Yosys {importlib.metadata.version('pyosys')}"
    except importlib.metadata.PackageNotFoundError:
        raise HwsimError("logic synthesis needs Yosys; install it with: pip install pyosys") from None


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """Yield a folder that is gone afterwards, for a tool's files."""
    try:
        with tempfile.TemporaryDirectory(prefix="hwsim-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)
    except OSError as error:
        raise HwsimError(f"logic synthesis cannot use the temporary folder: {error}; set TMPDIR") from None


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
    """Run a command in a session of its own, and leave none of its processes.

    The kernel bounds its processor time as well, so that a tool whose parent was killed ends too.
    """
    limited = ["/bin/sh", "-c", 'ulimit -t "$0"; exec "$@"', str(math.ceil(timeout_s) + 1), *command]
    try:
        process = subprocess.Popen(
            limited,
            cwd=folder,
            env={**os.environ, "TMPDIR": str(folder), "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise HwsimError(
            f"cannot start a process for logic synthesis: {error.strerror}; free memory"
        ) from None
    try:
        said = process.communicate(timeout=timeout_s)[0].decode(errors="replace")
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise OutOfTimeError from None
        raise
    if process.returncode:
        raise HwsimError(
            f"{version()} failed with status {process.returncode}: {_complaint(said)}; simplify or report the datapath"
        )
    return said


def _complaint(said: str) -> str:
    """Return the line of a log that names the error, or else its last."""
    lines = said.split("\n")
    return next((line for line in reversed(lines) if "rror" in line), "".join(lines[-2:])).strip()
