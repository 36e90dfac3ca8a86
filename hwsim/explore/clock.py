"""Circuits that are slower than a study's clock: which designs have them, and what that means there.

In the layer-pipelined design such a circuit takes several cycles an operation, and there are more copies of it. An array's cycles
are those of elements that take a product a cycle, so that its times do not hold at a clock that its elements do not allow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hwsim.cost.hardware import Part
from hwsim.explore.evaluation import Evaluation


def slowest_element(evaluation: Evaluation) -> Part | None:
    """Return the slowest of an array's elements where it needs more than a cycle of the clock for a product.

    The layers' multiply-accumulates stand for elements that the study did not ask for.
    """
    elements = evaluation.array.elements if evaluation.array else ()
    return _slowest(elements or [part for _, part in evaluation.parts if part.part == "mac"])


def slow_elements(evaluations: Sequence[Evaluation]) -> dict[str, float]:
    """Return the clock in MHz that their arrays' elements allow of those designs that the study's is too fast for, by key."""
    found = {e.point.key(): slowest_element(e) for e in evaluations}
    return {key: part.fastest_mhz for key, part in found.items() if part}


def slow_text(evaluations: Sequence[Evaluation], clock_mhz: float, *, array: bool) -> str:
    """Return a sentence on the designs with circuits, or elements of an array, slower than the clock; "" where none has any."""
    if array:
        return _arrays_text(slow_elements(evaluations), len(evaluations), clock_mhz)
    slow = [part for e in evaluations if (part := _slowest([part for _, part in e.parts]))]
    if not slow:
        return ""
    worst = min(slow, key=lambda part: part.fastest_mhz)
    return (
        f"circuits of {len(slow)} of {len(evaluations)} designs are slower than {clock_mhz:g} MHz, so that an operation takes "
        f"several cycles and there are more copies; {worst.circuit} allows {worst.fastest_mhz:.4g} MHz"
    )


def _arrays_text(slow: Mapping[str, float], designs: int, clock_mhz: float) -> str:
    if not slow:
        return ""
    worst = min(slow, key=lambda key: slow[key])
    return (
        f"{clock_mhz:g} MHz is too fast for the array's elements in {len(slow)} of {designs} designs, whose cycles and times are "
        f"those of a product a cycle; {worst} allows {slow[worst]:.4g} MHz"
    )


def _slowest(parts: Sequence[Part]) -> Part | None:
    return min((part for part in parts if part.cycles > 1), key=lambda part: part.fastest_mhz, default=None)
