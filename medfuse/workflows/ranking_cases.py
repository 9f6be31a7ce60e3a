"""Which cases sources are ranked on: those a run would learn from, and never a test case."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medfuse.data import Case
from medfuse.data.groups import link_cases
from medfuse.errors import CohortError, EvaluationError
from medfuse.evaluation.source_order import RankingCases, check_cases, divided
from medfuse.workflows.answers import answers_of
from medfuse.workflows.prepare import PreparedCohort, picture_digests

_PARTS = 20

_log = logging.getLogger(__name__)


def ranking_part(
    prepared: PreparedCohort, read: Sequence[str], most: int, seed: int
) -> tuple[PreparedCohort, RankingCases]:
    """Return the cohort with the cases to rank on, and their labels and groups in its order.

    Args:
        prepared: a cohort with parts; its training and validation cases are taken.
        read: names of the inputs that the sources read; a case that lacks one is left out, so
            that all sources are judged by the same cases.
        most: cases to take at most, whole patients, classes in proportion.
        seed: of the draw.

    Raises:
        CohortError: a class has too few patients, or no case has every input.
    """
    learned = [c for c in prepared.cohort.part("train", "validation") if c.labeled]
    whole = [case for case in learned if all(name in case.inputs for name in read)]
    if len(whole) < len(learned):
        _log.warning(
            "%d of %d cases lack an input that a source reads, and are left out of the ranking",
            len(learned) - len(whole),
            len(learned),
        )
    if not whole:
        raise CohortError(
            f"{prepared.cohort.root}: no case to learn from has all of {', '.join(read)}. "
            "Rank the sources of one input at a time."
        )
    every = _ranking_cases(whole, prepared, seed)
    rows = _drawn(every, most)
    chosen, cases = [whole[i] for i in rows], every.only(rows)
    try:
        check_cases(cases, prepared.cohort.classes)
    except EvaluationError as error:
        fewer = f" Only {len(rows)} of {len(whole)} cases were drawn: raise cases."
        told = fewer if len(rows) < len(whole) else ""
        raise CohortError(f"{prepared.cohort.root}: {error}{told}") from error
    return replace(prepared, cohort=prepared.cohort.with_cases(chosen)), cases


def _ranking_cases(cases: Sequence[Case], prepared: PreparedCohort, seed: int) -> RankingCases:
    digests = picture_digests(prepared.inputs.values(), prepared.cohort)
    number = {
        case.case_id: index
        for index, linked in enumerate(link_cases(cases, digests))
        for case in linked
    }
    groups = np.array([number[case.case_id] for case in cases], dtype=np.int64)
    if prepared.cohort.multilabel:
        return RankingCases.of_labels(answers_of(cases), groups, seed)
    return RankingCases(np.array([case.label for case in cases], dtype=np.int64), groups, seed)


def _drawn(cases: RankingCases, most: int) -> np.ndarray:
    """Return the rows of as many of 20 like parts as ``most`` cases hold, of at least one."""
    count = len(cases.labels)
    if count <= most:
        return np.arange(count)
    parts = divided(cases, min(_PARTS, int(np.bincount(cases.labels).max())), cases.seed)
    whole = np.cumsum([len(rows) for rows in parts])
    return np.sort(np.concatenate(parts[: max(1, int((whole <= most).sum()))]))
