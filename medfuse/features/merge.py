"""Rows of other banks, taken over into one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medfuse.errors import BankError
from medfuse.features.bank import FeatureBank
from medfuse.features.database import bank_errors, connect
from medfuse.features.inventory import MEMO, BankFile
from medfuse.features.keys import BankKey
from medfuse.features.rows import decode

_PORTION = 1000
_ALL = "SELECT image, augmentation, view, slice, type, shape, value, checksum FROM features"


@dataclass(frozen=True)
class Merged:
    """What was taken over.

    Attributes:
        recipes: files with a row.
        rows: new ones.
        known: those that were there already.
        damaged: those whose checksum is wrong; they are left behind.
    """

    recipes: int = 0
    rows: int = 0
    known: int = 0
    damaged: int = 0

    def __add__(self, other: Merged) -> Merged:
        """Return both together."""
        return Merged(
            self.recipes + other.recipes,
            self.rows + other.rows,
            self.known + other.known,
            self.damaged + other.damaged,
        )


def merge_banks(sources: Sequence[FeatureBank], target: FeatureBank) -> Merged:
    """Take over all rows of ``sources`` that ``target`` does not have; the former stay as they are.

    All of them are looked at before a row is taken. Interrupted, it keeps what was taken over, and
    the same call goes on. Every row is checked against its own checksum. The memo of image files is
    not taken over: it is about the files of one machine.

    Raises:
        BankError: a source is no bank, or is the target, one of its files is damaged or of another
            version, or ``target`` has no room.
    """
    total = Merged()
    for file in [file for source in sources for file in _files(source, target)]:
        total += _merge_recipe(file, target)
    return total


def _files(source: FeatureBank, target: FeatureBank) -> list[BankFile]:
    if source.folder.resolve() == target.folder.resolve():
        raise BankError(f"{source.root}: is the bank to merge into. Give another one.")
    files = [file for file in source.stats().files if file.recipe != MEMO]
    if not files:
        raise BankError(f"{source.root}: found no features, expected the folder of a bank.")
    for file in files:
        if file.state != "ok":
            raise BankError(
                f"{file.path}: is {'damaged' if file.state == 'damaged' else 'of another version'}."
                " Nothing was merged; medfuse bank prune --bank FOLDER removes it."
            )
    return files


def _merge_recipe(file: BankFile, target: FeatureBank) -> Merged:
    total = Merged()
    with target.recipe_file(file.recipe, file.identity, file.label) as store:
        for rows, damaged in _portions(file.path):
            new = {key: values for key, values in rows.items() if not store.holds(key)}
            size = sum(values.nbytes for values in new.values())
            if not target.has_room(size):
                raise BankError(
                    f"{target.root}: over its budget of {target.budget / 1e9:.1f} GB. "
                    "Give more by --budget-gb, or run medfuse bank prune."
                )
            store.put(new)
            total += Merged(0, len(new), len(rows) - len(new), damaged)
    return total + Merged(recipes=bool(total.rows))


def _portions(path: Path) -> Iterator[tuple[dict[BankKey, np.ndarray], int]]:
    """Yield the rows of a file, a thousand at a time, and how many of them are damaged."""
    with bank_errors(path), closing(connect(path)) as connection:
        cursor = connection.execute(_ALL)
        while columns := cursor.fetchmany(_PORTION):
            keys = [BankKey(c[0].hex(), c[2], c[3], c[1].hex()) for c in columns]
            values = [decode(key, c[4:]) for key, c in zip(keys, columns, strict=True)]
            rows = {k: v for k, v in zip(keys, values, strict=True) if v is not None}
            yield rows, len(columns) - len(rows)
