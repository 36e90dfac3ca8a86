"""The mapped netlist of a datapath, kept: what switching activity is counted on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from hwsim import cache
from hwsim.cost import equivalence, yosys
from hwsim.cost.netlist import Instance, Mapped
from hwsim.cost.synthesis import MAPPINGS, map_block, recipe
from hwsim.cost.technology import Technology
from hwsim.datapath.datapath import Datapath, describe
from hwsim.datapath.netlist import clock_cycle, verilog
from hwsim.errors import HwsimError, unknown

_FORM = "1"


@lru_cache(maxsize=128)
def mapped_netlist(
    datapath: Datapath, technology: Technology, *, mapping: str = "balanced", timeout_s: float = 120
) -> Mapped:
    """Return one clock cycle of a datapath, its synchronous reset included, in a technology's cells.

    The netlist is the one that :func:`hwsim.cost.synthesis.synthesize` measures. It is proved equal to its circuit and
    kept in the user's cache folder (``HWSIM_CACHE``) by circuit, technology, mapping point and tool. Raises
    :class:`HwsimError` where it cannot be made or proved.
    """
    if mapping not in MAPPINGS:
        raise unknown("mapping", mapping, MAPPINGS)
    block = clock_cycle(datapath)
    design = verilog(block)
    facts = (_FORM, design, str(technology), technology.digest, yosys.version(), mapping, recipe(mapping))
    key = hashlib.sha256("\0".join(facts).encode()).hexdigest()
    kept = cache.recall("netlists", f"{key}.json")
    if kept is not None:
        return _from_json(json.loads(kept))
    netlist = map_block(block, technology, mapping=mapping, timeout_s=timeout_s)
    equivalent, method = equivalence.compare(block, netlist, technology, timeout_s)
    if not equivalent:
        raise HwsimError(f"{describe(datapath)} in {technology}: {method}; raise the time limit")
    cache.remember(json.dumps(asdict(netlist)).encode(), "netlists", f"{key}.json")
    return netlist


def _from_json(table: dict[str, Any]) -> Mapped:
    cells = (Instance(**row) for row in table["instances"])
    return Mapped(table["inputs"], table["outputs"], tuple(cells))
