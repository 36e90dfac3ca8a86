"""What a datapath is: one frozen spec that gives both the arithmetic and the circuit.

A datapath names its input ports, its registers and its output ports with their formats. ``compute`` is its
exact integer meaning for one clock cycle; ``connect`` is the same cycle as a function from wires to wires.
:func:`elaborate` is the only place where PyRTL inputs, outputs and registers are made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from threading import RLock
from typing import Protocol, runtime_checkable

import pyrtl

from hwsim.catalogue import reason
from hwsim.errors import HwsimError
from hwsim.formats import Format, Int, IntArray

ELABORATING = RLock()
"""Held while wires are made: PyRTL has one working block a process, whatever the thread."""


@dataclass(frozen=True)
class Register:
    """A register's format and its value after reset."""

    format: Int
    reset: int = 0


class Datapath(Protocol):
    """One clocked or combinational circuit and its arithmetic.

    Port and register names are lower-case identifiers chosen by the datapath's author. A datapath is a
    frozen dataclass, so that it is equal, hashable and printable by its parameters.

    Three members may be left out. ``latency`` counts the cycles after the last operands until the sum of a
    multiply-accumulate is there (:func:`latency`). ``resolver`` is the datapath that makes one number of registers that
    hold it in several (:func:`resolved`); its inputs have their names. Then ``plain`` is the datapath that keeps it in
    one register, ``accumulator``.
    """

    def __hash__(self) -> int:
        """Equal datapaths have equal hashes."""

    @property
    def inputs(self) -> Mapping[str, Format]:
        """Input ports."""

    @property
    def registers(self) -> Mapping[str, Register]:
        """State; every register is also visible as an output port of its name. Empty if combinational."""

    @property
    def outputs(self) -> Mapping[str, Int]:
        """Combinational output ports besides the registers; may be empty."""

    def compute(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        """Return outputs and next register values from the values of inputs and registers (broadcastable)."""

    def connect(self, wires: Mapping[str, pyrtl.WireVector]) -> dict[str, pyrtl.WireVector]:
        """Return the wires of outputs and next register values from those of inputs and registers.

        Wires carry the bit patterns of the ports' formats (``Format.encode``); a returned wire has exactly
        its port's width.
        """


def latency(datapath: Datapath) -> int:
    """Return the cycles from a datapath's last operands until its result is there, beyond the operands' own."""
    return int(getattr(datapath, "latency", 0))


def resolver(datapath: Datapath) -> Datapath | None:
    """Return the circuit behind registers that hold one number in several, nothing where each holds its own."""
    found: Datapath | None = getattr(datapath, "resolver", None)
    return found


def resolved(datapath: Datapath, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
    """Return values of ports and registers by what they mean: one ``accumulator`` for registers that a resolver reads."""
    behind = resolver(datapath)
    if behind is None:
        return dict(values)
    apart = {name: value for name, value in values.items() if name not in behind.inputs}
    whole = behind.compute({name: values[name] for name in behind.inputs})
    return apart | {"accumulator": whole["output"]}


@runtime_checkable
class Scheduled(Datapath, Protocol):
    """A multiply-accumulate that does not take one product a cycle, and so has ports and a schedule of its own.

    Its ``accumulator`` after a sum is that of the products one by one, wrapping.
    """

    @property
    def weight(self) -> Format:
        """The format of a weight."""

    def cycles(self, products: int) -> int:
        """Return the clock cycles of a sum of so many products."""

    def operands(self, activations: IntArray, weights: IntArray) -> dict[str, IntArray]:
        """Return every port's values [cycles, lanes] for sums of activations and weights [products, lanes]."""


def sum_cycles(datapath: Datapath, products: int) -> int:
    """Return the clock cycles that a multiply-accumulate takes for a sum of so many products, its latency included."""
    return (datapath.cycles(products) if isinstance(datapath, Scheduled) else products) + latency(datapath)


def refuse_scheduled(datapath: Datapath, what: str) -> None:
    """Refuse a multiply-accumulate that does not take one product a cycle, for ``what`` follows single products."""
    if isinstance(datapath, Scheduled):
        raise HwsimError(
            f"{what} follows a sum product by product, which {describe(datapath)} does not; choose another datapath"
        )


def describe(datapath: Datapath) -> str:
    """Return a datapath's name and parameters as one line: ``Mac(weight=int4, activation=uint8, ...)``.

    A parameter whose field has ``repr=False`` is named where it is not its default.
    """
    shown = [f for f in fields(datapath) if f.repr or getattr(datapath, f.name) != f.default is not MISSING]  # type: ignore[arg-type]
    return f"{type(datapath).__name__}({', '.join(f'{f.name}={getattr(datapath, f.name)}' for f in shown)})"


def elaborate(datapath: Datapath, *, cut_registers: bool = False) -> pyrtl.Block:
    """Return a datapath's netlist in a block of its own.

    Each input port is an Input of its name; each output port and each register's value an Output of its
    name. With ``cut_registers`` the block is combinational, one step of the same logic: a register's value
    is an Input of its name and its next value an Output ``next_<name>``. The global working block stays as
    it was.

    Raises :class:`HwsimError` where ``connect`` fails, makes state of its own, or returns other wires than
    the outputs and registers with exactly their widths.
    """
    block = pyrtl.Block()
    try:
        with ELABORATING, pyrtl.set_working_block(block, no_sanity_check=True):
            _build(block, datapath, cut_registers)
            block.sanity_check()
    except HwsimError:
        raise
    except Exception as error:
        raise HwsimError(f"{describe(datapath)} cannot be elaborated: {reason(error)}") from error
    return block


def _build(block: pyrtl.Block, datapath: Datapath, cut_registers: bool) -> None:
    wires: dict[str, pyrtl.WireVector] = {
        name: pyrtl.Input(form.bits, name) for name, form in datapath.inputs.items()
    }
    for name, register in datapath.registers.items():
        bits = register.format.bits
        if cut_registers:
            wires[name] = pyrtl.Input(bits, name)
        else:
            reset = int(register.format.encode(register.reset)) & ((1 << bits) - 1)  # type: ignore[arg-type]
            wires[name] = pyrtl.Register(bits, f"{name}_register", reset_value=reset)
    results = datapath.connect(wires)
    _check_widths(datapath, results)
    for name, register in datapath.registers.items():
        if cut_registers:
            pyrtl.Output(register.format.bits, f"next_{name}").__ilshift__(results[name])
        else:
            wires[name].next <<= results[name]
            pyrtl.Output(register.format.bits, name).__ilshift__(wires[name])
    for name, form in datapath.outputs.items():
        pyrtl.Output(form.bits, name).__ilshift__(results[name])
    _check_state(block, datapath, {wire.name for wire in wires.values()})
    _remove_unread(block)


def _remove_unread(block: pyrtl.Block) -> None:
    """Take out the nets that nothing reads, which a circuit of parts may leave: they would be priced and simulated."""
    readers = Counter(wire for net in block.logic for wire in net.args)
    unread = [net for net in block.logic if _is_unread(net, readers)]
    makers = {wire: net for net in block.logic for wire in net.dests}
    while unread:
        net = unread.pop()
        block.logic.remove(net)
        block.remove_wirevector(net.dests[0])
        for wire in net.args:
            readers[wire] -= 1
            if wire in makers and not readers[wire] and _is_unread(makers[wire], readers):
                unread.append(makers[wire])


def _is_unread(net: pyrtl.LogicNet, readers: Mapping[pyrtl.WireVector, int]) -> bool:
    kept = (pyrtl.Output, pyrtl.Register)
    return bool(net.dests) and not isinstance(net.dests[0], kept) and not readers.get(net.dests[0], 0)


def _check_widths(datapath: Datapath, results: Mapping[str, pyrtl.WireVector]) -> None:
    state = {name: register.format.bits for name, register in datapath.registers.items()}
    wanted = state | {name: form.bits for name, form in datapath.outputs.items()}
    found = {name: len(wire) for name, wire in results.items()}
    if found != wanted:
        raise HwsimError(
            f"{describe(datapath)} connects wires of {found} bits, but its registers and outputs are {wanted}; "
            "return one wire of exactly that width for each"
        )


def _check_state(block: pyrtl.Block, datapath: Datapath, names: set[str]) -> None:
    own = {wire.name for wire in block.wirevector_subset((pyrtl.Input, pyrtl.Register))} - names
    own |= {net.op_param[1].name for net in block.logic_subset("m@")}
    if own:
        raise HwsimError(
            f"{describe(datapath)} makes an input, register or memory of its own, {sorted(own)}; "
            "name it in inputs or registers, a memory is not possible"
        )
