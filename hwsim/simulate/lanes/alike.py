"""Proof that two forms of single bits are equal, of which large parts are one: by decision diagrams over what they share.

A gate that both read is a variable, whatever it computes: two forms that are equal for all values of their variables are
equal. Gates of which one depends on another in a few steps are no good variables, since a difference would show in
cases that never occur; they are taken apart, down to gates that have no other variable right below them. What is left
of two multiply-accumulates are their adders, whose diagrams are small in the order of their bits (R. E. Bryant, "Graph-based
algorithms for Boolean function manipulation", IEEE Transactions on Computers, 1986).
"""

from __future__ import annotations

from collections.abc import Sequence

from hwsim.simulate.lanes.bits import reached
from hwsim.simulate.lanes.form import Form

LIMIT = 300_000
"""Nodes of diagrams after which there is no proof."""


_FREE = ("input", "register")


class _TooLargeError(Exception):
    pass


class Diagrams:
    """Reduced ordered binary decision diagrams: node 0 is false, node 1 true, any other (variable, if 0, if 1)."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._nodes = [(1 << 30, 0, 0), (1 << 30, 1, 1)]
        self._unique: dict[tuple[int, int, int], int] = {}
        self._chosen: dict[tuple[int, int, int], int] = {}

    def variable(self, number: int) -> int:
        """Return the diagram of a variable; lower numbers are nearer to the root."""
        return self._node(number, 0, 1)

    def _node(self, variable: int, zero: int, one: int) -> int:
        if zero == one:
            return zero
        key = (variable, zero, one)
        if key not in self._unique:
            if len(self._nodes) >= self._limit:
                raise _TooLargeError
            self._unique[key] = len(self._nodes)
            self._nodes.append(key)
        return self._unique[key]

    def choose(self, condition: int, one: int, zero: int) -> int:
        """Return ``one`` where the condition is true, else ``zero``."""
        if condition < 2:
            return one if condition else zero
        if one == zero or (one, zero) == (1, 0):
            return one if one == zero else condition
        key = (condition, one, zero)
        if key not in self._chosen:
            top = min(self._nodes[part][0] for part in key)
            low, high = (self.choose(*(self._half(part, top, side) for part in key)) for side in (1, 2))
            self._chosen[key] = self._node(top, low, high)
        return self._chosen[key]

    def _half(self, diagram: int, variable: int, side: int) -> int:
        node = self._nodes[diagram]
        return node[side] if node[0] == variable else diagram

    def gate(self, op: str, args: Sequence[int]) -> int:
        """Return the diagram of a gate of a form."""
        match op:
            case "invert":
                return self.choose(args[0], 0, 1)
            case "and":
                return self.choose(args[0], args[1], 0)
            case "or":
                return self.choose(args[0], 1, args[1])
            case "xor":
                return self.choose(args[0], self.choose(args[1], 0, 1), args[1])
        assert op == "select", op
        return self.choose(args[0], args[1], args[2])


def alike(form: Form, left: Sequence[int], right: Sequence[int], limit: int = LIMIT) -> bool:
    """Return whether bits of a form are proved to be equal, one by one, for every value of its inputs and registers.

    False says nothing: the two may be equal all the same. Variables farthest from the bits of ``right`` come first: of an
    adder those are the lowest bits, whose carries go through all others.
    """
    shared = set(reached(form, left)) & set(reached(form, right))
    diagrams, cut = Diagrams(limit), _cut(form, left, right, shared)
    try:
        found = {gate: diagrams.variable(k) for k, gate in enumerate(_farthest_first(form, right, cut))}
        return all(
            _diagram(form, b, diagrams, found) == _diagram(form, a, diagrams, found)
            for a, b in zip(left, right, strict=True)
        )
    except _TooLargeError:
        return False


def _cut(form: Form, left: Sequence[int], right: Sequence[int], shared: set[int]) -> set[int]:
    """Return the shared gates that are variables: no one right below it is another, or was taken apart."""
    inside = {*reached(form, left), *reached(form, right)} - shared
    while True:
        read = {arg for gate in inside for arg in _args(form, gate)} | {*left, *right}
        cut = {_stripped(form, gate) for gate in read} - inside
        cut = {gate for gate in cut if form.nodes[gate].op != "constant"}
        apart = {gate for gate in cut if _args(form, gate) & (cut | inside)}
        if not apart:
            return {gate for gate in cut | inside if gate in cut or form.nodes[gate].op in _FREE}
        inside |= apart


def _args(form: Form, gate: int) -> set[int]:
    return {_stripped(form, arg) for arg in form.nodes[gate].args}


def _stripped(form: Form, gate: int) -> int:
    """Return the gate behind an inverter."""
    node = form.nodes[gate]
    return node.args[0] if node.op == "invert" else gate


def _farthest_first(form: Form, roots: Sequence[int], cut: set[int]) -> list[int]:
    """Return the gates of a cut by their longest way to a root."""
    away: dict[int, int] = {}
    for gate in reversed(reached(form, roots)):
        if gate not in cut:
            for arg in form.nodes[gate].args:
                away[arg] = max(away.get(arg, 0), away.get(gate, 0) + 1)
    return sorted(cut, key=lambda gate: (-away.get(gate, 0), gate))


def _diagram(form: Form, root: int, diagrams: Diagrams, found: dict[int, int]) -> int:
    """Return the diagram of a gate; ``found`` has those of all variables, and gets those of all gates below it."""
    waiting = [root]
    while waiting:
        gate = waiting[-1]
        node = form.nodes[gate]
        missing = [] if gate in found else [arg for arg in node.args if arg not in found]
        if missing:
            waiting.extend(reversed(missing))
            continue
        waiting.pop()
        if gate not in found:
            constant = node.op == "constant"
            args = [found[arg] for arg in node.args]
            found[gate] = int(node.param[0]) if constant else diagrams.gate(node.op, args)
    return found[root]
