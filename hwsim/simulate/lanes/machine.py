"""This machine's compiler: LLVM's text form to functions that can be called, kept in the user's cache."""

from __future__ import annotations

import _thread
import ctypes
import hashlib
import math
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import numpy.typing as npt

from hwsim import cache
from hwsim.errors import HwsimError

VECTOR_BITS = 512
"""How wide a vector register the code is laid out for; narrower machines split it."""

_MEASURE = "2"
"""Raise it when the passes change, so that kept objects are not used."""


@dataclass(frozen=True)
class Kernel:
    """A compiled function of pointers and 64-bit integers; calling it lets other threads run."""

    call: Callable[..., None]
    engine: Any


def _target() -> Any:
    """Return a code generator for this machine; an engine takes it over, so each has one of its own."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features().flatten()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features, opt=3, jit=True
    )


@lru_cache(maxsize=1)
def fingerprint() -> str:
    """Return what compiled code depends on besides its text."""
    version = ".".join(map(str, llvm.llvm_version_info))
    features = llvm.get_host_cpu_features().flatten()
    return "\n".join([_MEASURE, version, llvm.get_process_triple(), llvm.get_host_cpu_name(), features])


def empty(shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return an array that begins where a cache line does: vectors then never lie across two lines."""
    sizes = (shape,) if isinstance(shape, int) else shape
    kind = np.dtype(dtype)
    size = math.prod(sizes) * kind.itemsize
    try:
        octets = np.empty(size + _LINE, np.uint8)
    except (MemoryError, ValueError):
        raise HwsimError(
            f"an array of {' x '.join(map(str, sizes))} takes {size} bytes, more than there are; "
            "give fewer lanes or cycles at a time"
        ) from None
    start = -octets.__array_interface__["data"][0] % _LINE
    return octets[start : start + size].view(kind).reshape(sizes)


_LINE = 64


def addresses(arrays: Iterable[npt.NDArray[Any]]) -> npt.NDArray[np.uint64]:
    """Return where arrays lie, as a kernel takes them; they must live as long as it runs."""
    return np.array([array.__array_interface__["data"][0] for array in arrays], np.uint64)


def has_feature(*names: str) -> bool:
    """Return whether this machine has all of some processor features, by LLVM's names."""
    features = llvm.get_host_cpu_features()
    return all(features.get(name) for name in names)


_KEPT = 512
"""Kernels that a process keeps ready; of more, the ones that were asked for last. Those in use live on."""

_lock = threading.Lock()
_kernels: dict[str, Kernel] = {}


def compile_kernel(text: str, name: str, arguments: int, speed: int = 2) -> Kernel:
    """Return the function ``name`` of a module in LLVM's text form; ``arguments`` are 64 bits each.

    The same text is compiled once a process, and its object is kept under the text and the machine in the
    user's cache folder (``HWSIM_CACHE``). ``speed`` is the effort of the optimiser, 0 to 3.
    """
    key = hashlib.sha256("\n".join([fingerprint(), str(speed), text]).encode()).hexdigest()
    with _lock:
        kernel = _kernels.pop(key, None) or _compile(text, name, arguments, speed, key)
        while len(_kernels) >= _KEPT:
            del _kernels[next(iter(_kernels))]
        _kernels[key] = kernel
        return kernel


def _compile(text: str, name: str, arguments: int, speed: int, key: str) -> Kernel:
    kept = cache.recall("kernels", f"{key}.o")
    module = llvm.parse_assembly(text)
    if kept is None:
        module = _fenced(_optimise(module, speed))
    engine = llvm.create_mcjit_compiler(module, _target())

    def notify(_: Any, produced: bytes) -> None:
        if kept is None:
            cache.remember(produced, "kernels", f"{key}.o")

    engine.set_object_cache(notify, lambda _: kept)
    engine.finalize_object()
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * arguments)(engine.get_function_address(name))
    return Kernel(function, engine)


def _optimise(module: Any, speed: int) -> Any:
    options = llvm.create_pipeline_tuning_options(speed_level=speed)
    options.loop_vectorization = options.slp_vectorization = False
    options.loop_unrolling = False
    builder = llvm.create_pass_builder(_target(), options)
    builder.getModulePassManager().run(module, builder)
    return module


_WIDE_PRODUCT = re.compile(r"^  %(\S+) = (mul .*?<(\d+) x i64> .*)$", re.MULTILINE)
_ENTRY = re.compile(r"^entry:.*$", re.MULTILINE)


def _fenced(module: Any) -> Any:
    """Return an optimised module whose products of 64 bits each pass an exclusive or with a zero from memory.

    LLVM 22 for x86 takes a shifted product of two vectors of 64-bit integers that lie in 16 bits, when it is cut to
    16 bits, for a product of 32 bits: bits from the 32nd on are lost (LLVM issue 218844, corrected in LLVM's
    sources in September 2026). What it does not know to be a product it leaves alone.
    """
    text = str(module)
    lanes = sorted({int(found[3]) for found in _WIDE_PRODUCT.finditer(text)})
    if not lanes:
        return module
    lines = ["  %fence = load i64, ptr @fence, align 8"]
    for count in lanes:
        kind = f"<{count} x i64>"
        lines.append(f"  %fence.one.{count} = insertelement {kind} poison, i64 %fence, i64 0")
        lines.append(
            f"  %fence.{count} = shufflevector {kind} %fence.one.{count}, {kind} poison, "
            f"<{count} x i32> zeroinitializer"
        )
    text = _WIDE_PRODUCT.sub(r"  %product.\1 = \2\n  %\1 = xor <\3 x i64> %product.\1, %fence.\3", text)
    text = _ENTRY.sub(lambda found: "\n".join([found[0], *lines]), text, count=1)
    return llvm.parse_assembly(f"{text}\n@fence = internal global i64 0, align 8\n")


def module_text(name: str, parameters: Sequence[str], lines: Sequence[str], intrinsics: Sequence[str]) -> str:
    """Return a module of one function, its body given as lines that end in a return."""
    width = f'"prefer-vector-width"="{VECTOR_BITS}" "min-legal-vector-width"="{VECTOR_BITS}"'
    return "\n".join(
        [
            *sorted(intrinsics),
            f"define void @{name}({', '.join(parameters)}) nounwind {width} {{",
            *lines,
            "}",
            "",
        ]
    )


_THREADS = 1024


def check_threads(threads: int) -> None:
    if not isinstance(threads, int | np.integer) or not 1 <= threads <= _THREADS:
        raise HwsimError(
            f"work takes at least one thread, not {threads}, and at most {_THREADS}; give threads=1"
        )


def share(run: Callable[..., None], jobs: Iterable[tuple[int, ...]], threads: int) -> None:
    """Call ``run(*job)`` for every job, in so many threads of which the caller's is one."""
    check_threads(threads)
    waiting, failures = deque(jobs), list[BaseException]()

    def work() -> None:
        while not failures:
            try:
                job = waiting.popleft()
            except IndexError:
                return
            try:
                run(*job)
            except BaseException as error:
                failures.append(error)

    finished = threading.Semaphore(0)

    def help_out() -> None:
        work()
        finished.release()

    others = min(threads, len(waiting)) - 1
    for _ in range(others):
        # Not threading.Thread, which waits until the thread runs: as long as a small job takes.
        _thread.start_new_thread(help_out, ())
    work()
    for _ in range(others):
        finished.acquire()
    if failures:
        raise failures[0]
