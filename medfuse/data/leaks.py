"""Find what would flatter a result: a patient, or a picture, on two sides of the split."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from medfuse.data.cohort import Case, Cohort, Role, contradictory
from medfuse.data.digests import Digests, digests_of
from medfuse.data.events import Event
from medfuse.errors import CohortError

LeakKind = Literal["patient", "pixels", "labels"]
LeakPolicy = Literal["refuse", "drop_from_training"]

_LOGGER = logging.getLogger("medfuse")
_KEPT_FIRST: tuple[Role | None, ...] = ("test", "calibration", "validation", "train", None)
_TEXT = {
    "patient": "one patient on two sides",
    "pixels": "identical images on two sides",
    "labels": "identical images with different labels",
}


@dataclass(frozen=True)
class Leak:
    """Cases that must not stand as they do.

    Attributes:
        kind: ``patient`` or ``pixels`` on two sides, or ``labels`` that contradict each other.
        cases: all case ids concerned.
        dropped: those of them that were taken out.
    """

    kind: LeakKind
    cases: tuple[str, ...]
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class LeakReport:
    """What was found and dropped; plain enough for metrics, report and bundle.

    Attributes:
        leaks: each group of cases once per kind.
        duplicates: groups of identical images, on whichever side.
    """

    leaks: tuple[Leak, ...] = ()
    duplicates: int = 0

    @property
    def dropped(self) -> tuple[str, ...]:
        """Case ids taken out, each once, sorted."""
        return tuple(sorted({case for leak in self.leaks for case in leak.dropped}))

    def summary(self) -> dict[str, Any]:
        """Return counts by kind as plain data."""
        return {
            "found": dict(sorted(Counter(leak.kind for leak in self.leaks).items())),
            "dropped": len(self.dropped),
            "duplicate_groups": self.duplicates,
        }


def resolve_leaks(
    cohort: Cohort, digests: Digests, policy: LeakPolicy = "refuse"
) -> tuple[Cohort, LeakReport]:
    """Return the cohort without leaks, and what was found.

    With ``drop_from_training`` the copies on the training side go: of two sides, test is kept
    before calibration, calibration before validation, validation before training. Identical
    images with different labels go wherever they are not in the test part. Of several inputs one
    shared image is enough, also where it is another input of the other case.

    Args:
        cohort: with or without roles; cases without a role are on no side yet.
        digests: `CanonicalImage.pixel_digest` by case id, or by case id and input name.
        policy: ``refuse`` or ``drop_from_training``.

    Raises:
        CohortError: a leak and policy ``refuse``; names cases, never patients.
    """
    pictures = _sharing(cohort.cases, lambda case: digests_of(digests, case).values())
    patients = _sharing(cohort.cases, lambda case: (case.patient_id,))
    leaks = [
        *(_leak("labels", group) for group in pictures if contradictory(group)),
        *(_leak("pixels", group) for group in pictures if _sides(group) > 1),
        *(_leak("patient", group) for group in patients if _sides(group) > 1),
    ]
    report = LeakReport(tuple(leaks), len(pictures))
    if not leaks:
        return cohort, report
    if policy == "refuse":
        raise CohortError(_refusal(report))
    return _without_dropped(cohort, report), report


def _sharing(cases: Sequence[Case], keys: Callable[[Case], Iterable[str]]) -> list[list[Case]]:
    """Return the groups of cases that share a key; the same cases are one group."""
    places: dict[str, list[int]] = {}
    for index, case in enumerate(cases):
        for key in dict.fromkeys(keys(case)):
            places.setdefault(key, []).append(index)
    groups = dict.fromkeys(tuple(found) for found in places.values() if len(found) > 1)
    return [[cases[index] for index in group] for group in groups]


def _sides(group: Sequence[Case]) -> int:
    """Return the number of parts a group lies in, within one repetition of the split."""
    placed = {(case.repeat, case.role) for case in group if case.role is not None}
    return max(Counter(repeat for repeat, _ in placed).values(), default=0)


def _leak(kind: LeakKind, group: Sequence[Case]) -> Leak:
    roles = {case.role for case in group}
    kept = next(role for role in _KEPT_FIRST if role in roles)
    if kind == "labels":
        dropped = [case for case in group if case.role != "test"]
    else:
        dropped = [case for case in group if case.role not in (kept, None)]
    return Leak(
        kind,
        tuple(sorted(case.case_id for case in group)),
        tuple(sorted(case.case_id for case in dropped)),
    )


def _refusal(report: LeakReport) -> str:
    parts = []
    for kind, text in _TEXT.items():
        found = [leak for leak in report.leaks if leak.kind == kind]
        if found:
            parts.append(f"{len(found)} x {text} ({_names(found)})")
    return (
        f"the cohort leaks: {'; '.join(parts)}.\nMove or remove these cases, or set "
        "cohort.on_leak: drop_from_training to drop and count the training-side copies."
    )


def _names(leaks: Sequence[Leak], shown: int = 2) -> str:
    names = [" = ".join(leak.cases[:3]) + (" ..." * (len(leak.cases) > 3)) for leak in leaks]
    return "; ".join(names[:shown]) + ("; ..." * (len(names) > shown))


def _without_dropped(cohort: Cohort, report: LeakReport) -> Cohort:
    gone: dict[str, LeakKind] = {}
    for leak in report.leaks:
        for case_id in leak.dropped:
            gone.setdefault(case_id, leak.kind)
    events = [
        Event(f"LEAK_{kind.upper()}_DROPPED", case, _TEXT[kind], left_out=True)
        for case, kind in gone.items()
    ]
    kept_contradictions = [
        Event("LEAK_LABELS_KEPT", ", ".join(leak.cases), "contradicting labels in the test part")
        for leak in report.leaks
        if leak.kind == "labels" and len(leak.cases) - len(leak.dropped) > 1
    ]
    _LOGGER.warning("dropped %d leaking cases: %s", len(gone), report.summary()["found"])
    kept = [case for case in cohort.cases if case.case_id not in gone]
    return cohort.with_cases(kept, (*events, *kept_contradictions))
