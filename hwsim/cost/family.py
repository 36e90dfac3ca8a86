"""The family of circuits that is characterised: which parameters of each datapath.

A grid holds what layers of networks ask for at 2 to 8 bits, and the widths between where a trend is to be seen. A
datapath without a grid here is characterised in each of its ``variants()``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np

from hwsim.cost.coding.huffman import code_lengths
from hwsim.datapath import DATAPATHS, Datapath, load
from hwsim.datapath.add import Add
from hwsim.datapath.apot_mac import ApotMac
from hwsim.datapath.bitmap_decode import BitmapDecode
from hwsim.datapath.focused_mac import FocusedMac
from hwsim.datapath.huffman_decode import LONGEST, HuffmanDecode
from hwsim.datapath.input_sum import InputSum, sum_format
from hwsim.datapath.mac import Mac, architectures
from hwsim.datapath.multipliers import MULTIPLIERS
from hwsim.datapath.pool import AveragePool
from hwsim.datapath.requantize import Requantize
from hwsim.datapath.requantize_sums import RequantizeSums
from hwsim.datapath.run_length_decode import RUN_BITS_MAXIMUM, RunLengthDecode
from hwsim.datapath.shift_mac import ShiftMac
from hwsim.datapath.unpack import Unpack
from hwsim.errors import HwsimError
from hwsim.formats import AdditivePowersOfTwo, Focused, Int, Overflow, PowerOfTwo

_ALL, _EVEN = range(2, 9), (2, 4, 6, 8)
_BETWEEN = (12, 14, 18, 20, 22, 24, 26, 28, 30)
_ARCHITECTURES = [point for point in architectures() if point[:2] != ("ripple", 1)]
_SHAPES = ((2, 2), (2, 8), (4, 4), (4, 8), (8, 4), (8, 8))


def designs(name: str) -> list[Datapath]:
    """Return the circuits of a family: a datapath's grid, its variants without one, or a finished datapath itself."""
    found = load(name)
    if not isinstance(found, type):
        return [found]
    grid = GRIDS.get(name, getattr(found, "variants", None))
    if grid is None:
        raise HwsimError(f'"{name}" has no variants(); add one that yields the parameters to characterise')
    return list(dict.fromkeys(grid()))


def families() -> tuple[str, ...]:
    """Return the names of all families."""
    return tuple(DATAPATHS)


def _uint(bits: int) -> Int:
    return Int(bits, signed=False)


def _macs() -> Iterator[Mac]:
    """Every width of both operands behind a ReLU, the even ones with signs, accumulators between; every multiplier, adder
    and pipeline."""
    for n, overflow, w, a in product((16, 32), Overflow, _ALL, _ALL):
        yield Mac(Int(w), _uint(a), Int(n), overflow)
    for n, overflow, w, a in product((16, 32), Overflow, (2, 3, 4, 6, 8), _EVEN):
        yield Mac(Int(w), Int(a), Int(n), overflow)
    for n, (w, a) in product(_BETWEEN, _SHAPES):
        yield Mac(Int(w), _uint(a), Int(n))
    for multiplier, n, w, a in product(MULTIPLIERS, (16, 32), _EVEN, _EVEN):
        yield Mac(Int(w), _uint(a), Int(n), multiplier=multiplier)
    for (adder, stages, overflow), n, (w, a) in product(
        _ARCHITECTURES, (16, 32), ((2, 2), (4, 4), (4, 8), (8, 8))
    ):
        yield Mac(Int(w), _uint(a), Int(n), overflow, adder=adder, stages=stages)


def _shift_macs() -> Iterator[ShiftMac]:
    for n, overflow, w, a in product((16, 32), Overflow, (3, 4, 5), _ALL):
        yield ShiftMac(PowerOfTwo(w), _uint(a), Int(n), overflow)
    for n, overflow, w, a in product((16, 32), Overflow, (3, 4, 5), (4, 8)):
        yield ShiftMac(PowerOfTwo(w), Int(a), Int(n), overflow)
    for n, w in product((12, 20, 24, 28), (3, 4, 5)):
        yield ShiftMac(PowerOfTwo(w), _uint(8), Int(n))
    for (adder, stages, overflow), n in product(_ARCHITECTURES, (16, 32)):
        yield ShiftMac(PowerOfTwo(4), _uint(8), Int(n), overflow, adder, stages)


def _apot_macs() -> Iterator[ApotMac]:
    for n, overflow, w, a in product((16, 32), Overflow, (4, 5, 6, 7), _EVEN):
        yield ApotMac(AdditivePowersOfTwo(w), _uint(a), Int(n), overflow)


def _focused_macs() -> Iterator[FocusedMac]:
    for n, w, a in product((16, 24, 32), (4, 5, 6), (4, 6, 8)):
        yield FocusedMac(Focused(w), _uint(a), Int(n))


def _input_sums() -> Iterator[InputSum]:
    for bits, count in product((2, 4, 6, 8), (9, 144, 512, 4608)):
        yield InputSum(_uint(bits), sum_format(_uint(bits), count))


def _requantizers() -> Iterator[Requantize]:
    """Behind accumulators of 8 to 32 bits, and from one tensor's width to a narrower one."""
    for n, output in product((8, 12, 16, 20, 24, 28, 32), (_uint(4), _uint(8), Int(8))):
        yield Requantize(Int(n), output)
    for n, bits in product((16, 32), (2, 3, 6)):
        yield Requantize(Int(n), _uint(bits))
    for wide, narrow in ((8, 6), (8, 4), (8, 3), (8, 2), (6, 4), (6, 2), (4, 2)):
        yield Requantize(_uint(wide), _uint(narrow))


def _requantizers_of_sums() -> Iterator[RequantizeSums]:
    for n, count in product((16, 32), (1, 2)):
        yield RequantizeSums(Int(n), Int(18), count, _uint(8))


def _adders() -> Iterator[Add]:
    for bits, signed in product((2, 4, 6, 8), (False, True)):
        yield Add(Int(bits, signed), Int(bits, signed), Int(bits, signed))
    yield Add(Int(8), _uint(8), _uint(8))


def _average_pools() -> Iterator[AveragePool]:
    for bits, extra in product((2, 3, 4, 6, 8), (2, 4, 6)):
        yield AveragePool(_uint(bits), _uint(bits + extra))


def _decoders() -> Iterator[HuffmanDecode]:
    """Decoders of the codes of normally distributed weights, the widest level at 2 to 4 standard deviations."""
    for bits, deviations in product((2, 3, 4, 5), (2.0, 3.0, 4.0)):
        levels = np.arange(1 << bits) - (1 << bits - 1)
        shares = np.exp(-0.5 * (levels * deviations / (1 << bits - 1)) ** 2)
        counts = np.maximum(1, np.rint(4096 * shares / shares.sum()).astype(np.int64))
        lengths = code_lengths(np.repeat(np.arange(1 << bits), counts), bits)
        assert lengths.max() <= LONGEST
        yield HuffmanDecode(",".join(map(str, lengths.tolist())))


def _unpackers() -> Iterator[Unpack]:
    for mixed, bits in product((0, 1), _ALL):
        yield Unpack(bits, mixed)


def _bitmap_decoders() -> Iterator[BitmapDecode]:
    yield from map(BitmapDecode, _ALL)


def _run_length_decoders() -> Iterator[RunLengthDecode]:
    for bits, run_bits in product(_ALL, range(1, RUN_BITS_MAXIMUM + 1)):
        yield RunLengthDecode(bits, run_bits)


GRIDS: dict[str, Callable[[], Iterator[Datapath]]] = {
    "mac": _macs,
    "shift_mac": _shift_macs,
    "apot_mac": _apot_macs,
    "focused_mac": _focused_macs,
    "input_sum": _input_sums,
    "requantize": _requantizers,
    "requantize_sums": _requantizers_of_sums,
    "add": _adders,
    "average_pool": _average_pools,
    "unpack": _unpackers,
    "huffman_decode": _decoders,
    "bitmap_decode": _bitmap_decoders,
    "run_length_decode": _run_length_decoders,
}
"""The grid of each family that has one, by its datapath's name."""
