"""A network's circuits, compiled: every output of every layer is computed by them and by nothing else.

Sums of products run as reductions, one lane an output and one cycle a product; requantisers, additions and pools
as lane-parallel steps of their own netlists. What a layer only moves (flatten, slice, concatenate, pad channels)
has no circuit and is moved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.arithmetic import dot
from hwsim.datapath import apart, parts
from hwsim.datapath.datapath import Datapath, Scheduled
from hwsim.formats import IntArray, Overflow, Rounding
from hwsim.layers import AveragePool, Convolution, MaxPool
from hwsim.network import IntegerLayer, QuantizedNetwork
from hwsim.simulate.inference import Overflowed, compute_layer, per_output, weight_operands, windows
from hwsim.simulate.inference import operands as operands_of
from hwsim.simulate.lanes import Reduction, run_channels, run_lanes
from hwsim.simulate.replay import cycles_per_output


class Circuits:
    """The circuits of an integer network, ready to compute its layers.

    ``mac`` names the multiply-accumulate (of a focused_mac its parts run), ``gates`` runs its gates even where their arithmetic is proved, and
    ``threads`` work on one layer. Without ``overflows`` no accumulator's overflows are watched, which takes half of the
    time of the sums. ``progress`` is told the layers whose sums are compiled and planned.
    """

    def __init__(
        self,
        network: QuantizedNetwork,
        *,
        mac: str = "mac",
        gates: bool = False,
        threads: int = 1,
        overflows: bool = True,
        progress: Callable[[int, int], None] = lambda done, planned: None,
    ) -> None:
        self.threads = threads
        formats = network.formats()
        self._parts = {
            item.layer.name: parts(item, formats, network.rounding, mac=apart(mac)) for item in network.layers
        }
        observe = ("overflow",) if overflows else ()
        weighted = [item for item in network.layers if item.weight is not None]
        self._sums: dict[str, _Sums | _ScheduledSums] = {}
        for item in weighted:
            progress(len(self._sums), len(weighted))
            self._sums[item.layer.name] = _sums(item, self._parts[item.layer.name]["mac"], gates, observe)
        progress(len(weighted), len(weighted))
        self._masked = {
            item.layer.name: [
                _Sums(item, rows, self._parts[item.layer.name]["input_sum"], gates) for rows in item.mask_rows
            ]
            for item in network.layers
            if item.masks is not None
        }

    @property
    def steps(self) -> dict[str, str]:
        """What was run for the sums of each layer: its gates, or the arithmetic they are proved to be."""
        masked = {f"{name} (inputs)": sums[0].step for name, sums in self._masked.items()}
        return {name: sums.step for name, sums in self._sums.items()} | masked

    def cycles(self, item: IntegerLayer) -> int:
        """Return the clock cycles that one image's outputs of a layer take, summed over the outputs."""
        circuits = self._parts[item.layer.name]
        single = {part: circuit for part, circuit in circuits.items() if part != "input_sum"}
        positions = math.prod(item.layer.output_shape[1:])
        masked = (
            positions * item.layer.products * sum(map(len, item.mask_rows)) if item.masks is not None else 0
        )
        return item.layer.outputs * cycles_per_output(item, single) + masked

    def compute(
        self, item: IntegerLayer, inputs: tuple[IntArray, ...], rounding: Rounding
    ) -> tuple[IntArray, Overflowed | None]:
        """Return a layer's output [n, c, h, w] and which sums overflowed, as :func:`compute_layer` does."""
        circuits = self._parts[item.layer.name]
        if not circuits:
            return compute_layer(item, inputs, rounding)
        overflowed: Overflowed | None = None
        operands: dict[str, IntArray] = {"accumulator": _by_channel(inputs[0])}
        for part, circuit in circuits.items():
            if part == "mac":
                sums, overflowed = self._sums[item.layer.name].run(inputs[0], self.threads)
                operands |= {name: _by_channel(values) for name, values in sums.items()}
            elif part == "input_sum":
                for k, masked in enumerate(self._masked[item.layer.name]):
                    sums, _ = masked.run(inputs[0], self.threads)
                    operands[f"sum{k}"] = _by_channel(per_output(sums["accumulator"], item))
            elif part in ("max_pool", "average_pool"):
                operands["accumulator"] = self._pooled(item, circuit, inputs[0])
            else:
                if part in ("add", "half_add"):
                    operands = {"first": _by_channel(inputs[0]), "second": _by_channel(inputs[1])}
                elif part in ("channel_clamp", "from_half"):
                    operands = {"value": operands["accumulator"]}
                operands["accumulator"] = self._requantized(item, circuit, operands)
        return _by_image(operands["accumulator"], len(inputs[0]), item), overflowed

    def _requantized(
        self, item: IntegerLayer, circuit: Datapath, operands: Mapping[str, IntArray]
    ) -> IntArray:
        """Return the output of a circuit with constants on operands [channels, lanes]."""
        channels = item.layer.output_shape[0]
        constants = {
            name: np.broadcast_to(c, channels)
            for name, c in _constants(item).items()
            if name in circuit.inputs
        }
        streams = {name: values[None] for name, values in operands.items() if name in circuit.inputs}
        output: IntArray = run_channels(circuit, streams, constants, threads=self.threads)["output"]
        return output

    def _pooled(self, item: IntegerLayer, circuit: Datapath, x: IntArray) -> IntArray:
        """Return a pool's register after the cycles of each window, [channels, lanes]."""
        operator = item.layer.operator
        assert isinstance(operator, MaxPool | AveragePool)
        fill = circuit.inputs["activation"].minimum if isinstance(operator, MaxPool) else 0
        taken = windows(x, operator.kernel, operator.stride, operator.padding, fill)
        terms = taken.transpose(4, 5, 1, 0, 2, 3).reshape(taken.shape[4] * taken.shape[5], -1)
        ((name, _),) = circuit.registers.items()
        register: IntArray = run_lanes(circuit, {"activation": terms}, threads=self.threads)[name]
        return register.reshape(taken.shape[1], -1)


def _sums(
    item: IntegerLayer, circuit: Datapath, gates: bool, observe: tuple[str, ...]
) -> _Sums | _ScheduledSums:
    """Return the sums of a layer's weights on a circuit."""
    assert item.weight is not None
    if isinstance(circuit, Scheduled):
        return _ScheduledSums(item, item.weight, circuit, bool(observe))
    return _Sums(item, item.weight, circuit, gates, observe)


def _by_channel(x: IntArray) -> IntArray:
    """Return a tensor [n, c, h, w] as [c, n * h * w]."""
    return x.transpose(1, 0, 2, 3).reshape(x.shape[1], -1)


def _by_image(values: IntArray, images: int, item: IntegerLayer) -> IntArray:
    """Return [c, n * h * w] as a tensor [n, c, h, w] of int64."""
    channels, height, width = item.layer.output_shape
    return values.reshape(channels, images, height, width).transpose(1, 0, 2, 3).astype(np.int64)


def _constants(item: IntegerLayer) -> dict[str, IntArray]:
    """Return the constants of a layer's circuits by port: one, or one for each channel."""
    named = {"multiplier": item.multiplier, "bias": item.bias, "shift": item.shift}
    constants = {name: values for name, values in named.items() if values is not None}
    if item.layer.kind == "add" and item.multiplier is not None:
        del constants["multiplier"]
        constants |= {"first_multiplier": item.multiplier[:1], "second_multiplier": item.multiplier[1:]}
    if item.mask_multiplier is not None:
        constants |= {f"sum{k}_multiplier": factors for k, factors in enumerate(item.mask_multiplier)}
        constants["accumulator_multiplier"] = constants.pop("multiplier")
    if item.width is not None and item.exponent is not None:
        constants |= {"width": item.width, "exponent": item.exponent}
    return constants


_VALUES = 1 << 22
"""Values of a port that a circuit with a schedule of its own is given at a time."""


class _ScheduledSums:
    """Sums of one layer, one for each row of weights, on a circuit with a schedule of its own, gate by gate.

    It has no register that holds the sum after every product: which of them overflowed is what the arithmetic says.
    """

    step = "netlist, gate by gate, on its own schedule"

    def __init__(self, item: IntegerLayer, weight: IntArray, circuit: Scheduled, watched: bool) -> None:
        self.item, self.circuit, self.watched = item, circuit, watched
        self.weights = weight_operands(weight, item.layer.as_convolution.groups)

    def run(self, x: IntArray, threads: int) -> tuple[dict[str, IntArray], Overflowed | None]:
        """Return accumulators [n, rows, height, width] by their register and, if watched, which of them overflowed."""
        activations = operands_of(x, self.item.layer.as_convolution)
        shape = (len(self.weights), len(x), *self.item.layer.output_shape[1:], -1)

        def planes(sums: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return sums.reshape(shape).transpose(1, 0, 4, 2, 3).reshape(len(x), -1, *shape[2:4])

        groups = zip(activations, self.weights, strict=True)
        sums = {"accumulator": planes(np.stack([self._group(a, w, threads) for a, w in groups]))}
        if not self.watched:
            return sums, None
        accumulator = self.circuit.registers["accumulator"].format
        return sums, planes(dot(activations, self.weights, accumulator, Overflow.WRAP).overflowed)

    def _group(self, activations: IntArray, weights: IntArray, threads: int) -> IntArray:
        """Return sums [m, n] of activations [m, k] and weights [k, n]."""
        products, columns = weights.shape
        step = max(1, _VALUES // self.circuit.cycles(products) // columns)
        found = []
        for start in range(0, len(activations), step):
            rows = activations[start : start + step]
            lanes = np.repeat(rows.T, columns, axis=1), np.tile(weights, (1, len(rows)))
            ran = run_lanes(self.circuit, self.circuit.operands(*lanes), threads=threads)
            found.append(ran["accumulator"].reshape(-1, columns).astype(np.int64))
        return np.concatenate(found)


class _Sums:
    """Sums of one layer, one for each row of weights: a reduction for each group of channels, or one for all
    channels of a depthwise layer."""

    def __init__(
        self,
        item: IntegerLayer,
        weight: IntArray,
        circuit: Datapath,
        gates: bool,
        observe: tuple[str, ...] = (),
    ) -> None:
        self.item = item
        self.operator: Convolution = item.layer.as_convolution
        groups = self.operator.groups
        rows = weight.reshape(len(weight), -1)
        self.depthwise = groups > 1 and groups == len(weight) == item.layer.input_shapes[0][0]
        weights = [rows.T] if self.depthwise else [part.T for part in np.split(rows, groups)]
        self.reductions = [
            Reduction(
                circuit, np.ascontiguousarray(w), observe=observe, gates=gates, depthwise=self.depthwise
            )
            for w in weights
        ]
        self.step = self.reductions[0].step

    def run(self, x: IntArray, threads: int) -> tuple[dict[str, IntArray], Overflowed | None]:
        """Return what the registers hold of the sums, [n, rows, height, width] each, and, where observed, which overflowed."""
        padded = self._padded(x)
        n, channels = x.shape[:2]
        strides = np.array(padded.strides) // padded.itemsize
        image, row, column = (strides[0], *strides[1:3]) if self.depthwise else (strides[0], *strides[2:])
        height, width = self.item.layer.output_shape[1:]
        (down, along), kernel = self.operator.stride, self.operator.kernel
        row_gap, column_gap = self.operator.dilation
        base = _lattice((n, image), (height, row * down), (width, column * along))
        per_group = 0 if self.depthwise else channels // self.operator.groups
        axes = [(kernel[0], row * row_gap), (kernel[1], column * column_gap)]
        taps = _lattice(*axes) if self.depthwise else _lattice((per_group, strides[1]), *axes)
        values = padded.reshape(-1)
        sums = [
            reduction.gather(values, base + group * per_group * strides[1], taps, threads=threads)
            for group, reduction in enumerate(self.reductions)
        ]

        def planes(arrays: list[np.ndarray]) -> np.ndarray:
            whole = arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=1)
            return whole.reshape(n, height, width, -1).transpose(0, 3, 1, 2)

        overflowed = [s.overflowed for s in sums if s.overflowed is not None]
        names = sums[0].registers
        found = {name: planes([s.registers[name] for s in sums]) for name in names}
        if len(names) == 1:
            found = {"accumulator": next(iter(found.values()))}
        return found, planes(overflowed) if overflowed else None

    def _padded(self, x: IntArray) -> npt.NDArray[np.int16]:
        """Return the input with its padding, contiguous: [n, c, h, w], a depthwise layer's [n, h, w, c]."""
        top, left, bottom, right = self.operator.padding
        if self.depthwise:
            x = x.transpose(0, 2, 3, 1)
        n, *shape = x.shape
        rows, columns = (1, 2) if self.depthwise else (2, 3)
        shape[rows - 1] += top + bottom
        shape[columns - 1] += left + right
        padded = np.zeros((n, *shape), np.int16)
        place = [slice(None)] * 4
        place[rows], place[columns] = (
            slice(first, first + x.shape[axis]) for first, axis in ((top, rows), (left, columns))
        )
        padded[tuple(place)] = x
        return padded


def _lattice(*axes: tuple[int, int]) -> IntArray:
    """Return the offsets of a lattice of (count, step) axes, the last fastest, flat."""
    offsets = np.zeros(1, np.int64)
    for count, step in axes:
        offsets = (offsets[:, None] + np.arange(count, dtype=np.int64) * step).ravel()
    return offsets
