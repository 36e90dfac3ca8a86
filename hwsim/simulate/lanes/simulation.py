"""Any PyRTL block in many lanes at once, each lane a run of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TextIO, TypeAlias

import numpy as np
import pyrtl

from hwsim.errors import HwsimError
from hwsim.simulate.lanes.form import WORD, Form
from hwsim.simulate.lanes.gatewise import compile_program
from hwsim.simulate.lanes.machine import empty
from hwsim.simulate.lanes.memories import Memories
from hwsim.simulate.lanes.netlist import Parts, circuit_of, memory_name, widths_of_parts
from hwsim.simulate.lanes.values import (
    Array,
    SimulationError,
    UnknownWireError,
    array_of,
    by_name,
    checked,
    joined,
    shown,
    storage,
    wire_name,
)
from hwsim.simulate.lanes.wordwise import Bound, Loop, Place, Port, Program, compile_loop

Named: TypeAlias = str | pyrtl.WireVector


class LaneSimulation:
    """Simulate a block in ``lanes`` independent lanes, compiled to vectors of machine integers.

    ``block`` is a :class:`pyrtl.Block`, by default the working block. Each lane has its own stimulus, registers
    and memories; ROMs are shared. With one lane it stands where :class:`pyrtl.CompiledSimulation` stands, and
    any wire can be traced and inspected. ``register_value_map`` gives registers, and ``memory_value_map``
    addresses of memories, one integer for all lanes or one for each; ``default_value`` is what all others begin
    with that have no reset value. ``tracer`` records wires of a single lane; True makes one. ``observe`` names wires
    that :meth:`run` returns besides the outputs.

    Arrays hold uint64, or Python integers where a wire is wider than 64 bits. Several writes to one address of a
    memory in one cycle have no defined winner, as in PyRTL.

    Raises :class:`HwsimError` for fewer than one lane, a combinational loop, an undriven wire, a memory that is not
    declared asynchronous and is read at an address that logic computes, one that is too large to be kept for every
    lane, a ROM without a value at some address (PyRTL's simulators fail only when it is read;
    ``pad_with_zeros=True`` fills it), and values that don't fit, naming the wire.
    """

    def __init__(
        self,
        block: pyrtl.Block | None = None,
        lanes: int = 1,
        tracer: pyrtl.SimulationTrace | bool | None = True,
        register_value_map: Mapping[Any, Any] | None = None,
        memory_value_map: Mapping[Any, Mapping[int, Any]] | None = None,
        default_value: int = 0,
        observe: Iterable[Named] = (),
    ) -> None:
        _check_lanes(lanes)
        _check_block(block)
        self.block = pyrtl.working_block(block)
        self.lanes, self.default_value = int(lanes), default_value
        try:
            self._circuit = circuit_of(self.block)
        except HwsimError as error:
            raise SimulationError(str(error)) from None
        if not isinstance(default_value, int | np.integer):
            raise SimulationError(f"the default value is {shown(default_value)}; give an integer")
        registers = by_name(register_value_map or {}, "the values of registers")
        self._widths = {wire.name: len(wire) for wire in self.block.wirevector_set}
        self.tracer = self._tracer(tracer)
        if self.tracer is not None:
            self.tracer._set_initial_values(default_value, register_value_map or {}, memory_value_map or {})
        self._compile([wire_name(wire) for wire in ([observe] if isinstance(observe, str) else observe)])
        vector = self._loops[WORD].vector
        self._memories = Memories(
            self.block, memory_value_map or {}, self.lanes, (self._padded, vector), default_value
        )
        self._set_registers(registers)
        self._last: dict[str, Array] = {}
        self._kept: dict[str, list[Array]] = {}
        self._peek: Loop | None = None

    def _tracer(self, tracer: pyrtl.SimulationTrace | bool | None) -> pyrtl.SimulationTrace | None:
        if tracer is True:
            return pyrtl.SimulationTrace(block=self.block) if self.lanes == 1 else None
        if tracer is None or tracer is False:
            return None
        if not isinstance(tracer, pyrtl.SimulationTrace):
            raise SimulationError(
                f"the tracer is {shown(tracer)}; give a pyrtl.SimulationTrace, True or None"
            )
        if self.lanes > 1:
            raise SimulationError(f"a tracer records one lane, not {self.lanes}; give lanes=1 or tracer=None")
        return tracer

    # What is compiled

    def _compile(self, observed: Sequence[str]) -> None:
        circuit = self._circuit
        for name in observed:
            if name not in circuit.wires:
                raise SimulationError(f'"{name}" is no wire of the block, so it cannot be observed; name one')
        outputs = {wire.name for wire in self.block.wirevector_subset(pyrtl.Output)} | set(observed)
        asserted = {wire.name for wire in self.block.rtl_assert_dict}
        traced = set(self.tracer.trace) if self.tracer is not None else set()
        self._outputs = sorted(outputs)
        self._streamed = sorted(outputs | asserted | traced)
        self._reads = [k for k, node in enumerate(circuit.form.nodes) if node.op == "read"]
        form = circuit.form
        self._program = Program(
            form,
            _placed("stream", {name: circuit.wires[name] for name in self._streamed}),
            {Place("read", str(node), 0): node for node in self._reads},
            _placed("register", circuit.next),
            [
                Port(_memory_places(write.memory, len(write.data)), write.address, write.data, write.enable)
                for write in circuit.writes
            ],
            {
                memory_name(net): 1 << net.op_param[1].addrwidth
                for net in self.block.logic_subset("m@")
                if not isinstance(net.op_param[1], pyrtl.RomBlock)
            },
        )
        self._loops = {WORD: compile_program(replace(self._program, stream_bits=WORD), self.lanes)}
        vector = max(self._loops[WORD].vector, min(64, 1 << (self.lanes - 1).bit_length()))
        self._padded = -(-self.lanes // vector) * vector

    def _loop(self, bits: int) -> Loop:
        """Return the loop whose outputs have so many bits at least."""
        if bits not in self._loops:
            self._loops[bits] = compile_program(replace(self._program, stream_bits=bits), self.lanes)
        return self._loops[bits]

    def _compile_peek(self) -> Loop:
        """Compile what recomputes every wire of the last cycle from its inputs, registers and what was read."""
        form, where = Form(), dict[int, int]()
        for number, node in enumerate(self._circuit.form.nodes):
            args = [where[arg] for arg in node.args]
            if node.op == "read":
                where[number] = form.input(f"read {number}", node.width)
            else:
                where[number] = form.import_node(node, args)
        wires = {name: tuple(where[part] for part in parts) for name, parts in self._circuit.wires.items()}
        return compile_loop(Program(form, holds=_placed("wire", wires)).narrowed(), self.lanes)

    # State

    def _empty(self, width: int, *shape: int) -> Array:
        array = empty((*shape, self._padded), storage(width))
        array[:] = 0
        return array

    def _set_registers(self, given: Mapping[str, Any]) -> None:
        values = dict(given)
        self._registers: dict[Place, Array] = {}
        for wire in self.block.wirevector_subset(pyrtl.Register):
            reset = wire.reset_value if wire.reset_value is not None else self.default_value
            parts = self._encode(wire.name, values.pop(wire.name, reset), ())
            for k, array in enumerate(parts):
                own = empty(array.shape, array.dtype)
                own[:] = array
                self._registers[Place("register", wire.name, k)] = own
        if values:
            raise SimulationError(
                f'"{next(iter(values))}" is no register of the block; give one of its registers'
            )
        self._read = {
            Place("read", str(node), 0): self._empty(self._circuit.form.width(node)) for node in self._reads
        }

    def _encode(self, name: str, values: Any, shape: tuple[int, ...]) -> list[Array]:
        """Return a wire's values as the arrays of its parts, [*shape, lanes] with lanes filled up.

        One value stands for all lanes.
        """
        width = self._widths[name]
        if isinstance(values, np.ndarray) and width > WORD and values.ndim == len(shape) + 2:
            return self._encode_parts(name, values, shape)
        given = checked(name, values, width)
        in_place = width <= WORD and given.shape == (*shape, self._padded) and given.flags.c_contiguous
        if in_place and given.dtype == storage(width):
            return [given]
        if given.shape not in (shape, (*shape, self.lanes)):
            expected = " x ".join(map(str, (*shape, self.lanes)))
            raise SimulationError(
                f'the values of "{name}" have the shape {given.shape}; give {expected} of them, lanes last'
            )
        if given.shape == shape:
            given = given[..., None]
        parts = []
        for k, size in enumerate(widths_of_parts(width)):
            array = self._empty(size, *shape)
            part = given >> WORD * k & ((1 << size) - 1) if given.dtype == object else given
            array[..., : self.lanes] = part
            parts.append(array)
        return parts

    def _encode_parts(self, name: str, values: Array, shape: tuple[int, ...]) -> list[Array]:
        sizes = widths_of_parts(self._widths[name])
        if values.shape != (len(sizes), *shape, self.lanes) or values.dtype != np.uint64:
            raise SimulationError(
                f'the values of "{name}" are {values.dtype} {values.shape}; '
                f"give uint64 {(len(sizes), *shape, self.lanes)}"
            )
        parts = []
        for size, part in zip(sizes, values, strict=True):
            if size == WORD and self.lanes == self._padded and part.flags.c_contiguous:
                parts.append(part)
                continue
            array = self._empty(size, *shape)
            array[..., : self.lanes] = checked(name, part, size)
            parts.append(array)
        return parts

    def _decode(self, parts: Array | Sequence[Array], width: int) -> Array:
        """Return the values of a wire, [..., lanes], from the arrays of its parts."""
        return joined([part[..., : self.lanes] for part in parts], width)

    # Running

    def run(
        self,
        inputs: Mapping[Named, Any] | Sequence[Mapping[Named, Any]],
        cycles: int | None = None,
        *,
        words: bool = False,
    ) -> dict[str, Array]:
        """Run the inputs' cycles; return every output in every cycle, [cycles, lanes].

        ``inputs`` maps every input's name to an array [cycles, lanes], or [cycles] for all lanes alike; a list
        of one mapping a cycle is taken too. ``cycles`` says how many where the block has no inputs. An input
        of more than 64 bits may be uint64 [parts, cycles, lanes], the least significant 64 bits first.

        ``words`` returns the machine words as they are, in less time: the narrowest unsigned
        integers that hold an output, and for an output of more than 64 bits uint64 [parts, cycles, lanes]. An
        input in its narrowest unsigned integers is read where it lies.
        """
        if isinstance(inputs, list | tuple):
            cycles = len(inputs)
            inputs = self._by_cycle(inputs)
        named = by_name(inputs, "the inputs")
        self._check_names(named)
        named = {name: array_of(name, values) for name, values in named.items()}
        _check_cycles(cycles)
        lengths = {name: _cycles(name, values, self._widths[name]) for name, values in named.items()}
        count = cycles if cycles is not None else max(lengths.values(), default=0)
        bits = 8 if words else WORD
        streams = {name: self._streams(name, count, bits) for name in self._streamed}
        if count:
            encoded = {name: self._encode(name, values, (count,)) for name, values in named.items()}
            self._run(encoded, streams, count, bits)
        if not words:
            return {name: self._decode(streams[name], self._widths[name]) for name in self._outputs}
        return {name: self._words(streams[name]) for name in self._outputs}

    def _by_cycle(self, steps: Sequence[Mapping[Named, Any]]) -> dict[str, list[Any]]:
        """Return each input's values in every cycle from one mapping a cycle."""
        named = [by_name(step, "the inputs of a cycle") for step in steps]
        for step in named:
            self._check_names(step)
        return {name: [step[name] for step in named] for name in (named[0] if named else ())}

    def _streams(self, name: str, cycles: int, bits: int) -> Array | list[Array]:
        """Return arrays for the parts of a wire in every cycle, in integers of so many bits at least.

        They are one array where all are alike.
        """
        kinds = [storage(max(bits, size)) for size in widths_of_parts(self._widths[name])]
        if kinds[-1] == kinds[0]:
            return empty((len(kinds), cycles, self._padded), kinds[0])
        return [empty((cycles, self._padded), kind) for kind in kinds]

    def _words(self, parts: Array | list[Array]) -> Array:
        """Return the parts of a wire as one array of all lanes, without an axis for a single part."""
        whole = parts if isinstance(parts, np.ndarray) else np.stack(parts)
        cut: Array = whole[..., : self.lanes]
        return cut[0] if len(cut) == 1 else cut

    def _run(
        self,
        inputs: Mapping[str, list[Array]],
        kept: Mapping[str, Array | list[Array]],
        cycles: int,
        bits: int,
    ) -> None:
        streams = {
            Place("stream", name, k): part for name, parts in kept.items() for k, part in enumerate(parts)
        }
        arrays = {
            Place("input", name, k): part for name, parts in inputs.items() for k, part in enumerate(parts)
        }
        everything = {**arrays, **streams, **self._registers, **self._read, **self._memories.arrays}
        bound = Bound(self._loop(bits), everything, self._padded)
        bound.run(0, cycles - 1)
        self._before = {place: array.copy() for place, array in self._registers.items()}
        bound.run(cycles - 1, cycles)
        self._inputs = {place: array[-1].copy() for place, array in arrays.items()}
        self._last = {}
        self._kept = {name: [part[-1].copy() for part in parts] for name, parts in kept.items()}
        self._trace(kept)
        self._check_assertions(kept)

    def step(self, provided_inputs: Mapping[Named, Any] | None = None) -> None:
        """Run one cycle; each input is one integer for all lanes or one for each."""
        named = by_name(provided_inputs or {}, "the inputs")
        self._check_names(named)
        encoded = {}
        for name, value in named.items():
            given = _integers(name, value, self._widths[name])
            encoded[name] = self._encode(name, given[None], (1,))
        self._run(encoded, {name: self._streams(name, 1, WORD) for name in self._streamed}, 1, WORD)

    def step_multiple(
        self,
        provided_inputs: Mapping[Named, Sequence[Any]] | None = None,
        expected_outputs: Mapping[Named, Sequence[Any]] | None = None,
        nsteps: int | None = None,
        file: TextIO | None = None,
        stop_after_first_error: bool = False,
    ) -> None:
        """Run several cycles and print, to ``file`` or the standard output, where outputs are not as expected.

        Each input and expected output has one entry a cycle: an integer, or one for each lane. An expected
        "?" is not compared.
        """
        given = by_name(provided_inputs or {}, "the inputs")
        expected = by_name(expected_outputs or {}, "the expected outputs")
        steps = self._steps(given, expected, nsteps)
        failed: list[tuple[int, str, int, int, int]] = []
        for step in range(steps):
            self.step({name: values[step] for name, values in given.items()})
            failed += self._differences(step, expected)
            if failed and stop_after_first_error:
                break
        if failed:
            _print_differences(failed, self.lanes > 1, stop_after_first_error, file or sys.stdout)

    def _steps(self, given: Mapping[str, Any], expected: Mapping[str, Any], nsteps: int | None) -> int:
        if not nsteps and not given:
            raise SimulationError("need to supply either input values or a number of steps to simulate")
        for name, values in {**given, **expected}.items():
            if not isinstance(values, str | Sequence | np.ndarray):
                raise SimulationError(
                    f'the values of "{name}" are {shown(values)}; give a list, one entry a cycle'
                )
        if not isinstance(nsteps, int | np.integer | None):
            _check_cycles(nsteps)
        longest = max((len(values) for values in given.values()), default=0)
        if nsteps and given and nsteps > longest:
            raise SimulationError(
                "nsteps is specified but is greater than the number of values supplied for each input"
            )
        steps = nsteps or longest
        if steps < 1:
            raise SimulationError("must simulate at least one step")
        if any(len(values) < steps for values in given.values()):
            raise SimulationError("must supply a value for each provided wire for each step of simulation")
        if any(len(values) < steps for values in expected.values()):
            raise SimulationError("any expected outputs must have a supplied value each step of simulation")
        return steps

    def _differences(
        self, step: int, expected: Mapping[str, Any]
    ) -> Iterator[tuple[int, str, int, int, int]]:
        for name, values in expected.items():
            if isinstance(values[step], str) and values[step] == "?":
                continue
            given = _integers(name, values[step], self._widths.get(name, WORD))
            if given.shape not in ((), (self.lanes,)):
                raise SimulationError(
                    f'the expected values of "{name}" have the shape {given.shape}; give one, or {self.lanes}'
                )
            wanted = np.broadcast_to(given, (self.lanes,))
            found = np.broadcast_to(np.asarray(self.inspect(name), object), (self.lanes,))
            for lane in np.flatnonzero(wanted != found):
                yield step, name, int(lane), int(wanted[lane]), int(found[lane])

    # Looking

    def inspect(self, wire: Named) -> Any:
        """Return any wire's value in the last cycle, [lanes]; an integer where there is one lane."""
        name = wire_name(wire)
        if name not in self._circuit.wires:
            raise UnknownWireError(f'"{name}" is no wire of the block; name one of its wires')
        if name not in self._last:
            if name in self._kept:
                self._last[name] = self._decode(self._kept[name], self._widths[name])
            else:
                self._look(name)
        values = self._last[name]
        return int(values[0]) if self.lanes == 1 else values.copy()

    def _look(self, name: str) -> None:
        if not hasattr(self, "_inputs"):
            if name not in self._circuit.registers:
                raise SimulationError(f'"{name}" has no value before the first step; run one')
            parts = [
                self._registers[Place("register", name, k)] for k in range(len(self._circuit.wires[name]))
            ]
            self._last[name] = self._decode(parts, self._widths[name])
            return
        if self._peek is None:
            self._peek = self._compile_peek()
        wires = {
            Place("wire", wire, k): self._empty(self._circuit.form.width(part))
            for wire, parts in self._circuit.wires.items()
            for k, part in enumerate(parts)
        }
        read = {Place("input", f"read {place.name}", 0): array for place, array in self._read.items()}
        self._peek.run({**self._inputs, **self._before, **read, **wires}, 1, self._padded)
        for wire, nodes in self._circuit.wires.items():
            arrays = [wires[Place("wire", wire, k)] for k in range(len(nodes))]
            self._last[wire] = self._decode(arrays, self._widths[wire])

    def inspect_mem(self, memory: pyrtl.MemBlock) -> Any:
        """Return a memory's content: addresses to values where there is one lane, else [addresses, lanes]."""
        return self._memories.content(memory)

    def _trace(self, kept: Mapping[str, Array | list[Array]]) -> None:
        if self.tracer is not None:
            for name, values in self.tracer.trace.items():
                values.extend(map(int, self._decode(kept[name], self._widths[name])[:, 0]))

    def _check_assertions(self, kept: Mapping[str, Array | list[Array]]) -> None:
        for wire, error in self.block.rtl_assert_dict.items():
            if not kept[wire.name][0][:, : self.lanes].all():
                raise error

    def _check_names(self, given: Mapping[str, Any]) -> None:
        if given.keys() == self._circuit.inputs.keys():
            return
        for name in given:
            if name not in self._circuit.inputs:
                raise SimulationError(
                    f'"{name}" is no input of the block; its inputs are {sorted(self._circuit.inputs)}'
                )
        missing = sorted(set(self._circuit.inputs) - set(given))
        if missing:
            raise SimulationError(f'the input "{missing[0]}" has no value; give one for each input')


def toggles(
    block: pyrtl.Block, inputs: Mapping[Named, Any], wires: Iterable[Named] | None = None
) -> dict[str, Array]:
    """Return how often each bit of each wire changes from one cycle to the next, summed over all lanes.

    ``inputs`` are [cycles, lanes] as :meth:`LaneSimulation.run` takes them, the first cycle from reset; ``wires`` are
    all of the block's but its constants, unless named. Each count is int64 [bits], the least significant bit first.
    What a wire does within a cycle, before it settles, is not counted.
    """
    _check_block(block)
    given = {name: array_of(name, values) for name, values in by_name(inputs, "the inputs").items()}
    chosen = block.wirevector_set - block.wirevector_subset(pyrtl.Const) if wires is None else wires
    names = sorted(map(wire_name, chosen))
    lanes = max((values.shape[-1] for values in given.values() if values.ndim), default=1)
    found = LaneSimulation(block, lanes, tracer=None, observe=names).run(given, words=True)
    return {name: _changes(found[name], len(block.wirevector_by_name[name])) for name in names}


def _changes(words: Array, width: int) -> Array:
    """Return how often each bit changes, from words [cycles, lanes] or [parts, cycles, lanes]."""
    parts = words if words.ndim == 3 else words[None]
    counts = [
        np.count_nonzero((changed >> np.array(bit, changed.dtype)) & np.array(1, changed.dtype))
        for changed, size in zip(parts[:, 1:] ^ parts[:, :-1], widths_of_parts(width), strict=True)
        for bit in range(size)
    ]
    return np.array(counts, np.int64)


def _cycles(name: str, values: Array, width: int) -> int:
    """Return how many cycles an input's values are for."""
    if values.ndim == 0:
        raise SimulationError(
            f'the values of "{name}" are {shown(values[()])}; give an array [cycles, lanes] or [cycles]'
        )
    return int(values.shape[width > WORD and values.ndim == 3])


def _placed(role: str, values: Mapping[str, Parts]) -> dict[Place, int]:
    return {Place(role, name, k): part for name, parts in values.items() for k, part in enumerate(parts)}


def _memory_places(memory: str, parts: int) -> tuple[Place, ...]:
    return tuple(Place("memory", memory, k) for k in range(parts))


_MOST = 1 << 40
"""Lanes and cycles, so that no place in an array leaves 64 bits."""


def _check_lanes(lanes: Any) -> None:
    if not isinstance(lanes, int | np.integer) or not 1 <= lanes <= _MOST:
        raise SimulationError(
            f"a simulation has at least one lane, not {shown(lanes)}, and at most {_MOST}; give lanes=1 or more"
        )


def _check_block(block: Any) -> None:
    if block is not None and not isinstance(block, pyrtl.Block):
        raise SimulationError(
            f"{shown(block)} is no block; give a pyrtl.Block, such as datapath.elaborate returns"
        )


def _check_cycles(cycles: Any) -> None:
    if cycles is not None and (not isinstance(cycles, int | np.integer) or not 0 <= cycles <= _MOST):
        raise SimulationError(f"a run has 0 to {_MOST} cycles, not {cycles}; give such a number")


def _integers(name: str, values: Any, width: int) -> Array:
    """Return values with PyRTL's own ways to write one integer (a bool, a string, a negative number) resolved."""
    if not isinstance(values, str | bool):
        return array_of(name, values)
    if isinstance(values, str) and values.isdecimal():
        return np.asarray(int(values), object)
    try:
        return np.asarray(pyrtl.infer_val_and_bitwidth(values, bitwidth=width).value, object)
    except pyrtl.PyrtlError:
        raise SimulationError(
            f'the value {shown(values)} of "{name}" is no integer of its {width} bits; give one, or such as "4\'b0011"'
        ) from None


def _print_differences(
    failed: Sequence[tuple[int, str, int, int, int]], lanes: bool, stopped: bool, file: TextIO
) -> None:
    """Print a table of differences as PyRTL's simulators do, with the lane where there are several."""
    suffix = "(stopped after step with first error):" if stopped else "on one or more steps:"
    head = f"{'lane':>6} " if lanes else ""
    print(f"Unexpected output {suffix}", file=file)
    print(f"{'step':>5} {head}{'name':>10} {'expected':>8} {'actual':>8}", file=file)
    for step, name, lane, expected, actual in sorted(
        failed,
        key=lambda row: (
            row[0],
            pyrtl.core._natural_sort_key(row[1]) if hasattr(pyrtl.core, "_natural_sort_key") else row[1],
            row[2],
        ),
    ):
        where = f"{lane:>6} " if lanes else ""
        print(f"{step:>5} {where}{name:>10} {expected:>8} {actual:>8}", file=file)
