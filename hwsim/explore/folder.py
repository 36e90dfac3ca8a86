"""An exploration's folder: which files of it are the exploration's own, and whose it is."""

from __future__ import annotations

from pathlib import Path

from hwsim import files
from hwsim.errors import HwsimError
from hwsim.study import Study, read_study

STUDY, STORE = "study.toml", "evaluations.sqlite"
"""Files of an exploration's folder: the study with every default written out, and what was evaluated so far."""


def refuse_other(study: Study, directory: Path) -> None:
    """Refuse a folder that holds another study, or files that are none of hwsim's; only the budget may differ."""
    if (directory / STUDY).exists():
        if not _same_but_budget(directory / STUDY, study):
            raise HwsimError(f'"{directory}" holds another study; choose another folder with -o or remove it')
    elif directory.exists() and (not directory.is_dir() or _holds_files(directory)):
        raise HwsimError(f'"{directory}" is not empty and holds no study; choose another folder with -o')


def _same_but_budget(path: Path, study: Study) -> bool:
    try:
        return read_study(path).model_copy(update={"budget": study.budget}) == study
    except HwsimError:
        return False


def _holds_files(directory: Path) -> bool:
    return any(not path.name.startswith(files.UNFINISHED) for path in directory.iterdir())
