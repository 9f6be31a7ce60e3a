"""Look at the rows of the training cases and settle what their columns leave open."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medfuse.config import InputConfig
from medfuse.config.columns import Column, column_kind
from medfuse.data.cells import number_in, read_cells
from medfuse.data.events import Event
from medfuse.data.image_facts import ImageFileError
from medfuse.data.pixel_digest import pixel_digest
from medfuse.errors import ConfigError, ImageError
from medfuse.monai_text import means_itself
from medfuse.preprocessing.canonical import CanonicalImage
from medfuse.preprocessing.tabular_row import row_cells, tabular_vector

MAX_LEVELS = 64
_IQR_OF_A_NORMAL = 1.349
_LOGGER = logging.getLogger("medfuse")


def resolve_tabular(
    input: InputConfig,  # noqa: A002
    references: Sequence[str],
) -> tuple[InputConfig, dict[str, Any]]:
    """Return the input with its columns resolved, and a fingerprint of the rows they are from.

    A number gets its median as center and its interquartile range / 1.349 as scale (the standard
    deviation of a normal distribution), since laboratory values have long tails and cells have
    typing errors: one age of 540 would flatten all others if mean and standard deviation were
    taken. Where half the cases share one value, the range is 0 and the standard deviation is the
    scale. A category gets the levels that at least two cases have, sorted; one that a single case
    has can be a name, and cannot be learned. Resolved columns stay as they are.

    The fingerprint holds counts alone: ``rows``, ``missing`` by column, and ``events``
    (code, column, detail), which are also logged as warnings.

    Args:
        input: of kind ``tabular``.
        references: of the training cases.

    Raises:
        ImageError: code ``NO_ROW``, ``BAD_NUMBER`` or ``NOT_A_ROW``; names the column.
        ConfigError: a category has more than 64 levels.
    """
    if not references:
        raise ImageError("NO_ROW", "there is no row to resolve the tabular input from. [NO_ROW]")
    rows = [_cells(reference) for reference in references]
    events: list[Event] = []
    columns: dict[str, Column] = {}
    for name, column in input.columns.items():
        texts = [text for row in rows if (text := row.get(name, ""))]
        columns[name] = _resolve(name, column, texts, events)
    for event in events:
        _LOGGER.warning("tabular input: column %r %s", event.subject, event.detail)
    fingerprint = {
        "rows": len(rows),
        "missing": {name: sum(not row.get(name) for row in rows) for name in columns},
        "events": [[event.code, event.subject, event.detail] for event in events],
    }
    return input.model_copy(update={"columns": columns}), fingerprint


def load_row(reference: str, columns: Mapping[str, Any]) -> CanonicalImage:
    """Return the vector of a row as a canonical image with pixels ``(P,)``.

    Raises:
        ImageError: code ``BAD_NUMBER`` or ``NOT_A_ROW``; names no value.
    """
    try:
        vector, events = tabular_vector(row_cells(reference), columns)
    except ImageFileError as error:
        raise ImageError(error.code, str(error)) from error
    digest = pixel_digest(vector)
    found = tuple(Event(code, "tabular input", detail) for code, detail in events)
    return CanonicalImage(vector, digest, digest, found)


def _cells(reference: str) -> dict[str, str]:
    try:
        return read_cells(reference)
    except ValueError as error:
        raise ImageError("NOT_A_ROW", f"tabular input: {error} [NOT_A_ROW]") from None


def _resolve(name: str, column: Column, texts: Sequence[str], events: list[Event]) -> Column:
    if not isinstance(column, str):
        return column
    if not texts:
        events.append(Event("COLUMN_EMPTY", name, "is blank in all rows"))
    elif len(set(texts)) == 1:
        events.append(Event("COLUMN_OF_ONE_VALUE", name, "has one value in all rows"))
    if column_kind(column) == "number":
        return _number(name, texts)
    return _category(name, texts, events)


def _number(name: str, texts: Sequence[str]) -> Column:
    numbers = [number_in(text) for text in texts]
    values = np.array([number for number in numbers if number is not None], np.float64)
    if len(values) < len(numbers):
        raise ImageError(
            "BAD_NUMBER",
            f"tabular input: column {name!r} holds no number in {len(numbers) - len(values)} of "
            f"{len(numbers)} rows, expected a number or blank. Mend them, or make it a category. "
            "[BAD_NUMBER]",
        )
    if not len(values):
        return {"kind": "number", "center": 0.0, "scale": 1.0}
    low, center, high = np.percentile(values, (25, 50, 75))
    scale = (high - low) / _IQR_OF_A_NORMAL or values.std() or 1.0
    return {"kind": "number", "center": _short(center, scale), "scale": _short(scale, scale)}


def _short(value: float, scale: float) -> float:
    """Return a number that a person can read: rounded to a hundred-thousandth of the scale."""
    return round(float(value), 5 - math.floor(math.log10(scale)))


def _category(name: str, texts: Sequence[str], events: list[Event]) -> Column:
    counts = Counter(texts)
    levels = sorted(level for level, count in counts.items() if count > 1)
    if len(levels) > MAX_LEVELS:
        raise ConfigError(
            f"inputs: column {name!r} has {len(levels)} levels, expected at most {MAX_LEVELS} of a "
            "category. Make it a number, group its values, or leave it out."
        )
    if not all(map(means_itself, levels)):
        raise ConfigError(
            f"inputs: column {name!r} has a level that MONAI would run or replace, expected none "
            "that begins with $, @ or % or has a #. Mend the cells, or leave the column out."
        )
    if len(counts) > len(levels):
        detail = f"has {len(counts) - len(levels)} values in one row each, counted as other"
        events.append(Event("RARE_LEVELS", name, detail))
    return {"kind": "category", "levels": levels}
