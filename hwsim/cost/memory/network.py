"""Every layer of an integer network on an accelerator: traffic, cycles, utilisation and its place under the roofline.

Layers run one after another. A layer with weights runs on the array by its best tiling; its requantiser's constants
are read once and kept beside the array, and so are the sums of its masks, whose bits lie with the weights. Other layers read their inputs and write their outputs once and wait for
nothing else: their circuits are beside the array. Tensors lie in DRAM between layers, at the width each is stored
in; what a layer reads through slices, channel padding and concatenations is the channels behind them.

The roofline is that of Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for
multicore architectures" (2009): a layer attains at most the array's multiply-accumulates a cycle, and at most its
multiply-accumulates for each byte moved times the bytes a cycle of the bus.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hwsim.cost.memory.hierarchy import Accelerator, Hierarchy
from hwsim.cost.memory.operation import Operation, Tiling
from hwsim.cost.memory.search import OBJECTIVES, best_tiling, elapsed
from hwsim.cost.memory.traffic import Moved, count
from hwsim.cost.traffic import LayerTraffic, Memory, layer_traffic, stored_constant_bits, weight_bits
from hwsim.errors import HwsimError, unknown
from hwsim.formats import IntArray
from hwsim.layers import INPUT, Moving
from hwsim.network import IntegerLayer, QuantizedNetwork


@dataclass(frozen=True)
class LayerMemory:
    """What one layer moves for one image, and how long that and its arithmetic take.

    ``dram`` are bits of whole bursts, constants among the weights; ``boundaries`` the bits moved over each boundary,
    DRAM first and the array last. A layer without weights has no tiling, and only its DRAM traffic is counted.
    ``macs`` counts products with padding. Cycles are those of the array's clock.
    """

    layer: str
    macs: int
    tiling: Tiling | None
    dram: Moved
    boundaries: tuple[Moved, ...]
    array_cycles: int
    dram_cycles: int
    cycles: int
    elements: int
    bus_bits: int

    @property
    def dram_bytes(self) -> int:
        return self.dram.total // 8

    @property
    def dram_traffic(self) -> LayerTraffic:
        """The bytes over the bus by operand, sums with the outputs that they become."""
        outputs = self.dram.outputs + self.dram.sums_read + self.dram.sums_written
        return LayerTraffic(self.layer, self.dram.weights // 8, self.dram.inputs // 8, outputs // 8)

    @property
    def utilisation(self) -> float:
        """Multiply-accumulates done, of those that the array could do in all cycles of the layer."""
        return self.macs / (self.cycles * self.elements) if self.cycles else 0.0

    @property
    def intensity(self) -> float:
        """Multiply-accumulates for each byte over the bus."""
        return self.macs / self.dram_bytes if self.dram_bytes else 0.0

    @property
    def roof(self) -> float:
        """Multiply-accumulates a cycle that array and bus allow at the layer's intensity."""
        return min(float(self.elements), self.intensity * self.bus_bits / 8)

    @property
    def attained(self) -> float:
        """Multiply-accumulates a cycle."""
        return self.macs / self.cycles if self.cycles else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the layer as plain data, bits by boundary, and what follows from them."""
        return asdict(self) | {
            "dram_bytes": self.dram_bytes,
            "utilisation": self.utilisation,
            "macs_per_byte": self.intensity,
            "roof_macs_per_cycle": self.roof,
            "attained_macs_per_cycle": self.attained,
            "bound": self.bound,
        }

    @property
    def bound(self) -> str:
        """Which takes longer: "compute" or "memory"; "" where the layer moves nothing."""
        if not self.cycles:
            return ""
        return "compute" if self.array_cycles >= self.dram_cycles else "memory"


def network_memory(
    network: QuantizedNetwork, accelerator: Accelerator, minimise: str = "traffic"
) -> tuple[LayerMemory, ...]:
    """Return every layer's traffic, cycles and roofline, in network order.

    ``minimise`` is what tilings are best at, one of :data:`hwsim.cost.memory.search.OBJECTIVES`. Raises
    :class:`HwsimError` where a buffer is too small for any tile of a layer, naming the layer and the bytes it needs.
    """
    if minimise not in OBJECTIVES:
        raise unknown("objective of a tiling", minimise, OBJECTIVES)
    return tuple(layer_memory(network, item, accelerator, minimise) for item in network.layers)


def layer_memory(
    network: QuantizedNetwork, item: IntegerLayer, accelerator: Accelerator, minimise: str = "traffic"
) -> LayerMemory:
    """Return one layer of a network on an accelerator; see :func:`network_memory`."""
    if item.layer.has_weights:
        return _on_array(item, operation(item, channel_bits(network)), accelerator, minimise)
    moved = layer_traffic(network, item, _moved_once(accelerator.hierarchy))
    dram = Moved(8 * moved.weight_bytes, 8 * moved.input_bytes, 8 * moved.output_bytes, 0, 0)
    return _layer(item, None, dram, (dram,), 0, accelerator)


def _moved_once(hierarchy: Hierarchy) -> Memory:
    return Memory(buffer_bytes=1 << 62, burst_bits=8 * hierarchy.burst_bytes)


def _on_array(item: IntegerLayer, layer: Operation, accelerator: Accelerator, minimise: str) -> LayerMemory:
    try:
        tiling = best_tiling(layer, accelerator, minimise)
    except HwsimError as error:
        raise HwsimError(f'layer "{item.layer.name}": {error}') from None
    burst_bits = 8 * accelerator.hierarchy.burst_bytes
    counted = count(layer, tiling, accelerator.array, burst_bits)
    constants = stored_constant_bits(item)
    first, *others = counted.boundaries
    boundaries = (_with_weights(first, constants), *others)
    dram = _with_weights(counted.dram, -(-constants // burst_bits) * burst_bits)
    return _layer(item, tiling, dram, boundaries, counted.cycles, accelerator)


def _with_weights(moved: Moved, bits: int) -> Moved:
    return Moved(moved.weights + bits, moved.inputs, moved.outputs, moved.sums_read, moved.sums_written)


def _layer(
    item: IntegerLayer,
    tiling: Tiling | None,
    dram: Moved,
    boundaries: tuple[Moved, ...],
    array_cycles: int,
    accelerator: Accelerator,
) -> LayerMemory:
    hierarchy = accelerator.hierarchy
    both = elapsed(np.array(array_cycles), np.array(dram.total), hierarchy)
    return LayerMemory(
        layer=item.layer.name,
        macs=item.layer.macs,
        tiling=tiling,
        dram=dram,
        boundaries=boundaries,
        array_cycles=array_cycles,
        dram_cycles=-(-dram.total // hierarchy.bus_bits),
        cycles=int(both),
        elements=accelerator.array.elements,
        bus_bits=hierarchy.bus_bits,
    )


def channel_bits(network: QuantizedNetwork) -> dict[str, IntArray]:
    """Return, for each tensor, the bits in which an element of each channel is stored; 0 where padding is."""
    bits = {INPUT: np.full(network.input_shape[0], network.input.bits, np.int64)}
    for item in network.layers:
        inputs = [bits[name] for name in item.layer.inputs]
        bits[item.layer.name] = _seen_through(item, inputs)
    return bits


def _seen_through(item: IntegerLayer, inputs: list[IntArray]) -> IntArray:
    if isinstance(item.layer.operator, Moving):
        moved: IntArray = np.concatenate([*inputs, [0]])[item.layer.moved_channels]
        return moved
    return np.asarray(item.stored_bits, np.int64)


def operation(item: IntegerLayer, bits: dict[str, IntArray]) -> Operation:
    """Return a layer with weights as loops, its tensors' channels of ``bits``."""
    layer, convolution = item.layer, item.layer.as_convolution
    assert item.bits is not None
    _, height, width = layer.input_shapes[0]
    outputs, rows, columns = layer.output_shape
    return Operation(
        groups=convolution.groups,
        outputs=outputs // convolution.groups,
        inputs=layer.weight_shape[1],
        rows=rows,
        columns=columns,
        kernel_rows=convolution.kernel[0],
        kernel_columns=convolution.kernel[1],
        height=height,
        width=width,
        stride=convolution.stride,
        padding=convolution.padding[:2],
        dilation=convolution.dilation,
        weight_bits=tuple(weight_bits(item).tolist()),
        input_bits=tuple(bits[layer.inputs[0]].tolist()),
        output_bits=tuple(item.stored_bits.tolist()),
        sum_bits=item.bits.accumulator.bits,
    )
