"""Lists the volumes of a folder. Copied into bundles: the standard library only."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from medfuse.bundle.image_list import list_labelled_images

logger = logging.getLogger(__name__)

_MAGIC_AT, _MAGIC = 128, b"DICM"


def list_volumes(folder: str | os.PathLike[str], suffixes: Sequence[str]) -> list[str]:
    """Return every volume below ``folder``, sorted: files, and folders of DICOM files.

    A folder that holds DICOM files is one volume; where such folders lie inside one another, the
    lowest are. The first bytes of a file tell DICOM, not its name. What is skipped is counted in
    the log.

    Args:
        folder: searched recursively; hidden files and folders are skipped.
        suffixes: endings of volume files in lower case, with the dot.
    """
    contents = _contents(Path(folder))
    with_dicom = [parent for parent, files in contents.items() if any(map(is_dicom, files))]
    above = {upper for parent in with_dicom for upper in parent.parents}
    series = {parent for parent in with_dicom if parent not in above}
    volumes, skipped = [str(parent) for parent in series], Counter[str]()
    for parent, files in contents.items():
        for path in files:
            if path.name.lower().endswith(tuple(suffixes)):
                volumes.append(str(path))
            elif parent not in series:
                skipped["DICOM" if is_dicom(path) else path.suffix.lower() or "no suffix"] += 1
    if skipped:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(skipped.items()))
        logger.warning("%s: %d files skipped, no volumes (%s).", folder, skipped.total(), kinds)
    return sorted(volumes)


def list_labelled_volumes(
    folder: str | os.PathLike[str], class_names: Sequence[str], suffixes: Sequence[str]
) -> list[dict[str, object]]:
    """Return ``{"image": file or folder, "label": index}`` for the class folders in ``folder``.

    Raises:
        FileNotFoundError: a class has no folder or no volume.
        ValueError: a folder has the name of no class.
    """
    return list_labelled_images(folder, class_names, suffixes, list_volumes)


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM; the index of a medium (``DICOMDIR``) holds no image."""
    if path.name.upper() == "DICOMDIR":
        return False
    try:
        with path.open("rb") as file:
            return file.read(_MAGIC_AT + len(_MAGIC))[_MAGIC_AT:] == _MAGIC
    except OSError:  # the reader says what is wrong with a file that is read
        return False


def _contents(folder: Path) -> dict[Path, list[Path]]:
    """Return the files of each folder, hidden ones left out."""
    found = {}
    for parent, names, files in os.walk(folder):
        names[:] = [name for name in names if not name.startswith(".")]
        shown = sorted(name for name in files if not name.startswith("."))
        found[Path(parent)] = [Path(parent, name) for name in shown]
    return found
