"""How fast circuits run in lanes, beside Verilator, PyRTL's own simulators and float32 arithmetic in torch.

python tests/benchmarks/simulate.py [--quick] [--json]

All contenders take turns in one process; a figure is the median of the rounds, a ratio the median of the ratios of
each round. One thread is measured in its processor time, two in wall time (the best call of each round). Beside each
figure of a multiply-accumulate stands its share of the machine's integer peak: products and sums of as many threads
that do nothing else. Results are compared with the arithmetic before they are timed.

``--json`` prints one object of the ratios. The exit status is 1 where a ratio is less than is demanded of it. Nothing
is demanded where the other contender is not installed, nor of two threads where two cores are not free.

What bounds the blocks of the general door, by time in their kernels and instructions counted in them (512-bit vectors):

* MAC in words: two fifths of a call of 256 cycles pass outside of the kernel.
* saturating MAC of gates: 320 gates and some 250 shuffles, which exchange bits between integers and planes, in 512
  lanes a cycle; at two vector operations a clock that is half of the time, the adders' carries wait for the rest.
* memory: each lane has an address of its own, so that a lane leaves its vector three times a cycle (two addresses, a
  datum) and enters it once: five to six instructions and three clocks a lane.
* AES: 53 look-ups of octets. A vector has 16 lanes, its words being 64 bits wide: of 1,241 instructions 200 look up, 270
  cut octets out of words and put them together, 500 load, store and move; 48 bytes a lane-cycle go in and out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import contenders
import numpy as np
import pyrtl
import torch
from contenders import Rate, WordMac, rate
from pyrtl.rtllib.aes import AES

from hwsim.arithmetic import dot
from hwsim.datapath.datapath import Datapath, elaborate
from hwsim.datapath.mac import Mac
from hwsim.datapath.shift_mac import ShiftMac
from hwsim.formats import Int, Overflow, PowerOfTwo
from hwsim.quantize import quantize
from hwsim.simulate import LaneSimulation, circuit, inference
from hwsim.simulate.circuits import Circuits
from hwsim.simulate.lanes import reduce

M, K, N = 4096, 576, 64
"""Output positions, products a sum, output channels: a layer of 64 channels and 3x3 kernels."""

LANES, CYCLES = 4096, 256
"""What a block runs through the general door in one call."""

QUICK = ("MAC in words", "saturating MAC of gates")
"""Blocks that a quick run takes to the general door."""

WEIGHT, ACTIVATION = Int(6), Int(8)
MACS: Mapping[str, tuple[Datapath, float]] = {
    "int16 wrap": (Mac(WEIGHT, ACTIVATION, Int(16)), 1.3),
    "int16 wrap in words": (WordMac(WEIGHT, ACTIVATION, Int(16)), 1.3),
    "int16 saturating": (Mac(WEIGHT, ACTIVATION, Int(16), Overflow.SATURATE), 0.6),
    "int32 wrap": (Mac(WEIGHT, ACTIVATION, Int(32)), 0.6),
    "int32 saturating": (Mac(WEIGHT, ACTIVATION, Int(32), Overflow.SATURATE), 0.3),
    "shift int16 wrap": (ShiftMac(PowerOfTwo(4), ACTIVATION, Int(16)), 0.6),
}
"""Multiply-accumulates, and how many times torch's float32 product is demanded of them."""

NETWORKS = {"ResNet-18": (contenders.resnet18, 1, 1 / 1.5), "ResNet-20": (contenders.resnet20, 100, 1 / 2)}
"""Networks, images a batch, and how many times torch's float32 forward pass is demanded."""


@dataclass(frozen=True)
class Row:
    """Two contenders, by name, and the ratio demanded; ``peak`` names the limit of the first."""

    ours: str
    against: str
    at_least: float | None = None
    peak: str = ""
    threads: int = 1


def reductions(threads: int) -> Iterator[tuple[str, Rate]]:
    """Yield a layer on each multiply-accumulate, the first sums compared with the arithmetic."""
    rng = np.random.default_rng(0)
    for name, (mac, _) in MACS.items():
        a, w = (
            form.decode(rng.integers(0, 1 << form.bits, size))
            for form, size in zip(mac.inputs.values(), ((M, K), (K, N)), strict=True)
        )
        register = mac.registers["accumulator"].format
        overflow = getattr(mac, "overflow", Overflow.WRAP)
        for door, gates in (("lanes", False), ("lanes of gates", True)):
            if gates and (threads > 1 or name != "int16 wrap"):
                continue
            call = partial(reduce, mac, a.astype(np.int8), w.astype(np.int8), threads=threads, gates=gates)
            np.testing.assert_array_equal(call().values[-40:], dot(a[-40:], w, register, overflow).values)
            yield f"{door}, {name}, {threads}", rate(call, M * K * N, threads)


def product(threads: int) -> Rate:
    """A float32 matrix product of the layer's shape."""
    a, w, out = torch.rand(M, K), torch.rand(K, N), torch.empty(M, N)
    once = rate(lambda: torch.mm(a, w, out=out), M * K * N, threads)

    def measure() -> float:
        torch.set_num_threads(threads)
        found = once()
        torch.set_num_threads(1)
        return found

    return measure


def designs() -> dict[str, tuple[pyrtl.Block, Datapath | None]]:
    """Blocks for the general door."""
    saturating = MACS["int32 saturating"][0]
    words = MACS["int16 wrap in words"][0]
    return {
        "MAC in words": (elaborate(words), words),
        "saturating MAC of gates": (elaborate(saturating), saturating),
        "memory": (_memory(), None),
        "AES": (_aes(), None),
    }


def _memory() -> pyrtl.Block:
    block = pyrtl.Block()
    with pyrtl.set_working_block(block, no_sanity_check=True):
        read, write, data = (
            pyrtl.Input(bits, name) for bits, name in ((6, "read"), (6, "write"), (16, "data"))
        )
        memory = pyrtl.MemBlock(16, 6, "memory", asynchronous=True)
        pyrtl.Output(16, "sum").__ilshift__((memory[read] + data)[:16])
        memory[write] <<= data
    return block


def _aes() -> pyrtl.Block:
    block = pyrtl.Block()
    with pyrtl.set_working_block(block, no_sanity_check=True):
        inputs = [pyrtl.Input(bits, name) for bits, name in ((128, "plain"), (128, "key"), (1, "reset"))]
        for name, wire in zip(("ready", "cipher"), AES().encrypt_state_m(*inputs), strict=True):
            pyrtl.Output(len(wire), name).__ilshift__(wire)
    return block


def general(name: str, block: pyrtl.Block, datapath: Datapath | None) -> Iterator[tuple[str, Rate]]:
    """Yield one block in all simulators that take any block; every lane has its own random stimuli.

    Lanes take and return machine words, the others Python integers: each what it is fastest with.
    """
    rng = np.random.default_rng(0)
    widths = {wire.name: len(wire) for wire in block.wirevector_subset(pyrtl.Input)}
    inputs = {port: _random(rng, width) for port, width in widths.items()}
    steps = [{port: _number(values, k % CYCLES) for port, values in inputs.items()} for k in range(1000)]
    compiled = pyrtl.CompiledSimulation(block=block, tracer=pyrtl.SimulationTrace(block=block))
    fast = pyrtl.FastSimulation(block=block, tracer=None)
    lanes = LaneSimulation(block, lanes=LANES)
    found = lanes.run(inputs, words=True)
    for cycle in range(CYCLES):
        fast.step(steps[cycle])
        assert all(_number(values, cycle) == fast.inspect(port) for port, values in found.items())
    yield f"lanes, {name}", rate(lambda: lanes.run(inputs, words=True), LANES * CYCLES)
    yield f"CompiledSimulation, {name}", rate(lambda: compiled.run(steps), len(steps))
    yield f"FastSimulation, {name}", rate(lambda: [fast.step(step) for step in steps[:100]], 100)
    if datapath is not None:
        few = {port: form.decode(inputs[port][:4].astype(np.int64)) for port, form in datapath.inputs.items()}
        yield f"bit-parallel integers, {name}", rate(lambda: circuit.run_lanes(datapath, few), 4 * LANES)


def _random(rng: np.random.Generator, width: int) -> np.ndarray:
    """Return stimuli [cycles, lanes] in the smallest integers that hold them, or [parts, cycles, lanes] of 64 bits."""
    if width > 64:
        return rng.integers(0, 1 << 64, (width // 64, CYCLES, LANES), np.uint64)
    kind = np.min_scalar_type((1 << width) - 1)
    return rng.integers(0, (1 << width) - 1, (CYCLES, LANES), kind, endpoint=True)


def _number(values: np.ndarray, cycle: int) -> int:
    """Return what the first lane has in a cycle, of [cycles, lanes] or of [parts, cycles, lanes]."""
    parts = values if values.ndim == 3 else values[None]
    return sum(int(part[cycle, 0]) << 64 * k for k, part in enumerate(parts))


def networks(quick: bool) -> Iterator[tuple[str, Rate]]:
    """Yield whole networks in torch and on circuits, images a second.

    No overflow is watched, as in float. Outputs of the first images are compared with the arithmetic; where a single image is the batch that takes
    ten seconds, so a quick run does without.
    """
    for name, (make, batch, _) in NETWORKS.items():
        network = make()
        yield f"torch float32, {name}", rate(contenders.float32(network, batch), batch)
        shape = batch, *network.input_shape[1:], network.input_shape[0]
        images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        integer = quantize(network, "w6a8/int16", images[:2])
        call = partial(inference.run, integer, images, compute=Circuits(integer, overflows=False).compute)
        found = call()[:5]
        if batch > 1 or not quick:
            np.testing.assert_array_equal(found, inference.run(integer, images[:5]))
        yield f"lanes, {name}", rate(call, batch)


def gather(quick: bool, folder: Path) -> Iterator[tuple[str, Rate]]:
    """Yield every contender, warmed up."""
    for bits in (16, 32):
        for threads in threads_measured():
            yield f"peak int{bits}, {threads}", contenders.peak(bits, threads)
    for name in ("int16 wrap", "int16 wrap in words"):
        verilated = contenders.verilated(MACS[name][0], folder / name.replace(" ", "_"))
        if verilated:
            yield f"Verilator, {name}", verilated
    for threads in threads_measured():
        yield f"torch float32, {threads}", product(threads)
        yield from reductions(threads)
    blocks = designs()
    for name in QUICK if quick else blocks:
        yield from general(name, *blocks[name])
    yield from networks(quick)


def threads_measured() -> tuple[int, ...]:
    return (1, 2) if (os.cpu_count() or 1) > 1 else (1,)


def rows(quick: bool) -> Iterator[Row]:
    """Yield what is compared with what, and the ratio demanded.

    Verilator's demand is on the Verilog that the package exports, which is gates. The same arithmetic written with
    Verilog's own ``*`` and ``+`` is Verilator's best case, and the peak is only some 1,600 times that.
    """
    yield Row("lanes, int16 wrap, 1", "Verilator, int16 wrap", 1500, "peak int16, 1")
    yield Row("lanes, int16 wrap in words, 1", "Verilator, int16 wrap in words", None, "peak int16, 1")
    yield Row("lanes of gates, int16 wrap, 1", "Verilator, int16 wrap")
    for threads in threads_measured():
        for name, (mac, times) in MACS.items():
            peak = f"peak int{mac.registers['accumulator'].format.bits}, {threads}"
            yield Row(f"lanes, {name}, {threads}", f"torch float32, {threads}", times, peak, threads)
    for name in QUICK if quick else designs():
        yield Row(f"lanes, {name}", f"CompiledSimulation, {name}", 10_000)
        yield Row(f"lanes, {name}", f"FastSimulation, {name}")
        if "MAC" in name:
            yield Row(f"bit-parallel integers, {name}", f"FastSimulation, {name}")
    for name, (_, _, times) in NETWORKS.items():
        yield Row(f"lanes, {name}", f"torch float32, {name}", times)


Rounds = Mapping[str, Sequence[float]]


def measure(found: Mapping[str, Rate], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Return what every contender measured in each round, after one that does not count; stop when out of time."""
    measured: dict[str, list[float]] = {name: [] for name in found}
    for contender in found.values():
        contender()
    for done in range(rounds):
        if done >= 3 and time.monotonic() > seconds:
            break
        for name, contender in found.items():
            time.sleep(0.01)  # threads of the one before stop spinning
            measured[name].append(contender())
    return measured


def ratio(row: Row, measured: Rounds) -> float | None:
    if row.ours not in measured or row.against not in measured:
        return None
    return statistics.median(a / b for a, b in zip(measured[row.ours], measured[row.against], strict=True))


def busy(row: Row, measured: Rounds) -> bool:
    """Whether a row of several threads found their cores taken: then the peak is not as many times that of one."""
    one, several = (statistics.median(measured[f"peak int16, {threads}"]) for threads in (1, row.threads))
    return several < 0.9 * row.threads * one


def failing(row: Row, measured: Rounds) -> bool:
    """Whether a demand is not met; lanes that are missing don't meet theirs."""
    if row.at_least is None or (row.ours in measured and row.against not in measured) or busy(row, measured):
        return False
    found = ratio(row, measured)
    return found is None or found < row.at_least


def line(row: Row, measured: Rounds) -> str:
    """Return one row for people."""
    ours, against = (
        f"{statistics.median(measured[name]):9.3g}" if name in measured else "  missing"
        for name in (row.ours, row.against)
    )
    found = ratio(row, measured)
    times = f"{found:10.4g}" if found is not None else "         -"
    demanded = f"{row.at_least:8.4g}" if row.at_least is not None else "       -"
    share = ""
    if row.peak and row.ours in measured:
        limit = statistics.median(measured[row.peak])
        share = f"{statistics.median(measured[row.ours]) / limit:6.0%} of {row.peak}"
    verdict = "below " if failing(row, measured) else "busy  " if busy(row, measured) else "      "
    return f"{row.ours:40} {ours}  {row.against:36} {against}  {times} {demanded} {verdict}{share}".rstrip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the rows of multiply-accumulates, within 50 s")
    parser.add_argument("--json", action="store_true", help="print one JSON object of the ratios")
    given = parser.parse_args()
    end = time.monotonic() + (28 if given.quick else 600)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = dict(gather(given.quick, Path(folder)))
        measured = measure(found, 5 if given.quick else 9, end)
    compared = list(rows(given.quick))
    if given.json:
        print(json.dumps({f"{row.ours} / {row.against}": ratio(row, measured) for row in compared}, indent=1))
    else:
        head = "lanes", "a second", "against", "a second", "ratio", "at least"
        print("{:40} {:>9}  {:36} {:>9}  {:>10} {:>8}".format(*head))
        print("\n".join(line(row, measured) for row in compared))
    return int(any(failing(row, measured) for row in compared))


if __name__ == "__main__":
    sys.exit(main())
