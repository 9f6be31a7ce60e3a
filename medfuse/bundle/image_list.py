"""Lists the images of a folder. Copied into every bundle: the standard library only."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

logger = logging.getLogger(__name__)


def list_images(folder: str | os.PathLike[str], suffixes: Sequence[str]) -> list[str]:
    """Return every image file below ``folder``, sorted; what is skipped is counted in the log.

    Args:
        folder: searched recursively; hidden files and folders are skipped.
        suffixes: endings of image files in lower case, with the dot.
    """
    found, skipped = [], Counter[str]()
    for path in _files(Path(folder)):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.name.lower().endswith(tuple(suffixes)):
            found.append(str(path))
        else:
            skipped["hidden" if hidden else path.suffix.lower() or "no suffix"] += 1
    if skipped:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(skipped.items()))
        logger.warning(
            "%s: %d files skipped, not images (%s).", folder, sum(skipped.values()), kinds
        )
    return found


def list_labelled_images(
    folder: str | os.PathLike[str],
    class_names: Sequence[str],
    suffixes: Sequence[str],
    find: Callable[[Path, Sequence[str]], list[str]] = list_images,
) -> list[dict[str, object]]:
    """Return ``{"image": file, "label": index}`` for the class folders in ``folder``.

    Raises:
        FileNotFoundError: a class has no folder or no image.
        ValueError: a folder has the name of no class.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder, expected one folder per class in it")
    others = {p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")}
    unknown = sorted(others - set(class_names))
    if unknown:
        raise ValueError(f"{root / unknown[0]}: not a class, expected {', '.join(class_names)}")
    items: list[dict[str, object]] = []
    for label, name in enumerate(class_names):
        images = find(root / name, suffixes)
        require_images(images, root / name)
        items += [{"image": image, "label": label} for image in images]
    return items


def require_images(images: Sequence[str], folder: str | os.PathLike[str]) -> None:
    """Pass if there is an image.

    Raises:
        FileNotFoundError: there is none; MONAI would end without a word.
    """
    if not images:
        raise FileNotFoundError(f"no input images in {folder}; give --dataset_dir")


def _files(folder: Path) -> list[Path]:
    found = []
    for parent, _, names in os.walk(folder):
        found += [Path(parent, name) for name in names]
    return sorted(found)
