"""Decoder of weights with the zeros in front of each: one weight a cycle, zero or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyrtl

from hwsim.datapath.adders import any_of, bits_of, both, invert, wire_of
from hwsim.datapath.datapath import Register
from hwsim.datapath.half import constant, decrement, select
from hwsim.datapath.weight_stream import WeightStream
from hwsim.datapath.word_stream import WORD_BITS, WordStream
from hwsim.errors import HwsimError
from hwsim.formats import Format, Int, IntArray

RUN_BITS_MAXIMUM = 8


@dataclass(frozen=True)
class RunLengthDecode:
    """A decoder of run lengths of ``run_bits`` bits and the weights of ``bits`` bits behind them: one code word a cycle.

    Two streams of words of a bus: the zeros in front of each weight that is stored, and those weights. A run is counted down, a
    zero a cycle; ``open`` is 1 while one is. ``mixed`` is as in :class:`hwsim.datapath.weight_stream.WeightStream`.
    """

    bits: int
    run_bits: int
    mixed: int = field(default=0, repr=False)
    word_bits: int = field(default=WORD_BITS, repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.run_bits <= RUN_BITS_MAXIMUM:
            raise HwsimError(
                f"a run has 1 to {RUN_BITS_MAXIMUM} bits, not {self.run_bits}; write run_bits=4, say"
            )
        _ = self._weights

    @property
    def _runs(self) -> WordStream:
        return WordStream(self.run_bits, self.run_bits, self.word_bits, "index_")

    @property
    def _weights(self) -> WeightStream:
        return WeightStream(self.bits, self.mixed, self.word_bits)

    @property
    def inputs(self) -> dict[str, Format]:
        return {**self._runs.inputs, **self._weights.inputs}

    @property
    def registers(self) -> dict[str, Register]:
        own = {"zeros": Register(Int(self.run_bits, signed=False)), "open": Register(Int(1, signed=False))}
        return own | self._runs.registers | self._weights.stream.registers

    @property
    def outputs(self) -> dict[str, Int]:
        taken = self._runs.outputs | self._weights.stream.outputs
        return {"symbol": Int(self.bits, signed=False), **taken}

    def streams(self, codes: IntArray, widths: IntArray | None = None) -> dict[str, IntArray]:
        """Return the ports' values [cycles] while code words [cycles] of channels of ``widths`` are decoded, from reset."""
        longest, stops = 1 << self.run_bits, [-1]
        for place in np.flatnonzero(codes).tolist():
            stops += [*range(stops[-1] + longest, place, longest), place]
        stops += range(stops[-1] + 1, len(codes))  # behind the stream's end a run of none and a zero a cycle
        at = np.array(stops[1:], np.int64)
        runs = np.diff(at, prepend=-1) - 1
        begins, stored = np.zeros_like(codes), np.zeros_like(codes)
        begins[at - runs], stored[at] = 1, 1
        bits = (runs[:, None] >> np.arange(self.run_bits)[::-1] & 1).astype(np.uint8)
        shown = self._runs.shown(bits.ravel(), begins * self.run_bits)
        return {"index_word": shown, **self._weights.streams(codes, stored, widths)}

    def compute(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        left = np.where(values["open"], values["zeros"], self._runs.window(values))
        stored = (left == 0).astype(np.int64)
        return {
            "symbol": self._weights.next(values) * stored,
            "zeros": left - 1 & (1 << self.run_bits) - 1,
            "open": 1 - stored,
            **self._runs.after(values, self.run_bits * (1 - np.asarray(values["open"], np.int64))),
            **self._weights.after(values, stored),
        }

    def connect(self, wires: Mapping[str, pyrtl.WireVector]) -> dict[str, pyrtl.WireVector]:
        bits = {name: bits_of(wire) for name, wire in wires.items()}
        (counting,) = bits["open"]
        run = self._runs.window_bits(bits)
        left = [select(counting, one, zero) for one, zero in zip(bits["zeros"], run, strict=True)]
        some = any_of(left)
        results = {
            "symbol": [both(bit, invert(some)) for bit in self._weights.next_bits(bits)],
            "zeros": decrement(left),
            "open": [some],
            **self._runs.after_bits(
                bits, constant(self.run_bits, self.run_bits.bit_length()), invert(counting)
            ),
            **self._weights.after_bits(bits, invert(some)),
        }
        return {name: wire_of(found) for name, found in results.items()}

    @staticmethod
    def variants() -> Iterator[RunLengthDecode]:
        """Runs and weights of several widths each, a bus of one byte, and channels of several widths."""
        for bits, run_bits in ((2, 1), (3, 4), (4, 4), (5, 3), (8, 5), (8, 8)):
            yield RunLengthDecode(bits, run_bits)
        yield RunLengthDecode(3, 3, word_bits=8)
        yield RunLengthDecode(4, 2, mixed=1)
