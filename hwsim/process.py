"""Other people's programs, always in a process of their own: they end it on an error, and may hang."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from hwsim.errors import HwsimError


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
        raise HwsimError(f"{purpose} cannot use the temporary folder: {error}; set TMPDIR") from None


def run(purpose: str, command: Sequence[str], folder: Path, timeout_s: float) -> str:
    """Run a command in a folder, in a session of its own; leave none of its processes; return what it printed.

    The kernel bounds its processor time as well, so that a program whose parent was killed ends too.
    Raises :class:`FailedError`, :class:`OutOfTimeError`, or :class:`HwsimError` where no process can be had.
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
        raise HwsimError(f"cannot start a process for {purpose}: {error.strerror}; free memory") from None
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
        raise FailedError(process.returncode, said)
    return said
