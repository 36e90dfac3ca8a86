"""How names, numbers and bits are put into words; names come from files and are untrusted."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import cache
from itertools import groupby

from hwsim.bits import LayerBits
from hwsim.errors import HwsimError
from hwsim.explore.evaluation import DesignPoint, Metric
from hwsim.formats import AdditivePowersOfTwo, Focused, Overflow, PowerOfTwo

TIMES = "\N{MULTIPLICATION SIGN}"
_BIDIRECTIONAL = "\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def visible(text: str) -> str:
    """Return text in which nothing acts on a terminal or turns the reading direction: such characters become signs.

    >>> visible("a\\x1b[31mb")
    'a\u241b[31mb'
    """
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _BIDIRECTIONAL:
        return "\ufffd"
    return character


def number(value: float) -> str:
    """Return a number for reading: whole and with thousands' commas from 1000 up, else three significant digits.

    >>> number(132412.2), number(0.04567), number(12)
    ('132,412', '0.0457', '12')
    """
    if value == round(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 1e-4 else f"{value:.{max(0, 2 - _exponent(value))}f}"


def signed(value: float) -> str:
    """Return a change for reading: with its sign, and whole.

    >>> signed(-1234.4) == "\N{MINUS SIGN}1,234", signed(12), signed(0.2)
    (True, '+12', '0')
    """
    return f"{round(value):+,}".replace("-", "\N{MINUS SIGN}") if round(value) else "0"


def _exponent(value: float) -> int:
    return int(f"{value:e}".partition("e")[2])


def figure(metric: Metric, value: float) -> str:
    """Return a metric's value without its unit; percentages, points and ratios have two decimals."""
    return f"{value:.2f}" if metric.unit in ("%", "points", "x") else number(value)


def unit(metric: Metric) -> str:
    """Return a metric's unit with the sign people write."""
    return {"x": TIMES, "mm2": "mm²", "us": "µs", "uJ": "µJ"}.get(metric.unit, metric.unit)


def quantity(metric: Metric, value: float) -> str:
    """Return a metric's value with its unit: ``98.20%``, ``4.10x``, ``12,300 NAND2``."""
    return f"{figure(metric, value)}{'' if metric.unit in ('%', 'x') else ' '}{unit(metric)}"


def caption(metric: Metric) -> str:
    """Return a metric's name as people write it: ``Accuracy loss``."""
    written = {"flip_flops": "Flip-flops", "file_bytes": "File size"}
    return written.get(metric.name, metric.name.replace("_", " ").capitalize())


@cache
def layer_bits(text: str) -> LayerBits | None:
    """Return the bits a layer's text names, None where it names none."""
    try:
        return LayerBits.parse(text, signed=False)
    except (HwsimError, ValueError):
        return None


def bit_columns(point: DesignPoint) -> tuple[tuple[str, str], ...]:
    """Return (what, run-length text over the layers in order) for weights, activations, accumulators, chosen coders and quantizers.

    ``8 4x6 p3`` reads: 8 bits, then six layers of 4, then a power of two in 3. Signed activations are
    marked s, saturating accumulators sat. Bits that are not understood are returned as they are.
    """
    parsed = [layer_bits(text) for _, text in point.bits]
    bits = [item for item in parsed if item is not None]
    if len(bits) < len(parsed):
        return (("bits", runs(text for _, text in point.bits)),)
    return (
        ("weights", runs(_weight(b) for b in bits)),
        ("activations", runs(f"{b.activation.bits}{'s' if b.activation.signed else ''}" for b in bits)),
        ("accumulators", runs(_accumulator(b) for b in bits)),
        *((("coders", runs(point.coders)),) if point.coders else ()),
        *((("quantizers", _quantizers(point)),) if point.layer_quantizers else ()),
    )


def short_bits(point: DesignPoint) -> str:
    """Return a point's bits on one line: ``w 8 4x6 · a 8 4x6 · acc 16x7``."""
    short = {
        "weights": "w",
        "activations": "a",
        "accumulators": "acc",
        "coders": "code",
        "quantizers": "q",
        "bits": "",
    }
    return " · ".join(f"{short[what]} {text}".strip() for what, text in bit_columns(point))


def _quantizers(point: DesignPoint) -> str:
    """Return what layers' quantizers differ in from the design's, - for nothing."""
    return runs(text.replace(" ", ",") or "-" for text in point.layer_quantizers)


def _weight(bits: LayerBits) -> str:
    return f"{_LETTERS.get(type(bits.weight), '')}{bits.weight.bits}"


_LETTERS = {PowerOfTwo: "p", AdditivePowersOfTwo: "apot", Focused: "f"}


def _accumulator(bits: LayerBits) -> str:
    return f"{bits.accumulator.bits}{'sat' if bits.overflow is Overflow.SATURATE else ''}"


def runs(words: Iterable[str]) -> str:
    """Return words with repetitions counted.

    >>> runs(["8", "4", "4", "8"]).replace(TIMES, "x")
    '8 4x2 8'
    """
    counted = ((word, len(list(group))) for word, group in groupby(words))
    return " ".join(word if count == 1 else f"{word}{TIMES}{count}" for word, count in counted)


def differing(texts: Iterable[str]) -> dict[str, str]:
    """Return each text without the words that all of them share.

    >>> differing(["bits=4 method=kl", "bits=4 method=aciq"])
    {'bits=4 method=kl': 'method=kl', 'bits=4 method=aciq': 'method=aciq'}
    """
    words = {text: text.split() for text in texts}
    shared = set.intersection(*map(set, words.values())) if words else set()
    return {text: " ".join(w for w in split if w not in shared) for text, split in words.items()}
