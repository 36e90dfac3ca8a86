"""Published gate tables: the bare circuits against their arithmetic, and the report against figures by hand."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from hwsim.cost.characterisation import shipped
from hwsim.cost.synthesis import synthesize
from hwsim.datapath.constant_dot import ConstantDot
from hwsim.errors import HwsimError
from hwsim.formats import Int
from hwsim.reproduce import reproduce
from hwsim.reproduce.adders import layer_tree_gates, taps, tree_gates
from hwsim.reproduce.circuits import ConstantDots, Product, Sum
from hwsim.reproduce.gates import (
    AREAS,
    Unrolled,
    correlations,
    family_points,
    layer_gates,
    reproduce_gates,
    sum_bits,
    unrolled,
)
from hwsim.simulate.check import check

REPORT = Path(__file__).parents[1] / "reports" / "reproduce-gates"


def rows(name: str) -> list[dict[str, str]]:
    with (REPORT / name).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "circuit",
    [
        Sum(4),
        Sum(32),
        Product(4, 8),
        Product(6, 6),
        Product(32, 32),
        Product(32, 64),
        ConstantDots(tuple(ConstantDot.of(w, Int(8, signed=False)) for w in ((4, 0, -1), (1, 1, 1)))),
    ],
    ids=str,
)
def test_the_bare_circuits_compute_their_arithmetic(circuit: Any) -> None:
    assert check(circuit).counterexample is None


def test_a_sum_has_the_bits_of_its_extremes() -> None:
    assert [sum_bits(weights) for weights in ((1,), (-1,), (1, 1), (8,), (1, -1))] == [9, 9, 10, 12, 9]


def test_both_means_of_a_focused_layer_take_every_input_once() -> None:
    focused = unrolled()[-1]
    assert {len(weights) for row in unrolled() for weights in row.weights} == {100}
    assert all(sorted(pair) == [0, 1] for pair in zip(*focused.weights[1:], strict=True))


def test_a_layers_gates_are_nine_places_and_the_adders_that_join_them() -> None:
    """By hand: 9 blocks of 700 gates; weights of nine ones reach 9 * 255, 12 bits and a sign; 8 adders of 5 * 13 - 3."""
    cost = synthesize(Sum(4), "gates", mapping="smallest")
    row = Unrolled("", 1.0, ((1,),), "")
    assert sum_bits((1,) * 9) == 13
    assert layer_gates(row, cost) == pytest.approx(9 * cost.nand2_equivalents + 8 * 62)
    twice = Unrolled("", 1.0, ((1,), (1,)), "")
    assert layer_gates(twice, cost) == pytest.approx(9 * cost.nand2_equivalents + 16 * 62 + 62)


def test_a_rank_correlation_sees_order_only() -> None:
    points = [
        {"family": "mac", "gates": n**3, "pyrtl_um2": n, "bit_operations": 16 - n} for n in range(1, 11)
    ]
    family, _, every = correlations(points)
    assert (family["pyrtl_spearman"], family["bit_operations_spearman"]) == (1.0, -1.0)
    assert every["count"] == 10 and every["pyrtl_spread"] == 100.0
    flat = [{**point, "bit_operations": ""} for point in points]
    assert next(correlations(flat))["bit_operations_spearman"] == ""


def test_bit_operations_do_not_see_what_an_accumulator_costs() -> None:
    """2 x 8 and 4 x 4 bits are 16 bit operations each, with 16 and with 32 bits to accumulate in."""
    gates = [point["gates"] for point in family_points(shipped()) if point["bit_operations"] == 16]
    assert max(gates) > 2 * min(gates)


def test_the_checked_in_areas_are_those_of_synthesis() -> None:
    listed = rows("areas.csv")
    assert [row["item"] for row in listed] == [published.item for published in AREAS]
    for row, published in zip(listed, AREAS, strict=True):
        assert float(row["published_um2"]) == published.um2 and row["reason"]
        assert row["equivalence"].startswith(("compared on all", "proved by SAT"))
        held = shipped().by_datapath.get(row["circuit"])
        for mapping in ("smallest", "balanced", "fastest"):
            if held is not None:
                area = held.costs["open45", mapping]["area_um2"]
                assert float(row[f"{mapping}_um2"]) == round(area, 1)
    area = synthesize(Sum(8), mapping="smallest").area_um2
    assert area is not None and float(listed[0]["smallest_um2"]) == round(area, 1)


def ranks(values: list[float]) -> list[float]:
    """The mean place of each value among all, from the definition."""
    return [sum(other < value for other in values) + (values.count(value) - 1) / 2 for value in values]


def test_the_checked_in_correlations_are_spearmans_of_the_checked_in_family() -> None:
    family = rows("family.csv")
    for row in rows("correlations.csv"):
        if row["circuits"] not in ("shift_mac", "requantize"):
            continue
        group = [point for point in family if point["family"] == row["circuits"]]
        x, y = (ranks([float(point[key]) for point in group]) for key in ("pyrtl_um2", "gates"))
        middle = (len(group) - 1) / 2
        shared = sum((a - middle) * (b - middle) for a, b in zip(x, y, strict=True))
        spread = [sum((a - middle) ** 2 for a in values) for values in (x, y)]
        assert float(row["pyrtl_spearman"]) == pytest.approx(
            shared / (spread[0] * spread[1]) ** 0.5, abs=6e-4
        )
        assert int(row["count"]) == len(group)


def test_networks_and_images_are_none_of_gates(tmp_path: Path) -> None:
    with pytest.raises(HwsimError, match="leave out --network and --images"):
        reproduce("gates", tmp_path, networks=["digits"])
    with pytest.raises(HwsimError, match="focused, gates"):
        reproduce("gate", tmp_path)


@pytest.mark.slow
def test_the_checked_in_report_is_written_again_to_the_same_bytes(tmp_path: Path) -> None:
    readme = reproduce_gates(tmp_path)
    for path in REPORT.iterdir():
        expected = path.read_bytes()
        if path.name == readme.name:
            expected = expected.replace(b"-o reports/reproduce-gates", f"-o {tmp_path.as_posix()}".encode())
        assert (tmp_path / path.name).read_bytes() == expected, path.name


def test_adders_alone_are_the_published_gates_of_a_layer_of_shifts() -> None:
    """3x3x100 inputs of 8 bits shifted by 0 to 3, on a map of 8x8 with padding of 1, to 100 channels: 275.2 million."""
    assert sum(taps(8, 100)) * 100 == 4_840_000
    gates = layer_tree_gates(taps(8, 100), outputs=100, bits=8 + 3)
    assert gates == 275_254_800 and gates == pytest.approx(275.2e6, rel=3e-4)
    padded = layer_tree_gates([900] * 64, outputs=100, bits=11)
    assert padded > 1.15 * gates


def test_a_tree_of_adders_counts_bit_by_bit() -> None:
    """By hand: 8 bits and 8 bits are a half adder and seven full ones; 9 and 8 have one more half adder."""
    assert tree_gates(1, 8) == 0
    assert tree_gates(2, 8) == 2 + 7 * 5
    assert tree_gates(3, 8) == 37 + (2 + 7 * 5 + 2)
    assert tree_gates(4, 8) == 2 * 37 + (2 + 8 * 5)
