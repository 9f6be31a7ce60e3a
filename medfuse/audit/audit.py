"""The whole check of a cohort, as one value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from medfuse.audit.conflicts import Conflicts, find_conflicts
from medfuse.audit.duplicates import DuplicateGroup, find_duplicates
from medfuse.audit.findings import Evidence, Finding, judge
from medfuse.audit.policy import Policy
from medfuse.audit.scan import Scan, scan
from medfuse.audit.shortcuts import ShortcutReport, probe_shortcuts
from medfuse.audit.tables import Breakdown, breakdowns
from medfuse.data import Cohort, tally
from medfuse.data.plugin_reader import PluginReader

SCHEMA_VERSION = 1


@dataclass(frozen=True, eq=False)
class Audit:
    """What a cohort holds and what is wrong with it.

    Attributes:
        cohort: as it was listed.
        scan: what its files show.
        tables: breakdowns by ``class``, ``site``, ``part``, ``modality``, ``input``.
        duplicates: groups of one picture.
        conflicts: contradictions of patients.
        shortcuts: what trivial features predict.
        findings: in sentences, the fatal ones first.
    """

    cohort: Cohort
    scan: Scan
    tables: Mapping[str, list[Breakdown]]
    duplicates: list[DuplicateGroup]
    conflicts: Conflicts
    shortcuts: ShortcutReport
    findings: list[Finding]

    @property
    def answers(self) -> dict[str, dict[str, int]]:
        """Of several labels, in how many cases each ``holds``, is ``absent``, is ``unknown``."""
        if not self.cohort.multilabel:
            return {}
        known = {name: self.cohort.answers(k) for k, name in enumerate(self.cohort.classes)}
        count = len(self.cohort.cases)
        return {
            name: {"holds": held, "absent": absent, "unknown": count - held - absent}
            for name, (held, absent) in known.items()
        }

    def level(self, level: str) -> list[Finding]:
        """Return the findings of one level."""
        return [finding for finding in self.findings if finding.level == level]

    def groups(self, kind: str) -> list[DuplicateGroup]:
        """Return the groups of ``exact`` or ``near`` duplicates."""
        return [group for group in self.duplicates if group.kind == kind]

    def summary(self) -> dict[str, Any]:
        """Return everything as plain JSON data: case ids, never patients, no paths."""
        return {
            "schema_version": SCHEMA_VERSION,
            "cases": len(self.cohort.cases),
            "files": len(self.scan.seen) + len(self.scan.refused),
            "classes": list(self.cohort.classes),
            "labels": self.answers,
            "trainable": not self.level("fatal"),
            "findings": [asdict(finding) for finding in self.findings],
            "tables": {kind: [asdict(row) for row in rows] for kind, rows in self.tables.items()},
            "refused": {
                "codes": self.scan.codes(),
                "files": [asdict(refusal) for refusal in self.scan.refused],
            },
            "events": {
                **self.scan.left_out(),
                **tally(self.cohort.events),
                **self.scan.events(),
            },
            "duplicates": [_group(group, self.cohort) for group in self.duplicates],
            "patients": {
                "count": self.conflicts.patients,
                "known": self.conflicts.known,
                "several_labels": [list(group) for group in self.conflicts.labels],
                "several_parts": [list(group) for group in self.conflicts.roles],
                "several_sites": [list(group) for group in self.conflicts.sites],
            },
            "shortcuts": {
                "files": self.shortcuts.files,
                "reason": self.shortcuts.reason,
                "same_in_every_file": list(self.shortcuts.constant),
                "groups": [{**asdict(s), "strength": s.strength} for s in self.shortcuts.shortcuts],
            },
        }


def audit(
    cohort: Cohort,
    *,
    readers: Sequence[PluginReader] = (),
    policy: Policy | None = None,
    workers: int = 2,
    progress: bool = True,
) -> Audit:
    """Return the check of a cohort; every file is read once, none is changed.

    Args:
        cohort: as `medfuse.data.read_cohort` lists it.
        readers: of plugins, for files whose ending is theirs.
        policy: what training will accept; nothing wrong if not given.
        workers: threads that decode.
        progress: tell on stderr how far it is, see `medfuse.progress`.
    """
    found = scan(cohort, readers=readers, workers=workers, progress=progress)
    duplicates = find_duplicates(found.seen)
    conflicts = find_conflicts(cohort.cases)
    shortcuts = (
        ShortcutReport(reason="cases have several labels each; shortcuts are sought for classes")
        if cohort.multilabel
        else probe_shortcuts(found.seen, cohort.classes, duplicates, cohort.cases)
    )
    evidence = Evidence(cohort, found, duplicates, conflicts, shortcuts)
    return Audit(
        cohort=cohort,
        scan=found,
        tables=breakdowns(cohort, found),
        duplicates=duplicates,
        conflicts=conflicts,
        shortcuts=shortcuts,
        findings=judge(evidence, policy or Policy()),
    )


def _group(group: DuplicateGroup, cohort: Cohort) -> dict[str, Any]:
    plain = {key: value for key, value in asdict(group).items() if key != "members"}
    return {**plain, "labels": [cohort.classes[label] for label in group.labels]}
