"""``hwsim teach``: a page that shows what bits do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hwsim import files
from hwsim.errors import HwsimError


def teaching_page(
    path: Path | str,
    *,
    study: Path | str = "",
    layer: str = "",
    progress: Callable[[str, int, int], None] = lambda stage, done, planned: None,
) -> int:
    """Write the teaching page and return how many choices it shows.

    Its data come with the package, about the digits network. With ``study``, a study file or the folder of an exploration,
    they are measured on its network, about the sums of ``layer`` or of the last layer with weights.
    """
    if layer and not study:
        raise HwsimError(
            f"--layer {layer} is one of a study's network; write hwsim teach STUDY --layer {layer}"
        )
    from hwsim.teach.page import page
    from hwsim.teach.shipped import read

    if study:
        from hwsim.teach.measure import measure

        data = measure(Path(study), layer, progress)
    else:
        data = read()
    files.write(Path(path), page(data))
    return len(data["choices"])
