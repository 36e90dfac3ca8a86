"""``hwsim teach``: a page that shows what bits do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hwsim import files


def teaching_page(
    path: Path | str,
    *,
    study: Path | str = "",
    progress: Callable[[str, int, int], None] = lambda stage, done, planned: None,
) -> int:
    """Write the teaching page and return how many choices it shows.

    Its data come with the package; with ``study``, an exploration of the digits network, they are measured again.
    """
    from hwsim.teach.page import page
    from hwsim.teach.shipped import read

    if study:
        from hwsim.teach.measure import measure

        data = measure(Path(study), progress)
    else:
        data = read()
    files.write(Path(path), page(data))
    return len(data["choices"])
