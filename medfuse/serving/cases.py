"""What a caller hands over to be predicted, as the items that a bundle's preprocessing takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfuse.bundle.case_table import CASE_ID
from medfuse.data.cells import cell_text, cells_reference
from medfuse.errors import CohortError

Table = Mapping[str, Sequence[str] | None]
InputValue = str | Path | NDArray[Any] | Mapping[str, Any] | None
CaseInput = str | Path | NDArray[Any] | Mapping[str, InputValue]


@dataclass(frozen=True)
class ListedCase:
    """A case as it is called in the results, and as a predictor takes it."""

    name: str
    given: CaseInput


@dataclass(frozen=True)
class NamedCase:
    """A case on its way through a bundle.

    Attributes:
        name: by which the caller finds it again.
        items: reference by input; an input that the case lacks is absent.
    """

    name: str
    items: Mapping[str, str]

    def without_paths(self, text: str) -> str:
        """Return a text in which files are named by their case, as the caller named it."""
        for key, reference in self.items.items():
            shown = self.name if len(self.items) == 1 and key == "image" else f"{self.name}, {key}"
            text = text.replace(reference, shown)
        return text


def named_case(number: int, given: CaseInput, table: Table | None, folder: str) -> NamedCase:
    """Return the case with its name; an array takes the same way through the reader as a file.

    Args:
        number: its position, for its name if it has none.
        given: a reference or an array; for a bundle with a table, a mapping of them by input,
            with ``case_id`` if the case has a name.
        table: by input, the columns of a table row or ``None`` for a file; ``None`` for a bundle
            whose cases are files.
        folder: for arrays.

    Raises:
        CohortError: the bundle takes another kind of case, or has no such input.
    """
    if table is None:
        if isinstance(given, Mapping):
            raise CohortError(f"case {number}: a mapping, but this bundle takes one file per case.")
        name = f"array-{number}" if isinstance(given, np.ndarray) else str(given)
        return NamedCase(name, {"image": _reference(given, name, folder, None)})
    if not isinstance(given, Mapping):
        raise CohortError(
            f"case {number}: one file, but a case of this bundle has the inputs "
            f"{', '.join(table)}. Give a mapping, or a table of cases."
        )
    unknown = sorted(set(given) - {CASE_ID, *table})
    if unknown:
        raise CohortError(
            f"case {number}: no input {unknown[0]!r} in this bundle, expected {', '.join(table)}."
        )
    items = {
        name: _reference(value, f"case-{number}-{name}", folder, columns)
        for name, columns in table.items()
        if (value := given.get(name)) is not None
    }
    found = {name: reference for name, reference in items.items() if reference}
    return NamedCase(str(given.get(CASE_ID) or f"case-{number}"), found)


def _reference(
    value: str | Path | NDArray[Any] | Mapping[str, Any],
    name: str,
    folder: str,
    columns: Sequence[str] | None,
) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) != (columns is not None):
        wanted = "a file or an array" if columns is None else f"cells of {', '.join(columns)}"
        raise CohortError(f"{name}: found a {type(value).__name__}, expected {wanted}.")
    if isinstance(value, Mapping):
        return _row(value, name, columns or ())
    if isinstance(value, np.ndarray):
        path = Path(folder) / f"{name}.npy"
        np.save(path, value, allow_pickle=False)
        return str(path)
    return str(value)


def _row(cells: Mapping[str, Any], name: str, columns: Sequence[str]) -> str:
    unknown = sorted(set(cells) - set(columns))
    if unknown:
        raise CohortError(f"{name}: no column {unknown[0]!r}, expected {', '.join(columns)}.")
    return cells_reference({column: cell_text(cell) for column, cell in cells.items()})
