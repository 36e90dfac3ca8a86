"""``hwsim diff``: two explorations or two design points, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hwsim import files
from hwsim.comparison import PointComparison, StudyComparison, compare_points, compare_studies, tests
from hwsim.errors import HwsimError
from hwsim.explore.evaluation import Evaluation
from hwsim.explore.folder import STUDY
from hwsim.results import Results, find_point, read_results


def compare(first: Path | str, second: Path | str) -> StudyComparison | PointComparison:
    """Return two explorations or two design points side by side.

    Each is an exploration's folder, or ``FOLDER:KEY`` with a design point's key or the beginning of it.
    """
    (one, point), (other, other_point) = _opened(str(first)), _opened(str(second))
    if point and other_point:
        objectives = [name for name in one.facts.objectives if name in other.facts.objectives]
        return compare_points(point, other_point, objectives, tests(one, other))
    if point or other_point:
        raise HwsimError(
            f'"{first}" and "{second}" are a folder and a design point; give two folders or two FOLDER:KEY'
        )
    return compare_studies(one, other, (_study(first), _study(second)))


def _opened(text: str) -> tuple[Results, Evaluation | None]:
    folder, colon, key = text.rpartition(":")
    if Path(text).is_dir() or not colon:
        return read_results(Path(text)), None
    results = read_results(Path(folder))
    return results, find_point(results, key)


def _study(folder: Path | str) -> dict[str, Any]:
    """Return a folder's study file as a table, empty where it has none."""
    path = Path(folder) / STUDY
    return (
        files.parse_toml(files.read_text(path, "study file"), f'study file "{path}"') if path.exists() else {}
    )
