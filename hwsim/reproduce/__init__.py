"""Published tables stood beside: each paper's methods on the networks at hand, measured on circuits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from hwsim import files
from hwsim.errors import HwsimError, unknown
from hwsim.reproduce import accumulators, aciq, bag_of_tricks, coding, focused, gates, sizes, trainings
from hwsim.reproduce.table import Show, bench, fill, silent
from hwsim.reproduce.write import README, write

PAPERS = {paper.name: paper for paper in (aciq.PAPER, bag_of_tricks.PAPER, focused.PAPER)}


def reproduce(
    name: str,
    directory: Path,
    *,
    networks: Sequence[str] = (),
    images: int = 0,
    show: Show = silent,
) -> Path:
    """Measure a paper's table on built-in networks and write it into ``directory``; return the README's path.

    ``networks`` are built-in models, the paper's choice of them if left out; ``images`` limits the test images of
    each; 0 takes all, 500 of SqueezeNet's and MobileNetV2's. Rows that were measured before are recalled from the user's
    cache folder. "gates" stands for published areas and gate counts, which need no network.
    """
    if name not in (*PAPERS, gates.NAME):
        raise unknown("paper", name, (*PAPERS, gates.NAME))
    files.check_place(directory / README)
    if name == gates.NAME:
        if networks or images:
            raise HwsimError("gates are counted on circuits; leave out --network and --images")
        return gates.reproduce_gates(directory, show=show)
    paper = PAPERS[name]
    benches = [bench(network, images, show) for network in networks or paper.networks]
    table = fill(paper, benches, show)
    sections, extra = dict[str, str](), dict[str, str]()
    coded = partial(coding.section, show=show)
    for section in (accumulators.section, trainings.section, sizes.section, coded):
        texts, tables = section(table, benches)
        sections, extra = sections | texts, extra | tables
    command = f"hwsim reproduce {name} -o {directory.as_posix()}"
    command += "".join(f" --network {network}" for network in networks)
    return write(table, directory, command + (f" --images {images}" if images else ""), sections, extra)
