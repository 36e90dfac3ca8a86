"""Weights as integers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hwsim.errors import HwsimError
from hwsim.formats import Focused, Format, Int, IntArray
from hwsim.network import FloatArray
from hwsim.quantize import allocation
from hwsim.quantize.focused import focus
from hwsim.quantize.scales import rounded, scale_of
from hwsim.quantize.settings import Settings
from hwsim.quantize.statistics import row_statistics


class IntegerWeight(NamedTuple):
    """Integers of a weight's shape and the scale of each output channel: real value = integer * scale.

    ``width`` holds the bits of each output channel where bits were shared out among them; ``masks`` [masks, *shape]
    are 1 where ``means`` [masks, outputs] are added to ``values``.
    """

    values: IntArray
    scale: FloatArray
    width: IntArray | None = None
    masks: IntArray | None = None
    means: IntArray | None = None

    @property
    def real(self) -> FloatArray:
        """The weights that are computed with."""
        whole = self.values
        if self.masks is not None and self.means is not None:
            whole = whole + (self.masks * self.means[:, :, None, None, None]).sum(axis=0)
        return whole * self.scale[:, None, None, None]

    def folded(self, gain: FloatArray) -> IntegerWeight:
        """Return the weight multiplied by each output channel's ``gain``: its sign in the integers, its size in the scale."""
        sign, scale = np.sign(gain).astype(np.int64), self.scale * np.abs(gain)
        return self._replace(
            values=self.values * sign[:, None, None, None],
            scale=np.where(scale > 0, scale, 1.0),
            means=None if self.means is None else self.means * sign,
        )


def quantize_weight(weight: FloatArray, target: Format, settings: Settings) -> IntegerWeight:
    """Return the integers of a weight [outputs, inputs, kernel height, kernel width].

    The threshold is the largest magnitude of the format: int4 holds -7..7, pow2x4 0 and +-1, +-2, ... +-64.
    Integers round half to even; a power of two is the nearest level, the larger of two as near. With an
    allocation the output channels have 0 to 8 bits, those of ``target`` on average: see :func:`shared_out`.
    """
    if settings.allocation != "none":
        return shared_out(weight, target, settings)
    channels = len(weight)
    rows = weight.reshape(channels, -1) if settings.granularity == "channel" else weight.reshape(1, -1)
    threshold = settings.weight_quantizer(row_statistics(rows), target)
    scale = np.broadcast_to(scale_of(threshold, target), channels)
    return IntegerWeight(round_to(weight / scale[:, None, None, None], target), scale)


def shared_out(weight: FloatArray, target: Format, settings: Settings) -> IntegerWeight:
    """Return the integers of a weight whose output channels have widths of their own.

    ``paper`` shares out levels by the channels' standard deviations, at 4 bits and below as its authors' code
    does, so that wider layers keep one width; ``exact`` minimises the squared error that the weights' own
    quantizer leaves, within outputs * bits. A channel of 0 bits is 0 (the authors' is its smallest value, their
    grid being affine), and so is one of 1 bit, an integer symmetric about zero having no other value.
    """
    if not isinstance(target, Int):
        raise HwsimError(
            f"allocation shares out the bits of integer weights, not of {target}; write int4, say"
        )
    rows = weight.reshape(len(weight), -1)
    # Squares are in units of a power of two, so that none of a tiny or huge weight leaves the range.
    _, exponent = np.frexp(np.abs(rows).max())
    if settings.allocation == "paper":
        widths = np.full(len(rows), target.bits)
        if target.bits <= _PAPER_BITS:
            widths = allocation.paper(np.ldexp(row_statistics(rows).std, -exponent), target.bits)
        choices = {bits: _rounded_rows(rows, bits, settings) for bits in set(widths.tolist())}
    else:
        choices = {bits: _rounded_rows(rows, bits, settings) for bits in range(_WIDEST + 1)}
        left = [c.values * c.scale[:, None] - rows for c in choices.values()]
        errors = [np.square(np.ldexp(error, -exponent)).sum(axis=1) for error in left]
        widths = allocation.least_error(rounded(np.array(errors).T), target.bits)
    values = np.array([choices[width].values[row] for row, width in enumerate(widths.tolist())])
    scale = np.array([choices[width].scale[row] for row, width in enumerate(widths.tolist())])
    return IntegerWeight(values.reshape(weight.shape), scale, widths)


_PAPER_BITS = 4
_WIDEST = 8


def _rounded_rows(rows: FloatArray, bits: int, settings: Settings) -> IntegerWeight:
    if bits < 2:
        return IntegerWeight(np.zeros(rows.shape, np.int64), np.ones(len(rows)))
    scale = scale_of(settings.weight_quantizer(row_statistics(rows), Int(bits)), Int(bits))
    return IntegerWeight(round_to(rows / scale[:, None], Int(bits)), scale)


def focused_weight(
    weight: FloatArray, gain: FloatArray, target: Focused, settings: Settings
) -> IntegerWeight:
    """Return a stored weight in focused form, and multiplied by each output channel's ``gain`` afterwards.

    Both means belong to the layer as it was trained; what batch norm multiplies a channel by goes into its scale and
    its sign into its integers.
    """
    form = focus(weight, target, threshold=settings.separation, components=settings.components)
    means = None if form.means is None else np.outer(form.means, np.ones(len(weight), np.int64))
    scale = np.full(len(weight), form.scale)
    return IntegerWeight(form.values, scale, masks=form.masks, means=means).folded(gain)


def round_to(values: FloatArray, target: Format) -> IntArray:
    """Return the nearest values of a format, its most negative one left out if its opposite is not there.

    >>> from hwsim.formats import PowerOfTwo
    >>> round_to(np.array([2.5, 2.9, 3.1, -9.0]), PowerOfTwo(3)).tolist()
    [2, 2, 4, -4]
    """
    if isinstance(target, Int):
        return np.clip(np.rint(values), -target.maximum, target.maximum).astype(np.int64)
    levels = target.levels[target.levels >= 0]
    nearest = levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, np.abs(values), side="right")]
    return np.where(values < 0, -nearest, nearest)
