"""The page's data as a file: measured once for the exploration in the repository's reports/digits."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwsim import files

SHIPPED = Path(__file__).parent / "choices.json.gz"


def to_bytes(data: Mapping[str, Any]) -> bytes:
    """Return the page's data as a file; the same data give the same bytes."""
    return gzip.compress(json.dumps(data, allow_nan=False, separators=(",", ":")).encode(), mtime=0)


def read(path: Path = SHIPPED) -> dict[str, Any]:
    """Return the page's data from a file."""
    found: dict[str, Any] = json.loads(gzip.decompress(files.read(path, "teaching data")))
    return found
