"""What the lanes are measured against: Verilator, float32 networks in torch, and the machine's own limit."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pyrtl
import torch
import torch.nn.functional as functional

from hwsim.datapath.datapath import Datapath
from hwsim.datapath.mac import MultiplyAccumulate
from hwsim.formats import Int, Overflow
from hwsim.layers import (
    INPUT,
    Add,
    AveragePool,
    Convolution,
    Flatten,
    Linear,
    MaxPool,
    PadChannels,
    Relu,
    Slice,
)
from hwsim.models.builder import Builder, parameter_shapes
from hwsim.network import FloatNetwork, Preprocessing
from hwsim.simulate.verilog import export

Rate = Callable[[], float]
"""Measures once: work done a second."""


def rate(call: Callable[[], object], work: float, threads: int = 1) -> Rate:
    """Return a measurement of ``work`` done by one call, repeated for some hundredths of a second.

    One thread is measured in its processor time. Several are in wall time, and the best call counts: other
    programs may have a core meanwhile.
    """

    def measure() -> float:
        start, count = time.thread_time(), 0
        while not count or time.thread_time() - start < 0.03:
            call()
            count += 1
        return work * count / (time.thread_time() - start)

    def measure_wall() -> float:
        times: list[float] = []
        end = time.perf_counter() + 0.05
        while not times or time.perf_counter() < end:
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        return work / min(times)

    return measure if threads == 1 else measure_wall


def peak(bits: int, threads: int = 1) -> Rate:
    """Products and sums of integers a second in twelve independent chains of 512-bit vectors in each thread."""
    vector, turns, chains = f"<{512 // bits} x i{bits}>", 1 << 18, 12
    pointers = [f"%p{k} = getelementptr {vector}, ptr %data, i64 {k}" for k in range(chains)]
    loads = [f"%a{k} = load {vector}, ptr %p{k}" for k in range(chains)]
    phis = [f"%s{k} = phi {vector} [%a{k}, %entry], [%t{k}, %loop]" for k in range(chains)]
    body = [f"%m{k} = mul {vector} %s{k}, %a0\n%t{k} = add {vector} %m{k}, %a1" for k in range(chains)]
    stores = [f"store {vector} %t{k}, ptr %p{k}" for k in range(chains)]
    text = "\n".join(
        [
            'define void @chains(ptr %data) "prefer-vector-width"="512" "min-legal-vector-width"="512" {\nentry:',
            *pointers, *loads, "br label %loop\nloop:", "%n = phi i64 [0, %entry], [%n1, %loop]", *phis, *body,
            f"%n1 = add i64 %n, 1\n%more = icmp ult i64 %n1, {turns}", "br i1 %more, label %loop, label %end\nend:",
            *stores, "ret void\n}",
        ]
    )  # fmt: skip
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3
    )
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(text), machine)
    engine.finalize_object()
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(engine.get_function_address("chains"))
    buffers = np.random.default_rng(0).integers(0, 256, (threads, chains * 64 + 64), np.uint8)
    starts = [buffer.ctypes.data + -buffer.ctypes.data % 64 for buffer in buffers]
    pool = ThreadPoolExecutor(threads)

    def call(_kept: object = (engine, buffers)) -> None:
        if threads == 1:
            function(starts[0])
        else:
            list(pool.map(function, starts))

    return rate(call, turns * chains * (512 // bits) * threads, threads)


@dataclass(frozen=True)
class WordMac(MultiplyAccumulate):
    """Accumulator plus weight times activation as PyRTL's own operators write it: one ``*``, one ``+``."""

    weight: Int
    activation: Int
    accumulator: Int
    overflow: Overflow = Overflow.WRAP

    def connect(self, wires: Mapping[str, pyrtl.WireVector]) -> dict[str, pyrtl.WireVector]:
        bits = self.accumulator.bits
        exact = pyrtl.signed_add(
            wires["accumulator"], pyrtl.signed_mult(wires["weight"], wires["activation"])
        )
        if self.overflow is Overflow.WRAP:
            return {"accumulator": exact[:bits]}
        head, sign = exact[bits - 1 :], exact[-1]
        within = head == sign.sign_extended(len(head))
        limit = pyrtl.concat(sign, (~sign).sign_extended(bits - 1))
        return {"accumulator": pyrtl.select(within, exact[:bits], limit)}


_DRIVER = """
#include "Vdatapath.h"
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <vector>
static double now() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}
int main(int, char** given) {
  const long cycles = atol(given[1]);
  std::vector<uint8_t> a(4096), w(4096);
  uint32_t s = 1;
  for (int k = 0; k < 4096; k++) {
    s = s * 1664525u + 1013904223u;
    a[k] = s >> 24;
    w[k] = s >> 16 & 63;
  }
  Vdatapath top;
  top.CLOCK = 0; top.RESET = 1; top.eval();
  top.CLOCK = 1; top.eval();
  top.CLOCK = 0; top.RESET = 0; top.eval();
  const double start = now();
  for (long k = 0; k < cycles; k++) {
    top.activation = a[k & 4095]; top.weight = w[k & 4095];
    top.CLOCK = 1; top.eval();
    top.CLOCK = 0; top.eval();
  }
  printf("%.9f %u\\n", now() - start, (unsigned)top.accumulator);
}
"""


def verilated(mac: Datapath, folder: Path) -> Rate | None:
    """The exported Verilog of an int6 x int8 multiply-accumulate in Verilator at -O3; nothing if it is not installed."""
    if not all(map(shutil.which, ("verilator", "g++", "make"))):
        return None
    folder.mkdir()
    (folder / "design.v").write_text(export(mac))
    (folder / "driver.cpp").write_text(_DRIVER)
    options = [
        "-O3",
        "--x-assign",
        "fast",
        "--x-initial",
        "fast",
        "--noassert",
        "-Wno-fatal",
        "-Mdir",
        "build",
    ]
    build = [
        "--cc",
        "--exe",
        "--build",
        "-j",
        "2",
        "-CFLAGS",
        "-O3 -march=native",
        "-MAKEFLAGS",
        "OPT_FAST=-O3",
    ]
    subprocess.run(
        ["verilator", *build, *options, "--top-module", "datapath", "design.v", "driver.cpp"],
        cwd=folder, check=True, capture_output=True, timeout=200,
    )  # fmt: skip

    def measure(cycles: int = 1 << 20) -> float:
        said = subprocess.run(
            [folder / "build" / "Vdatapath", str(cycles)], check=True, capture_output=True, timeout=60
        )
        seconds, final = said.stdout.split()
        assert int(final) == _expected(mac, cycles)
        return cycles / float(seconds)

    return measure


def _expected(mac: Datapath, cycles: int) -> int:
    """The wrapping accumulator's pattern after the driver's stimuli."""
    states, s = [], 1
    for _ in range(4096):
        s = (s * 1664525 + 1013904223) % (1 << 32)
        states.append(s)
    a, w = np.array(states) >> 24, np.array(states) >> 16 & 63
    total = (mac.inputs["activation"].decode(a) * mac.inputs["weight"].decode(w)).sum() * (cycles // 4096)
    return int(total) % (1 << mac.registers["accumulator"].format.bits)


def resnet18() -> FloatNetwork:
    """The shapes of ResNet-18 at 224 x 224, random weights, batch norm folded.

    K. He, X. Zhang, S. Ren, J. Sun, Deep Residual Learning for Image Recognition, 2016, table 1.
    """
    build = Builder((3, 224, 224))
    build.convolution("conv1", 64, 7, stride=2)
    build.add("relu1", Relu())
    tensor = build.add("pool", MaxPool((3, 3), (2, 2), (1, 1, 1, 1)))
    for stage, channels in enumerate((64, 128, 256, 512)):
        for block in range(2):
            stride = 2 if stage and not block else 1
            name, source = f"stage{stage}.{block}", tensor
            if stride == 2:
                tensor = build.convolution(f"{name}.down", channels, 1, source, stride=2)
            build.convolution(f"{name}.conv1", channels, 3, source, stride=stride)
            build.add(f"{name}.relu1", Relu())
            residual = build.convolution(f"{name}.conv2", channels, 3)
            build.add(f"{name}.add", Add(), residual, tensor)
            tensor = build.add(f"{name}.relu2", Relu())
    build.add("mean", AveragePool((7, 7), (7, 7)))
    build.add("flatten", Flatten())
    build.add("linear", Linear(1000))
    return _filled(build, "resnet18-shapes")


def resnet20() -> FloatNetwork:
    """The shapes of ResNet-20 for CIFAR-10, random weights, batch norm folded; the same paper, section 4.2."""
    build = Builder((3, 32, 32))
    build.convolution("conv1", 16, 3)
    tensor = build.add("relu1", Relu())
    for stage, channels in enumerate((16, 32, 64)):
        for block in range(3):
            name, (narrow, height, width) = f"stage{stage}.{block}", build.shapes[tensor]
            stride = channels // narrow
            build.convolution(f"{name}.conv1", channels, 3, tensor, stride=stride)
            build.add(f"{name}.relu1", Relu())
            residual = build.convolution(f"{name}.conv2", channels, 3)
            if stride == 2:
                build.add(f"{name}.slice", Slice((0, 0, 0), (narrow, height, width), (1, 2, 2)), tensor)
                tensor = build.add(f"{name}.pad", PadChannels(narrow // 2, narrow // 2))
            build.add(f"{name}.add", Add(), residual, tensor)
            tensor = build.add(f"{name}.relu2", Relu())
    build.add("mean", AveragePool((8, 8), (8, 8)))
    build.add("flatten", Flatten())
    build.add("linear", Linear(10))
    return _filled(build, "resnet20-shapes")


def _filled(build: Builder, name: str) -> FloatNetwork:
    rng = np.random.default_rng(0)
    for layer in build.layers:
        for key, shape in parameter_shapes(layer).items():
            spread = (2 / layer.products) ** 0.5 if key == "weight" else 0.1
            build.parameters[f"{layer.name}.{key}"] = rng.normal(0, spread, shape)
    return build.network(name, Preprocessing(255.0, (0.5,) * 3, (0.25,) * 3))


def float32(network: FloatNetwork, batch: int) -> Callable[[], torch.Tensor]:
    """Return a float32 forward pass of a network on one batch, as torch runs it fastest without compiling."""
    parameters = {
        name: torch.tensor(array, dtype=torch.float32) for name, array in network.parameters.items()
    }
    x = torch.randn(batch, *network.input_shape)

    @torch.inference_mode()
    def call() -> torch.Tensor:
        alive = {INPUT: x}
        for layer in network.layers:
            inputs = [alive[name] for name in layer.inputs]
            alive[layer.name] = _forward(layer.operator, parameters, layer.name, *inputs)
        return alive[network.layers[-1].name]

    return call


def _forward(
    operator: object, parameters: Mapping[str, torch.Tensor], name: str, x: torch.Tensor, *more: torch.Tensor
) -> torch.Tensor:
    match operator:
        case Convolution():
            weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
            return functional.conv2d(x, weight, bias, operator.stride, operator.padding[:2])
        case Linear():
            weight = parameters[f"{name}.weight"].flatten(1)
            return functional.linear(x.flatten(1), weight, parameters[f"{name}.bias"])
        case Relu():
            return functional.relu(x)
        case Add():
            return x + more[0]
        case Flatten():
            return x.flatten(1)
        case MaxPool():
            return functional.max_pool2d(x, operator.kernel, operator.stride, operator.padding[:2])
        case AveragePool():
            return functional.avg_pool2d(x, operator.kernel, operator.stride)
        case Slice():
            return x[:, :, :: operator.steps[1], :: operator.steps[2]]
        case PadChannels():
            return functional.pad(x, (0, 0, 0, 0, operator.before, operator.after))
    raise TypeError(operator)
