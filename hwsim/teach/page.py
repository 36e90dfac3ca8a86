"""The teaching page as one HTML file that needs no network: its data, script and style inside, under a policy."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def page(data: Mapping[str, Any]) -> str:
    """Return the page of the data that :func:`hwsim.teach.measure.measure` gives; the same data give the same bytes.

    Its policy allows its one script and its one style sheet by their digests, and nothing else.
    """
    script = f'"use strict";\n(() => {{\n{_packaged("page.js")}}})();'
    style = _packaged("page.css")
    if "</script" in script.lower() or "<!--" in script:
        raise ValueError("a script that holds </script or <!-- cannot stand in a page")
    filled = {
        "@SCRIPT_HASH@": _digest(script),
        "@STYLE_HASH@": _digest(style),
        "@STYLE@": style,
        "@SCRIPT@": script,
        "@DATA@": _json(data),
    }
    text = _packaged("page.html")
    for place, content in filled.items():
        text = text.replace(place, content)
    return text


def _packaged(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _digest(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _json(data: Mapping[str, Any]) -> str:
    """Return data as JSON in ASCII that no HTML parser reads anything into."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
