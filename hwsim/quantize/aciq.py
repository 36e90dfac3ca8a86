"""ACIQ: the clipping threshold that minimises the expected squared error of a Laplace or normal tensor.

Banner, Nahshan, Soudry: Post training 4-bit quantization of convolutional networks for rapid-deployment,
NeurIPS 2019 (arXiv 1810.05723), section 2. The constants are computed here, not copied.

Deviations. The paper's grid is affine (2^M levels between the two edges); ours is symmetric about zero, so
that a threshold a around a mean becomes |mean| + a, and a signed weight has 2^M - 1 levels. Below 4 bits
that grid would want a smaller threshold than the paper's. A threshold never exceeds the largest magnitude
seen, and never that of the input of a ReLU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import lambertw

from hwsim.errors import HwsimError
from hwsim.formats import Format, Int
from hwsim.network import FloatArray
from hwsim.quantize.statistics import Statistics


@cache
def laplace_constant(bits: int) -> float:
    """Return the optimal a/b of a Laplace(0, b) tensor in 2^bits bins: W0(3 * 4^bits), from equation 6.

    >>> round(laplace_constant(3), 3)
    3.897
    """
    return float(lambertw(3.0 * 4.0**bits).real)


@cache
def gauss_constant(bits: int) -> float:
    """Return the optimal a/sigma of a normal tensor in 2^bits bins: the root of the error's derivative.

    >>> round(gauss_constant(4), 3)
    2.559
    """

    def slope(a: float) -> float:
        tail = a * math.erfc(a / math.sqrt(2)) - math.sqrt(2 / math.pi) * math.exp(-a * a / 2)
        return tail + a / (3.0 * 4.0**bits)

    return float(brentq(slope, 0.0, 40.0, xtol=1e-15))


def laplace_threshold(statistics: Statistics, target: Format) -> FloatArray:
    """ACIQ, Laplace prior: the threshold from the mean absolute deviation."""
    return _threshold(statistics, target, laplace_constant, lambda seen: seen.deviation)


def gauss_threshold(statistics: Statistics, target: Format) -> FloatArray:
    """ACIQ, normal prior: the threshold from the standard deviation."""
    return _threshold(statistics, target, gauss_constant, lambda seen: seen.std)


LAPLACE_BELOW = math.sqrt(math.pi / (2 * math.e))
"""Below this ratio b/sigma a Laplace density with the tensor's b is likelier than a normal one with its sigma.

The mean log-likelihoods are -ln(2 b) - 1 and -ln(sigma) - ln(2 pi e) / 2; b/sigma is 0.707 of a Laplace and
0.798 of a normal variable, the border between is 0.760.
"""


def fitted_threshold(statistics: Statistics, target: Format) -> FloatArray:
    """ACIQ, prior by fit: that of the Laplace or normal prior under which the tensor is likelier.

    The authors' code has a choice "mix", by the squared errors of both measured on data; this needs none.
    """
    seen = statistics.before_relu or statistics
    return np.where(
        seen.deviation < LAPLACE_BELOW * seen.std,
        laplace_threshold(statistics, target),
        gauss_threshold(statistics, target),
    )


def _threshold(
    statistics: Statistics,
    target: Format,
    constant: Callable[[int], float],
    spread: Callable[[Statistics], FloatArray],
) -> FloatArray:
    """Return the upper edge: mean + a; behind a ReLU max(mean, 0) + a, a and mean being its input's.

    Behind a ReLU the bins cover half the distribution, which makes the optimum exactly the full-range
    constant at one bit more than the magnitude has.
    """
    if not isinstance(target, Int):
        raise HwsimError(
            f"ACIQ clips for evenly spaced levels, not for {target}; choose min_max for its weights"
        )
    before = statistics.before_relu
    if before is None:
        edge = np.abs(statistics.mean) + constant(target.bits) * spread(statistics)
    else:
        magnitude_bits = target.bits - target.signed
        edge = np.maximum(before.mean, 0.0) + constant(magnitude_bits + 1) * spread(before)
    return np.minimum(edge, statistics.peak)
