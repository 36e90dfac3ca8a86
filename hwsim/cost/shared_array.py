"""The systolic array that all layers of a network run on, one after the other: its elements take the widest formats.

A narrower weight or activation is sign-extended, a signed and an unsigned activation are both those of a signed element one
bit wider, and a wrapping sum of fewer bits is the low bits of a wider one. So layers share elements whose weights are of one
kind (integers, powers of two, sums of powers of two of one width, whose levels no other width has) and whose sums wrap. A
saturating sum ends at its own width: such layers share elements where their accumulators are the same. Each group has a grid
of its own, and the array is all of them. Requantisers, skewing registers, control and what chooses between grids are beside
the array and not counted; of masked layers nor are the sums of their inputs.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hwsim.cost.configurations import Table, largest_axis
from hwsim.cost.hardware import Hardware, Part, one_part
from hwsim.cost.memory.hierarchy import Array
from hwsim.datapath import Datapath, describe
from hwsim.datapath.output_stationary_array import OutputStationaryArray
from hwsim.datapath.systolic import MACS, SystolicArray
from hwsim.datapath.weight_stationary_array import WeightStationaryArray
from hwsim.errors import HwsimError, unknown
from hwsim.formats import AdditivePowersOfTwo, Int, Overflow
from hwsim.network import FloatArray, QuantizedNetwork

GRIDS: dict[str, type[Any]] = {"weight": WeightStationaryArray, "output": OutputStationaryArray}
"""The circuit of each dataflow that has one."""


def array_parts(network: QuantizedNetwork, array: Array, hardware: Hardware) -> tuple[Part, ...]:
    """Return the elements of the array that a network runs on, as many as there are of each at every size.

    Their gates and area are the sum of :func:`hwsim.cost.array.composed_cost`. Raises :class:`HwsimError` for a dataflow
    and for multiply-accumulates that no element has.
    """
    circuits = (hardware.datapaths(network, item) for item in network.layers if item.layer.has_weights)
    grids = shared_grids([parts["mac"] for parts in circuits], array)
    return tuple(part for grid in grids for part in _parts(grid, hardware))


def _parts(grid: SystolicArray, hardware: Hardware) -> tuple[Part, ...]:
    return tuple(
        replace(one_part("array", element, hardware), count=count) for element, count in grid.elements.items()
    )


def shared_grids(macs: Iterable[Datapath], array: Array) -> tuple[SystolicArray, ...]:
    """Return the fewest grids whose elements do what some multiply-accumulates do, each in their widest formats."""
    if array.dataflow not in GRIDS:
        raise unknown("dataflow of an array's circuit", array.dataflow, GRIDS)
    groups: dict[Hashable, list[Any]] = {}
    for mac in map(_checked, dict.fromkeys(macs)):
        groups.setdefault(_kind(mac), []).append(mac)
    return tuple(_grid(functools.reduce(_both, group), array) for group in groups.values())


def _checked(mac: Any) -> Any:
    """Refuse a multiply-accumulate that is none of an array's elements."""
    names = ("weight", "activation", "accumulator", "overflow", "multiplier", "adder")
    given = {name: getattr(mac, name) for name in names if hasattr(mac, name)}
    if type(mac) not in MACS.values() or type(mac)(**given) != mac:
        raise HwsimError(
            f"an array has no elements that work as {describe(mac)}; leave that datapath out, or array_gates and array_area"
        )
    return mac


def _kind(mac: Any) -> Hashable:
    levels = mac.weight if isinstance(mac.weight, AdditivePowersOfTwo) else None
    ends = mac.accumulator if mac.overflow is Overflow.SATURATE else None
    return type(mac), levels, mac.overflow, ends


def _both(first: Any, second: Any) -> Any:
    """Return the multiply-accumulate in the widest formats of two of one kind, of which either may be None."""
    if first is None or second is None:
        return first or second
    return replace(
        first,
        weight=max(first.weight, second.weight),
        activation=widest([first.activation, second.activation]),
        accumulator=max(first.accumulator, second.accumulator),
    )


def _grid(mac: Any, array: Array) -> SystolicArray:
    made: SystolicArray = GRIDS[array.dataflow](
        weight=mac.weight,
        activation=mac.activation,
        accumulator=mac.accumulator,
        rows=array.rows,
        columns=array.columns,
        overflow=mac.overflow,
        multiplier=getattr(mac, "multiplier", "fused"),
        adder=mac.adder,
    )
    return made


_Own = Mapping[int, Sequence[Any]]
"""By the number of a choice: the multiply-accumulate of one kind that each of its places asks for, or None."""


def array_tables(
    macs: Sequence[Sequence[Any]],
    choice_of: Sequence[int],
    array: Array,
    hardware: Hardware,
    alive: Callable[[], None] = lambda: None,
) -> Iterator[Table]:
    """Yield the tables, one a kind of elements, that the NAND2 equivalents and um2 of a network's array add up to.

    ``macs`` is what each layer would run under each of its choices, ``choice_of`` the number of its choice; ``alive`` is
    called at each grid. The axes are the widest weight, activation and accumulator, and whether an activation is signed, so
    that what no layer decides alone is a table nevertheless. Formats that no design has together have the price of the
    cheapest wider ones.
    """
    for own in _kinds(macs, choice_of):
        values = [
            largest_axis(
                {one: np.array([_formats(mac)[place] for mac in given]) for one, given in own.items()}
            )
            for place in range(len(_formats(None)))
        ]
        costs = np.full((*(len(levels) for levels, _ in values), 2), np.inf)
        for mac in _together(own):
            place = tuple(
                np.searchsorted(levels, form) for (levels, _), form in zip(values, _formats(mac), strict=True)
            )
            parts = () if mac is None else _parts(_grid(mac, array), hardware)
            costs[place] = [
                sum(part.count * part.nand2_equivalents for part in parts),
                sum(part.count * (part.area_um2 or 0.0) for part in parts),
            ]
            alive()
        axes = tuple(axis for levels, axis in values if len(levels) > 1)
        sizes = (len(levels) for levels, _ in values if len(levels) > 1)
        yield Table(axes, _filled(costs).reshape(*sizes, 2))


def array_count(macs: Sequence[Sequence[Any]], choice_of: Sequence[int]) -> int:
    """Return how many arrays of different formats :func:`array_tables` would have to price."""
    return math.prod(len(_together(own)) for own in _kinds(macs, choice_of))


def _kinds(macs: Sequence[Sequence[Any]], choice_of: Sequence[int]) -> Iterator[_Own]:
    """Yield what each choice asks of each kind of elements."""
    for kind in dict.fromkeys(map(_kind, itertools.chain.from_iterable(macs))):
        own: dict[int, list[Any]] = {}
        for one, given in zip(choice_of, macs, strict=True):
            mine = [mac if _kind(mac) == kind else None for mac in given]
            own[one] = list(map(_both, own.get(one, mine), mine))
        yield own


def _together(own: _Own) -> set[Any]:
    """Return what all choices together can ask of one kind of elements."""
    found = {None}
    for given in own.values():
        found = {_both(one, mac) for one in found for mac in dict.fromkeys(given)}
    return found


def _formats(mac: Any) -> tuple[int, int, int, int]:
    """Return numbers of which the largest over multiply-accumulates of one kind are those of the widest; 0 without one."""
    if mac is None:
        return 0, 0, 0, 0
    form = mac.activation
    return mac.weight.bits, form.bits + (not form.signed), int(form.signed), mac.accumulator.bits


def _filled(costs: FloatArray) -> FloatArray:
    """Return costs with those that are infinite replaced by the least behind them along all axes, or the largest."""
    behind = costs
    for axis in range(costs.ndim - 1):
        behind = np.flip(np.minimum.accumulate(np.flip(behind, axis), axis), axis)
    largest = costs[np.isfinite(costs)].max()
    return np.where(np.isfinite(costs), costs, np.minimum(behind, largest))


def widest(formats: Iterable[Int]) -> Int:
    """Return the narrowest integer format that holds all values of some.

    >>> str(widest([Int(8, signed=False), Int(4)])), str(widest([Int(3), Int(4)]))
    ('int9', 'int4')
    """
    distinct = set(formats)
    signed = any(form.signed for form in distinct)
    return Int(max(form.bits + (signed and not form.signed) for form in distinct), signed)
