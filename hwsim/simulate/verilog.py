"""A datapath as clocked Verilog, run in Icarus Verilog or Verilator: a simulator that shares nothing with PyRTL's."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwsim import process
from hwsim.datapath.datapath import Datapath, describe
from hwsim.datapath.netlist import RESET, clock_cycle, port_name, verilog
from hwsim.errors import HwsimError, unknown
from hwsim.formats import Format, IntArray
from hwsim.simulate.circuit import encoded


@dataclass(frozen=True)
class Tool:
    """A Verilog simulator: the programs it needs, Debian's packages of them, and what runs ``bench.v``."""

    programs: Sequence[str]
    packages: Sequence[str]
    commands: Sequence[Sequence[str]]


TOOLS: Mapping[str, Tool] = {
    "iverilog": Tool(
        ("iverilog", "vvp"),
        ("iverilog",),
        (("iverilog", "-g2005", "-s", "bench", "-o", "bench", "bench.v"), ("vvp", "-n", "bench")),
    ),
    "verilator": Tool(
        ("verilator", "g++", "make"),
        ("verilator", "g++", "make"),
        (
            ("verilator", "--binary", "-Wno-fatal", "--top-module", "bench", "-Mdir", "build", "bench.v"),
            ("build/Vbench",),
        ),
    ),
}


def export(datapath: Datapath, module: str = "datapath", cycle: str = "cycle") -> str:
    """Return a datapath as Verilog: ``module`` with its ports and registers by their own names.

    A register's port shows its value. Where there are registers, the ports ``CLOCK`` and ``RESET`` come first:
    at a rising edge the registers take their next values, or their reset values while RESET is 1; module ``cycle``
    is the logic between them. The text depends on the circuit's structure and its port names only, which are
    lower-case identifiers.
    """
    if not datapath.registers:
        return verilog(clock_cycle(datapath), module)
    state = {name: register.format for name, register in datapath.registers.items()}
    heads = ["input CLOCK", f"input {RESET}", *_ports("input", datapath.inputs)]
    heads += [*_ports("output", datapath.outputs), *_ports("output reg", state)]
    names = [RESET, *datapath.inputs, *datapath.outputs, *state]
    pins = [f".{port_name(name)}({port_name(name)})" for name in names]
    pins += [f".{port_name(f'next_{name}')}(NEXT{k})" for k, name in enumerate(state)]
    lines = [f"module {module}({', '.join(heads)});"]
    lines += [f"wire {_range(form)} NEXT{k};" for k, form in enumerate(state.values())]
    lines.append(f"{cycle} logic_of_one_cycle({', '.join(pins)});")
    lines += [f"always @(posedge CLOCK) {port_name(name)} <= NEXT{k};" for k, name in enumerate(state)]
    return verilog(clock_cycle(datapath), cycle) + "\n".join([*lines, "endmodule", ""])


def _ports(direction: str, formats: Mapping[str, Format]) -> list[str]:
    return [f"{direction} {_range(form)} {port_name(name)}" for name, form in formats.items()]


def _range(form: Format) -> str:
    return f"[{form.bits - 1}:0]"


def run_verilog(
    datapath: Datapath,
    inputs: Mapping[str, IntArray],
    reset_every: int | None = None,
    tool: str = "iverilog",
    *,
    timeout_s: float = 120,
) -> dict[str, IntArray]:
    """Return what :func:`hwsim.simulate.circuit.run` does, from the exported Verilog in another simulator.

    ``tool`` is ``iverilog`` or ``verilator``, which first compiles the circuit for some ten seconds.
    ``timeout_s`` limits each of a tool's commands. Raises :class:`HwsimError` where the tool is not installed,
    fails, exceeds its time, or gives anything but one number for every port and cycle.
    """
    if tool not in TOOLS:
        raise unknown("Verilog simulator", tool, TOOLS)
    rows = encoded(datapath, inputs)
    cycles = len(next(iter(rows.values()), []))
    if not cycles:
        return _decoded(datapath, [])
    words = [_pack(codes, datapath.inputs.values()) for codes in zip(*rows.values(), strict=True)]
    with process.workplace("Verilog simulation") as folder:
        (folder / "stimuli").write_text("".join(f"{word:x}\n" for word in words))
        (folder / "bench.v").write_text(export(datapath) + _bench(datapath, cycles, reset_every or cycles))
        for command in TOOLS[tool].commands:
            _run(tool, command, folder, timeout_s)
        results = folder / "results"
        lines = results.read_text(errors="replace").splitlines() if results.exists() else []
    if len(lines) != cycles or not all(re.fullmatch("[0-9a-f]+ [0-9a-f]+", line) for line in lines):
        raise HwsimError(
            f"{tool} gives no number in every cycle of {describe(datapath)}; report the datapath"
        )
    return _decoded(datapath, lines)


def _run(tool: str, command: Sequence[str], folder: Path, timeout_s: float) -> None:
    packages = TOOLS[tool].packages
    if missing := [name for name in TOOLS[tool].programs if shutil.which(name) is None]:
        raise HwsimError(f"{tool} needs {missing[0]}; install it with: apt-get install {' '.join(packages)}")
    try:
        process.run("Verilog simulation", command, folder, timeout_s)
    except process.OutOfTimeError:
        raise HwsimError(
            f"{tool} took more than {timeout_s:g} s; run fewer cycles or raise the limit"
        ) from None
    except process.FailedError as error:
        raise HwsimError(
            f"{tool} failed with status {error.status}: {error.complaint}; report the datapath"
        ) from None


def _bench(datapath: Datapath, cycles: int, period: int) -> str:
    """Return the module that drives a datapath with the words of ``stimuli`` and writes ``results``.

    A line of results is the outputs in one cycle and the registers after it: two words in hexadecimal.
    """
    outputs, state = dict(datapath.outputs), _state(datapath)
    pins = [f".{port_name(name)}(NOW[{part}])" for name, part in _parts(datapath.inputs)]
    pins += [f".{port_name(name)}(OUTPUTS[{part}])" for name, part in _parts(outputs)]
    pins += [f".{port_name(name)}(STATE[{part}])" for name, part in _parts(state)]
    pins += [".CLOCK(CLOCK)", f".{RESET}({RESET})"] if state else []
    return f"""module bench;
reg CLOCK = 0, {RESET} = 0;
reg [{_bits(datapath.inputs) - 1}:0] NOW, STIMULI [0:{cycles - 1}];
wire [{_bits(outputs)}:0] OUTPUTS;
wire [{_bits(state)}:0] STATE;
reg [{_bits(outputs)}:0] BEFORE;
integer CYCLE, RESULTS;
assign OUTPUTS[{_bits(outputs)}] = 0, STATE[{_bits(state)}] = 0;
datapath tested({", ".join(pins)});
initial begin
  $readmemh("stimuli", STIMULI);
  RESULTS = $fopen("results", "w");
  for (CYCLE = 0; CYCLE < {cycles}; CYCLE = CYCLE + 1) begin
    NOW = STIMULI[CYCLE];
    if (CYCLE % {period} == 0) begin
      {RESET} = 1;
      #1 CLOCK = 1;
      #1 CLOCK = 0;
      {RESET} = 0;
    end
    #1 BEFORE = OUTPUTS;
    CLOCK = 1;
    #1 $fdisplay(RESULTS, "%h %h", BEFORE, STATE);
    CLOCK = 0;
  end
  $fclose(RESULTS);
  $finish;
end
endmodule
"""


def _state(datapath: Datapath) -> dict[str, Format]:
    return {name: register.format for name, register in datapath.registers.items()}


def _bits(formats: Mapping[str, Format]) -> int:
    return sum(form.bits for form in formats.values())


def _parts(formats: Mapping[str, Format]) -> Iterator[tuple[str, str]]:
    """Yield the place of each value in a word that holds them side by side, the first lowest."""
    low = 0
    for name, form in formats.items():
        yield name, f"{low + form.bits - 1}:{low}"
        low += form.bits


def _pack(codes: Sequence[int], formats: Iterable[Format]) -> int:
    word = low = 0
    for code, form in zip(codes, formats, strict=True):
        word |= (code & ((1 << form.bits) - 1)) << low
        low += form.bits
    return word


def _decoded(datapath: Datapath, lines: Sequence[str]) -> dict[str, IntArray]:
    """Return the values that the lines of ``results`` hold."""
    decoded = {}
    for column, formats in enumerate((datapath.outputs, _state(datapath))):
        words = [int(line.split()[column], 16) for line in lines]
        for name, form in formats.items():
            codes = np.array([word & ((1 << form.bits) - 1) for word in words], np.uint64)
            decoded[name] = form.decode(codes.view(np.int64))
            words = [word >> form.bits for word in words]
    return decoded
