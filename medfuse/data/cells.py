"""A row of a table as the reference of an input: one JSON object of texts.

This file is copied into bundles, so it imports the standard library alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

_LARGEST = 1e30


def cells_reference(cells: Mapping[str, str]) -> str:
    """Return ``{"age": "54", "sex": "F"}``: sorted, without blank cells; empty if all are."""
    filled = {name: text.strip() for name, text in cells.items() if text.strip()}
    return json.dumps(filled, sort_keys=True, ensure_ascii=False) if filled else ""


def holds_cells(reference: str) -> bool:
    """Return whether a reference is a row of a table, not a file."""
    return reference.startswith('{"') and reference.endswith('"}')


def read_cells(reference: str) -> dict[str, str]:
    """Return the cells of a reference, texts by column.

    Raises:
        ValueError: the reference is no JSON object of texts.
    """
    try:
        cells = json.loads(reference)
    except (ValueError, RecursionError):
        cells = None
    if not isinstance(cells, dict) or not all(isinstance(text, str) for text in cells.values()):
        raise ValueError("found no row of a table, expected a JSON object of texts.")
    return cells


def cell_text(value: object) -> str:
    """Return a JSON value as the text of a cell; empty for ``null``.

    Raises:
        TypeError: a list or an object.
    """
    if isinstance(value, str):
        return value.strip()
    if value is not None and not isinstance(value, int | float):
        raise TypeError(f"found a {type(value).__name__}, expected a number or a text.")
    return "" if value is None else json.dumps(value)


def number_in(text: str) -> float | None:
    """Return the number that a cell holds; ``None`` where it is none, or beyond 1e30."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < _LARGEST and "_" not in text else None
