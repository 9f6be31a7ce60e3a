"""From a configuration to cases that are read, split, and free of leaks."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medfuse.config import Experiment, InputConfig
from medfuse.data import (
    Case,
    Cohort,
    Event,
    LeakReport,
    assign_roles,
    resolve_leaks,
    tally,
    write_cohort,
)
from medfuse.errors import CohortError, ImageError
from medfuse.features.bank import FeatureBank
from medfuse.features.digests import ImageFacts
from medfuse.features.images import ImageIndex
from medfuse.preprocessing import Preprocessing, resolve_input
from medfuse.workflows.settle import SettledCohort, SettledInput, settle_cohort

_LEFT_OUT = "SKIPPED"  # the DICOM reader's word for what it left out: "LOCALIZER 1"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreparedInput:
    """One input of the cases, as the networks get it.

    Attributes:
        name: as the configuration calls it.
        config: how files are read, with every ``auto`` resolved.
        fingerprint: what was seen of the cohort to resolve it.
        preprocessing: from a file to the canonical image.
        images: digests and pixels.
        facts: what is known of each case's image, by case id; a case without one is absent.
    """

    name: str
    config: InputConfig
    fingerprint: Mapping[str, Any]
    preprocessing: Preprocessing
    images: ImageIndex
    facts: Mapping[str, ImageFacts]

    def has(self, case: Case) -> bool:
        """Return whether a case has this input."""
        return self.name in case.inputs

    def pixels(self, case: Case) -> np.ndarray:
        """Return the canonical image ``(C, *spatial)``; a vector ``(P,)`` of a table row."""
        return self.images.take(case.inputs[self.name])


@dataclass(frozen=True)
class PreparedCohort:
    """Cases that may be trained on and tested with.

    Attributes:
        cohort: every case has a role and at least one readable input.
        inputs: by name, in the order in which the network takes them.
        leaks: duplicates that were found and dropped.
    """

    cohort: Cohort
    inputs: Mapping[str, PreparedInput]
    leaks: LeakReport

    @property
    def pictures(self) -> tuple[PreparedInput, ...]:
        """The inputs that can be looked at: images and volumes."""
        return tuple(i for i in self.inputs.values() if i.config.kind != "tabular")

    def position(self, name: str) -> int:
        """Return which of the network's inputs ``name`` is."""
        return list(self.inputs).index(name)

    def known(self) -> np.ndarray:
        """Return which inputs each case has, ``(cases, I)`` bool."""
        rows = [[i.has(case) for i in self.inputs.values()] for case in self.cohort.cases]
        return np.array(rows, dtype=bool)

    def digests(self, case: Case) -> frozenset[str]:
        """Return the pixel digests of a case's images."""
        known = (i.facts[case.case_id] for i in self.pictures if case.case_id in i.facts)
        return frozenset(fact.pixel_digest for fact in known)

    def events(self) -> dict[str, int]:
        """Return how often each code occurred, as the cases were listed and as they were read.

        What a folder of DICOM files holds beside its series is counted once, though the reader
        tells it again where the listing has.
        """
        read: Counter[str] = Counter()
        left_out: Counter[str] = Counter()
        for code, detail in self._told():
            if code == _LEFT_OUT:
                other, _, count = detail.partition(" ")
                left_out[other] += int(count)
            else:
                read[code] += 1
        listed = {**left_out, **tally(self.cohort.events)}
        return dict(sorted((Counter(listed) + read).items()))

    def _told(self) -> list[tuple[str, str]]:
        """Return what reading the inputs of the cases took."""
        facts = (
            found.facts[case.case_id]
            for case in self.cohort.cases
            for found in self.inputs.values()
            if case.case_id in found.facts
        )
        return [event for fact in facts for event in fact.events]

    def write(self, path: Path | str, seed: int) -> None:
        """Write the split file, with the digests that a later load checks for leaks."""
        digests = picture_digests(self.inputs.values(), self.cohort)
        write_cohort(self.cohort, path, {"seed": seed}, digests)


def prepare_cohort(
    experiment: Experiment,
    bank: FeatureBank,
    *,
    settled: SettledCohort | None = None,
    progress: bool = True,
) -> PreparedCohort:
    """Return the cohort of an experiment: read, split by patient, checked for leaks.

    With ``cohort.on_bad_image: skip`` an image that cannot be read is a missing input of its
    case; a case that has nothing else is left out. Both are counted by code.

    Args:
        experiment: says where the cases are and how they are divided.
        bank: remembers the digests of images.
        settled: from `settle_cohort`; made now if ``None``.
        progress: tell on stderr how far it is, see `medfuse.progress`.

    Raises:
        CohortError: no usable cases, bad labels, a leak, or a split that cannot be made.
        ImageError: an image cannot be read, and ``cohort.on_bad_image`` is ``refuse``.
        PluginError: two plugins read one ending, or a reader that is needed cannot be imported.
    """
    settled = settled or settle_cohort(experiment, bank)
    configs, cohort = experiment.inputs, settled.cohort
    inputs: dict[str, PreparedInput] = {}
    failures: dict[str, dict[str, ImageError]] = {}
    for name, found in settled.inputs.items():
        inputs[name], failures[name] = prepared_input(name, found, cohort, bank, progress)
    readable = _without_bad_images(cohort, failures, experiment.cohort.on_bad_image)
    digests = picture_digests(inputs.values(), readable)
    policy = experiment.cohort.on_leak
    sound, leaks = resolve_leaks(readable, digests, policy)
    split, later = resolve_leaks(
        assign_roles(sound, experiment.cohort.split, digests), digests, policy
    )
    leaks = LeakReport((*leaks.leaks, *later.leaks), max(leaks.duplicates, later.duplicates))
    for name in [name for name in configs if name not in inputs]:
        inputs[name] = _prepared_table(name, configs[name], split)
    inputs = {name: inputs[name] for name in configs}
    _log.info("%s", describe(split))
    for line in describe_inputs(split, tuple(inputs)):
        _log.info("%s", line)
    return PreparedCohort(cohort=split, inputs=inputs, leaks=leaks)


def picture_digests(inputs: Iterable[PreparedInput], cohort: Cohort) -> dict[str, dict[str, str]]:
    """Return the pixel digests of each case by input; equal table rows are no leak."""
    pictures = [i for i in inputs if i.config.kind != "tabular"]
    return {
        case.case_id: {
            i.name: i.facts[case.case_id].pixel_digest for i in pictures if case.case_id in i.facts
        }
        for case in cohort.cases
    }


def describe(cohort: Cohort) -> str:
    """Return one line: how many cases each part has."""
    parts = ", ".join(f"{size} {role}" for role, size in cohort.sizes().items())
    return f"{len(cohort.cases)} cases {cohort.kinds}: {parts}"


def describe_inputs(cohort: Cohort, names: Sequence[str]) -> list[str]:
    """Return one line that says how many cases have each input, where there are several."""
    if len(names) < 2:
        return []
    counts = {name: sum(name in case.inputs for case in cohort.cases) for name in names}
    listed = ", ".join(f"{name} {count}" for name, count in counts.items())
    return [f"inputs of {len(cohort.cases)} cases: {listed}"]


def prepared_input(
    name: str, settled: SettledInput, cohort: Cohort, bank: FeatureBank, progress: bool
) -> tuple[PreparedInput, dict[str, ImageError]]:
    """Return an input with its images read once, and the errors of those that cannot be read."""
    cases = [case for case in cohort.cases if name in case.inputs]
    config, fingerprint, used = settled.config, settled.fingerprint, settled.readers
    preprocessing = Preprocessing(config, fingerprint, used)
    # A plugin's file may have parts in other files, which the memo would not see change.
    images = ImageIndex(preprocessing.load, preprocessing.digest(), None if used else bank)
    scan = images.scan([case.inputs[name] for case in cases], progress)
    facts = {
        case.case_id: scan.facts[case.inputs[name]]
        for case in cases
        if case.inputs[name] in scan.facts
    }
    prepared = PreparedInput(name, config, fingerprint, preprocessing, images, facts)
    return prepared, dict(scan.failures)


def _prepared_table(name: str, config: InputConfig, cohort: Cohort) -> PreparedInput:
    """Return a tabular input; its centers and levels are those of the cases learned from."""
    cases = {case.case_id: case.inputs[name] for case in cohort.cases if name in case.inputs}
    learned = [
        case.inputs[name] for case in cohort.part("train", "validation") if name in case.inputs
    ]
    if not learned:
        raise CohortError(
            f"{cohort.root}: no case to learn from has the input {name!r}, expected some. "
            "Fill its columns, or remove it from inputs."
        )
    resolved, fingerprint = resolve_input(config, learned)
    preprocessing = Preprocessing(resolved, fingerprint)
    images = ImageIndex(preprocessing.load, preprocessing.digest())
    scan = images.scan(cases.values(), progress=False)
    for error in scan.failures.values():
        raise error
    facts = {case_id: scan.facts[reference] for case_id, reference in cases.items()}
    return PreparedInput(name, resolved, fingerprint, preprocessing, images, facts)


def _without_bad_images(
    cohort: Cohort, failures: Mapping[str, Mapping[str, ImageError]], policy: str
) -> Cohort:
    """Return the cohort without inputs that cannot be read, and without cases of nothing else."""
    errors = [error for found in failures.values() for error in found.values()]
    if not errors:
        return cohort
    if policy == "refuse":
        more = f" ({len(errors) - 1} more)" if len(errors) > 1 else ""
        raise ImageError(
            errors[0].code,
            f"{errors[0]}{more} Mend or remove it, or set cohort.on_bad_image: skip.",
        )
    kept: list[Case] = []
    events: list[Event] = []
    for case in cohort.cases:
        bad = {n: failures[n][r] for n, r in case.inputs.items() if r in failures.get(n, {})}
        rest = {n: reference for n, reference in case.inputs.items() if n not in bad}
        what = "input skipped" if rest else "case skipped"
        events += [
            Event(e.code, case.case_id, f"{name}: {what}", left_out=not rest)
            for name, e in bad.items()
        ]
        kept += [replace(case, inputs=rest)] if rest else []
    _log.warning(
        "%d images cannot be read: %d of %d cases skipped, missing inputs in the others",
        len(events), len(cohort.cases) - len(kept), len(cohort.cases),
    )  # fmt: skip
    if not kept:
        raise CohortError(f"{cohort.root}: no readable image among {len(cohort.cases)} cases.")
    return cohort.with_cases(kept, events)
