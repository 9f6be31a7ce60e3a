"""MedMNIST archives: a ``.npz`` with ``train_images``, ``train_labels`` and so on."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfuse.data.medmnist_classes import classes_of_archive
from medfuse.data.records import Listing, Record, role_named
from medfuse.errors import CohortError

_PARTS = ("train", "val", "test")
_HEADER, _LABEL = 4096, 1024  # bytes, at most


def list_archive(path: Path) -> Listing:
    """Return a record for every image, in the order train, validation, test.

    The layout is MedMNIST v2's (Yang et al. 2023, doi 10.1038/s41597-022-01721-8). With only
    ``train_images`` no part is given. An archive with the name of a MedMNIST set has the names of
    its classes, unless a label is none of them. Labels ``(N, L)`` of 0 and 1 are several labels
    per case, as in ChestMNIST; without known names they are called ``label 0``, ``label 1``...

    Raises:
        CohortError: not an archive, or arrays missing, of unequal length or of another kind.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            parts = [part for part in _PARTS if f"{part}_images" in archive.files]
            if not parts:
                raise CohortError(
                    f"{path}: holds {', '.join(archive.files) or 'nothing'}, expected "
                    "train_images and train_labels as in MedMNIST."
                )
            records = [r for part in parts for r in _part(path, archive, part, len(parts) > 1)]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise CohortError(f"{path}: cannot be read as a .npz archive ({error}).") from error
    if not records:
        raise CohortError(f"{path}: its arrays are empty, expected at least one image.")
    return Listing(tuple(records), path.parent, classes=_names(path, records))


def only_archive(folder: Path) -> Path | None:
    """Return the one ``.npz`` file of a folder that holds no folders; else ``None``."""
    shown = [path for path in folder.iterdir() if not path.name.startswith(".")]
    found = [path for path in shown if path.suffix.lower() == ".npz" and path.is_file()]
    return found[0] if len(found) == 1 and not any(path.is_dir() for path in shown) else None


def _names(path: Path, records: Sequence[Record]) -> tuple[str, ...]:
    """Return the names of the classes, where they are known, or of the labels."""
    names, widths = classes_of_archive(path), {len(record.findings) for record in records}
    if len(widths) > 1:
        raise CohortError(f"{path}: its parts have different numbers of labels per image.")
    width = widths.pop()
    if width:
        return names if len(names) == width else tuple(f"label {i}" for i in range(width))
    return names if all(int(record.label) < len(names) for record in records) else ()


def _part(path: Path, archive: Any, part: str, given: bool) -> list[Record]:
    key = f"{part}_images"
    if f"{part}_labels" not in archive.files:
        raise CohortError(f"{path}: holds {key} but no {part}_labels.")
    count = _rows(path, key, archive)
    unpacked = sum(
        i.file_size for i in archive.zip.infolist() if i.filename == f"{part}_labels.npy"
    )
    if unpacked > _HEADER + _LABEL * count:
        raise CohortError(f"{path}: {part}_labels is too large for {count} images.")
    labels = _labels(path, part, archive[f"{part}_labels"])
    several = labels.ndim == 2
    if count != len(labels):
        raise CohortError(f"{path}: {count} images but {len(labels)} labels in {part}.")
    return [
        Record(
            where=f"{path}, {key}[{index}]",
            inputs={"image": f"{path}::{key}::{index}"},
            relative=f"{part}/{index:06d}",
            label="" if several else str(label),
            findings=tuple(map(str, label)) if several else (),
            role=role_named(part) if given else None,
        )
        for index, label in enumerate(labels.tolist())
    ]


def _rows(path: Path, key: str, archive: Any) -> int:
    """Return the length of an array from its header alone, without decompressing it."""
    with archive.zip.open(f"{key}.npy") as file:
        version = np.lib.format.read_magic(file)
        old = version == (1, 0)
        formats: Any = np.lib.format
        read = formats.read_array_header_1_0 if old else formats.read_array_header_2_0
        shape = read(file)[0]
    if len(shape) < 3:
        raise CohortError(f"{path}: {key} has shape {shape}, expected (N, H, W) or (N, H, W, 3).")
    return int(shape[0])


def _labels(path: Path, part: str, labels: NDArray[Any]) -> NDArray[Any]:
    """Return one whole number per image ``(N,)``, or answers ``(N, L)``."""
    flat = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    several = flat.ndim == 2 and flat.shape[1] > 1
    if flat.dtype.kind not in "iu" or not (flat.ndim == 1 or several):
        raise CohortError(
            f"{path}: {part}_labels has shape {labels.shape} and type {labels.dtype}, expected "
            "one whole number per image, or several of 0 and 1."
        )
    return flat
