"""From records to a cohort: class names, patients, and case ids that hold no patient name."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from medfuse.config import CohortConfig
from medfuse.data.answers import answers_of, contradicts_itself, names_in
from medfuse.data.cohort import NONE, UNKNOWN, Case, Cohort
from medfuse.data.events import Event
from medfuse.data.records import Listing, Record, printable
from medfuse.errors import CohortError, ConfigError
from medfuse.suggest import did_you_mean

_LOGGER = logging.getLogger("medfuse")


def assemble(listing: Listing, config: CohortConfig) -> Cohort:
    """Return the cohort of a listing; each of its records has an input.

    Raises:
        CohortError: an unknown label, a file without a patient, a case without a name, or a case
            listed twice.
    """
    _require_unicode(listing.records)
    several = config.label_separator is not None or any(r.findings for r in listing.records)
    classes = _label_names(listing, config) if several else _class_names(listing, config)
    if several:
        _require_joinable(classes, listing)
    patients = _patients(listing.records, config)
    cases = [
        Case(
            case_id=case_id,
            inputs=record.inputs,
            label=None if several else _label(record, classes),
            findings=answers_of(record, classes, config) if several else (),
            patient_id=patient or case_id,
            site=record.site,
            role=record.role,
            repeat=record.repeat,
            fold=record.fold,
            columns=record.columns,
        )
        for record, patient in zip(listing.records, patients, strict=True)
        for case_id in (record.case_id or _case_id(record, patient),)
    ]
    _require_unique(cases, listing.records)
    events = (
        *listing.events,
        *_grouping_events(cases, patients, listing),
        *_contradictions(cases, classes, listing, config.label_separator),
    )
    given = any(case.role for case in cases)
    return Cohort(
        tuple(cases), classes, listing.root, events, given_roles=given, multilabel=several
    )


def _label_names(listing: Listing, config: CohortConfig) -> tuple[str, ...]:
    """Return the names of several labels per case: the columns, or what the cells name."""
    if config.label_separator is None:
        return listing.classes if config.classes is None else _own_names(listing, config.classes)
    if config.classes is not None:
        return _class_names(listing, config)
    cells = (record.label for record in listing.records)
    return tuple(sorted({n for cell in cells for n in names_in(cell, config.label_separator)}))


def _require_joinable(names: Sequence[str], listing: Listing) -> None:
    """Refuse names that could not be told apart where a case's labels stand in one cell."""
    strange = next((name for name in names if ";" in name or name in (UNKNOWN, NONE)), None)
    if strange is not None:
        raise CohortError(
            f"{listing.root}: a label is called {strange!r}, but labels of a case are written as "
            f"a;b, or {NONE} or {UNKNOWN}. Rename it."
        )


def _own_names(listing: Listing, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names that the configuration gives to the columns of an archive."""
    if len(names) != len(listing.classes) or len(set(names)) != len(names):
        raise ConfigError(
            f"cohort.classes names {len(names)} labels, expected {len(listing.classes)} different "
            f"ones: {listing.root} has as many columns of labels."
        )
    return tuple(names)


def _class_names(listing: Listing, config: CohortConfig) -> tuple[str, ...]:
    if config.classes is not None:
        names = tuple(config.classes)
        if len(set(names)) != len(names):
            raise ConfigError("cohort.classes names a class twice, expected unique names.")
        return names
    if listing.classes:
        return listing.classes
    found = {record.label for record in listing.records if record.label}
    if found and all(label.isdecimal() for label in found):
        return tuple(sorted(found, key=lambda label: (_number(label), len(label), label)))
    return tuple(sorted(found))


def _number(digits: str) -> float:
    """Return the value of any number of digits; `int` refuses more than 4300."""
    return float(digits)


def _require_unicode(records: Sequence[Record]) -> None:
    for record in records:
        names = (record.relative, record.label, record.patient, record.case_id, record.site)
        texts = (*names, *record.findings, *record.inputs.values())
        if any(printable(text) != text for text in texts):
            raise CohortError(
                f"{printable(record.where)}: its name is not UTF-8, so no table can hold it. "
                "Rename it."
            )


def _label(record: Record, classes: Sequence[str]) -> int | None:
    """A name wins over an index, so that the classes "1" and "2" keep their meaning."""
    if not record.label:
        return None
    if record.label in classes:
        return classes.index(record.label)
    if record.label.isdecimal() and _number(record.label) < len(classes):
        return int(_number(record.label))
    raise CohortError(
        f"{record.where}: label {record.label!r} is not in the class list "
        f"({', '.join(classes)}).{did_you_mean(record.label, classes)}"
        " Mend the label, or add it to cohort.classes."
    )


def _patients(records: Sequence[Record], config: CohortConfig) -> list[str]:
    if config.group_pattern is None:
        return [record.patient or record.dicom_patient for record in records]
    named = next((record for record in records if record.patient), None)
    if named is not None:
        raise CohortError(
            f"{named.where}: names its patient, and cohort.group_pattern takes it from the file "
            "name; expected one of the two. Remove group_pattern, or the patients' column."
        )
    try:
        pattern = re.compile(config.group_pattern)
    except re.error as error:
        raise ConfigError(
            f"cohort.group_pattern: {config.group_pattern!r} is no regular expression ({error})."
        ) from error
    if pattern.groups < 1:
        raise ConfigError(
            f"cohort.group_pattern: {config.group_pattern!r} has no group in parentheses; the "
            "first group is the patient."
        )
    return [_matched(pattern, record) for record in records]


def _matched(pattern: re.Pattern[str], record: Record) -> str:
    match = pattern.search(PurePosixPath(record.relative.partition("::")[0]).name)
    if match is None or not match.group(1):
        raise CohortError(
            f"{record.where}: the file name does not match cohort.group_pattern "
            f"{pattern.pattern!r}, so its patient is unknown. Widen the pattern."
        )
    return match.group(1)


def _case_id(record: Record, patient: str) -> str:
    """The path, or where the patient's id is part of it, the folder with a digest of the path."""
    relative = record.relative
    if not relative:
        raise CohortError(
            f"{record.where}: has neither a file nor a case_id to be named after. Add a column "
            "case_id."
        )
    if not patient or patient not in relative:
        return relative
    digest = hashlib.sha256(relative.encode()).hexdigest()[:12]
    folder = PurePosixPath(relative).parent.as_posix()
    return digest if folder == "." or patient in folder else f"{folder}/{digest}"


def _require_unique(cases: Sequence[Case], records: Sequence[Record]) -> None:
    seen: dict[tuple[str, int], str] = {}
    for case, record in zip(cases, records, strict=True):
        key = (case.case_id, case.repeat)
        if key in seen:
            raise CohortError(
                f"{record.where}: case_id {case.case_id!r} is also in {seen[key]}, expected "
                "unique ids. Remove one of the two."
            )
        seen[key] = record.where


def _grouping_events(
    cases: Sequence[Case], patients: Sequence[str], listing: Listing
) -> list[Event]:
    """Return an event for each case that names no patient, so that their number is told."""
    alone = [case.case_id for case, patient in zip(cases, patients, strict=True) if not patient]
    if alone:
        _LOGGER.warning(
            "%s: %d of %d cases name no patient; each is its own patient",
            listing.root, len(alone), len(cases),
        )  # fmt: skip
    return [Event("NO_PATIENT", case_id, "is its own patient") for case_id in alone]


def _contradictions(
    cases: Sequence[Case], labels: Sequence[str], listing: Listing, separator: str | None
) -> list[Event]:
    """Return an event for each case that is said to have no finding, and one."""
    if separator is None:
        return []
    found = [
        case.case_id
        for case, record in zip(cases, listing.records, strict=True)
        if contradicts_itself(record.label, labels, separator)
    ]
    if found:
        _LOGGER.warning(
            "%s: %d of %d cases name labels beside No Finding; these are unknown there",
            listing.root, len(found), len(cases),
        )  # fmt: skip
    return [Event("NO_FINDING_CONTRADICTED", case_id, "labels unknown") for case_id in found]
