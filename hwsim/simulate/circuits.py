"""A network's circuits, compiled: every output of every layer is computed by them and by nothing else.

Sums of products run as reductions, one lane an output and one cycle a product; requantisers, additions and pools
as lane-parallel steps of their own netlists. What a layer only moves (flatten, slice, concatenate, pad channels)
has no circuit and is moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from hwsim.datapath import parts
from hwsim.datapath.datapath import Datapath, elaborate
from hwsim.formats import Format, IntArray, Rounding
from hwsim.layers import AveragePool, Convolution, MaxPool
from hwsim.network import IntegerLayer, QuantizedNetwork
from hwsim.simulate.inference import Overflowed, compute_layer, windows
from hwsim.simulate.lanes import LaneSimulation, Reduction
from hwsim.simulate.replay import cycles_per_output

LANES = 1 << 16


class Circuits:
    """The circuits of an integer network, ready to compute its layers.

    ``mac`` names the multiply-accumulate, ``gates`` runs its gates even where their arithmetic is proved, and
    ``threads`` work on one layer.
    """

    def __init__(
        self, network: QuantizedNetwork, *, mac: str = "mac", gates: bool = False, threads: int = 1
    ) -> None:
        self.threads = threads
        formats = network.formats()
        self._parts = {
            item.layer.name: parts(item, formats, network.rounding, mac=mac) for item in network.layers
        }
        self._sums = {
            item.layer.name: _Sums(item, self._parts[item.layer.name]["mac"], gates)
            for item in network.layers
            if item.layer.has_weights
        }

    @property
    def steps(self) -> dict[str, str]:
        """What was run for the sums of each layer: its gates, or the arithmetic they are proved to be."""
        return {name: sums.step for name, sums in self._sums.items()}

    def cycles(self, item: IntegerLayer) -> int:
        """Return the clock cycles that one image's outputs of a layer take, summed over the outputs."""
        return item.layer.outputs * cycles_per_output(item, self._parts[item.layer.name])

    def compute(
        self, item: IntegerLayer, inputs: tuple[IntArray, ...], rounding: Rounding
    ) -> tuple[IntArray, Overflowed | None]:
        """Return a layer's output [n, c, h, w] and which sums overflowed, as :func:`compute_layer` does."""
        circuits = self._parts[item.layer.name]
        if not circuits:
            return compute_layer(item, inputs, rounding)
        overflowed: Overflowed | None = None
        x, operator = inputs[0], item.layer.operator
        if item.layer.has_weights:
            x, overflowed = self._sums[item.layer.name].run(x, self.threads)
        elif isinstance(operator, MaxPool | AveragePool):
            (part,) = (name for name in circuits if name != "requantize")
            fill = circuits[part].inputs["activation"].minimum if part == "max_pool" else 0
            taken = windows(x, operator.kernel, operator.stride, operator.padding, fill)
            x = _accumulate(circuits[part], taken.reshape(*taken.shape[:4], -1))
        if "requantize" in circuits:
            x = _step(circuits["requantize"], {"accumulator": x} | _constants(item, ("multiplier",)))
        elif "add" in circuits:
            operands = {"first": x, "second": inputs[1]}
            names = ("first_multiplier", "second_multiplier")
            x = _step(circuits["add"], operands | _constants(item, names))
        return x, overflowed


def _constants(item: IntegerLayer, multipliers: tuple[str, ...]) -> dict[str, IntArray]:
    """Return a requantiser's constants by port, each to be broadcast over [n, c, h, w]."""
    assert item.multiplier is not None and item.bias is not None and item.shift is not None
    single = len(multipliers) > 1
    values = np.split(item.multiplier, len(multipliers)) if single else [item.multiplier]
    named = dict(zip(multipliers, values, strict=True)) | {"bias": item.bias, "shift": item.shift}
    return {name: value[:, None, None] for name, value in named.items()}


class _Sums:
    """One layer's sums: a reduction for each group of channels, or one for all channels of a depthwise layer."""

    def __init__(self, item: IntegerLayer, mac: Datapath, gates: bool) -> None:
        assert item.weight is not None
        self.item = item
        self.operator: Convolution = item.layer.as_convolution
        groups = self.operator.groups
        rows = item.weight.reshape(len(item.weight), -1)
        self.depthwise = groups > 1 and groups == len(item.weight) == item.layer.input_shapes[0][0]
        weights = [rows.T] if self.depthwise else [part.T for part in np.split(rows, groups)]
        self.reductions = [
            Reduction(
                mac, np.ascontiguousarray(w), observe=("overflow",), gates=gates, depthwise=self.depthwise
            )
            for w in weights
        ]
        self.step = self.reductions[0].step

    def run(self, x: IntArray, threads: int) -> tuple[IntArray, Overflowed]:
        """Return accumulators [n, outputs, height, width] and which of them overflowed."""
        top, left, bottom, right = self.operator.padding
        padded = np.pad(x.astype(np.int16), ((0, 0), (0, 0), (top, bottom), (left, right)))
        if self.depthwise:
            padded = np.ascontiguousarray(padded.transpose(0, 2, 3, 1))
        n, channels = x.shape[:2]
        strides = np.array(padded.strides) // padded.itemsize
        image, row, column = (strides[0], *strides[1:3]) if self.depthwise else (strides[0], *strides[2:])
        height, width = self.item.layer.output_shape[1:]
        (down, along), kernel = self.operator.stride, self.operator.kernel
        base = _lattice((n, image), (height, row * down), (width, column * along))
        taps = _lattice((kernel[0], row), (kernel[1], column))
        if not self.depthwise:
            taps = _lattice((channels // self.operator.groups, strides[1])).repeat(taps.size) + np.tile(
                taps, channels // self.operator.groups
            )
        values = padded.reshape(-1)
        sums = [
            reduction.gather(
                values, base + group * strides[1] * (channels // self.operator.groups), taps, threads=threads
            )
            for group, reduction in enumerate(self.reductions)
        ]

        def planes(arrays: list[np.ndarray]) -> np.ndarray:
            whole = arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=1)
            return whole.reshape(n, height, width, -1).transpose(0, 3, 1, 2)

        overflowed = [s.overflowed for s in sums if s.overflowed is not None]
        return planes([s.values for s in sums]), planes(overflowed)


def _lattice(*axes: tuple[int, int]) -> IntArray:
    """Return the offsets of a lattice of (count, step) axes, the last fastest, flat."""
    offsets = np.zeros(1, np.int64)
    for count, step in axes:
        offsets = (offsets[:, None] + np.arange(count, dtype=np.int64) * step).ravel()
    return offsets


@lru_cache(maxsize=256)
def _simulation(datapath: Datapath) -> LaneSimulation:
    return LaneSimulation(elaborate(datapath, cut_registers=True), lanes=LANES, tracer=None)


def _step(datapath: Datapath, values: Mapping[str, IntArray]) -> IntArray:
    """Return the one output or next register of a circuit's cycle on arrays that broadcast."""
    simulation = _simulation(datapath)
    state = {name: register.format for name, register in datapath.registers.items()}
    formats: dict[str, Format] = {**datapath.inputs, **state}
    shape = np.broadcast_shapes(*(v.shape for v in values.values()))
    codes = {name: np.broadcast_to(_codes(formats[name], v), shape).reshape(-1) for name, v in values.items()}
    ((port, form),) = {**datapath.outputs, **{f"next_{name}": form for name, form in state.items()}}.items()
    size = int(np.prod(shape))
    result = np.empty(size, np.int64)
    for start in range(0, size, LANES):
        chunk = {name: _filled(row[start : start + LANES]) for name, row in codes.items()}
        stop = min(start + LANES, size)
        result[start:stop] = simulation.run(chunk)[port][0, : stop - start]
    return form.decode(result).reshape(shape)


def _codes(form: Format, values: IntArray) -> npt.NDArray[np.unsignedinteger]:
    """Return the bit patterns of values in the narrowest unsigned integers that hold them."""
    size = next(size for size in (1, 2, 4, 8) if form.bits <= 8 * size)
    return form.encode(values).astype(f"u{size}")


def _filled(row: IntArray) -> IntArray:
    return np.pad(row, (0, LANES - len(row)))[None] if len(row) < LANES else row[None]


def _accumulate(datapath: Datapath, terms: IntArray) -> IntArray:
    """Return the register of a pool after the cycles of its windows [n, c, h, w, terms], from reset."""
    ((name, register),) = datapath.registers.items()
    state = np.full(terms.shape[:-1], register.reset, np.int64)
    for term in np.moveaxis(terms, -1, 0):
        state = _step(datapath, {"activation": term, name: state})
    return state
