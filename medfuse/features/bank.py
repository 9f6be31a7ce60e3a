"""The feature bank: a private folder with one file per recipe."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from medfuse.errors import BankError
from medfuse.features.database import bank_errors
from medfuse.features.digests import DigestMemo
from medfuse.features.inventory import Inventory, take_inventory
from medfuse.features.keys import BANK_VERSION, recipe_digest
from medfuse.features.prune import Pruned, PruneOrder, prune_bank
from medfuse.features.store import RecipeStore
from medfuse.storage import cache_folder

GIGABYTE = 1_000_000_000


class FeatureBank:
    """Where features are kept between runs, and how much room they may take.

    Args:
        folder: the bank; ``None`` means ``MEDFUSE_BANK``, else ``bank`` in medfuse's cache.
        budget_gb: most gigabytes (10^9 bytes) of all recipes together.
    """

    def __init__(self, folder: Path | str | None = None, budget_gb: float = 8.0) -> None:
        if not budget_gb > 0:
            raise BankError(f"bank budget: found {budget_gb} GB, expected more than 0.")
        self.root = default_folder() if folder is None else Path(folder).expanduser()
        self.folder = self.root / f"v{BANK_VERSION}"
        self.budget = int(budget_gb * GIGABYTE)

    def recipe(self, identity: Mapping[str, Any], label: str = "") -> RecipeStore:
        """Return the open store of one recipe, made if it is new.

        Args:
            identity: all that decides a feature besides the image and its view, as plain data.
            label: the source's display name, for ``medfuse bank stats``.

        Raises:
            BankError: the folder cannot be used, or the file is damaged or of another version.
        """
        return self.recipe_file(recipe_digest(identity), identity, label)

    def recipe_file(self, recipe: str, identity: Mapping[str, Any], label: str) -> RecipeStore:
        """Return the open store of a recipe by its digest; its identity is only noted.

        Raises:
            BankError: as `recipe`.
        """
        return RecipeStore(self.folder / f"{recipe}.sqlite", identity, label)

    def memo(self) -> DigestMemo:
        """Return the open memo of image digests."""
        return DigestMemo(self.folder / "digests.sqlite")

    def used_bytes(self) -> int:
        """Return the size of all files of the bank."""
        total = 0
        with bank_errors(self.folder / "bank"), suppress(FileNotFoundError):
            for entry in os.scandir(self.folder):
                with suppress(FileNotFoundError):  # pruned meanwhile by another process
                    total += entry.stat().st_size
        return total

    def has_room(self, new_bytes: int) -> bool:
        """Return whether ``new_bytes`` more stay within the budget."""
        return self.used_bytes() + new_bytes <= self.budget

    def stats(self) -> Inventory:
        """Return what the bank holds."""
        return take_inventory(self.folder)

    def prune(self, order: PruneOrder) -> Pruned:
        """Remove what ``order`` names; files that are in use are left and listed."""
        return prune_bank(self.folder, order)


def existing_bank(folder: Path | None) -> FeatureBank:
    """Return a bank that is there; only the default one of medfuse's cache may not be there yet.

    Args:
        folder: the bank; ``None`` means ``MEDFUSE_BANK``, else the default.

    Raises:
        BankError: a folder was named in which there is no bank.
    """
    bank = FeatureBank(folder)
    named = folder is not None or bool(os.environ.get("MEDFUSE_BANK"))
    if named and not bank.folder.is_dir():
        found = "a folder without features" if bank.root.is_dir() else "no such folder"
        raise BankError(
            f"{bank.root}: found {found}, expected a feature bank (with {bank.folder.name}/ in "
            "it). Look at --bank and MEDFUSE_BANK."
        )
    return bank


def default_folder() -> Path:
    """Return ``MEDFUSE_BANK``, else ``bank`` in medfuse's cache folder."""
    explicit = os.environ.get("MEDFUSE_BANK")
    return Path(explicit).expanduser() if explicit else cache_folder() / "bank"
