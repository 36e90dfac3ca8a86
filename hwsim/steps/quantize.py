"""``hwsim quantize``: a trained network as an integer network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hwsim.certificate import narrowed
from hwsim.data import network_split
from hwsim.errors import unknown
from hwsim.models import load_model
from hwsim.models.channel_groups import WHOLE, ChannelGroups, split_channels
from hwsim.network import FloatNetwork, QuantizedNetwork
from hwsim.quantize import fold_batch_norm, quantize
from hwsim.quantize.integer import checked_bits
from hwsim.quantize.once import calibrate_once
from hwsim.quantize.settings import Settings, needs_moments

ACCUMULATORS = ("given", "proved")
"""Whether accumulators have the widths that the bits give, or the narrowest that are proved safe."""


def quantize_model(
    model: str | FloatNetwork,
    bits: str,
    *,
    quantizer: str = "",
    channels: ChannelGroups = WHOLE,
    calibration: str = "",
    images: int = 0,
    accumulators: str = "given",
    progress: Callable[[int, int], None] | None = None,
    **preprocessing: Any,
) -> QuantizedNetwork:
    """Return a trained network as an integer network.

    ``model`` is a built-in name, an ONNX file or a network already loaded; ``bits`` a shorthand for all
    layers (``w4a8/int16``, ``w4a4/int32 edges=8``) or the TOML text of a bit configuration, which may name layers' own quantizers; ``quantizer`` settings such as
    ``activations=kl tolerance=1.3``; ``channels`` names layers whose output channels are groups with bits of their own:
    see :func:`hwsim.models.channel_groups.split_channels`. Calibration reads the calibration split of ``calibration`` (a data
    set, a file or a folder of images; the model's own data if left out), all of it or its first ``images``, each twice,
    of which ``progress`` is told; it is kept in the user's cache folder for the next time. ``accumulators``
    is "given", or "proved" for each layer's narrowest accumulator that no input overflows. For ONNX files,
    ``div``, ``mean`` and ``std`` give the preprocessing.
    """
    if accumulators not in ACCUMULATORS:
        raise unknown("choice of accumulators", accumulators, ACCUMULATORS)
    settings = Settings.parse(quantizer)
    network = load_model(model, **preprocessing) if isinstance(model, str) else model
    network = split_channels(network, channels)
    config = checked_bits(
        bits, fold_batch_norm(network), settings
    )  # what was mistyped needs no calibration to be told
    purpose = "to calibrate on: --calibration file.npz"
    seen = network_split(network, calibration, "calibration", purpose, images)
    calibrated = calibrate_once(network, seen, progress, moments=needs_moments(config, settings))
    quantized = quantize(network, config, calibrated, settings=settings)
    return narrowed(quantized) if accumulators == "proved" else quantized
