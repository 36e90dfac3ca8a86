"""Weights that cross the bus coded: the bytes that move, and the circuits that decode them on the way in.

A layer's weights are packed, or in the code of one of :data:`CODERS` where that makes its part of the file smaller. Each has
a circuit that makes one code word a cycle of the file's own streams of bits, word register and aligner included
(:mod:`hwsim.datapath.word_stream`): whatever the weights are, that is the worst case and the rule. There are as many copies as
an image's weights need at the throughput. The tiling is that of packed weights, whose buffers hold them decoded; each of its
transfers shrinks as the layer's weights do as a whole. The tables of the codes are in the decoders, and a stream for each copy
costs no bytes. Words have 64 bits; a bus of another width brings them in several cycles, or several at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwsim.cost.coding import huffman, indices
from hwsim.cost.compression import codes_of, record_of
from hwsim.cost.hardware import Hardware, Part, circuit_part
from hwsim.cost.traffic import stored_bits
from hwsim.datapath.bitmap_decode import BitmapDecode
from hwsim.datapath.huffman_decode import HuffmanDecode
from hwsim.datapath.run_length_decode import RunLengthDecode
from hwsim.datapath.unpack import Unpack
from hwsim.errors import unknown
from hwsim.formats import IntArray
from hwsim.network import IntegerLayer

Decoder = Unpack | HuffmanDecode | BitmapDecode | RunLengthDecode

CODERS = {
    "packed": "unpack",
    "huffman": "huffman_decode",
    "bitmap": "bitmap_decode",
    "run_length": "run_length_decode",
}
"""Coders whose code a circuit decodes, and that circuit's name in :data:`hwsim.datapath.DATAPATHS`."""

DECODERS_VERSION = 2
"""Raise it when the decoders of a code are other circuits, so that explorations do not go on with the old ones' gates."""


@dataclass(frozen=True)
class Decoding:
    """How one layer's weights move: ``weights`` of them, which save ``saved_bits`` of what packed they take.

    ``circuit`` decodes one a cycle; None where nobody asked for it, or the weights are all the same in Huffman code.
    """

    weights: int = 0
    saved_bits: int = 0
    coder: str = "packed"
    circuit: Decoder | None = None

    @property
    def part(self) -> str:
        """The circuit's name."""
        return CODERS[self.coder]

    def moved_bytes(self, item: IntegerLayer, packed_bytes: int) -> int:
        """Return what moves of a layer whose packed weights and constants would be ``packed_bytes``, all passes together."""
        stored = stored_bits(item)
        return -(-packed_bytes * (stored - self.saved_bits) // stored)

    def decoded(self, item: IntegerLayer, packed_bytes: int) -> int:
        """Return how many code words an image decodes, all passes together, of a layer as in :meth:`moved_bytes`."""
        return -(-8 * packed_bytes * self.weights // stored_bits(item))

    def circuits(self, item: IntegerLayer, packed_bytes: int, hardware: Hardware) -> tuple[Part, ...]:
        """Return the decoders of a layer that an image takes ``packed_bytes`` of, packed."""
        if self.circuit is None:
            return ()
        return (circuit_part(self.part, self.circuit, self.decoded(item, packed_bytes), hardware),)


def check_coder(coder: str) -> None:
    """Refuse a coder that has no decoder."""
    if coder not in CODERS:
        raise unknown("coder with a decoder", coder, CODERS)


def decoding(item: IntegerLayer, coder: str) -> Decoding:
    """Return how a layer's weights move under a coder; a code that saves nothing is packed, no coder ("") a matter of bytes."""
    if not coder or item.bits is None or item.weight is None:
        return Decoding()
    check_coder(coder)
    codes, bits = codes_of(item).ravel(), item.bits.weight.bits
    widths = weight_widths(item)
    chosen = record_of(item, coder).coder
    circuit, size = _decoder(chosen, codes, bits, widths, int(item.weight_width is not None))
    return Decoding(codes.size, int(widths.sum()) - size, chosen, circuit)


def weight_widths(item: IntegerLayer) -> IntArray:
    """Return the bits of each weight of a layer, [weights], those of its channel where these have their own."""
    assert item.bits is not None and item.weight is not None
    own = item.bits.weight.bits if item.weight_width is None else item.weight_width[:, None]
    return np.broadcast_to(own, (len(item.weight), item.layer.products)).ravel()


def _decoder(
    coder: str, codes: IntArray, bits: int, widths: IntArray, mixed: int
) -> tuple[Decoder | None, int]:
    """Return the circuit that decodes code words of some widths, and the bits of its streams."""
    match coder:
        case "huffman":
            lengths = huffman.code_lengths(codes, bits)
            table = ",".join(map(str, lengths.tolist()))
            return HuffmanDecode(table) if (lengths > 0).sum() > 1 else None, int(lengths[codes].sum())
        case "bitmap":
            return BitmapDecode(bits, mixed), codes.size + int(widths[codes != 0].sum())
        case "run_length":
            run_bits, at = indices.stored_runs(codes, widths)
            return RunLengthDecode(bits, run_bits, mixed), run_bits * len(at) + int(widths[at].sum())
        case _:
            return Unpack(bits, mixed), int(widths.sum())
