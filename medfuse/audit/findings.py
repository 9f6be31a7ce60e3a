"""What the check found, in sentences, the worst first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from medfuse.audit.conflicts import Conflicts
from medfuse.audit.duplicates import DuplicateGroup
from medfuse.audit.look import Look
from medfuse.audit.policy import Policy
from medfuse.audit.scan import Scan
from medfuse.audit.shortcuts import Shortcut, ShortcutReport
from medfuse.data import Cohort, tally
from medfuse.data.dicom.refusal import SKIPS
from medfuse.data.dicom_tree import LEFT_OUT

Level = Literal["fatal", "warning", "note"]

_FEW_CASES = 30
_IMBALANCE = 5
_CONTRADICTED = "NO_FINDING_CONTRADICTED"
_TOLD_BEFORE = ("NO_PATIENT", _CONTRADICTED)
_REASONS = {**SKIPS, **LEFT_OUT}


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        level: ``fatal``: `medfuse train` refuses the cohort as configured; ``warning``: a result
            would flatter or mislead; ``note``: worth knowing.
        code: stable upper-case name.
        count: of files, groups or cases, as the text says.
        text: what was found and what to do.
    """

    level: Level
    code: str
    count: int
    text: str


@dataclass(frozen=True, eq=False)
class Evidence:
    """What was seen, to be judged."""

    cohort: Cohort
    scan: Scan
    duplicates: Sequence[DuplicateGroup]
    conflicts: Conflicts
    shortcuts: ShortcutReport


def judge(seen: Evidence, policy: Policy) -> list[Finding]:
    """Return all findings, fatal ones first."""
    found = [
        *_classes(seen.cohort),
        *_refused(seen.scan, policy),
        *_files(seen.scan, policy),
        *_duplicates(seen.duplicates, policy),
        *_patients(seen.conflicts, policy),
        *_shortcuts(seen.shortcuts),
        *_listing(seen.cohort, seen.scan),
    ]
    order = {"fatal": 0, "warning": 1, "note": 2}
    return sorted(found, key=lambda finding: order[finding.level])


def counted(count: int, noun: str) -> str:
    """Return ``1 thing`` or ``2 things``."""
    return f"{count} {noun}{'s' * (count != 1)}"


def _classes(cohort: Cohort) -> Iterator[Finding]:
    if cohort.multilabel:
        yield from _labels(cohort)
        return
    labels = [case.label for case in cohort.cases]
    counts = {name: labels.count(k) for k, name in enumerate(cohort.classes)}
    present = [name for name, count in counts.items() if count]
    if len(present) < 2:
        text = f"{len(present)} of the classes with cases, at least two are needed."
        yield Finding("fatal", "TOO_FEW_CLASSES", len(present), text)
    for name, count in counts.items():
        if count < 2:
            text = f"class {name} has {counted(count, 'case')}, two are needed. Add or drop it."
            yield Finding("fatal", "CLASS_TOO_SMALL", count, text)
        elif count < _FEW_CASES:
            text = f"class {name} has {counted(count, 'case')}; intervals will be wide."
            yield Finding("note", "CLASS_SMALL", count, text)
    if present and max(counts.values()) >= _IMBALANCE * min(counts[name] for name in present):
        text = (
            f"the largest class has {max(counts.values())} cases, the smallest "
            f"{min(counts[name] for name in present)}. Consider training.sampler: oversample, and "
            "read balanced accuracy."
        )
        yield Finding("note", "IMBALANCE", max(counts.values()), text)
    yield from _unlabeled(cohort)


def _labels(cohort: Cohort) -> Iterator[Finding]:
    """Yield what is to be said of several labels per case; each needs cases of both answers."""
    for index, name in enumerate(cohort.classes):
        held, absent = cohort.answers(index)
        if min(held, absent) < 2:
            text = (
                f"label {name} holds in {held} and is absent in {absent} cases, two of each are "
                "needed. Add cases or drop it."
            )
            yield Finding("fatal", "LABEL_TOO_SMALL", min(held, absent), text)
        elif min(held, absent) < _FEW_CASES:
            text = f"label {name} holds in {held} and is absent in {absent} cases; wide intervals."
            yield Finding("note", "LABEL_SMALL", min(held, absent), text)
        unknown = len(cohort.cases) - held - absent
        if unknown:
            text = f"label {name} is unknown in {counted(unknown, 'case')}; they do not count."
            yield Finding("note", "LABEL_UNKNOWN", unknown, text)
    contradicted = tally(cohort.events).get(_CONTRADICTED, 0)
    if contradicted:
        text = (
            f"{counted(contradicted, 'case')} with No Finding and a label in one cell: that label "
            "is unknown there, all others absent. Keep one of the two."
        )
        yield Finding("warning", _CONTRADICTED, contradicted, text)
    yield from _unlabeled(cohort)


def _unlabeled(cohort: Cohort) -> Iterator[Finding]:
    count = sum(not case.labeled for case in cohort.cases)
    if count:
        text = f"{counted(count, 'case')} without a label; training skips them."
        yield Finding("note", "UNLABELED", count, text)


def _refused(scan: Scan, policy: Policy) -> Iterator[Finding]:
    if not scan.refused:
        return
    codes = ", ".join(f"{count} {code}" for code, count in scan.codes().items())
    fate = "Mend or remove, or set cohort.on_bad_image: skip."
    level: Level = "fatal"
    if policy.skips_bad_images:
        level, fate = "warning", "Training leaves them out."
    text = f"{counted(len(scan.refused), 'file')} cannot be read ({codes}). {fate}"
    yield Finding(level, "REFUSED_FILES", len(scan.refused), text)


def _files(scan: Scan, policy: Policy) -> Iterator[Finding]:
    dimensions = {(item.input, len(item.look.shape)) for item in scan.seen}
    if len(dimensions) > len({name for name, _ in dimensions}):
        text = "2D images and volumes in one input. List them as two inputs, or as two cohorts."
        yield Finding("fatal", "MIXED_DIMENSIONS", len(scan.seen), text)
    yield from _depths(scan, policy)
    blank = sum(item.look.std == 0 for item in scan.seen)
    if blank:
        text = f"{counted(blank, 'file')} with one value everywhere. Remove them."
        yield Finding("warning", "BLANK", blank, text)
    for name in sorted({name for name, _ in dimensions}):
        yield from _mixtures(name, [item.look for item in scan.seen if item.input == name])
    for code, count in scan.events().items():
        yield Finding(
            "note", code, count, f"{counted(count, 'file')} converted while reading ({code})."
        )


def _mixtures(name: str, looks: Sequence[Look]) -> Iterator[Finding]:
    for what, values in {
        "MIXED_FILE_TYPES": {look.kind for look in looks},
        "MIXED_COLOR": {"color" if look.channels == 3 else "gray" for look in looks},
        "MIXED_MODALITY": {look.modality for look in looks if look.modality},
    }.items():
        if len(values) > 1:
            found = " and ".join(sorted(values))
            text = f"{found} files side by side in input {name}; see the shortcuts."
            yield Finding("note", what, len(values), text)


def _depths(scan: Scan, policy: Policy) -> Iterator[Finding]:
    """Images of one input must have one depth, by which they are scaled; volumes need not."""
    depths: dict[str, list[int]] = {}
    for item in scan.seen:
        if item.look.depth and item.input not in policy.any_depth:
            depths.setdefault(item.input, []).append(item.look.depth)
    for name, found in depths.items():
        if len(set(found)) > 1:
            text = (
                f"images of {', '.join(map(str, sorted(set(found))))} bits side by side in input "
                f"{name}. Convert them, or set inputs.{name}.intensity: percentile."
            )
            yield Finding("fatal", "MIXED_BIT_DEPTH", len(found), text)


def _duplicates(groups: Sequence[DuplicateGroup], policy: Policy) -> Iterator[Finding]:
    for kind in ("exact", "near"):
        found = [group for group in groups if group.kind == kind]
        words = "identical images" if kind == "exact" else "near duplicates"
        level: Level = "fatal" if kind == "exact" and not policy.drops_leaks else "warning"
        for what, several in {
            "LABELS": [group for group in found if group.contradictory],
            "PARTS": [group for group in found if len(group.roles) > 1],
        }.items():
            if several:
                where = "with different labels" if what == "LABELS" else "in different parts"
                remedy = (
                    _leak_remedy("Correct or remove them", policy)
                    if kind == "exact"
                    else "Look at the contact sheet; give copies one patient_id."
                )
                text = f"{counted(len(several), 'group')} of {words} {where}. {remedy}"
                code = f"{kind.upper()}_DUPLICATES_ACROSS_{what}"
                yield Finding(level, code, len(several), text)
        if found:
            cases = sum(len(group.members) for group in found)
            fate = (
                "A split keeps them on one side."
                if kind == "exact"
                else "A split does not know of them: give copies one patient_id."
            )
            text = f"{counted(len(found), 'group')} of {words}, {cases} files. {fate}"
            yield Finding("warning", f"{kind.upper()}_DUPLICATES", len(found), text)


def _leak_remedy(action: str, policy: Policy) -> str:
    if policy.drops_leaks:
        return "Training drops the copies on its side."
    return f"{action}, or set cohort.on_leak: drop_from_training."


def _patients(conflicts: Conflicts, policy: Policy) -> Iterator[Finding]:
    if not conflicts.known:
        text = (
            "no patients are named, so each case counts as its own; images of one patient may lie "
            "on two sides of a split. Name a column (--group) or a pattern (--group-pattern)."
        )
        yield Finding("warning", "NO_PATIENT", conflicts.patients, text)
    if conflicts.roles:
        count = len(conflicts.roles)
        remedy = _leak_remedy("Move them", policy)
        text = f"{counted(count, 'patient')} in more than one part of the given split. {remedy}"
        level: Level = "warning" if policy.drops_leaks else "fatal"
        yield Finding(level, "PATIENT_ACROSS_PARTS", count, text)
    if conflicts.labels:
        count = len(conflicts.labels)
        text = f"{counted(count, 'patient')} with cases of different classes. Fine for follow-ups."
        yield Finding("warning", "PATIENT_WITH_SEVERAL_LABELS", count, text)
    if conflicts.sites:
        count = len(conflicts.sites)
        text = f"{counted(count, 'patient')} with cases at more than one site. Are they the same?"
        yield Finding("warning", "PATIENT_AT_SEVERAL_SITES", count, text)


def _shortcuts(report: ShortcutReport) -> Iterator[Finding]:
    if report.reason:
        yield Finding("note", "SHORTCUTS_NOT_MEASURED", 0, f"shortcuts: {report.reason}.")
    for shortcut in report.shortcuts:
        if shortcut.strength == "none" or shortcut.name == "all acquired":
            continue
        level: Level = "warning" if shortcut.acquired else "note"
        yield Finding(level, "SHORTCUT", 1, _shortcut_text(shortcut))


def _shortcut_text(shortcut: Shortcut) -> str:
    best = max(shortcut.per_class, key=lambda name: shortcut.per_class[name])
    who = f", of {best} {shortcut.per_class[best]:.3f}" if len(shortcut.per_class) > 2 else ""
    return (
        f"{shortcut.title} ({shortcut.about}) alone predicts the label with AUROC "
        f"{shortcut.auroc:.3f} [{shortcut.low:.3f}, {shortcut.high:.3f}]{who}. {shortcut.advice}"
    )


def _listing(cohort: Cohort, scan: Scan) -> Iterator[Finding]:
    listed = tally(cohort.events)
    for code, count in {**scan.left_out(), **listed}.items():
        if code in _TOLD_BEFORE:
            continue
        text = f"{count} x {code} while listing the files."
        reason = _REASONS.get(code)
        if reason is not None:
            text = f"{counted(count, 'file')} left out: {reason} ({code})."
        yield Finding("note", code, count, text)
