"""The store an exploration resumes from: one SQLite file, one row per evaluated design point.

A row is committed before the next point begins, so a kill at any moment loses at most the point under way.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwsim.errors import HwsimError

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Store:
    """Evaluations by key; a key says everything the values depend on."""

    connection: sqlite3.Connection

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the stored fields of a key, or None."""
        row = self.connection.execute("SELECT fields FROM evaluations WHERE key = ?", (key,)).fetchone()
        fields: dict[str, Any] | None = None if row is None else json.loads(row[0])
        return fields

    def put(self, key: str, fields: dict[str, Any]) -> None:
        """Store the fields of a key durably; a key that is there stays as it is."""
        with self.connection:
            self.connection.execute(
                "INSERT OR IGNORE INTO evaluations (key, fields) VALUES (?, ?)", (key, json.dumps(fields))
            )


@contextmanager
def open_store(path: Path) -> Iterator[Store]:
    """Open or create a store; raises :class:`HwsimError` where it is damaged, foreign or cannot be written."""
    try:
        connection = sqlite3.connect(path, timeout=30)
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, SCHEMA_VERSION):
                raise HwsimError(
                    f'the store "{path}" has schema {version}, this hwsim reads {SCHEMA_VERSION}; '
                    "choose another folder or the hwsim that wrote it"
                )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            with connection:
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS evaluations (key TEXT PRIMARY KEY, fields TEXT NOT NULL)"
                )
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            yield Store(connection)
        finally:
            connection.close()
    except (sqlite3.Error, json.JSONDecodeError) as error:
        raise HwsimError(
            f'the store "{path}" cannot be used ({error}); free space, or remove it to evaluate again'
        ) from None
