"""Tables as text for people."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence


def columns(rows: Sequence[Sequence[str]], left: Collection[int]) -> Iterator[str]:
    """Yield rows as lines, two blanks between columns as wide as their widest cell; columns not ``left`` are aligned right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = enumerate(zip(row, widths, strict=True))
        yield "  ".join(f"{cell:{'<' if k in left else '>'}{width}}" for k, (cell, width) in cells).rstrip()
