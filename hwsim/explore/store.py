"""The store an exploration resumes from: one SQLite file, one row per evaluated design point.

A row is committed as soon as its point is measured and nothing is just being proposed, so a kill at any moment loses at most
the points in flight. One process writes and holds the file's lock while it does: write-ahead logging then needs no memory
shared between processes, which file systems over a network do not have. Where a file system cannot log ahead at all,
SQLite keeps its rollback journal; both are as safe.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hwsim.errors import HwsimError, MachineError

SCHEMA_VERSION = 2
_LOCK_TIMEOUT_S = 2.0

_SCHEMA = (
    "CREATE TABLE evaluations (key TEXT PRIMARY KEY, digest TEXT, text TEXT, seconds REAL)",
    "CREATE TABLE set_aside (key TEXT PRIMARY KEY, tries INTEGER, reason TEXT)",
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT)",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)


@dataclass(frozen=True)
class Store:
    """Texts by key; a key says everything its text depends on."""

    connection: sqlite3.Connection

    def get(self, key: str) -> str | None:
        """Return the text of a key, or None where it has none or one that was damaged since it was written."""
        query = "SELECT digest, text FROM evaluations WHERE key = ?"
        digest, text = self.connection.execute(query, (key,)).fetchone() or (None, None)
        return text if isinstance(text, str) and digest == _digest(key, text) else None

    def put(self, key: str, text: str, seconds: float | None = None) -> None:
        """Store the text of a key durably, and how long it took to have it."""
        row = (key, _digest(key, text), text, seconds)
        self.connection.execute(
            "INSERT OR REPLACE INTO evaluations (key, digest, text, seconds) VALUES (?, ?, ?, ?)", row
        )

    def set_aside(self, key: str) -> tuple[int, str] | None:
        """Return after how many tries a key was set aside and why, or None where it was not."""
        query = "SELECT tries, reason FROM set_aside WHERE key = ?"
        row = self.connection.execute(query, (key,)).fetchone()
        return (row[0], str(row[1])) if row and isinstance(row[0], int) else None

    def put_aside(self, key: str, tries: int, reason: str) -> None:
        """Remember durably that a key could not be evaluated."""
        self.connection.execute("INSERT OR REPLACE INTO set_aside VALUES (?, ?, ?)", (key, tries, reason))

    def forget_set_aside(self) -> None:
        """Let every key that was set aside be tried again."""
        self.connection.execute("DELETE FROM set_aside")

    def fact(self, name: str) -> str | None:
        """Return what the store says of itself under a name."""
        row = self.connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def put_fact(self, name: str, value: str) -> None:
        self.connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def measured(self) -> tuple[list[float], int]:
        """Return how many seconds each evaluation took, where that is known, and the mean size of a row in bytes."""
        seconds = self.connection.execute("SELECT seconds FROM evaluations WHERE seconds IS NOT NULL")
        size = self.connection.execute("SELECT avg(length(text) + length(key)) FROM evaluations").fetchone()
        return [float(row[0]) for row in seconds], int(size[0] or 0)

    def counted(self, beginning: str) -> tuple[int, int]:
        """Return how many keys with some beginning have a text, and how many were set aside."""
        tables = ("SELECT count(*) FROM evaluations", "SELECT count(*) FROM set_aside")
        evaluated, aside = (
            self.connection.execute(
                f"{query} WHERE substr(key, 1, ?) = ?", (len(beginning), beginning)
            ).fetchone()[0]
            for query in tables
        )
        return int(evaluated), int(aside)


def _digest(key: str, text: str) -> str:
    return hashlib.blake2b(f"{key} {text}".encode(), digest_size=16).hexdigest()


@contextmanager
def open_store(path: Path, named: Path | None = None) -> Iterator[Store]:
    """Open or create a store; raises :class:`HwsimError` where it is damaged, foreign, in use or cannot be written.

    ``named`` is what an error calls it, where ``path`` is a copy.
    """
    named = named or path
    try:
        connection = sqlite3.connect(path, timeout=_LOCK_TIMEOUT_S, isolation_level=None)
        try:
            _prepare(connection, named)
            yield Store(connection)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise _refused(named, error) from None


def _refused(path: Path, error: sqlite3.Error) -> HwsimError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # what kind of error, without its details
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return HwsimError(f'the store "{path}" is in use; wait until the other exploration ends')
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return MachineError(
            f'the store "{path}" cannot be written ({error}); free space and run again, what was evaluated is kept'
        )
    return HwsimError(f'the store "{path}" cannot be used ({error}); remove it to evaluate again')


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make an empty file a store, whole or not at all, and hold it; leave a file of another kind as it is."""
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("BEGIN IMMEDIATE")
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
        for statement in _SCHEMA:
            connection.execute(statement)
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.execute("COMMIT" if version == SCHEMA_VERSION else "ROLLBACK")
    if version != SCHEMA_VERSION:
        raise HwsimError(
            f'the store "{path}" has schema {version}, this hwsim reads {SCHEMA_VERSION}; '
            "choose another folder or the hwsim that wrote it"
        )
    connection.execute("PRAGMA journal_mode = WAL")
