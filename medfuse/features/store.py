"""The rows of one recipe: what one frozen source says about images, one row a view and slice."""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from medfuse.features.database import Database, Schema
from medfuse.features.keys import BankKey, without_paths
from medfuse.features.rows import Columns, decode, decode_alike, encode, is_whole
from medfuse.features.wanted import Place, Places, Row, WantedRows

Item = TypeVar("Item")

# An ordinary table with an index, not WITHOUT ROWID: rows of 5 kB are then appended in order,
# measured 3 times faster and a third smaller (benchmarks/bank.py).
_TABLE = """CREATE TABLE features (
    image BLOB NOT NULL, augmentation BLOB NOT NULL, view INTEGER NOT NULL, slice INTEGER NOT NULL,
    type TEXT NOT NULL, shape TEXT NOT NULL, value BLOB NOT NULL, checksum BLOB NOT NULL,
    UNIQUE (image, augmentation, view, slice))"""
_INSERT = "INSERT OR REPLACE INTO features VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_COLUMNS = "SELECT image, augmentation, view, slice, type, shape, value, checksum"
_ONE = f"""{_COLUMNS} FROM features
    WHERE image = ? AND augmentation = ? AND view = ? AND slice = ?"""
_IMAGE = f"""{_COLUMNS} FROM features
    WHERE image = ? AND augmentation IN (x'', ?) AND view <= ?"""
_NEXT = f"""{_COLUMNS}, rowid FROM features
    WHERE rowid > ? ORDER BY rowid LIMIT ?"""
# Vectors of 256 to 2048 numbers take 1.08 to 1.34 times their bytes in pages of this size, and
# 1.07 to 2.03 times in SQLite's own of 4 KiB: two of 512 numbers do not fit in one.
PAGE_BYTES = 32_768
# Rows that are read at once: few enough that others wait a moment alone, and of short rows more,
# as many as have these bytes.
_BLOCK, _MOST = 64, 1024
_BLOCK_BYTES = 1_000_000
# Rows that may be read for each that is wanted, before looking each up is faster.
_SCANNED = 2


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
        self._database = Database(path, Schema((_TABLE,), notes, PAGE_BYTES))
        with suppress(OSError):  # last use; a bank that is only readable stays usable
            os.utime(path)

    def get(self, keys: Iterable[BankKey]) -> dict[BankKey, np.ndarray]:
        """Return the values of all keys that are known; damaged rows count as unknown."""
        found = {}
        for block in _blocks(keys, _BLOCK):
            each = self._database.select_each(_ONE, (key.row() for key in block))
            for key, rows in zip(block, each, strict=True):
                values = decode(rows[0]) if rows and rows[0][:4] == key.row() else None
                if values is not None:
                    found[key] = values
                elif rows:
                    self.damaged.add(key)
        return found

    def read(self, wanted: WantedRows, slices: int = 1) -> Iterator[tuple[Places, np.ndarray]]:
        """Yield the known rows of ``wanted``, each once, in any order.

        They come a few at a time, those of one shape and type together: their places, and their
        values ``(rows, *shape)``.

        Where many of the file's rows are wanted it is read from one end to the other, which is
        twice as fast as looking each of them up. What is not found so is looked up.

        Args:
            wanted: what is asked for.
            slices: rows of each view.
        """
        missing = wanted.table(slices)
        if self._rows() <= _SCANNED * missing.sum():
            yield from self._found(wanted, missing, self._all())
        yield from self._found(wanted, missing, self._of_images(wanted, missing))

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
        """Let the file grow to ``pages`` of its pages at most."""
        self._database.limit_pages(pages)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> RecipeStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _rows(self) -> int:
        """Return how many rows there are, or more where some were replaced."""
        ((last,),) = self._database.select("SELECT MAX(rowid) FROM features")
        return last or 0

    def _all(self) -> Iterator[Sequence[Columns]]:
        """Yield all rows as they lie, in blocks; what is written meanwhile comes last."""
        last, count, largest = 0, _BLOCK, 1
        while rows := self._database.select(_NEXT, (last, count)):
            yield cast("list[Columns]", rows)
            last = rows[-1][-1]
            largest = max(largest, *map(_size, rows))
            count = min(_MOST, max(_BLOCK, _BLOCK_BYTES // largest))

    def _of_images(self, wanted: WantedRows, missing: np.ndarray) -> Iterator[Sequence[Columns]]:
        """Yield the rows of the images of which some are missing, in blocks, by the index."""
        images = np.flatnonzero(missing.any(axis=(1, 2))).tolist()
        made = bytes.fromhex(wanted.augmentation)
        each = math.prod(missing.shape[1:])
        for block in _blocks(images, max(1, _BLOCK // each)):
            keys = [(bytes.fromhex(wanted.digests[i]), made, int(wanted.views[i])) for i in block]
            rows = self._database.select_each(_IMAGE, keys)
            yield cast("list[Columns]", list(chain.from_iterable(rows)))

    def _found(
        self, wanted: WantedRows, missing: np.ndarray, blocks: Iterable[Sequence[Columns]]
    ) -> Iterator[tuple[Places, np.ndarray]]:
        """Yield those of the rows that are ``missing``, and strike them out there."""
        slices = missing.shape[2]
        for block in blocks:
            found = defaultdict[tuple[str, str], list[tuple[Place, Columns]]](list)
            for columns in block:
                row = wanted.find(columns, slices)
                if row is None or not missing[row]:
                    continue
                if is_whole(columns):
                    missing[row] = False
                    found[columns[4:6]].append((row, columns))
                else:
                    self.damaged.add(wanted.key(Row(*row)))
            for pairs in found.values():
                rows, alike = zip(*pairs, strict=True)
                yield Places.of(rows), decode_alike(alike)


def _size(columns: Columns) -> int:
    """Return the bytes of a row's values; 0 where it is damaged and has none."""
    value: Any = columns[6]
    return len(value) if isinstance(value, bytes) else 0


def _blocks(items: Iterable[Item], size: int) -> Iterator[Sequence[Item]]:
    waiting = iter(items)
    while block := list(islice(waiting, size)):
        yield block
