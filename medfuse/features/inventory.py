"""What lies in a bank: one entry per file, readable or not."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from medfuse.errors import BankError
from medfuse.features.database import (
    BankDamageError,
    BankVersionError,
    bank_errors,
    check_version,
    connect,
)

MEMO = "digests"
_COUNT = "SELECT COUNT(*), COUNT(DISTINCT image), COALESCE(SUM(LENGTH(value)), 0) FROM features"

State = Literal["ok", "damaged", "version"]


@dataclass(frozen=True)
class BankFile:
    """One file of a bank: a recipe, or the memo of image digests (``recipe`` is ``digests``)."""

    recipe: str
    path: Path
    bytes: int
    last_use: datetime
    state: State = "ok"
    label: str = ""
    images: int = 0
    rows: int = 0
    value_bytes: int = 0
    identity: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the entry as plain data."""
        return {
            "recipe": self.recipe,
            "source": self.label,
            "state": self.state,
            "images": self.images,
            "rows": self.rows,
            "bytes": self.bytes,
            "last_use": self.last_use.isoformat(timespec="seconds"),
            "identity": self.identity,
        }


@dataclass(frozen=True)
class Inventory:
    """All files of a bank, the last used first."""

    folder: Path
    files: tuple[BankFile, ...]

    @property
    def bytes(self) -> int:
        """The size of all files together."""
        return sum(file.bytes for file in self.files)

    def to_json(self) -> dict[str, Any]:
        """Return the inventory as plain data."""
        files = [file.to_json() for file in self.files]
        return {"folder": str(self.folder), "bytes": self.bytes, "files": files}


def take_inventory(folder: Path, thorough: bool = False) -> Inventory:
    """Return what lies in ``folder``; an absent folder is an empty bank.

    Args:
        folder: the bank's versioned folder.
        thorough: read every page of every file, to find all damage.

    Raises:
        BankError: the folder cannot be read.
    """
    with bank_errors(folder / "x"):
        paths = sorted(folder.glob("*.sqlite"))
    files = [_look_at(path, thorough) for path in paths]
    files.sort(key=lambda file: file.last_use, reverse=True)
    return Inventory(folder, tuple(files))


def _look_at(path: Path, thorough: bool) -> BankFile:
    with bank_errors(path):
        found = path.stat()
    entry: dict[str, Any] = {
        "recipe": path.stem,
        "path": path,
        "bytes": found.st_size,
        "last_use": datetime.fromtimestamp(found.st_mtime, tz=timezone.utc),
    }
    if not found.st_size:  # a process was killed before its first commit
        return BankFile(**entry)
    try:
        with bank_errors(path), closing(connect(path)) as connection:
            check_version(connection, path)
            return BankFile(**entry, **_contents(connection, path, thorough))
    except BankVersionError:
        return BankFile(**entry, state="version")
    except BankDamageError:
        return BankFile(**entry, state="damaged")


def _contents(connection: sqlite3.Connection, path: Path, thorough: bool) -> dict[str, Any]:
    if thorough:
        report = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if report != "ok":
            raise BankDamageError(f"{path}: this bank file is damaged ({report}).")
    notes = dict(connection.execute("SELECT name, text FROM notes").fetchall())
    if path.stem == MEMO:
        rows = connection.execute("SELECT COUNT(*) FROM digests").fetchone()[0]
        return {"label": "(digests of image files)", "rows": rows}
    rows, images, size = connection.execute(_COUNT).fetchone()
    try:
        identity = json.loads(notes["identity"])
    except (KeyError, ValueError) as error:
        raise BankDamageError(f"{path}: this bank file is damaged (its notes).") from error
    counted = {"rows": rows, "images": images, "value_bytes": size}
    return {"label": notes.get("label", ""), "identity": identity, **counted}


def find_recipe(inventory: Inventory, name: str) -> list[BankFile]:
    """Return the files of a recipe, given by its source's label or the start of its digest.

    Raises:
        BankError: nothing fits.
    """
    if name:
        by_label = [file for file in inventory.files if file.label == name]
        found = by_label or [file for file in inventory.files if file.recipe.startswith(name)]
        if found:
            return found
    known = sorted({file.label or file.recipe[:12] for file in inventory.files})
    raise BankError(
        f"{inventory.folder}: no recipe {name!r}. Known: {', '.join(known) or 'none'}. "
        "See medfuse bank stats."
    )
