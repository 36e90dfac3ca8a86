"""The bit configuration: the contract between quantization, datapath and cost.

One :class:`LayerBits` per layer with weights. Its text is ``int4*uint8/int16`` (weight, activation and
accumulator formats), with ``/saturate`` behind it where the accumulator does not wrap. The shorthand
``w4a8/int16`` (``p4a8/int16`` for power-of-two, ``apot4a8/int16`` for additive, ``f5a8/int32`` for focused weights) leaves the activation's sign to the tensor.

``w4a4/int32 edges=8`` keeps a network's edges wider, the exceptions of Banner, Nahshan, Soudry (NeurIPS 2019) as
their code makes them: 8 bits for the weights and the output of the first layer, for the weights of the
classifier and for what pooling puts out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

from hwsim.errors import HwsimError
from hwsim.files import parse_toml
from hwsim.formats import (
    AdditivePowersOfTwo,
    Focused,
    Int,
    Overflow,
    PowerOfTwo,
    WeightFormat,
    parse_int,
    parse_weight,
)

_SHORT = re.compile(r"[^=]*|\S+ edges=\S*")
"""What stands for all layers on one line; any other text with an equals sign is a file."""

_WEIGHTS: dict[str, type[WeightFormat]] = {
    "w": Int,
    "p": PowerOfTwo,
    "apot": AdditivePowersOfTwo,
    "f": Focused,
}

_SHORTHAND = re.compile(r"(w|p|apot|f)(\d{1,2})([aus])(\d{1,2})", re.ASCII)


@dataclass(frozen=True, order=True)
class LayerBits:
    """Formats of one layer's weights, input activations and accumulator, and what an overflow does.

    >>> str(LayerBits.parse("w4a8/int16/saturate", signed=False))
    'int4*uint8/int16/saturate'
    """

    weight: WeightFormat
    activation: Int
    accumulator: Int
    overflow: Overflow = Overflow.WRAP

    def __post_init__(self) -> None:
        _within("weight", self.weight, 2, 8)
        _within("activation", self.activation, 2, 8)
        _within("accumulator", self.accumulator, 8, 32)
        if not self.weight.signed:
            raise HwsimError(f"weights are signed, not {self.weight}; write int{self.weight.bits}")
        if not self.accumulator.signed:
            raise HwsimError(
                f"accumulators are signed, not {self.accumulator}; write int{self.accumulator.bits}"
            )

    def __str__(self) -> str:
        tail = "" if self.overflow is Overflow.WRAP else f"/{self.overflow}"
        return f"{self.weight}*{self.activation}/{self.accumulator}{tail}"

    @classmethod
    def parse(cls, text: str, signed: bool) -> LayerBits:
        """Return the bits a text or shorthand names; ``signed`` says whether the layer's input can be negative.

        An unsigned activation on an input that can be negative is refused.
        """
        operands, *rest = text.split("/")
        match = _SHORTHAND.fullmatch(operands)
        if match is not None:
            weight: WeightFormat = _WEIGHTS[match[1]](int(match[2]))
            activation = Int(int(match[4]), signed=match[3] == "s" or (match[3] == "a" and signed))
        elif operands.count("*") == 1:
            weight_text, activation_text = operands.split("*")
            weight, activation = parse_weight(weight_text), parse_int(activation_text)
        else:
            raise HwsimError(
                f'bits "{text}" are not understood; write w4a8/int16, p4a8/int16 or int4*uint8/int16/saturate'
            )
        if signed and not activation.signed:
            raise HwsimError(
                f'bits "{text}": the input can be negative, which {activation} cannot hold; write int{activation.bits}'
            )
        if len(rest) > 2:
            raise HwsimError(
                f'bits "{text}" have more than an accumulator and an overflow; write w4a8/int16/saturate'
            )
        accumulator = parse_int(rest[0]) if rest else Int(32)
        return cls(
            weight, activation, accumulator, parse_overflow(rest[1]) if len(rest) == 2 else Overflow.WRAP
        )


def parse_overflow(text: str) -> Overflow:
    """Return the overflow mode a text names."""
    try:
        return Overflow(text)
    except ValueError:
        raise HwsimError(f'unknown overflow "{text}"; write wrap or saturate') from None


def _within(what: str, value: WeightFormat, low: int, high: int) -> None:
    if not low <= value.bits <= high:
        raise HwsimError(
            f"{what} width {value.bits} of {value} is out of range; {what}s have {low} to {high} bits"
        )


@dataclass(frozen=True)
class BitConfig(Mapping[str, LayerBits]):
    """The bits of every layer with weights, in network order.

    ``quantizers`` holds the layers whose settings (:mod:`hwsim.quantize.settings`) differ from the network's, each with the
    text of those that do.
    """

    items_: tuple[tuple[str, LayerBits], ...]
    quantizers: tuple[tuple[str, str], ...] = ()

    def __getitem__(self, name: str) -> LayerBits:
        return dict(self.items_)[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.items_)

    def __len__(self) -> int:
        return len(self.items_)

    def to_toml(self) -> str:
        """Return the file form: one line per layer under ``[layers]``, and under ``[quantizers]`` for those that have one."""
        lines = ["[layers]", *(f'{quoted(name)} = "{bits}"' for name, bits in self.items_), ""]
        if self.quantizers:
            own = (f"{quoted(name)} = {quoted(text)}" for name, text in self.quantizers)
            lines += ["[quantizers]", *own, ""]
        return "\n".join(lines)


class Edges(NamedTuple):
    """Layers of which ``edges`` sets the weights, and layers of which it sets the input activation."""

    weights: frozenset[str] = frozenset()
    activations: frozenset[str] = frozenset()

    def widen(self, name: str, bits: LayerBits, width: int) -> LayerBits:
        """Return a layer's bits with ``width`` where it is at an edge."""
        if name in self.weights:
            bits = replace(bits, weight=Int(width))
        if name in self.activations:
            bits = replace(bits, activation=Int(width, bits.activation.signed))
        return bits


_NO_EDGES = Edges()
_NONE: Mapping[str, str] = MappingProxyType({})


def read_bits(text: str, layers: Mapping[str, bool], edges: Edges = _NO_EDGES) -> BitConfig:
    """Return the configuration that a TOML text (or one shorthand for all layers) gives ``layers``.

    ``layers`` maps each layer with weights to whether its input can be negative; ``edges`` are the network's.
    A layer that is missing or unknown is refused. In the file, ``default = "w8a8/int32"`` (or ``"w4a4/int32
    edges=8"``) above ``[layers]`` serves the rest; ``[quantizers]`` names the settings of a layer that differ from the
    network's, ``conv = "weights=mse"``.
    """
    if "\n" not in text and _SHORT.fullmatch(text):
        return bit_config((name, _default(text, name, signed, edges)) for name, signed in layers.items())
    document = parse_toml(text, "bit configuration")
    given, quantizers = document.get("layers", {}), document.get("quantizers", {})
    default = document.get("default")
    wrong = set(document) - {"layers", "quantizers", "default"}
    wrong |= {name for name in ("layers", "quantizers") if not isinstance(document.get(name, {}), dict)}
    if wrong:
        raise HwsimError(
            f'the bit configuration holds "{min(wrong)}"; it takes default, a [layers] table and a [quantizers] table'
        )
    for name in (*given, *quantizers):
        if name not in layers:
            raise HwsimError(
                f'the bit configuration names layer "{name}"; the network has {", ".join(layers)}'
            )
    chosen: list[tuple[str, LayerBits]] = []
    for name, signed in layers.items():
        bits = given.get(name, default)
        if not isinstance(bits, str):
            raise HwsimError(
                f'the bit configuration gives layer "{name}" no bits; add a line {quoted(name)} = "w8a8/int32"'
            )
        parsed = LayerBits.parse(bits, signed) if name in given else _default(bits, name, signed, edges)
        chosen.append((name, parsed))
    for name, text in quantizers.items():
        if not isinstance(text, str):
            raise HwsimError(
                f'the quantizer of layer "{name}" is no text; write {quoted(name)} = "weights=mse", say'
            )
    return bit_config(chosen, quantizers)


def _default(text: str, name: str, signed: bool, edges: Edges) -> LayerBits:
    """Return the bits that a text for all layers gives one of them."""
    bits, _, option = text.partition(" ")
    parsed = LayerBits.parse(bits, signed)
    if not option:
        return parsed
    key, _, width = option.partition("=")
    if key != "edges" or not width.isdecimal():
        raise HwsimError(f'bits "{text}" are not understood; write w4a4/int32 edges=8, say')
    return edges.widen(name, parsed, int(width))


def bit_config(items: Iterable[tuple[str, LayerBits]], quantizers: Mapping[str, str] = _NONE) -> BitConfig:
    """Return a configuration of (layer name, bits) pairs, and the quantizers of layers that have one of their own."""
    chosen = tuple(items)
    return BitConfig(chosen, tuple((name, quantizers[name]) for name, _ in chosen if name in quantizers))


def quoted(text: str) -> str:
    """Return a text as a TOML string or key.

    >>> print(quoted('conv "1"'))
    "conv \\"1\\""
    """
    escaped = "".join(
        f"\\u{ord(c):04x}" if ord(c) < 32 or ord(c) == 127 else "\\" + c if c in '"\\' else c for c in text
    )
    return f'"{escaped}"'
