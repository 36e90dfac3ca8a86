"""``hwsim fine-tune``: a network pruned and trained as the integers it will be."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from hwsim.data import network_split
from hwsim.models import load_model
from hwsim.models.channel_groups import WHOLE, ChannelGroups, split_channels
from hwsim.network import FloatNetwork, QuantizedNetwork
from hwsim.quantize.pipeline import Stage, Told, stages
from hwsim.quantize.settings import Settings
from hwsim.quantize.training import Recipe

SMALLEST_BATCH, LARGEST_BATCH = 16, 128


@dataclass(frozen=True, eq=False)
class FineTuned:
    """A fine-tuned network: its stages, of which the last holds the float network and its integers."""

    stages: tuple[Stage, ...]

    @property
    def network(self) -> FloatNetwork:
        """The float network as trained."""
        return self.stages[-1].network

    @property
    def integers(self) -> QuantizedNetwork:
        """The integer network it was trained as."""
        integers = self.stages[-1].integers
        assert integers is not None
        return integers

    def to_json(self) -> dict[str, Any]:
        return {"stages": [_stage_json(stage) for stage in self.stages], "source": self.integers.source}

    def text(self) -> str:
        """Return the stages as a table for people."""
        lines = [
            f"{'stage':12}{'zero weights':>14}{'epochs':>8}{'loss':>9}{'training images':>17}{'seconds':>9}"
        ]
        for stage in self.stages[1:]:
            loss = right = ""
            if stage.epochs:
                last = stage.epochs[-1]
                loss, right = f"{last.loss:.4f}", f"{100 * last.correct / last.images:.2f}% right"
            zeros = f"{100 * stage.sparsity:.2f}%"
            lines.append(
                f"{stage.name:12}{zeros:>14}{len(stage.epochs):8}{loss:>9}{right:>17}{stage.seconds:9.1f}"
            )
        return "\n".join(lines)


def _stage_json(stage: Stage) -> dict[str, Any]:
    return {
        "stage": stage.name,
        "sparsity": stage.sparsity,
        "seconds": stage.seconds,
        "epochs": [asdict(epoch) for epoch in stage.epochs],
    }


def fine_tune_model(
    model: str | FloatNetwork,
    bits: str = "w4a4/int32",
    *,
    epochs: int = 6,
    rate: float = 0.01,
    sparsity: float = 0.0,
    float_epochs: int = 0,
    float_rate: float = 0.01,
    batch: int = 0,
    shift: int | None = None,
    mirror: bool | None = None,
    seed: int = 0,
    quantizer: str = "",
    channels: ChannelGroups = WHOLE,
    data: str = "",
    calibration: str = "",
    images: int = 0,
    progress: Told = lambda stage, done, planned, epoch: None,
    **preprocessing: Any,
) -> FineTuned:
    """Return a trained network pruned, fine-tuned in float, quantized and fine-tuned as integers; what has no epochs is left out.

    ``model``, ``bits``, ``quantizer``, ``channels``, ``calibration``, ``images`` and the preprocessing are those of :func:`quantize_model`.
    Training reads the train split of ``data`` (a data set or an NPZ file; the model's own data if left out): ``batch`` images
    at a time (0 takes a thirtieth of the split, 16 to 128), each moved by up to ``shift`` pixels (by default a
    sixteenth of the height) and mirrored at random if ``mirror`` (by default colour images are).
    """
    network = load_model(model, **preprocessing) if isinstance(model, str) else model
    network = split_channels(network, channels)
    train = network_split(network, data, "train", "for its train split: --data file.npz")
    purpose = "for its calibration split: --calibration file.npz"
    seen = network_split(network, calibration, "calibration", purpose, images)
    colours, height, _ = network.input_shape
    recipe = Recipe(
        epochs,
        rate,
        batch or min(max(len(train) // 30, SMALLEST_BATCH), LARGEST_BATCH),
        shift=max(1, height // 16) if shift is None else shift,
        mirror=colours == 3 if mirror is None else mirror,
        seed=seed,
    )
    float_recipe = replace(recipe, epochs=float_epochs, rate=float_rate)
    done = stages(
        network,
        bits,
        train,
        seen,
        settings=Settings.parse(quantizer),
        recipe=recipe,
        sparsity=sparsity,
        float_recipe=float_recipe,
        progress=progress,
    )
    return FineTuned(tuple(done))
