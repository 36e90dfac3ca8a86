"""hwsim: cost and accuracy of quantized neural networks, from the circuits themselves."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwsim.errors import HwsimError
    from hwsim.models import load_model
    from hwsim.models.module import from_module
    from hwsim.network import Preprocessing, load, save
    from hwsim.results import redraw_report
    from hwsim.simulate.check import check
    from hwsim.steps import (
        certify_network,
        compress_network,
        cost_datapath,
        decompress_network,
        explore_study,
        fine_tune_model,
        make_datapath,
        memory_traffic,
        quantize_model,
        simulate_network,
    )
    from hwsim.study import read_study

__version__ = "0.1.0"

_HOMES = {
    "HwsimError": "hwsim.errors",
    "load_model": "hwsim.models",
    "from_module": "hwsim.models.module",
    "Preprocessing": "hwsim.network",
    "quantize_model": "hwsim.steps",
    "fine_tune_model": "hwsim.steps",
    "save": "hwsim.network",
    "load": "hwsim.network",
    "simulate_network": "hwsim.steps",
    "certify_network": "hwsim.steps",
    "make_datapath": "hwsim.steps",
    "check": "hwsim.simulate.check",
    "cost_datapath": "hwsim.steps",
    "memory_traffic": "hwsim.steps",
    "compress_network": "hwsim.steps",
    "decompress_network": "hwsim.steps",
    "read_study": "hwsim.study",
    "explore_study": "hwsim.steps",
    "redraw_report": "hwsim.results",
}

__all__ = [
    "HwsimError",
    "Preprocessing",
    "certify_network",
    "check",
    "compress_network",
    "cost_datapath",
    "decompress_network",
    "explore_study",
    "fine_tune_model",
    "from_module",
    "load",
    "load_model",
    "make_datapath",
    "memory_traffic",
    "quantize_model",
    "read_study",
    "redraw_report",
    "save",
    "simulate_network",
]


def __getattr__(name: str) -> Any:
    """Import a stage when it is first used, so that ``import hwsim`` needs neither torch nor pyrtl."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'hwsim' has no attribute {name!r}")
