"""What was computed once and is kept in the user's cache folder; losing it costs time, never a result.

The folder is the one ``HWSIM_CACHE`` names, else ``hwsim`` in the user's cache folder. What is kept is named by the
digest of everything that it depends on, and stands behind a checksum: a damaged file is as good as none.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from hwsim import files
from hwsim.errors import HwsimError


def place(*names: str) -> Path | None:
    """Return where something is kept, or nothing where the user has no such place."""
    chosen, shared = os.environ.get("HWSIM_CACHE"), os.environ.get("XDG_CACHE_HOME")
    try:
        folder = Path(chosen) if chosen else (Path(shared) if shared else Path.home() / ".cache") / "hwsim"
    except RuntimeError:
        return None
    return folder.joinpath(*names)


def recall(*names: str) -> bytes | None:
    """Return what is kept under a name, or nothing where there is none or it is damaged."""
    where = place(*names)
    try:
        content = where.read_bytes() if where else b""
    except OSError:
        return None
    checksum, separator, kept = content.partition(b"\n")
    return kept if separator and checksum == _checksum(kept) else None


def remember(content: bytes, *names: str) -> None:
    """Keep something under a name for the next time, where the folder can be written."""
    where = place(*names)
    if where:
        with contextlib.suppress(HwsimError):
            files.write(where, _checksum(content) + b"\n" + content)


def _checksum(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
