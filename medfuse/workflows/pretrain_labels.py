"""Labelled sets of supervised pretraining: read as a cohort, a part held out to measure."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from medfuse.config import CohortConfig, InputConfig
from medfuse.data import Cohort
from medfuse.data.allocate import allocate
from medfuse.data.groups import link_cases
from medfuse.data.read import read_cohort
from medfuse.data.unlabelled import IMAGE
from medfuse.errors import CohortError
from medfuse.pretraining.settings import PretrainingSettings
from medfuse.workflows.pretrain_sets import ImageSet

_PER_CLASS = 5

_log = logging.getLogger(__name__)


def read_labelled(path: str, config: InputConfig, further: Sequence[str] = ()) -> Cohort:
    """Return the cohort at a path, as training reads it.

    Raises:
        CohortError: nothing there, nothing that names labels, or several labels per case.
    """
    cohort = read_cohort(CohortConfig(path=path), {IMAGE: config}, further)
    if cohort.multilabel:
        raise CohortError(
            f"{path}: cases have several labels, supervised pretraining learns one class per case. "
            "Use --method simclr, or train with head: multilabel."
        )
    return cohort


def with_held_out(one: ImageSet, settings: PretrainingSettings) -> ImageSet:
    """Return a set with its validation part held out: the one it names, or a share by patient.

    Cases without a label are left out. Where no patient can be spared, that is told.

    Raises:
        CohortError: too few classes or labelled cases to learn from.
    """
    one = one.without([case.case_id for case in one.kept if case.label is None], "NO_LABEL")
    _require_classes(one)
    held = {case.patient_id for case in one.kept if case.role == "validation"}
    if not held:
        shares = {"train": 1 - settings.validation, "validation": settings.validation}
        parts = allocate(link_cases(one.kept), shares, f"pretraining:{settings.seed}")
        held = {case.patient_id for case in one.kept if parts[case.case_id] == "validation"}
    kept = tuple(case for case in one.kept if case.patient_id not in held)
    chosen = tuple(case for case in one.kept if case.patient_id in held)
    divided = replace(one, kept=kept, held=chosen)
    _require_classes(divided)
    if not chosen:
        _tell_that_nothing_is_held_out(one)
    return divided


def _tell_that_nothing_is_held_out(one: ImageSet) -> None:
    patients = len({case.patient_id for case in one.kept})
    _log.warning(
        "%s: its %d images are of %d patient%s, so no image can be held out, and nothing tells how "
        "well the labels were learned. Name its patients, or a validation part.",
        one.name,
        len(one.kept),
        patients,
        "" if patients == 1 else "s",
    )


def _require_classes(one: ImageSet) -> None:
    counts = Counter(case.label for case in one.kept)
    if len(counts) < 2:
        raise CohortError(
            f"{one.name}: found {len(counts)} classes to learn from, expected at least two. "
            "Name a cohort with labels, or use --method simclr."
        )
    if len(one.kept) < _PER_CLASS * len(counts):
        raise CohortError(
            f"{one.name}: found {len(counts)} classes among {len(one.kept)} images to learn from, "
            f"expected at least {_PER_CLASS} images of each. Are its folders patients?"
        )
