"""The lane-parallel simulation against PyRTL's own, on random blocks over the whole netlist alphabet."""

from dataclasses import replace

import numpy as np
import pyrtl
import pytest
from hypothesis import HealthCheck, given, note, settings

from blocks import array, build, recipes, reference
from hwsim.simulate import LaneSimulation

SEARCHED = {"deadline": None, "suppress_health_check": list(HealthCheck), "print_blob": True}


def agree(recipe, synthesized=False):
    """Hold every output of every lane in every cycle against PyRTL's Simulation; the run is broken in two."""
    design = build(recipe)
    if synthesized:
        gates = pyrtl.synthesize(update_working_block=False, block=design.block)
        design = replace(design, block=gates, registers={}, memories={})
    note(f"{design.block}\n{design}")
    expected = reference(design)
    lane = np.arange(recipe.lanes) % design.lanes
    simulation = LaneSimulation(
        design.block,
        lanes=recipe.lanes,
        register_value_map={wire: array(x, len(wire))[lane] for wire, x in design.registers.items()},
        memory_value_map={
            memory: {address: array(x, memory.bitwidth)[lane] for address, x in words.items()}
            for memory, words in design.memories.items()
        },
        default_value=design.default,
    )
    inputs = {f"i{k}": array(design.inputs[f"i{k}"], width)[:, lane] for k, width in enumerate(recipe.inputs)}
    middle = recipe.seed % design.cycles
    parts = [slice(0, middle), slice(middle, None)] if middle else [slice(None)]
    halves = [simulation.run({name: rows[part] for name, rows in inputs.items()}) for part in parts]
    assert {*halves[0]} == {*expected}
    for name, values in expected.items():
        lanes = np.concatenate([half[name] for half in halves])
        np.testing.assert_array_equal(lanes, values[:, lane], strict=True, err_msg=name)


def narrowed(recipe, most=11):
    """The same recipe with few bits everywhere, for blocks that become single gates."""
    return replace(
        recipe,
        inputs=tuple(width % most + 1 for width in recipe.inputs),
        registers=tuple((width % most + 1, reset) for width, reset in recipe.registers),
        memories=tuple((kind, width % most + 1, bits) for kind, width, bits in recipe.memories),
        steps=tuple((kind, width % most, *rest) for kind, width, *rest in recipe.steps),
    )


@settings(max_examples=300, **SEARCHED)
@given(recipes(most=40))
def test_lanes_equal_pyrtl_on_random_blocks(recipe):
    agree(recipe)


@settings(max_examples=8, **SEARCHED)
@given(recipes(most=300, least=150))
def test_lanes_equal_pyrtl_on_long_chains(recipe):
    agree(recipe)


@settings(max_examples=40, **SEARCHED)
@given(recipes(most=16).map(narrowed))
def test_lanes_equal_pyrtl_on_synthesized_blocks(recipe):
    agree(recipe, synthesized=True)


@pytest.mark.slow
@settings(max_examples=2500, **SEARCHED)
@given(recipes(most=60))
def test_lanes_equal_pyrtl_on_thousands_of_random_blocks(recipe):
    agree(recipe)


@pytest.mark.slow
@settings(max_examples=150, **SEARCHED)
@given(recipes(most=400, least=150))
def test_lanes_equal_pyrtl_on_many_long_chains(recipe):
    agree(recipe)


@pytest.mark.slow
@settings(max_examples=500, **SEARCHED)
@given(recipes(most=24).map(narrowed))
def test_lanes_equal_pyrtl_on_many_synthesized_blocks(recipe):
    agree(recipe, synthesized=True)
