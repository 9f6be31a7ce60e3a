"""Folders that commands write into: what is medfuse's there, and what may be removed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from medfuse.errors import OutputError
from medfuse.storage import locked, sweep_partial

LOCK = ".lock"
_Claim = TypeVar("_Claim")


@dataclass(frozen=True)
class FolderKind:
    """What a command leaves in its folder.

    Attributes:
        name: the noun, for error texts.
        state: file that says whose folder it is.
        items: all that may be removed with it, ``state`` among them.
        progress: those of the items for which a folder is kept when a command fails.
    """

    name: str
    state: str
    items: tuple[str, ...]
    progress: tuple[str, ...]

    def has_progress(self, folder: Path) -> bool:
        """Tell whether something lies there that is worth going on with."""
        return any((folder / name).exists() for name in self.progress)


@contextmanager
def hold_folder(
    folder: Path, kind: FolderKind, claim: Callable[[Path], _Claim]
) -> Iterator[_Claim]:
    """Hold a folder for one process, and yield what ``claim`` makes of what lies there.

    What fails before there is any progress leaves the folder as it was.

    Args:
        folder: made if absent.
        kind: what the command leaves in it.
        claim: may refuse the folder; it is not touched then.

    Raises:
        OutputError: it holds something else, another process uses it, or it cannot be written.
    """
    refuse_foreign_content(folder, kind.state, kind.name)
    existed = folder.exists()
    with locked(folder / LOCK, f"{kind.name} folder"):
        sweep_partial(folder)
        claimed = claim(folder)
        try:
            yield claimed
        except BaseException:
            _leave(folder, kind, existed)
            raise


def _leave(folder: Path, kind: FolderKind, existed: bool) -> None:
    if kind.has_progress(folder):
        return
    remove_items(folder, kind.items)
    if not existed:
        remove_if_empty(folder)


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
