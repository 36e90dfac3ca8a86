"""``hwsim export``: a design as a bundle of files for simulators, synthesis and other programs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from hwsim import files
from hwsim.bundle.contents import contents
from hwsim.data import Split, network_split
from hwsim.errors import HwsimError
from hwsim.network import QuantizedNetwork, load


@dataclass(frozen=True, eq=False)
class Design:
    """An integer network with the images that try it, its multiply-accumulate and where it comes from."""

    network: QuantizedNetwork
    split: Split
    mac: str
    origin: dict[str, str]
    coders: dict[str, str] = field(default_factory=dict)


def export_design(
    source: QuantizedNetwork | Path | str,
    directory: Path | str,
    *,
    point: str = "",
    data: str = "",
    images: int = 1000,
    outputs: int = 4,
    seed: int = 0,
    mac: str = "",
    array: tuple[int, int] | None = None,
) -> tuple[str, ...]:
    """Write a design's bundle into a new folder, whole or not at all, and return the paths within it.

    ``source`` is an integer network, its file, or an exploration's folder, whose ``point`` is a design point's key or
    the beginning of it. ``outputs`` outputs of each layer become vectors, drawn with ``seed``; the ONNX file is run
    on the test split of ``data`` (the design's own if left out), or its first ``images``. ``mac`` names the
    multiply-accumulate; a point has its own. With ``array``, rows and columns, an output-stationary systolic array in the
    formats of each layer is added. Where a point's weights cross the bus in a code, its decoders are there too.
    """
    if outputs < 1:
        raise HwsimError(f"a bundle has vectors of 1 output of each layer or more, not {outputs}")
    if isinstance(source, str | Path) and Path(source).is_dir():
        design = _point(Path(source), point, data, images, mac)
    else:
        design = _network(source, point, data, images, mac)
    made = contents(
        design.network,
        design.split.images[:],
        outputs=outputs,
        seed=seed,
        mac=design.mac,
        array=array,
        coders=design.coders,
        origin=design.origin,
    )
    files.write_folder(Path(directory), made)
    return tuple(made)


def _network(source: QuantizedNetwork | Path | str, point: str, data: str, images: int, mac: str) -> Design:
    if point:
        raise HwsimError(
            f'"{source}" is no folder of an exploration, so it has no point "{point}"; leave it out'
        )
    network = source if isinstance(source, QuantizedNetwork) else load(Path(source))
    split = network_split(network, data, "test", "to draw vectors from: --data file.npz", images)
    return Design(network, split, mac or "mac", {})


def _point(folder: Path, key: str, data: str, images: int, mac: str) -> Design:
    """Return a design point of an exploration, quantized again and held against what was measured."""
    # torch takes seconds to import, which a network's file does without
    from hwsim.explore.bench import file_bytes, open_bench
    from hwsim.explore.folder import STUDY
    from hwsim.explore.study import read_study
    from hwsim.results import find_point, read_results

    results = read_results(folder)
    found = find_point(results, key)
    if mac:
        raise HwsimError(
            f'the point {found.point.key()} runs on "{found.point.datapath}"; leave out --mac {mac}'
        )
    bench = open_bench(read_study(folder / STUDY))
    if (digest := bench.network.digest()) != results.facts.stamp.get("model sha256", digest):
        raise HwsimError(f'the model of "{folder}" has changed since it was explored; explore it again')
    network = bench.quantized(found.point)
    if file_bytes(network, found.point) != found.file_bytes:
        raise HwsimError(
            f'the point {found.point.key()} of "{folder}" is another network now; explore it again with this hwsim'
        )
    split = network_split(network, data, "test", "to draw vectors from", images) if data else bench.test
    origin = {
        "Study": results.facts.title,
        "Design point": f"{found.point.key()}, {found.point.label()}",
        "Accuracy of its circuits": f"{found.correct} of {found.images} test images right",
    }
    shown = split.part(slice(images)) if images else split
    return Design(network, shown, found.point.datapath, origin, found.point.coder_of)
