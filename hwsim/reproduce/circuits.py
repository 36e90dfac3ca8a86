"""The bare circuits of published tables: a sum, a product, and dot products with constant weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hwsim.datapath.adders import accumulate, add, bits_of, wire_of
from hwsim.datapath.constant_dot import ConstantDot
from hwsim.datapath.datapath import Register
from hwsim.datapath.multipliers import product
from hwsim.formats import Format, Int, IntArray


class Combinational:
    """A circuit without state."""

    @property
    def registers(self) -> dict[str, Register]:
        return {}


@dataclass(frozen=True)
class Sum(Combinational):
    """Two unsigned numbers of ``bits`` bits added modulo 2^bits by a ripple of full adders."""

    bits: int

    @property
    def inputs(self) -> dict[str, Format]:
        return {"a": Int(self.bits, signed=False), "b": Int(self.bits, signed=False)}

    @property
    def outputs(self) -> dict[str, Int]:
        return {"sum": Int(self.bits, signed=False)}

    def compute(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        return {"sum": values["a"] + values["b"] & (1 << self.bits) - 1}

    def connect(self, wires: Mapping[str, Any]) -> dict[str, Any]:
        a, b = (bits_of(wires[name]) for name in ("a", "b"))
        return {"sum": wire_of(accumulate(a, b))}


@dataclass(frozen=True)
class Product(Combinational):
    """Two signed numbers of ``bits`` bits multiplied modulo 2^width: Baugh-Wooley terms, a Dadda tree, a ripple."""

    bits: int
    width: int

    @property
    def inputs(self) -> dict[str, Format]:
        return {"a": Int(self.bits), "b": Int(self.bits)}

    @property
    def outputs(self) -> dict[str, Int]:
        return {"product": Int(self.width)}

    def compute(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        wrapped = values["a"] * values["b"] << 64 - self.width  # int64 keeps a product modulo 2^64
        return {"product": wrapped >> 64 - self.width}

    def connect(self, wires: Mapping[str, Any]) -> dict[str, Any]:
        a, b = (bits_of(wires[name]) for name in ("a", "b"))
        return {"product": wire_of(add(product(a, True, b, True, self.width), self.width))}


@dataclass(frozen=True)
class ConstantDots(Combinational):
    """Several dot products of the same activations with constant weights as one circuit, so that they may share logic."""

    dots: tuple[ConstantDot, ...]

    @property
    def inputs(self) -> dict[str, Format]:
        return self.dots[0].inputs

    @property
    def outputs(self) -> dict[str, Int]:
        return {f"{name}{k}": form for k, dot in enumerate(self.dots) for name, form in dot.outputs.items()}

    def compute(self, values: Mapping[str, IntArray]) -> dict[str, IntArray]:
        results = (dot.compute(values) for dot in self.dots)
        return {f"{name}{k}": value for k, result in enumerate(results) for name, value in result.items()}

    def connect(self, wires: Mapping[str, Any]) -> dict[str, Any]:
        results = (dot.connect(wires) for dot in self.dots)
        return {f"{name}{k}": wire for k, result in enumerate(results) for name, wire in result.items()}
