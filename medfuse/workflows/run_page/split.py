"""Section: who was learned from, and who was measured."""

from __future__ import annotations

from medfuse.data import Cohort, split_digest
from medfuse.report import Section, Table
from medfuse.workflows.run_page.facts import RunFacts

_USED_FOR = {
    "train": "learning",
    "validation": "early stopping, the members' held-out cases",
    "calibration": "the temperature",
    "test": "all reported metrics",
}


def split_section(facts: RunFacts) -> Section:
    """Return the parts of the split with their classes and patients, and how they were made."""
    prepared = facts.task.prepared
    leaks = prepared.leaks.summary()
    found = ", ".join(f"{count} of {kind}" for kind, count in leaks["found"].items())
    return Section(
        anchor="split",
        title="Split",
        text=(
            "All cases of a patient, and all copies of an image, lie in one part. That is checked "
            "whenever the split is read."
        ),
        facts={
            "made by": _how(facts),
            "leaks found": found or "none",
            "training cases dropped for them": str(leaks["dropped"]),
            "groups of identical images": str(leaks["duplicate_groups"]),
            "digest of the split": split_digest(prepared.cohort)[:16],
        },
        tables=(_part_table(prepared.cohort),),
    )


def _how(facts: RunFacts) -> str:
    split, cohort = facts.task.experiment.cohort.split, facts.task.prepared.cohort
    if split.hold_out_site is not None:
        return f"site {split.hold_out_site} held out as the test part, seed {split.seed}"
    if split.folds is not None:
        return f"fold {split.fold} of {split.folds} as the test part, seed {split.seed}"
    if cohort.given_roles:
        return f"the cohort's own parts; what they lack was drawn with seed {split.seed}"
    return (
        f"drawing {split.test:.0%} of the cases for test, {split.validation:.0%} for validation "
        f"and {split.calibration:.0%} for calibration, by patient and alike in classes, seed "
        f"{split.seed}"
    )


def _part_table(cohort: Cohort) -> Table:
    rows = []
    for role, counts in cohort.counts().items():
        patients = {case.patient_id for case in cohort.cases if (case.role or "") == role}
        classes = (str(counts.get(name, 0)) for name in cohort.classes)
        total = str(cohort.sizes()[role])
        rows.append([role, *classes, total, str(len(patients)), _USED_FOR.get(role, "")])
    return Table(
        header=["part", *cohort.classes, "all cases", "patients", "used for"],
        rows=rows,
        caption="Cases by part, and in how many of them each label holds."
        if cohort.multilabel
        else "Cases by part and class.",
    )
