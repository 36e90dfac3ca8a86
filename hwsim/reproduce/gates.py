"""Published areas and gate counts of circuits beside synthesis here, and what estimates make of the same family."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter
from scipy.stats import spearmanr

from hwsim import files
from hwsim.cost.characterisation import Characterisation, shipped
from hwsim.cost.energy import Energy, circuit_energy
from hwsim.cost.family import designs, families
from hwsim.cost.operands import random_trace
from hwsim.cost.synthesis import MAPPINGS, Cost, synthesize
from hwsim.cost.technology import TECHNOLOGIES
from hwsim.datapath.adders import width_of
from hwsim.datapath.constant_dot import ConstantDot
from hwsim.datapath.datapath import Datapath, describe
from hwsim.datapath.decomposable_mac import DecomposableMac
from hwsim.datapath.mac import Mac
from hwsim.formats import Int
from hwsim.report.figures import BLUE, LINE, ORANGE, SOFT, STYLE, vector_files
from hwsim.reproduce.adders import layer_tree_gates, taps
from hwsim.reproduce.circuits import ConstantDots, Product, Sum
from hwsim.reproduce.table import Show, silent
from hwsim.reproduce.write import GREEN, PURPLE, README, as_csv, markdown

NAME = "gates"
TIMEOUT_S = 600
_HOROWITZ = "M. Horowitz, Computing's energy problem, ISSCC 2014, 45 nm"
_BIT_FUSION = (
    "H. Sharma et al., Bit Fusion, ISCA 2018, RTL synthesis at 45 nm and 500 MHz (authors' repository)"
)
_ALADDIN = "Y. Shao et al., Aladdin, ISCA 2014, 40 nm (tables of the Accelergy plug-in)"
_FOCUSED = "Y. Zhao et al., Focused Quantization for Sparse CNNs, NeurIPS 2019, table 4"
_LIBRARY_ADDER = "one full-adder cell a bit, but for the first and the last; without such cells a bit needs two XNOR gates and more"


@dataclass(frozen=True)
class Published:
    """An area in um2 that a source prints, the circuit that stands beside it, and why the two differ."""

    source: str
    item: str
    um2: float
    circuit: Datapath
    reason: str


AREAS = (
    Published(_HOROWITZ, "8-bit add", 36, Sum(8), _LIBRARY_ADDER),
    Published(_HOROWITZ, "16-bit add", 67, Sum(16), _LIBRARY_ADDER),
    Published(_HOROWITZ, "32-bit add", 137, Sum(32), _LIBRARY_ADDER),
    Published(_HOROWITZ, "8-bit multiply", 282, Product(8, 16), "all 16 bits of the product"),
    Published(
        _HOROWITZ,
        "32-bit multiply, 64 bits out",
        3495,
        Product(32, 64),
        "the source does not say how wide its product is",
    ),
    Published(
        _HOROWITZ,
        "32-bit multiply, low 32 bits",
        3495,
        Product(32, 32),
        "the same figure beside half of the product",
    ),
    Published(
        _BIT_FUSION,
        "2-bit multiply-accumulate",
        124.9,
        Mac(Int(2), Int(2), Int(16)),
        "the width of its accumulator is not stated, here 16 bits with a synchronous reset",
    ),
    Published(
        _BIT_FUSION,
        "4-bit multiply-accumulate",
        282.2,
        Mac(Int(4), Int(4), Int(16)),
        "the width of its accumulator is not stated, here 16 bits",
    ),
    Published(
        _BIT_FUSION,
        "8-bit multiply-accumulate",
        687.6,
        Mac(Int(8), Int(8), Int(32)),
        "the width of its accumulator is not stated, here 32 bits",
    ),
    Published(
        _BIT_FUSION,
        "fusion unit, 8 bits down to 2",
        1733,
        DecomposableMac(Int(8), Int(8), Int(32)),
        "sixteen 2-bit multipliers, their shifters and one accumulator of 32 bits; what registers the published unit has is "
        "not stated",
    ),
    Published(
        _ALADDIN,
        "32-bit adder from 2 ns",
        179,
        Sum(32),
        "another library and 40 nm, which alone is 0.79 of 45 nm",
    ),
    Published(
        _ALADDIN,
        "32-bit multiplier at 5 ns",
        4595,
        Product(32, 64),
        "as above; a published multiplier at 1 ns has 6350 um2",
    ),
)

_RANDOM = "uniform random operands; the source does not say what its own are"
_LARGER = "the whole product, its last adder one ripple full of glitches"
_CHANGING = (
    "the activity behind the published power is not stated; here half of all operand bits change in a cycle"
)

ENERGIES: tuple[tuple[str, str, float, float, Datapath, str], ...] = (
    (_HOROWITZ, "8-bit add", 0.03, 0.9, Sum(8), _RANDOM),
    (_HOROWITZ, "16-bit add", 0.05, 0.9, Sum(16), _RANDOM),
    (_HOROWITZ, "32-bit add", 0.1, 0.9, Sum(32), _RANDOM),
    (_HOROWITZ, "8-bit multiply", 0.2, 0.9, Product(8, 16), _RANDOM),
    (_HOROWITZ, "32-bit multiply, 64 bits out", 3.1, 0.9, Product(32, 64), _LARGER),
    (_HOROWITZ, "32-bit multiply, low 32 bits", 3.1, 0.9, Product(32, 32), "half of the product"),
    (_BIT_FUSION, "2-bit multiply-accumulate", 0.0574, 1.1, Mac(Int(2), Int(2), Int(16)), _CHANGING),
    (_BIT_FUSION, "4-bit multiply-accumulate", 0.1202, 1.1, Mac(Int(4), Int(4), Int(16)), _CHANGING),
    (_BIT_FUSION, "8-bit multiply-accumulate", 0.2976, 1.1, Mac(Int(8), Int(8), Int(32)), _CHANGING),
    (_ALADDIN, "32-bit adder from 2 ns", 0.0857, 1.1, Sum(32), "40 nm, voltage and operands not stated"),
    (_ALADDIN, "32-bit adder at 1 ns", 0.21, 1.1, Sum(32), "as above; here the smallest adder, of 1.9 ns"),
    (_ALADDIN, "32-bit multiplier at 5 ns", 8.6, 1.1, Product(32, 64), "as above; " + _LARGER),
)
"""Source, operation, pJ an operation, the voltage ours are scaled to, the circuit beside it, and why the two differ.

Of a power, the energy of a cycle: 28.7, 60.1 and 148.8 uW at 500 MHz.
"""

PAIRS = 512

TAPS, BLOCK, OUTPUTS = 900, 100, 64 * 100
"""The layer of focused quantization's table: 3x3x100 inputs an output, the channels of one place, and its outputs."""


@dataclass(frozen=True)
class Unrolled:
    """A row of focused quantization's gate table: its gates in millions, and the sums of one place's 100 inputs."""

    item: str
    millions: float
    weights: tuple[tuple[int, ...], ...]
    reason: str


def unrolled() -> tuple[Unrolled, ...]:
    """Return the rows of the table with seeded random weights: half of the signs negative, no weight zero."""
    source = np.random.default_rng(0)

    def signs() -> tuple[int, ...]:
        return tuple(source.choice([-1, 1], BLOCK).tolist())

    bases = tuple(signs() for _ in range(5))
    shifts = tuple((np.array(signs()) << source.integers(0, 4, BLOCK)).tolist())
    upper = source.integers(0, 2, BLOCK)
    masks = tuple(tuple(mask.tolist()) for mask in (upper, 1 - upper))
    return (
        Unrolled(
            "ABC-Net, 5 bases",
            806.1,
            bases,
            "five sums of all inputs with signs; the scaling of each by its factor is left out",
        ),
        Unrolled(
            "LQ-Net, 2 bits",
            314.4,
            bases[:2],
            "two such sums; the table's ratio of both rows is 2.56, that of bases 2.5",
        ),
        Unrolled("shift, 3 bits", 275.2, (shifts,), "one sum of inputs shifted by 0 to 3 places with a sign"),
        Unrolled(
            "focused, 5 bits",
            275.6,
            (shifts, *masks),
            "the same and the sum of the inputs of either mean, which the published 0.4 million more than shift cannot hold",
        ),
    )


def reproduce_gates(directory: Path, *, show: Show = silent) -> Path:
    """Synthesise the circuits of published tables and write areas, gates and correlations; return the README's path."""
    areas = list(_areas(show))
    energies = list(_energies(show))
    layers = list(_layers(show))
    points = list(family_points(shipped()))
    ranks = list(correlations(points))
    readme = directory / README
    files.write_together(
        {
            readme: _readme(directory, areas, energies, layers, ranks),
            directory / "areas.csv": as_csv(areas),
            directory / "energies.csv": as_csv(energies),
            directory / "unrolled.csv": as_csv(layers),
            directory / "correlations.csv": as_csv(ranks),
            directory / "family.csv": as_csv(points),
            **{directory / f"figure.{kind}": content for kind, content in figure(areas, points).items()},
        }
    )
    return readme


def _areas(show: Show) -> Iterator[dict[str, Any]]:
    """Yield each published area beside the circuit's at every mapping point."""
    for done, row in enumerate(AREAS):
        show("areas", done, len(AREAS))
        costs = {mapping: _synthesized(row.circuit, "open45", mapping) for mapping in MAPPINGS}
        area = {mapping: float(cost.area_um2 or 0.0) for mapping, cost in costs.items()}
        _, nearest = min((abs(um2 - row.um2), um2) for um2 in area.values())
        yield {
            "source": row.source,
            "item": row.item,
            "published_um2": row.um2,
            **{f"{mapping}_um2": round(value, 1) for mapping, value in area.items()},
            **{f"{mapping}_ps": cost.critical_path_ps for mapping, cost in costs.items()},
            "nearest_ratio": round(nearest / row.um2, 3),
            "circuit": describe(row.circuit),
            "equivalence": costs["balanced"].equivalence,
            "reason": row.reason,
        }
    show("areas", len(AREAS), len(AREAS))


def _energies(show: Show) -> Iterator[dict[str, Any]]:
    """Yield each published energy beside the circuit's on uniform random operands, counted at 1.1 V and scaled."""
    library = TECHNOLOGIES["open45"]
    counted: dict[Datapath, Energy] = {}
    for done, (source, item, published, volts, circuit, reason) in enumerate(ENERGIES):
        show("energies", done, len(ENERGIES))
        if circuit not in counted:
            trace = random_trace(circuit, PAIRS)
            counted[circuit] = circuit_energy(
                circuit, library, trace, mapping="smallest", timeout_s=TIMEOUT_S
            ).operation
        found = counted[circuit]
        picojoules = (volts / library.voltage) ** 2 * (found.total - found.leakage) / 1e3
        yield {
            "source": source,
            "item": item,
            "published_pj": published,
            "pj": round(picojoules, 3),
            "ratio": round(picojoules / published, 2),
            "volts": volts,
            "glitches_percent": round(100 * found.glitches / (found.total - found.leakage), 1),
            "circuit": describe(circuit),
            "reason": reason,
        }
    show("energies", len(ENERGIES), len(ENERGIES))


def _layers(show: Show) -> Iterator[dict[str, Any]]:
    """Yield each row of the gate table beside two-input gates here, and both over the row of shifts."""
    rows = unrolled()
    found = []
    for done, row in enumerate(rows):
        show("unrolled layers", done, len(rows))
        block = ConstantDots(tuple(ConstantDot.of(weights, Int(8, signed=False)) for weights in row.weights))
        found.append(layer_gates(row, _synthesized(block, "gates", "smallest")))
    show("unrolled layers", len(rows), len(rows))
    reference = next(place for place, row in enumerate(rows) if len(row.weights) == 1)
    for row, gates in zip(rows, found, strict=True):
        yield {
            "item": row.item,
            "published_millions": row.millions,
            "published_ratio": round(row.millions / rows[reference].millions, 2),
            "millions": round(gates * OUTPUTS / 1e6, 1),
            "ratio": round(gates / found[reference], 2),
            "gates_a_product": round(gates / TAPS, 1),
            "reason": row.reason,
        }


def layer_gates(row: Unrolled, block: Cost) -> float:
    """Return the two-input gates of one output: nine places' sums, and adders of 5 n - 3 gates that join them."""
    places = TAPS // BLOCK
    bits = [sum_bits(weights * places) for weights in row.weights]
    joints = sum((places - 1) * (5 * width - 3) for width in bits) + (len(bits) - 1) * (5 * max(bits) - 3)
    return places * block.nand2_equivalents + joints


def sum_bits(weights: tuple[int, ...]) -> int:
    """Return the two's complement width of every sum of unsigned 8-bit inputs with these weights.

    >>> sum_bits((1, -2))
    10
    """
    low, high = (
        sum(255 * weight for weight in weights if (weight < 0) == negative) for negative in (True, False)
    )
    return width_of(low, high)


def _synthesized(circuit: Datapath, technology: str, mapping: str) -> Cost:
    return synthesize(circuit, technology, mapping=mapping, timeout_s=TIMEOUT_S)


def family_points(characterisation: Characterisation, mapping: str = "balanced") -> Iterator[dict[str, Any]]:
    """Yield every characterised circuit of the built-in family: its logic's gates, and what estimates say of it.

    ``gates`` are NAND2 equivalents at 45 nm without flip-flops. ``bit_operations`` are weight bits times activation bits,
    of a multiply-accumulate only. Circuits of nothing but wires are left out.
    """
    library = TECHNOLOGIES["open45"]
    flip_flop = library.flip_flop.area / library.nand2_area
    for name in families():
        for circuit in designs(name):
            row = characterisation.by_datapath.get(describe(circuit))
            cost = row.costs.get(("open45", mapping)) if row else None
            if row is None or cost is None or not row.pyrtl_um2:
                continue
            yield {
                "family": name,
                "circuit": row.datapath,
                "gates": round(cost["nand2_equivalents"] - flip_flop * cost["flip_flops"], 2),
                "pyrtl_um2": row.pyrtl_um2,
                "bit_operations": _bit_operations(circuit),
            }


def _bit_operations(circuit: Datapath) -> int | str:
    weight, activation = (getattr(circuit, name, None) for name in ("weight", "activation"))
    return weight.bits * activation.bits if weight is not None and activation is not None else ""


def correlations(points: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield Spearman's rank correlation of each estimate with the mapped gates, by family and over all.

    ``pyrtl_spread`` is the largest over the smallest of gates per um2 estimated: 1 where the estimate is right up to a
    unit.
    """
    macs = [point for point in points if point["bit_operations"] != ""]
    groups = {
        name: [p for p in points if p["family"] == name]
        for name in dict.fromkeys(p["family"] for p in points)
    }
    for name, group in {**groups, "all multiply-accumulates": macs, "all": points}.items():
        if len(group) < 8:
            continue
        gates, pyrtl = (np.array([p[key] for p in group], np.float64) for key in ("gates", "pyrtl_um2"))
        bits = [p["bit_operations"] for p in group]
        ratio = gates / pyrtl
        yield {
            "circuits": name,
            "count": len(group),
            "pyrtl_spearman": _rank(pyrtl, gates),
            "bit_operations_spearman": "" if "" in bits else _rank(np.array(bits, np.float64), gates),
            "pyrtl_spread": round(float(ratio.max() / ratio.min()), 2),
        }


def _rank(estimate: Any, gates: Any) -> float | str:
    """Return the rank correlation; nothing where the estimate is the same for all."""
    return round(float(spearmanr(estimate, gates).statistic), 3) if np.ptp(estimate) else ""


def _readme(
    directory: Path,
    areas: Sequence[Mapping[str, Any]],
    energies: Sequence[Mapping[str, Any]],
    layers: Sequence[Mapping[str, Any]],
    ranks: Sequence[Mapping[str, Any]],
) -> str:
    points = list(MAPPINGS)
    area_rows = [
        [
            a["item"],
            f"{a['published_um2']:g}",
            *(f"{a[f'{m}_um2']:g}" for m in points),
            f"{a['nearest_ratio']:.2f}",
            a["reason"],
        ]
        for a in areas
    ]
    layer_rows = [
        [
            str(r[k])
            for k in (
                "item",
                "published_millions",
                "published_ratio",
                "millions",
                "ratio",
                "gates_a_product",
                "reason",
            )
        ]
        for r in layers
    ]
    rank_rows = [[str(r[k]) for k in r] for r in ranks]
    sources = "\n".join(f"* {source}." for source in dict.fromkeys([*(a["source"] for a in areas), _FOCUSED]))
    parts = [
        "# Published areas and gate counts",
        f"Figures as their authors print them, beside circuits synthesised here with {shipped().claims.tool} and proved equal to "
        "what they were made from.",
        "![published areas, PyRTL's estimate and bit operations](figure.svg)",
        "## Areas at 45 nm, um2",
        "Ours are of the technology `open45` at each mapping point, of which `full_adders` maps for area with full-adder cells; the ratio is "
        "that of the nearest point. A published "
        "area is one point of a range: the same netlist is up to twice as large mapped for speed as for area.",
        markdown(["circuit", "published", *points, "ratio", "why they differ"], area_rows),
        "Delays, circuits and the equivalence check of each row are in [areas.csv](areas.csv).",
        "## Energies at 45 nm, pJ an operation",
        f"Ours are counted at {TECHNOLOGIES['open45'].voltage:g} V on {PAIRS} pairs of uniform random operands, glitches included, "
        "of the smallest netlist, and scaled by the square of the voltage to the source's; leakage and wires are not in them. "
        "Every operand changes in every operation here, so that about half of all nets switch. Glitches are the larger part in "
        "wide products. Compare ratios between operations rather than levels.",
        markdown(
            ["operation", "published", "ours", "ratio", "volts", "glitches, %", "why they differ"],
            [
                [
                    str(e[k])
                    for k in ("item", "published_pj", "pj", "ratio", "volts", "glitches_percent", "reason")
                ]
                for e in energies
            ],
        ),
        "## An unrolled layer in two-input gates, millions",
        "A 3x3 convolution of 8x8x100 to 8x8x100, its weights constants, its inputs unsigned and of 8 bits. Ours are the sums of "
        "100 inputs, synthesised without a technology (every two-input gate counts 1, negation nothing), nine of them added "
        "by 5 n - 3 gates each. The sums of one design are one circuit, in which synthesis shares what it finds. Ratios are to "
        "the row of shifts.",
        markdown(
            ["design", "published", "ratio", "ours", "ratio", "ours, a product", "what is in it"],
            layer_rows,
        ),
        "Adders alone, counted by hand in trees of inputs widened by three shifts, without taps in the padding, are "
        f"{layer_tree_gates(taps(8, BLOCK), outputs=BLOCK, bits=8 + 3) / 1e6:.3f} million: the published row of shifts to "
        "0.02%, which then holds no shifter, sign or control.",
        "The published row of the Huffman decoder, 0.8 million more than the focused one, has no row here: where weights are "
        "constants there is nothing to decode.",
        "## Estimates against synthesis",
        "Rank correlation with the mapped gates of the characterised family (NAND2 equivalents without flip-flops): of PyRTL's "
        "own area estimate, and of bit operations, weight bits times activation bits. The spread is the largest over the "
        "smallest ratio of gates to PyRTL's estimate. Every circuit is in [family.csv](family.csv).",
        markdown(["circuits", "count", "PyRTL's estimate", "bit operations", "spread"], rank_rows),
        "Bit operations rank multiply-accumulates by their multiplier alone: the accumulator, which is wider than the product "
        "at few bits, the rounding of overflow and the shifter of powers of two are not in them.",
        "## Sources",
        sources,
        "## Again",
        f"    hwsim reproduce {NAME} -o {directory.as_posix()}",
    ]
    return "\n\n".join(parts) + "\n"


def figure(areas: Sequence[Mapping[str, Any]], points: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
    """Return areas beside published ones, and gates beside two estimates of them, as ``svg`` and ``pdf``."""
    with matplotlib.rc_context(STYLE):
        drawn = Figure(figsize=(12.6, 4.4), layout="constrained")
        FigureCanvasAgg(drawn)
        left, middle, right = drawn.subplots(1, 3, width_ratios=[1.25, 1, 1])
        _draw_areas(left, areas)
        _draw_estimate(middle, points, "pyrtl_um2", "PyRTL's area estimate, um2")
        _draw_estimate(right, points, "bit_operations", "weight bits x activation bits")
        return vector_files(drawn)


_COLOURS = (BLUE, SOFT, ORANGE, GREEN)


def _draw_areas(axes: Any, areas: Sequence[Mapping[str, Any]]) -> None:
    for place, row in enumerate(areas):
        ratios = [row[f"{mapping}_um2"] / row["published_um2"] for mapping in MAPPINGS]
        axes.plot([min(ratios), max(ratios)], [place, place], color=LINE, linewidth=3, zorder=1)
        for ratio, colour in zip(ratios, _COLOURS, strict=True):
            axes.scatter([ratio], [place], s=22, color=colour, zorder=2)
    for mapping, colour in zip(MAPPINGS, _COLOURS, strict=True):
        axes.scatter([], [], s=22, color=colour, label=mapping)
    axes.axvline(1, color=SOFT, linewidth=0.8, linestyle=":")
    labels = [f"{row['item']} ({row['source'].split(',')[0]})" for row in areas]
    axes.set_yticks(range(len(areas)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("area here / area published")
    axes.legend(frameon=False, fontsize=8)


_DRAWN: Mapping[str, tuple[str, Callable[[str], bool]]] = {
    "multiply-accumulate": (BLUE, lambda family: family == "mac"),
    "powers of two": (ORANGE, lambda family: family in ("shift_mac", "apot_mac", "focused_mac")),
    "requantise and add": (GREEN, lambda family: family.startswith("requantize") or family == "add"),
    "decoders": (PURPLE, lambda family: family.endswith("_decode") or family == "unpack"),
}


def _draw_estimate(axes: Any, points: Sequence[Mapping[str, Any]], key: str, label: str) -> None:
    shown = [point for point in points if point[key] != ""]
    named = {p["circuit"] for p in shown for _, belongs in _DRAWN.values() if belongs(p["family"])}
    rest = [p for p in shown if p["circuit"] not in named]
    groups = {name: (c, [p for p in shown if belongs(p["family"])]) for name, (c, belongs) in _DRAWN.items()}
    for name, (colour, group) in {"other": (SOFT, rest), **groups}.items():
        if group:
            axes.scatter(
                [p[key] for p in group],
                [p["gates"] for p in group],
                s=9,
                color=colour,
                alpha=0.6,
                linewidths=0,
                label=name,
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(ScalarFormatter())
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(label)
    axes.set_ylabel("mapped gates, NAND2 equivalents")
    axes.legend(frameon=False, fontsize=8)
