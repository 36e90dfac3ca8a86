"""A whole integer network in one compressed file, and the ledger of what its bytes are for.

The file is the frame of :mod:`hwsim.cost.compression` with a number of its own, and in it: the graph, which is the network
file's JSON deflated (zlib), its two lengths in front; the input table, packed; and a record for each layer with integers.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.columns import columns
from hwsim.cost.coding.bitstream import Reader, damaged, number
from hwsim.cost.coding.huffman import code_lengths
from hwsim.cost.compression import (
    CODERS,
    KINDS,
    Record,
    codes_of,
    constants,
    opened,
    read_constants,
    read_records,
    record_of,
    sealed,
)
from hwsim.cost.entropy import entropy_bits
from hwsim.errors import HwsimError
from hwsim.formats import parse_int
from hwsim.network import ARRAYS, MALFORMED, IntegerLayer, QuantizedNetwork, header, network_of

MAGIC = b"HWSZ\x02"
FRAME_BYTES = len(MAGIC) + 4
_GRAPH_MAXIMUM = 1 << 26
"""Characters a graph may have: far more than any network's, so that deflated zeros fill no memory."""

SCOPE = (
    "float32 is 4 bytes a weight and one bias an output channel of the layers with weights, batch norm folded"
)


@dataclass(frozen=True)
class LayerLedger:
    """What one layer's record holds, in bytes by kind, and what its weights take under every coder.

    ``coders`` count tables and indices; ``entropy_bytes`` is the Shannon bound of an order-0 code of all code words,
    without table. ``float32_bytes`` is 0 where a layer has no weights. ``code_lengths`` is the Huffman table of a layer in
    that code as :class:`hwsim.datapath.huffman_decode.HuffmanDecode` takes it, "" of others.
    """

    layer: str
    coder: str
    weights: int
    bytes_by_kind: Mapping[str, int]
    float32_bytes: int
    coders: Mapping[str, int]
    entropy_bytes: float
    code_lengths: str

    @property
    def bytes(self) -> int:
        return sum(self.bytes_by_kind.values())


@dataclass(frozen=True)
class Ledger:
    """Every byte of a compressed network: its layers' records, the graph, the input table and the frame."""

    network: str
    codec: str
    layers: tuple[LayerLedger, ...]
    graph_bytes: int
    input_table_bytes: int

    @property
    def record_bytes(self) -> int:
        """Bytes of all layers' records: the parameters, as a report's compressed file counts them."""
        return sum(layer.bytes for layer in self.layers)

    @property
    def bytes(self) -> int:
        """Bytes of the file."""
        return self.record_bytes + self.graph_bytes + self.input_table_bytes + FRAME_BYTES

    @property
    def float32_bytes(self) -> int:
        return sum(layer.float32_bytes for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        return {
            "network": self.network,
            "codec": self.codec,
            "bytes": self.bytes,
            "frame_bytes": FRAME_BYTES,
            "graph_bytes": self.graph_bytes,
            "input_table_bytes": self.input_table_bytes,
            "record_bytes": self.record_bytes,
            "float32_bytes": self.float32_bytes,
            "scope": SCOPE,
            "record_ratio": self.float32_bytes / self.record_bytes if self.layers else None,
            "file_ratio": self.float32_bytes / self.bytes,
            "layers": [_layer_json(layer) for layer in self.layers],
        }

    def text(self) -> str:
        """Return two tables for people, bytes by kind and by coder, and the ratios with their scope."""
        return "\n".join([self._kinds(), "", self._coders(), "", self._summary()])

    def _kinds(self) -> str:
        heads = ("layer", "coder", *KINDS, "bytes", "float32", "ratio")
        rows = [_kinds_row(layer) for layer in self.layers]
        sums = [sum(layer.bytes_by_kind[kind] for layer in self.layers) for kind in KINDS]
        totals = (*sums, self.record_bytes, self.float32_bytes)
        total = ("all layers", "", *map(str, totals), _ratio(self.float32_bytes, self.record_bytes))
        return "\n".join(columns([heads, *rows, total], left={0, 1}))

    def _coders(self) -> str:
        heads = ("weights of", "values", *(coder.replace("_", " ") for coder in CODERS), "entropy")
        weighted = [layer for layer in self.layers if layer.weights]
        rows = [
            (
                layer.layer,
                str(layer.weights),
                *(str(layer.coders.get(coder, "-")) for coder in CODERS),
                f"{layer.entropy_bytes:.0f}",
            )
            for layer in weighted
        ]
        sums = (_total(weighted, coder) for coder in CODERS)
        bound = f"{sum(layer.entropy_bytes for layer in weighted):.0f}"
        total = ("all layers", str(sum(layer.weights for layer in weighted)), *sums, bound)
        return "\n".join(columns([heads, *rows, total], left={0}))

    def _summary(self) -> str:
        return (
            f"file: {self.bytes} bytes: records {self.record_bytes}, graph {self.graph_bytes}, "
            f"input table {self.input_table_bytes}, frame {FRAME_BYTES}\n"
            f"float32 {self.float32_bytes} bytes: {_ratio(self.float32_bytes, self.record_bytes)} times the records, "
            f"{_ratio(self.float32_bytes, self.bytes)} times the file\n{SCOPE}; coders count their tables, entropy none"
        )


def pack_network(network: QuantizedNetwork, codec: str = "huffman") -> tuple[bytes, Ledger]:
    """Return the file of a whole network and its ledger; deterministic for a version of zlib.

    ``codec`` is one of :data:`hwsim.cost.compression.CODECS`. Raises :class:`HwsimError` where it is not.
    """
    text = json.dumps(header(network)).encode()
    if len(text) > _GRAPH_MAXIMUM:
        raise HwsimError(f"the graph is {len(text)} bytes of text, above {_GRAPH_MAXIMUM}; shorten its names")
    deflated = zlib.compress(text, 9)
    graph = number(len(text)) + number(len(deflated)) + deflated
    table = constants(network.input_table, network.input)
    held = [item for item in network.layers if any(getattr(item, field) is not None for field in ARRAYS)]
    records = [record_of(item, codec, CODERS) for item in held]
    lines = tuple(_ledger_line(item, record) for item, record in zip(held, records, strict=True))
    content = sealed(MAGIC + graph + table + b"".join(record.content for record in records))
    return content, Ledger(network.name, codec, lines, len(graph), len(table))


def unpack_network(content: bytes) -> QuantizedNetwork:
    """Return the network that :func:`pack_network` wrote, every integer and name of it.

    Raises :class:`HwsimError` for any other content. What is allocated stays in proportion to the file.
    """
    reader = opened(content, MAGIC)
    try:
        parsed = json.loads(_inflated(reader))
        table = read_constants(reader, parse_int(parsed["input"]))
        tensors = {} if table is None else {"input_table": table.reshape(-1, 256)}
        tensors |= _tensors(parsed, reader)
        return network_of(parsed, tensors)
    except HwsimError:
        raise
    except MALFORMED as error:
        raise damaged(f"its graph is none of hwsim ({type(error).__name__})") from None


def _inflated(reader: Reader) -> bytes:
    size, inflate = reader.number(), zlib.decompressobj()
    if size > _GRAPH_MAXIMUM:
        raise damaged(f"its graph is {size} bytes of text, above {_GRAPH_MAXIMUM}")
    try:
        text = inflate.decompress(reader.take(reader.number()), size + 1)
    except zlib.error:
        raise damaged("its graph does not inflate") from None
    if len(text) != size or not inflate.eof or inflate.unused_data:
        raise damaged("its graph has another length than it says")
    return text


def _tensors(parsed: Any, reader: Reader) -> dict[str, npt.NDArray[Any]]:
    """Return the records' arrays, named as the network file names them."""
    index = {row["layer"]["name"]: place for place, row in enumerate(parsed["layers"])}
    found = {}
    for name, parameters in read_records(reader).items():
        if name not in index:
            raise damaged(f'it has integers of "{name}", which is no layer of its graph')
        for field in ARRAYS:
            array = getattr(parameters, field)
            if array is not None:
                found[f"{index[name]}.{field}"] = array
    return found


def _ledger_line(item: IntegerLayer, record: Record) -> LayerLedger:
    count, bound, floats, lengths = 0, 0.0, 0, ""
    if item.weight is not None:
        codes = codes_of(item)
        count, floats = codes.size, 4 * (codes.size + item.layer.output_shape[0])
        bound = entropy_bits(np.bincount(codes.ravel())) * count / 8
        if record.coder == "huffman" and item.bits is not None:
            lengths = ",".join(map(str, code_lengths(codes, item.bits.weight.bits)))
    kinds = {kind: record.bytes_of(kind) for kind in KINDS}
    return LayerLedger(record.name, record.coder, count, kinds, floats, record.tried, bound, lengths)


def _layer_json(layer: LayerLedger) -> dict[str, Any]:
    return {
        "layer": layer.layer,
        "coder": layer.coder,
        "weights": layer.weights,
        "bytes": layer.bytes,
        "bytes_by_kind": dict(layer.bytes_by_kind),
        "float32_bytes": layer.float32_bytes,
        "coders": dict(layer.coders),
        "entropy_bytes": layer.entropy_bytes,
        "code_lengths": layer.code_lengths,
    }


def _kinds_row(layer: LayerLedger) -> tuple[str, ...]:
    floats = str(layer.float32_bytes) if layer.weights else ""
    return (
        layer.layer,
        layer.coder,
        *(str(layer.bytes_by_kind[kind]) for kind in KINDS),
        str(layer.bytes),
        floats,
        _ratio(layer.float32_bytes, layer.bytes) if floats else "",
    )


def _total(layers: list[LayerLedger], coder: str) -> str:
    """Return the bytes of all layers under a coder; "-" where one cannot be coded so."""
    if any(coder not in layer.coders for layer in layers):
        return "-"
    return str(sum(layer.coders[coder] for layer in layers))


def _ratio(floats: int, coded: int) -> str:
    return f"{floats / coded:.2f}" if coded else ""
