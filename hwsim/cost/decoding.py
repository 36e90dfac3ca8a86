"""Weights that cross the bus coded: the bytes that move, and the circuits that decode them on the way in.

A layer's weights are packed, or in the canonical Huffman code of :mod:`hwsim.cost.coding.huffman` where that makes its part
of the file smaller. Huffman code is decoded by :class:`hwsim.datapath.huffman_decode.HuffmanDecode`, one code word a cycle
of each copy, as many copies as an image's weights need at the throughput. The tiling is that of packed weights, whose
buffers hold them decoded; each of its transfers shrinks as the layer's weights do as a whole. The tables of the codes are
in the decoders, and a stream for each copy costs no bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.cost.coding.huffman import code_lengths
from hwsim.cost.compression import codes_of, record_of
from hwsim.cost.hardware import Hardware, Part, circuit_part
from hwsim.cost.traffic import stored_bits
from hwsim.datapath.huffman_decode import HuffmanDecode
from hwsim.errors import unknown
from hwsim.network import IntegerLayer

CODERS = ("packed", "huffman")
"""Coders whose code a circuit decodes, or that need none."""

PART = "huffman_decode"


@dataclass(frozen=True)
class Decoding:
    """How one layer's weights move: ``weights`` of them, which save ``saved_bits`` of what packed they take.

    ``circuit`` decodes one a cycle; None where they are packed, or all the same.
    """

    weights: int = 0
    saved_bits: int = 0
    circuit: HuffmanDecode | None = None

    def moved_bytes(self, item: IntegerLayer, packed_bytes: int) -> int:
        """Return what moves of a layer whose packed weights and constants would be ``packed_bytes``, all passes together."""
        stored = stored_bits(item)
        return -(-packed_bytes * (stored - self.saved_bits) // stored)

    def decoded(self, item: IntegerLayer, packed_bytes: int) -> int:
        """Return how many code words an image decodes, all passes together, of a layer as in :meth:`moved_bytes`."""
        return -(-8 * packed_bytes * self.weights // stored_bits(item))

    def part(self, item: IntegerLayer, packed_bytes: int, hardware: Hardware) -> Part | None:
        """Return the decoders of a layer that an image takes ``packed_bytes`` of, packed."""
        if self.circuit is None:
            return None
        return circuit_part(PART, self.circuit, self.decoded(item, packed_bytes), hardware)


def check_coder(coder: str) -> None:
    """Refuse a coder that has no decoder."""
    if coder not in CODERS:
        raise unknown("coder with a decoder", coder, CODERS)


def decoding(item: IntegerLayer, coder: str) -> Decoding:
    """Return how a layer's weights move under a coder; Huffman code that saves nothing is packed."""
    check_coder(coder)
    if (
        coder == "packed"
        or item.bits is None
        or item.weight is None
        or record_of(item, coder).coder != "huffman"
    ):
        return Decoding()
    codes, bits = codes_of(item), item.bits.weight.bits
    lengths = code_lengths(codes, bits)
    packed = codes.size * bits if item.weight_width is None else _own_widths(item)
    circuit = HuffmanDecode(",".join(map(str, lengths.tolist()))) if (lengths > 0).sum() > 1 else None
    return Decoding(codes.size, packed - int(lengths[codes].sum()), circuit)


def _own_widths(item: IntegerLayer) -> int:
    assert item.weight_width is not None
    return int(item.weight_width.sum()) * item.layer.products
