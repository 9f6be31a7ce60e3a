"""The rows of one recipe: what one frozen source says about images, one row a view and slice."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from medfuse.features.database import Database, Schema
from medfuse.features.keys import BankKey, without_paths
from medfuse.features.rows import decode, encode

# An ordinary table with an index, not WITHOUT ROWID: rows of 5 kB are then appended in order,
# measured 3 times faster and a third smaller (benchmarks/bank.py).
_TABLE = """CREATE TABLE features (
    image BLOB NOT NULL, augmentation BLOB NOT NULL, view INTEGER NOT NULL, slice INTEGER NOT NULL,
    type TEXT NOT NULL, shape TEXT NOT NULL, value BLOB NOT NULL, checksum BLOB NOT NULL,
    UNIQUE (image, augmentation, view, slice))"""
_INSERT = "INSERT OR REPLACE INTO features VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_WHERE = "WHERE image = ? AND augmentation = ? AND view = ? AND slice = ?"
_SELECT = f"SELECT type, shape, value, checksum FROM features {_WHERE}"  # noqa: S608
# Few enough that others wait a moment alone and that rows of tokens need little memory.
_BLOCK = 64
_EXISTS = f"SELECT 1 FROM features {_WHERE}"  # noqa: S608


class RecipeStore:
    """Reads and writes the features of one recipe; close it, or use it in a ``with`` block.

    Args:
        path: the recipe's own file.
        identity: what the recipe is, as plain data; kept for ``medfuse bank stats``.
        label: the source's display name.

    Raises:
        BankError: the file cannot be opened, is damaged, or has another version.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any], label: str = "") -> None:
        notes = (
            ("identity", json.dumps(without_paths(identity), sort_keys=True)),
            ("label", str(without_paths(label))),
        )
        self.path = path
        self.damaged: set[BankKey] = set()
        self._database = Database(path, Schema((_TABLE,), notes))
        with suppress(OSError):  # last use; a bank that is only readable stays usable
            os.utime(path)

    def get(self, keys: Sequence[BankKey]) -> dict[BankKey, np.ndarray]:
        """Return the values of all keys that are known; damaged rows count as unknown."""
        return dict(self.read(keys))

    def read(self, keys: Iterable[BankKey]) -> Iterator[tuple[BankKey, np.ndarray]]:
        """Yield the known keys with their values, in the given order, a few read at a time."""
        waiting = iter(keys)
        while block := list(islice(waiting, _BLOCK)):
            each = self._database.select_each(_SELECT, (key.row() for key in block))
            for key, rows in zip(block, each, strict=True):
                values = decode(key, rows[0]) if rows else None
                if values is not None:
                    yield key, values
                elif rows:
                    self.damaged.add(key)

    def holds(self, key: BankKey) -> bool:
        """Return whether a row is there, without reading its values."""
        return bool(self._database.select(_EXISTS, key.row()))

    def put(self, items: Mapping[BankKey, np.ndarray]) -> None:
        """Keep all items in one transaction; a row that is there already is replaced.

        Raises:
            BankError: the disk is full or the folder cannot be written; nothing is kept then.
        """
        if items:
            rows = [encode(key, values) for key, values in items.items()]
            self._database.write([(_INSERT, list(rows))])
            self.damaged.difference_update(items)

    def limit_pages(self, pages: int) -> None:
        """Let the file grow to ``pages`` pages of 4 KiB at most."""
        self._database.limit_pages(pages)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> RecipeStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
