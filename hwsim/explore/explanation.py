"""What is worked out for the designs of a front beside their measurement, so that a report can explain them."""

from __future__ import annotations

from dataclasses import dataclass, field

BINS = 48
"""Bins of a histogram of weights."""


@dataclass(frozen=True)
class Step:
    """One bit more (``by`` 1) or less (-1) in a layer's weights, input or accumulator, and what that changes of the whole design.

    ``gates`` are NAND2 equivalents, ``traffic_bytes`` those of an image, ``stored_bits`` those of weights and constants
    before they are coded. The accuracy is another measurement. A bit of an accumulator (``by`` 1 alone) is a mean.
    """

    layer: str
    what: str
    by: int
    gates: float
    traffic_bytes: int
    stored_bits: int


@dataclass(frozen=True)
class LayerWeights:
    """A layer's float weights in units of their quantizer's step, where its levels are integers.

    ``counts`` has, as text, how many weights lie in each of :data:`BINS` even bins from -``edge`` to ``edge``; those
    beyond are in the outermost bins. ``edge`` is 1.1 times the largest level.
    """

    layer: str
    edge: float
    counts: str


@dataclass(frozen=True)
class Explanation:
    """The steps of a design, its layers' weights, and the narrowest accumulator of each layer that no input overflows.

    ``array_cycles`` are each layer's cycles for an image on the study's array, if it has one.
    """

    steps: tuple[Step, ...]
    weights: tuple[LayerWeights, ...]
    safe_bits: dict[str, int]
    array_cycles: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Sensitivity:
    """What one format of a layer's ``part`` (weights or input) does by itself, the rest of the network in float.

    ``divergence`` is the mean Kullback-Leibler divergence of the float network's distribution over the classes from the
    changed one's, in nats, ``estimated`` the same to second order from gradients, ``lost`` correct images.
    """

    layer: str
    part: str
    form: str
    divergence: float
    estimated: float
    lost: int


@dataclass(frozen=True)
class Beliefs:
    """What a search with a model of the accuracy was guided by.

    ``sensitivities`` were measured under ``quantizer`` on ``images`` of the calibration split. ``predicted`` has the
    accuracy loss in points that the model expected of a design, by its key, when it was proposed, and ``energies``
    the energy in uJ, where that is an objective.
    """

    quantizer: str
    images: int
    sensitivities: tuple[Sensitivity, ...]
    predicted: dict[str, float]
    energies: dict[str, float] = field(default_factory=dict)
