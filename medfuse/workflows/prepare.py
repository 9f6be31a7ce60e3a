"""From a configuration to cases that are read, split, and free of leaks."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medfuse.config import Experiment, InputConfig
from medfuse.data import (
    Case,
    Cohort,
    Event,
    LeakReport,
    assign_roles,
    read_cohort,
    resolve_leaks,
    write_cohort,
)
from medfuse.errors import CohortError, ConfigError, ImageError
from medfuse.features.bank import FeatureBank
from medfuse.features.digests import ImageFacts
from medfuse.features.images import ImageIndex
from medfuse.preprocessing import Preprocessing, resolve_input

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreparedCohort:
    """Cases that may be trained on and tested with.

    Attributes:
        cohort: every case has a role and a readable image.
        input_name: the input that all sources read.
        input: how images are read, with every ``auto`` resolved.
        fingerprint: what was seen of the cohort to resolve it.
        preprocessing: from a file to the canonical image.
        images: digests and pixels.
        facts: what is known of each case's image, by case id.
        leaks: duplicates that were found and dropped.
    """

    cohort: Cohort
    input_name: str
    input: InputConfig
    fingerprint: Mapping[str, Any]
    preprocessing: Preprocessing
    images: ImageIndex
    facts: Mapping[str, ImageFacts]
    leaks: LeakReport

    def reference(self, case: Case) -> str:
        """Return the file reference of a case's image."""
        return case.inputs[self.input_name]

    def write(self, path: Path | str, seed: int) -> None:
        """Write the split file, with the digests that a later load checks for leaks."""
        header = {"seed": seed, "task": "multiclass"}
        digests = {case_id: fact.pixel_digest for case_id, fact in self.facts.items()}
        write_cohort(self.cohort, path, header, digests)


def prepare_cohort(
    experiment: Experiment, bank: FeatureBank, *, progress: bool = True
) -> PreparedCohort:
    """Return the cohort of an experiment: read, split by patient, checked for leaks.

    Raises:
        CohortError: no usable cases, bad labels, a leak, or a split that cannot be made.
        ImageError: an image cannot be read, and ``cohort.on_bad_image`` is ``refuse``.
    """
    name = _only_input(experiment)
    cohort = read_cohort(experiment.cohort, name)
    references = [case.inputs[name] for case in cohort.cases]
    resolved, fingerprint = resolve_input(experiment.inputs[name], references)
    preprocessing = Preprocessing(resolved, fingerprint)
    images = ImageIndex(preprocessing.load, preprocessing.digest(), bank)
    scan = images.scan(references, progress)
    readable = _without_bad_images(cohort, name, scan.failures, experiment.cohort.on_bad_image)
    facts = {case.case_id: scan.facts[case.inputs[name]] for case in readable.cases}
    digests = {case_id: fact.pixel_digest for case_id, fact in facts.items()}
    policy = experiment.cohort.on_leak
    sound, leaks = resolve_leaks(readable, digests, policy)
    split, later = resolve_leaks(
        assign_roles(sound, experiment.cohort.split, digests), digests, policy
    )
    leaks = LeakReport((*leaks.leaks, *later.leaks), max(leaks.duplicates, later.duplicates))
    _log.info("%s", describe(split))
    return PreparedCohort(
        cohort=split,
        input_name=name,
        input=resolved,
        fingerprint=fingerprint,
        preprocessing=preprocessing,
        images=images,
        facts=facts,
        leaks=leaks,
    )


def describe(cohort: Cohort) -> str:
    """Return one line: how many cases each part has."""
    parts = ", ".join(
        f"{sum(row.values())} {role}" for role, row in cohort.counts().items() if sum(row.values())
    )
    return f"{len(cohort.cases)} cases of {len(cohort.classes)} classes: {parts}"


def _only_input(experiment: Experiment) -> str:
    used = sorted({source.input for source in experiment.sources})
    if len(used) != 1:
        raise ConfigError(
            f"sources read the inputs {', '.join(used)}; this release takes one input per case. "
            "Bind all sources to the same input."
        )
    return used[0]


def _without_bad_images(
    cohort: Cohort, name: str, failures: Mapping[str, ImageError], policy: str
) -> Cohort:
    """Return the cohort without cases whose image cannot be read, each one an event."""
    if failures and policy == "refuse":
        first = next(iter(failures.values()))
        more = f" ({len(failures) - 1} more)" if len(failures) > 1 else ""
        raise ImageError(
            first.code, f"{first}{more} Mend or remove it, or set cohort.on_bad_image: skip."
        )
    bad = [case for case in cohort.cases if case.inputs[name] in failures]
    events = [
        Event(failures[case.inputs[name]].code, case.case_id, "image skipped") for case in bad
    ]
    if bad:
        _log.warning("%d of %d images cannot be read; skipped", len(bad), len(cohort.cases))
    kept = [case for case in cohort.cases if case.inputs[name] not in failures]
    if not kept:
        raise CohortError(f"{cohort.root}: no readable image among {len(bad)} files.")
    return cohort.with_cases(kept, events)
