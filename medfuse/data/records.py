"""What any source of cases says of one case, before labels and patients are worked out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from medfuse.data.cohort import Role
from medfuse.data.events import Event
from medfuse.data.plugin_reader import BUILT_IN_ENDINGS
from medfuse.errors import CohortError

# DICOM is known by content; an archive is a cohort of its own.
IMAGE_ENDINGS = tuple(e for e in BUILT_IN_ENDINGS if e not in (".dcm", ".dicom", ".npz"))

_MAX_DIGITS = 9
_ROLE_NAMES: dict[str, Role] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "calibration": "calibration",
    "calib": "calibration",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Record:
    """One case as its source gives it.

    Attributes:
        where: file, row or position, for error texts.
        inputs: as in `medfuse.data.cohort.Case`; one that is blank is absent.
        relative: path of its first file without what belongs to this machine, with ``/``; empty
            without a file.
        label: class name or index as written; empty if unknown. Names divided by
            ``cohort.label_separator`` where that is set.
        findings: the cells of several label columns, as written.
        patient: as written; empty if unknown.
        columns: further cells by column, as written.
        dicom_patient: keyed hash of the PatientID in its DICOM files; counts where nothing else
            names the patient.
        case_id: as written; empty if there is none.
        site: as written.
        role: the part that the source gives.
        repeat: number of the repetition.
        fold: the fold that the source gives.
    """

    where: str
    inputs: Mapping[str, str]
    relative: str
    label: str
    patient: str = ""
    case_id: str = ""
    site: str = ""
    role: Role | None = None
    repeat: int = 0
    fold: int | None = None
    dicom_patient: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listing:
    """All records of a source.

    Attributes:
        records: in the order of the source.
        root: folder that ``relative`` starts from.
        classes: class names in order, where the source fixes them; of several label columns, one
            name each.
        events: what was skipped or guessed.
    """

    records: tuple[Record, ...]
    root: Path
    classes: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()


def role_named(text: str) -> Role | None:
    """Return the role that a folder, key or column value names in any case, else ``None``."""
    return _ROLE_NAMES.get(text.strip().lower())


def require_role(text: str, where: str) -> Role | None:
    """Return the role named in a table cell; ``None`` for an empty one.

    Raises:
        CohortError: the text names no role.
    """
    role = role_named(text)
    if role is None and text.strip():
        raise CohortError(
            f"{where}: role {text!r}, expected train, validation, calibration or test."
        )
    return role


def whole_number(text: str, column: str, where: str) -> int | None:
    """Return the number in a table cell; ``None`` for an empty one.

    Raises:
        CohortError: the text is no number from 0 on.
    """
    if not text:
        return None
    if not text.isdecimal() or len(text) > _MAX_DIGITS:
        raise CohortError(f"{where}: {column} is {text[:40]!r}, expected a number from 0 on.")
    return int(text)


def below_common_parent(records: Sequence[Record]) -> list[Record]:
    """Return the records with every absolute ``relative`` cut to what is below the folder that
    holds all of them, so that it is the same wherever that folder lies.
    """
    folders = [
        os.path.dirname(os.path.normpath(record.relative))  # noqa: PTH120
        for record in records
        if os.path.isabs(record.relative)  # noqa: PTH117
    ]
    if not folders:
        return list(records)
    root = os.path.commonpath(folders)
    return [
        replace(record, relative=Path(os.path.relpath(record.relative, root)).as_posix())
        if os.path.isabs(record.relative)  # noqa: PTH117
        else record
        for record in records
    ]


def printable(text: str) -> str:
    """Return the text with what is not UTF-8 (a file name's stray bytes) as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
