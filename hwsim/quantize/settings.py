"""How a network is quantized besides its bits: methods, granularity and corrections, as one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

from hwsim.bits import BitConfig
from hwsim.catalogue import look_up
from hwsim.errors import HwsimError, unknown
from hwsim.formats import Format
from hwsim.network import FloatArray
from hwsim.quantize import aciq, focused, kl, min_max, mse, percentile
from hwsim.quantize.statistics import Statistics

Quantizer = Callable[[Statistics, Format], FloatArray]
"""From statistics and a target format to the clipping threshold, of the statistics' shape."""

QUANTIZERS: dict[str, Quantizer] = {
    "min_max": min_max.threshold,
    "aciq": aciq.fitted_threshold,
    "aciq_laplace": aciq.laplace_threshold,
    "aciq_gauss": aciq.gauss_threshold,
    "kl": kl.threshold,
    "kl_tensorrt": kl.tensorrt_threshold,
    "percentile": percentile.threshold,
    "mse": mse.threshold,
}

GRANULARITIES = ("channel", "tensor")
PLACEMENTS = ("integer", "half")
ALLOCATIONS = ("none", "paper", "exact")
OF_THE_NETWORK = ("elementwise", "placement")
"""Fields that no layer has of its own: they are those of tensors that no layer with weights reads, and of additions."""
_OF_ACTIVATIONS = ("activations", "tolerance", "percent", "activation_granularity", "activation_allocation")
ROUNDINGS = {
    "nearest": "Each weight to the nearest level of its grid",
    "compensated": "Each weight so that it makes up for the errors of others of its output channel (GPTQ)",
}
"""What weights may be rounded by, with a line on each."""

_ALWAYS_WRITTEN = ("weights", "activations", "tolerance", "granularity", "bias_correction", "elementwise")
_CORRECTIONS: dict[str, bool | str] = {
    "none": False,
    "false": False,
    "absorbed": True,
    "true": True,
    "mean": "mean",
    "full": "full",
}
"""What a text may call the corrections of weights; ``false`` and ``true`` are how the first two are written."""


@dataclass(frozen=True)
class Settings:
    """Methods for weights and activations (names of :data:`QUANTIZERS`) and what goes with them.

    ``granularity`` says whether each output channel of a weight has its own scale or the whole weight one;
    ``bias_correction`` is False (none), True (absorbed into multiplier and bias), or "mean" or "full", which
    are exact and cost a sum of the layer's inputs: see :mod:`hwsim.quantize.bias_correction`;
    ``tolerance`` is that of kl; ``elementwise`` is the width of tensors that no layer with weights reads;
    ``percent`` is that of percentile; ``allocation`` how a weight's bits are shared out among its output
    channels; ``activation_granularity`` whether each channel of an activation has its own threshold, and
    ``activation_allocation`` how bits are shared out among those; ``components`` (map or sampled) and
    ``separation`` are those of focused weights; ``placement`` says whether additions are done on integers or in
    half precision; ``rounding`` (nearest or compensated) how weights get their level, see
    :mod:`hwsim.quantize.compensated`. These are written only where they are not the default.

    >>> str(Settings.parse("activations=kl tolerance=2"))
    'weights=min_max activations=kl tolerance=2.0 granularity=channel bias_correction=false elementwise=8'
    """

    weights: str = "min_max"
    activations: str = "aciq_laplace"
    tolerance: float = 1.3
    granularity: str = "channel"
    bias_correction: bool | str = False
    elementwise: int = 8
    percent: float = percentile.PERCENT
    allocation: str = "none"
    activation_granularity: str = "tensor"
    activation_allocation: str = "none"
    components: str = "map"
    separation: float = focused.SEPARATION
    placement: str = "integer"
    rounding: str = "nearest"

    def __post_init__(self) -> None:
        for name in self.methods:
            if not callable(look_up("quantizer", name, QUANTIZERS)):
                raise HwsimError(f'quantizer "{name}" is no function of statistics and a format')
        if self.weights in ("kl", "kl_tensorrt"):
            raise HwsimError(
                f"{self.weights} needs the histogram of an activation; choose min_max or aciq_laplace for weights"
            )
        if self.bias_correction not in _CORRECTIONS.values():
            raise unknown("bias correction", str(self.bias_correction), _CORRECTIONS)
        for granularity in (self.granularity, self.activation_granularity):
            if granularity not in GRANULARITIES:
                raise unknown("granularity", granularity, GRANULARITIES)
        if self.placement not in PLACEMENTS:
            raise unknown("placement", self.placement, PLACEMENTS)
        if self.rounding not in ROUNDINGS:
            raise unknown("rounding", self.rounding, ROUNDINGS)
        if self.placement == "half" and isinstance(self.bias_correction, str):
            raise HwsimError(
                f"bias_correction={self.bias_correction} adds sums of inputs where integers are rounded, which "
                "placement=half has no circuit for; choose bias_correction=true"
            )
        self._check_allocation("", self.allocation, self.granularity)
        self._check_allocation("activation_", self.activation_allocation, self.activation_granularity)
        if self.components not in focused.COMPONENTS:
            raise unknown("choice of components", self.components, focused.COMPONENTS)
        if not self.separation >= 0:
            raise HwsimError(
                f"the separation of two means is at least 0, not {self.separation}; the paper's is 2"
            )
        if not self.tolerance >= 1:
            raise HwsimError(
                f"the tolerance of kl is a factor of at least 1, not {self.tolerance}; 1 is the classic method"
            )
        if not 0 < self.percent <= 100:
            raise HwsimError(f"a percentile is above 0 and at most 100, not {self.percent}; write 99.99, say")
        if not 2 <= self.elementwise <= 16:
            raise HwsimError(f"elementwise tensors have 2 to 16 bits, not {self.elementwise}")

    @staticmethod
    def _check_allocation(kind: str, allocation: str, granularity: str) -> None:
        if allocation not in ALLOCATIONS:
            raise unknown("allocation", allocation, ALLOCATIONS)
        if allocation != "none" and granularity != "channel":
            raise HwsimError(
                f"{kind}allocation={allocation} gives channels widths of their own; "
                f"it needs {kind}granularity=channel"
            )

    def __str__(self) -> str:
        written = {
            field.name
            for field in fields(self)
            if field.name in _ALWAYS_WRITTEN or getattr(self, field.name) != field.default
        }
        return " ".join(f"{name}={text}" for name, text in self._texts().items() if name in written)

    @classmethod
    def parse(cls, text: str) -> Settings:
        """Return the settings a text names; what it leaves out has its default."""
        return cls(**cls._given(text))

    def of_layer(self, text: str) -> Settings:
        """Return the settings of a layer with a quantizer of its own: these but for what the text names.

        >>> str(Settings().of_layer("weights=mse"))
        'weights=mse activations=aciq_laplace tolerance=1.3 granularity=channel bias_correction=false elementwise=8'
        """
        given = self._given(text)
        for name in OF_THE_NETWORK:
            if name in given:
                raise HwsimError(
                    f"a layer's quantizer sets no {name}, which is the whole network's; leave it out of \"{text}\""
                )
        return replace(self, **given)

    @property
    def of_activations(self) -> str:
        """The text of what says how activations are quantized, as a layer's quantizer may set it."""
        return " ".join(f"{name}={text}" for name, text in self._texts().items() if name in _OF_ACTIVATIONS)

    @property
    def has_channel_widths(self) -> bool:
        """Whether channels of activations may have widths of their own."""
        return self.activation_granularity == "channel"

    def beside(self, other: Settings) -> str:
        """Return the text of what differs from other settings."""
        theirs = other._texts()
        return " ".join(f"{name}={text}" for name, text in self._texts().items() if text != theirs[name])

    def _texts(self) -> dict[str, str]:
        """Return the text of every field."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            n: str(value).lower() if isinstance(value, bool) else str(value) for n, value in values.items()
        }

    @classmethod
    def _given(cls, text: str) -> dict[str, Any]:
        """Return the fields that a text names."""
        readers: dict[str, Callable[[str], object]] = {
            "weights": str,
            "activations": str,
            "tolerance": float,
            "granularity": str,
            "bias_correction": _CORRECTIONS.__getitem__,
            "elementwise": int,
            "percent": float,
            "allocation": str,
            "activation_granularity": str,
            "activation_allocation": str,
            "components": str,
            "separation": float,
            "placement": str,
            "rounding": str,
        }
        given: dict[str, Any] = {}
        for word in text.split():
            name, equals, value = word.partition("=")
            if name not in readers or not equals or name in given:
                raise HwsimError(
                    f'settings "{word}" are not understood; write each once as name=value: {cls()}'
                )
            try:
                given[name] = readers[name](value)
            except (KeyError, ValueError):
                raise HwsimError(f'settings: {name} cannot be "{value}"; write it as in {cls()}') from None
        return given

    @property
    def methods(self) -> tuple[str, str]:
        """The names of both methods."""
        return (self.weights, self.activations)

    @property
    def compensates(self) -> bool:
        """Whether rounding needs the second moments of each layer's inputs."""
        return self.rounding == "compensated"

    @property
    def weight_quantizer(self) -> Quantizer:
        """The weights' method with its percentile."""
        return self._quantizer(self.weights)

    @property
    def activation_quantizer(self) -> Quantizer:
        """The activations' method with its tolerance or percentile."""
        return self._quantizer(self.activations)

    def _quantizer(self, name: str) -> Quantizer:
        if name == "kl":
            return partial(kl.threshold, tolerance=self.tolerance)
        if name == "percentile":
            return partial(percentile.threshold, percent=self.percent)
        return look_up("quantizer", name, QUANTIZERS)


def by_layer(bits: BitConfig, settings: Settings) -> dict[str, Settings]:
    """Return each layer's settings: the network's, or those with its own quantizer."""
    return dict.fromkeys(bits, settings) | {
        name: _of_layer(name, text, settings) for name, text in bits.quantizers
    }


def _of_layer(layer: str, text: str, settings: Settings) -> Settings:
    try:
        return settings.of_layer(text)
    except HwsimError as error:
        raise HwsimError(f'the quantizer of layer "{layer}": {error}') from None


def needs_moments(bits: BitConfig, settings: Settings) -> bool:
    """Return whether any layer is rounded for its inputs, whose second moments a calibration then has to have."""
    return any(own.compensates for own in by_layer(bits, settings).values())
