"""CSV and TSV files with one row per case; every guessed column is logged."""

from __future__ import annotations

import csv
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medfuse.config import CohortConfig
from medfuse.data.events import Event
from medfuse.data.inputs import Inputs, file_inputs, first_file, references, table_columns
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
    inputs: Inputs
    guessed: dict[str, str]
    labels: tuple[str, ...]
    patient: str
    role: str


def list_table(path: Path, config: CohortConfig, inputs: Inputs) -> Listing:
    """Return a record for every row; relative paths start at the file's own folder.

    Columns: each input that is a file (where it is the only one, what is found and logged) and
    each column of a tabular input, the label or labels (``config.label``), and where present
    ``case_id``, ``patient_id`` (or ``config.group``), ``site``, ``role`` or ``split``, ``fold``,
    ``repeat``.

    Raises:
        CohortError: not a table, a column is missing, or a cell cannot be used.
    """
    names, rows = _read_rows(path)
    events: list[Event] = []
    columns = _find_columns(path, names, config, inputs, events)
    records = [_record(path, number, row, columns) for number, row in rows]
    if not records:
        raise CohortError(f"{path}: holds a header but no row, expected one row per case.")
    classes = columns.labels if len(columns.labels) > 1 else ()
    return Listing(tuple(below_common_parent(records)), path.parent, classes, tuple(events))


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
    path: Path, names: Sequence[str], config: CohortConfig, inputs: Inputs, events: list[Event]
) -> _Columns:
    guessed = _guessed(path, names, inputs, events)
    for name in file_inputs(inputs):
        _require_column(path, names, guessed.get(name, name), f"Rename inputs.{name} to")
    for name, column in table_columns(inputs):
        _require_column(path, names, column, f"Change inputs.{name}.columns to")
    for column in config.label_columns:
        _require_column(path, names, column, "Set cohort.label to")
    if config.group is not None:
        _require_column(path, names, config.group, "Set cohort.group to")
    default_patient = "patient_id" if "patient_id" in names else ""
    role = next((name for name in ("role", "split") if name in names), "")
    return _Columns(inputs, guessed, config.label_columns, config.group or default_patient, role)


def _guessed(
    path: Path, names: Sequence[str], inputs: Inputs, events: list[Event]
) -> dict[str, str]:
    """Return the column of the only image where it has another name than the input."""
    files = file_inputs(inputs)
    if len(files) != 1 or files[0] in names:
        return {}
    lower = {name.lower(): name for name in names}
    guess = next((lower[name] for name in _PATH_COLUMNS if name in lower), None)
    if guess is None:
        raise CohortError(
            f"{path}: no column {files[0]!r} with the image paths; found {', '.join(names)}."
            + did_you_mean(files[0], names)
        )
    _LOGGER.warning("%s: column %r is taken for the image paths", path, guess)
    events.append(Event("COLUMN_GUESSED", path.name, f"{guess} holds the image paths"))
    return {files[0]: guess}


def _require_column(path: Path, names: Sequence[str], column: str, remedy: str) -> None:
    if column not in names:
        raise CohortError(
            f"{path}: no column {column!r}; found {', '.join(names)}. {remedy} the column that "
            f"holds it.{did_you_mean(column, names)}"
        )


def _record(path: Path, number: int, row: dict[str, str], columns: _Columns) -> Record:
    where = f"{path}, row {number}"
    labels = tuple(row[column] for column in columns.labels)

    def cell(column: str) -> str:
        return row[columns.guessed.get(column, column)]

    return Record(
        where=where,
        inputs=references(columns.inputs, cell, path.parent),
        relative=first_file(columns.inputs, cell),
        label=labels[0] if len(labels) == 1 else "",
        findings=labels if len(labels) > 1 else (),
        patient=row.get(columns.patient, ""),
        case_id=row.get("case_id", ""),
        site=row.get("site", ""),
        role=require_role(row.get(columns.role, ""), where),
        repeat=whole_number(row.get("repeat", ""), "repeat", where) or 0,
        fold=whole_number(row.get("fold", ""), "fold", where),
        columns=row,
    )
