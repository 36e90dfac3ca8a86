"""What the pruned and fine-tuned setups of a table took: epochs, seconds and the loss they ended at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hwsim.reproduce.table import Bench, Setup, Table
from hwsim.reproduce.write import as_csv, markdown


def section(table: Table, benches: Sequence[Bench]) -> tuple[dict[str, str], dict[str, str]]:
    """Return a text on the stages of every training, by heading, and the figures as a file."""
    trained = [setup for setup in table.paper.setups if setup.training is not None]
    rows = [row for at in benches if at.trains for setup in trained for row in _stages(at, setup)]
    if not rows:
        return {}, {}
    shown = [
        [
            row["network"],
            row["setup"],
            row["stage"],
            f"{row['zero_weights_percent']:.2f}%",
            str(row["epochs"]),
            f"{row['loss']:.4f}",
            f"{row['training_images_right_percent']:.2f}%",
            f"{row['seconds']:.0f}",
        ]
        for row in rows
    ]
    headings = ["network", "setup", "stage", "zeros", "epochs", "loss", "training images right", "seconds"]
    text = "Seconds are those of the machine that trained, whatever else it did meanwhile; also in [trainings.csv](trainings.csv).\n\n"
    return {"Training": text + markdown(headings, shown)}, {"trainings.csv": as_csv(rows)}


def _stages(at: Bench, setup: Setup) -> Iterator[dict[str, Any]]:
    for stage in at.stages(setup):
        if not stage.epochs:
            continue
        last = stage.epochs[-1]
        yield {
            "network": at.name,
            "setup": setup.name,
            "stage": stage.name,
            "zero_weights_percent": round(100 * stage.sparsity, 2),
            "epochs": len(stage.epochs),
            "loss": round(last.loss, 4),
            "training_images_right_percent": round(100 * last.correct / last.images, 2),
            "seconds": round(stage.seconds, 1),
        }
