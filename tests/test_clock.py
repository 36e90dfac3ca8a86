"""Circuits that are slower than the clock are told of: in a pipelined design, and on an array whose times assume them."""

import math
from dataclasses import replace

import pytest

from hwsim.cost.hardware import Hardware, Part, one_part
from hwsim.datapath.mac import Mac
from hwsim.explore.clock import slow_elements, slow_text, slowest_element
from hwsim.explore.evaluation import ArrayResult
from hwsim.formats import Int
from test_report import LAYERS, evaluation, facts, written


def design(index, *paths, array=None):
    """A made-up design whose first layer has multiply-accumulates of some critical paths, at 500 MHz."""
    point = evaluation(index, LAYERS)
    parts = tuple(
        Part("mac", f"Mac{path:g}", 1, 100.0, 8, 80.0, path, True, math.ceil(path / 2000)) for path in paths
    )
    layers = (replace(point.layers[0], parts=parts), *point.layers[1:])
    others = tuple(
        replace(layer, parts=tuple(replace(p, cycles=1) for p in layer.parts)) for layer in layers[1:]
    )
    return replace(point, layers=(layers[0], *others), array=array)


def test_a_part_s_fastest_clock_is_that_of_its_critical_path():
    mac = Mac(Int(4), Int(8, signed=False), Int(16))
    for clock in (1336, 1337, 3000):
        part = one_part("mac", mac, Hardware(clock_mhz=clock, images_per_second=1e4))
        assert part.fastest_mhz == pytest.approx(1e6 / 748.1)
        assert part.cycles == math.ceil(clock / part.fastest_mhz)
    assert one_part("mac", mac, Hardware(technology="gates")).fastest_mhz == math.inf


def test_an_array_is_as_fast_as_its_slowest_element():
    assert slowest_element(design(0, 1900.0, 2000.0)) is None
    assert slowest_element(design(0, 2500.0, 1000.0)).circuit == "Mac2500"
    fast = ArrayResult(500.0, (64,), (Part("array", "Element", 4, 100.0, 8, 80.0, 1500.0, True),))
    assert slowest_element(design(0, 2500.0, array=fast)) is None


def test_designs_with_slow_circuits_are_counted_with_what_they_allow():
    listed = [design(0, 1000.0), design(1, 2500.0), design(2, 4000.0)]
    assert slow_elements(listed) == {listed[1].point.key(): 400.0, listed[2].point.key(): 250.0}
    assert slow_text(listed[:1], 500.0, array=True) == slow_text(listed[:1], 500.0, array=False) == ""
    said = slow_text(listed, 500.0, array=True)
    assert "500 MHz is too fast for the array's elements in 2 of 3 designs" in said
    assert f"{listed[2].point.key()} allows 250 MHz" in said
    said = slow_text(listed, 500.0, array=False)
    assert "circuits of 2 of 3 designs are slower than 500 MHz" in said and "Mac4000 allows 250 MHz" in said


@pytest.mark.parametrize("path", [1900.0, 2500.0])
def test_the_page_marks_an_array_whose_elements_the_clock_is_too_fast_for(tmp_path, path):
    point = design(0, path, array=ArrayResult(500.0, (64,)))
    text = " ".join("".join(written(tmp_path, [point], facts([point])).text).split())
    said = f"Slower than the clock: an element of the array, Mac{path:g}, allows {1e6 / path:.0f} MHz"
    assert (said in text) == (path > 2000)
