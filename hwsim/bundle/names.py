"""Names from models as identifiers: nothing else of a name reaches Verilog, a file's name or a shell."""

from __future__ import annotations

import re
from collections.abc import Sequence

SLUG = 28
"""Characters of a name that its identifier keeps."""


def identifiers(names: Sequence[str]) -> dict[str, str]:
    """Return an identifier for each of different names: its number, then what of it is a letter or digit of ASCII.

    Injective by the number, also where case is ignored; at most 41 characters for a network of 10^10 layers. An
    identifier is no keyword of Verilog or C, no reserved file name, and no option of a command.

    >>> identifiers(["conv", "Conv", "x; endmodule"])
    {'conv': 'n0_conv', 'Conv': 'n1_conv', 'x; endmodule': 'n2_x_endmodule'}
    """
    return {name: f"n{number}_{_slug(name)}".rstrip("_") for number, name in enumerate(names)}


def _slug(name: str) -> str:
    return re.sub("[^a-z0-9]+", "_", name[: 4 * SLUG].lower(), flags=re.ASCII).strip("_")[:SLUG]


def quoted(text: str) -> str:
    """Return a text as Markdown code on one line of ASCII; what is no plain character is escaped.

    >>> quoted("a`b|<é>")
    '`a\\\\u0060b\\\\u007c\\\\u003c\\\\u00e9\\\\u003e`'
    """
    plain = re.compile(r"[A-Za-z0-9 _.,:;=+*/()\[\]'-]")
    escaped = "".join(c if plain.fullmatch(c) else _escape(ord(c)) for c in text)
    return f"`{escaped}`"


def _escape(code: int) -> str:
    return f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"
