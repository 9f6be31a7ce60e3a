"""MONAI data lists: JSON with ``training``, ``validation`` and ``test`` lists of cases."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medfuse.config import CohortConfig
from medfuse.data.cohort import Role
from medfuse.data.records import Listing, Record, below_common_parent, role_named
from medfuse.errors import CohortError


def list_datalist(path: Path, config: CohortConfig, input_name: str = "image") -> Listing:
    """Return a record for every item; relative image paths start at the file's own folder.

    A part is given only where the file has more than one; ``labels`` (``{"0": "normal"}``)
    names the classes.

    Raises:
        CohortError: not JSON, no known list, or an item that cannot be used.
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
            records.append(_record(_Place(where, path.parent, given), item, config, input_name))
    if not records:
        raise CohortError(f"{path}: its lists are empty, expected at least one case.")
    classes = _class_names(path, content.get("labels"))
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


def _record(place: _Place, given: Any, config: CohortConfig, input_name: str) -> Record:
    item = given if isinstance(given, Mapping) else {input_name: given}
    where, image = place.where, item.get(input_name)
    if not isinstance(image, str) or not image:
        raise CohortError(f"{where}: {input_name} is {image!r}, expected the path of one file.")
    file = Path(image)
    group = config.group or "patient_id"
    if config.group is not None and config.group not in item:
        raise CohortError(f"{where}: no key {config.group!r}, which cohort.group names.")
    return Record(
        where=where,
        reference=str(file if file.is_absolute() else place.folder / file),
        relative=file.as_posix(),
        label=_label(item.get(config.label), where),
        patient=str(item.get(group) or ""),
        case_id=str(item.get("case_id") or ""),
        site=str(item.get("site") or ""),
        role=place.role,
        fold=_fold(item.get("fold"), where),
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
