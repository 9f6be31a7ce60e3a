"""A row of a table as a vector of numbers.

This file is copied into every bundle that needs it, so it imports numpy and its neighbors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfuse.data.cells import cell_text, number_in, read_cells
from medfuse.data.image_facts import ImageFileError

LIMIT = 5.0
"""How many scales a number may lie from the center; what lies farther is cut."""


def tabular_width(columns: Mapping[str, Any]) -> int:
    """Return P, the length of the vector of resolved columns.

    Raises:
        ValueError: a column has no center, scale or levels yet.
    """
    found = resolved_columns(columns).values()
    return sum(len(c["levels"]) + 1 if _is_category(c) else 2 for c in found)


def tabular_slots(columns: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what each of the P numbers is: ``age``, ``age missing``, ``sex = F``, ``sex other``.

    Raises:
        ValueError: a column has no center, scale or levels yet.
    """
    names: list[str] = []
    for name, column in sorted(resolved_columns(columns).items()):
        if _is_category(column):
            names += [*(f"{name} = {level}" for level in column["levels"]), f"{name} other"]
        else:
            names += [name, f"{name} missing"]
    return tuple(names)


def tabular_vector(
    cells: Mapping[str, str], columns: Mapping[str, Any]
) -> tuple[NDArray[np.float32], tuple[tuple[str, str], ...]]:
    """Return the vector ``(P,)`` of a row, and ``(code, detail)`` of what it took.

    The columns are in the order of their names. A number is its distance from the center in
    scales, within [-5, 5], and 0 where it is missing; then 1 if missing, else 0. A category is 1
    at its level, or behind the last level where it is another or missing.

    Args:
        cells: text by column; a column that is missing is absent or blank.
        columns: resolved, ``{kind: number, center, scale}`` or ``{kind: category, levels}``.

    Raises:
        ImageFileError: code ``BAD_NUMBER``; names the column.
        ValueError: a column has no center, scale or levels yet.
    """
    values: list[float] = []
    events: list[tuple[str, str]] = []
    for name, column in sorted(resolved_columns(columns).items()):
        text = cells.get(name, "").strip()
        encode = _category if _is_category(column) else _number
        values += encode(name, text, column, events)
    return np.array(values, np.float32), tuple(events)


def columns_text(columns: Mapping[str, Any]) -> str:
    """Return the columns as JSON for a MONAI configuration, which would run or replace a level
    that begins with ``$``, ``@`` or ``%`` and build an object from a column ``_target_``.
    """
    text = json.dumps(columns, sort_keys=True)
    for mark in "$@%":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text


def row_cells(row: object) -> dict[str, str]:
    """Return the cells of a row that is JSON text or a mapping.

    Raises:
        ImageFileError: code ``NOT_A_ROW``.
    """
    try:
        if isinstance(row, Mapping):
            return {str(name): cell_text(value) for name, value in row.items()}
        return read_cells(str(row))
    except (TypeError, ValueError) as error:
        raise ImageFileError("NOT_A_ROW", "tabular input", str(error)) from None


def resolved_columns(columns: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the columns.

    Raises:
        ValueError: one has no center, scale or levels yet.
    """
    for name, column in columns.items():
        needed = {"levels"} if _is_category(column) else {"center", "scale"}
        if not isinstance(column, Mapping) or not needed <= set(column):
            raise ValueError(
                f"column {name!r} has no {' and '.join(sorted(needed))}, expected a resolved "
                "column (resolve_tabular)."
            )
    return columns


def _is_category(column: Any) -> bool:
    return isinstance(column, Mapping) and column.get("kind") == "category"


def _number(
    name: str, text: str, column: Mapping[str, Any], events: list[tuple[str, str]]
) -> list[float]:
    if not text:
        return [0.0, 1.0]
    number = number_in(text)
    if number is None:
        raise ImageFileError(
            "BAD_NUMBER", f"column {name!r}", "holds no number. Leave it blank if it is unknown."
        )
    distance = (number - column["center"]) / column["scale"]
    if abs(distance) > LIMIT:
        events.append(("NUMBER_CUT", f"{name} lies more than {LIMIT:g} scales from the center"))
    return [min(max(distance, -LIMIT), LIMIT), 0.0]


def _category(
    name: str, text: str, column: Mapping[str, Any], events: list[tuple[str, str]]
) -> list[float]:
    levels = list(column["levels"])
    if text and text not in levels:
        events.append(("UNKNOWN_LEVEL", f"{name} is none of the levels seen in training"))
    place = levels.index(text) if text in levels else len(levels)
    return [float(index == place) for index in range(len(levels) + 1)]
