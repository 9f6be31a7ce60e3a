"""What contradicts itself: one patient with several labels, or in several parts or sites."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from medfuse.data import Case
from medfuse.data.cohort import contradictory


@dataclass(frozen=True)
class Conflicts:
    """Groups of case ids; each group is one patient, who is not named.

    Attributes:
        labels: the patient's cases have different labels (can be right: two examinations).
        roles: the patient lies in several parts of the given split (a leak).
        sites: the patient lies in several sites.
        patients: number of different patients.
        known: the source names patients at all; else each case counts as one.
    """

    labels: tuple[tuple[str, ...], ...]
    roles: tuple[tuple[str, ...], ...]
    sites: tuple[tuple[str, ...], ...]
    patients: int
    known: bool


def find_conflicts(cases: Sequence[Case]) -> Conflicts:
    """Return the contradictions among the cases of each patient."""
    patients: dict[str, list[Case]] = {}
    for case in cases:
        patients.setdefault(case.patient_id, []).append(case)
    groups = list(patients.values())
    return Conflicts(
        labels=tuple(tuple(c.case_id for c in group) for group in groups if contradictory(group)),
        roles=_differing(groups, lambda case: case.role),
        sites=_differing(groups, lambda case: case.site or None),
        patients=len(patients),
        known=any(case.patient_id != case.case_id for case in cases),
    )


def _differing(
    groups: Sequence[Sequence[Case]], value: Callable[[Case], Hashable]
) -> tuple[tuple[str, ...], ...]:
    return tuple(
        tuple(case.case_id for case in group)
        for group in groups
        if len({value(case) for case in group} - {None}) > 1
    )
