"""One split file may hold several divisions: every repetition, each with all of its folds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medfuse.config import SplitConfig
from medfuse.data.cohort import Cohort
from medfuse.errors import CohortError


def chosen_division(cohort: Cohort, config: SplitConfig, path: Path) -> Cohort:
    """Return the cases of repetition ``config.repeat`` of a split file.

    Where ``config.folds`` is set, the file's folds stay and its parts are forgotten, so that
    fold ``config.fold`` becomes the test part; otherwise the parts are those in the file.

    Raises:
        CohortError: the file holds no such repetition, or other folds.
    """
    repeats = sorted({case.repeat for case in cohort.cases})
    if config.repeat not in repeats:
        raise CohortError(
            f"{path}: cohort.split.repeat is {config.repeat}, found "
            f"{', '.join(map(str, repeats))}. Choose one of these."
        )
    cases = [case for case in cohort.cases if case.repeat == config.repeat]
    if config.folds is None:
        return replace(cohort, cases=tuple(cases))
    folds = {case.fold for case in cases}
    if folds != set(range(config.folds)):
        raise CohortError(
            f"{path}: cohort.split.folds is {config.folds}, found "
            f"{'no folds' if folds == {None} else f'{len(folds)} folds'} in the file. Set folds as "
            "it was when the file was written, or leave it out."
        )
    cases = [replace(case, role=None) for case in cases]
    return replace(cohort, cases=tuple(cases), given_roles=False)
