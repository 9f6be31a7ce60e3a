"""The table of cases that everything else is computed from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

from medfuse.data.events import Event

Role = Literal["train", "validation", "calibration", "test"]
Findings: TypeAlias = tuple[int | None, ...]

UNKNOWN, NONE = "unknown", "none"
ROLES: tuple[Role, ...] = ("train", "validation", "calibration", "test")


@dataclass(frozen=True)
class Case:
    """One row: what is known of one examination, with its label.

    Attributes:
        case_id: unique in the cohort, the same on every machine.
        inputs: input name to reference: a path, ``FILE.npz::KEY::INDEX``, or the cells of a row
            (`medfuse.data.cells`). An input that is missing is absent; at least one is there.
        label: index into `Cohort.classes`, or ``None`` where it is unknown; always ``None`` in a
            cohort of several labels per case.
        patient_id: cases that share it never lie in different parts.
        site: where the images come from; empty if unknown.
        role: the part of the split; ``None`` before `medfuse.data.split.assign_roles`.
        repeat: number of the repetition, for repeated splits.
        fold: number of the cross-validation fold.
        columns: further cells by column, as written: those that subgroups are made of.
        findings: of several labels per case, one answer for each of `Cohort.classes`: 1 where the
            label holds, 0 where it does not, ``None`` where that is unknown. Empty in a cohort of
            one class per case.
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
    findings: Findings = ()

    @property
    def labeled(self) -> bool:
        """Whether anything is known that can be learned or measured."""
        return self.label is not None or any(one is not None for one in self.findings)

    @property
    def held(self) -> tuple[int, ...]:
        """The classes that the case is known to belong to; perhaps none."""
        if self.findings:
            return tuple(index for index, one in enumerate(self.findings) if one)
        return () if self.label is None else (self.label,)

    @property
    def strata(self) -> tuple[Hashable, ...]:
        """What the case counts for where a split is balanced: its class, or each known answer."""
        if self.findings:
            return tuple((i, one) for i, one in enumerate(self.findings) if one is not None)
        return (self.label,)


def contradictory(cases: Iterable[Case]) -> bool:
    """Return whether cases that should agree have different classes, or opposite answers.

    What is unknown contradicts nothing.
    """
    given = list(cases)
    if len({case.label for case in given} - {None}) > 1:
        return True
    columns = zip(*(case.findings for case in given), strict=True)
    return any(len(set(column) - {None}) > 1 for column in columns)


@dataclass(frozen=True)
class Cohort:
    """All cases of a study, and how they were found.

    Attributes:
        cases: in the order of the source.
        classes: class names; a label is an index into them. Of several labels per case, the names
            of the labels.
        root: folder that relative paths start from.
        events: what was skipped, guessed or dropped on the way.
        given_roles: the source itself said which case is for training and which for testing.
        pseudonymous: the patient ids are keyed hashes already.
        multilabel: each case has an answer for every label, in `Case.findings`, in place of one
            class.
    """

    cases: tuple[Case, ...]
    classes: tuple[str, ...]
    root: Path
    events: tuple[Event, ...] = ()
    given_roles: bool = False
    pseudonymous: bool = False
    multilabel: bool = False

    def part(self, *roles: Role) -> tuple[Case, ...]:
        """Return the cases that have one of the roles, in order."""
        return tuple(case for case in self.cases if case.role in roles)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of cases by role, then by class name; only roles in use.

        Cases without a role are under ``unassigned``, without a label under ``unknown``. Of
        several labels per case, each label that holds is counted: a case may stand in several
        columns, or in none.
        """
        table: dict[str, dict[str, int]] = {}
        for role in self.sizes():
            cases = [case for case in self.cases if (case.role or "unassigned") == role]
            found = Counter(index for case in cases for index in case.held)
            row = {name: found[index] for index, name in enumerate(self.classes)}
            unknown = sum(not case.labeled for case in cases)
            table[role] = {**row, "unknown": unknown} if unknown else row
        return table

    def sizes(self) -> dict[str, int]:
        """Return the number of cases by role, each case once; only roles in use."""
        found = Counter(case.role for case in self.cases)
        return {role or "unassigned": found[role] for role in (*ROLES, None) if found[role]}

    def answers(self, index: int, *roles: Role) -> tuple[int, int]:
        """Return how many cases of some parts have a label, and how many are known not to.

        Args:
            index: of the label in `classes`.
            roles: the parts; all cases if none is given.
        """
        cases = self.part(*roles) if roles else self.cases
        given = [case.findings[index] for case in cases]
        return given.count(1), given.count(0)

    @property
    def kinds(self) -> str:
        """``of K classes``, or ``with L labels``: to be said of cases."""
        kind, what = ("with", "labels") if self.multilabel else ("of", "classes")
        return f"{kind} {len(self.classes)} {what}"

    def named(self, case: Case) -> str:
        """Return the case's class, or its labels joined by ``;``, in words.

        ``unknown`` where nothing is known; ``none`` where no label is known to hold.
        """
        if not case.labeled:
            return UNKNOWN
        return ";".join(self.classes[index] for index in case.held) or NONE

    def truth(self, case: Case) -> str:
        """Return what `named` says of a case; nothing where nothing is known."""
        return self.named(case) if case.labeled else ""

    def with_cases(self, cases: Iterable[Case], events: Iterable[Event] = ()) -> Cohort:
        """Return the cohort with other cases and further events."""
        return replace(self, cases=tuple(cases), events=(*self.events, *events))
