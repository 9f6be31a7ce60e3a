"""Columns of a cohort by which it is reported: kept with the cases, and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from medfuse.config import CohortConfig
from medfuse.config.subgroups import Subgroup
from medfuse.data.cohort import Case, Cohort
from medfuse.errors import CohortError, ConfigError
from medfuse.suggest import did_you_mean

MOST_GROUPS = 20
_OTHERWISE_USED = ("case_id", "patient_id", "site", "role", "split", "repeat", "fold")


def with_columns(cohort: Cohort, groups: Sequence[Subgroup], config: CohortConfig) -> Cohort:
    """Return the cohort whose cases keep the cells of these columns, and no others.

    Raises:
        ConfigError: a column that names patients or cases, or is reported anyway.
        CohortError: no case has the column, a cell of bands is no number, or the column has more
            than `MOST_GROUPS` different values.
    """
    for group in groups:
        _require_free(group, config)
        _require_known(group, cohort)
        _require_few(group, cohort)
    names = [group.column for group in groups]
    cases = [replace(case, columns=_kept(case, names)) for case in cohort.cases]
    return replace(cohort, cases=tuple(cases))


def _kept(case: Case, names: Sequence[str]) -> dict[str, str]:
    return {name: case.columns.get(name, "") for name in names}


def _require_free(group: Subgroup, config: CohortConfig) -> None:
    if group.column in (*_OTHERWISE_USED, *config.label_columns, config.group):
        raise ConfigError(
            f"evaluation.subgroups: {group.column!r} is the label, tells cases and patients apart, "
            "or is reported anyway (site); expected another column of the cohort. Remove it."
        )


def _require_known(group: Subgroup, cohort: Cohort) -> None:
    names = {name for case in cohort.cases for name in case.columns}
    if group.column not in names:
        found = f"found {', '.join(sorted(names))}" if names else "its cases have no columns"
        raise CohortError(
            f"{cohort.root}: no column {group.column!r}, which evaluation.subgroups names; {found}."
            f"{did_you_mean(group.column, names)} A split that was made without the subgroup does "
            "not hold it: split again."
        )


def _require_few(group: Subgroup, cohort: Cohort) -> None:
    found = {_group_of(group, case) for case in cohort.cases}
    if len(found) > MOST_GROUPS:
        raise CohortError(
            f"evaluation.subgroups: the column {group.column!r} has {len(found)} different values, "
            f"expected at most {MOST_GROUPS}. Cut numbers into bands: {group.column}:40:65."
        )


def _group_of(group: Subgroup, case: Case) -> str:
    try:
        return group.group_of(case.columns.get(group.column, ""))
    except ValueError:
        raise CohortError(
            f"case {case.case_id}: {group.column} is no number, which the bands of "
            "evaluation.subgroups need. Mend the cell, or leave it blank where it is unknown."
        ) from None
