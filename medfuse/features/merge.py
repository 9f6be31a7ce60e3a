"""Rows of other banks, taken over into one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from medfuse.errors import BankError
from medfuse.features.bank import FeatureBank
from medfuse.features.database import bank_errors, connect
from medfuse.features.inventory import MEMO, BankFile
from medfuse.features.keys import BankKey
from medfuse.features.plan import row_bytes
from medfuse.features.rows import decode
from medfuse.features.sizes import readable

_PORTION = 1000
_PORTION_BYTES = 16_000_000
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
            known = store.get(rows)  # a damaged row of the target is not, and is replaced
            new = {key: values for key, values in rows.items() if key not in known}
            fitting = _fitting(new, target.budget - target.used_bytes())
            store.put(fitting)
            if len(fitting) < len(new):
                raise BankError(
                    f"{target.root}: no room for the rows of {file.path} within its budget of "
                    f"{readable(target.budget)} ({readable(target.used_bytes())} used). Give more "
                    "by --budget-gb, or run medfuse bank prune; what was taken over stays."
                )
            total += Merged(0, len(new), len(known), damaged)
    return total + Merged(recipes=bool(total.rows))


def _fitting(rows: dict[BankKey, np.ndarray], room: int) -> dict[BankKey, np.ndarray]:
    """Return the first rows that take no more than ``room`` bytes together."""
    ends = np.cumsum([row_bytes(values.size, 0, values.itemsize) for values in rows.values()])
    return dict(islice(rows.items(), int(np.searchsorted(ends, room, side="right"))))


def _portions(path: Path) -> Iterator[tuple[dict[BankKey, np.ndarray], int]]:
    """Yield the rows of a file, some megabytes at a time, and how many of them are damaged."""
    rows: dict[BankKey, np.ndarray] = {}
    damaged = size = 0
    with bank_errors(path), closing(connect(path)) as connection:
        for columns in connection.execute(_ALL):
            values = decode(columns)
            if values is None:
                damaged += 1
                continue
            image, augmentation, view, number = columns[:4]
            rows[BankKey(image.hex(), view, number, augmentation.hex())] = values
            size += values.nbytes
            if size >= _PORTION_BYTES or len(rows) >= _PORTION:
                yield rows, damaged
                rows, damaged, size = {}, 0, 0
    yield rows, damaged
