"""The files a user copies to begin run as they stand."""

import subprocess
import sys
from pathlib import Path

import pytest

from hwsim.bits import LayerBits
from hwsim.datapath import load, parts
from hwsim.formats import Int, Overflow, Rounding
from hwsim.layers import Layer, Linear
from hwsim.network import IntegerLayer
from hwsim.simulate.check import check_datapath

DESIGNS = sorted((Path(__file__).parent.parent / "designs").glob("*.py"))


@pytest.mark.parametrize("path", DESIGNS, ids=lambda path: path.stem)
def test_a_design_checks_itself_and_prints_its_cost(path, tmp_path):
    done = subprocess.run(
        [sys.executable, path], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "circuit == arithmetic at" in done.stdout
    assert "NAND2 equivalents" in done.stdout


@pytest.mark.parametrize("path", DESIGNS, ids=lambda path: path.stem)
def test_a_design_has_at_most_80_lines(path):
    assert len(path.read_text().splitlines()) <= 80


@pytest.mark.parametrize("path", [path for path in DESIGNS if path.stem != "booth_mac"], ids=lambda p: p.stem)
def test_a_design_is_a_datapath_with_its_parameters(path):
    (checked,) = check_datapath(f"{path}:DESIGN")
    assert checked.counterexample is None


def test_a_design_of_ones_own_stands_in_for_the_multiply_accumulate_of_a_layer():
    booth = next(f"{path}:BoothMac" for path in DESIGNS if path.stem == "booth_mac")
    assert all(checked.counterexample is None for checked in check_datapath(booth, samples=1 << 10))
    bits = LayerBits.parse("w5a7/int20/saturate", signed=True)
    item = IntegerLayer(Layer("layer", Linear(2), ("x",), ((3, 1, 1),)), Int(8), 1.0, bits)
    mac = parts(item, {"x": bits.activation}, Rounding.HALF_UP, booth)["mac"]
    assert type(mac).__name__ == "BoothMac"
    assert (mac.weight, mac.activation) == (Int(5), Int(7))
    assert (mac.accumulator, mac.overflow) == (Int(20), Overflow.SATURATE)
    with pytest.raises(TypeError):
        load(booth)(Int(8))
