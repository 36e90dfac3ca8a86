"""``hwsim simulate``: an integer network on its circuits, held against exact arithmetic."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hwsim.certificate import Certificate, certify
from hwsim.data import network_split
from hwsim.errors import unknown
from hwsim.network import QuantizedNetwork
from hwsim.simulate.circuits import Circuits
from hwsim.simulate.inference import Accuracy, Difference, Overflows, compute_layer, measure_accuracy
from hwsim.simulate.replay import Replay, replay
from hwsim.steps.inputs import read_network

VERIFIED_IMAGES = 16


BACKENDS = ("lanes", "arithmetic", "pyrtl", "verilog")
"""What runs a network: its compiled circuits, or exact arithmetic alone or with a sample in another simulator."""


@dataclass(frozen=True)
class Simulation:
    """An integer network's accuracy and overflows on a test split, and what its circuits ran.

    ``cycles`` are the clock cycles of each layer's compiled circuits over all images (empty unless they ran),
    ``steps`` says what they ran for its sums. ``certificates`` say which layers no input can overflow. ``replays`` are the outputs that ``simulators`` ran as well.
    """

    network: str
    data: str
    backend: str
    accuracy: Accuracy
    cycles: Mapping[str, int]
    steps: Mapping[str, str]
    simulators: tuple[str, ...]
    replays: tuple[Replay, ...]
    certificates: tuple[Certificate, ...] = ()

    @property
    def verdicts(self) -> dict[str, str]:
        """What is known of each layer's accumulators: proved, or what they did on these images."""
        proved = {c.layer for c in self.certificates if c.proved}
        return {o.layer: self._known(o, o.layer in proved) for o in self.accuracy.overflows}

    def _known(self, seen: Overflows, proved: bool) -> str:
        if proved:
            return "proved safe"
        if seen.overflowed:
            return f"overflows in {seen.overflowed} of {seen.sums} sums"
        return f"safe on {self.accuracy.images} images"

    @property
    def difference(self) -> Difference | None:
        """The first value on which a circuit and the arithmetic disagree, or None."""
        found = (self.accuracy.difference, *(r.difference for r in self.replays))
        return next((d for d in found if d is not None), None)

    def to_json(self) -> dict[str, Any]:
        low, high = self.accuracy.interval
        return {
            "network": self.network,
            "data": self.data,
            "backend": self.backend,
            "correct": self.accuracy.correct,
            "images": self.accuracy.images,
            "accuracy_percent": self.accuracy.percent,
            "interval_percent": [low, high],
            "overflows": [asdict(o) for o in self.accuracy.overflows],
            "accumulators": self.verdicts,
            "circuit_cycles": dict(self.cycles),
            "circuit_steps": dict(self.steps),
            "verified_in": list(self.simulators),
            "verified": [asdict(r) for r in self.replays],
            "equal": self.difference is None,
        }

    def text(self) -> str:
        """Return the result as a table for people."""
        low, high = self.accuracy.interval
        overflows = {o.layer: o for o in self.accuracy.overflows}
        width = max(map(len, [*overflows, *self.cycles, "layer"]))
        lines = [f"{'layer':{width}}  {'sums':>12}  {'circuit cycles':>14}  accumulators"]
        for name in dict.fromkeys([*self.cycles, *overflows]):
            sums = overflows[name].sums if name in overflows else ""
            known = self.verdicts.get(name, "")
            lines.append(f"{name:{width}}  {sums:>12}  {self.cycles.get(name, ''):>14}  {known}".rstrip())
        lines += [
            f"  overflows in {o.layer} by channel: {_channels(o.by_channel)}"
            for o in overflows.values()
            if o.overflowed
        ]
        lines.append(
            f"accuracy {self.accuracy.percent:.2f}% ({self.accuracy.correct} of {self.accuracy.images} test images of "
            f"{self.data}, 95% interval {low:.2f} to {high:.2f})"
        )
        return "\n".join([*lines, *self._verdict()])

    def _verdict(self) -> Iterator[str]:
        """Yield how much the circuits ran and whether anything differed, a line each."""
        if self.cycles:
            yield f"circuits: every output of every image, {sum(self.cycles.values())} clock cycles"
            for step in dict.fromkeys(self.steps.values()):
                layers = [name for name, other in self.steps.items() if other == step]
                which = "all layers" if len(layers) == len(self.steps) else ", ".join(layers)
                yield f"  sums of {which}: {step}"
        if self.replays:
            outputs, cycles = (
                sum(getattr(r, field) for r in self.replays) for field in ("compared", "cycles")
            )
            where = " and in ".join(_SIMULATORS[name] for name in self.simulators)
            agreed = sum(r.difference is None for r in self.replays)
            how = (
                "all agree"
                if agreed == len(self.replays)
                else f"{agreed} of {len(self.replays)} layers agree"
            )
            yield f"sample: {outputs} outputs of all layers, {cycles} clock cycles, in {where}: {how}"
        if self.cycles or self.replays:
            compared = (
                "every output and overflow" if self.cycles else "every accumulator and output of the sample"
            )
            yield f"circuits against arithmetic, at {compared}: {self.difference or 'no difference'}"


_SIMULATORS = {"pyrtl": "PyRTL's simulator", "verilog": "Icarus Verilog", "verilator": "Verilator"}


def _channels(counts: tuple[int, ...]) -> str:
    return ", ".join(f"{channel}: {count}" for channel, count in enumerate(counts) if count)


def simulate_network(
    network: QuantizedNetwork | Path | str,
    *,
    data: str = "",
    images: int = 0,
    backend: str = "lanes",
    verify: int = 4,
    seed: int = 0,
    mac: str = "mac",
    gates: bool = False,
    threads: int = 0,
    progress: Callable[[str, int, int], None] = lambda stage, done, planned: None,
) -> Simulation:
    """Run an integer network on a test split and compare its circuits with exact arithmetic.

    ``backend`` is one of :data:`BACKENDS`. With "lanes" the compiled circuits compute every output of every
    image, on ``threads`` threads (0 for all cores), and are compared at every tensor; sums run as arithmetic
    where a multiply-accumulate is proved to be that, unless ``gates``. ``verify`` outputs of each layer, drawn
    with ``seed`` from the first 16 images, go through PyRTL's simulator and, where installed, Icarus Verilog
    or Verilator as well. With "pyrtl" and
    "verilog" the arithmetic computes the network and the named simulator that sample alone. ``progress`` is told a stage,
    what is done of it and what is planned.
    """
    chosen = read_network(network)
    if backend not in BACKENDS:
        raise unknown("backend", backend, BACKENDS)
    tested = network_split(chosen, data, "test", "to test on: --data file.npz", images)
    x, labels = tested.images, tested.labels
    compiled = (
        Circuits(
            chosen,
            mac=mac,
            gates=gates,
            threads=threads or os.cpu_count() or 1,
            progress=partial(progress, "compile layers"),
        )
        if backend == "lanes"
        else None
    )
    accuracy = measure_accuracy(
        chosen,
        x,
        labels,
        compute=compiled.compute if compiled else compute_layer,
        against=compute_layer if compiled else None,
        progress=partial(progress, "simulate images"),
    )
    simulators = _simulators(backend) if verify else ()
    replays = (
        replay(
            chosen,
            x[:VERIFIED_IMAGES],
            outputs=verify,
            simulators=simulators,
            seed=seed,
            mac=mac,
            progress=partial(progress, "verify layers"),
        )
        if simulators
        else ()
    )
    cycles = {item.layer.name: compiled.cycles(item) * len(x) for item in chosen.layers} if compiled else {}
    return Simulation(
        chosen.name,
        data or chosen.data,
        backend,
        accuracy,
        {name: count for name, count in cycles.items() if count},
        compiled.steps if compiled else {},
        simulators,
        replays,
        certify(chosen),
    )


def _simulators(backend: str) -> tuple[str, ...]:
    if backend == "lanes":
        return ("pyrtl", *_verilog())
    if backend == "verilog":
        return _verilog() or ("verilog",)
    return () if backend == "arithmetic" else (backend,)


def _verilog() -> tuple[str, ...]:
    """Return the Verilog simulator that is installed: Icarus before Verilator, which compiles each circuit."""
    if shutil.which("iverilog") and shutil.which("vvp"):
        return ("verilog",)
    return ("verilator",) if shutil.which("verilator") else ()
