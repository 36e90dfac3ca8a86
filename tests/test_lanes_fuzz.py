"""The lane-parallel simulation against PyRTL's own, on random blocks over the whole netlist alphabet."""

from dataclasses import replace

import numpy as np
import pyrtl
import pytest
from hypothesis import HealthCheck, currently_in_test_context, given, note, settings

from blocks import Recipe, array, build, recipes, reference
from hwsim.simulate import LaneSimulation

SEARCHED = {"deadline": None, "suppress_health_check": list(HealthCheck), "print_blob": True}


def agree(recipe, synthesized=False):
    """Hold every output of every lane in every cycle against PyRTL's Simulation; the run is broken in two."""
    design = build(recipe)
    if synthesized:
        gates = pyrtl.synthesize(update_working_block=False, block=design.block)
        design = replace(design, block=gates, registers={}, memories={})
    if currently_in_test_context():
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


def test_lanes_equal_pyrtl_on_a_chain_that_the_long_run_found():
    agree(
        Recipe(
            inputs=(64,),
            registers=((1, False), (1, False)),
            memories=(),
            steps=(
                ("saturate", 0, 0, 0, 0, 0),
                ("saturating sum", 0, 0, 0, 0, 0),
                ("saturate", 0, 0, 0, 0, 0),
                ("n", 1, 0, 0, 0, 0),
                ("w", 0, 0, 0, 0, 0),
                ("barrel", 0, 0, 0, 0, 0),
                ("extend", 0, 2, 0, 0, 19),
                ("saturating sum", 0, 0, 0, 0, 0),
                ("w", 0, 0, 0, 0, 0),
                ("w", 0, 0, 0, 0, 0),
                (">", 0, 0, 204, 0, 0),
                ("barrel", 0, 0, 0, 0, 0),
                ("slice", 0, 0, 0, 0, 0),
                ("w", 0, 0, 0, 0, 0),
                ("extend", 0, 0, 0, 0, 0),
                ("extend", 0, 0, 0, 0, 0),
                ("signed product", 0, 237, 936, 0, 0),
                ("w", 0, 0, 0, 0, 0),
                ("w", 0, 0, 0, 0, 0),
                ("w", 0, 0, 0, 0, 0),
                ("s", 0, 0, 0, 0, 0),
                ("^", 47, 4, 2, 3, 22),
                ("extend", 63, 856, 327, 3, 0),
                ("w", 63, 3, 220, 1, 4),
                ("|", 110, 3, 1, 972, 11),
                ("|", 86, 253, 512, 549, 25),
                ("signed product", 0, 4, 0, 4, 2),
                ("w", 129, 0, 929, 55, 17),
                ("barrel", 0, 0, 1, 56, 0),
                ("+", 0, 4, 4, 199, 22),
                ("shift", 130, 706, 1, 61, 25),
                ("-", 48, 831, 0, 165, 5),
                ("saturating sum", 47, 4, 237, 1, 3),
                ("shift", 0, 3, 3, 2, 19),
                ("c", 65, 0, 2, 3, 0),
                ("|", 1, 650, 1, 4, 0),
                ("|", 126, 0, 4, 3, 24),
                ("x", 44, 138, 61, 3, 11),
                ("x", 31, 3, 394, 4, 10),
                ("c", 53, 18, 4, 378, 0),
                ("saturate", 0, 166, 998, 769, 0),
                ("signed less", 130, 1, 3, 115, 12),
                ("saturate", 129, 1, 3, 4, 0),
                ("signed less", 0, 2, 2, 3, 0),
                ("c", 9, 138, 2, 0, 21),
                ("|", 96, 2, 0, 3, 24),
                ("+", 68, 203, 294, 2, 0),
                ("signed less", 0, 298, 192, 0, 25),
                ("constant", 128, 4, 203, 229, 3),
                ("|", 0, 2, 1, 527, 0),
                ("*", 17, 2, 2, 447, 0),
                ("+", 127, 919, 518, 1, 0),
                ("-", 0, 0, 3, 1, 7),
                ("c", 13, 2, 475, 250, 12),
                ("*", 79, 4, 554, 261, 0),
                ("=", 53, 4, 4, 151, 0),
                ("extend", 43, 1, 214, 1, 0),
                ("constant", 0, 176, 3, 265, 23),
                ("s", 0, 639, 4, 2, 0),
                (">", 114, 4, 473, 676, 8),
                ("c", 57, 3, 4, 2, 0),
                ("w", 0, 3, 448, 666, 0),
                ("=", 16, 766, 3, 1, 29),
            ),
            every_wire=True,
            cycles=5,
            different=1,
            lanes=7,
            default=0,
            seed=12917,
        )
    )
