"""Switching activity by event-driven simulation: a mapped netlist as Verilog with inertial delays, run by Icarus."""

import subprocess

import numpy as np

from hwsim.cost.activity import TICK_PS
from hwsim.cost.timing import loads

_VERILOG = {"!": "~"}


def icarus_changes(netlist, technology, streams, registers, folder):
    """Changes of every net over the cycles behind the first pattern, counted by a process on each net."""
    (folder / "bench.v").write_text(_bench(netlist, technology, streams, registers))
    words = list(zip(*(streams[name] for name in netlist.inputs), strict=True))
    widths = [len(nets) for nets in netlist.inputs.values()]
    (folder / "stimuli").write_text("".join(f"{_packed(word, widths):x}\n" for word in words))
    run = {"cwd": folder, "check": True, "capture_output": True, "text": True}
    subprocess.run(["iverilog", "-g2012", "-o", "bench", "bench.v"], **run)
    lines = subprocess.run(["vvp", "-n", "bench"], **run).stdout.split()
    return {int(net): int(count) for net, count in zip(lines[::2], lines[1::2], strict=True)}


def _packed(word, widths):
    result = place = 0
    for code, width in zip(word, widths, strict=True):
        result |= (int(code) & (1 << width) - 1) << place
        place += width
    return result


def _bench(netlist, technology, streams, registers):
    load = loads(netlist, technology, registers)

    def ticks(cell, net):
        return round((cell.delay + cell.resistance * load[net]) / TICK_PS)

    inputs = [net for nets in netlist.inputs.values() for net in nets]
    cells = {cell.output: cell for cell in netlist.instances}
    cycles = len(next(iter(streams.values())))
    lines = ["`timescale 100fs/100fs", "module bench;", "wire n0 = 0, n1 = 1;"]
    lines += [f"reg [{len(inputs) - 1}:0] now, stimuli [0:{cycles - 1}];", "integer cycle;"]
    for place, net in enumerate(inputs):
        delay = ticks(technology.flip_flop, net)
        lines.append(f"wire n{net}; assign #{delay} n{net} = now[{place}];")
    lines += [f"wire n{net};" for net in cells]
    for net, cell in cells.items():
        kind = technology.cell[cell.cell]
        text = kind.function.replace("!", "~")
        for pin in sorted(kind.inputs, reverse=True):
            text = text.replace(pin, f"<{pin.lower()}>")
        for pin, source in cell.pins.items():
            text = text.replace(f"<{pin.lower()}>", f"n{source}")
        lines.append(f"assign #{ticks(kind, net)} n{net} = {text};")
    counted = [*inputs, *cells]
    lines += [f"integer c{net}; always @(n{net}) c{net} = c{net} + 1;" for net in counted]
    clear = " ".join(f"c{net} = 0;" for net in counted)
    show = " ".join(f'$display("{net} %0d", c{net});' for net in counted)
    period = int(np.ceil(1e6 / TICK_PS))
    lines += [
        'initial begin $readmemh("stimuli", stimuli); now = stimuli[0];',
        f"#{period} {clear}",
        f"for (cycle = 1; cycle < {cycles}; cycle = cycle + 1) begin now = stimuli[cycle]; #{period}; end",
        f"{show} $finish; end endmodule",
    ]
    return "\n".join(lines)
