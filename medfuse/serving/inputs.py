"""From what is named on a command line to image references with short names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from medfuse.bundle.image_list import list_images
from medfuse.errors import BundleError, CohortError


def require_bundle(path: Path | str) -> None:
    """Pass if there is a folder at ``path``.

    Raises:
        BundleError: there is none.
    """
    if not Path(path).is_dir():
        raise BundleError(f"{path}: no such folder. Give a bundle, <name>_classification.")


def require_inputs(inputs: Sequence[str]) -> None:
    """Pass if every input is there; nothing heavy is imported, nothing is opened.

    Raises:
        CohortError: one is not.
    """
    for given in inputs:
        if not Path(given.partition("::")[0]).exists():
            raise CohortError(f"{given}: no such file or folder.")


def expand_inputs(inputs: Sequence[str], suffixes: Sequence[str]) -> list[tuple[str, str]]:
    """Return ``(name, reference)`` of every image in files and folders.

    A file in a folder is named relative to the folder, a file by its own name; where two names
    are the same, by what was given.

    Args:
        inputs: files, folders (searched recursively), or ``FILE.npz::KEY::INDEX``.
        suffixes: endings of image files, for folders.

    Raises:
        CohortError: something does not exist, or a folder holds no image.
    """
    require_inputs(inputs)
    found: list[tuple[str, str]] = []
    for given in inputs:
        path = Path(given)
        if path.is_dir():
            images = list_images(path, suffixes)
            if not images:
                raise CohortError(
                    f"{given}: no image in this folder, expected files with {', '.join(suffixes)}."
                )
            found += [(Path(image).relative_to(path).as_posix(), image) for image in images]
        else:
            found.append((path.name, given))
    counts = Counter(name for name, _ in found)
    return [(name if counts[name] == 1 else reference, reference) for name, reference in found]
