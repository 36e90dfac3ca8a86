"""Compression: a network's parameters in a file of their own, each layer's weights packed or coded.

The file holds the parameters that :func:`decompress` returns, and nothing of the graph:

- frame: 5 bytes that name the file and its version in front, a CRC-32 of all before it (little-endian) behind;
- a record for each layer with parameters, its length in front of it: the layer's name, its weight format as
  text and its weight's four dimensions, the weights, then multipliers, biases and shifts, and behind them
  the widths and exponents of channels that have their own;
- weights, as code words of their format (``Format.encode``), in the smallest of the forms that a codec has, a byte in
  front saying which: packed, canonical Huffman code, rANS, a bitmap or run lengths (:mod:`hwsim.cost.coding`). Where
  output channels have widths of their own, those in 4 bits each are next, and packed means at these;
- constants: a count, a width and the values packed at that width, the smallest that holds them;
- where the layer adds sums of its inputs: how many masks, each one's rows and its bits coded as weights are,
  and their multipliers. The symbols of recentralized focused weights say which mean each is centred on: such a
  layer has the alphabet's number behind its format (1, of a plain one 0) and of its masks the multipliers alone.

A weight takes a bit at least where it is packed or in Huffman code, and else a 16th of a bit, for which zero bytes
stand behind streams that would be shorter: what a file claims to hold is in proportion to it.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from hwsim.cost.coding import ans, huffman, indices
from hwsim.cost.coding.bitstream import Coded, Reader, damaged, number, pack, pack_each
from hwsim.errors import HwsimError, unknown
from hwsim.formats import Focused, Format, Int, IntArray, parse_weight
from hwsim.network import (
    BIAS,
    EXPONENT,
    MASK,
    MASK_MULTIPLIER,
    MULTIPLIER,
    SHIFT,
    WIDTH,
    IntegerLayer,
    QuantizedNetwork,
)

MAGIC = b"HWSZ\x01"
FRAME_BYTES = len(MAGIC) + 4
"""Bytes of the file that belong to no layer."""

_WIDTHS = 4
_METHODS = {"packed": 0, "huffman": 1, "ans": 16, "bitmap": 32, "run_length": 48}
"""The byte that says how weights are coded; :data:`_WIDTHS` is added where their channels have widths."""

CODERS = tuple(_METHODS)
CODECS = {
    "huffman": ("packed", "huffman"),
    "ans": ("packed", "ans"),
    "packed": ("packed",),
    "bitmap": ("packed", "bitmap"),
    "run_length": ("packed", "run_length"),
    "best": CODERS,
}
"""The coders that each choice takes the smallest of, layer by layer."""

_WEIGHTS_PER_BYTE = {"packed": 8, "huffman": 8, "ans": 128, "bitmap": 8, "run_length": 128}

_CONSTANTS = (("multiplier", MULTIPLIER), ("bias", BIAS), ("shift", SHIFT))
_CHANNELS = (("width", WIDTH), ("exponent", EXPONENT))

_NONE: Mapping[str, str] = MappingProxyType({})

KINDS = ("header", "tables", "indices", "weights", "masks", "scales", "biases")
"""What a record's bytes are for: scales are multipliers and shifts, and channels' widths and exponents."""


@dataclass(frozen=True, eq=False)
class Parameters:
    """One layer's integers, as in :class:`hwsim.network.IntegerLayer`; None where the layer has none."""

    weight: IntArray | None
    multiplier: IntArray | None
    bias: IntArray | None
    shift: IntArray | None
    width: IntArray | None = None
    exponent: IntArray | None = None
    masks: IntArray | None = None
    mask_multiplier: IntArray | None = None
    weight_width: IntArray | None = None


@dataclass(frozen=True)
class Record:
    """A layer's part of the file: its bytes by kind, in the order in which they stand.

    ``coder`` says how its weights are coded, "" where it has none; ``tried`` holds the bytes that tables, indices
    and weights take together under each coder that was tried.
    """

    name: str
    parts: tuple[tuple[str, bytes], ...]
    coder: str = ""
    tried: Mapping[str, int] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        """The bytes, the length of the others in front."""
        return b"".join(part for _, part in self.parts)

    def bytes_of(self, kind: str) -> int:
        """Return how many bytes are of one of the :data:`KINDS`."""
        return sum(len(part) for of, part in self.parts if of == kind)


def compress(network: QuantizedNetwork, codec: str = "huffman", codecs: Mapping[str, str] = _NONE) -> bytes:
    """Return the file with the weights and requantiser constants of all layers; deterministic.

    ``codec`` is one of :data:`CODECS`; layers that ``codecs`` names have one of their own.
    """
    return sealed(MAGIC + b"".join(record.content for record in _records(network, codec, codecs)))


def sealed(body: bytes) -> bytes:
    """Return a file's bytes with their CRC-32 behind them."""
    return body + zlib.crc32(body).to_bytes(4, "little")


def opened(data: bytes, magic: bytes) -> Reader:
    """Return what stands between a file's first bytes and its checksum; refuse a file that has others."""
    if not data.startswith(magic):
        raise HwsimError(
            f"a compressed network begins with {magic!r}, not {data[: len(magic)]!r}; "
            "compress the network with this hwsim"
        )
    if len(data) < len(magic) + 4 or zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise damaged("its checksum is wrong")
    return Reader(data[len(magic) : -4])


def layer_bytes(
    network: QuantizedNetwork, codec: str = "huffman", codecs: Mapping[str, str] = _NONE
) -> dict[str, int]:
    """Return how many bytes of the file that :func:`compress` writes each layer with parameters takes.

    With :data:`FRAME_BYTES` they sum to the file.
    """
    return {record.name: len(record.content) for record in _records(network, codec, codecs)}


def decompress(data: bytes) -> dict[str, Parameters]:
    """Return the parameters that :func:`compress` wrote, by layer.

    Raises :class:`HwsimError` for any other content. What is allocated stays in proportion to the file.
    """
    return read_records(opened(data, MAGIC))


def read_records(reader: Reader) -> dict[str, Parameters]:
    """Return the parameters of records up to the end, by layer."""
    layers: dict[str, Parameters] = {}
    while reader.left:
        record = Reader(reader.take(reader.number()))
        name = record.text()
        if name in layers:
            raise damaged(f'two layers are named "{name}"')
        layers[name] = _parameters(record)
    return layers


def float32_bytes(network: QuantizedNetwork) -> int:
    """Return what the parameters of the layers with weights take as float32.

    That is each weight and, batch norm being folded, one bias per output channel: 4 bytes each. The
    compressed file also holds the constants of layers without weights, which have no float counterpart.
    """
    weighted = (item.layer for item in network.layers if item.layer.has_weights)
    return sum(4 * (math.prod(layer.weight_shape) + layer.output_shape[0]) for layer in weighted)


def _records(network: QuantizedNetwork, codec: str, codecs: Mapping[str, str]) -> list[Record]:
    return [
        record_of(item, codecs.get(item.layer.name, codec))
        for item in network.layers
        if item.weight is not None or item.multiplier is not None
    ]


def record_of(item: IntegerLayer, codec: str, tried: Iterable[str] = ()) -> Record:
    """Return a layer's part of the file; of the coders ``tried`` it also says how long they would be.

    Raises :class:`HwsimError` for a codec that is none of :data:`CODECS`.
    """
    if codec not in CODECS:
        raise unknown("codec", codec, CODECS)
    name = item.layer.name.encode()
    parts, coder, sizes = [("header", number(len(name)) + name)], "", {}
    if item.weight is None:
        parts.append(("header", number(0)))
    else:
        assert item.bits is not None
        codes, bits = codes_of(item), item.bits.weight.bits
        codings = _codings(codes, bits, item.weight_width, {*CODECS[codec], *tried})
        coder, weights = _weights(codings, codec, item.weight_width)
        parts += [("header", _header(item)), *weights]
        sizes = {coder: len(form) for coder, form in codings.items()}
    parts += _constant_parts(item, codec)
    length = sum(len(part) for _, part in parts)
    return Record(item.layer.name, (("header", number(length)), *parts), coder, sizes)


def _header(item: IntegerLayer) -> bytes:
    """Return format, alphabet and dimensions of a layer's weights."""
    assert item.bits is not None and item.weight is not None
    text = str(item.bits.weight).encode()
    parts = [number(len(text)), text]
    if isinstance(item.bits.weight, Focused):
        parts.append(number(item.masks is not None))
    return b"".join([*parts, *map(number, item.weight.shape)])


def _constant_parts(item: IntegerLayer, codec: str) -> list[tuple[str, bytes]]:
    """Return what follows the weights: constants, then channels' own, then masks and their multipliers."""
    parts = [
        ("biases" if field == "bias" else "scales", constants(getattr(item, field), form))
        for field, form in _CONSTANTS
    ]
    if item.width is not None or item.masks is not None:
        parts += [("scales", constants(getattr(item, field), form)) for field, form in _CHANNELS]
    if item.masks is not None:
        if item.bits is None or not isinstance(item.bits.weight, Focused):
            rows = number(len(item.masks)) + number(item.masks.shape[1])
            parts.append(("masks", rows + coded(MASK.encode(item.masks), MASK.bits, codec)))
        parts.append(("masks", constants(item.mask_multiplier, MASK_MULTIPLIER)))
    return parts


def codes_of(item: IntegerLayer) -> IntArray:
    """Return the code words of a layer's weights, of its weight's shape."""
    assert item.bits is not None and item.weight is not None
    form = item.bits.weight
    return form.encode(item.weight, item.masks) if isinstance(form, Focused) else form.encode(item.weight)


def coded(codes: IntArray, bits: int, codec: str = "huffman") -> bytes:
    """Return code words of ``bits`` bits as a record holds them, a byte in front that says how."""
    _, parts = _weights(_codings(codes, bits, None, CODECS[codec]), codec, None)
    return b"".join(part for _, part in parts)


def _codings(codes: IntArray, bits: int, width: IntArray | None, coders: Iterable[str]) -> dict[str, Coded]:
    """Return code words under each coder that can hold them, in the order of :data:`CODERS`.

    Packed alone may be missing: where it would take less than a bit a weight, Huffman code stands in for it.
    """
    flat = codes.ravel()
    widths = np.full(flat.size, bits) if width is None else width.repeat(flat.size // len(width))
    wanted = set(coders)
    if int(widths.sum()) < flat.size:
        wanted = wanted - {"packed"} | {"huffman"}
    found = {coder: _encode(coder, flat, bits, widths) for coder in CODERS if coder in wanted}
    return {
        coder: _filled(form, flat.size // _WEIGHTS_PER_BYTE[coder])
        for coder, form in found.items()
        if form is not None
    }


def _encode(coder: str, codes: IntArray, bits: int, widths: IntArray) -> Coded | None:
    match coder:
        case "packed":
            return Coded(values=pack_each(codes, widths))
        case "huffman":
            return huffman.encode(codes, bits)
        case "ans":
            return ans.encode(codes, bits)
        case "bitmap":
            return indices.encode_bitmap(codes, widths)
        case _:
            return indices.encode_runs(codes, widths)


def _filled(form: Coded, least: int) -> Coded:
    return replace(form, values=form.values + bytes(max(0, least - len(form))))


def _weights(
    codings: Mapping[str, Coded], codec: str, width: IntArray | None
) -> tuple[str, list[tuple[str, bytes]]]:
    """Return the smallest coder of a codec, the first of equal ones, and the bytes of its kinds."""
    allowed = [coder for coder in codings if coder in CODECS[codec]] or ["huffman"]
    coder = min(allowed, key=lambda name: len(codings[name]))
    method = _METHODS[coder] + (_WIDTHS if width is not None else 0)
    widths = b"" if width is None else pack(WIDTH.encode(width), WIDTH.bits)
    form = codings[coder]
    return coder, [
        ("header", bytes([method])),
        ("tables", widths + form.tables),
        ("indices", form.indices),
        ("weights", form.values),
    ]


def constants(values: IntArray | None, form: Int) -> bytes:
    if values is None:
        return number(0)
    form.encode(values)
    width = next(bits for bits in range(1, form.bits + 1) if _holds(Int(bits, form.signed), values))
    codes = Int(width, form.signed).encode(values).ravel()
    return number(values.size) + bytes([width]) + pack(codes, width)


def _holds(form: Int, values: IntArray) -> bool:
    return bool(values.min() >= form.minimum and values.max() <= form.maximum)


def _parameters(record: Reader) -> Parameters:
    text = record.text()
    weight, weight_width, masks, multiplier = None, None, None, None
    form = parse_weight(text) if text else None
    if isinstance(form, Focused):
        weight, masks = _read_symbols(record, form)
    elif form is not None:
        weight, weight_width = read_codes(record, _shape(record), form)
    constants = [read_constants(record, form) for _, form in _CONSTANTS]
    constants += [read_constants(record, form) for _, form in _CHANNELS] if record.left else [None, None]
    if weight is not None and (masks is not None or record.left):
        masks = _read_masks(record, weight) if masks is None else masks
        multiplier = _read_multiplier(record, len(masks), len(weight))
    if record.left:
        raise damaged("a layer has bytes behind its last value")
    whole = Parameters(weight, *constants)
    return replace(whole, masks=masks, mask_multiplier=multiplier, weight_width=weight_width)


def _read_masks(record: Reader, weight: IntArray) -> IntArray:
    count, rows = record.number(), record.number()
    if not count or rows not in (1, len(weight)):
        raise damaged(f"it has {count} masks of {rows} rows")
    masks, _ = read_codes(record, (count, rows, *weight.shape[1:]), MASK)
    return masks


def _read_multiplier(record: Reader, masks: int, outputs: int) -> IntArray:
    multiplier = read_constants(record, MASK_MULTIPLIER)
    if multiplier is None or multiplier.size != masks * outputs:
        raise damaged(f"its {masks} masks have no multiplier for each output")
    return multiplier.reshape(masks, outputs)


def _read_symbols(record: Reader, form: Focused) -> tuple[IntArray, IntArray | None]:
    """Return the weights of a focused layer and, of a recentralized one, its masks."""
    alphabet = record.number()
    if alphabet > 1:
        raise damaged(f"focused weights have no alphabet {alphabet}")
    symbols, _ = read_codes(record, _shape(record), Int(form.bits, signed=False))
    weight, masks = form.decode(symbols, recentralized=alphabet == 1)
    if not np.array_equal(form.encode(weight, masks), symbols):
        raise damaged(f"it holds symbols that {form} does not have")
    return weight, masks


def _shape(record: Reader) -> tuple[int, ...]:
    return tuple(record.number() for _ in range(4))


def read_codes(record: Reader, shape: tuple[int, ...], form: Format) -> tuple[IntArray, IntArray | None]:
    """Return the values of code words and, where they have any, the widths of their output channels."""
    method = record.take(1)[0]
    coder = next((name for name, byte in _METHODS.items() if byte == method & ~_WIDTHS), None)
    if coder is None:
        raise damaged(f"weights are coded by method {method}")
    count = math.prod(shape)
    if not 0 < count <= _WEIGHTS_PER_BYTE[coder] * record.left:
        raise damaged(f"a weight of shape {shape} is empty or larger than the file")
    if form.bits > 16:
        raise damaged(f"weights have at most 16 bits, not those of {form}")
    width = record.unpack(shape[0], WIDTH.bits) if method & _WIDTHS else None
    if width is not None and (not isinstance(form, Int) or width.max() > form.bits):
        raise damaged(f"channels of {form} have up to {width.max()} bits")
    codes = _decode(coder, record, count, form.bits, width)
    if width is not None and coder in ("packed", "bitmap", "run_length"):
        own = width.repeat(count // len(width))
        codes = np.where(codes >> np.maximum(own - 1, 0) & 1, codes - (np.int64(1) << own), codes)
        codes &= (1 << form.bits) - 1
    return form.decode(codes).reshape(shape), width


def _decode(coder: str, record: Reader, count: int, bits: int, width: IntArray | None) -> IntArray:
    """Return code words; those of channels with widths of their own may be in these."""
    start = record.left
    match coder:
        case "huffman":
            return huffman.decode(record, count, bits)
        case "ans":
            codes = ans.decode(record, count, bits)
        case _:
            widths = np.full(count, bits) if width is None else width.repeat(count // len(width))
            if coder == "packed" and int(widths.sum()) < count:
                raise damaged(f"{count} weights are packed in {int(widths.sum())} bits")
            read = {"packed": Reader.unpack_each, "bitmap": indices.decode_bitmap}.get(
                coder, indices.decode_runs
            )
            codes = read(record, widths)
    fill = count // _WEIGHTS_PER_BYTE[coder] - (start - record.left)
    if any(record.take(max(0, fill))):
        raise damaged("there is something behind the last weight")
    return codes


def read_constants(record: Reader, form: Int) -> IntArray | None:
    count = record.number()
    if not count:
        return None
    width = record.take(1)[0]
    if not 1 <= width <= form.bits:
        raise damaged(f"a constant of {form} has {width} bits")
    return Int(width, form.signed).decode(record.unpack(count, width))
