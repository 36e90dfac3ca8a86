"""Decoders of coded weights: the file's own streams as memories that feed them, and the code words that must come out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hwsim.bundle.vectors import digits
from hwsim.cost.compression import codes_of, record_of
from hwsim.cost.decoding import Decoder, decoding, weight_widths
from hwsim.datapath.datapath import describe
from hwsim.datapath.netlist import RESET, port_name
from hwsim.datapath.weight_stream import WIDTH
from hwsim.datapath.word_stream import WORD_BITS
from hwsim.errors import HwsimError
from hwsim.formats import IntArray
from hwsim.network import IntegerLayer, QuantizedNetwork
from hwsim.simulate.circuit import run

TRIED = 64
"""Code words of each layer, from the first on, that PyRTL sees decoded before a decoder is exported."""

_KINDS = {"word": "weights", "index_word": "indices"}
"""What of a layer's record each port of a decoder reads."""


@dataclass(frozen=True, eq=False)
class CodedWeights:
    """A layer's weights in a code, and the circuit that decodes them, one a cycle.

    ``words`` are the bus words that each port reads, as hexadecimal text, a word of zeros behind the last; ``widths`` those of
    the weights' channels where these have their own, ``codes`` what comes out, int64 [weights].
    """

    layer: str
    part: str
    decoder: Decoder
    words: Mapping[str, tuple[str, ...]]
    widths: IntArray | None
    codes: IntArray

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def file(self) -> str:
        """Where the code words lie in a bundle."""
        return f"vectors/{self.layer}_{self.part}.hex"

    @property
    def row_bits(self) -> int:
        """Bits of a line of :attr:`file`."""
        return 4 * sum(_row_digits(self.decoder))

    def memory(self, port: str) -> str:
        """Return where the words of a port lie."""
        return f"memories/{self.layer}_coded_{_KINDS[port]}.hex"

    def files(self) -> Iterator[tuple[str, str]]:
        """Yield the path and text of every file: memories, and a line of width, if any, and code word a weight."""
        for port, words in self.words.items():
            head = f"// {len(words)} bus words of {WORD_BITS} bits, the first bit of the stream highest"
            yield self.memory(port), "\n".join([head, *words, ""])
        wide = _row_digits(self.decoder)[0]
        lines = [f"{code:0{wide}x}" for code in self.codes.tolist()]
        if self.widths is not None:
            lines = [f"{width:02x}_{line}" for width, line in zip(self.widths.tolist(), lines, strict=True)]
        head = "// symbol" if self.widths is None else "// width, symbol"
        yield self.file, "\n".join([head, *lines, ""])


def coded_weights(
    network: QuantizedNetwork, names: Mapping[str, str], coders: Mapping[str, str]
) -> dict[str, CodedWeights]:
    """Return by name the layers whose weights a circuit decodes; ``names`` are identifiers and ``coders`` those of layers by name.

    Raises :class:`HwsimError` where PyRTL sees a decoder make other code words of the first weights.
    """
    found: dict[str, CodedWeights] = {}
    for item in network.layers:
        name = item.layer.name
        how = decoding(item, coders.get(name, ""))
        if how.circuit is not None:
            found[name] = _coded(item, names[name], how.part, how.coder, how.circuit)
    return found


def _coded(item: IntegerLayer, name: str, part: str, coder: str, decoder: Decoder) -> CodedWeights:
    codes, widths = codes_of(item).ravel(), weight_widths(item)
    seen = run(decoder, decoder.streams(codes[:TRIED], widths[:TRIED]))["symbol"]
    if not np.array_equal(seen, codes[:TRIED]):
        raise HwsimError(
            f"{describe(decoder)} does not decode the weights of {name}; find out where with hwsim check"
        )
    record = record_of(item, coder)
    words = {
        port: _words(b"".join(content for kind, content in record.parts if kind == _KINDS[port]))
        for port in decoder.inputs
        if port in _KINDS
    }
    return CodedWeights(name, part, decoder, words, widths if "width" in decoder.inputs else None, codes)


def _words(content: bytes) -> tuple[str, ...]:
    size = WORD_BITS // 8
    padded = content + bytes(-len(content) % size + size)
    return tuple(padded[at : at + size].hex() for at in range(0, len(padded), size))


def _row_digits(decoder: Decoder) -> tuple[int, int]:
    """Return the hexadecimal digits of a line's code word, and of the width in front of it."""
    return digits(decoder.outputs["symbol"]), digits(WIDTH) if "width" in decoder.inputs else 0


def declared(module: str, layers: Sequence[CodedWeights]) -> list[str]:
    """Return the memories of a decoder, the decoder under test, and the task that runs a layer's weights through it."""
    decoder, longest = layers[0].decoder, max(map(len, layers))
    symbol, width = _row_digits(decoder)
    ports = [port for port in decoder.inputs if port in _KINDS]
    lines = [f"reg [{layers[0].row_bits - 1}:0] {module}_rows [0:{longest - 1}], {module}_row;"]
    pins = [f".CLOCK(CLOCK), .{port_name(RESET)}({RESET})"]
    for port in ports:
        words = max(len(one.words[port]) for one in layers)
        lines.append(f"reg [{WORD_BITS - 1}:0] {module}_{port}s [0:{words - 1}], {module}_{port};")
        lines.append(f"wire {module}_{_taken(port)};")
        lines.append(f"integer {module}_{port}_at;")
        pins += [f".{port_name(name)}({module}_{name})" for name in (port, _taken(port))]
    if width:
        pins.append(f".{port_name('width')}({module}_row[{4 * symbol + WIDTH.bits - 1}:{4 * symbol}])")
    bits = decoder.outputs["symbol"].bits
    lines.append(f"wire [{bits - 1}:0] {module}_symbol;")
    pins.append(f".{port_name('symbol')}({module}_symbol)")
    return [*lines, f"{module} {module}_tested({', '.join(pins)});", *_task(module, ports, bits)]


def _taken(port: str) -> str:
    return port.replace("word", "taken")


def _task(module: str, ports: Sequence[str], bits: int) -> list[str]:
    expected = f"{module}_row[{bits - 1}:0]"
    told = f"FAIL %0s, {module}, weight %0d: it is %h, expected %h"
    return [
        f"task {module}_check(input [8*41-1:0] layer, input integer count);",
        "  begin",
        *(f"    {module}_{port}_at = 0;" for port in ports),
        f"    {RESET} = 1;",
        "    #1 CLOCK = 1;",
        "    #1 CLOCK = 0;",
        f"    {RESET} = 0;",
        "    for (ROW = 0; ROW < count; ROW = ROW + 1) begin",
        f"      {module}_row = {module}_rows[ROW];",
        *(f"      {module}_{port} = {module}_{port}s[{module}_{port}_at];" for port in ports),
        "      VECTORS = VECTORS + 1;",
        "      #1;",
        f"      if (^{module}_row === 1'bx || {module}_symbol !== {expected}) begin",
        "        fail;",
        f'        if (ERRORS < SHOWN) $display("{told}", layer, ROW + 1, {module}_symbol, {expected});',
        "      end",
        *(f"      {module}_{port}_at = {module}_{port}_at + {module}_{_taken(port)};" for port in ports),
        "      CLOCK = 1;",
        "      #1;",
        "      CLOCK = 0;",
        "    end",
        "  end",
        "endtask",
    ]
