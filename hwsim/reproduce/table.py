"""A paper's table: its setups with the figures it prints, and the same setups measured on other networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hwsim.certificate import narrowed
from hwsim.data import Split, load_split
from hwsim.errors import HwsimError
from hwsim.models import load_model
from hwsim.network import FloatNetwork, QuantizedNetwork
from hwsim.quantize import calibrate, quantize
from hwsim.quantize.calibrate import Calibration
from hwsim.quantize.settings import Settings
from hwsim.reproduce.measure import Gain, Measured, gain, measure, measure_float

Show = Callable[[str, int, int], None]
"""Called with a stage, what is done of it and what is planned."""


@dataclass(frozen=True)
class Setup:
    """One row of a table: bits, quantizer, and the top-1 accuracies in percent that the paper prints for it.

    ``group`` is the part of the table it stands in. A setup with no published figure is one beside the paper's.
    ``accumulators`` is as in :func:`hwsim.quantize_model`.
    """

    group: str
    method: str
    bits: str
    quantizer: str
    published: Mapping[str, float] = field(default_factory=dict)
    accumulators: str = "given"

    @property
    def name(self) -> str:
        return f"{self.group} {self.method}"


@dataclass(frozen=True)
class Claim:
    """A statement of a paper that one setup is better than another, by their names."""

    text: str
    better: str
    worse: str


@dataclass(frozen=True)
class Paper:
    """A paper's table with its claims, the networks at hand to measure them on, and what to know about both.

    ``float_accuracy`` is what the paper prints for its networks unquantized; ``notes`` are paragraphs.
    """

    name: str
    title: str
    citation: str
    float_accuracy: Mapping[str, float]
    setups: tuple[Setup, ...]
    claims: tuple[Claim, ...]
    networks: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Row:
    """A setup measured on one network."""

    setup: Setup
    network: str
    measured: Measured

    def to_json(self, float_percent: float) -> dict[str, Any]:
        measured, (low, high) = self.measured, self.measured.interval
        fake = measured.fake
        return {
            "group": self.setup.group,
            "method": self.setup.method,
            "bits": self.setup.bits,
            "quantizer": self.setup.quantizer,
            "network": self.network,
            "images": measured.images,
            "top1": round(measured.percent, 2),
            "low": round(low, 2),
            "high": round(high, 2),
            "change": round(measured.percent - float_percent, 2),
            "fake_quantized_top1": "" if fake is None else round(100 * float(fake.mean()), 2),
            "differing_predictions": measured.differing,
            "overflowed_sums": sum((measured.overflowed or {}).values()),
            "sums": sum((measured.sums or {}).values()),
            "seconds": measured.seconds,
        }


@dataclass(frozen=True, eq=False)
class Bench:
    """One network with its calibration and test images, ready to be quantized in many ways."""

    name: str
    network: FloatNetwork
    calibration: Calibration
    test: Split

    def quantized(self, setup: Setup) -> QuantizedNetwork:
        settings = Settings.parse(setup.quantizer)
        made = quantize(self.network, setup.bits, self.calibration, settings=settings)
        return narrowed(made) if setup.accumulators == "proved" else made


@dataclass(frozen=True, eq=False)
class Table:
    """A paper's setups measured on networks at hand; ``floats`` are these unquantized."""

    paper: Paper
    rows: tuple[Row, ...]
    floats: Mapping[str, Measured]

    def of(self, name: str, network: str) -> Measured:
        """Return the measurement of a setup by name."""
        return next(r.measured for r in self.rows if r.setup.name == name and r.network == network)

    def gains(self) -> Iterator[tuple[Claim, str, Gain]]:
        """Yield every claim on every network: by how much the better setup is better, in pairs of images."""
        for claim in self.paper.claims:
            for network in self.floats:
                yield claim, network, gain(self.of(claim.better, network), self.of(claim.worse, network))


def bench(name: str, images: int, show: Show) -> Bench:
    """Return a built-in network with its splits; ``images`` limits the test images, 0 takes all."""
    network = load_model(name)
    test = load_split(network.data, "test", network.input_shape)
    seen = load_split(network.data, "calibration", network.input_shape)
    calibration = calibrate(
        network, seen.images, progress=lambda done, planned: show(f"calibrate {name}", done, planned)
    )
    return Bench(name, network, calibration, test.part(slice(images)) if images else test)


def fill(paper: Paper, benches: Sequence[Bench], show: Show) -> Table:
    """Return the table of a paper's setups on networks; what was measured before is recalled."""
    rows, floats = list[Row](), dict[str, Measured]()
    for at in benches:
        floats[at.name] = measure_float(at.network, at.test, progress=_stage(show, f"{at.name} in float"))
        for setup in paper.setups:
            progress = _stage(show, f"{at.name} {setup.name}")
            rows.append(Row(setup, at.name, measure(at.quantized(setup), at.test, progress=progress)))
    return Table(paper, tuple(rows), floats)


def _stage(show: Show, stage: str) -> Callable[[int, int], None]:
    return lambda done, planned: show(stage, done, planned)


def check(paper: Paper) -> None:
    """Refuse a paper whose claims name setups that it does not have."""
    names = [setup.name for setup in paper.setups]
    for claim in paper.claims:
        for name in (claim.better, claim.worse):
            if names.count(name) != 1:
                raise HwsimError(f'the claim "{claim.text}" names the setup "{name}", one of {names}')
