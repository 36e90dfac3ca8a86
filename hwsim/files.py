"""Files that are whole or absent: written beside and renamed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hwsim.errors import HwsimError


def write(path: Path, content: bytes | str) -> None:
    """Write a file whole: a reader sees the old content or the new, never a part.

    Raises :class:`HwsimError` where the place cannot be written or the disk is full; nothing is left behind.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            raise HwsimError(f'cannot write "{path}": it is no regular file; choose another path')
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise HwsimError(f'cannot write "{path}": {error.strerror}; free or choose another place') from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def read(path: Path, what: str) -> bytes:
    """Return a file's bytes; ``what`` names the thing in the error, "study file" say."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise HwsimError(
            f'cannot read the {what} "{path}": {error.strerror}; give the path of a {what}'
        ) from None


def read_text(path: Path, what: str) -> str:
    """Return a UTF-8 file's text."""
    try:
        return read(path, what).decode()
    except UnicodeDecodeError:
        raise HwsimError(f'the {what} "{path}" is no UTF-8 text; save it as UTF-8') from None
