"""Lists the volumes of a folder. Copied into bundles of volumes: its neighbors only."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from medfuse.bundle.image_list import list_labelled_images
from medfuse.data.dicom_tree import (
    DicomTree,
    faulty_cases,
    is_dicom_file,
    list_tree,
    reason_to_leave_out,
)

logger = logging.getLogger(__name__)


def list_volumes(
    folder: str | os.PathLike[str], suffixes: Sequence[str], modality: str = "other"
) -> list[str]:
    """Return every volume below ``folder``, sorted: files, and series of DICOM slices.

    DICOM is told by its content, not by its name. A series is named by the lowest folder that
    holds it, with ``::KEY`` where that folder holds others; localizers, summary pages, projections
    and series of another modality are skipped. Where no file can be read, the folder is listed, to
    be refused by name. What is skipped is counted in the log.

    Args:
        folder: searched recursively; hidden files and folders are skipped.
        suffixes: endings of volume files in lower case, with the dot.
        modality: ``CT``, ``MR`` or ``other``, which takes any.
    """
    volumes: list[str] = []
    dicom: list[str] = []
    strangers: list[Path] = []
    for path in _files(Path(folder)):
        if path.name.lower().endswith(tuple(suffixes)):
            volumes.append(str(path))
        elif is_dicom_file(path):
            dicom.append(str(path))
        else:
            strangers.append(path)
    tree = list_tree(dicom) if dicom else DicomTree(())
    found, skipped = _dicom_volumes(tree, modality)
    beside = {Path(file).parent for series in tree.series for file in series.files}
    skipped.update(p.suffix.lower() or "no suffix" for p in strangers if p.parent not in beside)
    if skipped:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(skipped.items()))
        logger.warning(
            "%s: %d files skipped, no volumes (%s).", folder, sum(skipped.values()), kinds
        )
    return sorted([*volumes, *found])


def list_labelled_volumes(
    folder: str | os.PathLike[str],
    class_names: Sequence[str],
    suffixes: Sequence[str],
    modality: str = "other",
) -> list[dict[str, object]]:
    """Return ``{"image": file or series, "label": index}`` for the class folders in ``folder``.

    Raises:
        FileNotFoundError: a class has no folder or no volume.
        ValueError: a folder has the name of no class.
    """
    return list_labelled_images(folder, class_names, suffixes, modality, list_volumes)


def _dicom_volumes(tree: DicomTree, modality: str) -> tuple[set[str], Counter[str]]:
    skipped = Counter(code for _, code in tree.others if code != "DUPLICATE")
    found = set(faulty_cases(tree))
    for series in tree.series:
        reason = reason_to_leave_out(series, "volume", modality)
        if reason:
            skipped[reason] += len(series.files)
        else:
            found.add(series.reference)
    return found, skipped


def _files(folder: Path) -> list[Path]:
    """Return the files below a folder, hidden ones left out."""
    found = []
    for parent, names, files in os.walk(folder):
        names[:] = [name for name in names if not name.startswith(".")]
        found += [Path(parent, name) for name in files if not name.startswith(".")]
    return sorted(found)
