"""``hwsim list``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hwsim.cli.options import Json
from hwsim.cli.output import print_json
from hwsim.errors import unknown

KINDS = ("models", "quantizers", "roundings", "datapaths", "technologies", "metrics", "searches")


def command(
    kind: Annotated[str, typer.Argument(help=f"One of {', '.join(KINDS)}; all of them if left out.")] = "",
    as_json: Json = False,
) -> None:
    """Say what exists, one line each."""
    catalogues = {name: _catalogue(name) for name in ([kind] if kind else KINDS)}
    if as_json:
        return print_json(catalogues)
    for name, entries in catalogues.items():
        print(name)
        width = max(map(len, entries))
        for entry, line in entries.items():
            print(f"  {entry:{width}}  {line}")
    return None


def _catalogue(kind: str) -> dict[str, str]:
    match kind:
        case "models":
            from hwsim.models import MODELS

            return {name: _first_line(build) for name, build in MODELS.items()}
        case "quantizers":
            from hwsim.quantize.settings import QUANTIZERS

            return {name: _first_line(threshold) for name, threshold in QUANTIZERS.items()}
        case "roundings":
            from hwsim.quantize.settings import ROUNDINGS

            return ROUNDINGS
        case "datapaths":
            from hwsim.datapath import DATAPATHS

            return {name: _first_line(datapath) for name, datapath in DATAPATHS.items()}
        case "technologies":
            from hwsim.cost.technology import TECHNOLOGIES

            return {name: technology.description for name, technology in TECHNOLOGIES.items()}
        case "metrics":
            from hwsim.explore.evaluation import METRICS

            return {m.name: f"{m.title} [{m.unit}, {m.better} is better]" for m in METRICS.values()}
        case "searches":
            from hwsim.explore.searches import SEARCHES

            return {name: _first_line(search) for name, search in SEARCHES.items()}
    raise unknown("catalogue", kind, KINDS)


def _first_line(thing: Any) -> str:
    return (thing.__doc__ or "").strip().partition("\n")[0]
