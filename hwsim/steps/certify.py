"""``hwsim certify``: which accumulators no input can overflow, with a witness run on the circuit where one can."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.certificate import Certificate, certify, witness
from hwsim.datapath import multiply_accumulate
from hwsim.datapath.datapath import refuse_scheduled
from hwsim.network import QuantizedNetwork
from hwsim.simulate.lanes import reduce
from hwsim.steps.inputs import read_network


@dataclass(frozen=True, eq=False)
class Verdict:
    """A layer's certificate and, where it is unsafe, activations that overflow a channel, run on its circuit.

    ``activations`` [products] come in summing order; ``overflowed`` says whether the circuit's sum left the
    range, as the certificate says it does.
    """

    certificate: Certificate
    channel: int | None = None
    activations: tuple[int, ...] = ()
    overflowed: bool = False

    def __str__(self) -> str:
        if self.channel is None:
            return str(self.certificate)
        seen = "overflows" if self.overflowed else "DOES NOT overflow"
        return f"{self.certificate}; a witness {seen} channel {self.channel} of the circuit"

    def to_json(self) -> dict[str, Any]:
        seen = {"channel": self.channel, "activations": self.activations, "overflowed": self.overflowed}
        return self.certificate.to_json() | {"witness": None if self.channel is None else seen}


def certify_network(network: QuantizedNetwork | Path | str, *, mac: str = "mac") -> tuple[Verdict, ...]:
    """Return, for every layer with weights, whether any input can overflow its accumulator, and a witness if so.

    The witness is run on the compiled circuit of ``mac``.
    """
    chosen = read_network(network)
    return tuple(_verdict(chosen, certificate, mac) for certificate in certify(chosen))


def _verdict(network: QuantizedNetwork, certificate: Certificate, mac: str) -> Verdict:
    if certificate.proved:
        return Verdict(certificate)
    channel = int(certificate.unsafe[0])
    activations = witness(network, certificate.layer, channel)
    weight = next(item.weight for item in network.layers if item.layer.name == certificate.layer)
    assert activations is not None and weight is not None
    circuit = multiply_accumulate(certificate.bits, mac)
    refuse_scheduled(circuit, "a witness")
    sums = reduce(circuit, activations[None], weight[channel].reshape(-1, 1), observe=["overflow"])
    return Verdict(certificate, channel, tuple(activations.tolist()), bool(np.all(sums.overflowed)))
