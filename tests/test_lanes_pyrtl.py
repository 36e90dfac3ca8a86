"""PyRTL's own tests of its simulators, run on the lane-parallel simulation with one lane."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = os.environ.get("PYRTL_TESTS", "")

SUBSTITUTE = """
import pyrtl
from hwsim.simulate import LaneSimulation

class Lane(LaneSimulation):
    def __init__(
        self, tracer=True, register_value_map=None, memory_value_map=None, default_value=0, block=None
    ):
        super().__init__(block, 1, tracer, register_value_map, memory_value_map, default_value)

for module in (pyrtl, pyrtl.simulation, pyrtl.compilesim):
    for name in ("FastSimulation", "CompiledSimulation"):
        if hasattr(module, name):
            setattr(module, name, Lane)
"""

DIFFERENT = {
    "test_rom_out_of_range_error",  # a ROM without a value at some address is refused before the first step
    "test_empty_trace_after_untraceable_removed",  # every wire can be traced
}


@pytest.mark.slow
@pytest.mark.skipif(not TESTS, reason="give the folder tests of PyRTL's source distribution as PYRTL_TESTS")
def test_pyrtls_own_tests_pass_on_a_single_lane(tmp_path):
    shutil.copytree(TESTS, tmp_path / "tests")
    (tmp_path / "tests/conftest.py").write_text(SUBSTITUTE)
    files = [f"tests/test_{name}.py" for name in ("simulation", "compilesim", "memblock", "conditional")]
    command = [sys.executable, "-m", "pytest", "-q", "--deselect", f"{files[2]}::TestDocTests", *files]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "PYRTL_RENDERER": "utf-8-basic"}
    told = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True).stdout
    failed = set(re.findall(r"^(?:FAILED|ERROR) \S*?(\w+)(?: - .*)?$", told, re.MULTILINE))
    passed = int(re.search(r"(\d+) passed", told)[1])
    assert failed <= DIFFERENT and passed > 200, told
