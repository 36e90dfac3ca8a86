"""Compression: a network's parameters in a file of their own, each layer's weights packed or Huffman-coded.

The file holds everything :func:`decompress` needs, and nothing of the graph:

- frame: 5 bytes that name the file and its version in front, a CRC-32 of all before it (little-endian) behind;
- a record for each layer with parameters, its length in front of it: the layer's name, its weight format as
  text and its weight's four dimensions, the weights, then multipliers, biases and shifts, and behind them
  the widths and exponents of channels that have their own;
- weights, as code words of their format (``Format.encode``), in the smaller of two forms: packed, or in
  canonical Huffman code behind a table with the code length of every code word; where output channels have
  widths of their own, those in 4 bits each in front, and packed means at these;
- constants: a count, a width and the values packed at that width, the smallest that holds them;
- where the layer adds sums of its inputs: how many masks, each one's rows and its bits coded as weights are,
  and their multipliers. The symbols of recentralized focused weights say which mean each is centred on: such a
  layer has the alphabet's number behind its format (1, of a plain one 0) and of its masks the multipliers alone.

Numbers (counts, lengths, dimensions) take 7 bits a byte, the lowest first, the top bit set while more follow.
Packed values have their highest bit first; each array ends on a byte.

Huffman, "A Method for the Construction of Minimum-Redundancy Codes", Proceedings of the IRE (1952); the
canonical form: Schwartz and Kallick, "Generating a Canonical Prefix Encoding", Communications of the ACM
(1964): codes of one length are consecutive, in the order of their symbols, so the lengths are the table.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from bitarray import bitarray
from bitarray.util import canonical_decode, canonical_huffman, int2ba

from hwsim.errors import HwsimError
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

_PACKED, _HUFFMAN, _WIDTHS = 0, 1, 4
"""How weights are coded, and what is added where their channels have widths of their own."""

_LENGTH_BITS_MAXIMUM = 5
"""Code lengths take at most 5 bits: bitarray decodes codes of up to 31 bits."""

_CONSTANTS = (("multiplier", MULTIPLIER), ("bias", BIAS), ("shift", SHIFT))
_CHANNELS = (("width", WIDTH), ("exponent", EXPONENT))


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


def compress(network: QuantizedNetwork) -> bytes:
    """Return the file with the weights and requantiser constants of all layers; deterministic."""
    body = MAGIC + b"".join(_records(network).values())
    return body + zlib.crc32(body).to_bytes(4, "little")


def layer_bytes(network: QuantizedNetwork) -> dict[str, int]:
    """Return how many bytes of the file each layer with parameters takes.

    With :data:`FRAME_BYTES` they sum to the file.
    """
    return {name: len(record) for name, record in _records(network).items()}


def decompress(data: bytes) -> dict[str, Parameters]:
    """Return the parameters that :func:`compress` wrote, by layer.

    Raises :class:`HwsimError` for any other content. What is allocated stays in proportion to the file.
    """
    if not data.startswith(MAGIC):
        raise HwsimError(
            f"a compressed network begins with {MAGIC!r}, not {data[: len(MAGIC)]!r}; "
            "compress the network with this hwsim"
        )
    if len(data) < FRAME_BYTES or zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise damaged("its checksum is wrong")
    reader = Reader(data[len(MAGIC) : -4])
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


def code_lengths(codes: IntArray, bits: int) -> IntArray:
    """Return the Huffman code length of each of the 2^bits code words, 0 for one that does not occur.

    A single code word that occurs alone takes 1 bit.

    >>> code_lengths(np.array([0, 0, 0, 2, 2, 3]), 2).tolist()
    [1, 0, 2, 2]
    """
    counts = np.bincount(codes.ravel(), minlength=1 << bits)
    lengths = np.zeros(1 << bits, np.int64)
    code, _, _ = canonical_huffman({int(word): int(counts[word]) for word in np.flatnonzero(counts)})
    for word, bit_string in code.items():
        lengths[word] = len(bit_string)
    return lengths


def _records(network: QuantizedNetwork) -> dict[str, bytes]:
    """Return each layer's part of the file, the length in front."""
    records = {
        item.layer.name: _record(item)
        for item in network.layers
        if item.weight is not None or item.multiplier is not None
    }
    return {name: number(len(record)) + record for name, record in records.items()}


def _record(item: IntegerLayer) -> bytes:
    name = item.layer.name.encode()
    parts = [number(len(name)), name]
    if item.weight is None:
        parts.append(number(0))
    else:
        assert item.bits is not None
        text = str(item.bits.weight).encode()
        parts += [number(len(text)), text]
        if isinstance(item.bits.weight, Focused):
            parts.append(number(item.masks is not None))
        parts += map(number, item.weight.shape)
        parts.append(coded(codes_of(item), item.bits.weight.bits, item.weight_width))
    for field, form in _CONSTANTS:
        parts.append(_constants(getattr(item, field), form))
    if item.width is not None or item.masks is not None:
        parts += [_constants(getattr(item, field), form) for field, form in _CHANNELS]
    if item.masks is not None:
        if item.bits is None or not isinstance(item.bits.weight, Focused):
            parts += [number(len(item.masks)), number(item.masks.shape[1])]
            parts.append(coded(MASK.encode(item.masks), MASK.bits))
        parts.append(_constants(item.mask_multiplier, MASK_MULTIPLIER))
    return b"".join(parts)


def codes_of(item: IntegerLayer) -> IntArray:
    """Return the code words of a layer's weights, of its weight's shape."""
    assert item.bits is not None and item.weight is not None
    form = item.bits.weight
    return form.encode(item.weight, item.masks) if isinstance(form, Focused) else form.encode(item.weight)


def coded(codes: IntArray, bits: int, width: IntArray | None = None) -> bytes:
    huffman = _huffman(codes.ravel(), bits)
    if width is None:
        packed, added, table = _pack(codes.ravel(), bits), 0, b""
    else:
        packed, added, table = _pack_channels(codes, width), _WIDTHS, _pack(WIDTH.encode(width), WIDTH.bits)
    # A weight takes a bit at least, so that what a file claims to hold is in proportion to it.
    scarce = width is not None and int(width.sum()) < len(width)
    if huffman is None or (not scarce and len(packed) <= len(huffman)):
        return bytes([_PACKED + added]) + table + packed
    return bytes([_HUFFMAN + added]) + table + huffman


def _huffman(codes: IntArray, bits: int) -> bytes | None:
    lengths = code_lengths(codes, bits)
    length_bits = int(lengths.max()).bit_length()
    if length_bits > _LENGTH_BITS_MAXIMUM:
        return None
    payload = bitarray()
    payload.encode(_canonical_code(lengths), codes.tolist())
    return bytes([length_bits]) + _pack(lengths, length_bits) + number(len(payload)) + payload.tobytes()


def _pack_channels(codes: IntArray, width: IntArray) -> bytes:
    """Return the low bits of each output channel's code words, as many as its width, one behind the other."""
    rows = codes.reshape(len(width), -1)
    return np.packbits(
        np.concatenate([_bits(r, w).ravel() for r, w in zip(rows, width, strict=True)])
    ).tobytes()


def _canonical_order(lengths: IntArray) -> list[int]:
    """Return the code words that occur, by code length and value."""
    return sorted(np.flatnonzero(lengths).tolist(), key=lambda word: lengths[word])


def _canonical_code(lengths: IntArray) -> dict[int, bitarray]:
    code, value, length = {}, -1, 0
    for word in _canonical_order(lengths):
        value = (value + 1) << (int(lengths[word]) - length)
        length = int(lengths[word])
        code[word] = int2ba(value, length)
    return code


def _constants(values: IntArray | None, form: Int) -> bytes:
    if values is None:
        return number(0)
    form.encode(values)
    width = next(bits for bits in range(1, form.bits + 1) if _holds(Int(bits, form.signed), values))
    codes = Int(width, form.signed).encode(values).ravel()
    return number(values.size) + bytes([width]) + _pack(codes, width)


def _holds(form: Int, values: IntArray) -> bool:
    return bool(values.min() >= form.minimum and values.max() <= form.maximum)


def _pack(values: IntArray, bits: int) -> bytes:
    """Return non-negative values in ``bits`` bits each, highest bit first, filled up to a byte."""
    return np.packbits(_bits(values, bits)).tobytes()


def _bits(values: IntArray, bits: int) -> npt.NDArray[np.uint8]:
    """Return the low ``bits`` of each value, [values, bits], highest first."""
    octets = values.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 8 - -(-bits // 8) :]
    return np.unpackbits(octets, axis=1)[:, octets.shape[1] * 8 - bits :]


def number(value: int) -> bytes:
    digits = []
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])


class Reader:
    """Reads a record from its front and never beyond its end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise damaged("it ends early")
        self._position += count
        return self._data[self._position - count : self._position]

    @property
    def left(self) -> int:
        return len(self._data) - self._position

    def number(self) -> int:
        value = 0
        for shift in range(0, 63, 7):
            digit = self.take(1)[0]
            value |= (digit & 127) << shift
            if digit < 128:
                return value
        raise damaged("a number has more than 63 bits")

    def text(self) -> str:
        try:
            return self.take(self.number()).decode()
        except UnicodeDecodeError:
            raise damaged("a name is no UTF-8 text") from None

    def unpack(self, count: int, bits: int) -> IntArray:
        """Return ``count`` values of ``bits`` bits, the inverse of :func:`_pack`."""
        raw = np.frombuffer(self.take(-(-count * bits // 8)), np.uint8)
        octets = np.zeros((count, 64), np.uint8) if bits > 8 else np.zeros((count, 8), np.uint8)
        octets[:, octets.shape[1] - bits :] = np.unpackbits(raw, count=count * bits).reshape(count, bits)
        whole = np.packbits(octets, axis=1)
        return whole.view(">u8" if bits > 8 else np.uint8).ravel().astype(np.int64)


def damaged(why: str) -> HwsimError:
    return HwsimError(f"the compressed network is damaged: {why}; compress the network again")


def _parameters(record: Reader) -> Parameters:
    text = record.text()
    weight, weight_width, masks, multiplier = None, None, None, None
    form = parse_weight(text) if text else None
    if isinstance(form, Focused):
        weight, masks = _read_symbols(record, form)
    elif form is not None:
        weight, weight_width = read_codes(record, _shape(record), form)
    constants = [_read_constants(record, form) for _, form in _CONSTANTS]
    constants += [_read_constants(record, form) for _, form in _CHANNELS] if record.left else [None, None]
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
    multiplier = _read_constants(record, MASK_MULTIPLIER)
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
    count = math.prod(shape)
    if not 0 < count <= 8 * record.left:
        raise damaged(f"a weight of shape {shape} is empty or larger than the file")
    if form.bits > 16:
        raise damaged(f"weights have at most 16 bits, not those of {form}")
    added, coded = divmod(record.take(1)[0], _WIDTHS)
    if added > 1 or coded not in (_PACKED, _HUFFMAN):
        raise damaged(f"weights are coded by method {added * _WIDTHS + coded}")
    width = record.unpack(shape[0], WIDTH.bits) if added else None
    if width is not None and (not isinstance(form, Int) or width.max() > form.bits):
        raise damaged(f"channels of {form} have up to {width.max()} bits")
    if coded == _HUFFMAN:
        codes = _read_huffman(record, count, form.bits)
    elif width is None:
        codes = record.unpack(count, form.bits)
    else:
        return _read_channels(record, shape, width), width
    return form.decode(codes).reshape(shape), width


def _read_channels(record: Reader, shape: tuple[int, ...], width: IntArray) -> IntArray:
    """Return weights packed at the widths of their output channels."""
    count = math.prod(shape[1:])
    ends = (width * count).cumsum()
    if len(width) * count > ends[-1]:
        raise damaged(f"{len(width) * count} weights are packed in {ends[-1]} bits")
    bits = np.unpackbits(np.frombuffer(record.take(-(-int(ends[-1]) // 8)), np.uint8), count=int(ends[-1]))
    rows = np.zeros((len(width), count), np.int64)
    for row, end, own in zip(rows, ends.tolist(), width.tolist(), strict=True):
        if own:
            codes = bits[end - own * count : end].reshape(count, own).astype(np.int64)
            row[:] = Int(own).decode(codes @ (np.int64(1) << np.arange(own)[::-1]))
    return rows.reshape(shape)


def _read_huffman(record: Reader, count: int, bits: int) -> IntArray:
    length_bits = record.take(1)[0]
    if not 1 <= length_bits <= _LENGTH_BITS_MAXIMUM:
        raise damaged(f"its code lengths have {length_bits} bits")
    lengths = record.unpack(1 << bits, length_bits)
    used = lengths[lengths > 0]
    # Kraft's sum is 1 for a complete prefix code; a code word that occurs alone leaves half of it open.
    if int((np.int64(1) << (32 - used)).sum()) != 1 << 32 and used.tolist() != [1]:
        raise damaged("its code lengths are no prefix code")
    size = record.number()
    payload = bitarray()
    payload.frombytes(record.take(-(-size // 8)))
    symbols = canonical_decode(payload[:size], np.bincount(used).tolist(), _canonical_order(lengths))
    try:
        codes = np.fromiter(symbols, np.int64)
    except ValueError:
        raise damaged("its code ends within a code word") from None
    if codes.size != count:
        raise damaged(f"it holds {codes.size} weights of a layer that has {count}")
    return codes


def _read_constants(record: Reader, form: Int) -> IntArray | None:
    count = record.number()
    if not count:
        return None
    width = record.take(1)[0]
    if not 1 <= width <= form.bits:
        raise damaged(f"a constant of {form} has {width} bits")
    return Int(width, form.signed).decode(record.unpack(count, width))
