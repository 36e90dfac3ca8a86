"""The store an exploration resumes from: one SQLite file, one row per evaluated design point.

A row is committed before the next point begins, so a kill at any moment loses at most the point under way.
Several processes may share a store: SQLite's locks order their writes.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hwsim.errors import HwsimError

SCHEMA_VERSION = 1
_LOCK_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Store:
    """Texts by key; a key says everything its text depends on."""

    connection: sqlite3.Connection

    def get(self, key: str) -> str | None:
        """Return the text of a key, or None where it has none or one that was damaged since it was written."""
        query = "SELECT digest, text FROM evaluations WHERE key = ?"
        digest, text = self.connection.execute(query, (key,)).fetchone() or (None, None)
        return text if isinstance(text, str) and digest == _digest(key, text) else None

    def put(self, key: str, text: str) -> None:
        """Store the text of a key durably."""
        row = (key, _digest(key, text), text)
        self.connection.execute(
            "INSERT OR REPLACE INTO evaluations (key, digest, text) VALUES (?, ?, ?)", row
        )


def _digest(key: str, text: str) -> str:
    return hashlib.blake2b(f"{key} {text}".encode(), digest_size=16).hexdigest()


@contextmanager
def open_store(path: Path) -> Iterator[Store]:
    """Open or create a store; raises :class:`HwsimError` where it is damaged, foreign or cannot be written."""
    try:
        connection = sqlite3.connect(path, timeout=_LOCK_TIMEOUT_S, isolation_level=None)
        try:
            _prepare(connection)
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version != SCHEMA_VERSION:
                raise HwsimError(
                    f'the store "{path}" has schema {version}, this hwsim reads {SCHEMA_VERSION}; '
                    "choose another folder or the hwsim that wrote it"
                )
            yield Store(connection)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise HwsimError(
            f'the store "{path}" cannot be used ({error}); free space, or remove it to evaluate again'
        ) from None


def _prepare(connection: sqlite3.Connection) -> None:
    """Make an empty file a store, whole or not at all; leave any other as it is."""
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("BEGIN IMMEDIATE")
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
        connection.execute("CREATE TABLE evaluations (key TEXT PRIMARY KEY, digest TEXT, text TEXT)")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")
