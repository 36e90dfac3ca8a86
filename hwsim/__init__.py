"""hwsim: cost and accuracy of quantized neural networks, from the circuits themselves."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwsim.cost.characterise import characterise
    from hwsim.errors import HwsimError
    from hwsim.explore.study import read_study
    from hwsim.models import load_model
    from hwsim.models.module import from_module
    from hwsim.network import Preprocessing, load, save
    from hwsim.results import compare_reports, redraw_report
    from hwsim.simulate.check import check
    from hwsim.steps.certify import certify_network
    from hwsim.steps.compress import compress_network, decompress_network
    from hwsim.steps.cost import cost_datapath, estimate_datapath, make_datapath
    from hwsim.steps.energy import network_energy
    from hwsim.steps.explore import explore_study
    from hwsim.steps.export import export_design
    from hwsim.steps.fine_tune import fine_tune_model
    from hwsim.steps.quantize import quantize_model
    from hwsim.steps.sensitivity import measure_sensitivity
    from hwsim.steps.simulate import simulate_network
    from hwsim.steps.traffic import memory_traffic

__version__ = "0.1.0"

_HOMES = {
    "HwsimError": "hwsim.errors",
    "load_model": "hwsim.models",
    "from_module": "hwsim.models.module",
    "Preprocessing": "hwsim.network",
    "quantize_model": "hwsim.steps.quantize",
    "fine_tune_model": "hwsim.steps.fine_tune",
    "save": "hwsim.network",
    "load": "hwsim.network",
    "simulate_network": "hwsim.steps.simulate",
    "certify_network": "hwsim.steps.certify",
    "make_datapath": "hwsim.steps.cost",
    "check": "hwsim.simulate.check",
    "cost_datapath": "hwsim.steps.cost",
    "estimate_datapath": "hwsim.steps.cost",
    "characterise": "hwsim.cost.characterise",
    "memory_traffic": "hwsim.steps.traffic",
    "network_energy": "hwsim.steps.energy",
    "compress_network": "hwsim.steps.compress",
    "decompress_network": "hwsim.steps.compress",
    "read_study": "hwsim.explore.study",
    "measure_sensitivity": "hwsim.steps.sensitivity",
    "explore_study": "hwsim.steps.explore",
    "export_design": "hwsim.steps.export",
    "compare_reports": "hwsim.results",
    "redraw_report": "hwsim.results",
}

__all__ = [
    "HwsimError",
    "Preprocessing",
    "certify_network",
    "characterise",
    "check",
    "compare_reports",
    "compress_network",
    "cost_datapath",
    "decompress_network",
    "estimate_datapath",
    "explore_study",
    "export_design",
    "fine_tune_model",
    "from_module",
    "load",
    "load_model",
    "make_datapath",
    "measure_sensitivity",
    "memory_traffic",
    "network_energy",
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
