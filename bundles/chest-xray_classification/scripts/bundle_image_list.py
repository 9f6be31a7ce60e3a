"""Lists the images of a folder. Copied into bundles of images: its neighbors only."""

from __future__ import annotations

import csv
import logging
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from .bundle_required_images import require_images
from .data_dicom_tree import is_dicom_file; from .data_dicom_tree import list_tree; from .data_dicom_tree import reason_to_leave_out

LABELS = "labels.csv"
logger = logging.getLogger(__name__)


def list_images(
    folder: str | os.PathLike[str], suffixes: Sequence[str], modality: str = "other"
) -> list[str]:
    """Return every image file below ``folder``, sorted; what is skipped is counted in the log.

    DICOM is told by its content, not by its name; localizers, summary pages and series of another
    modality are skipped. One that cannot be read is listed, to be refused by name.

    Args:
        folder: searched recursively; hidden files and folders are skipped.
        suffixes: endings of other image files in lower case, with the dot.
        modality: ``XR``, ``CT``, ``MR`` or ``other``, which takes any.
    """
    found: list[str] = []
    dicom: list[str] = []
    skipped: Counter[str] = Counter()
    for path in _files(Path(folder)):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            skipped["hidden"] += 1
        elif path.name.lower().endswith(tuple(suffixes)):
            found.append(str(path))
        elif is_dicom_file(path):
            dicom.append(str(path))
        else:
            skipped[path.suffix.lower() or "no suffix"] += 1
    found += _dicom_images(dicom, modality, skipped)
    if skipped:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(skipped.items()))
        logger.warning(
            "%s: %d files skipped, not images (%s).", folder, sum(skipped.values()), kinds
        )
    return sorted(found, key=Path)


def list_labelled_images(
    folder: str | os.PathLike[str],
    class_names: Sequence[str],
    suffixes: Sequence[str],
    modality: str = "other",
    find: Callable[[Path, Sequence[str], str], list[str]] = list_images,
) -> list[dict[str, object]]:
    """Return ``{"image": file, "label": index}`` for the images in ``folder``.

    They lie in a folder for each class, or are the rows of ``labels.csv``.

    Raises:
        FileNotFoundError: a class has no folder or no image, or a row's image is not there.
        ValueError: a folder or a row has the name of no class.
    """
    root = Path(folder)
    if (root / LABELS).is_file():
        return _labelled_rows(root, class_names)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder, expected one folder per class in it")
    others = {p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")}
    unknown = sorted(others - set(class_names))
    if unknown:
        raise ValueError(f"{root / unknown[0]}: not a class, expected {', '.join(class_names)}")
    items: list[dict[str, object]] = []
    for label, name in enumerate(class_names):
        images = find(root / name, suffixes, modality)
        require_images(images, root / name)
        items += [{"image": image, "label": label} for image in images]
    return items


def _labelled_rows(root: Path, class_names: Sequence[str]) -> list[dict[str, object]]:
    """Return the rows of ``labels.csv``: columns ``image``, relative to it, and ``label``."""
    items: list[dict[str, object]] = []
    with (root / LABELS).open(newline="", encoding="utf-8-sig") as file:
        for number, row in enumerate(csv.DictReader(file), start=1):
            image, label = str(row.get("image") or ""), str(row.get("label"))
            if label not in class_names:
                raise ValueError(
                    f"{LABELS}, row {number}: label is {label[:60]!r}, expected one of "
                    f"{', '.join(class_names)}"
                )
            if not image or not (root / image.partition("::")[0]).exists():
                raise FileNotFoundError(f"{LABELS}, row {number}: its image is not there")
            items.append({"image": str(root / image), "label": list(class_names).index(label)})
    require_images([str(item["image"]) for item in items], root / LABELS)
    return items


def _dicom_images(files: Sequence[str], modality: str, skipped: Counter[str]) -> list[str]:
    if not files:
        return []
    tree = list_tree(files)
    skipped.update(code for _, code in tree.others if code != "DUPLICATE")
    found = [file for file, _ in tree.faults]
    for series in tree.series:
        reason = reason_to_leave_out(series, "image", modality)
        if reason:
            skipped[reason] += len(series.files)
        else:
            found += series.files
    return found


def _files(folder: Path) -> list[Path]:
    found = []
    for parent, _, names in os.walk(folder):
        found += [Path(parent, name) for name in names]
    return sorted(found)
