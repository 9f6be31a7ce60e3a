"""The table of cases that everything else is computed from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from medfuse.data.events import Event

Role = Literal["train", "validation", "calibration", "test"]

ROLES: tuple[Role, ...] = ("train", "validation", "calibration", "test")


@dataclass(frozen=True)
class Case:
    """One row: what is known of one examination, with its label.

    Attributes:
        case_id: unique in the cohort, the same on every machine.
        inputs: input name to reference: a path, ``FILE.npz::KEY::INDEX``, or the cells of a row
            (`medfuse.data.cells`). An input that is missing is absent; at least one is there.
        label: index into `Cohort.classes`, or ``None`` where it is unknown.
        patient_id: cases that share it never lie in different parts.
        site: where the images come from; empty if unknown.
        role: the part of the split; ``None`` before `medfuse.data.split.assign_roles`.
        repeat: number of the repetition, for repeated splits.
        fold: number of the cross-validation fold.
        columns: further cells by column, as written: those that subgroups are made of.
    """

    case_id: str
    inputs: Mapping[str, str]
    label: int | None
    patient_id: str
    site: str = ""
    role: Role | None = None
    repeat: int = 0
    fold: int | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cohort:
    """All cases of a study, and how they were found.

    Attributes:
        cases: in the order of the source.
        classes: class names; a label is an index into them.
        root: folder that relative paths start from.
        events: what was skipped, guessed or dropped on the way.
        given_roles: the source itself said which case is for training and which for testing.
        pseudonymous: the patient ids are keyed hashes already.
    """

    cases: tuple[Case, ...]
    classes: tuple[str, ...]
    root: Path
    events: tuple[Event, ...] = ()
    given_roles: bool = False
    pseudonymous: bool = False

    def part(self, *roles: Role) -> tuple[Case, ...]:
        """Return the cases that have one of the roles, in order."""
        return tuple(case for case in self.cases if case.role in roles)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of cases by role, then by class name; only roles in use.

        Cases without a role are under ``unassigned``, without a label under ``unknown``.
        """
        found = Counter((case.role, case.label) for case in self.cases)
        table: dict[str, dict[str, int]] = {}
        for role in (*ROLES, None):
            row = {name: found[role, index] for index, name in enumerate(self.classes)}
            if found[role, None]:
                row["unknown"] = found[role, None]
            if any(row.values()):
                table[role or "unassigned"] = row
        return table

    def with_cases(self, cases: Iterable[Case], events: Iterable[Event] = ()) -> Cohort:
        """Return the cohort with other cases and further events."""
        return replace(self, cases=tuple(cases), events=(*self.events, *events))
