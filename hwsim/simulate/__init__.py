"""The circuits run: cycle by cycle in PyRTL, held against the exact arithmetic, over whole networks."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwsim.simulate.lanes.simulation import LaneSimulation

__all__ = ["LaneSimulation"]


def __getattr__(name: str) -> Any:
    """Import the compiled simulation when it is first used: it needs LLVM."""
    if name == "LaneSimulation":
        return getattr(import_module("hwsim.simulate.lanes.simulation"), name)
    raise AttributeError(f"module 'hwsim.simulate' has no attribute {name!r}")
