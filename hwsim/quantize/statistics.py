"""What a clipping method may know of a tensor: a few numbers and a histogram."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from hwsim.formats import IntArray
from hwsim.network import FloatArray

BINS = 2048
"""Bins of the histogram of a tensor's magnitudes."""

CHANNEL_BINS = 512
"""Bins of the histogram of a channel's magnitudes."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """Statistics of one tensor (arrays of shape []) or of each channel of a weight or an activation ([channels]).

    ``deviation`` is the mean absolute deviation from ``mean``, the b of a Laplace distribution; ``std`` the
    standard deviation, the sigma of a normal one. ``histogram`` counts |x| in :data:`BINS` equal bins from
    0 to :attr:`peak` (a channel's, [channels, bins], in :data:`CHANNEL_BINS`), zeros left out: every threshold keeps them exactly, and the spike that a ReLU makes of
    them would outweigh all else. Weights have ``rows`` instead, the values themselves. ``before_relu`` describes the input of a ReLU (or of a clip from 0)
    where the tensor is its output; it has no histogram where nothing else reads it.
    """

    count: int
    minimum: FloatArray
    maximum: FloatArray
    mean: FloatArray
    deviation: FloatArray
    std: FloatArray
    histogram: IntArray | None = None
    before_relu: Statistics | None = None
    rows: FloatArray | None = None

    @property
    def peak(self) -> FloatArray:
        """max |x|."""
        return np.maximum(np.abs(self.minimum), np.abs(self.maximum))

    def select(self, channels: IntArray | int) -> Statistics:
        """Return the statistics of some channels, or of one as those of a tensor."""
        arrays = {
            field.name: np.asarray(value[channels])
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), np.ndarray)
        }
        before = None if self.before_relu is None else self.before_relu.select(channels)
        return replace(self, before_relu=before, **arrays)  # type: ignore[arg-type]


def row_statistics(rows: FloatArray) -> Statistics:
    """Return the statistics of each row of [channels, values].

    >>> row_statistics(np.array([[-1.0, 3.0]])).deviation
    array([2.])
    """
    mean = rows.mean(axis=1)
    centred = rows - mean[:, None]
    # Squared in units of a power of two, so that no square of a tiny or huge weight leaves the range.
    _, exponent = np.frexp(np.abs(centred).max(axis=1))
    squares = np.square(np.ldexp(centred, -exponent[:, None])).mean(axis=1)
    return Statistics(
        count=rows.shape[1],
        minimum=rows.min(axis=1),
        maximum=rows.max(axis=1),
        mean=mean,
        deviation=np.abs(centred).mean(axis=1),
        std=np.ldexp(np.sqrt(squares), exponent),
        rows=rows,
    )
