"""From a float network to a network of integers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from hwsim.bits import BitConfig, LayerBits, read_bits
from hwsim.errors import HwsimError
from hwsim.formats import Focused, Format, Half, Int, IntArray, WeightFormat
from hwsim.layers import INPUT, AveragePool, Layer
from hwsim.network import FloatArray, FloatNetwork, ImageSequence, IntegerLayer, QuantizedNetwork
from hwsim.quantize.bias_correction import correction, expected_input_sum
from hwsim.quantize.calibrate import Calibration, calibrate
from hwsim.quantize.compensated import compensated, left_over
from hwsim.quantize.fold import fold_batch_norm, weight_gains
from hwsim.quantize.fuse import fuse_clamps
from hwsim.quantize.grid import Grid
from hwsim.quantize.scales import Requantizer, requantizer, rounded
from hwsim.quantize.settings import Settings, by_layer, needs_moments
from hwsim.quantize.tensors import Tensor, assign
from hwsim.quantize.weights import IntegerWeight, focused_weight, quantize_weight

DEFAULT_SETTINGS = Settings()


def quantize(
    network: FloatNetwork,
    bits: BitConfig | str,
    calibration: Calibration | ImageSequence,
    *,
    settings: Settings = DEFAULT_SETTINGS,
) -> QuantizedNetwork:
    """Return the integer network: batch norm folded, ReLU fused, every tensor and weight in its format.

    ``bits`` names the formats of every layer with weights, as a configuration or as the text that
    :func:`hwsim.bits.read_bits` reads; ``calibration`` is that of this network, or images of the calibration
    split (never of the test split). A layer keeps its name; one that ReLU or batch norm was fused into holds
    their output. See :mod:`hwsim.quantize.tensors` for formats, scales and rescales. With an allocation of bits
    to channels a layer's weight format is that of its widest channel.
    """
    folded = fold_batch_norm(network)
    if not folded.layers:
        raise HwsimError(f'network "{network.name}" has no layers; there is nothing to quantize')
    config, fused = checked_bits(bits, folded, settings), fuse_clamps(folded)
    if not isinstance(calibration, Calibration):
        calibration = _calibrated(folded, calibration, config, settings)
    if calibration.network != folded.digest():
        raise HwsimError(
            f'the calibration is that of another network than "{network.name}"; calibrate it anew'
        )
    assignment = assign(fused, config, calibration, settings)
    pixels = assignment.tensors[INPUT]
    stored, own = _stored(network, folded), by_layer(config, settings)
    assert isinstance(pixels.format, Int)
    return QuantizedNetwork(
        name=network.name,
        input_shape=network.input_shape,
        input=pixels.format,
        input_scale=pixels.scale,
        input_table=_to_integers(network.preprocessing.values(), pixels.scale, pixels.format),
        layers=tuple(
            _weighted_layer(
                layer,
                assignment.tensors,
                config[layer.name],
                folded,
                stored[layer.name],
                calibration,
                own[layer.name],
                own[layer.name].beside(settings),
            )
            if layer.has_weights
            else _plain_layer(layer, assignment.tensors)
            for layer in assignment.layers
        ),
        data=network.data,
        source=f"float={network.digest()} calibration_images={calibration.images} {settings}"
        + " scales=trained" * bool(calibration.grids),
    )


def _calibrated(
    folded: FloatNetwork, images: ImageSequence, bits: BitConfig, settings: Settings
) -> Calibration:
    calibration = calibrate(folded, images)
    if not needs_moments(bits, settings):
        return calibration
    from hwsim.quantize.moments import second_moments  # torch, which a given calibration does without

    return replace(calibration, moments=second_moments(folded, images, calibration))


def checked_bits(bits: BitConfig | str, folded: FloatNetwork, settings: Settings) -> BitConfig:
    """Return the bits of every layer with weights; refuse those of other layers, signs and quantizers that do not fit."""
    signed_inputs = folded.signed_inputs()
    config = read_bits(bits, signed_inputs, folded.edges()) if isinstance(bits, str) else bits
    if set(config) != set(signed_inputs):
        odd = min(set(config) ^ set(signed_inputs))
        raise HwsimError(
            f'the bit configuration and the network disagree on layer "{odd}"; '
            f"give bits for exactly {', '.join(signed_inputs)}"
        )
    for name, signed in signed_inputs.items():
        activation = config[name].activation
        if signed and not activation.signed:
            raise HwsimError(
                f'the input of layer "{name}" can be negative, which {activation} cannot hold; '
                f"write int{activation.bits}"
            )
    unknown = dict(config.quantizers).keys() - config.keys()
    if unknown:
        raise HwsimError(
            f'the bit configuration names the quantizer of layer "{min(unknown)}"; the network has {", ".join(config)}'
        )
    by_layer(config, settings)
    return config


def _to_integers(values: FloatArray, scale: float, target: Int) -> IntArray:
    return np.clip(np.rint(values / scale), target.minimum, target.maximum).astype(np.int64)


def _plain_layer(layer: Layer, tensors: Mapping[str, Tensor]) -> IntegerLayer:
    output = tensors[layer.name]
    if layer.kind == "max_pool":
        return _with_channels(IntegerLayer(layer, output.format, output.scale), output)
    on_halves = layer.kind == "add" and isinstance(output.format, Half)
    if on_halves or layer.kind not in ("add", "average_pool", "rescale", "from_half"):
        return IntegerLayer(layer, output.format, output.scale)
    window = math.prod(layer.operator.kernel) if isinstance(layer.operator, AveragePool) else 1
    ratios = np.array([[tensors[name].scale / (output.scale * window) for name in layer.inputs]])
    multiplier, bias, shift = requantizer(layer.name, ratios, np.zeros(1))
    constants = multiplier, None if layer.kind == "from_half" else bias, shift
    return _with_channels(IntegerLayer(layer, output.format, output.scale, None, None, *constants), output)


def _with_channels(item: IntegerLayer, output: Tensor) -> IntegerLayer:
    """Return a layer with the widths and steps of its output's channels, where they have their own.

    A channel's step is 2^exponent times the scale, so that its constants are those at the scale shifted on.
    """
    if output.channels is None:
        return item
    width, exponent = output.channels.arrays()
    shift = None if item.shift is None else item.shift + exponent
    return replace(item, shift=shift, width=width, exponent=exponent)


def _stored(network: FloatNetwork, folded: FloatNetwork) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Return each layer's weight as it was trained, and what folding multiplied its output channels by."""
    gains = weight_gains(network, network.parameters)
    stored = {}
    for layer in folded.layers:
        if layer.has_weights:
            weight = (network if layer.name in gains else folded).parameters[f"{layer.name}.weight"]
            stored[layer.name] = weight, gains.get(layer.name, np.ones(len(weight)))
    return stored


def _weighted_layer(
    layer: Layer,
    tensors: Mapping[str, Tensor],
    bits: LayerBits,
    folded: FloatNetwork,
    stored: tuple[FloatArray, FloatArray],
    calibration: Calibration,
    settings: Settings,
    quantizer: str,
) -> IntegerLayer:
    output, source = tensors[layer.name], tensors[layer.inputs[0]]
    weight = folded.parameters[f"{layer.name}.weight"]
    offset = folded.parameters.get(f"{layer.name}.bias", np.zeros(len(weight)))
    integers = _integers(layer, bits.weight, weight, stored, calibration, settings)
    ratio = source.scale * integers.scale
    of_inputs = np.zeros(len(weight))
    if settings.bias_correction:
        factor, shift = correction(weight, integers.real, mean_only=settings.bias_correction == "mean")
        ratio = ratio * factor
        if settings.bias_correction is True:
            expected = expected_input_sum(layer, calibration.channel_means(source.float_name))
            offset = offset + rounded(shift * expected)
        else:
            of_inputs = shift * source.scale
    # A channel of zeros needs no factor: 1 keeps the shift, and with it the bias, in range.
    unused = np.where(of_inputs == 0, output.scale, 0.0)
    ratio = np.where((integers.real == 0).all(axis=(1, 2, 3)), unused, ratio)
    constants, masks = _constants(
        layer, ratio / output.scale, of_inputs / output.scale, offset / output.scale
    )
    if integers.means is not None and integers.masks is not None:
        masks = {"masks": integers.masks, "mask_multiplier": integers.means * constants.multiplier}
    if masks and isinstance(output.format, Half):
        raise HwsimError(
            f'layer "{layer.name}" adds sums of its inputs where integers are rounded, which an output in half '
            "precision has no circuit for; choose placement=integer or other weights"
        )
    # The circuit's operands are as wide as a channel needs, which may be wider than what is stored of others.
    assert isinstance(source.format, Int)
    in_circuit = replace(bits, weight=_circuit_format(bits.weight, integers), activation=source.format)
    item = IntegerLayer(
        layer,
        output.format,
        output.scale,
        in_circuit,
        integers.values,
        *constants,
        **masks,
        weight_width=integers.width,
        quantizer=quantizer,
    )
    return _with_channels(item, output)


def _constants(
    layer: Layer, ratio: FloatArray, of_inputs: FloatArray, offset: FloatArray
) -> tuple[Requantizer, dict[str, IntArray]]:
    """Return a layer's requantiser and, where the sum of its inputs has a factor, the mask and multiplier of that."""
    both = requantizer(layer.name, np.stack([ratio, np.abs(of_inputs)], axis=1), offset)
    multiplier, of_sum = both.multiplier.reshape(-1, 2).T
    constants = both._replace(multiplier=np.ascontiguousarray(multiplier))
    if not of_sum.any():
        return constants, {}
    mask = np.ones((1, 1, *layer.weight_shape[1:]), np.int64)
    return constants, {"masks": mask, "mask_multiplier": np.where(of_inputs < 0, -of_sum, of_sum)[None]}


def _integers(
    layer: Layer,
    target: WeightFormat,
    weight: FloatArray,
    stored: tuple[FloatArray, FloatArray],
    calibration: Calibration,
    settings: Settings,
) -> IntegerWeight:
    """Return a layer's integers: on the grid that it was trained on, if it was, else on that of its quantizer."""
    check_focused(layer.name, target, settings)
    grid = calibration.grids.get(layer.name)
    if grid is not None:
        check_trained(settings)
        if grid.target != target:
            raise HwsimError(
                f'the weights of layer "{layer.name}" were trained as {grid.target}, not as {target}; '
                "quantize with the bits of the training or calibrate anew"
            )
        trained, gain = stored
        return grid.round(trained).folded(gain)
    if isinstance(target, Focused):
        return focused_weight(*stored, target, settings)
    found = quantize_weight(weight, target, settings)
    return (
        _compensated(layer, weight, target, found, calibration, settings) if settings.compensates else found
    )


def _compensated(
    layer: Layer,
    weight: FloatArray,
    target: Format,
    found: IntegerWeight,
    calibration: Calibration,
    settings: Settings,
) -> IntegerWeight:
    """Return the integers at the scales and widths found, rounded for the layer's inputs."""
    if layer.name not in calibration.moments:
        raise HwsimError(
            "rounding=compensated needs the second moments of the layers' inputs, which this calibration was made without; "
            "calibrate_once(..., moments=True) has them"
        )
    moments = calibration.moments[layer.name].astype(np.float64)
    grid = Grid(target, found.scale, found.width)
    steps = grid.steps(weight).reshape(len(moments), -1, layer.products)

    def nearest(values: FloatArray) -> FloatArray:
        return grid.nearest(values.reshape(len(weight), -1)).reshape(values.shape).astype(np.float64)

    values = compensated(steps, left_over(moments, settings.bias_correction), nearest)
    return found._replace(values=values.reshape(weight.shape))


def check_trained(settings: Settings) -> None:
    """Refuse what weights trained on their grid cannot be combined with."""
    if settings.compensates:
        raise HwsimError(
            "weights that are fine-tuned as integers are trained to be rounded to the nearest; leave rounding=compensated out"
        )


def check_focused(name: str, target: WeightFormat, settings: Settings) -> None:
    """Refuse what focused weights cannot be combined with."""
    if not isinstance(target, Focused):
        return
    if settings.bias_correction not in (False, True) or settings.allocation != "none":
        raise HwsimError(
            f'layer "{name}" has focused weights, which have one width and no sum of all inputs; leave '
            f"bias_correction={settings.bias_correction} allocation={settings.allocation} out"
        )
    if settings.compensates:
        raise HwsimError(
            f'layer "{name}" has focused weights, whose mean is chosen for each before they are rounded; leave '
            "rounding=compensated out"
        )


def _circuit_format(asked: WeightFormat, integers: IntegerWeight) -> WeightFormat:
    """Return the format of a layer's weights in its circuit: the widest of its channels."""
    return asked if integers.width is None else Int(max(2, int(integers.width.max())))
