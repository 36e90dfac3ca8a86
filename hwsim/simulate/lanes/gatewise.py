"""The loop over cycles and lanes on gates: a program without memories, 512 lanes a vector.

In every cycle inputs become bit planes and outputs integers again, without leaving the first cache. Outputs that
are kept of all cycles then go past all caches: lines that are only written need not be fetched.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence

from hwsim.simulate.lanes.analysis import containers, storage_bits
from hwsim.simulate.lanes.bits import blasted
from hwsim.simulate.lanes.form import WORD, Form, Node
from hwsim.simulate.lanes.machine import compile_kernel, module_text
from hwsim.simulate.lanes.planes import LANES, Exchange
from hwsim.simulate.lanes.sliced import VECTOR, Gates
from hwsim.simulate.lanes.wordwise import PARAMETERS, Loop, Place, Program, compile_loop

_GATES = 20_000
"""More gates than this are not compiled in one piece."""


def gates_pay(program: Program, lanes: int) -> bool:
    """Return whether a program likely runs faster on gates: by the bits that one lane moves through registers.

    A gate costs a bit a lane, an operation on words a machine integer; a single bit in words lies in a mask
    register, of which eight make a vector.
    """
    form = program.form
    if lanes < LANES // 2 or program.writes or program.holds or any(n.op == "read" for n in form.nodes):
        return False
    wordy = sum(max(8, bits) for node, bits in zip(form.nodes, containers(form), strict=True) if node.args)
    gates = sum(_gate_count(form, node) for node in form.nodes)
    moved = [*program.streams.values(), *program.state.values()]
    gates += sum(form.width(root) for root in moved) + sum(n.width for n in form.nodes if n.op == "input")
    return gates < min(wordy, _GATES)


def _gate_count(form: Form, node: Node) -> int:
    widths = [form.width(arg) for arg in node.args]
    match node.op:
        case "and" | "or" | "xor" | "invert":
            return node.width
        case "select":
            return 3 * node.width
        case "add" | "sub" | "saturate":
            return 5 * node.width
        case "mul":
            return 6 * node.width * node.width
        case "equal" | "less" | "signed_less":
            return 5 * widths[0]
    return 0


def compile_program(program: Program, lanes: int) -> Loop:
    """Compile a program for words or for gates, whichever suits it."""
    program = program.narrowed()
    return compile_gate_loop(program) if gates_pay(program, lanes) else compile_loop(program, lanes)


def compile_gate_loop(program: Program) -> Loop:
    """Compile a narrowed program on bit planes."""
    writer = _Writer(program)
    lines = writer.lines()
    text = module_text("run", PARAMETERS, lines, sorted(writer.code.intrinsics))
    return Loop(compile_kernel(text, "run", len(PARAMETERS), 2), tuple(writer.order), LANES)


class _Writer:
    """The code of a loop; registers are planes on the stack while a group of lanes runs its cycles."""

    def __init__(self, program: Program) -> None:
        width = program.form.width
        roots = {**program.streams, **program.state}
        self.form, place = blasted(program.form, roots.values())
        self.results = {p: place[root] for p, root in roots.items()}
        self.inputs = {_place(node): node.width for node in program.form.nodes if node.op == "input"}
        sizes = {_place(node): node.width for node in program.form.nodes if node.op == "register"}
        self.state = {p: width(root) for p, root in program.state.items()} | sizes
        self.streams = {
            p: max(program.stream_bits, storage_bits(width(r))) for p, r in program.streams.items()
        }
        self.order = {p: k for k, p in enumerate([*self.inputs, *self.state, *self.streams])}
        self.code, self.gates = Exchange(), Gates(self.form, self._source)
        self.planes: dict[Place, list[str]] = {}

    def lines(self) -> list[str]:
        begin, body, end = self._begin(), self._body(), self._end()
        return [
            "entry:",
            *(
                line
                for k in self.order.values()
                for line in (
                    f"  %e{k} = getelementptr ptr, ptr %table, i64 {k}",
                    f"  %p{k} = load ptr, ptr %e{k}",
                )
            ),
            *(f"  %s{self.order[p]} = alloca {VECTOR}, i64 {w}, align 64" for p, w in self.state.items()),
            "  br label %next_group",
            "next_group:",
            "  %group = phi i64 [0, %entry], [%group_after, %end_group]",
            *begin,
            "  br label %body",
            "body:",
            "  %cycle = phi i64 [0, %next_group], [%cycle_after, %body]",
            "  %row = mul i64 %cycle, %lanes",
            "  %at = add i64 %row, %group",
            *body,
            "  %cycle_after = add i64 %cycle, 1",
            "  %again = icmp ult i64 %cycle_after, %cycles",
            "  br i1 %again, label %body, label %end_group",
            "end_group:",
            *end,
            f"  %group_after = add i64 %group, {LANES}",
            "  %more = icmp ult i64 %group_after, %lanes",
            "  br i1 %more, label %next_group, label %end",
            "end:",
            "  fence seq_cst",
            "  ret void",
        ]

    def _begin(self) -> list[str]:
        """Turn the registers into planes."""
        for place, width in self.state.items():
            planes = self.code.planes(f"%p{self.order[place]}", "%group", storage_bits(width), width)
            self._keep(place, planes)
        return self.code.taken()

    def _body(self) -> list[str]:
        for place, width in self.inputs.items():
            pointer = f"%p{self.order[place]}"
            self.planes[place] = self.code.planes(pointer, "%at", storage_bits(width), width)
        taken = self.code.taken()
        self.gates.translate([bit for bits in self.results.values() for bit in bits])
        results = {p: [self.gates.names[bit] for bit in bits] for p, bits in self.results.items()}
        for place, bits in self.streams.items():
            pointer = f"%p{self.order[place]}"
            kept = place.role == "stream"  # of all cycles, in aligned rows; what else is here is read at once
            self.code.store_integers(results[place], pointer, "%at", bits, past_caches=kept)
        streams = self.code.taken()
        for place in self.state:
            self._keep(place, results.get(place, []))
        return taken + _riffled(self.gates.lines, streams) + self.code.taken()

    def _end(self) -> list[str]:
        """Turn the registers into integers again."""
        for place, width in self.state.items():
            k = self.order[place]
            planes = [self.code.load(VECTOR, VECTOR, f"%s{k}", str(bit)) for bit in range(width)]
            self.code.store_integers(planes, f"%p{k}", "%group", storage_bits(width))
        return self.code.taken()

    def _keep(self, place: Place, planes: Sequence[str]) -> None:
        for bit, plane in enumerate(planes):
            self.code.store(VECTOR, plane, VECTOR, f"%s{self.order[place]}", str(bit))

    def _source(self, node: Node) -> str:
        part, bit = divmod(int(node.param[1]), WORD)
        place = Place(node.op, str(node.param[0]), part)
        if node.op == "input":
            return self.planes[place][bit]
        address = self.gates.put(f"getelementptr {VECTOR}, ptr %s{self.order[place]}, i64 {bit}")
        return self.gates.put(f"load {VECTOR}, ptr {address}, align 8")


def _riffled(lines: Sequence[str], others: Sequence[str]) -> list[str]:
    """Return two pieces of code in one, the second's lines as early as they may be: gates alone wait for each other."""
    merged: list[str] = []
    made = {line.split()[0] for line in lines}
    ready: set[str] = set()
    waiting = deque(others)
    for done, line in enumerate(lines, 1):
        merged.append(line)
        ready.add(line.split()[0])
        due = len(others) * done // len(lines)
        while len(others) - len(waiting) < due and not (made & set(_NAMES.findall(waiting[0])) - ready):
            merged.append(waiting.popleft())
    return [*merged, *waiting]


_NAMES = re.compile(r"%\w+")


def _place(node: Node) -> Place:
    return Place(node.op, str(node.param[0]), int(node.param[1]))
