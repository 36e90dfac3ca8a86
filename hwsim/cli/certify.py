"""``hwsim certify``."""

from __future__ import annotations

from typing import Annotated

import typer

from hwsim.cli.options import Json, NetworkFile
from hwsim.cli.output import print_json


def command(
    network: NetworkFile,
    mac: Annotated[
        str, typer.Option(help="The multiply-accumulate that runs witnesses, or file.py:name.")
    ] = "mac",
    as_json: Json = False,
) -> None:
    """Say which accumulators no input can overflow.

    Decided exactly from the integer weights, channel by channel. Where an input can, a witness is run on the
    circuit; a witness that does not overflow it ends with exit status 1."""
    from hwsim.steps.certify import certify_network

    verdicts = certify_network(network, mac=mac)
    proved = sum(v.certificate.proved for v in verdicts)
    if as_json:
        layers = [verdict.to_json() for verdict in verdicts]
        print_json({"certified": len(verdicts), "proved": proved, "layers": layers})
    else:
        width = max(len(v.certificate.layer) for v in verdicts)
        bits = max(len(str(v.certificate.bits)) for v in verdicts)
        for verdict in verdicts:
            c = verdict.certificate
            print(f"{c.layer:{width}}  {c.bits!s:{bits}}  {c.products:6} products  {verdict}")
        print(f"{proved} of {len(verdicts)} layers are proved safe")
    if any(v.channel is not None and not v.overflowed for v in verdicts):
        raise typer.Exit(1)
