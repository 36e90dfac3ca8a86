"""Integers lane by lane, and the same bit by bit: bit planes of 512 lanes.

Lane l of a group of 512 is bit l mod 64 of word l div 64 of each of its planes; an array of planes is
[group, bit, word].
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.simulate.lanes.analysis import storage_bits
from hwsim.simulate.lanes.machine import VECTOR_BITS, Kernel, compile_kernel, empty, has_feature, module_text
from hwsim.simulate.lanes.sliced import WORDS

LANES = 64 * WORDS
"""Lanes of a group."""

Array = npt.NDArray[Any]


def pack(values: Array, width: int) -> Array:
    """Return the planes [group, width, word] of contiguous integers, a multiple of 512 of them."""
    planes = empty((values.size // LANES, width, WORDS), np.uint64)
    if values.size:
        _pack(values.itemsize * 8, width).call(values.ctypes.data, planes.ctypes.data, len(planes))
    return planes


def unpack(planes: Array, width: int, into: Array | None = None) -> Array:
    """Return the integers of planes [group, width, word], zeros above their bits; in a contiguous array if given."""
    values = empty(len(planes) * LANES, f"uint{storage_bits(width)}") if into is None else into
    if values.size:
        _unpack(width, values.itemsize * 8).call(planes.ctypes.data, values.ctypes.data, len(planes))
    return values


_OCTETS = "<64 x i8>"
_WORDS = f"<{WORDS} x i64>"
_BY_PLACE = [8 * (k % 8) + k // 8 for k in range(64)]
_TURN = [0, 1, 4, 5, 2, 3, 6, 7]


class Exchange:
    """The code that turns integers into planes and back, as instructions on vectors of eight words."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.intrinsics: set[str] = set()
        self._count = 0

    def put(self, text: str) -> str:
        self._count += 1
        name = f"%t{self._count}"
        self.lines.append(f"  {name} = {text}")
        return name

    def taken(self) -> list[str]:
        """Return the lines since the last time."""
        lines, self.lines = self.lines, []
        return lines

    def planes(self, base: str, first: str, bits: int, width: int) -> list[str]:
        """Return the planes of the 512 integers from index ``first`` of an array.

        Octets are cut out of the integers, their bits exchanged, and their words put together.
        """
        found: list[str] = []
        octets = [
            self.octets(self.load(f"<64 x i{bits}>", f"i{bits}", base, self.offset(first, 64 * word)), bits)
            for word in range(WORDS)
        ]
        for low in range(0, width, 8):
            rows = []
            for word in range(WORDS):
                bit_by_bit = self.transpose_bits(octets[word][low // 8])
                gathered = self.shuffle(_OCTETS, bit_by_bit, "poison", _BY_PLACE)
                rows.append(self.put(f"bitcast {_OCTETS} {gathered} to {_WORDS}"))
            found += self.transpose_words([rows[k] for k in _TURN])
        return found[:width]

    def store_integers(
        self, planes: Sequence[str], base: str, first: str, bits: int, past_caches: bool = False
    ) -> None:
        """Store the integers of planes from index ``first`` of an array on, zeros above their bits.

        What goes past the caches must lie where cache lines begin, and be fenced before another thread reads it.
        """
        octets: list[list[str]] = [[] for _ in range(WORDS)]
        for low in range(0, len(planes), 8):
            columns = [*planes[low : low + 8], *["zeroinitializer"] * (low + 8 - len(planes))]
            for word, row in enumerate(self.transpose_words(columns)):
                gathered = self.put(f"bitcast {_WORDS} {row} to {_OCTETS}")
                turned = self.shuffle(
                    _OCTETS, gathered, "poison", [8 * _TURN[k // 8] + k % 8 for k in _BY_PLACE]
                )
                octets[word].append(self.transpose_bits(turned))
        for word, parts in enumerate(octets):
            for k, integers in enumerate(self.integers(parts, bits)):
                index = self.offset(first, 64 * word + 512 // bits * k)
                how = "align 64, !nontemporal !{i32 1}" if past_caches else "align 1"
                self.store(_OCTETS, integers, f"i{bits}", base, index, how)

    def load(self, type_: str, element: str, base: str, index: str) -> str:
        address = self.put(f"getelementptr {element}, ptr {base}, i64 {index}")
        return self.put(f"load {type_}, ptr {address}, align 1")

    def store(
        self, type_: str, value: str, element: str, base: str, index: str, how: str = "align 1"
    ) -> None:
        address = self.put(f"getelementptr {element}, ptr {base}, i64 {index}")
        self.lines.append(f"  store {type_} {value}, ptr {address}, {how}")

    def offset(self, start: str, places: int) -> str:
        return self.put(f"add i64 {start}, {places}")

    def shuffle(self, type_: str, one: str, other: str, order: Sequence[int]) -> str:
        indices = ", ".join(f"i32 {k}" for k in order)
        return self.put(f"shufflevector {type_} {one}, {type_} {other}, <{len(order)} x i32> <{indices}>")

    def octets(self, value: str, bits: int) -> list[str]:
        """Return the octets of 64 integers, the least significant first: halves are told apart until they are octets."""
        if bits == 8:
            return [value]
        half = bits // 2
        pairs = self.put(f"bitcast <64 x i{bits}> {value} to <128 x i{half}>")
        low, high = (self.shuffle(f"<128 x i{half}>", pairs, "poison", range(odd, 128, 2)) for odd in (0, 1))
        return self.octets(low, half) + self.octets(high, half)

    def integers(self, octets: Sequence[str], bits: int) -> list[str]:
        """Return 64 integers from their octets, as vectors of octets; missing ones are zeros.

        Neighbours are interleaved within each 128 bits, which takes no index; octets are ordered for that first.
        """
        count = bits // 8
        run = 16 // count
        order = [4 * run * (k % 16 // run) + run * (k // 16) + k % run for k in range(64)]
        ordered = [self.shuffle(_OCTETS, octet, "poison", order) for octet in octets]
        parts = [[octet] for octet in [*ordered, *["zeroinitializer"] * (count - len(octets))]]
        size = 8
        while len(parts) > 1:
            pairs = zip(parts[::2], parts[1::2], strict=True)
            parts = [
                [self.interleaved(*pair, size, high) for pair in zip(*two, strict=True) for high in (0, 1)]
                for two in pairs
            ]
            size *= 2
        return parts[0]

    def interleaved(self, one: str, other: str, bits: int, high: int) -> str:
        """Return the integers of the lower or upper half of each 128 bits of two vectors, in turns."""
        count, half = VECTOR_BITS // bits, 64 // bits
        places = [start + half * high + k for start in range(0, count, 2 * half) for k in range(half)]
        type_ = f"<{count} x i{bits}>"
        pair = [
            v if v == "zeroinitializer" else self.put(f"bitcast {_OCTETS} {v} to {type_}")
            for v in (one, other)
        ]
        joined = self.shuffle(type_, pair[0], pair[1], [k + count * odd for k in places for odd in (0, 1)])
        return self.put(f"bitcast {type_} {joined} to {_OCTETS}")

    def transpose_words(self, rows: Sequence[str]) -> list[str]:
        """Return the columns of eight vectors of eight words, in three rounds of exchanges.

        A column has its words in the order ``_TURN``: then no exchange takes a table of indices.
        """
        columns = list(rows)
        for size, low in ((4, (0, 1, 2, 3)), (2, (0, 1, 4, 5)), (1, (0, 2, 4, 6))):
            both = [low, [k + size for k in low]]
            orders = [[k + WORDS * odd for odd in (0, 1) for k in one] for one in both]
            if size == 1:
                orders = [[k + WORDS * odd for k in one for odd in (0, 1)] for one in both]
            for k in range(WORDS):
                if k & size == 0:
                    pair = columns[k], columns[k + size]
                    columns[k], columns[k + size] = (self.shuffle(_WORDS, *pair, o) for o in orders)
        return columns

    def transpose_bits(self, octets: str) -> str:
        """Return octets with the bits of each eight of them exchanged: bit i of octet t is bit t of octet i."""
        return self._by_matrix(octets) if _has_matrices() else self._by_exchange(octets)

    def _by_matrix(self, octets: str) -> str:
        """The product of a bit matrix and unit vectors; the instruction counts the matrix' rows from the last."""
        turned = self.shuffle(_OCTETS, octets, "poison", [k ^ 7 for k in range(64)])
        units = ", ".join(f"i8 {_bit_of(k % 8)}" for k in range(64))
        name = "llvm.x86.vgf2p8affineqb.512"
        self.intrinsics.add(f"declare {_OCTETS} @{name}({_OCTETS}, {_OCTETS}, i8)")
        return self.put(f"call {_OCTETS} @{name}({_OCTETS} <{units}>, {_OCTETS} {turned}, i8 0)")

    def _by_exchange(self, octets: str) -> str:
        """Exchange blocks of one, two and four bits (H. S. Warren, Hacker's Delight, 2012, section 7-3)."""
        words = self.put(f"bitcast {_OCTETS} {octets} to {_WORDS}")
        for places, mask in ((7, 0x00AA00AA00AA00AA), (14, 0x0000CCCC0000CCCC), (28, 0x00000000F0F0F0F0)):
            down = self.put(f"lshr {_WORDS} {words}, splat (i64 {places})")
            differ = self.put(f"xor {_WORDS} {words}, {down}")
            kept = self.put(f"and {_WORDS} {differ}, splat (i64 {mask})")
            up = self.put(f"shl {_WORDS} {kept}, splat (i64 {places})")
            once = self.put(f"xor {_WORDS} {words}, {kept}")
            words = self.put(f"xor {_WORDS} {once}, {up}")
        return self.put(f"bitcast {_WORDS} {words} to {_OCTETS}")


@cache
def _has_matrices() -> bool:
    """Return whether this machine multiplies bit matrices of 512 bits."""
    return has_feature("gfni", "avx512vbmi")


def _bit_of(position: int) -> int:
    """Return a bit of an octet as a signed number."""
    return -128 if position == 7 else 1 << position


@cache
def _pack(bits: int, width: int) -> Kernel:
    code = Exchange()
    for bit, plane in enumerate(code.planes("%values", "%lane", bits, width)):
        code.store(_WORDS, plane, "i64", "%planes", code.offset("%plane", bit * WORDS))
    return _over_groups("pack", ["%values", "%planes"], code, width)


@cache
def _unpack(width: int, bits: int) -> Kernel:
    code = Exchange()
    places = (code.offset("%plane", bit * WORDS) for bit in range(width))
    planes = [code.load(_WORDS, "i64", "%planes", place) for place in places]
    code.store_integers(planes, "%values", "%lane", bits)
    return _over_groups("unpack", ["%planes", "%values"], code, width)


def _over_groups(name: str, pointers: Sequence[str], code: Exchange, width: int) -> Kernel:
    lines = [
        "entry:",
        "  br label %body",
        "body:",
        "  %group = phi i64 [0, %entry], [%group_after, %body]",
        f"  %lane = mul i64 %group, {LANES}",
        f"  %plane = mul i64 %group, {width * WORDS}",
        *code.lines,
        "  %group_after = add i64 %group, 1",
        "  %again = icmp ult i64 %group_after, %groups",
        "  br i1 %again, label %body, label %end",
        "end:",
        "  ret void",
    ]
    parameters = [*(f"ptr noalias {pointer}" for pointer in pointers), "i64 %groups"]
    return compile_kernel(module_text(name, parameters, lines, sorted(code.intrinsics)), name, 3, 2)
