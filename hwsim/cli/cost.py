"""``hwsim cost``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hwsim.cli.options import Json
from hwsim.cli.output import print_json
from hwsim.errors import HwsimError


def command(
    datapath: Annotated[str, typer.Argument(help="A datapath's name, or file.py:name.")],
    weight: Annotated[str, typer.Option(help="Weight format: int4, pow2x4, apot4 ...")] = "",
    activation: Annotated[str, typer.Option(help="Activation format: uint8, int4 ...")] = "",
    accumulator: Annotated[str, typer.Option(help="Accumulator format: int16, int32 ...")] = "",
    overflow: Annotated[str, typer.Option(help="wrap or saturate.")] = "",
    parameter: Annotated[
        list[str] | None, typer.Option("--set", help="Any other parameter of the datapath, name=value.")
    ] = None,
    technology: Annotated[str, typer.Option(help="The cell library to map to.")] = "open45",
    liberty: Annotated[str, typer.Option(help="A Liberty file (.lib, .lib.gz) to map to instead.")] = "",
    mapping: Annotated[str, typer.Option(help="smallest, balanced, fastest or full_adders.")] = "balanced",
    timeout: Annotated[float, typer.Option(min=1, help="Seconds the synthesis may take.")] = 120,
    estimate: Annotated[
        bool,
        typer.Option("--estimate", help="Never synthesise: what is not known is estimated, with its error."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Synthesise a circuit: gates, area, delay."""
    from hwsim.steps.cost import cost_datapath, estimate_datapath, make_datapath

    formats = {"weight": weight, "activation": activation, "accumulator": accumulator, "overflow": overflow}
    parameters = {name: text for name, text in formats.items() if text}
    for text in parameter or []:
        name, separator, value = text.partition("=")
        if not separator:
            raise HwsimError(f'--set "{text}" is no name=value; write --set multiplier=fused, say')
        parameters[name] = value
    given: dict[str, Any] = {"technology": technology, "liberty": liberty, "mapping": mapping, **parameters}
    cost = (
        estimate_datapath(datapath, **given)
        if estimate
        else cost_datapath(datapath, timeout_s=timeout, **given)
    )
    if as_json:
        return print_json(cost.to_json())
    print(cost)
    products = getattr(make_datapath(datapath, **parameters), "products", 1)
    if products > 1:
        print(
            f"  a product      {cost.nand2_equivalents / products:.1f} NAND2 equivalents, one of {products}"
        )
    return None
