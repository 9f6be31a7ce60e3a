"""Section: which cases there are, and which were left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from medfuse.config.subgroups import Subgroup
from medfuse.data import Case, Cohort, tally
from medfuse.report import Section, Table
from medfuse.workflows.run_page.facts import RunFacts


def cohort_section(facts: RunFacts) -> Section:
    """Return counts by class, site and pattern of inputs, and exclusions by code."""
    cohort = facts.task.prepared.cohort
    if cohort.multilabel:
        tables = [_label_table(cohort)]
    else:
        tables = [_table("class", cohort, lambda case: _class_of(cohort, case))]
    if any(case.site for case in cohort.cases):
        tables.append(_table("site", cohort, lambda case: case.site or "(none)"))
    groups = facts.task.experiment.evaluation.groups
    tables += [_part_table(group, cohort) for group in groups]
    if len(facts.task.prepared.inputs) > 1:
        tables.append(_table("inputs", cohort, lambda case: " + ".join(case.inputs)))
    return Section(
        anchor="cohort",
        title="Cohort",
        facts=count_facts(cohort),
        tables=[*tables, *exclusions(cohort)],
        figures=facts.measured.drawn("class_counts", "samples"),
    )


def count_facts(cohort: Cohort) -> dict[str, str]:
    """Return how many cases, patients and sites there are, and how many were left out."""
    sites = {case.site for case in cohort.cases if case.site}
    return {
        "cases": str(len(cohort.cases)),
        "patients": str(_patients(cohort.cases)),
        "sites": str(len(sites)) if sites else "not stated",
        "cases without a label": str(sum(not case.labeled for case in cohort.cases)),
        "cases or files left out": str(sum(event.left_out for event in cohort.events)),
    }


def _table(name: str, cohort: Cohort, group_of: Callable[[Case], str]) -> Table:
    """Return the cases, patients and classes of each group, the groups in alphabetical order."""
    groups: dict[str, list[Case]] = {}
    for case in cohort.cases:
        groups.setdefault(group_of(case), []).append(case)
    classes = () if name == "class" else cohort.classes
    rows = [
        [
            group,
            str(len(cases)),
            str(_patients(cases)),
            *(str(sum(k in case.held for case in cases)) for k in range(len(classes))),
        ]
        for group, cases in sorted(groups.items())
    ]
    return Table(header=[name, "cases", "patients", *classes], rows=rows, caption=f"By {name}.")


def _part_table(group: Subgroup, cohort: Cohort) -> Table:
    """Return the cases of each group by part of the split."""
    parts = list(cohort.counts())
    counts = Counter((group.group_of(c.columns[group.column]), str(c.role)) for c in cohort.cases)
    found = {name for name, _ in counts}
    names = [*(name for name in group.bands if name in found), *sorted(found - set(group.bands))]
    rows = [[name, *(str(counts[name, part]) for part in parts)] for name in names]
    caption = f"Cases by {group.column} and part."
    return Table(header=[group.column, *parts], rows=rows, caption=caption)


def _label_table(cohort: Cohort) -> Table:
    """Return in how many cases each label holds, does not, and is unknown."""
    rows = []
    for index, name in enumerate(cohort.classes):
        held, absent = cohort.answers(index)
        unknown = len(cohort.cases) - held - absent
        rows.append([name, str(held), str(absent), str(unknown)])
    caption = "In how many cases each label holds. What is unknown is neither learned nor measured."
    return Table(header=["label", "holds", "does not", "unknown"], rows=rows, caption=caption)


def exclusions(cohort: Cohort) -> list[Table]:
    """Return how many cases or files are not used, by code."""
    gone = tally(event for event in cohort.events if event.left_out)
    if not gone:
        return []
    rows = [[code, str(count)] for code, count in gone.items()]
    caption = "Cases and files that are not used, by the reason's code."
    return [Table(header=["code", "left out"], rows=rows, caption=caption)]


def _class_of(cohort: Cohort, case: Case) -> str:
    return "(unknown)" if case.label is None else cohort.classes[case.label]


def _patients(cases: Sequence[Case]) -> int:
    return len({case.patient_id for case in cases})
