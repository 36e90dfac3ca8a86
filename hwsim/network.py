"""Float and integer networks as plain data, and the integer network's file.

The file is safetensors with a JSON header under the key ``hwsim``: names never become paths, and nothing
in it is executed. Tensors are named by layer index.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from hwsim import files
from hwsim.bits import BitConfig, Edges, LayerBits, bit_config
from hwsim.errors import HwsimError
from hwsim.formats import (
    HALF,
    Focused,
    Half,
    Int,
    IntArray,
    Overflow,
    Rounding,
    TensorFormat,
    parse_int,
    parse_tensor_format,
    parse_weight,
)
from hwsim.layers import (
    INPUT,
    Add,
    AveragePool,
    BatchNorm,
    Clip,
    FromHalf,
    Layer,
    MaxPool,
    Moving,
    Relu,
    Shape,
    layer_from_json,
)

FloatArray = npt.NDArray[np.float64]
Images = npt.NDArray[np.uint8]
"""Images as stored: uint8 [images, height, width, channels]."""


class ImageSequence(Protocol):
    """Images [n, height, width, channels] to take slices of: an array, or what decodes them then."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[np.uint8]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: slice, /) -> Images: ...


FILE_VERSION = 1


@dataclass(frozen=True)
class Preprocessing:
    """x = (pixel / div - mean) / std per channel, from uint8 pixels."""

    div: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        numbers = (self.div, *self.mean, *self.std)
        if not all(math.isfinite(x) for x in numbers) or self.div <= 0 or min(self.std, default=1.0) <= 0:
            raise HwsimError(f"preprocessing needs finite numbers with div and std above 0, not {self}")

    def values(self) -> FloatArray:
        """Return x for every pixel value, [channels, 256]."""
        pixels = np.arange(256, dtype=np.float64)
        mean, std = np.array(self.mean)[:, None], np.array(self.std)[:, None]
        table: FloatArray = (pixels / self.div - mean) / std
        return table

    def apply(self, images: Images) -> FloatArray:
        """Return images as float64 [images, channels, height, width]."""
        return look_up(self.values(), images)


def look_up(table: npt.NDArray[Any], images: Images) -> npt.NDArray[Any]:
    """Return ``table[channel, pixel]`` of images [n, h, w, channels] as [n, channels, h, w]."""
    planes = np.moveaxis(images, 3, 1)
    return table[np.arange(table.shape[0])[:, None, None], planes]


@dataclass(frozen=True, eq=False)
class FloatNetwork:
    """A trained network: layers in topological order and float64 parameters.

    Parameters are named ``layer.weight``, ``layer.bias`` and, for batch norm, ``layer.weight`` (gamma),
    ``layer.bias`` (beta), ``layer.running_mean`` and ``layer.running_var``. The output is the last layer.
    ``data`` names the data set whose splits belong to the network, "" if none.
    """

    name: str
    input_shape: Shape
    preprocessing: Preprocessing
    layers: tuple[Layer, ...]
    parameters: Mapping[str, FloatArray]
    data: str = ""

    @property
    def outputs(self) -> int:
        """Values of the last layer: the classes."""
        return self.layers[-1].outputs

    def consumers(self, tensor: str) -> list[Layer]:
        """Return the layers that read a tensor, in network order."""
        return [layer for layer in self.layers if tensor in layer.inputs]

    def digest(self) -> str:
        """Return the SHA-256 of structure and parameters, in hexadecimal."""
        structure = [
            self.name,
            list(self.input_shape),
            asdict(self.preprocessing),
            [layer.to_json() for layer in self.layers],
        ]
        digest = hashlib.sha256(json.dumps(structure).encode())
        for name in sorted(self.parameters):
            array = np.ascontiguousarray(self.parameters[name], "<f8")
            digest.update(f"{name}{array.shape}".encode() + array.tobytes())
        return digest.hexdigest()

    def signed_inputs(self) -> dict[str, bool]:
        """Return, for each layer with weights, whether its input can be negative."""
        signed = signed_tensors(self.layers, bool((self.preprocessing.values() < 0).any()))
        return {layer.name: signed[layer.inputs[0]] for layer in self.layers if layer.has_weights}

    def edges(self) -> Edges:
        """Return the layers at the network's edges, which a bit configuration can keep wider.

        Those are, of the weights, the layers that read the network's input and the last one with those concatenated
        to it; of the activations,
        the layers that read the network's input, the output of such a layer, or a pool's.
        """
        origins = _origins(self.layers)
        weighted = [layer for layer in self.layers if layer.has_weights]
        first = frozenset(layer.name for layer in weighted if INPUT in origins[layer.inputs[0]])
        ends = [origin for origin in origins.values() for layer in weighted[-1:] if layer.name in origin]
        last = frozenset(layer.name for layer in weighted) & frozenset().union(*ends)
        pools = {layer.name for layer in self.layers if isinstance(layer.operator, MaxPool | AveragePool)}
        wide = {INPUT, *first, *pools}
        return Edges(
            first | last,
            frozenset(layer.name for layer in weighted if origins[layer.inputs[0]] & wide),
        )


def _origins(layers: tuple[Layer, ...]) -> dict[str, frozenset[str]]:
    """Return, for each tensor, the layers (or the input) whose values it holds, moved or clamped at most."""
    origins = {INPUT: frozenset([INPUT])}
    for layer in layers:
        moved = isinstance(layer.operator, Relu | Clip | BatchNorm | Moving)
        sources = (origins[name] for name in layer.inputs) if moved else ()
        origins[layer.name] = frozenset().union(*sources) if moved else frozenset([layer.name])
    return origins


def signed_tensors(layers: tuple[Layer, ...], signed_input: bool) -> dict[str, bool]:
    """Return whether each tensor can hold negative values, from the operators alone."""
    signed = {INPUT: signed_input}
    for layer in layers:
        match layer.operator:
            case Relu():
                signed[layer.name] = False
            case Clip(low, _):
                signed[layer.name] = low < 0 and signed[layer.inputs[0]]
            case _ if layer.has_weights or layer.kind == "batch_norm":
                signed[layer.name] = True
            case _:
                signed[layer.name] = any(signed[name] for name in layer.inputs)
    return signed


@dataclass(frozen=True, eq=False)
class IntegerLayer:
    """One layer of an integer network: operator, formats, integer weights and requantisation constants.

    ``output`` and ``scale`` describe the output tensor: real value = integer * scale. A layer that
    computes (convolution, linear, add, average_pool, rescale) ends in
    ``clamp(round((sum(x_i * multiplier_i) + bias) / 2^shift))``; ``multiplier`` is int64 [outputs] per
    output channel ([2] per operand for an add, [1] for a pool or rescale), ``bias`` and ``shift`` alike
    ([1] for add, pool and rescale). max_pool and the moving layers (:data:`hwsim.layers.Moving`) only compare or
    move integers: their constants are empty.

    Where the channels of the output have steps of their own, ``width`` and ``exponent`` are int64 [channels]:
    a channel's clamp is to ``width`` bits and its integers are those times 2^``exponent``, so that all of them
    are at ``scale``; ``shift`` is then per channel in every layer that computes. Such a channel is stored in
    ``width`` bits. A max_pool has them to say how its output is stored.

    A layer with weights may add sums of some of its inputs before the rounding:
    ``clamp(round((sum * multiplier + sum_j(masked sum_j * mask_multiplier_j) + bias) / 2^shift))``, where masked
    sum j is that of the inputs at which ``masks[j]`` is 1. ``masks`` is int64 of 0 and 1, [masks, outputs or 1,
    inputs / groups, kernel height, kernel width], with 1 a mask that all outputs share; ``mask_multiplier`` is
    int64 [masks, outputs]. These sums are exact, their accumulators wide enough for any input.

    Where the output channels of a weight have widths of their own, ``weight_width`` is int64 [outputs]: a
    channel's weights are stored in that many bits, 0 for a channel of zeros. The circuit multiplies by the
    format of ``bits``, which holds them all.
    """

    layer: Layer
    output: TensorFormat
    scale: float
    bits: LayerBits | None = None
    weight: IntArray | None = None
    multiplier: IntArray | None = None
    bias: IntArray | None = None
    shift: IntArray | None = None
    width: IntArray | None = None
    exponent: IntArray | None = None
    masks: IntArray | None = None
    mask_multiplier: IntArray | None = None
    weight_width: IntArray | None = None
    _: KW_ONLY
    quantizer: str = ""
    """The settings that it was quantized with where they are not the network's, as text."""

    @property
    def requantized(self) -> TensorFormat:
        """The format that the layer's requantiser clamps to: the output's, or the widest channel's."""
        if self.width is None:
            return self.output
        return Int(max(2, int(self.width.max())), self.output.signed)

    @property
    def stored_bits(self) -> IntArray:
        """The bits in which an element of each channel of the output is stored, [channels]."""
        channels = self.layer.output_shape[0]
        return np.full(channels, self.output.bits) if self.width is None else self.width

    @property
    def mask_rows(self) -> tuple[IntArray, ...]:
        """Each mask as weights of one sum a row, [outputs or groups, inputs / groups, kernel height, kernel width].

        A mask that all outputs share has a sum for each group of inputs.
        """
        groups = self.layer.as_convolution.groups
        masks = () if self.masks is None else self.masks
        return tuple(np.repeat(mask, groups, axis=0) if len(mask) == 1 else mask for mask in masks)


@dataclass(frozen=True, eq=False)
class QuantizedNetwork:
    """A network of integers only: what the circuits run.

    ``input_table`` int64 [channels, 256] maps a uint8 pixel to the integer of format ``input``; that is
    the whole of the input's quantization. ``rounding`` is that of every requantiser.
    """

    name: str
    input_shape: Shape
    input: Int
    input_scale: float
    input_table: IntArray
    layers: tuple[IntegerLayer, ...]
    rounding: Rounding = Rounding.HALF_UP
    data: str = ""
    source: str = ""
    """Where it came from: the float network's digest and the quantizer's settings, as text."""

    @property
    def outputs(self) -> int:
        """Values of the last layer: the classes."""
        return self.layers[-1].layer.outputs

    @property
    def bits(self) -> BitConfig:
        chosen = [(item.layer.name, item.bits) for item in self.layers if item.bits is not None]
        return bit_config(chosen, {item.layer.name: item.quantizer for item in self.layers if item.quantizer})

    def formats(self) -> dict[str, TensorFormat]:
        """Return the format of every tensor by name."""
        return {INPUT: self.input} | {item.layer.name: item.output for item in self.layers}

    def digest(self) -> str:
        """Return the SHA-256 of the file form, in hexadecimal."""
        return hashlib.sha256(to_bytes(self)).hexdigest()


ARRAYS = (
    "weight",
    "multiplier",
    "bias",
    "shift",
    "width",
    "exponent",
    "masks",
    "mask_multiplier",
    "weight_width",
)


def to_bytes(network: QuantizedNetwork) -> bytes:
    """Return the file form; deterministic."""
    return safetensors.numpy.save(arrays(network), metadata={"hwsim": json.dumps(header(network))})


def arrays(network: QuantizedNetwork) -> dict[str, IntArray]:
    """Return the file's tensors by name: ``input_table`` and, of layer i, ``i.weight``, ``i.bias`` and so on."""
    tensors = {"input_table": network.input_table}
    for index, item in enumerate(network.layers):
        for field in ARRAYS:
            array = getattr(item, field)
            if array is not None:
                tensors[f"{index}.{field}"] = np.ascontiguousarray(array, np.int64)
    return tensors


def header(network: QuantizedNetwork) -> dict[str, Any]:
    """Return the file's JSON: everything that is no tensor."""
    return {
        "version": FILE_VERSION,
        "name": network.name,
        "input_shape": list(network.input_shape),
        "input": str(network.input),
        "input_scale": network.input_scale,
        "rounding": str(network.rounding),
        "data": network.data,
        "source": network.source,
        "layers": [_layer_json(item) for item in network.layers],
    }


def _layer_json(item: IntegerLayer) -> dict[str, Any]:
    bits = item.bits
    own = {"quantizer": item.quantizer} if item.quantizer else {}
    return {
        "layer": item.layer.to_json(),
        "output": str(item.output),
        "scale": item.scale,
        "bits": None
        if bits is None
        else [str(bits.weight), str(bits.activation), str(bits.accumulator), str(bits.overflow)],
        **own,
    }


def save(network: QuantizedNetwork, path: Path) -> None:
    """Write an integer network, whole or not at all."""
    files.write(path, to_bytes(network))


def load(path: Path) -> QuantizedNetwork:
    """Return the integer network of a file.

    Raises :class:`HwsimError` where the file is damaged, of another version, or contradicts itself
    (a shape, a value outside its format, a tensor that is missing).
    """
    content = files.read(path, "network file")
    try:
        tensors = safetensors.numpy.load(content)
        length = int.from_bytes(content[:8], "little")
        parsed = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["hwsim"])
        network = network_of(parsed, tensors)
    except HwsimError as error:
        raise HwsimError(f'cannot use the network file "{path}": {error}') from None
    except (safetensors.SafetensorError, *MALFORMED) as error:
        raise HwsimError(
            f'"{path}" is no network file of hwsim or is damaged ({type(error).__name__}); write it again with hwsim quantize'
        ) from None
    return network


MALFORMED = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError)
"""What reading JSON of another form ends in."""


def network_of(header: Any, tensors: Mapping[str, npt.NDArray[Any]]) -> QuantizedNetwork:
    """Return the integer network of a file's JSON and tensors.

    Raises :class:`HwsimError` where it is of another version or contradicts itself, and one of :data:`MALFORMED` where
    the JSON is of another form.
    """
    if header["version"] != FILE_VERSION:
        raise HwsimError(f"its version is {header['version']}, this hwsim reads {FILE_VERSION}")
    network = QuantizedNetwork(
        name=str(header["name"]),
        input_shape=tuple(header["input_shape"]),
        input=parse_int(header["input"]),
        input_scale=float(header["input_scale"]),
        input_table=tensors["input_table"],
        layers=tuple(_layer_from_json(index, row, tensors) for index, row in enumerate(header["layers"])),
        rounding=Rounding(header["rounding"]),
        data=str(header["data"]),
        source=str(header["source"]),
    )
    _check(network)
    return network


def _layer_from_json(
    index: int, row: dict[str, Any], tensors: Mapping[str, npt.NDArray[Any]]
) -> IntegerLayer:
    bits = row["bits"]
    if bits is not None:
        weight, activation, accumulator, overflow = bits
        bits = LayerBits(
            parse_weight(weight), parse_int(activation), parse_int(accumulator), Overflow(overflow)
        )
    return IntegerLayer(
        layer_from_json(row["layer"]),
        parse_tensor_format(row["output"]),
        float(row["scale"]),
        bits,
        *(tensors.get(f"{index}.{array}") for array in ARRAYS),
        quantizer=str(row.get("quantizer", "")),
    )


def _check(network: QuantizedNetwork) -> None:
    """Refuse a network whose parts contradict each other; what passes can be run without a range check."""
    if not network.layers:
        raise HwsimError("it has no layer")
    for text in (network.name, network.data, network.source, *(i.quantizer for i in network.layers)):
        if not text.isprintable():
            raise HwsimError(f"its text {text!r} holds control characters")
    if not (math.isfinite(network.input_scale) and network.input_scale > 0):
        raise HwsimError(f"its input has scale {network.input_scale}")
    shapes: dict[str, Shape] = {INPUT: network.input_shape}
    formats = network.formats()
    _check_array("input_table", network.input_table, (network.input_shape[0], 256))
    network.input.encode(network.input_table)
    for item in network.layers:
        layer = item.layer
        if not isinstance(layer.name, str) or layer.name in shapes:
            raise HwsimError(f'two layers are named "{layer.name}"')
        if not all(name in shapes for name in layer.inputs) or [shapes[n] for n in layer.inputs] != list(
            layer.input_shapes
        ):
            raise HwsimError(f'layer "{layer.name}" reads tensors that are missing or of another shape')
        shapes[layer.name] = layer.output_shape
        if not (math.isfinite(item.scale) and item.scale > 0):
            raise HwsimError(f'layer "{layer.name}" has scale {item.scale}')
        if layer.has_weights:
            if item.bits is None or item.bits.activation != formats[layer.inputs[0]]:
                raise HwsimError(
                    f'layer "{layer.name}" has no bits or another activation format than its input'
                )
            _check_array("weight", item.weight, layer.weight_shape)
            assert item.weight is not None
            _check_weight(item)
            _check_weight_widths(item)
        elif layer.kind in ("relu", "clip", "batch_norm"):
            raise HwsimError(
                f'layer "{layer.name}" is a {layer.kind}, which an integer network does not hold'
            )
        if item.weight_width is not None and not layer.has_weights:
            raise HwsimError(f'layer "{layer.name}" has widths of weights and no weights')
        _check_widths(item)
        _check_halves(item, [formats[name] for name in layer.inputs])
        counts = constant_counts(item)
        for field, count in zip(("multiplier", "bias", "shift"), counts, strict=True):
            _check_array(field, getattr(item, field), (count,) if count else None)
        if counts[0]:
            assert item.multiplier is not None and item.shift is not None
            MULTIPLIER.encode(item.multiplier)
            BIAS.encode(np.zeros(1, np.int64) if item.bias is None else item.bias)
            SHIFT.encode(item.shift)
        _check_masks(item)


def _check_halves(item: IntegerLayer, inputs: list[TensorFormat]) -> None:
    """Refuse half precision in a layer that computes in integers, and integers in one that does not."""
    halves, layer = [isinstance(form, Half) for form in inputs], item.layer
    match layer.operator:
        case operator if isinstance(operator, Add | Moving):
            fitting = len({*halves, isinstance(item.output, Half)}) == 1
        case FromHalf():
            fitting = halves == [True] and isinstance(item.output, Int)
        case MaxPool() | AveragePool():
            fitting = not any(halves) and isinstance(item.output, Int)
        case _:
            fitting = not any(halves)
    widths = {(form.exponent, form.fraction) for form in (*inputs, item.output) if isinstance(form, Half)}
    if not fitting or widths - {(HALF.exponent, HALF.fraction)}:
        raise HwsimError(
            f'layer "{layer.name}" is a {layer.kind} of {", ".join(map(str, inputs))} to {item.output}, which there is not'
        )
    if isinstance(item.output, Half) and (item.masks is not None or item.width is not None):
        raise HwsimError(f'layer "{layer.name}" has masks or widths of channels, which {item.output} has not')


def _check_weight_widths(item: IntegerLayer) -> None:
    """Refuse weights that do not fit the width of their output channel."""
    width, layer = item.weight_width, item.layer
    if width is None:
        return
    assert item.bits is not None and item.weight is not None
    _check_array("weight_width", width, layer.weight_shape[:1])
    WIDTH.encode(width)
    if not isinstance(item.bits.weight, Int) or width.max() > item.bits.weight.bits:
        raise HwsimError(f'layer "{layer.name}" has channels wider than its weights, {item.bits.weight}')
    limit = np.int64(1) << np.maximum(width, 1) - 1
    rows = item.weight.reshape(len(width), -1)
    wrong = (rows.max(axis=1) >= limit) | (rows.min(axis=1) < np.where(width > 0, -limit, 0))
    if wrong.any():
        channel = int(wrong.argmax())
        raise HwsimError(
            f'layer "{layer.name}" has weights {rows[channel].min()} to {rows[channel].max()} in output channel '
            f"{channel}, which do not fit its {width[channel]} bits"
        )


def _check_widths(item: IntegerLayer) -> None:
    """Refuse channels that do not fit the output's format, and layers that store no channels of their own."""
    layer = item.layer
    if item.width is None and item.exponent is None:
        return
    if not requantizer_counts(layer)[0] and layer.kind != "max_pool":
        raise HwsimError(f'layer "{layer.name}" is a {layer.kind}, which has no widths of its own')
    for field, form in (("width", WIDTH), ("exponent", EXPONENT)):
        array = getattr(item, field)
        _check_array(field, array, (layer.output_shape[0],))
        form.encode(array)
    assert item.width is not None and item.exponent is not None
    if (item.width + item.exponent).max() > item.output.bits:
        raise HwsimError(f'layer "{layer.name}" has channels wider than its format {item.output}')


def _check_weight(item: IntegerLayer) -> None:
    """Refuse weights outside their format."""
    assert item.bits is not None and item.weight is not None
    if isinstance(item.bits.weight, Focused):
        item.bits.weight.encode(item.weight, item.masks)
    else:
        item.bits.weight.encode(item.weight)


def _check_masks(item: IntegerLayer) -> None:
    """Refuse masks that contradict their layer, or sums of inputs that a requantiser cannot hold exactly."""
    layer, masks = item.layer, item.masks
    if masks is None or not layer.has_weights:
        _check_array("masks", masks, None)
        _check_array("mask_multiplier", item.mask_multiplier, None)
        return
    outputs, *taps = layer.weight_shape
    rows = 1 if masks.ndim > 1 and masks.shape[1] == 1 else outputs
    _check_array("masks", masks, (max(len(masks), 1), rows, *taps))
    _check_array("mask_multiplier", item.mask_multiplier, (len(masks), outputs))
    assert item.mask_multiplier is not None and item.bits is not None
    MASK.encode(masks)
    MASK_MULTIPLIER.encode(item.mask_multiplier)
    if len(masks) * layer.products << item.bits.activation.bits + MASK_MULTIPLIER.bits > 1 << 62:
        raise HwsimError(f'layer "{layer.name}" adds {len(masks)} sums of {layer.products} inputs, too many')


MASK = Int(1, signed=False)
MASK_MULTIPLIER = Int(32)
"""Formats of one element of a mask and of the constant its sum is multiplied by."""

MULTIPLIER = Int(16, signed=False)
BIAS = Int(48)
SHIFT = Int(6, signed=False)
WIDTH = Int(4, signed=False)
EXPONENT = Int(3, signed=False)
"""Formats of a requantiser's constants."""


def requantizer_counts(layer: Layer, per_channel: bool = False) -> tuple[int, int, int]:
    """Return how many multipliers, biases and shifts a layer has; zeros where it has no requantiser.

    ``per_channel`` is whether its output's channels have steps of their own, and with them shifts.
    """
    channels = layer.output_shape[0]
    if layer.has_weights:
        return (channels,) * 3
    shifts = channels if per_channel else 1
    if layer.kind == "add":
        return (2, 1, shifts)
    if layer.kind == "from_half":
        return (1, 0, shifts)
    return (1, 1, shifts) if layer.kind in ("average_pool", "rescale") else (0, 0, 0)


def constant_counts(item: IntegerLayer) -> tuple[int, int, int]:
    """Return how many multipliers, biases and shifts a layer has: none for an addition in half precision."""
    if item.layer.kind == "add" and isinstance(item.output, Half):
        return (0, 0, 0)
    return requantizer_counts(item.layer, item.width is not None)


def _check_array(what: str, array: Any, shape: tuple[int, ...] | None) -> None:
    if (array is None) != (shape is None):
        raise HwsimError(f"the {what} is {'missing' if array is None else 'not wanted'}")
    if array is not None and (array.dtype != np.int64 or array.shape != shape):
        raise HwsimError(f"the {what} is {array.dtype} {array.shape}, not int64 {shape}")
