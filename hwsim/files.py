"""Files that are whole or absent: written beside and renamed."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hwsim.errors import HwsimError, MachineError

UNFINISHED = ".writing-"
"""How the name of a file begins that is being written; a kill leaves it behind, and nobody reads it."""


def write(path: Path, content: bytes | str) -> None:
    """Write a file whole: a reader sees the old content or the new, never a part.

    Raises :class:`HwsimError` where the place cannot be written or the disk is full; nothing is left behind.
    """
    write_together({path: content})


def check_place(path: Path) -> None:
    """Refuse a place that :func:`write` could not write now, before the work for its content begins."""
    with contextlib.ExitStack() as undo:
        _stage(path, b"", undo)


def write_together(contents: Mapping[Path, bytes | str]) -> None:
    """Write files that belong together, each as :func:`write` does: none is renamed before all are on the disk."""
    with contextlib.ExitStack() as undo:
        staged = {path: _stage(path, content, undo) for path, content in contents.items()}
        for path, temporary in staged.items():
            try:
                temporary.replace(path)
            except OSError as error:
                raise _refused(path, error) from None
        undo.pop_all()


def write_folder(folder: Path, contents: Mapping[str, bytes | str]) -> None:
    """Write a folder of files, whole or not at all: it is filled beside its place and renamed.

    ``contents`` are by path within the folder, parts divided by "/". Raises :class:`HwsimError` where ``folder`` is
    anything but absent or an empty folder, or its place cannot be written.
    """
    try:
        if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
            what = "is a link" if folder.is_symlink() else "exists and is no empty folder"
            raise HwsimError(f'cannot write the folder "{folder}": it {what}; choose another place')
        with contextlib.ExitStack() as undo:
            _make_folders(folder.parent, undo)
            staged = Path(tempfile.mkdtemp(dir=folder.parent, prefix=UNFINISHED))
            undo.callback(shutil.rmtree, staged, ignore_errors=True)
            for name, content in contents.items():
                _write_durably(staged / name, content)
            staged.chmod(0o777 & ~_umask())
            staged.replace(folder)
            undo.pop_all()
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        if isinstance(error, HwsimError):
            raise
        raise _refused(folder, error) from None


def _write_durably(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())


def _make_folders(wanted: Path, undo: contextlib.ExitStack) -> None:
    """Make a folder and those around it; ``undo`` removes what was made."""
    for folder in reversed((wanted, *wanted.parents)):
        if not folder.exists():
            folder.mkdir(exist_ok=True)
            undo.callback(_remove_folder, folder)


@contextlib.contextmanager
def folder(path: Path) -> Iterator[None]:
    """Make a folder, and those it lies in, while something is done; those made go again if nothing came into them."""
    with contextlib.ExitStack() as undo:
        try:
            _make_folders(path, undo)
        except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
            raise _refused(path, error) from None
        yield


def _stage(path: Path, content: bytes | str, undo: contextlib.ExitStack) -> Path:
    """Write a file beside ``path``, on the disk when this returns; ``undo`` removes it and the folders made for it."""
    data = content.encode() if isinstance(content, str) else content
    try:
        _make_folders(path.parent, undo)
        if not path.name or (path.exists() and not path.is_file()):
            raise HwsimError(f'cannot write "{path}": it is no regular file; choose another path')
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=UNFINISHED)
        undo.callback(Path(name).unlink, missing_ok=True)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o666 & ~_umask())
    except OSError as error:
        raise _refused(path, error) from None
    return Path(name)


def _remove_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # another program may have put something there
        folder.rmdir()


def _refused(path: Path, error: OSError | ValueError) -> HwsimError:
    why = error.strerror if isinstance(error, OSError) else error
    return MachineError(f'cannot write "{path}": {why}; free or choose another place')


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def read(path: Path, what: str, way_out: str = "") -> bytes:
    """Return a file's bytes; ``what`` names the thing in the error, "study file" say, and ``way_out`` ends it."""
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        why = error.strerror if isinstance(error, OSError) else error
        cure = way_out or f"give the path of {'an' if what[0] in 'aeiouAEIOU' else 'a'} {what}"
        raise HwsimError(f'cannot read the {what} "{path}": {why}; {cure}') from None


def read_text(path: Path, what: str) -> str:
    """Return a UTF-8 file's text, without the byte order mark that some editors begin it with."""
    try:
        return read(path, what).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise HwsimError(f'the {what} "{path}" is no UTF-8 text; save it as UTF-8') from None


def parse_toml(text: str, what: str) -> dict[str, Any]:
    """Return a TOML text's table; ``what`` names the thing in the error."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: a number of thousands of digits, too
        raise HwsimError(f"the {what} is no TOML: {error}; correct it") from None
