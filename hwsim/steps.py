"""The stages of the work as plain functions; ``import hwsim`` offers them as its own.

Each is the command of the same verb: ``quantize_model`` is ``hwsim quantize`` and so on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from hwsim.bits import parse_overflow
from hwsim.cost.synthesis import Cost, synthesize
from hwsim.data import load_split
from hwsim.datapath import Datapath, load
from hwsim.errors import HwsimError, unknown
from hwsim.formats import Int, Overflow, PowerOfTwo, Rounding, parse_format, parse_int
from hwsim.network import FloatNetwork, QuantizedNetwork
from hwsim.network import load as load_network
from hwsim.simulate.inference import Accuracy, measure_accuracy
from hwsim.simulate.replay import Difference, Replay, replay

if TYPE_CHECKING:
    from hwsim.explore.exploration import Explored
    from hwsim.study import Study


def quantize_model(
    model: str | FloatNetwork,
    bits: str,
    *,
    quantizer: str = "",
    calibration: str = "",
    images: int = 0,
    **preprocessing: Any,
) -> QuantizedNetwork:
    """Return a trained network as an integer network.

    ``model`` is a built-in name, an ONNX file or a network already loaded; ``bits`` a shorthand for all
    layers (``w4a8/int16``) or the TOML text of a bit configuration; ``quantizer`` settings such as
    ``activations=kl tolerance=1.3``. Calibration reads the calibration split of ``calibration`` (a data
    set or an NPZ file; the model's own data if left out), all of it or its first ``images``. For ONNX files,
    ``div``, ``mean`` and ``std`` give the preprocessing.
    """
    from hwsim.models import load_model
    from hwsim.quantize import calibrate, quantize
    from hwsim.quantize.settings import Settings

    network = load_model(model, **preprocessing) if isinstance(model, str) else model
    source = calibration or network.data
    if not source:
        raise HwsimError(
            f'model "{network.name}" names no data set; give one to calibrate on: --calibration file.npz'
        )
    split = load_split(source, "calibration")
    split.check(network.input_shape, network.layers[-1].outputs)
    chosen = split.images[:images] if images else split.images
    return quantize(network, bits, calibrate(network, chosen), settings=Settings.parse(quantizer))


@dataclass(frozen=True)
class Simulation:
    """An integer network's accuracy and overflows on a test split, and what its circuits replayed."""

    network: str
    data: str
    accuracy: Accuracy
    replays: tuple[Replay, ...]

    @property
    def difference(self) -> Difference | None:
        """The first value on which a circuit and the arithmetic disagree, or None."""
        return next((r.difference for r in self.replays if r.difference), None)

    def to_json(self) -> dict[str, Any]:
        low, high = self.accuracy.interval
        return {
            "network": self.network,
            "data": self.data,
            "correct": self.accuracy.correct,
            "images": self.accuracy.images,
            "accuracy_percent": self.accuracy.percent,
            "interval_percent": [low, high],
            "overflows": [asdict(o) for o in self.accuracy.overflows],
            "circuits": [asdict(r) for r in self.replays],
            "equal": self.difference is None,
        }

    def text(self) -> str:
        """Return the result as a table for people."""
        low, high = self.accuracy.interval
        replays = {r.layer: r for r in self.replays}
        overflows = {o.layer: o for o in self.accuracy.overflows}
        width = max(map(len, [*replays, *overflows, "layer"]))
        lines = [
            f"{'layer':{width}}  {'sums':>12}  {'overflowed':>12}  {'outputs on circuits':>22}  {'cycles':>10}"
        ]
        for name in dict.fromkeys([*overflows, *replays]):
            over, replayed = overflows.get(name), replays.get(name)
            sums = f"{over.sums:12}  {over.overflowed:12}" if over else f"{'':12}  {'':12}"
            done = (
                f"{f'{replayed.compared} of {replayed.outputs}':>22}  {replayed.cycles:10}"
                if replayed
                else ""
            )
            lines.append(f"{name:{width}}  {sums}  {done}".rstrip())
        lines += [
            f"  overflows in {o.layer} by channel: {_channels(o.by_channel)}"
            for o in overflows.values()
            if o.overflowed
        ]
        lines.append(
            f"accuracy {self.accuracy.percent:.2f}% ({self.accuracy.correct} of {self.accuracy.images} test images of "
            f"{self.data}, 95% interval {low:.2f} to {high:.2f})"
        )
        if self.replays:
            lines.append(self._verdict())
        return "\n".join(lines)

    def _verdict(self) -> str:
        """Return how much the circuits ran and whether anything differed, in two lines."""
        compared, outputs, simulated, cycles = (
            sum(getattr(r, field) for r in self.replays)
            for field in ("compared", "outputs", "simulated", "cycles")
        )
        images = self.replays[0].images
        share = (
            "every output"
            if compared == outputs
            else f"{compared} of {outputs} outputs, some of every layer,"
        )
        return (
            f"circuits: {share} of {images} image{'s' * (images != 1)}, {cycles} clock cycles; "
            f"{simulated} outputs in PyRTL's simulator too\n"
            f"circuits against arithmetic: {self.difference or 'no difference'}"
        )


def _channels(counts: tuple[int, ...]) -> str:
    return ", ".join(f"{channel}: {count}" for channel, count in enumerate(counts) if count)


def simulate_network(
    network: QuantizedNetwork | Path | str,
    *,
    data: str = "",
    images: int = 0,
    cycles: int = 1 << 26,
    simulated: int = 4,
    seed: int = 0,
    mac: str = "mac",
    progress: Callable[[int, int], None] = lambda done, planned: None,
) -> Simulation:
    """Run an integer network on a test split: every image in exact arithmetic, and on the circuits what they reach.

    The circuits spend ``cycles`` clock cycles on whole images, or on a share of every layer drawn with
    ``seed``; ``simulated`` outputs of each layer go through PyRTL's own simulator too. Both are compared
    strictly with the arithmetic (:func:`hwsim.simulate.replay.replay`).
    """
    chosen = network if isinstance(network, QuantizedNetwork) else load_network(Path(network))
    source = data or chosen.data
    if not source:
        raise HwsimError(f'network "{chosen.name}" names no data set; give one to test on: --data file.npz')
    split = load_split(source, "test")
    split.check(chosen.input_shape, chosen.layers[-1].layer.outputs)
    x, labels = (split.images[:images], split.labels[:images]) if images else (split.images, split.labels)
    accuracy = measure_accuracy(chosen, x, labels, progress=progress)
    replays = replay(chosen, x, cycles=cycles, simulated=simulated, seed=seed, mac=mac) if cycles else ()
    return Simulation(chosen.name, source, accuracy, replays)


def make_datapath(name: str, **parameters: str) -> Datapath:
    """Return a datapath by name (or ``file.py:NAME``) with its parameters given as text.

    >>> make_datapath("mac", weight="int4", activation="uint8", accumulator="int16").multiplier
    'fused'
    """
    loaded = load(name)
    if not isinstance(loaded, type):
        if parameters:
            raise HwsimError(f'"{name}" is one finished circuit; leave out {", ".join(parameters)}')
        return loaded
    hints = get_type_hints(loaded)
    known = {f.name: hints[f.name] for f in fields(loaded)}
    for parameter in parameters:
        if parameter not in known:
            raise unknown(f"parameter of {name}", parameter, known)
    values = {parameter: _parse(parameter, text, known[parameter]) for parameter, text in parameters.items()}
    try:
        return loaded(**values)  # type: ignore[no-any-return]
    except TypeError as error:
        raise HwsimError(f"{name} needs its parameters {', '.join(known)} ({error})") from None


def _parse(parameter: str, text: str, hint: Any) -> Any:
    """Return a parameter's value from its text, by the type the datapath declares for it."""
    if hint is Int:
        return parse_int(text)
    if hint is PowerOfTwo or hint == Int | PowerOfTwo:
        return parse_format(text)
    if hint is Overflow:
        return parse_overflow(text)
    if hint is Rounding:
        if text not in list(Rounding):
            raise unknown("rounding", text, Rounding)
        return Rounding(text)
    if hint is int:
        if not text.isdecimal():
            raise HwsimError(f'{parameter} "{text}" is no whole number')
        return int(text)
    return text


def cost_datapath(
    name: str, *, technology: str = "open45", timeout_s: float = 120, **parameters: str
) -> Cost:
    """Return the gates, area and critical path of a datapath, synthesised, beside its equivalence check."""
    if not 0 < timeout_s < math.inf:
        raise HwsimError(f"the synthesis may take a finite number of seconds above 0, not {timeout_s}")
    return synthesize(make_datapath(name, **parameters), technology, timeout_s=timeout_s)


def explore_study(study: str | Path | Study, directory: str | Path, **options: Any) -> Explored:
    """Evaluate a study (a file or a :class:`Study`) into ``directory`` and write its report there."""
    from hwsim.explore.exploration import explore
    from hwsim.results import write_results
    from hwsim.study import read_study

    if isinstance(study, str | Path):
        study = read_study(Path(study))
    explored = explore(study, Path(directory), **options)
    write_results(explored, Path(directory))
    return explored
