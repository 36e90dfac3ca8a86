"""A paper's table: its setups with the figures it prints, and the same setups measured on other networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hwsim.certificate import narrowed
from hwsim.cost.sparse import encode
from hwsim.data import DATA_SETS, Split, network_split
from hwsim.models import load_model
from hwsim.network import FloatNetwork, QuantizedNetwork
from hwsim.quantize import quantize
from hwsim.quantize.calibrate import Calibration
from hwsim.quantize.once import calibrate_once
from hwsim.quantize.pipeline import Stage
from hwsim.quantize.settings import Settings
from hwsim.quantize.training import Epoch
from hwsim.reproduce.measure import Gain, Measured, gain, measure, measure_float
from hwsim.steps.fine_tune import fine_tune_model

IMAGES = {"squeezenet-imagenet": 500, "mobilenet_v2-imagenet": 500}
"""Test images of networks whose circuits take minutes a row; of the others all."""

Show = Callable[[str, int, int], None]
"""Called with a stage, what is done of it and what is planned."""


def silent(stage: str, done: int, planned: int) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class Training:
    """Pruning and fine-tuning before a measurement, as :func:`hwsim.fine_tune_model` takes them."""

    sparsity: float = 0.0
    float_epochs: int = 0
    float_rate: float = 0.01
    epochs: int = 0
    rate: float = 0.01


@dataclass(frozen=True)
class Setup:
    """One row of a table: bits, quantizer, and the top-1 accuracies in percent that the paper prints for it.

    ``group`` is the part of the table it stands in. A setup with no published figure is one beside the paper's.
    ``accumulators`` is as in :func:`hwsim.quantize_model`. Without bits the float network is measured. ``file`` names
    a method and the bits of a sparse network's file (:func:`hwsim.cost.sparse.encode`), whose weights are those used.
    """

    group: str
    method: str
    bits: str
    quantizer: str
    published: Mapping[str, float] = field(default_factory=dict)
    accumulators: str = "given"
    training: Training | None = None
    file: tuple[str, int] | None = None

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
    seen: Split
    calibration: Calibration
    test: Split

    @property
    def trains(self) -> bool:
        """Whether the network's data has a split to train on."""
        return "train" in DATA_SETS[self.network.data].splits

    def measured(self, setup: Setup, show: Show) -> Measured:
        """Return what a setup's circuits, or its float network, make of the test images."""
        progress = _stage(show, f"{self.name} {setup.name}")
        if not setup.bits:
            return measure_float(self.trained(setup, show).network, self.test, progress=progress)
        return measure(self.quantized(setup, show), self.test, progress=progress)

    def quantized(self, setup: Setup, show: Show = silent) -> QuantizedNetwork:
        """Return a setup's integer network."""
        stage = self.trained(setup, show)
        if setup.training and setup.training.epochs:
            assert stage.integers is not None
            return stage.integers
        network = stage.network if setup.file is None else encode(stage.network, *setup.file).network
        settings = Settings.parse(setup.quantizer)
        kept = network is self.network and not settings.compensates
        calibration = (
            self.calibration if kept else calibrate_once(network, self.seen, moments=settings.compensates)
        )
        made = quantize(network, setup.bits, calibration, settings=settings)
        return narrowed(made) if setup.accumulators == "proved" else made

    def trained(self, setup: Setup, show: Show = silent) -> Stage:
        """Return the last stage of a setup's training: the float network, and its integers if it trained them."""
        return self.stages(setup, show)[-1]

    def stages(self, setup: Setup, show: Show = silent) -> list[Stage]:
        """Return the stages of a setup's training, the float network's first; what was trained before is recalled."""
        training = setup.training
        if training is None:
            return [Stage("float", self.network)]

        def told(stage: str, done: int, planned: int, epoch: Epoch) -> None:
            show(f"{self.name} {setup.name}: {stage}", done, planned)

        bits = setup.bits if training.epochs else "w8a8/int32"
        done = fine_tune_model(
            self.network, bits, quantizer=setup.quantizer, progress=told, **asdict(training)
        )
        return [stage for stage in done.stages if training.epochs or stage.integers is None]


_LOSS_WORTH_A_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class Table:
    """A paper's setups measured on networks at hand; ``floats`` are these unquantized."""

    paper: Paper
    rows: tuple[Row, ...]
    floats: Mapping[str, Measured]

    def of(self, name: str, network: str) -> Measured | None:
        """Return the measurement of a setup by name, or nothing where it could not be trained."""
        found = (r.measured for r in self.rows if r.setup.name == name and r.network == network)
        return next(found, None)

    def recovered(self, claim: Claim, network: str) -> float | None:
        """Return which share of the worse setup's loss against float the better one has not, if it loses half a point."""
        exact, better, worse = (
            measured.percent
            for measured in (
                self.floats[network],
                self.of(claim.better, network),
                self.of(claim.worse, network),
            )
            if measured is not None
        )
        return (better - worse) / (exact - worse) if exact - worse >= _LOSS_WORTH_A_SHARE else None

    def gains(self) -> Iterator[tuple[Claim, str, Gain]]:
        """Yield every claim on every network: by how much the better setup is better, in pairs of images."""
        for claim in self.paper.claims:
            for network in self.floats:
                better, worse = self.of(claim.better, network), self.of(claim.worse, network)
                if better is not None and worse is not None:
                    yield claim, network, gain(better, worse)


def bench(name: str, images: int, show: Show) -> Bench:
    """Return a built-in network with its splits; ``images`` limits the test images, 0 takes those of :data:`IMAGES`."""
    network = load_model(name)
    seen = network_split(network, "", "calibration", "to calibrate on")
    test = network_split(network, "", "test", "to measure on", images or IMAGES.get(name, 0))
    calibration = calibrate_once(network, seen, _stage(show, f"calibrate {name}"))
    return Bench(name, network, seen, calibration, test)


def fill(paper: Paper, benches: Sequence[Bench], show: Show) -> Table:
    """Return the table of a paper's setups on networks; what was measured before is recalled."""
    floats = {
        at.name: measure_float(at.network, at.test, progress=_stage(show, f"{at.name} in float"))
        for at in benches
    }
    rows = [
        Row(setup, at.name, at.measured(setup, show))
        for at in benches
        for setup in paper.setups
        if setup.training is None or at.trains
    ]
    return Table(paper, tuple(rows), floats)


def _stage(show: Show, stage: str) -> Callable[[int, int], None]:
    return lambda done, planned: show(stage, done, planned)
