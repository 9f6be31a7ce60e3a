"""The cases of a comparison and their folds; a test part is left aside."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medfuse.data import Case
from medfuse.data.allocate import allocate
from medfuse.data.allocate_labels import allocate_labels
from medfuse.data.groups import link_cases
from medfuse.errors import CohortError
from medfuse.evaluation.candidates import FoldCases
from medfuse.workflows.answers import labels_of
from medfuse.workflows.prepare import PreparedCohort, picture_digests

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ComparedCases:
    """The cases that are compared on.

    Attributes:
        prepared: these cases and no others, all of them to learn from.
        folds: fold of each, ``(N,)``.
        groups: patient, or patients with the same pictures, of each as numbers, ``(N,)``.
        left_aside: labeled cases of the test part.
    """

    prepared: PreparedCohort
    folds: NDArray[np.int64]
    groups: NDArray[np.int64]
    left_aside: int

    @property
    def cases(self) -> tuple[Case, ...]:
        """The cases in their order."""
        return tuple(self.prepared.cohort.cases)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class of each case, ``(N,)``; of several labels the answers ``(N, L)``, -1 if unknown."""
        return labels_of(self.prepared.cohort)

    def for_tests(self) -> FoldCases:
        """Return what the statistics need; whoever shares a picture counts as one patient."""
        classes = tuple(self.prepared.cohort.classes)
        return FoldCases(self.labels, classes, tuple(self.groups.tolist()), self.folds)


def compared_cases(prepared: PreparedCohort, folds: int, seed: int) -> ComparedCases:
    """Return the labeled cases outside the test part, in folds.

    Folds that the cohort has of its own stay; then all cases take part, for each fold is a test
    part once. Otherwise cases of one patient, or with the same picture, lie in one fold, and
    classes, or both answers of every label, are spread evenly.

    Args:
        prepared: cases with their parts.
        folds: how many to make.
        seed: of the folds that are made.

    Raises:
        CohortError: a class has fewer than 4 patients, no label has enough of both answers, or a
            patient or picture lies in two folds.
    """
    labeled = [case for case in prepared.cohort.cases if case.labeled]
    own = all(case.fold is not None for case in labeled)
    chosen = labeled if own else [case for case in labeled if case.role != "test"]
    aside = len(labeled) - len(chosen)
    learned = [replace(case, role="train") for case in chosen]
    cohort = prepared.cohort.with_cases(learned)
    kept = replace(prepared, cohort=cohort)
    digests = picture_digests(prepared.inputs.values(), cohort)
    linked = link_cases(learned, digests)
    group_of = {case.case_id: number for number, group in enumerate(linked) for case in group}
    groups = np.array([group_of[case.case_id] for case in learned], dtype=np.int64)
    if not cohort.multilabel:
        _require_patients(kept, groups)
    if own:
        numbers = np.array([case.fold for case in learned], dtype=np.int64)
    else:
        shares = {str(fold): 1 / folds for fold in range(folds)}
        divide = allocate_labels if cohort.multilabel else allocate
        part = divide(linked, shares, f"{seed}|compare{folds}")
        numbers = np.array([int(part[case.case_id]) for case in learned], dtype=np.int64)
    _require_whole_groups(kept, numbers, groups)
    found = len(np.unique(numbers))
    aside_text = f"; {aside} of the test part are left aside" if aside else ""
    _log.info(
        "comparing on %d cases of %d patients in %d folds%s",
        len(learned), len(linked), found, aside_text,
    )  # fmt: skip
    compared = ComparedCases(kept, numbers, groups, aside)
    if cohort.multilabel:
        _require_labels(compared)
    return compared


def _require_patients(prepared: PreparedCohort, groups: NDArray[np.int64]) -> None:
    """Refuse classes that cannot be both learned and tested."""
    cohort = prepared.cohort
    labels = np.array([case.label for case in cohort.cases])
    for index, name in enumerate(cohort.classes):
        patients = len(np.unique(groups[labels == index]))
        if patients < 4:
            raise CohortError(
                f"{cohort.root}: class {name!r} has {patients} patients outside the test part, "
                "expected at least 4 to compare on folds. Add cases, or leave the class out."
            )


def _require_labels(compared: ComparedCases) -> None:
    """Name the labels that cannot be tested; refuse where none can."""
    cases, cohort = compared.for_tests(), compared.prepared.cohort
    tested = cases.measured()
    if not tested:
        count = len(np.unique(cases.folds))
        fewer = ", or ask for fewer --folds" if count > 2 else ""
        raise CohortError(
            f"{cohort.root}: no label has, outside the test part, enough patients of both answers "
            f"to be compared on {max(2, count)} folds; expected more of each than folds. "
            f"Add cases{fewer}."
        )
    few = [name for k, name in enumerate(cohort.classes) if k not in tested]
    if few:
        _log.warning(
            "%s: too few patients of one answer outside the test part; learned, but left out of "
            "the means over labels",
            ", ".join(few),
        )


def _require_whole_groups(
    prepared: PreparedCohort, folds: NDArray[np.int64], groups: NDArray[np.int64]
) -> None:
    """Refuse given folds that put a patient, or one picture, into two of them."""
    pairs = np.unique(np.stack([groups, folds]), axis=1)
    split = pairs.shape[1] - len(np.unique(groups))
    if split:
        raise CohortError(
            f"{prepared.cohort.root}: {split} patients, or pictures, lie in several folds, "
            "expected each in one. Group the folds by patient, or leave the fold column out."
        )
