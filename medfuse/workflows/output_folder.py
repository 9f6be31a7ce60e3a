"""Folders that commands write into: what is medfuse's there, and what may be removed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from medfuse.errors import OutputError

LOCK = ".lock"


def refuse_foreign_content(folder: Path, state: str, kind: str) -> None:
    """Refuse a folder that holds anything, unless its ``state`` file says it is medfuse's.

    Raises:
        OutputError: naming a file that is there.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: a file, expected a folder. Choose another --out.")
    if not folder.is_dir() or _is_own(folder / state):
        return
    strangers = sorted(i.name for i in folder.iterdir() if not _is_trace(i.name))
    if strangers:
        raise OutputError(
            f"{folder}: not empty and not a medfuse {kind} (found {strangers[0]!r}). "
            "Choose another --out."
        )


def remove_items(folder: Path, names: Iterable[str]) -> None:
    """Remove these files and folders in ``folder``, and nothing else; a link, not its target."""
    for item in (folder / name for name in names):
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        else:
            item.unlink(missing_ok=True)


def remove_if_empty(folder: Path) -> None:
    """Remove a folder in which nothing was left but the lock."""
    (folder / LOCK).unlink(missing_ok=True)
    with suppress(OSError):  # somebody put something there meanwhile
        folder.rmdir()


def _is_trace(name: str) -> bool:
    """Tell what a broken-off start of medfuse leaves, and nobody else."""
    return name == LOCK or (name.startswith(".") and name.endswith(".partial"))


def _is_own(state: Path) -> bool:
    try:
        return "medfuse" in json.loads(state.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False
