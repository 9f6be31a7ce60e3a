"""Split: a cohort -> the file that says which case is for what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from medfuse.config import Experiment, parse_experiment
from medfuse.data import Cohort, assign_roles, write_cohort
from medfuse.errors import CohortError
from medfuse.features.bank import FeatureBank
from medfuse.workflows.prepare import PreparedCohort, picture_digests, prepare_cohort


def split(
    cohort: Mapping[str, Any] | Experiment, out: Path | str, *, progress: bool = True
) -> dict[str, dict[str, int]]:
    """Write the split file of a cohort; `train` reads it like any other cohort.

    With ``split.repeats`` the file holds every division into folds. `train` takes of it what
    ``cohort.split.repeat`` and ``cohort.split.fold`` say.

    Args:
        cohort: the ``cohort`` section of a configuration as plain data, or the whole.
        out: the file; an existing one is replaced.
        progress: tell on stderr how far it is, see `medfuse.progress`.

    Returns:
        number of cases by part and class, of the first division.

    Raises:
        CohortError: no usable cases, a leak, or a split that cannot be made.
        ImageError: an image cannot be read.
    """
    return divide(cohort, out, progress=progress).counts()


def divide(
    cohort: Mapping[str, Any] | Experiment, out: Path | str, *, progress: bool = True
) -> Cohort:
    """Do what `split` does and return the cohort itself, in its first division."""
    experiment = cohort if isinstance(cohort, Experiment) else _experiment(cohort)
    prepared = prepare_cohort(experiment, FeatureBank(), progress=progress)
    settings = experiment.cohort.split
    digests = picture_digests(prepared.inputs.values(), prepared.cohort)
    divisions = _divisions(prepared, experiment, digests)
    header = {"seed": settings.seed, "repeats": settings.repeats}
    write_cohort(divisions, out, header, digests)
    return prepared.cohort


def _experiment(cohort: Mapping[str, Any]) -> Experiment:
    # A source is not needed to split; the section must only be there.
    return parse_experiment({"cohort": dict(cohort), "sources": [{"use": "any"}]}, "cohort")


def _divisions(
    prepared: PreparedCohort, experiment: Experiment, digests: Mapping[str, Mapping[str, str]]
) -> Cohort:
    """Return the cohort with a row for every case in every repetition."""
    settings, first = experiment.cohort.split, prepared.cohort
    if settings.repeats == 1:
        return first
    if first.given_roles or settings.repeat:
        raise CohortError(
            f"{first.root}: repeats is {settings.repeats}, expected cases without given parts and "
            "no repeat. List the cases without their parts."
        )
    bare = first.with_cases(replace(case, role=None, fold=None) for case in first.cases)
    cases = list(first.cases)
    for repeat in range(1, settings.repeats):
        other = settings.model_copy(update={"repeat": repeat})
        cases += assign_roles(bare, other, digests).cases
    return replace(first, cases=tuple(cases))
