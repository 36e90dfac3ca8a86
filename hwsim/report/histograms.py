"""The weights of layers as histograms over the levels that they are rounded to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from hwsim.explore.explanation import LayerWeights
from hwsim.formats import Focused, Int
from hwsim.report import wording
from hwsim.report.svg import histogram


@dataclass(frozen=True)
class Histogram:
    """A layer's weights in units of their quantizer's step, and in words the levels that are drawn below them."""

    layer: str
    form: str
    levels: int
    drawing: Markup


def histograms(weights: Sequence[LayerWeights], bits: Mapping[str, str]) -> Iterator[Histogram]:
    """Yield the histogram of each layer whose text of bits names a format with levels at its quantizer's steps."""
    for given in weights:
        parsed = wording.layer_bits(bits.get(given.layer, ""))
        if parsed is None or isinstance(parsed.weight, Focused):
            continue
        form = parsed.weight
        levels = range(-form.maximum, form.maximum + 1) if isinstance(form, Int) else form.levels.tolist()
        counts = [int(count) for count in given.counts.split()]
        yield Histogram(given.layer, str(form), len(levels), histogram(counts, given.edge, levels))
