"""How fast networks and circuits are costed.

python tests/benchmarks/cost.py [--quick] [--json] [--zigzag PYTHON]

- Configurations of ResNet-18's shapes a second on one core: circuits, traffic and stored bits of every layer, from
  filled tables (:mod:`hwsim.cost.configurations`), each configuration drawn anew; 20,000 are demanded. A sample is
  compared with the same network quantized and priced by itself. Beside it stands a loop over layers and an energy table
  in the style of QKeras' QTools (C. N. Coelho et al., "Automatic heterogeneous quantization of deep neural networks for
  low-latency inference on the edge", 2021), its energies from M. Horowitz, "Computing's energy problem", 2014, and,
  with the interpreter of an environment that has zigzag-dse, ZigZag's seconds for one layer.
- Seconds to synthesise, prove and measure one 8x8 multiply-accumulate, nothing kept from before; at most 3.

``--json`` prints one object of the ratios. The exit status is 1 where a ratio is less than is demanded of it.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from contenders import resnet18

from hwsim.bits import BitConfig, LayerBits, bit_config
from hwsim.cost.configurations import METRICS, Configurations, stored_bits
from hwsim.cost.hardware import Hardware, circuits
from hwsim.cost.synthesis import synthesize
from hwsim.cost.traffic import Memory, traffic
from hwsim.datapath.mac import Mac
from hwsim.formats import Int
from hwsim.layers import Layer
from hwsim.quantize import calibrate, quantize

DEMANDED = 20_000
"""Configurations of ResNet-18's shapes a second."""

SYNTHESIS_S = 3.0
"""Seconds for one 8x8 multiply-accumulate."""

WEIGHTS, ACTIVATIONS = (2, 4, 8), (8, 4)
HARDWARE = Hardware(images_per_second=100.0, technology="gates")
MEMORY = Memory(1 << 20, 512)


@dataclass(frozen=True)
class Ratio:
    """A measured ratio, what it is of, and how much of it is demanded."""

    name: str
    ratio: float
    at_least: float | None
    about: str


def seconds(call: Callable[[], object], rounds: int = 3) -> float:
    """Return the least processor time of a call."""
    times = []
    for _ in range(rounds):
        start = time.thread_time()
        call()
        times.append(time.thread_time() - start)
    return min(times)


def energy_pj(layer: Layer, bits: LayerBits) -> float:
    """Return a layer's energy from a table: a multiplication, an addition, and its operands from a small SRAM.

    0.2 pJ an 8x8 multiplication, 0.1 pJ a 32-bit addition, 10 pJ for 64 bits of 8 KiB (Horowitz 2014, figure 1.1.9).
    """
    multiplication = 0.2 * bits.weight.bits * bits.activation.bits / 64
    addition = 0.1 * bits.accumulator.bits / 32
    weights = layer.products * layer.output_shape[0] * bits.weight.bits
    inputs = (
        layer.input_shapes[0][0] * layer.input_shapes[0][1] * layer.input_shapes[0][2] * bits.activation.bits
    )
    outputs = layer.outputs * bits.accumulator.bits
    return layer.macs * (multiplication + addition) + 10 * (weights + inputs + outputs) / 64


def by_table(layers: list[Layer], drawn: list[BitConfig]) -> list[float]:
    """Return the energy of each configuration, layer by layer."""
    return [sum(energy_pj(layer, bits[layer.name]) for layer in layers) for bits in drawn]


def configurations(quick: bool) -> Iterator[Ratio]:
    """Yield how many configurations of ResNet-18 are priced a second."""
    activations = ACTIVATIONS[:1] if quick else ACTIVATIONS  # fewer circuits to synthesise at first
    network = resnet18()
    images = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
    calibration = calibrate(network, images)
    choices = {
        name: [LayerBits.parse(f"w{w}a{a}/int24", signed) for w in WEIGHTS for a in activations]
        for name, signed in network.signed_inputs().items()
    }
    space = Configurations(
        quantize(network, "w8a8/int24", calibration), choices, hardware=HARDWARE, memory=MEMORY
    )
    rng, count = np.random.default_rng(1), 20_000 if quick else 100_000
    drawn = rng.integers(0, len(WEIGHTS) * len(activations), (4, count, len(space.layers)))
    space.price(drawn[0])  # fills the tables
    turns = iter(drawn[1:])
    took = seconds(lambda: space.price(next(turns)))
    chance = random.Random(2)
    few = [bit_config((name, chance.choice(given)) for name, given in choices.items()) for _ in range(200)]
    for bits in few[: 1 if quick else 4]:
        compare(space, bits, quantize(network, bits, calibration))
    rate = count / took
    yield Ratio(
        "configurations", rate / DEMANDED, 1.0, f"{rate:.0f} of ResNet-18 a second, {DEMANDED} demanded"
    )
    layers = [item.layer for item in space.network.layers if item.layer.has_weights]
    table = len(few) / seconds(lambda: by_table(layers, few))
    yield Ratio("configurations/energy table", rate / table, 1.0, f"the loop prices {table:.0f} a second")


def compare(space: Configurations, bits: BitConfig, network: object) -> None:
    """Stop where the price of a configuration is not that of its network by itself."""
    priced = dict(zip(METRICS, space.price(space.indices([bits]))[0].tolist(), strict=True))
    moved = traffic(network, MEMORY)
    parts = [part for parts in circuits(network, HARDWARE).values() for part in parts]
    itself = {
        "gates": sum(part.count * part.nand2_equivalents for part in parts),
        "flip_flops": sum(part.count * part.flip_flops for part in parts),
        "stored_bits": sum(map(stored_bits, network.layers)),
    } | {
        name: sum(getattr(layer, name) for layer in moved)
        for name in ("weight_bytes", "input_bytes", "output_bytes")
    }
    for name, value in itself.items():
        if abs(priced[name] - value) > 1e-9 * value:
            sys.exit(f"{name} of a configuration is {priced[name]}, of its network by itself {value}")


def synthesis(quick: bool) -> Iterator[Ratio]:
    """Yield how long one 8x8 multiply-accumulate takes, from its circuit to its proved cost."""
    mac = Mac(Int(8), Int(8), Int(32))
    times = []
    for _ in range(2 if quick else 5):
        start = time.perf_counter()
        synthesize(mac, "open45", reuse=False)
        times.append(time.perf_counter() - start)
    took = min(times)
    yield Ratio("synthesis", SYNTHESIS_S / took, 1.0, f"{took:.2f} s an 8x8 MAC, {SYNTHESIS_S:g} s allowed")


def zigzag(python: str, rate: float) -> Iterator[Ratio]:
    """Yield how many configurations are priced while ZigZag costs one layer."""
    import traffic as layers

    op = layers.MAPPED["ResNet-18 stage 3"]
    question = {
        "buffer_bytes": 65536, "rows": 16, "columns": 16, "mapping": "uneven", "factors": 5,
        "layers": [{"K": op.outputs, "C": op.inputs, "OX": op.columns, "OY": op.rows, "FX": 3, "FY": 3, "stride": 1,
                    "padding": 1, "height": op.height, "width": op.width, "W": 8, "I": 8, "O": 8, "sum": 32}],
    }  # fmt: skip
    (found,) = layers.asked(python, "run_zigzag.py", question)
    took = float(str(found["seconds"]))
    yield Ratio("configurations/ZigZag layers", rate * took, None, f"ZigZag takes {took:.1f} s for one layer")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--quick", action="store_true", help="less of everything, within 50 seconds")
    options.add_argument("--json", action="store_true", help="print one object of the ratios")
    options.add_argument("--zigzag", default="", metavar="PYTHON", help="an interpreter that has zigzag-dse")
    given = options.parse_args()
    torch.set_num_threads(1)
    ratios = [*synthesis(given.quick), *configurations(given.quick)]
    if given.zigzag:
        rate = DEMANDED * next(ratio.ratio for ratio in ratios if ratio.name == "configurations")
        ratios += zigzag(given.zigzag, rate)
    if given.json:
        print(json.dumps({ratio.name: round(ratio.ratio, 3) for ratio in ratios}))
    else:
        for ratio in ratios:
            print(f"{ratio.name:30} {ratio.ratio:10.2f}  {ratio.about}")
    sys.exit(any(ratio.at_least is not None and ratio.ratio < ratio.at_least for ratio in ratios))


if __name__ == "__main__":
    main()
