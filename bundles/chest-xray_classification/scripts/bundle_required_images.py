"""Refuses to run on nothing. Copied into every bundle: the standard library only."""

from __future__ import annotations

import os
from collections.abc import Sequence


def require_images(images: Sequence[object], folder: str | os.PathLike[str]) -> None:
    """Pass if there is an image.

    Raises:
        FileNotFoundError: there is none; MONAI would end without a word.
    """
    if not images:
        raise FileNotFoundError(f"no input images in {folder}; give --dataset_dir")
