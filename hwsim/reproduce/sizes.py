"""What pruned networks take in files: focused, shift and shared values at equal sparsity, beside the published ratios."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hwsim.cost.sparse import encode, float32_bytes
from hwsim.quantize.prune import sparsity_of
from hwsim.reproduce.table import Bench, Setup, Table
from hwsim.reproduce.write import as_csv, markdown

_FILES = (("focused", 5), ("focused", 7), ("shift", 5), ("codebook", 5), ("codebook", 4))
PUBLISHED = (
    ("ResNet-18 (paper)", "74.86%", "focused 5 bits", 46.76, 2.86, 16.33),
    ("ResNet-18 (paper)", "74.86%", "focused 7 bits", 46.76, 2.94, 15.92),
    ("ResNet-50 (paper)", "82.70%", "focused 5 bits", 93.82, 5.19, 18.08),
    ("ResNet-50 (paper)", "82.70%", "focused 7 bits", 93.82, 5.22, 17.98),
    ("MobileNet-V1 (paper)", "33.80%", "focused 7 bits", 16.84, 2.13, 7.90),
    ("MobileNet-V2 (paper)", "31.74%", "focused 7 bits", 13.88, 1.71, 8.14),
)
"""Zeros, method, MB (10^6 bytes) in float32 and in the file, and their ratio, as the paper's table 1 prints them."""


def section(table: Table, benches: Sequence[Bench]) -> tuple[dict[str, str], dict[str, str]]:
    """Return a text on the files of every pruned float network of a table, by heading, and the figures as a file."""
    pruned = [s for s in table.paper.setups if s.training and s.training.sparsity and not s.bits]
    rows = [row for at in benches if at.trains for setup in pruned for row in _files(at, setup)]
    if not rows:
        return {}, {}
    ours = [
        (
            row["network"],
            f"{row['zero_weights_percent']:.2f}%",
            row["method"],
            f"{row['float32_weight_bytes'] / 1e6:.4f}",
            f"{row['file_bytes'] / 1e6:.4f}",
            f"**{row['ratio_of_weights']:.2f}** ({row['ratio_of_all_parameters']:.2f})",
            f"{row['recentralized_layers']} of {row['layers']}" if row["recentralized_layers"] else "",
        )
        for row in rows
    ]
    printed = [
        (network, zeros, method, f"{dense:.2f}", f"{file:.2f}", f"{ratio:.2f}", "")
        for network, zeros, method, dense, file, ratio in PUBLISHED
    ]
    text = (
        "Millions of bytes: of the weights of layers in float32, and of files that decode to the network. The ratio is that of "
        "the weights, in brackets of all parameters. The paper's float32 sizes are all parameters of ResNet-18, the "
        "convolutions of ResNet-50 and all weights of the MobileNets. The last column says how many layers the paper's "
        "separation criterion recentralizes; which those are is in [sizes.csv](sizes.csv).\n\n"
    )
    headings = ["network", "zeros", "method", "float32, MB", "file, MB", "ratio", "recentralized layers"]
    return {"Files": text + markdown(headings, [*printed, *ours])}, {"sizes.csv": as_csv(rows)}


def _files(at: Bench, setup: Setup) -> Iterator[dict[str, Any]]:
    network = at.trained(setup).network
    for method, bits in _FILES:
        file = encode(network, method, bits)
        recentralized = [name for name, alphabet in file.alphabets.items() if alphabet == "recentralized"]
        yield {
            "network": at.name,
            "zero_weights_percent": round(100 * sparsity_of(network), 2),
            "method": f"{'k-means' if method == 'codebook' else method} {bits} bits",
            "float32_weight_bytes": float32_bytes(network)["weights"],
            "file_bytes": len(file.data),
            "weight_bytes": file.weight_bytes,
            "ratio_of_weights": round(file.weights_ratio, 3),
            "ratio_of_all_parameters": round(file.ratio, 3),
            "layers": len(file.alphabets),
            "recentralized_layers": len(recentralized),
            "recentralized": " ".join(recentralized),
        }
