"""Make room in a bank without harming a process that is using it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from medfuse.features.database import bank_errors, connect
from medfuse.features.inventory import MEMO, BankFile, Inventory, find_recipe, take_inventory


@dataclass(frozen=True)
class PruneOrder:
    """What to remove. Without any choice only damaged files and those of other versions go.

    Args:
        older_than_days: recipes not used for so many days.
        recipe: one recipe, by its source's label or the start of its digest.
        max_gb: recipes, the longest unused first, until the bank has this size at most.
        everything: all files, the memo of image digests too.
        dry_run: remove nothing, only say what would go.
    """

    older_than_days: float | None = None
    recipe: str | None = None
    max_gb: float | None = None
    everything: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Pruned:
    """What went, and what was left because another process is using it."""

    removed: tuple[BankFile, ...]
    in_use: tuple[BankFile, ...]

    @property
    def bytes(self) -> int:
        """The room that was made."""
        return sum(file.bytes for file in self.removed)

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain data."""
        removed = [file.to_json() for file in self.removed]
        in_use = [file.to_json() for file in self.in_use]
        return {"bytes": self.bytes, "removed": removed, "in_use": in_use}


def prune_bank(folder: Path, order: PruneOrder) -> Pruned:
    """Remove what ``order`` names from a bank's versioned folder.

    Raises:
        BankError: the folder cannot be read or written, or there is no such recipe.
    """
    chosen = _chosen(take_inventory(folder, thorough=True), order)
    if order.dry_run:
        return Pruned(tuple(chosen), ())
    removed = [file for file in chosen if _remove(file)]
    return Pruned(tuple(removed), tuple(file for file in chosen if file not in removed))


def _chosen(inventory: Inventory, order: PruneOrder) -> list[BankFile]:
    if order.everything:
        return list(inventory.files)
    chosen = [file for file in inventory.files if file.state != "ok"]
    recipes = [file for file in inventory.files if file.state == "ok" and file.recipe != MEMO]
    if order.recipe is not None:
        chosen += [file for file in find_recipe(inventory, order.recipe) if file not in chosen]
    if order.older_than_days is not None:
        oldest = datetime.now(timezone.utc) - timedelta(days=order.older_than_days)
        chosen += [file for file in recipes if file.last_use < oldest and file not in chosen]
    if order.max_gb is not None:
        left = inventory.bytes - sum(file.bytes for file in chosen)
        for file in reversed(recipes):
            if left > order.max_gb * 1e9 and file not in chosen:
                chosen.append(file)
                left -= file.bytes
    return chosen


def _remove(file: BankFile) -> bool:
    """Unlink a file while holding its write lock; false where another process holds it.

    A process that has the file open but idle finds, with the lock it takes before its next
    write, that the name is gone, and starts a new file: no row is lost to a nameless file, and
    no journal of the old file is ever applied to a new one.
    """
    if file.state == "damaged" or not file.path.exists():
        _unlink(file.path)
        return True
    with bank_errors(file.path), closing(connect(file.path)) as connection:
        connection.execute("PRAGMA busy_timeout=1000")
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                return False
            raise
        _unlink(file.path)
    return True


def _unlink(path: Path) -> None:
    with bank_errors(path):
        path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
        path.unlink(missing_ok=True)
