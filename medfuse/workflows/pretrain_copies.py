"""Copies of images that must not be learned from, wherever they lie: found by looking at all."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medfuse.audit.duplicates import find_duplicates
from medfuse.audit.scan import scan
from medfuse.data import Case, Cohort
from medfuse.data.readers import Readers
from medfuse.data.unlabelled import IMAGE
from medfuse.workflows.pretrain_sets import ImageSet

_COPY = "COPY_OF_EXCLUDED"

_log = logging.getLogger(__name__)


def without_copies(
    sets: Sequence[ImageSet], forbidden: Sequence[Case], readers: Readers, progress: bool
) -> tuple[list[ImageSet], frozenset[str]]:
    """Return the sets without near duplicates of forbidden images, and the digests of these.

    Args:
        sets: that are learned from.
        forbidden: cases that must not be.
        readers: of their files.
        progress: tell on stderr how far it is, see `medfuse.progress`.
    """
    if not forbidden:
        return list(sets), frozenset()
    _log.info("looking for copies of %d images that must not be learned from", len(forbidden))
    every: list[tuple[int | None, Case]]
    every = [(None, case) for case in forbidden if IMAGE in case.inputs]
    every += [(number, case) for number, one in enumerate(sets) for case in one.kept]
    numbered = tuple(
        replace(case, case_id=str(place), patient_id=str(place))
        for place, (_, case) in enumerate(every)
    )
    used = readers.used_by(case.inputs[IMAGE] for case in numbered)
    looked = scan(
        Cohort(numbered, (), Path()), readers=[one.reader for one in used], progress=progress
    )
    first = sum(number is None for number, _ in every)
    copies = {
        int(case_id)
        for group in find_duplicates(looked.seen)
        if any(int(case_id) < first for case_id in group.cases)
        for case_id in group.cases
    }
    gone: list[set[str]] = [set() for _ in sets]
    for place in copies:
        number, case = every[place]
        if number is not None:
            gone[number].add(case.case_id)
    digests = frozenset(s.look.digest for s in looked.seen if int(s.case.case_id) < first)
    rest = [one.without(ids, _COPY) for one, ids in zip(sets, gone, strict=True)]
    return rest, digests
