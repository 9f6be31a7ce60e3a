"""Lists the cases of a table. Copied into bundles: the standard library only."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from medfuse.data.cells import cells_reference

TABLE = "cases.csv"
CASE_ID = "case_id"


class CaseError(ValueError):
    """A case that cannot be predicted.

    Attributes:
        code: short upper-case reason.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code

    def __reduce__(self) -> tuple[type[CaseError], tuple[str, str]]:
        return type(self), (self.code, str(self))


def list_cases(folder: str | os.PathLike[str], inputs: str) -> list[dict[str, str]]:
    """Return the cases of ``folder/cases.csv``; see `read_cases`.

    Args:
        folder: paths in the table are relative to it.
        inputs: what `inputs_text` returned.

    Raises:
        FileNotFoundError: there is no such file.
        CaseError: a case has no input at all.
        ValueError: the table cannot be used.
    """
    path = Path(folder) / TABLE
    if not path.is_file():
        raise FileNotFoundError(f"no input images in {folder}: no {TABLE}; give --dataset_dir")
    cases = read_cases(path, inputs_of(inputs))
    for number, case in enumerate(cases, start=1):
        require_input(case, f"case {number} of {path}")
    return cases


def inputs_text(inputs: Mapping[str, Sequence[str] | None]) -> str:
    """Return inputs as a text for a configuration: a list of columns there could be executed.

    Args:
        inputs: by name, the columns of a table row, or ``None`` for a file.
    """
    return json.dumps(inputs)


def inputs_of(text: str) -> dict[str, list[str] | None]:
    """Return what `inputs_text` was given."""
    found: dict[str, list[str] | None] = json.loads(text)
    return found


def read_cases(
    path: str | os.PathLike[str], inputs: Mapping[str, Sequence[str] | None]
) -> list[dict[str, str]]:
    """Return ``{"case_id": name, input: reference}`` per row; a blank input is left out.

    Args:
        path: a CSV file with ``case_id`` and a column for every input or table column; further
            columns are passed over. Paths in it are relative to its folder.
        inputs: by name, the columns of a table row, or ``None`` for a file.

    Raises:
        ValueError: a column is missing, or a case has no name or that of another one.
    """
    with Path(path).open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns, rows = list(reader.fieldnames or ()), list(reader)
    wanted = [CASE_ID]
    for name, cells in inputs.items():
        wanted += [name] if cells is None else list(cells)
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise ValueError(
            f"{path}: no column {missing[0]}, expected {', '.join(wanted)}. "
            "Leave a cell blank where a case lacks an input."
        )
    names = [(row[CASE_ID] or "").strip() for row in rows]
    first: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if not name or first.setdefault(name, number) != number:
            raise ValueError(f"{path}: case {number} has no case_id of its own. Give it one.")
    return [
        {CASE_ID: name, **_references(row, inputs, Path(path).parent)}
        for name, row in zip(names, rows, strict=True)
    ]


def require_input(case: Mapping[str, object], name: str) -> None:
    """Pass if a case has an input.

    Raises:
        CaseError: code ``NO_INPUT``.
    """
    if not set(case) - {CASE_ID}:
        raise CaseError("NO_INPUT", f"{name}: has no input at all, expected at least one.")


def _references(
    row: Mapping[str, str | None], inputs: Mapping[str, Sequence[str] | None], folder: Path
) -> dict[str, str]:
    found = {}
    for name, columns in inputs.items():
        if columns is None:
            cell = (row[name] or "").strip()
            found[name] = str(folder / cell) if cell else ""
        else:
            found[name] = cells_reference({column: row[column] or "" for column in columns})
    return {name: reference for name, reference in found.items() if reference}
