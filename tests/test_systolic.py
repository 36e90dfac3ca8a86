"""Systolic arrays against matrix products, the array model's cycles, and their own elements' cost."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.arithmetic import dot
from hwsim.cost.array import array_cost, composed_cost
from hwsim.cost.memory.hierarchy import Array
from hwsim.cost.memory.operation import Tiling
from hwsim.cost.memory.traffic import count
from hwsim.cost.synthesis import synthesize
from hwsim.datapath import describe, elaborate
from hwsim.datapath.apot_mac import ApotMac
from hwsim.datapath.mac import Mac
from hwsim.datapath.output_stationary_array import OutputStationaryArray
from hwsim.datapath.shift_mac import ShiftMac
from hwsim.datapath.weight_stationary_array import WeightStationaryArray
from hwsim.errors import HwsimError
from hwsim.formats import AdditivePowersOfTwo, Int, Overflow, PowerOfTwo
from hwsim.simulate.check import check
from hwsim.simulate.circuit import run
from hwsim.steps.cost import cost_datapath, make_datapath
from test_memory import operation

WEIGHTS = (Int(4), PowerOfTwo(4), AdditivePowersOfTwo(4))


def some(form, shape, rng):
    return form.decode(rng.integers(0, 1 << form.bits, shape))


def one_behind_the_other(array, folds):
    """Outputs and registers of each fold, all folds run without a reset between them."""
    whole = {name: np.concatenate([fold[name] for fold in folds]) for name in array.inputs}
    seen = run(array, whole)
    ends = list(itertools.accumulate(len(fold[next(iter(fold))]) for fold in folds))
    starts = [0, *ends[:-1]]
    return [{name: values[a:b] for name, values in seen.items()} for a, b in zip(starts, ends, strict=True)]


@settings(deadline=None, max_examples=12)
@given(
    st.sampled_from(WEIGHTS), st.booleans(), st.integers(1, 3), st.integers(1, 3), st.integers(1, 7),
    st.sampled_from(list(Overflow)), st.integers(0, 2**32),
)  # fmt: skip
def test_folds_of_an_output_stationary_array_are_matrix_products(w, signed, rows, columns, k, overflow, seed):
    array = OutputStationaryArray(w, Int(4, signed), Int(9), rows, columns, overflow)
    rng = np.random.default_rng(seed)
    pairs = [(some(array.activation, (rows, k), rng), some(w, (k, columns), rng)) for _ in range(2)]
    folds = [array.streams(a, b) for a, b in pairs]
    for seen, (a, b) in zip(one_behind_the_other(array, folds), pairs, strict=True):
        np.testing.assert_array_equal(array.product(seen), dot(a, b, Int(9), overflow).values)


@settings(deadline=None, max_examples=12)
@given(
    st.sampled_from(WEIGHTS), st.booleans(), st.integers(1, 3), st.integers(1, 3), st.integers(1, 7),
    st.integers(0, 2**32),
)  # fmt: skip
def test_folds_of_a_weight_stationary_array_go_on_with_the_sums_of_the_last(
    w, signed, rows, columns, stream, seed
):
    array = WeightStationaryArray(w, Int(4, signed), Int(9), rows, columns)
    rng = np.random.default_rng(seed)
    first, second = (
        (some(array.activation, (stream, rows), rng), some(w, (rows, columns), rng)) for _ in range(2)
    )
    begun = array.product(run(array, array.streams(*first)))
    np.testing.assert_array_equal(begun, dot(*first, Int(9), Overflow.WRAP).values)
    folds = [array.streams(*first), array.streams(*second, begun)]
    seen = one_behind_the_other(array, folds)[1]
    both = np.concatenate([first[0], second[0]], axis=1), np.concatenate([first[1], second[1]])
    np.testing.assert_array_equal(array.product(seen), dot(*both, Int(9), Overflow.WRAP).values)


def test_a_saturating_array_saturates_in_the_order_of_its_rows():
    array = WeightStationaryArray(Int(4), Int(4), Int(8), 3, 1, Overflow.SATURATE)
    rng = np.random.default_rng(0)
    a, w = rng.choice([-8, 7], (30, 3)), np.array([[7], [7], [-8]])
    begun = rng.integers(-128, 128, (30, 1))
    expected = begun
    for k in range(3):
        expected = np.clip(expected + a[:, k : k + 1] * w[k], -128, 127)
    np.testing.assert_array_equal(array.product(run(array, array.streams(a, w, begun))), expected)
    assert (expected != np.clip(begun + a @ w, -128, 127)).any()


def chunks(count, size):
    return [slice(at, min(at + size, count)) for at in range(0, count, size)]


def filled(values, rows, columns):
    """Values in a larger matrix of zeros."""
    whole = np.zeros((rows, columns), np.int64)
    whole[: values.shape[0], : values.shape[1]] = values
    return whole


LAYER = operation(1, outputs=5, inputs=2, size=(4, 4), kernel=(3, 3))


def matrices():
    """The layer as a matrix product: activations [pixels, products] and weights [products, output channels]."""
    rng = np.random.default_rng(1)
    x, w = some(Int(4), (2, 4, 4), rng), some(Int(4), (5, 2, 3, 3), rng)
    places = list(itertools.product(range(2), range(2)))
    taken = [x[:, r : r + 3, c : c + 3].ravel() for r, c in places]
    return np.array(taken), w.reshape(5, -1).T


@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (3, 2), (1, 4), (4, 3)])
def test_a_layer_takes_the_cycles_of_the_output_stationary_model(rows, columns):
    """The count that tests/array_walk.py holds element by element, here by a circuit that runs fold by fold."""
    array = OutputStationaryArray(Int(4), Int(4), Int(16), rows, columns)
    a, w = matrices()
    places = list(itertools.product(chunks(len(a), rows), chunks(w.shape[1], columns)))
    folds = [
        array.streams(filled(a[deep], rows, len(w)), filled(w[:, wide], len(w), columns))
        for deep, wide in places
    ]
    found = np.zeros((len(a), w.shape[1]), np.int64)
    for (deep, wide), seen in zip(places, one_behind_the_other(array, folds), strict=True):
        product = array.product(seen)
        found[deep, wide] = product[: deep.stop - deep.start, : wide.stop - wide.start]
    np.testing.assert_array_equal(found, a @ w)
    cycles = sum(len(fold["drain"]) for fold in folds)
    tiling = Tiling((LAYER.loops,), ("outputs",))
    assert cycles == count(LAYER, tiling, Array(rows, columns, "output")).cycles
    assert array.fold_cycles(18) == 18 + Array(rows, columns, "output").fill_cycles


@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (3, 2), (1, 4), (4, 3)])
def test_a_layer_takes_the_cycles_of_the_weight_stationary_model(rows, columns):
    array = WeightStationaryArray(Int(4), Int(4), Int(16), rows, columns)
    a, w = matrices()
    found, cycles = np.zeros((len(a), w.shape[1]), np.int64), 0
    for deep, wide in itertools.product(chunks(len(w), rows), chunks(w.shape[1], columns)):
        streams = array.streams(
            filled(a[:, deep], len(a), rows),
            filled(w[deep, wide], rows, columns),
            filled(found[:, wide], len(a), columns),
        )
        cycles += len(streams["load"])
        found[:, wide] = array.product(run(array, streams))[:, : wide.stop - wide.start]
    np.testing.assert_array_equal(found, a @ w)
    tiling = Tiling((LAYER.loops,), ("weights",))
    assert cycles == count(LAYER, tiling, Array(rows, columns, "weight")).cycles


def test_an_array_is_as_many_elements_of_its_weights_kind():
    for form, mac in zip(WEIGHTS, (Mac, ShiftMac, ApotMac), strict=True):
        for kind in (OutputStationaryArray, WeightStationaryArray):
            array = kind(form, Int(4), Int(16), 5, 7)
            assert sum(array.elements.values()) == 35
            assert {type(element.mac) for element in array.elements} == {mac}
            assert sum(
                register.format.bits * number
                for element, number in array.elements.items()
                for register in element.registers.values()
            ) == sum(register.format.bits for register in array.registers.values())


@pytest.mark.parametrize("kind", [OutputStationaryArray, WeightStationaryArray])
def test_every_kind_of_element_computes_what_it_says(kind):
    for form in WEIGHTS:
        for element in kind(form, Int(3), Int(9), 3, 3, Overflow.SATURATE).elements:
            assert check(element, samples=256).counterexample is None


@pytest.mark.parametrize("kind", [OutputStationaryArray, WeightStationaryArray])
@pytest.mark.parametrize(
    ("weight", "activation", "accumulator", "size"),
    [(Int(4), Int(4), Int(16), 2), (Int(4), Int(8), Int(16), 4), (PowerOfTwo(4), Int(8), Int(32), 2)],
    ids=str,
)
def test_elements_sum_to_the_array_within_three_percent(kind, weight, activation, accumulator, size):
    array = kind(weight, activation, accumulator, size, size)
    flat, composed = synthesize(array), composed_cost(array)
    assert flat.equivalent and composed.equivalent
    assert composed.nand2_equivalents == pytest.approx(flat.nand2_equivalents, rel=0.03)
    assert composed.flip_flops == flat.flip_flops == composed.cells["DFF"]
    assert array_cost(array) == flat


def test_a_large_array_is_composed_and_grows_with_its_elements():
    costs = [
        cost_datapath(
            "output_stationary_array",
            weight="int4", activation="uint4", accumulator="int16", rows=str(n), columns=str(n),
        )
        for n in (8, 16, 256)
    ]  # fmt: skip
    assert all("composed of" in cost.equivalence and cost.equivalent for cost in costs)
    assert costs[1].flip_flops == 256 * 16 + 2 * 16 * 15 * 4
    per_element = [cost.nand2_equivalents / n**2 for cost, n in zip(costs, (8, 16, 256), strict=True)]
    assert per_element == sorted(per_element)
    assert costs[2].critical_path_ps == costs[0].critical_path_ps


def test_an_array_without_units_of_length_has_gates_alone():
    array = OutputStationaryArray(Int(2), Int(2), Int(8), 5, 5)
    cost = array_cost(array, "gates")
    assert cost.area_um2 is None and cost.critical_path_ps is None and cost.nand2_equivalents > 0


def test_what_is_no_array_is_refused_in_a_sentence():
    with pytest.raises(HwsimError, match="1 to 4096 rows and columns, not 0 x 2"):
        OutputStationaryArray(Int(4), Int(4), Int(16), 0, 2)
    with pytest.raises(HwsimError, match="activation int10 is out of range"):
        WeightStationaryArray(Int(4), Int(10), Int(16))
    with pytest.raises(HwsimError, match="17 x 16 elements is too large for one netlist"):
        elaborate(WeightStationaryArray(Int(4), Int(4), Int(16), 17, 16))
    made = make_datapath(
        "weight_stationary_array", weight="apot5", activation="int8", accumulator="int24", rows="3"
    )
    assert describe(made).endswith("rows=3, columns=2, overflow=wrap)")
