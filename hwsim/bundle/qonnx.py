"""ONNX with QONNX's Quant nodes, for integers of any width.

A. Pappalardo, Y. Umuroglu et al., "QONNX: Representing Arbitrary-Precision Quantized Neural Networks", 2022:
Quant(x, scale, zero point, bit width) with attributes signed, narrow and rounding_mode.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hwsim.bundle.onnx_graph import Dialect, Graph, model
from hwsim.formats import Int, IntArray
from hwsim.network import FloatArray, QuantizedNetwork

DOMAIN = "qonnx.custom_op.general"


def qonnx_model(network: QuantizedNetwork, names: Mapping[str, str]) -> bytes:
    """Return a network as ONNX with Quant nodes; powers of two are integers wide enough for them."""
    return model(network, names, Dialect(_activation, _activation, _weight, DOMAIN))


def _activation(graph: Graph, x: str, form: Int, scale: FloatArray) -> str:
    return _quant(graph, x, form, scale.reshape(1, -1, 1, 1) if scale.size > 1 else scale.reshape(()))


def _weight(graph: Graph, weight: IntArray, form: Int, scale: FloatArray) -> str:
    steps = scale.reshape(-1, 1, 1, 1)
    return _quant(graph, graph.constant(weight.astype(np.float32) * steps.astype(np.float32)), form, steps)


def _quant(graph: Graph, x: str, form: Int, scale: FloatArray) -> str:
    constants = (scale.astype(np.float32), np.float32(0), np.float32(form.bits))
    return graph.node(
        "Quant",
        x,
        *(graph.constant(np.asarray(array)) for array in constants),
        domain=DOMAIN,
        signed=int(form.signed),
        narrow=0,
        rounding_mode="ROUND",
    )
