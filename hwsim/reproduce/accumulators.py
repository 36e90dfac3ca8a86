"""What a 16-bit accumulator holds: by the published rule, by proof, and on the images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from hwsim.certificate import certify
from hwsim.reproduce.table import Bench, Setup, Table
from hwsim.reproduce.write import as_csv, markdown


def section(table: Table, benches: Sequence[Bench]) -> tuple[dict[str, str], dict[str, str]]:
    """Return a text on every setup with INT16 accumulators that wrap, by heading, and its layers as a file."""
    narrow = [setup for setup in table.paper.setups if setup.bits.endswith("/int16")]
    if not narrow:
        return {}, {}
    layers = {(at.name, setup.bits): list(_layers(table, at, setup)) for at in benches for setup in narrow}
    summary = [[*names, *_summary(rows)] for names, rows in layers.items()]
    headings = [
        "network",
        "bits",
        "layers",
        "within the rule",
        "proved safe",
        "safe on the images",
        "overflowing sums",
    ]
    text = (
        "The rule of the paper allows 16 bits where weight and activation have 14 bits together. A layer is proved safe "
        "where no input at all overflows a channel, which follows from its integer weights; the other layers overflow "
        "for some input, and `hwsim certify` shows one on the circuit. Layer by layer in "
        "[accumulators.csv](accumulators.csv), with the narrowest width that is safe.\n\n"
    )
    rows = as_csv(chain.from_iterable(layers.values()))
    return {"What 16 bits hold": text + markdown(headings, summary)}, {"accumulators.csv": rows}


def _layers(table: Table, at: Bench, setup: Setup) -> Iterator[dict[str, Any]]:
    measured = table.of(setup.name, at.name)
    assert measured is not None and measured.overflowed is not None and measured.sums is not None
    for certificate in certify(at.quantized(setup)):
        yield {"network": at.name, **certificate.to_json()} | {
            "unsafe_channels": certificate.unsafe.size,
            "channels": certificate.low.size,
            "images": measured.images,
            "overflowed_sums": measured.overflowed[certificate.layer],
            "sums": measured.sums[certificate.layer],
        }


def _summary(layers: Sequence[dict[str, Any]]) -> list[str]:
    overflowed, sums = (sum(row[field] for row in layers) for field in ("overflowed_sums", "sums"))
    counts = (
        len(layers),
        sum(row["within_14_bit_rule"] for row in layers),
        sum(row["proved"] for row in layers),
        sum(not row["overflowed_sums"] for row in layers),
    )
    return [*map(str, counts), f"{overflowed} of {sums} ({100 * overflowed / sums:.4f}%)"]
