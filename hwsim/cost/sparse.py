"""What a sparse network takes in a file, and what is left of its weights: methods at equal sparsity side by side.

A file holds everything that the dequantized network's parameters are computed from: a record for each layer with
weights, its length in front, then all other parameters as float32, and frame and checksum as in
:mod:`hwsim.cost.compression`, whose Huffman coder (or packing, if that is smaller) codes the symbols of a layer
with the table in the file. A pruned weight is a symbol like any other. A record is the layer's name, its shape, its
alphabet with float32 constants (the table of shared values; a scale; a scale and two means) and the symbols.

Two ratios are stated against float32: that of the weights of convolutions and linear layers alone, and that of all
parameters, of which biases and batch norms stay as they are. Papers differ in what they count: :func:`float32_bytes`.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, replace

import numpy as np

from hwsim.cost.coding.bitstream import Reader, damaged, number
from hwsim.cost.compression import coded, read_codes
from hwsim.errors import HwsimError, unknown
from hwsim.formats import Focused, Int, IntArray
from hwsim.layers import Convolution
from hwsim.network import FloatArray, FloatNetwork
from hwsim.quantize.codebook import codebook
from hwsim.quantize.focused import SEPARATION, focus

MAGIC = b"HWSW\x01"
METHODS = ("focused", "shift", "codebook")
_ALPHABETS = ("plain", "recentralized", "codebook")


@dataclass(frozen=True, eq=False)
class Coded:
    """The symbols of a layer's weights, ``bits`` wide, and what they mean under an alphabet's constants."""

    symbols: IntArray
    bits: int
    alphabet: str
    constants: FloatArray

    @property
    def real(self) -> FloatArray:
        """The weights as floats."""
        if self.alphabet == "codebook":
            shared: FloatArray = self.constants[self.symbols]
            return shared
        values, masks = Focused(self.bits).decode(
            self.symbols, recentralized=self.alphabet == "recentralized"
        )
        whole = values.astype(np.float64)
        if masks is not None:
            whole = whole + np.tensordot(self.constants[1:], masks, axes=1)
        real: FloatArray = whole * self.constants[0]
        return real


@dataclass(frozen=True, eq=False)
class SparseFile:
    """A coded network: the file, how many of its bytes are weights, and the network that it decodes to.

    ``alphabets`` names the alphabet of each layer with weights.
    """

    method: str
    data: bytes
    weight_bytes: int
    network: FloatNetwork
    alphabets: dict[str, str]

    @property
    def weights_ratio(self) -> float:
        """Float32 bytes of the layers' weights by those they take here, tables included."""
        return float32_bytes(self.network)["weights"] / self.weight_bytes

    @property
    def ratio(self) -> float:
        """Float32 bytes of all parameters by those of the file."""
        return 4 * sum(array.size for array in self.network.parameters.values()) / len(self.data)


def float32_bytes(network: FloatNetwork) -> dict[str, int]:
    """Return what a network takes as float32, by what is counted: 4 bytes a number.

    "convolutions" are weights of convolutions alone, "weights" those of linear layers too, "learned" all that training
    moves, biases and batch norms' factors with them but not the statistics of these. Zhao, Gao, Bates, Mullins, Xu
    (Focused Quantization for Sparse CNNs, NeurIPS 2019, arXiv 1903.03046, table 1) print a dense size for each network
    without saying of what: their ResNet-50 is "convolutions", their MobileNets are "weights", their ResNet-18 is "learned".
    """
    sizes = {name: 4 * array.size for name, array in network.parameters.items()}
    weights = {layer.name: sizes[f"{layer.name}.weight"] for layer in network.layers if layer.has_weights}
    convolutions = [layer.name for layer in network.layers if isinstance(layer.operator, Convolution)]
    learned = (size for name, size in sizes.items() if ".running_" not in name)
    return {
        "convolutions": sum(weights[name] for name in convolutions),
        "weights": sum(weights.values()),
        "learned": sum(learned),
    }


def encode(
    network: FloatNetwork, method: str, bits: int = 5, *, separation: float = SEPARATION
) -> SparseFile:
    """Return a network's file under one of :data:`METHODS`; its zeros, if it was pruned, stay zero.

    "focused" chooses each layer's alphabet by ``separation``, "shift" is plain power-of-two symbols throughout,
    "codebook" is k-means with 2^bits - 1 shared values besides 0.
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    chosen = {name: _code(network.parameters[name], method, bits, separation) for name in _weights(network)}
    records = b"".join(_record(name, item) for name, item in chosen.items())
    others = {
        name: array.astype(np.float32) for name, array in network.parameters.items() if name not in chosen
    }
    rest = b"".join(others[name].astype("<f4").tobytes() for name in sorted(others))
    body = MAGIC + records + rest
    real = {name: item.real for name, item in chosen.items()}
    kept = {name: array.astype(np.float64) for name, array in others.items()}
    return SparseFile(
        method,
        body + zlib.crc32(body).to_bytes(4, "little"),
        len(records),
        replace(network, parameters={**kept, **real}),
        {name.removesuffix(".weight"): item.alphabet for name, item in chosen.items()},
    )


def decode(data: bytes, network: FloatNetwork) -> FloatNetwork:
    """Return the network of a file; structure and names are those of ``network``, whose numbers are not read."""
    if not data.startswith(MAGIC) or zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise HwsimError(
            "this is no coded sparse network, or its checksum is wrong; encode the network again"
        )
    reader, parameters = Reader(data[len(MAGIC) : -4]), {}
    for name in _weights(network):
        item = _read(Reader(reader.take(reader.number())), name)
        if item.symbols.shape != network.parameters[name].shape:
            raise damaged(f"{name} is {item.symbols.shape}")
        parameters[name] = item.real
    for name in sorted(set(network.parameters) - set(parameters)):
        shape = network.parameters[name].shape
        values = np.frombuffer(reader.take(4 * math.prod(shape)), "<f4")
        parameters[name] = values.reshape(shape).astype(np.float64)
    if reader.left:
        raise damaged("it has bytes behind its last parameter")
    return replace(network, parameters=parameters)


def _weights(network: FloatNetwork) -> list[str]:
    return [f"{layer.name}.weight" for layer in network.layers if layer.has_weights]


def _code(weights: FloatArray, method: str, bits: int, separation: float) -> Coded:
    if method == "codebook":
        shared = codebook(weights, bits)
        return Coded(shared.chosen, bits, "codebook", shared.values)
    form = focus(weights, Focused(bits), threshold=separation if method == "focused" else math.inf)
    symbols = Focused(bits).encode(form.values, form.masks)
    constants = np.array([form.scale, *(form.means or ())])
    return Coded(symbols, bits, "plain" if form.masks is None else "recentralized", constants)


def _record(name: str, item: Coded) -> bytes:
    text = name.encode()
    head = [len(text), *item.symbols.shape, _ALPHABETS.index(item.alphabet), item.bits, item.constants.size]
    numbers = b"".join(map(number, head))
    record = numbers + text + item.constants.astype("<f4").tobytes() + coded(item.symbols, item.bits)
    return number(len(record)) + record


def _read(record: Reader, name: str) -> Coded:
    length, *shape, alphabet, bits, count = (record.number() for _ in range(8))
    if record.take(length) != name.encode() or alphabet >= len(_ALPHABETS) or not 1 <= bits <= 8:
        raise damaged(f"it has another layer where {name} should be")
    constants = np.frombuffer(record.take(4 * count), "<f4").astype(np.float64)
    symbols, _ = read_codes(record, tuple(shape), Int(bits, signed=False))
    if record.left or count != (1 << bits if _ALPHABETS[alphabet] == "codebook" else 1 + 2 * alphabet):
        raise damaged(f"{name} has {count} constants or bytes behind its symbols")
    return Coded(symbols, bits, _ALPHABETS[alphabet], constants)
