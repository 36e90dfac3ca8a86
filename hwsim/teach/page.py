"""The teaching page as one HTML file that needs no network: its data, script and style inside, under a policy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwsim import inline


def page(data: Mapping[str, Any]) -> str:
    """Return the page of the data that :func:`hwsim.teach.measure.measure` gives; the same data give the same bytes.

    Its policy allows its one script and its one style sheet by their digests, and nothing else.
    """
    script, style = inline.script(_packaged("page.js")), _packaged("page.css")
    filled = {
        "@SCRIPT_HASH@": inline.source(script),
        "@STYLE_HASH@": inline.source(style),
        "@STYLE@": style,
        "@SCRIPT@": script,
        "@DATA@": inline.data(data),
    }
    text = _packaged("page.html")
    for place, content in filled.items():
        text = text.replace(place, content)
    return text


def _packaged(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
