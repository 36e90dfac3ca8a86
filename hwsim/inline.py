"""What a page carries inside itself, under a content-security policy that allows nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

_ESCAPES = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}


def source(content: str) -> str:
    """Return the policy's source expression that allows one script or style sheet, by its SHA-256."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def script(text: str) -> str:
    """Return a script as one function, so that it leaves no global name; one that would end its element is refused."""
    if "</script" in text.lower() or "<!--" in text or "\r" in text:
        raise ValueError("a script that holds </script, <!-- or a carriage return cannot stand in a page")
    return f'"use strict";\n(() => {{\n{text}}})();'


def data(values: Mapping[str, Any]) -> str:
    """Return values as JSON in ASCII that no HTML parser reads anything into."""
    return json.dumps(values, separators=(",", ":"), allow_nan=False).translate(_ESCAPES)
