"""One private SQLite file: transactions that survive a kill, and errors in the bank's words.

A rollback journal, not a write-ahead log: the latter needs shared memory, which network file
systems do not give (https://sqlite.org/wal.html).
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medfuse.errors import BankError
from medfuse.features.keys import BANK_VERSION

_APPLICATION = 0x6D66626B  # "mfbk"
_BUSY_SECONDS = 60.0
_DAMAGE = ("not a database", "malformed", "corrupt", "unsupported file format")


class BankVersionError(BankError):
    """A bank file was written by another version of medfuse."""


class BankDamageError(BankError):
    """A bank file is not a database any more."""


@dataclass(frozen=True)
class Schema:
    """What a new file gets.

    Attributes:
        tables: statements that create them.
        notes: what is noted in it, plain text by name.
        page_bytes: size of a page, a power of two from 512 to 65536.
    """

    tables: tuple[str, ...]
    notes: tuple[tuple[str, str], ...] = ()
    page_bytes: int = 4096


class Database:
    """An open bank file; made with ``schema`` if it is new.

    Args:
        path: the file; its folder is created, readable by its owner only.
        schema: tables and notes of a new file.

    Raises:
        BankError: the file cannot be opened, is damaged, or has another version.
    """

    def __init__(self, path: Path, schema: Schema) -> None:
        self.path = path
        self._schema = schema
        with self._errors():
            self._connection = self._open()

    def select(self, sql: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows that a query gives."""
        with self._errors():
            return self._connection.execute(sql, tuple(values)).fetchall()

    def select_each(
        self, sql: str, values: Iterable[tuple[Any, ...]]
    ) -> list[list[tuple[Any, ...]]]:
        """Return all rows that a query gives for each of the values, the file locked once."""
        with self._errors():
            execute = self._connection.execute
            execute("BEGIN")
            try:
                return [execute(sql, each).fetchall() for each in values]
            finally:
                if self._connection.in_transaction:
                    execute("ROLLBACK")

    def write(self, statements: Iterable[tuple[str, list[tuple[Any, ...]]]]) -> None:
        """Run every statement on its rows in one transaction: all of it is kept, or none."""
        with self._errors():
            if not self._begin():
                # Pruned by another process: the open file has no name any more.
                self._connection.close()
                self._connection = self._open()
                self._begin()
            try:
                for sql, rows in statements:
                    self._connection.executemany(sql, rows)
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise

    def limit_pages(self, pages: int) -> None:
        """Let the file grow to ``pages`` of its pages at most, as if the disk were full."""
        self._connection.execute(f"PRAGMA max_page_count={int(pages)}")

    def close(self) -> None:
        """Close the file; it may be closed twice."""
        self._connection.close()

    def _open(self) -> sqlite3.Connection:
        _make_private(self.path)
        before = _identity(self.path)
        connection = connect(self.path)
        try:
            connection.execute("PRAGMA synchronous=FULL")
            if _is_new(connection, self.path):
                self._create(connection)
        except BaseException:
            connection.close()
            raise
        self._identity = before
        return connection

    def _create(self, connection: sqlite3.Connection) -> None:
        connection.execute(f"PRAGMA page_size={self._schema.page_bytes}")
        connection.execute("BEGIN IMMEDIATE")
        if not _is_new(connection, self.path):  # another process was first
            connection.execute("ROLLBACK")
            return
        connection.execute(f"PRAGMA application_id={_APPLICATION}")
        connection.execute(f"PRAGMA user_version={BANK_VERSION}")
        connection.execute("CREATE TABLE notes (name TEXT PRIMARY KEY, text TEXT NOT NULL)")
        for table in self._schema.tables:
            connection.execute(table)
        connection.executemany("INSERT INTO notes VALUES (?, ?)", self._schema.notes)
        connection.execute("COMMIT")

    def _begin(self) -> bool:
        """Take the write lock; false if the file has been replaced under this connection."""
        self._connection.execute("BEGIN IMMEDIATE")
        if _identity(self.path) == self._identity:
            return True
        self._connection.execute("ROLLBACK")
        return False

    @contextmanager
    def _errors(self) -> Iterator[None]:
        with bank_errors(self.path):
            yield


def connect(path: Path) -> sqlite3.Connection:
    """Return a plain connection that waits for other processes and commits only when told.

    It may write even where only reading is wanted: what a killed process left is rolled back.
    """
    uri = f"{path.absolute().as_uri()}?mode=rw"
    return sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)


def check_version(connection: sqlite3.Connection, path: Path) -> None:
    """Raise a ``BankVersionError`` unless the open file is a bank file of this version."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if (application, version) != (_APPLICATION, BANK_VERSION):
        found = f"bank version {version}" if application == _APPLICATION else "another database"
        raise BankVersionError(
            f"{path}: found {found}, expected bank version {BANK_VERSION}. "
            "Use the medfuse that wrote it, give another bank folder (MEDFUSE_BANK), "
            "or run medfuse bank prune."
        )


@contextmanager
def bank_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system say about ``path`` into a ``BankError``."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise _translated(path, error) from error


def _translated(path: Path, error: sqlite3.Error | OSError) -> BankError:
    text = str(error.strerror or error) if isinstance(error, OSError) else str(error)
    folder = path.parent
    if any(word in text for word in _DAMAGE):
        return BankDamageError(
            f"{path}: this bank file is damaged ({text}). "
            "Run medfuse bank prune to remove it; its features are computed again."
        )
    if "locked" in text:
        return BankError(
            f"{path}: another process has held this bank file for {_BUSY_SECONDS:.0f} s. "
            "Wait for it, or give another bank folder (MEDFUSE_BANK)."
        )
    if "full" in text or "No space" in text or "too large" in text or "I/O" in text:
        return BankError(
            f"{folder}: the feature bank cannot be written ({text}). Free some space, run "
            "medfuse bank prune, or give another bank folder (MEDFUSE_BANK)."
        )
    return BankError(
        f"{folder}: the feature bank cannot be used ({text}). "
        "Expected a folder that can be written; give another one (MEDFUSE_BANK)."
    )


def _is_new(connection: sqlite3.Connection, path: Path) -> bool:
    tables = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
    if tables == 0 and connection.execute("PRAGMA application_id").fetchone()[0] == 0:
        return True
    check_version(connection, path)
    return False


def _make_private(path: Path) -> None:
    """Create folder (0700) and file (0600), or tighten the folder, before SQLite sees them."""
    for folder in (path.parent.parent, path.parent):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if stat.S_IMODE(path.parent.stat().st_mode) & 0o077:
        with suppress(PermissionError):
            path.parent.chmod(0o700)
    # Never open and close a file that exists: on POSIX that drops the locks which another
    # connection of this process holds on it.
    if not path.exists():
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
