"""CSV and TSV files with one row per case; every guessed column is logged."""

from __future__ import annotations

import csv
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medfuse.config import CohortConfig
from medfuse.data.events import Event
from medfuse.data.records import (
    Listing,
    Record,
    below_common_parent,
    require_role,
    whole_number,
)
from medfuse.errors import CohortError
from medfuse.suggest import did_you_mean

_LOGGER = logging.getLogger("medfuse")
_PATH_COLUMNS = ("image", "path", "image_path", "file", "filename", "file_name", "filepath")


@dataclass(frozen=True)
class _Columns:
    image: str
    label: str
    patient: str
    role: str
    optional: frozenset[str]


def list_table(path: Path, config: CohortConfig, input_name: str = "image") -> Listing:
    """Return a record for every row; relative image paths start at the file's own folder.

    Columns: the image (``image``, or what is found and logged), the label (``config.label``),
    and where present ``case_id``, ``patient_id`` (or ``config.group``), ``site``, ``role`` or
    ``split``, ``fold``, ``repeat``.

    Raises:
        CohortError: not a table, a column is missing, or a cell cannot be used.
    """
    names, rows = _read_rows(path)
    events: list[Event] = []
    columns = _find_columns(path, names, config, input_name, events)
    records = [_record(path, number, row, columns) for number, row in rows]
    if not records:
        raise CohortError(f"{path}: holds a header but no row, expected one row per case.")
    return Listing(tuple(below_common_parent(records)), path.parent, events=tuple(events))


def _read_rows(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
            names = [name.strip() for name in next(lines, [])]
            rows = [(lines.line_num, cells) for cells in lines if any(c.strip() for c in cells)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CohortError(f"{path}: cannot be read as a UTF-8 table ({error}).") from error
    _require_separator(path, names)
    if len(set(names)) != len(names):
        raise CohortError(f"{path}: the header names a column twice, expected unique names.")
    for number, cells in rows:
        if len(cells) != len(names):
            raise CohortError(
                f"{path}, row {number}: found {len(cells)} cells, expected {len(names)} as in "
                "the header."
            )
    return names, [(n, dict(zip(names, map(str.strip, c), strict=True))) for n, c in rows]


def _require_separator(path: Path, names: Sequence[str]) -> None:
    found = next((mark for mark in ";\t,|" if len(names) == 1 and mark in names[0]), None)
    if found:
        mark = "tabs" if path.suffix.lower() == ".tsv" else "commas"
        raise CohortError(
            f"{path}: the header is separated by {found!r}, expected {mark}. Save it as "
            "comma-separated .csv or tab-separated .tsv."
        )


def _find_columns(
    path: Path, names: Sequence[str], config: CohortConfig, input_name: str, events: list[Event]
) -> _Columns:
    image = _image_column(path, names, input_name, events)
    _require_column(path, names, config.label, "label")
    if config.group is not None:
        _require_column(path, names, config.group, "group")
    default_patient = "patient_id" if "patient_id" in names else ""
    role = next((name for name in ("role", "split") if name in names), "")
    return _Columns(image, config.label, config.group or default_patient, role, frozenset(names))


def _image_column(path: Path, names: Sequence[str], input_name: str, events: list[Event]) -> str:
    if input_name in names:
        return input_name
    lower = {name.lower(): name for name in names}
    guess = next((lower[name] for name in _PATH_COLUMNS if name in lower), None)
    if guess is None:
        raise CohortError(
            f"{path}: no column {input_name!r} with the image paths; found {', '.join(names)}."
            + did_you_mean(input_name, names)
        )
    _LOGGER.warning("%s: column %r is taken for the image paths", path, guess)
    events.append(Event("COLUMN_GUESSED", path.name, f"{guess} holds the image paths"))
    return guess


def _require_column(path: Path, names: Sequence[str], column: str, key: str) -> None:
    if column not in names:
        raise CohortError(
            f"{path}: no column {column!r}; found {', '.join(names)}. Set cohort.{key} to the "
            f"column that holds it.{did_you_mean(column, names)}"
        )


def _record(path: Path, number: int, row: dict[str, str], columns: _Columns) -> Record:
    where = f"{path}, row {number}"
    relative = row[columns.image]
    if not relative:
        raise CohortError(f"{where}: the image path is empty, expected a file.")
    file = Path(relative)
    return Record(
        where=where,
        reference=str(file if file.is_absolute() else path.parent / file),
        relative=file.as_posix(),
        label=row[columns.label],
        patient=row.get(columns.patient, ""),
        case_id=row.get("case_id", ""),
        site=row.get("site", ""),
        role=require_role(row.get(columns.role, ""), where),
        repeat=whole_number(row.get("repeat", ""), "repeat", where) or 0,
        fold=whole_number(row.get("fold", ""), "fold", where),
    )
