"""Other people's programs, always in a process of their own: they end it on an error, and may hang."""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from hwsim.errors import MachineError


class OutOfTimeError(Exception):
    """A program ran past its time limit and was ended."""


class FailedError(Exception):
    """A program ended with another status than 0."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(status, said)
        self.status = status
        self.said = said

    @property
    def complaint(self) -> str:
        """The last line it printed that names an error, or else its last."""
        lines = self.said.split("\n")
        return next((line for line in reversed(lines) if "rror" in line), "".join(lines[-2:])).strip()


@contextlib.contextmanager
def workplace(purpose: str) -> Iterator[Path]:
    """Yield a folder that is gone afterwards, for a program's files."""
    try:
        with tempfile.TemporaryDirectory(prefix="hwsim-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)
    except OSError as error:
        raise MachineError(f"{purpose} cannot use the temporary folder: {error}; set TMPDIR") from None


_BOUND = """
ulimit -t "$0"
exec 3<&0 </dev/null
(read -r line <&3; kill -9 0) >/dev/null 2>&1 &
exec 3<&-
exec "$@"
"""
"""Becomes the command, beside a shell that ends it when nobody holds the other end of standard input any more."""

_KEPT_BYTES = 16 << 20
"""The last of what a program prints: one that prints without end must not fill the memory until its time is over."""


def run(purpose: str, command: Sequence[str], folder: Path, timeout_s: float) -> str:
    """Run a command in a folder, in a session of its own; leave none of its processes; return what it printed last.

    Where this process is killed, whatever it was at, the program is too; the kernel bounds its processor time as well.
    Raises :class:`FailedError`, :class:`OutOfTimeError`, or :class:`MachineError` where no process can be had.
    """
    limited = ["/bin/sh", "-c", _BOUND, str(math.ceil(timeout_s) + 1), *command]
    watched, held = os.pipe()
    try:
        process = subprocess.Popen(
            limited,
            cwd=folder,
            env={**os.environ, "TMPDIR": str(folder), "LC_ALL": "C"},
            stdin=watched,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        os.close(held)
        raise MachineError(f"cannot start a process for {purpose}: {error.strerror}; free memory") from None
    finally:
        os.close(watched)
    with process:
        try:
            said = _printed(process, time.monotonic() + timeout_s).decode(errors="replace")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            os.close(held)
    if process.returncode:
        raise FailedError(process.returncode, said)
    return said


def _printed(process: subprocess.Popen[bytes], end: float) -> bytes:
    """Return the last of what a process printed when it has ended; :class:`OutOfTimeError` where the clock is past ``end``."""
    assert process.stdout is not None
    said = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (
            (left := end - time.monotonic()) > 0
            and selector.select(left)
            and (chunk := os.read(process.stdout.fileno(), 1 << 16))
        ):
            said += chunk
            del said[:-_KEPT_BYTES]
    try:
        process.wait(max(end - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        raise OutOfTimeError from None
    return bytes(said)
