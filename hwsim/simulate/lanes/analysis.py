"""What a form's values need: their demanded bits, and the machine integers they are computed in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hwsim.simulate.lanes.form import SOURCES, Form, Node

MACHINE = (1, 8, 16, 32, 64)
"""Widths of machine integers. Vectors of other widths abort LLVM on some shapes."""

_BITWISE = frozenset({"invert", "and", "or", "xor", "add", "sub", "mul"})
"""Operations whose low d bits depend on the low d bits of their arguments only."""


def machine_bits(width: int) -> int:
    """Return the narrowest machine integer that holds a width.

    >>> [machine_bits(width) for width in (1, 2, 9, 33)]
    [1, 8, 16, 64]
    """
    return next(bits for bits in MACHINE if bits >= width)


def storage_bits(width: int) -> int:
    """Return the machine integer of a width in memory: there is none of one bit."""
    return max(8, machine_bits(width))


def needed(node: Node, demand: int, form: Form) -> list[int]:
    """Return how many low bits of each argument the low ``demand`` bits of a node depend on at most."""
    widths = [form.width(arg) for arg in node.args]
    match node.op:
        case "select":
            return [1, demand, demand]
        case "zext" | "sext":
            return [min(demand, widths[0])]
        case "slice":
            return [int(node.param[0]) + demand]
        case "concat":
            ends = [sum(widths[:k]) for k in range(len(widths))]
            return [max(0, min(width, demand - end)) for width, end in zip(widths, ends, strict=True)]
        case op if op in _BITWISE:
            return [demand] * len(widths)
    return widths


def narrowed(form: Form, roots: Iterable[int]) -> tuple[Form, dict[int, int]]:
    """Return a form of the roots alone, no node wider than its readers demand, and where each root is in it.

    A node's demand is the largest of its readers', walked from the roots backwards; the roots keep their
    width. What a node of fewer bits computes is its old value's low bits: :func:`needed` names operations
    for which that holds, and keeps the arguments of all others whole.
    """
    roots = list(roots)
    demand = [0] * len(form.nodes)
    for root in roots:
        demand[root] = form.width(root)
    for number in range(len(form.nodes) - 1, -1, -1):
        if demand[number]:
            node = form.nodes[number]
            for arg, bits in zip(node.args, needed(node, demand[number], form), strict=True):
                demand[arg] = max(demand[arg], bits)
    return _rebuilt(form, roots, demand)


def _rebuilt(form: Form, roots: Sequence[int], demand: Sequence[int]) -> tuple[Form, dict[int, int]]:
    result = Form()
    place: dict[int, int] = {}
    for number, node in enumerate(form.nodes):
        bits = demand[number]
        if not bits:
            continue
        if node.op in SOURCES or node.op == "read":
            whole = result.import_node(node, [place[arg] for arg in node.args])
            place[number] = result.slice(whole, 0, bits)
            continue
        parts = zip(node.args, needed(node, bits, form), strict=True)
        args = [result.slice(place[arg], 0, size) for arg, size in parts if size]
        place[number] = result.import_node(node._replace(width=bits), args)
    return result, {root: place[root] for root in roots}


def containers(form: Form) -> list[int]:
    """Return the machine integer each node is computed in.

    It is the narrowest that holds the node, or a wider one where every reader computes in a wider one: then
    the node is made there at once and needs no conversion. Any container at least as wide as the node is right,
    this is a matter of speed.
    """
    chosen = [machine_bits(node.width) for node in form.nodes]
    wanted: list[set[int]] = [set() for _ in form.nodes]
    for number in range(len(form.nodes) - 1, -1, -1):
        node = form.nodes[number]
        if node.width > 1 and wanted[number] and min(wanted[number]) > chosen[number]:
            chosen[number] = min(wanted[number])
        carries = node.op in _BITWISE or node.op in ("select", "zext", "sext", "saturate")
        for arg in node.args:
            own = machine_bits(form.width(arg))
            wanted[arg].add(max(own, chosen[number]) if carries else own)
    return chosen
