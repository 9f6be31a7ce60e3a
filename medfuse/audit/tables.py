"""The cohort by class, site, part, modality and input: counts, sizes, spacing, intensities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from medfuse.audit.scan import Refusal, Scan, Seen
from medfuse.data import Case, Cohort

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Breakdown:
    """One row of a table: the files that share a class, site, part, modality or input.

    Attributes:
        name: of the class, site, part, modality or input.
        cases: number of cases.
        patients: number of patients; ``None`` where the source names none.
        refused: files that cannot be used.
        shapes: smallest, median and largest size; empty, as ``spacing`` and ``intensity``, where
            files of several inputs would be mixed.
        spacing: smallest, median and largest voxel size in mm; empty where no file says.
        intensity: medians over the files of the 1st, 50th and 99th percentile, stored units.
        counts: per property (``modality``, ``bits``, ``kind``, ``channels``) value to files.
    """

    name: str
    cases: int
    patients: int | None
    refused: int
    shapes: Mapping[str, tuple[int, ...]]
    spacing: Mapping[str, tuple[float, ...]]
    intensity: tuple[float, ...]
    counts: Mapping[str, Mapping[str, int]]


def breakdowns(cohort: Cohort, scan: Scan) -> dict[str, list[Breakdown]]:
    """Return the rows by ``class``, ``site``, ``part``, ``modality`` and ``input``.

    Only kinds that divide; the class table is always there and ends with the row ``all``. Of
    several inputs each has a row, and one for each class; the other tables do not mix their
    sizes. A file that cannot be read is of the modality ``unknown``.
    """
    keys: dict[str, Callable[[Case], str]] = {
        "class": lambda case: class_name(cohort, case),
        "site": lambda case: case.site or UNKNOWN,
        "part": lambda case: case.role or "unassigned",
    }
    tables = {kind: _rows(cohort, scan, key) for kind, key in keys.items()}
    kept = {kind: rows for kind, rows in tables.items() if kind == "class" or len(rows) > 1}
    every = _row("all", cohort.cases, scan.seen, scan.refused)
    kept["class"] = [*kept["class"], every]
    if len({item.look.modality for item in scan.seen}) > 1:
        kept["modality"] = _by_modality(scan)
    inputs = sorted({item.input for item in scan.seen} | {bad.input for bad in scan.refused})
    if len(inputs) > 1:
        kept["input"] = [row for name in inputs for row in _of_input(cohort, scan, name)]
    return kept


def class_name(cohort: Cohort, case: Case) -> str:
    """Return the name of the case's class, or its labels joined by ``;``, or ``unknown``."""
    return cohort.named(case)


def _rows(cohort: Cohort, scan: Scan, key: Callable[[Case], str]) -> list[Breakdown]:
    groups: dict[str, list[Case]] = {}
    for case in cohort.cases:
        groups.setdefault(key(case), []).append(case)
    order = {name: place for place, name in enumerate(cohort.classes)}
    names = sorted(groups, key=lambda name: (order.get(name, len(order)), name))
    seen: dict[str, list[Seen]] = {name: [] for name in names}
    for item in scan.seen:
        seen[key(item.case)].append(item)
    place = {case.case_id: key(case) for case in cohort.cases}
    refused: dict[str, list[Refusal]] = {name: [] for name in names}
    for refusal in scan.refused:
        refused[place[refusal.case_id]].append(refusal)
    return [_row(name, groups[name], seen[name], refused[name]) for name in names]


def _by_modality(scan: Scan) -> list[Breakdown]:
    groups: dict[str, list[Seen]] = {}
    for item in scan.seen:
        groups.setdefault(item.look.modality or UNKNOWN, []).append(item)
    if scan.refused:
        groups.setdefault(UNKNOWN, [])
    return [
        _row(
            name,
            list({item.case.case_id: item.case for item in groups[name]}.values()),
            groups[name],
            scan.refused if name == UNKNOWN else (),
        )
        for name in sorted(groups, key=lambda name: (name == UNKNOWN, name))
    ]


def _of_input(cohort: Cohort, scan: Scan, name: str) -> list[Breakdown]:
    having = tuple(case for case in cohort.cases if name in case.inputs)
    seen = tuple(item for item in scan.seen if item.input == name)
    refused = tuple(refusal for refusal in scan.refused if refusal.input == name)
    classes = _rows(
        replace(cohort, cases=having), Scan(seen, refused), lambda case: class_name(cohort, case)
    )
    every = _row(name, having, seen, refused)
    return [every, *(replace(row, name=f"{name}: {row.name}") for row in classes)]


def _row(
    name: str, cases: Sequence[Case], seen: Sequence[Seen], refused: Sequence[Refusal]
) -> Breakdown:
    looks = [item.look for item in seen]
    alike = looks if len({item.input for item in seen}) == 1 else []
    properties: dict[str, Iterable[Any]] = {
        "modality": (look.modality or UNKNOWN for look in looks),
        "bits": (look.bits for look in looks),
        "kind": (look.kind for look in looks),
        "channels": (look.channels for look in looks),
    }
    known = any(case.patient_id != case.case_id for case in cases)
    return Breakdown(
        name=name,
        cases=len(cases),
        patients=len({case.patient_id for case in cases}) if known else None,
        refused=len(refused),
        shapes=_extent([look.shape for look in alike]),
        spacing=_extent([look.spacing for look in alike if look.spacing]),
        intensity=_medians([look.percentiles for look in alike]),
        counts={key: _counted(values) for key, values in properties.items()},
    )


def _extent(values: Sequence[tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
    """Return ``smallest``, ``median``, ``largest`` per axis of the commonest dimension."""
    if not values:
        return {}
    dimensions = Counter(len(value) for value in values).most_common(1)[0][0]
    table = np.array([value for value in values if len(value) == dimensions])
    rows = {"smallest": table.min(0), "median": np.median(table, 0), "largest": table.max(0)}
    kind: type = int if table.dtype.kind in "iu" else float
    return {key: tuple(kind(round(number, 4)) for number in row) for key, row in rows.items()}


def _medians(values: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    if not values:
        return ()
    return tuple(float(round(number, 4)) for number in np.median(np.array(values), axis=0))


def _counted(values: Iterable[Any]) -> dict[str, int]:
    return dict(Counter(map(str, values)).most_common())
