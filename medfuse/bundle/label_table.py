"""Lists images with answers to several labels. Copied into bundles: its neighbors only."""

from __future__ import annotations

import csv
import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medfuse.bundle.required_images import require_images

TABLE = "labels.csv"
IMAGE = "image"
# Of a column with blanks pandas writes 1.0 and 0.0.
_ANSWERS = {"1": 1.0, "1.0": 1.0, "0": 0.0, "0.0": 0.0, "": float("nan")}
logger = logging.getLogger(__name__)


def list_answered_images(
    folder: str | os.PathLike[str], class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """Return ``{"image": file, "label": answers}`` for the rows of ``folder/labels.csv``.

    An answer is 1.0, 0.0, or NaN where it is unknown, one for each label in their order.

    Args:
        folder: of the table, which has the column ``image``, relative to it, and one for each
            label; further ones are passed over, and named in the log.
        class_names: the labels.

    Raises:
        FileNotFoundError: there is no table, no row, or not the image of a row.
        ValueError: a column is missing or there twice, a row is cut off, a cell is no answer, or
            no answer is known.
    """
    path = Path(folder) / TABLE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file, expected a table with the columns "
            f"{', '.join([IMAGE, *class_names])}. Write it, or give another --dataset_dir."
        )
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        _check_columns(path, list(reader.fieldnames or ()), class_names)
        items = [
            _item(row, f"{path}, row {number}", path.parent, class_names)
            for number, row in enumerate(reader, start=1)
        ]
    require_images([item[IMAGE] for item in items], path)
    _check_known(path, items)
    return items


def _check_columns(path: Path, found: Sequence[str], class_names: Sequence[str]) -> None:
    wanted = [IMAGE, *class_names]
    wrong = next((name for name in wanted if found.count(name) != 1), None)
    if wrong is not None:
        count = "twice" if wrong in found else "no"
        raise ValueError(
            f"{path}: found the columns {', '.join(found) or '(none)'}, {count} column {wrong!r}, "
            f"expected {', '.join(wanted)}. Name the columns so; leave a cell blank where the "
            "answer is unknown."
        )
    further = [name for name in found if name not in wanted]
    if further:
        logger.warning("%s: columns passed over, no labels: %s", path, ", ".join(further))


def _item(
    row: Mapping[str | None, str | None], where: str, folder: Path, class_names: Sequence[str]
) -> dict[str, Any]:
    if None in row or None in row.values():
        raise ValueError(
            f"{where}: found more or fewer cells than there are columns, expected as many. "
            "Mend the row."
        )
    image = (row[IMAGE] or "").strip()
    if not image or not (folder / image.partition("::")[0]).exists():
        raise FileNotFoundError(
            f"{where}: its image is not there, expected a path relative to the table. "
            "Mend the cell."
        )
    answers = [_answer(row[name] or "", f"{where}, column {name!r}") for name in class_names]
    return {IMAGE: str(folder / image), "label": answers}


def _answer(cell: str, where: str) -> float:
    text = cell.strip()
    if text not in _ANSWERS:
        raise ValueError(
            f"{where}: found {text[:40]!r}, expected 1 or 0, or blank for unknown. Mend the cell."
        )
    return _ANSWERS[text]


def _check_known(path: Path, items: Sequence[Mapping[str, Any]]) -> None:
    if all(math.isnan(answer) for item in items for answer in item["label"]):
        raise ValueError(f"{path}: found no known answer, expected 1 or 0 somewhere. Fill some in.")
