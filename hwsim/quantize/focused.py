"""Focused quantization: weights as powers of two centred on the two means of their layer.

Zhao, Gao, Bates, Mullins, Xu, "Focused Quantization for Sparse CNNs" (NeurIPS 2019, arXiv 1903.03046), sections 3
and 4. A weight that is not pruned is +-2^(e-b) * deviation + mean, the mean one of two, with one deviation for both
(their deployment constraint). What the paper leaves open is decided so:

* n bits are a bit for the mean and an (n-1)-bit shift with k = n - 3: 2^k exponents. A layer whose components lie
  closer than ``separation`` (their w_sep = 2) is plain n-bit shift, k = n - 2, without means.
* The bias b is the largest at which at most 1 / (2^n + 1) of the weights exceed the largest power, n the k + 2 bits
  of the shift; so read, the rule finds the least squared error on a Gaussian for k = 1, 2 and 3.
* A mean is the nearest power of two *in units of the deviation*, so that mean and powers share one scale and a
  layer's weights are integers times it. The scale has 24 bits.
* Mixture and variance are those of the weights that are not zero. Zeros are pruned weights and stay zero.
* Values round to the nearest level, as the paper says (its first code rounded down, its second the logarithm).
* The component of a weight is the more probable one, which errs least, or drawn from both as in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwsim.formats import Focused, IntArray
from hwsim.network import FloatArray
from hwsim.quantize.mixture import fit_mixture, responsibilities, separation
from hwsim.quantize.scales import rounded

SEPARATION = 2.0
COMPONENTS = ("map", "sampled")


@dataclass(frozen=True, eq=False)
class FocusedWeight:
    """A layer's weights: real value = scale * (values + means[0] * masks[0] + means[1] * masks[1]).

    ``values`` are 0 and +-2^e; a plain layer has neither ``masks`` [2, *shape] nor ``means``, which are +-2^p.
    ``exponents`` is how many powers there are; ``separation`` is what the choice was made by, 0 where there were not two
    components.
    """

    values: IntArray
    scale: float
    separation: float
    exponents: int
    masks: IntArray | None = None
    means: tuple[int, int] | None = None

    @property
    def integers(self) -> IntArray:
        """The weights in units of the scale."""
        if self.masks is None or self.means is None:
            return self.values
        integers: IntArray = self.values + self.means[0] * self.masks[0] + self.means[1] * self.masks[1]
        return integers

    @property
    def real(self) -> FloatArray:
        """The weights as floats."""
        return self.integers.astype(np.float64) * self.scale


def focus(
    weights: FloatArray,
    target: Focused,
    *,
    threshold: float = SEPARATION,
    components: str = "map",
    seed: int = 0,
) -> FocusedWeight:
    """Return the weights of a layer in the alphabet that suits them.

    ``threshold`` is the separation from which two means are used, ``components`` one of :data:`COMPONENTS`,
    ``seed`` that of the sampled ones.
    """
    present = weights[weights != 0]
    mixture = fit_mixture(present)
    apart = 0.0 if mixture is None else separation(mixture, float(present.var()))
    if mixture is None or apart < threshold:
        return _plain(weights, target, apart)
    deviation = float(rounded(np.array(mixture.pooled_deviation)))
    second = responsibilities(weights, mixture)[1]
    chance = 0.5 if components == "map" else np.random.default_rng(seed).random(weights.shape)
    masks = np.stack([(second <= chance) & (weights != 0), (second > chance) & (weights != 0)]).astype(
        np.int64
    )
    powers = [power_of_two(float(mean) / deviation) for mean in mixture.mean]
    centred = weights / deviation - np.tensordot(powers, masks, axes=1)
    bias, count = _range(centred[weights != 0], target, recentralized=True)
    # The circuits hold a mean of up to 2^15 steps: a larger one takes the place of the smallest exponents.
    excess = max(0, int(np.log2(np.abs(powers).max())) + bias - 15)
    bias, count = bias - excess, max(count - excess, 1)
    # A mean below a step has no integer of its own: weights are centred on the one it gets.
    means = tuple(int(np.rint(np.ldexp(power, bias))) for power in powers)
    steps = np.ldexp(weights / deviation, bias) - np.tensordot(means, masks, axes=1)
    values = round_to_shift(steps, count) * masks.sum(axis=0)
    return FocusedWeight(values, float(np.ldexp(deviation, -bias)), apart, count, masks, (means[0], means[1]))


def _plain(weights: FloatArray, target: Focused, apart: float) -> FocusedWeight:
    bias, count = _range(weights[weights != 0], target, recentralized=False)
    values = round_to_shift(np.ldexp(weights, bias), count)
    return FocusedWeight(values, float(np.ldexp(1.0, -bias)), apart, count)


def _range(values: FloatArray, target: Focused, *, recentralized: bool) -> tuple[int, int]:
    """Return the bias of the circuits' smallest exponent, and how many exponents there are."""
    bits = target.bits - (3 if recentralized else 2)
    count = target.exponents(recentralized=recentralized)
    return shift_bias(values, bits) - ((1 << bits) - count), count


def shift_bias(values: FloatArray, bits: int) -> int:
    """Return the paper's b of a shift with ``bits`` bits of exponent, 2^(e - b) for e from 0 to 2^bits - 1.

    It is the largest at which at most 1 / (2^(bits+2) + 1) of the values exceed the largest power; 0 where all
    values are 0.

    >>> shift_bias(np.array([0.3, 0.5, 1.0, 2.0]), 2)
    2
    """
    magnitudes = np.sort(np.abs(values.ravel()))[::-1]
    allowed = int(values.size / (2 ** (bits + 2) + 1))
    if not values.size or magnitudes[allowed] == 0:
        return 0
    significand, exponent = np.frexp(magnitudes[allowed])
    return int((1 << bits) - 1 - (exponent - (significand == 0.5)))


def round_to_shift(values: FloatArray, count: int) -> IntArray:
    """Return the nearest of 0, +-1, +-2, ... +-2^(count-1), the larger of two as near.

    >>> round_to_shift(np.array([0.4, -0.5, 3.1, 99.0]), 3).tolist()
    [0, -1, 4, 4]
    """
    levels = np.concatenate([[0], np.int64(1) << np.arange(count)])
    nearest = levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, np.abs(values), side="right")]
    return np.where(values < 0, -nearest, nearest)


def power_of_two(value: float) -> float:
    """Return the nearest power of two with a value's sign, the larger of two as near.

    >>> power_of_two(-3.0), power_of_two(2.9)
    (-4.0, 2.0)
    """
    significand, exponent = np.frexp(value)
    return float(np.copysign(np.ldexp(1.0, exponent - (abs(significand) < 0.75)), value))
