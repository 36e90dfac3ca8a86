"""The systolic array that all layers of a network run on, one after the other: its elements take the widest formats.

A narrower weight or activation is sign-extended, a signed and an unsigned activation are both those of a signed element one
bit wider, and a wrapping sum of fewer bits is the low bits of a wider one. So layers share elements whose weights are of one
kind (integers, powers of two, sums of powers of two of one width, whose levels no other width has) and whose sums wrap. A
saturating sum ends at its own width: such layers share elements where their accumulators are the same. Each group has a grid
of its own, and the array is all of them. Requantisers, skewing registers, control and what chooses between grids are beside
the array and not counted; of masked layers nor are the sums of their inputs.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from hwsim.cost.hardware import Hardware, Part, one_part
from hwsim.cost.memory.hierarchy import Array
from hwsim.datapath import Datapath, describe
from hwsim.datapath.output_stationary_array import OutputStationaryArray
from hwsim.datapath.systolic import MACS, SystolicArray
from hwsim.datapath.weight_stationary_array import WeightStationaryArray
from hwsim.errors import HwsimError, unknown
from hwsim.formats import AdditivePowersOfTwo, Int, Overflow
from hwsim.network import QuantizedNetwork

GRIDS: dict[str, type[Any]] = {"weight": WeightStationaryArray, "output": OutputStationaryArray}
"""The circuit of each dataflow that has one."""


def array_parts(network: QuantizedNetwork, array: Array, hardware: Hardware) -> tuple[Part, ...]:
    """Return the elements of the array that a network runs on, as many as there are of each at every size.

    Their gates and area are the sum of :func:`hwsim.cost.array.composed_cost`. Raises :class:`HwsimError` for a dataflow
    and for multiply-accumulates that no element has.
    """
    circuits = (hardware.datapaths(network, item) for item in network.layers if item.layer.has_weights)
    grids = shared_grids([parts["mac"] for parts in circuits], array)
    counted = ((element, count) for grid in grids for element, count in grid.elements.items())
    return tuple(replace(one_part("array", element, hardware), count=count) for element, count in counted)


def shared_grids(macs: Iterable[Datapath], array: Array) -> tuple[SystolicArray, ...]:
    """Return the fewest grids whose elements do what some multiply-accumulates do, each in their widest formats."""
    if array.dataflow not in GRIDS:
        raise unknown("dataflow of an array's circuit", array.dataflow, GRIDS)
    groups: dict[Hashable, list[Any]] = {}
    for mac in map(_checked, dict.fromkeys(macs)):
        groups.setdefault(_kind(mac), []).append(mac)
    return tuple(_grid(group, array) for group in groups.values())


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


def _grid(group: Sequence[Any], array: Array) -> SystolicArray:
    first = group[0]
    made: SystolicArray = GRIDS[array.dataflow](
        weight=max(mac.weight for mac in group),
        activation=widest(mac.activation for mac in group),
        accumulator=max(mac.accumulator for mac in group),
        rows=array.rows,
        columns=array.columns,
        overflow=first.overflow,
        multiplier=getattr(first, "multiplier", "fused"),
        adder=first.adder,
    )
    return made


def widest(formats: Iterable[Int]) -> Int:
    """Return the narrowest integer format that holds all values of some.

    >>> str(widest([Int(8, signed=False), Int(4)])), str(widest([Int(3), Int(4)]))
    ('int9', 'int4')
    """
    distinct = set(formats)
    signed = any(form.signed for form in distinct)
    return Int(max(form.bits + (signed and not form.signed) for form in distinct), signed)
