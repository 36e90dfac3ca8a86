"""This machine's compiler: LLVM's text form to functions that can be called, kept in the user's cache."""

from __future__ import annotations

import _thread
import ctypes
import hashlib
import math
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

_MEASURE = "1"
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
    octets = np.empty(size + _LINE, np.uint8)
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
        _optimise(module, speed)
    engine = llvm.create_mcjit_compiler(module, _target())

    def notify(_: Any, produced: bytes) -> None:
        if kept is None:
            cache.remember(produced, "kernels", f"{key}.o")

    engine.set_object_cache(notify, lambda _: kept)
    engine.finalize_object()
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * arguments)(engine.get_function_address(name))
    return Kernel(function, engine)


def _optimise(module: Any, speed: int) -> None:
    options = llvm.create_pipeline_tuning_options(speed_level=speed)
    options.loop_vectorization = options.slp_vectorization = False
    options.loop_unrolling = False
    builder = llvm.create_pass_builder(_target(), options)
    builder.getModulePassManager().run(module, builder)


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


def share(run: Callable[..., None], jobs: Iterable[tuple[int, ...]], threads: int) -> None:
    """Call ``run(*job)`` for every job, in so many threads of which the caller's is one."""
    if threads < 1:
        raise HwsimError(f"work takes at least one thread, not {threads}; give threads=1")
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
