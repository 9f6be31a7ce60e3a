"""MONAI data lists: JSON with ``training``, ``validation`` and ``test`` lists of cases."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medfuse.config import CohortConfig
from medfuse.data.cells import cell_text
from medfuse.data.cohort import Role
from medfuse.data.inputs import Inputs, file_inputs, first_file, references, table_columns
from medfuse.data.records import Listing, Record, below_common_parent, role_named
from medfuse.errors import CohortError
from medfuse.suggest import did_you_mean


def list_datalist(path: Path, config: CohortConfig, inputs: Inputs) -> Listing:
    """Return a record for every item; relative paths start at the file's own folder.

    A part is given only where the file has more than one; ``labels`` (``{"0": "normal"}``)
    names the classes.

    Raises:
        CohortError: not JSON, no known list, a key that no item has, or an item that cannot be
            used.
    """
    content = _load(path)
    parts = {key: role_named(key) for key, value in content.items() if isinstance(value, list)}
    known = {key: role for key, role in parts.items() if role}
    if not known:
        raise CohortError(
            f"{path}: found the keys {', '.join(content) or 'none'}, expected lists named "
            "training, validation or test."
        )
    records = []
    for key, role in known.items():
        for index, item in enumerate(content[key]):
            given = role if len(known) > 1 else None
            where = f"{path}, {key}[{index}]"
            records.append(_record(_Place(where, path.parent, given), item, config, inputs))
    if not records:
        raise CohortError(f"{path}: its lists are empty, expected at least one case.")
    _require_keys(path, [item for key in known for item in content[key]], inputs)
    several = not isinstance(config.label, str)
    classes = config.label_columns if several else _class_names(path, content.get("labels"))
    if several:
        _require_labels(path, [item for key in known for item in content[key]], config)
    return Listing(tuple(below_common_parent(records)), path.parent, classes)


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CohortError(f"{path}: cannot be read as JSON ({error}).") from error
    except RecursionError as error:
        raise CohortError(f"{path}: is nested too deeply, expected lists of cases.") from error
    if not isinstance(content, dict):
        raise CohortError(f"{path}: found {type(content).__name__}, expected an object with lists.")
    return content


@dataclass(frozen=True)
class _Place:
    where: str
    folder: Path
    role: Role | None


def _record(place: _Place, given: Any, config: CohortConfig, inputs: Inputs) -> Record:
    where, item = place.where, _item(place.where, given, inputs)
    cells = _cells(where, item, inputs)
    group = config.group or "patient_id"
    if config.group is not None and config.group not in item:
        raise CohortError(f"{where}: no key {config.group!r}, which cohort.group names.")
    return Record(
        where=where,
        inputs=references(inputs, cells.__getitem__, place.folder),
        relative=first_file(inputs, cells.__getitem__),
        label=_label(item.get(config.label), where) if isinstance(config.label, str) else "",
        findings=()
        if isinstance(config.label, str)
        else tuple(_cell(where, key, item.get(key)) for key in config.label),
        patient=str(item.get(group) or ""),
        case_id=str(item.get("case_id") or ""),
        site=str(item.get("site") or ""),
        role=place.role,
        fold=_fold(item.get("fold"), where),
        columns=_texts(item),
    )


def _item(where: str, given: Any, inputs: Inputs) -> Mapping[str, Any]:
    """An item may be the bare path of an image, where that is the only input."""
    if isinstance(given, Mapping):
        return given
    if len(inputs) > 1 or table_columns(inputs):
        raise CohortError(
            f"{where}: found {type(given).__name__}, expected an object with the keys "
            f"{', '.join(sorted(inputs))}."
        )
    return dict.fromkeys(inputs, given)


def _cells(where: str, item: Mapping[str, Any], inputs: Inputs) -> dict[str, str]:
    """Return the text of every key that an input reads; empty where it is absent or null."""
    cells = {}
    for name in file_inputs(inputs):
        path = item.get(name)
        if path is not None and not isinstance(path, str):
            raise CohortError(
                f"{where}: {name} is a {type(path).__name__}, expected the path of one file."
            )
        cells[name] = (path or "").strip()
    for _, column in table_columns(inputs):
        cells[column] = _cell(where, column, item.get(column))
    return cells


def _cell(where: str, column: str, value: Any) -> str:
    try:
        return cell_text(value)
    except TypeError as error:
        raise CohortError(f"{where}, {column}: {error}") from None


def _require_keys(path: Path, items: Sequence[Any], inputs: Inputs) -> None:
    """A key that no item has is misspelt; one that is missing here and there is missing."""
    known = {key for item in items if isinstance(item, Mapping) for key in item}
    if any(not isinstance(item, Mapping) for item in items):
        return
    for key in (*file_inputs(inputs), *(column for _, column in table_columns(inputs))):
        if key not in known:
            raise CohortError(
                f"{path}: no item has the key {key!r}; found {', '.join(sorted(known))}."
                + did_you_mean(key, known)
            )


def _texts(item: Mapping[str, Any]) -> dict[str, str]:
    """Return the keys that hold one number or text, as text."""
    plain = (str, int, float, type(None))
    return {key: cell_text(value) for key, value in item.items() if isinstance(value, plain)}


def _require_labels(path: Path, items: Sequence[Any], config: CohortConfig) -> None:
    """A label that no item has is misspelt; one that is missing here and there is unknown."""
    known = {key for item in items if isinstance(item, Mapping) for key in item}
    for key in config.label_columns:
        if key not in known:
            raise CohortError(
                f"{path}: no item has the label {key!r}; found {', '.join(sorted(known))}."
                f"{did_you_mean(key, known)} Set cohort.label to the keys of the labels."
            )


def _label(value: Any, where: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise CohortError(f"{where}: label is {value!r}, expected one class name or index.")
    return str(value)


def _fold(value: Any, where: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise CohortError(f"{where}: fold is {value!r}, expected a number from 0 on.")
    return value


def _class_names(path: Path, labels: Any) -> tuple[str, ...]:
    if not isinstance(labels, Mapping) or not labels:
        return ()
    if sorted(labels) != sorted(str(index) for index in range(len(labels))):
        raise CohortError(f"{path}: labels has the keys {', '.join(labels)}, expected 0, 1, 2...")
    return tuple(str(labels[str(index)]) for index in range(len(labels)))
