"""Lane-parallel simulation: a netlist compiled so that each of its wires is a vector of independent runs."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "LaneSimulation": "hwsim.simulate.lanes.simulation",
    "Netlist": "hwsim.simulate.lanes.block",
    "Reduction": "hwsim.simulate.lanes.reduction",
    "reduce": "hwsim.simulate.lanes.reduction",
    "run_channels": "hwsim.simulate.lanes.evaluation",
    "run_lanes": "hwsim.simulate.lanes.evaluation",
    "toggles": "hwsim.simulate.lanes.simulation",
}

__all__ = ["LaneSimulation", "Netlist", "Reduction", "reduce", "run_channels", "run_lanes", "toggles"]


def __getattr__(name: str) -> Any:
    """Import LLVM when it is first used."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'hwsim.simulate.lanes' has no attribute {name!r}")
