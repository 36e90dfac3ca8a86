"""A testbench that checks itself: it runs every vector through its circuit and fails with the vector's name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hwsim.bundle.decoders import CodedWeights, declared
from hwsim.bundle.vectors import Vectors, digits, expected_of, inputs_of
from hwsim.datapath.datapath import Datapath
from hwsim.datapath.netlist import RESET, port_name
from hwsim.datapath.word_stream import WORD_BITS

SHOWN = 20
"""Failing vectors that the testbench tells of by name; it counts all."""


@dataclass(frozen=True, eq=False)
class Block:
    """Vectors in a file, with the name of the module they are for and of the layer they come from."""

    vectors: Vectors
    module: str
    layer: str
    file: str


def testbench(modules: Mapping[str, Datapath], blocks: Sequence[Block], coded: Sequence[CodedWeights]) -> str:
    """Return module ``testbench``, which reads each block's file and compares every port with it in every cycle.

    Weights that are ``coded`` go from their memories through their decoder and are compared one by one.

    It prints ``PASS`` and the number of vectors, or a ``FAIL`` line for each of the first differences and ends with
    $fatal, which is an exit status other than 0. A value that is not known counts as different.
    """
    lines = [
        "module testbench;",
        f"reg CLOCK = 0, {RESET} = 0;",
        f"localparam SHOWN = {SHOWN};",
        "integer ROW, VECTORS = 0, ERRORS = 0;",
        *_failing(),
    ]
    for module, datapath in modules.items():
        decoded = [one for one in coded if one.decoder == datapath]
        rows = max((len(block.vectors) for block in blocks if block.module == module), default=0)
        under_test = [*_instance(module, datapath, rows), *_task(module, datapath)]
        lines += ["", *(declared(module, decoded) if decoded else under_test)]
    lines += ["", "initial begin"]
    for block in blocks:
        count = len(block.vectors)
        lines += _read(block.file, f"{block.module}_rows", count, _row_bits(block.vectors.datapath))
        lines.append(f'  {block.module}_check("{block.layer}", {count});')
    for one in coded:
        module = next(module for module, datapath in modules.items() if datapath == one.decoder)
        for port, words in one.words.items():
            lines += _read(one.memory(port), f"{module}_{port}s", len(words), WORD_BITS)
        lines += _read(one.file, f"{module}_rows", len(one), one.row_bits)
        lines.append(f'  {module}_check("{one.layer}", {len(one)});')
    return "\n".join([*lines, *_verdict()])


def _read(file: str, memory: str, count: int, bits: int) -> list[str]:
    """Return what reads a file; what it lacks is unknown, whatever an earlier file left there."""
    return [
        f"  for (ROW = 0; ROW < {count}; ROW = ROW + 1) {memory}[ROW] = {{{bits}{{1'bx}}}};",
        f'  $readmemh("{file}", {memory}, 0, {count - 1});',
    ]


def _failing() -> list[str]:
    return [
        "task fail;",
        "  begin",
        "    ERRORS = ERRORS + 1;",
        '    if (ERRORS == SHOWN) $display("more failures are only counted");',
        "  end",
        "endtask",
    ]


def _verdict() -> list[str]:
    return [
        '  if (ERRORS == 0) $display("PASS: %0d vectors", VECTORS);',
        '  else $fatal(1, "FAIL: %0d differences in %0d vectors", ERRORS, VECTORS);',
        "  $finish;",
        "end",
        "endmodule",
        "",
    ]


def _places(datapath: Datapath) -> Iterator[tuple[str, int, int]]:
    """Yield each field's port, highest and lowest bit in a row; the reset is above them all."""
    fields = [*inputs_of(datapath).items(), *expected_of(datapath).items()]
    low = 0
    for name, form in reversed(fields):
        yield name, low + form.bits - 1, low
        low += 4 * digits(form)


def _row_bits(datapath: Datapath) -> int:
    fields = [*inputs_of(datapath).values(), *expected_of(datapath).values()]
    return 4 * (1 + sum(map(digits, fields)))


def _instance(module: str, datapath: Datapath, rows: int) -> list[str]:
    """Return the memory of a module's vectors, the row at hand and the module under test."""
    bits, places = _row_bits(datapath), {name: (high, low) for name, high, low in _places(datapath)}
    pins = [f".CLOCK(CLOCK), .{port_name(RESET)}({RESET})"] if datapath.registers else []
    pins += [
        f".{port_name(name)}({module}_row[{'{}:{}'.format(*places[name])}])" for name in inputs_of(datapath)
    ]
    found = list(expected_of(datapath).items())
    pins += [f".{port_name(name)}({module}_found{k})" for k, (name, _) in enumerate(found)]
    return [
        f"reg [{bits - 1}:0] {module}_rows [0:{rows - 1}], {module}_row;",
        *(f"wire [{form.bits - 1}:0] {module}_found{k};" for k, (_, form) in enumerate(found)),
        f"{module} {module}_tested({', '.join(pins)});",
    ]


def _task(module: str, datapath: Datapath) -> list[str]:
    """Return the task that runs the rows read last through a module."""
    places = {name: (high, low) for name, high, low in _places(datapath)}
    top = _row_bits(datapath) - 4
    numbers = {name: k for k, name in enumerate(expected_of(datapath))}

    def compared(names: Mapping[str, object]) -> list[str]:
        return [_comparison(module, name, numbers[name], *places[name]) for name in names]

    clock = _RESET_FIRST.format(module=module, top=top).splitlines() if datapath.registers else []
    edge = ["      CLOCK = 1;", "      #1;"] if datapath.registers else []
    return [
        f"task {module}_check(input [8*41-1:0] layer, input integer count);",
        "  begin",
        "    for (ROW = 0; ROW < count; ROW = ROW + 1) begin",
        f"      {module}_row = {module}_rows[ROW];",
        "      VECTORS = VECTORS + 1;",
        f"      if (^{module}_row === 1'bx) begin",
        "        fail;",
        f'        if (ERRORS < SHOWN) $display("FAIL %0s, {module}, row %0d: it is missing", layer, ROW + 1);',
        "      end",
        *clock,
        "      #1;",
        *compared(datapath.outputs),
        *edge,
        *compared(datapath.registers),
        *(["      CLOCK = 0;"] if edge else []),
        "    end",
        "  end",
        "endtask",
    ]


_RESET_FIRST = f"""      if ({{module}}_row[{{top}}]) begin
        {RESET} = 1;
        #1 CLOCK = 1;
        #1 CLOCK = 0;
        {RESET} = 0;
      end"""


def _comparison(module: str, port: str, number: int, high: int, low: int) -> str:
    row, found = f"{module}_row[{high}:{low}]", f"{module}_found{number}"
    told = f"FAIL %0s, {module}, row %0d: {port} is %h, expected %h"
    return (
        f"      if ({found} !== {row}) begin\n        fail;\n"
        f'        if (ERRORS < SHOWN) $display("{told}", layer, ROW + 1, {found}, {row});\n      end'
    )
