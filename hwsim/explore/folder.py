"""An exploration's folder: which files of it are the exploration's own, and whose it is."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from hwsim import files
from hwsim.errors import HwsimError
from hwsim.explore.study import Study, read_study

STUDY, STORE = "study.toml", "evaluations.sqlite"
"""Files of an exploration's folder: the study with every default written out, and what was evaluated so far."""


@contextlib.contextmanager
def claimed(study: Study, directory: Path) -> Iterator[None]:
    """Hold a study's folder, made if it is missing; it is gone again if nothing came into it.

    Raises :class:`HwsimError` where another exploration holds it, where :func:`refuse_other` does, and in the end where it was
    moved or removed meanwhile, whatever that led to.
    """
    refuse_other(study, directory)
    with files.folder(directory):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            _lock(descriptor, directory)
            refuse_other(study, directory)
            try:
                yield
            finally:
                _refuse_moved(descriptor, directory)
        finally:
            os.close(descriptor)


def at_rest(study: Study, directory: Path) -> bool:
    """Return whether a study's folder is there, with no exploration at work in it; nothing is made or kept locked.

    Raises :class:`HwsimError` as :func:`claimed` does.
    """
    refuse_other(study, directory)
    if not directory.exists():
        return False
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        _lock(descriptor, directory)
    finally:
        os.close(descriptor)
    return True


def _refuse_moved(descriptor: int, directory: Path) -> None:
    """Refuse a folder whose name is no more that of the one opened: a report would come into another than its store."""
    with contextlib.suppress(OSError):
        if os.path.samestat(os.fstat(descriptor), directory.stat()):
            return
    raise HwsimError(
        f'"{directory}" was moved or removed while it was explored; run again with -o where it is now: what it holds is '
        "reused"
    )


def _lock(descriptor: int, directory: Path) -> None:
    """Lock a folder until its descriptor is closed, by whatever ends the process."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise HwsimError(
            f'another exploration is at work in "{directory}"; wait until it ends or choose another folder with -o'
        ) from None
    except OSError:
        return  # a file system without such locks: the store holds its own


def refuse_other(study: Study, directory: Path) -> None:
    """Refuse a folder that holds another study, or files that are none of hwsim's; only the budget may differ.

    A folder whose study file is gone goes on with its store, which tells whose each evaluation is.
    """
    if (directory / STUDY).exists():
        if _held(directory).model_copy(update={"budget": study.budget}) != study:
            raise HwsimError(f'"{directory}" holds another study; choose another folder with -o or remove it')
    elif directory.exists() and (not directory.is_dir() or _holds_files(directory)):
        raise HwsimError(f'"{directory}" is not empty and holds no study; choose another folder with -o')


def _held(directory: Path) -> Study:
    try:
        return read_study(directory / STUDY)
    except HwsimError as error:
        raise HwsimError(
            f'"{directory}" holds another study or a damaged one ({error}); choose another folder with -o, or remove '
            f"{STUDY} from it to go on with its store"
        ) from None


def _holds_files(directory: Path) -> bool:
    """Return whether a folder without a study has files, but for unfinished ones and those beside a store."""
    names = {path.name for path in directory.iterdir() if not path.name.startswith(files.UNFINISHED)}
    return bool(names) and STORE not in names
