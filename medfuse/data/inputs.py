"""The inputs of a case: which files and cells of a row they are, and rows that have none."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from medfuse.config import CohortConfig, InputConfig
from medfuse.config.columns import column_kind
from medfuse.data.cells import cells_reference, number_in, read_cells
from medfuse.data.events import Event
from medfuse.errors import CohortError, ConfigError

Inputs = Mapping[str, InputConfig]
Problem = tuple[str, str]

_LOGGER = logging.getLogger("medfuse")
_TAKEN = frozenset(("case_id", "patient_id", "label", "role", "split", "repeat", "fold"))
_TAKEN_NAMES = frozenset((*_TAKEN, "site", "pixel_digest"))


def is_table(config: InputConfig) -> bool:
    """Return whether an input is columns of the cohort itself, not a file."""
    return config.kind == "tabular"


def file_inputs(inputs: Inputs) -> list[str]:
    """Return the names of the inputs that are files, sorted."""
    return sorted(name for name, config in inputs.items() if not is_table(config))


def table_columns(inputs: Inputs) -> list[tuple[str, str]]:
    """Return ``(input, column)`` for every column of the tabular inputs, sorted."""
    return sorted((name, c) for name, config in inputs.items() for c in config.columns)


def require_free_names(inputs: Inputs, config: CohortConfig) -> None:
    """Pass if no input or column is one that already says something else of a case.

    Raises:
        ConfigError: an input of such a name, or a column that holds the label or the patient.
    """
    own = {*config.label_columns, config.group or "patient_id"}
    for name in inputs:
        if not name or name in _TAKEN_NAMES | own or name.startswith(("pixel_digest:", "column:")):
            raise ConfigError(
                f"inputs.{name}: {name!r} is no name for an input, since a column of that name "
                "holds something else. Rename it."
            )
    files = set(file_inputs(inputs))
    for name, column in table_columns(inputs):
        if column in _TAKEN | own | files:
            raise ConfigError(
                f"inputs.{name}.columns: {column!r} is what is to be found, or how cases are "
                "told apart; no network may read it. Remove it."
            )


def references(inputs: Inputs, cell: Callable[[str], str], folder: Path) -> dict[str, str]:
    """Return the references of one row; an input whose cells are blank is left out.

    Args:
        inputs: name to configuration.
        cell: gives the text of a column; empty where there is none.
        folder: relative paths start there.
    """
    found = {}
    for name, config in inputs.items():
        if is_table(config):
            found[name] = cells_reference({column: cell(column) for column in config.columns})
        elif cell(name):
            file = Path(cell(name))
            found[name] = str(file if file.is_absolute() else folder / file)
    return {name: reference for name, reference in found.items() if reference}


def first_file(inputs: Inputs, cell: Callable[[str], str]) -> str:
    """Return the path that a row is named after: of its files the first by input name."""
    found = (cell(name) for name in file_inputs(inputs))
    return next((Path(path).as_posix() for path in found if path), "")


def usable(
    rows: Sequence[tuple[str, Mapping[str, str]]],
    inputs: Inputs,
    policy: Literal["refuse", "skip"],
) -> tuple[list[bool], list[Event]]:
    """Return which rows can be used, and an event for each that cannot.

    Args:
        rows: where each one stands, and its references.
        inputs: what was asked for.
        policy: ``cohort.on_bad_image``.

    Raises:
        CohortError: no row can be used, or policy ``refuse`` and one cannot.
    """
    found = [(where, _problem(given, inputs)) for where, given in rows]
    bad = [(where, problem) for where, problem in found if problem is not None]
    if bad and (policy == "refuse" or len(bad) == len(rows)):
        where, (code, text) = bad[0]
        more = f" ({len(bad) - 1} more rows)" if len(bad) > 1 else ""
        skip = ", or set cohort.on_bad_image: skip" if len(bad) < len(rows) else ""
        raise CohortError(f"{where}: {text}{more}. Mend or remove the row{skip}. [{code}]")
    if bad:
        _LOGGER.warning("%d of %d rows cannot be used; skipped", len(bad), len(rows))
    events = [Event(code, where, f"{text}; skipped", left_out=True) for where, (code, text) in bad]
    return [problem is None for _, problem in found], events


def _problem(given: Mapping[str, str], inputs: Inputs) -> Problem | None:
    if not given:
        blank = sorted((*file_inputs(inputs), *(column for _, column in table_columns(inputs))))
        return "NO_INPUT", f"has no input: {', '.join(blank)} {_are(blank)} blank"
    for name, column in table_columns(inputs):
        if column_kind(inputs[name].columns[column]) == "number" and name in given:
            text = read_cells(given[name]).get(column)
            if text is not None and number_in(text) is None:
                return "BAD_NUMBER", f"column {column!r} holds no number; blank is unknown"
    return None


def _are(items: Sequence[str]) -> str:
    return "are" if len(items) > 1 else "is"
