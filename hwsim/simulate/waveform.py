"""One sum of a network on its circuit as a waveform: a VCD file (IEEE 1364-2005, section 18) for GTKWave or Surfer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from hwsim.datapath import apart, parts
from hwsim.datapath.datapath import Datapath, describe, latency, refuse_scheduled, resolver
from hwsim.errors import HwsimError
from hwsim.formats import Format, Int, IntArray
from hwsim.network import Images, IntegerLayer, QuantizedNetwork
from hwsim.simulate import circuit
from hwsim.simulate.inference import Overflowed, run
from hwsim.simulate.replay import runs

PERIOD_NS = 10

EXACT = Int(63)


@dataclass(frozen=True, eq=False)
class Waveform:
    """One output's sum on its multiply-accumulate, from PyRTL's simulation, a value a clock cycle: int64 [cycles].

    ``place`` is (image, channel, row, column) of ``layer``. ``accumulator`` is the register after each cycle; in the
    cycle before the first it is reset. ``exact`` are the sums that an accumulator without end would hold, and
    ``overflow`` is 1 in the cycles in which the register took another value than its own plus the product.
    """

    layer: str
    number: int
    place: tuple[int, int, int, int]
    datapath: Datapath
    operands: Mapping[str, IntArray]
    accumulator: IntArray

    @property
    def exact(self) -> IntArray:
        return self.products.cumsum()

    @property
    def products(self) -> IntArray:
        return self.operands["weight"] * self.operands["activation"]

    @property
    def overflow(self) -> IntArray:
        before = np.concatenate([[self.datapath.registers["accumulator"].reset], self.accumulator[:-1]])
        left: IntArray = (before + self.products != self.accumulator).astype(np.int64)
        return left

    def __str__(self) -> str:
        cycles = np.flatnonzero(self.overflow) + 1
        over = f"overflows in cycle {', '.join(map(str, cycles[:8]))}" if cycles.size else "no overflow"
        where = "image {}, channel {}, row {}, column {}".format(*self.place)
        return f"{self.layer}, {where}: {len(self.accumulator)} products, {over}"


def record(
    network: QuantizedNetwork,
    images: Images,
    *,
    layer: str = "",
    place: tuple[int, int, int, int] | None = None,
    mac: str = "mac",
) -> Waveform:
    """Return the waveform of one sum of a layer with weights over images [n, h, w, c].

    Left out, ``layer`` is the first in which a sum overflows, else the first with weights, and ``place`` the first
    sum that overflows, else the first. Raises :class:`HwsimError` for a layer without weights or a place outside it.
    """
    weighted = [item.layer.name for item in network.layers if item.layer.has_weights]
    if not weighted or (layer and layer not in weighted):
        known = ", ".join(weighted)
        raise HwsimError(f'no layer "{layer}" has sums of products; those that have: {known}')
    seen: list[tuple[IntegerLayer, tuple[IntArray, ...], IntArray, tuple[int, ...] | None]] = []

    def visit(
        item: IntegerLayer, inputs: tuple[IntArray, ...], output: IntArray, overflowed: Overflowed | None
    ) -> None:
        if overflowed is None or (layer and item.layer.name != layer):
            return
        over = np.argwhere(overflowed)
        if not seen or (seen[0][3] is None and len(over)):
            seen[:] = [(item, inputs, output, tuple(map(int, over[0])) if len(over) else None)]

    run(network, images, visit)
    item, inputs, output, first = seen[0]
    chosen = place or first or (0, 0, 0, 0)
    if len(chosen) != 4 or any(not 0 <= at < size for at, size in zip(chosen, output.shape, strict=True)):
        raise HwsimError(
            f'layer "{item.layer.name}" has no output at {",".join(map(str, chosen))}; give image,channel,row,column below '
            f"{','.join(map(str, output.shape))}"
        )
    return _recorded(network, item, inputs, output, (chosen[0], chosen[1], chosen[2], chosen[3]), mac)


def _recorded(
    network: QuantizedNetwork,
    item: IntegerLayer,
    inputs: tuple[IntArray, ...],
    output: IntArray,
    place: tuple[int, int, int, int],
    mac: str,
) -> Waveform:
    recorded: dict[str, IntArray] = {}

    def runner(datapath: Datapath, streams: Mapping[str, IntArray]) -> dict[str, IntArray]:
        recorded.update(circuit.run(datapath, {name: row[:, 0] for name, row in streams.items()}))
        return {name: row[-1:] for name, row in recorded.items()}

    datapath = parts(item, network.formats(), network.rounding, mac=apart(mac))["mac"]
    refuse_scheduled(datapath, "a waveform")
    if latency(datapath) or resolver(datapath):
        raise HwsimError(
            f"the waveform of {describe(datapath)} would need more than one register of its sum; give a mac of one "
            "stage that carries, as mac adder=ripple"
        )
    (ran,) = runs(item, {"mac": datapath}, inputs, output, np.array([place]), runner)
    names = [other.layer.name for other in network.layers]
    operands = {name: row[:, 0] for name, row in ran.streams.items()}
    return Waveform(
        item.layer.name, names.index(item.layer.name), place, datapath, operands, recorded["accumulator"]
    )


def vcd(waveform: Waveform) -> str:
    """Return a waveform as VCD text; the same waveform gives the same bytes.

    Scope ``circuit`` holds the ports as bit patterns, scope ``reference`` integers: the operands' values, their
    product, the exact sum and whether the accumulator overflows at the end of the cycle. Inputs change at the falling
    edge of the clock, registers at the rising one, every 10 ns; RESET is 1 in the first cycle. No name of the network
    is in the text.
    """
    signals = _signals(waveform)
    head = [
        f"$comment layer number {waveform.number}, "
        + "image {}, channel {}, row {}, column {} $end".format(*waveform.place),
        "$timescale 1 ns $end",
    ]
    for scope in ("circuit", "reference"):
        head.append(f"$scope module {scope} $end")
        for code, (where, name, bits, _) in signals.items():
            if where == scope:
                head.append(f"$var {'wire' if scope == 'circuit' else 'reg'} {bits} {code} {name} $end")
        head.append("$upscope $end")
    return "\n".join([*head, "$enddefinitions $end", *_changes(signals, len(waveform.accumulator)), ""])


Signal = tuple[str, str, int, tuple[int, list[int]]]
"""Scope, name, bits, and when it changes: the nanosecond in a cycle with its bit patterns, from the reset cycle on."""

FALLING, RISING = 0, PERIOD_NS // 2


def _signals(waveform: Waveform) -> dict[str, Signal]:
    """Return the signals by their code in the file."""
    datapath, operands = waveform.datapath, waveform.operands
    cycles = len(waveform.accumulator)
    register = datapath.registers["accumulator"]

    def signal(
        scope: str, name: str, form: Format, values: IntArray, edge: int = FALLING, first: int = 0
    ) -> Signal:
        codes = form.encode(np.concatenate([[first], values])).tolist()
        return scope, name, form.bits, (edge, codes)

    bit = Int(1, signed=False)
    found = [
        signal("circuit", "RESET", bit, np.zeros(cycles, np.int64), first=1),
        *(
            signal("circuit", name, form, operands[name], first=int(operands[name][0]))
            for name, form in datapath.inputs.items()
        ),
        signal("circuit", "accumulator", register.format, waveform.accumulator, RISING, register.reset),
        *(
            signal("reference", f"{name}_value", Int(32), operands[name], first=int(operands[name][0]))
            for name in datapath.inputs
        ),
        signal("reference", "product", Int(32), waveform.products),
        signal("reference", "exact_sum", EXACT, waveform.exact, RISING),
        signal("reference", "overflow", bit, waveform.overflow),
    ]
    clock: Signal = ("circuit", "CLOCK", 1, (-1, []))
    return {chr(33 + k): made for k, made in enumerate([clock, *found])}


def _changes(signals: Mapping[str, Signal], cycles: int) -> Iterator[str]:
    """Yield the changes of every signal at each edge of the clock; before its first edge a register is unknown."""
    yield "#0"
    yield "$dumpvars"
    last: dict[str, int] = {}
    for code, (_, _, bits, (edge, codes)) in signals.items():
        if edge == RISING:
            yield f"bx {code}" if bits > 1 else f"x{code}"
        elif codes:
            last[code] = codes[0]
            yield _change(code, bits, codes[0])
        else:
            yield f"0{code}"
    yield "$end"
    for half in range(1, 2 * (cycles + 1) + 1):
        cycle, edge = half // 2, RISING if half % 2 else FALLING
        yield f"#{half * PERIOD_NS // 2}"
        yield f"{int(edge == RISING)}!"
        for code, (_, _, bits, (when, codes)) in signals.items():
            if when == edge and cycle < len(codes) and last.get(code) != codes[cycle]:
                last[code] = codes[cycle]
                yield _change(code, bits, codes[cycle])


def _change(code: str, bits: int, value: int) -> str:
    return f"{value}{code}" if bits == 1 else f"b{value:b} {code}"
