"""Cost of a datapath: logic synthesis onto a technology's cells, proved equal to the circuit."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyrtl

from hwsim import cache
from hwsim.cost import characterisation, equivalence, full_adders, timing, yosys
from hwsim.cost import technology as technologies
from hwsim.cost.netlist import Mapped, mapped
from hwsim.cost.technology import Cell, Technology
from hwsim.datapath.datapath import Datapath, describe
from hwsim.datapath.netlist import clock_cycle, verilog
from hwsim.errors import HwsimError, unknown

_SMALLEST = "strash; ifraig; scorr; dc2; dc2; dc2; strash; dch -f; amap"

FULL_ADDERS = "full_adders"
"""The mapping point at which a circuit's full adders are cells of the library, as far as it has one."""

MAPPINGS = {
    "smallest": _SMALLEST,
    "balanced": "strash; ifraig; scorr; dc2; strash; &get -n; &dch -f; &nf; &put",
    "fastest": "strash; ifraig; scorr; dc2; strash; if -g -K 6 -C 8; strash; if -g -K 6 -C 8; strash; "
    "dch -f; map -B 0.9 -D 1; topo; buffer -c; upsize; dnsize",
    FULL_ADDERS: _SMALLEST,
}
"""ABC's script for each mapping point; our own, since Yosys' default for a Liberty file can run without end.

``amap`` recovers area and ``&nf`` balances it with delay. The fastest point rebuilds the logic for delay first
(Mishchenko, Brayton, Jang and Kravets, "Delay optimization using SOP balancing", ICCAD 2011), then maps for
delay, buffers and sizes. The point of full adders maps for area what is left when those are cells
(:mod:`hwsim.cost.full_adders`). All are heuristics: another point may win by a little on a single circuit.
"""

THREE = tuple(name for name in MAPPINGS if name != FULL_ADDERS)
"""The mapping points that trade area for delay: what every circuit of the family is characterised at."""

_COMMANDS = (
    "read_verilog design.v",
    "synth -flatten -noabc -noshare -top datapath",
    "abc -liberty cells.lib -script map.abc",
    "opt_clean -purge",
    "write_json mapped.json",
)

_MEASURE = "3"
"""Raise it when this package measures a mapped netlist differently, so that kept results are not used."""

_CUTTING = "1"
"""Raise it when full adders are found or cut out differently."""

SYNTHESISED, KEPT, SHIPPED = "now", "kept from before", "kept in the package's characterisation"
"""Where a cost was found."""


@dataclass(frozen=True)
class Cost:
    """What one datapath costs in one technology, and how far its netlist is known to equal its circuit.

    ``nand2_equivalents`` is the area of all cells, flip-flops and synchronous reset included, over that of a
    two-input NAND. ``critical_path_ps`` is the shortest clock period by static timing, without wires; a
    technology-free cost has no ``area_um2`` and no ``critical_path_ps``. ``logic_depth`` counts the cells of two
    or more inputs on the longest path. ``leakage_nw`` is that of all cells at rest, where the technology has any.
    ``equivalent`` is true after a proof or an exhaustive comparison only;
    ``equivalence`` names which. ``mapping`` is the mapping point (:data:`MAPPINGS`) and ``script`` what it ran in ABC.
    ``netlist`` is a hash of the synthesized circuit's text. ``origin`` says where the row was found: made now, in the
    user's cache, or in the package's characterisation; it is no part of the result.
    """

    datapath: str
    technology: str
    nand2_equivalents: float
    cells: Mapping[str, int]
    flip_flops: int
    area_um2: float | None
    critical_path_ps: float | None
    logic_depth: int
    equivalent: bool
    equivalence: str
    netlist: str
    mapping: str
    script: str
    tool: str
    leakage_nw: float | None = None
    origin: str = field(default=SYNTHESISED, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return the cost as plain data; a technology-free one has no area and no critical path."""
        return asdict(self)

    @property
    def _clock(self) -> str:
        return f", {1e6 / self.critical_path_ps:.1f} MHz at most" if self.critical_path_ps else ""

    def __str__(self) -> str:
        cells = ", ".join(f"{count} {name}" for name, count in self.cells.items()) or "none"
        physical = f"  area           {self.area_um2} um2\n  critical path  {self.critical_path_ps} ps{self._clock}\n"
        if self.leakage_nw is not None:
            physical += f"  leakage        {self.leakage_nw:g} nW\n"
        return (
            f"{self.datapath} in {self.technology}\n"
            f"  gates          {self.nand2_equivalents:g} NAND2 equivalents, {self.flip_flops} flip-flops\n"
            f"{'' if self.area_um2 is None else physical}"
            f"  logic depth    {self.logic_depth} cells\n"
            f"  cells          {cells}\n"
            f"  equivalent     {'yes' if self.equivalent else 'NOT PROVED'}: {self.equivalence}\n"
            f"  mapping        {self.mapping}: {self.script}\n"
            f"  synthesized by {self.tool}, {self.origin}"
        )


def synthesize(
    datapath: Datapath,
    technology: str | Technology = "open45",
    *,
    mapping: str = "balanced",
    timeout_s: float = 120,
    reuse: bool = True,
) -> Cost:
    """Return a datapath's cost by Yosys and ABC, each run in a process of its own.

    The logic between registers is mapped and proved; every register bit is one flip-flop with a synchronous
    reset in front. The result depends on the circuit, the technology, the mapping point and the tool's version only,
    and is kept under these in the user's cache folder (``HWSIM_CACHE``). With ``reuse`` the package's characterisation
    is asked first (:mod:`hwsim.cost.characterisation` says when its rows count), then that folder, and no tool is
    needed for what they hold. ``timeout_s`` limits the mapping and, again, the
    proof. Raises :class:`HwsimError` where the tool is missing, fails, exceeds its time, or maps wrongly.
    """
    target = technologies.technology(technology) if isinstance(technology, str) else technology
    script = _script(mapping)
    block = clock_cycle(datapath)
    design = verilog(block)
    found = _known(datapath, design, target, mapping) if reuse else None
    if found is not None:
        return found
    tool = yosys.version()
    netlist = map_block(block, target, mapping=mapping, timeout_s=timeout_s)
    equivalent, method = equivalence.compare(block, netlist, target, timeout_s)
    counts, flip_flops, area = _contents(datapath, netlist, target)
    path = timing.critical_path_ps(netlist, target, datapath.registers)
    cost = Cost(
        datapath=describe(datapath),
        technology=str(target),
        nand2_equivalents=round(area / target.nand2_area, 2),
        cells=counts,
        flip_flops=flip_flops,
        area_um2=round(area, 3) if target.physical else None,
        critical_path_ps=round(path, 1) if target.physical else None,
        logic_depth=timing.logic_depth(netlist),
        equivalent=equivalent,
        equivalence=method,
        netlist=_digest(design)[:16],
        mapping=mapping,
        script=script,
        tool=tool,
        leakage_nw=_leakage_nw(counts, target),
    )
    if reuse and equivalent:
        cache.remember(json.dumps(cost.to_json()).encode(), "synthesis", _key(design, target, mapping))
    return cost


def known(datapath: Datapath, technology: Technology, *, mapping: str = "balanced") -> Cost | None:
    """Return a datapath's cost where it is in the package's characterisation or the user's cache; run no tool."""
    _script(mapping)
    return _known(datapath, verilog(clock_cycle(datapath)), technology, mapping)


def recipe(mapping: str) -> str:
    """Return a digest of everything that is done to a netlist at a mapping point, the tool's version apart."""
    return _digest(
        _MEASURE, mapping, _script(mapping), *_COMMANDS, *([_CUTTING] if mapping == FULL_ADDERS else [])
    )


_FACTS = ("name", "function", "area", "capacitance", "delay", "resistance", "setup", "leakage")
"""What a cost depends on of a cell or a flip-flop."""


def library_digest(technology: Technology) -> str:
    """Return a digest of every fact of a technology that a cost depends on: all but its energies and its voltage."""
    cells = (*technology.cells, technology.flip_flop)
    facts = [[getattr(cell, name, "") for name in _FACTS] for cell in (*cells, *_adders(technology))]
    return _digest(
        str(technology), repr(facts), technology.nand2, str(technology.physical), technology.liberty()
    )


def _adders(technology: Technology) -> tuple[Cell, ...]:
    return technology.full_adder.cells() if technology.full_adder else ()


def netlist_digest(design: str) -> str:
    """Return how a characterisation calls a circuit: a digest of its Verilog text."""
    return _digest(design)[:32]


def measured(cost: Cost) -> dict[str, Any]:
    """Return what a characterisation keeps of a cost: all that its netlist, technology and mapping point do not say."""
    return {name: getattr(cost, name) for name in _MEASURED}


_MEASURED = (
    "nand2_equivalents",
    "cells",
    "flip_flops",
    "area_um2",
    "critical_path_ps",
    "logic_depth",
    "leakage_nw",
    "equivalence",
)


def _key(design: str, technology: Technology, mapping: str) -> str:
    """Return the name under which a cost is kept: the tool is the one installed, or else the characterisation's."""
    tool = yosys.installed() or characterisation.shipped().claims.tool
    return f"{_digest(design, str(technology), library_digest(technology), tool, recipe(mapping))}.json"


def _known(datapath: Datapath, design: str, technology: Technology, mapping: str) -> Cost | None:
    row = _shipped(design, technology, mapping)
    if row is not None:
        return Cost(
            datapath=describe(datapath),
            technology=str(technology),
            equivalent=True,
            netlist=_digest(design)[:16],
            mapping=mapping,
            script=_script(mapping),
            tool=characterisation.shipped().claims.tool,
            origin=SHIPPED,
            **row,
        )
    kept = cache.recall("synthesis", _key(design, technology, mapping))
    if kept is None:
        return None
    return replace(Cost(**json.loads(kept)), datapath=describe(datapath), origin=KEPT)


def _shipped(design: str, technology: Technology, mapping: str) -> Mapping[str, Any] | None:
    """Return what the package's characterisation has measured of a circuit, where that counts here and now."""
    shipped = characterisation.shipped()
    if not shipped.holds(
        yosys.installed(), str(technology), library_digest(technology), mapping, recipe(mapping)
    ):
        return None
    row = shipped.by_netlist.get(netlist_digest(design))
    return None if row is None else row.costs.get((str(technology), mapping))


def _script(mapping: str) -> str:
    if mapping not in MAPPINGS:
        raise unknown("mapping", mapping, MAPPINGS)
    return MAPPINGS[mapping]


def map_block(
    block: pyrtl.Block, technology: Technology, *, mapping: str = "balanced", timeout_s: float = 120
) -> Mapped:
    """Return a combinational block mapped onto a technology's cells; :class:`HwsimError` where it fails."""
    if mapping != FULL_ADDERS:
        return map_onto(verilog(block), technology, mapping=mapping, timeout_s=timeout_s)
    if technology.full_adder is None:
        raise HwsimError(
            f'technology "{technology}" has no full adder; choose {", ".join(THREE)} or give it one'
        )
    graph = equivalence.circuit_graph(block)
    design = full_adders.rest(graph, block, full_adders.full_adders(graph))
    return full_adders.joined(map_onto(design, technology, mapping=mapping, timeout_s=timeout_s))


def map_onto(
    design: str, technology: Technology, *, mapping: str = "balanced", timeout_s: float = 120
) -> Mapped:
    """Return a Verilog module ``datapath`` mapped onto a technology's cells; :class:`HwsimError` where it fails."""
    with yosys.workplace() as folder:
        (folder / "design.v").write_text(design)
        (folder / "cells.lib").write_text(technology.liberty())
        (folder / "map.abc").write_text(_script(mapping).replace("; ", "\n") + "\n")
        try:
            yosys.yosys(list(_COMMANDS), folder, timeout_s)
        except yosys.OutOfTimeError:
            raise HwsimError(f"logic synthesis took more than {timeout_s:g} s; raise the limit") from None
        try:
            module = json.loads((folder / "mapped.json").read_text())["modules"]["datapath"]
            return _of_cells(mapped(module), technology)
        except HwsimError:
            raise
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise HwsimError(
                f"{yosys.version()} ended well but wrote no netlist of its library; try it by hand, or take another"
            ) from None


def _of_cells(netlist: Mapped, technology: Technology) -> Mapped:
    """Return a netlist of a technology's cells, every net driven once; raise :class:`LookupError` for any other."""
    driven = [net for nets in netlist.inputs.values() for net in nets] + [0, 1]
    driven += [cell.output for cell in netlist.instances]
    read = {net for nets in netlist.outputs.values() for net in nets}
    for cell in netlist.instances:
        read.update(cell.pins.values())
        if set(cell.pins) != set(technology.cell[cell.cell].inputs):
            raise LookupError(cell.cell)
    if len(set(driven)) < len(driven) or not read <= set(driven):
        raise LookupError("net")
    return netlist


def _contents(
    datapath: Datapath, netlist: Mapped, technology: Technology
) -> tuple[dict[str, int], int, float]:
    """Return the number of each cell, the number of flip-flops among them, and the area of all."""
    counts = Counter(instance.cell for instance in netlist.instances)
    area = math.fsum(technology.cell[name].area * count for name, count in counts.items())
    counts.pop(full_adders.CARRY, None)  # the other output of a cell that is counted
    flip_flops = sum(register.format.bits for register in datapath.registers.values())
    if flip_flops:
        counts[technology.flip_flop.name] = flip_flops
    return dict(sorted(counts.items())), flip_flops, area + technology.flip_flop.area * flip_flops


def _leakage_nw(cells: Mapping[str, int], technology: Technology) -> float | None:
    """Return the leakage of all cells; none where the technology states none."""
    leakage = {name: cell.leakage for name, cell in technology.cell.items()}
    leakage[technology.flip_flop.name] = technology.flip_flop.leakage
    if not (technology.physical and any(leakage.values())):
        return None
    return round(math.fsum(leakage[name] * count for name, count in cells.items()), 3)


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
