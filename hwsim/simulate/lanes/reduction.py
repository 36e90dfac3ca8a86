"""A whole layer's sums of products through a datapath's circuit, every cycle of every accumulator.

One cycle consumes one (activation, weight) pair; the register's state after k cycles is the netlist's. Where a
netlist is proved to multiply and accumulate (:mod:`hwsim.simulate.lanes.proof`), the cycles run that arithmetic
on machine words; where not, or where asked to, they run the netlist's gates on 512 lanes a vector.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, is_dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.datapath.datapath import Datapath, describe, resolved, resolver
from hwsim.errors import HwsimError
from hwsim.formats import Format, Int, IntArray, Overflow
from hwsim.simulate.lanes.analysis import storage_bits
from hwsim.simulate.lanes.columns import GateTile, compile_gates, run_gates
from hwsim.simulate.lanes.machine import addresses, check_threads, empty, share
from hwsim.simulate.lanes.proof import Proof, prove
from hwsim.simulate.lanes.schedule import WIDENED, Operand, Tile, compile_tile
from hwsim.simulate.lanes.step import (
    OBSERVERS,
    Accumulation,
    accumulations,
    arithmetic_step,
    decoded,
    observed,
    reduction_step,
    results,
)

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Accumulators:
    """What the accumulators hold after the last cycle, [m, n], and what was observed of them.

    ``registers`` are those that hold them, several where a resolver is behind them. ``overflowed`` says whether an exact sum left the range in any cycle, ``minimum`` and ``maximum`` are the
    extreme values after a cycle; each is None where it was not asked for. ``step`` says what was run: the
    netlist's gates, or the arithmetic they are proved to be, and by which proof.
    """

    values: Array
    registers: Mapping[str, Array]
    step: str
    overflowed: npt.NDArray[np.bool_] | None = None
    minimum: Array | None = None
    maximum: Array | None = None


_SHARE = 1 << 21
"""Lane-cycles that one of several threads takes at a time: some hundredths of a millisecond."""


def reduce(
    datapath: Datapath,
    activations: IntArray,
    weights: IntArray,
    *,
    threads: int = 1,
    observe: Iterable[str] = (),
    gates: bool = False,
) -> Accumulators:
    """Return the accumulators [m, n] of ``activations`` [m, k] and ``weights`` [k, n] after k cycles from reset.

    Arrays of 8- or 16-bit integers are read where they lie. ``observe`` names "overflow" and "extremes";
    ``gates`` runs the netlist's gates even where their arithmetic is proved. Raises :class:`HwsimError` where
    the datapath has other ports than an activation, a weight and an accumulator, or an operand does not fit.
    """
    return Reduction(datapath, weights, observe=observe, gates=gates).run(activations, threads=threads)


class Reduction:
    """A datapath and the weights [k, n] of a layer, ready to be run on activations.

    With ``depthwise`` each of n channels has activations of its own. The port called "weight" takes the weights,
    the other one the activations. The result is the register called "accumulator", or the only one, or what the
    datapath's resolver makes of several; the registers of a pipeline are wires.
    """

    def __init__(
        self,
        datapath: Datapath,
        weights: IntArray,
        *,
        observe: Iterable[str] = (),
        gates: bool = False,
        depthwise: bool = False,
    ) -> None:
        check_datapath(datapath)
        self.datapath, self.depthwise = datapath, depthwise
        self.observe = _observers(observe)
        self.registers = _registers(datapath)
        self.meaning = next(iter(accumulations(datapath)), None)
        if self.meaning is None and "overflow" in self.observe:
            raise HwsimError(
                f"{describe(datapath)} is more than one signed accumulator, so that its overflow has no meaning; "
                "observe its extremes"
            )
        self._activation_format()
        self._weights = array_of("weight", weights)
        if self._weights.ndim != 2 or 0 in self._weights.shape:
            raise HwsimError(f'the values of "weight" have the shape {self._weights.shape}; give [k, n]')
        check_values("weight", self._weights, datapath.inputs["weight"])
        self._weights = self._weights.copy()
        self.cycles, self.columns = self._weights.shape
        self._packings: dict[tuple[int, int], Array] = {}
        self.proof = None if gates else _proved(datapath)
        self.contained = self._is_contained()
        self.step = self._describe()

    def _activation_port(self) -> str:
        return next(name for name in self.datapath.inputs if name != "weight")

    def _activation_format(self) -> Int:
        form = self.datapath.inputs[self._activation_port()]
        if not isinstance(form, Int):
            raise HwsimError(
                f"{describe(self.datapath)} takes activations in {form}; a reduction needs integers"
            )
        return form

    def _describe(self) -> str:
        if self.proof is None:
            return "netlist, gate by gate"
        within = f", within its range on these weights for all {self.cycles} cycles" if self.contained else ""
        return f"proved arithmetic{within}; {self.proof.method}"

    def _is_contained(self) -> bool:
        """Return whether a proved accumulator cannot leave its range: then it wraps as well as it saturates.

        After any number of cycles it differs from its reset value by at most the sum of its column's weights'
        magnitudes times the largest magnitude of an activation.
        """
        if self.proof is None:
            return False
        register, activation = self.datapath.registers[self.registers[0]], self._activation_format()
        largest = int(np.abs(self._weights.astype(np.int64)).sum(axis=0).max())
        reach = largest * max(-activation.minimum, activation.maximum)
        low, high = register.reset - reach, register.reset + reach
        return register.format.minimum <= low and high <= register.format.maximum

    def run(self, activations: IntArray, *, threads: int = 1) -> Accumulators:
        """Return the accumulators [m, n] of activations [m, k]; with ``depthwise`` of [m, k, n]."""
        values = array_of(self._activation_port(), activations)
        shape = (self.cycles, self.columns) if self.depthwise else (self.cycles,)
        if values.ndim != 1 + len(shape) or values.shape[1:] != shape:
            raise HwsimError(
                f'the values of "{self._activation_port()}" have the shape {values.shape}; '
                f"give [m, {', '.join(map(str, shape))}]"
            )
        values = np.ascontiguousarray(values)
        row = values[0].size if len(values) else 0
        base = np.arange(len(values), dtype=np.int64) * row
        step = self.columns if self.depthwise else 1
        return self.gather(
            values.reshape(-1), base, np.arange(self.cycles, dtype=np.int64) * step, threads=threads
        )

    def gather(
        self, activations: IntArray, base: IntArray, offset: IntArray, *, threads: int = 1
    ) -> Accumulators:
        """Return the accumulators [m, n], row i's activation in cycle k lying at ``base[i] + offset[k]``.

        ``activations`` is one-dimensional: a padded image, say, that a convolution reads where it lies.
        Channels of a depthwise layer lie side by side.
        """
        check_threads(threads)
        values = array_of(self._activation_port(), activations)
        base, offset = np.asarray(base), np.asarray(offset)
        _check_gather(
            self._activation_port(), values, base, offset, self.cycles, self.columns if self.depthwise else 1
        )
        check_values(self._activation_port(), values, self._activation_format())
        if len(base) == 0:
            return self._results({name: np.zeros((0, self.columns), np.int64) for name in self._names()})
        base, offset = np.ascontiguousarray(base, np.int64), np.ascontiguousarray(offset, np.int64)
        if self.proof is None:
            return self._results(self._run_gates(values, base, offset, threads))
        return self._results(self._run_words(values, base, offset, threads))

    def _names(self) -> list[str]:
        names = [*self.registers, *(["overflow"] if "overflow" in self.observe else [])]
        return names + (["minimum", "maximum"] if "extremes" in self.observe else [])

    def _results(self, results: dict[str, Array]) -> Accumulators:
        registers, overflowed = {name: results[name] for name in self.registers}, None
        values = next(iter(registers.values()))
        if resolver(self.datapath):
            values = resolved(
                self.datapath, {name: np.asarray(x, np.int64) for name, x in registers.items()}
            )["accumulator"]
        if "overflow" in self.observe:
            overflowed = (
                results["overflow"] != 0 if "overflow" in results else np.zeros(values.shape, np.bool_)
            )
        return Accumulators(
            values,
            registers,
            self.step,
            overflowed,
            results.get("minimum"),
            results.get("maximum"),
        )

    # On machine words

    def _run_words(self, values: Array, base: IntArray, offset: IntArray, threads: int) -> dict[str, Array]:
        values = _stored(values, storage_bits(self._activation_format().bits))
        beside = self.cycles >= WIDENED and bool((np.diff(offset) == 1).all())
        base, offset = base + offset[0], offset - offset[0]
        operands = self._operands(values.itemsize * 8, beside)
        tile = self._tile(operands)
        packed = self._packed(tile.columns, dict(operands)["weight"].bits)
        rows = -(-len(base) // tile.rows) * tile.rows
        width = len(packed) * tile.columns
        filled = np.concatenate([base, np.repeat(base[-1:], rows - len(base))])
        if self.depthwise:
            values = _with_margin(values, int(base.max() + offset.max()) + width)
        results = {name: empty((rows, width), _result_dtype(tile, name)) for name in tile.results}
        untaken = np.zeros(len(packed), np.int64)
        taken = tile.rows * -(-_SHARE // (self.cycles * tile.rows * tile.columns)) if threads > 1 else rows

        def run(column: int) -> None:
            first = column * tile.columns
            table = [untaken[column:]]
            for name, operand in operands:
                if name == "weight":
                    table.append(packed[column])
                elif operand.widened_from:
                    table += [values, filled, empty(tile.rows * self.cycles, f"int{operand.bits}")]
                else:
                    table += [values[first:] if self.depthwise else values, filled, offset]
            table += [results[name][:, first:] for name in tile.results]
            places = addresses(table)
            tile.kernel.call(places.ctypes.data, self.cycles, taken, rows, width)

        share(run, ((column,) for column in range(len(packed)) for _ in range(threads)), threads)
        return {name: result[: len(base), : self.columns] for name, result in results.items()}

    def _tile(self, operands: tuple[tuple[str, Operand], ...]) -> Tile:
        """Return the loop over the cycles; an accumulator that cannot leave its range needs no saturation."""
        assert self.proof is not None
        meaning, observe = self.proof.meaning, self.observe
        if self.contained:
            meaning, observe = replace(meaning, overflow=Overflow.WRAP), observe - {"overflow"}
        return _tile(self.datapath, meaning, observe, operands, self.columns)

    def _operands(self, bits: int, beside: bool) -> tuple[tuple[str, Operand], ...]:
        """Return how operands lie in memory, of activations in ``bits`` whether those of a row lie side by side."""
        register = self.datapath.registers[self.registers[0]].format
        activation = self._activation_format()
        weight = decoded(self.datapath.inputs["weight"])
        size = max(storage_bits(weight.bits), storage_bits(register.bits), 16)
        taken = Operand("both" if self.depthwise else "row", bits, activation.signed)
        if beside and bits < size and not self.depthwise:
            taken = Operand("row", size, activation.signed, widened_from=bits)
        operands = {"weight": Operand("column", size, weight.signed), self._activation_port(): taken}
        return tuple((name, operands[name]) for name in self.datapath.inputs)

    def _packed(self, width: int, bits: int) -> Array:
        """Return the weights as [column tile, k, columns of a tile], filled up with zeros; kept for the next run."""
        if (width, bits) not in self._packings:
            tiles = -(-self.columns // width)
            padded = np.zeros((self.cycles, tiles * width), f"int{bits}")
            padded[:, : self.columns] = self._weights
            packed = empty((tiles, self.cycles, width), padded.dtype)
            packed[:] = padded.reshape(self.cycles, tiles, width).transpose(1, 0, 2)
            self._packings[width, bits] = packed
        return self._packings[width, bits]

    # On gates

    def _run_gates(self, values: Array, base: IntArray, offset: IntArray, threads: int) -> dict[str, Array]:
        form = self.datapath.inputs["weight"]
        codes = form.encode(self._weights.astype(np.int64))
        gates = _gates(self.datapath, self.observe)
        return run_gates(gates, values, base, offset, codes, self.depthwise, threads)


@lru_cache(maxsize=512)
def _proved(datapath: Datapath) -> Proof | None:
    return prove(datapath)


@lru_cache(maxsize=512)
def _tile(
    datapath: Datapath,
    meaning: Accumulation,
    observe: frozenset[str],
    operands: tuple[tuple[str, Operand], ...],
    columns: int,
) -> Tile:
    step = arithmetic_step(datapath, meaning)
    if observe:
        step = observed(step, datapath, meaning, observe)
    return compile_tile(step, dict(operands), min(columns, 64))


@lru_cache(maxsize=512)
def _gates(datapath: Datapath, observe: frozenset[str]) -> GateTile:
    step = reduction_step(datapath)
    if observe:
        meaning = next(iter(accumulations(datapath)), None)
        step = observed(step, datapath, meaning, observe)
    return compile_gates(step, ["weight"])


def _observers(observe: Iterable[str]) -> frozenset[str]:
    if not isinstance(observe, Iterable):
        raise HwsimError(f"a reduction cannot observe {observe!r}; it knows {', '.join(OBSERVERS)}")
    names = frozenset([observe] if isinstance(observe, str) else observe)
    if not names <= set(OBSERVERS):
        raise HwsimError(
            f"a reduction cannot observe {sorted(names - set(OBSERVERS))}; it knows {', '.join(OBSERVERS)}"
        )
    return names


def _registers(datapath: Datapath) -> tuple[str, ...]:
    """Return the registers that a reduction ends in."""
    found = results(datapath)
    if len(datapath.inputs) == 2 and "weight" in datapath.inputs and set(found) <= set(datapath.registers):
        return found
    raise HwsimError(
        f"{describe(datapath)} is no reduction: it needs two inputs, one of them called weight, "
        "and one register or one called accumulator"
    )


def check_datapath(datapath: Datapath) -> None:
    """Refuse what is no datapath: a name, a class, a block."""
    if isinstance(datapath, type) or not is_dataclass(datapath) or not hasattr(datapath, "registers"):
        raise HwsimError(
            f"{datapath!r} is no datapath; give one such as Mac(Int(8), Int(8), Int(32)), or a block as a Netlist"
        )


def array_of(name: str, values: IntArray) -> Array:
    """Return values as an array; lists of different lengths are none."""
    try:
        return np.asarray(values)
    except ValueError:
        raise HwsimError(
            f'the values of "{name}" are lists of different lengths; give lists of the same length'
        ) from None


def check_values(name: str, values: Array, form: Format) -> None:
    """Refuse values that a port's format does not have."""
    if values.dtype.kind not in "iu":
        raise HwsimError(f'the values of "{name}" are {values.dtype}; give integers')
    kind = np.iinfo(values.dtype)
    if not values.size or (isinstance(form, Int) and form.minimum <= kind.min and kind.max <= form.maximum):
        return
    least, most = 0 if values.dtype.kind == "u" else int(values.min()), int(values.max())
    if least < form.minimum or most > form.maximum:
        raise HwsimError(
            f'the values of "{name}" are {least} to {most}; {form} has {form.minimum} to {form.maximum}'
        )
    if not isinstance(form, Int):
        allowed = np.zeros(form.maximum - form.minimum + 1, np.bool_)
        allowed[form.levels - form.minimum] = True
        if not allowed[values.astype(np.int64) - form.minimum].all():
            form.encode(values)


def _check_gather(
    name: str, values: Array, base: IntArray, offset: IntArray, cycles: int, width: int
) -> None:
    if values.ndim != 1 or np.ndim(base) != 1 or np.shape(offset) != (cycles,):
        raise HwsimError(
            f'the values of "{name}" have the shape {values.shape}, their bases {np.shape(base)} and offsets '
            f"{np.shape(offset)}; give one row each, and {cycles} offsets"
        )
    if len(base) and any(array.dtype.kind not in "iu" for array in (base, offset)):
        raise HwsimError(
            f'the bases of "{name}" are {base.dtype} and its offsets {offset.dtype}; give integers'
        )
    if len(base) and (
        int(np.min(base)) + int(np.min(offset)) < 0
        or int(np.max(base)) + int(np.max(offset)) + width > len(values)
    ):
        raise HwsimError(
            f'the bases and offsets of "{name}" point outside its {len(values)} values; correct them'
        )


def _stored(values: Array, least_bits: int) -> Array:
    """Return values as contiguous machine integers of 8 to 32 bits, the array itself where it is so already."""
    if values.itemsize * 8 < least_bits or values.itemsize > 4:
        values = values.astype(np.int16 if least_bits <= 16 else np.int32)
    return np.ascontiguousarray(values)


def _with_margin(values: Array, size: int) -> Array:
    """Return values followed by what a vector's last lanes read beyond them."""
    return (
        values
        if len(values) >= size
        else np.concatenate([values, np.zeros(size - len(values), values.dtype)])
    )


def _result_dtype(tile: Tile, name: str) -> npt.DTypeLike:
    return np.dtype(f"int{tile.result_bits[name]}")
