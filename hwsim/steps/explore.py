"""``hwsim explore``: a study evaluated into a folder, with its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hwsim.explore.exploration import Explored, explore
from hwsim.explore.study import Study, read_study
from hwsim.results import write_results


def explore_study(study: str | Path | Study, directory: str | Path, **options: Any) -> Explored:
    """Evaluate a study (a file or a :class:`Study`) into ``directory`` and write its report there."""
    if isinstance(study, str | Path):
        study = read_study(Path(study))
    explored = explore(study, Path(directory), **options)
    write_results(explored, Path(directory))
    return explored
