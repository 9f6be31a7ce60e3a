"""What a banked row is called: the recipe that made it, and the image, view and slice it is of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from medfuse.errors import BankError
from medfuse.storage import digest_of

BANK_VERSION = 1

_HEX = re.compile(r"(?:[0-9a-f]{2})+")


@dataclass(frozen=True, slots=True)
class BankKey:
    """One row of one recipe.

    Args:
        image: hexadecimal digest of the canonical pixels and geometry.
        view: 0 is the clean image; 1, 2, ... are augmented views of it.
        slice: index along the slicing axis of a volume; 0 for 2D images.
        augmentation: hexadecimal digest of what made the view (recipe, seed, versions); empty
            for the clean image, so that clean rows outlive a change of augmentation.
    """

    image: str
    view: int = 0
    slice: int = 0
    augmentation: str = ""

    def __post_init__(self) -> None:
        if not _HEX.fullmatch(self.image):
            raise ValueError(f"image digest {self.image!r}: expected hexadecimal digits")
        if self.view < 0 or self.slice < 0:
            raise ValueError(f"view {self.view}, slice {self.slice}: expected 0 or more")
        if bool(self.view) != bool(self.augmentation):
            raise ValueError("an augmented view needs its augmentation digest, and only it")

    def row(self) -> tuple[bytes, bytes, int, int]:
        """Return the key as the four columns of the table."""
        return (
            bytes.fromhex(self.image),
            bytes.fromhex(self.augmentation),
            self.view,
            self.slice,
        )


def recipe_digest(identity: Mapping[str, Any]) -> str:
    """Return the name of a recipe: any change of a field, or of the bank's version, changes it.

    Raises:
        BankError: the identity is not plain, finite data.
    """
    try:
        return digest_of({"bank": BANK_VERSION, "identity": dict(identity)})
    except (TypeError, ValueError) as error:
        raise BankError(
            f"a source's identity is not plain data ({error}). "
            "Expected text, numbers, lists and mappings."
        ) from error


def without_paths(value: Any) -> Any:
    """Return plain data with every absolute path in it replaced by ``<path>``.

    Only what is shown is redacted; the recipe's digest is taken before.
    """
    if isinstance(value, Mapping):
        return {str(key): without_paths(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(item) for item in value]
    if isinstance(value, str):
        name, at, file = value.partition("@")
        if at and "/" in file:
            return f"{name}@<path>"
        absolute = PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute()
        return "<path>" if absolute or value.startswith("~") else value
    return value
