"""From the table of a cohort to inputs without ``auto``: a few images are looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medfuse.config import Experiment, InputConfig, SplitConfig
from medfuse.data import Case, Cohort, read_cohort
from medfuse.data.sites import with_held_out_site
from medfuse.errors import CohortError
from medfuse.preprocessing import resolve_input


@dataclass(frozen=True)
class SettledInput:
    """How the files of one input are read.

    Attributes:
        config: with every ``auto`` resolved.
        fingerprint: what was seen of the cohort to resolve it.
    """

    config: InputConfig
    fingerprint: Mapping[str, Any]


@dataclass(frozen=True)
class SettledCohort:
    """A cohort as it is listed, and how its images are read.

    Attributes:
        cohort: its cases have the roles that the source gives; few files have been opened.
        inputs: images and volumes by name; tables follow once the cases are divided.
    """

    cohort: Cohort
    inputs: Mapping[str, SettledInput]


def settle_cohort(experiment: Experiment, cohort: Cohort | None = None) -> SettledCohort:
    """Return the cohort of an experiment with its images' ``auto`` resolved.

    Images of a test part that is known beforehand, by given roles or as a held-out site, are not
    looked at, nor are those of its patients: they stand for images that are yet to come. A test
    part that is drawn from the cases by fraction or fold is no such thing, and is not known
    before all images are read. All cases are looked at then, without their labels, so that every
    fold and seed has the same settings and shares the banked features.

    Args:
        experiment: its ``inputs`` are resolved.
        cohort: already read; read now if ``None``.

    Raises:
        CohortError: the cohort cannot be listed, or nobody who may be looked at has an input.
        ImageError: none of the images that are looked at can be read.
    """
    cohort = cohort or read_cohort(experiment.cohort, experiment.inputs)
    cases = cases_to_look_at(cohort, experiment.cohort.split)
    return SettledCohort(
        cohort,
        {
            name: _settled(name, config, cohort, cases)
            for name, config in experiment.inputs.items()
            if config.kind != "tabular"
        },
    )


def cases_to_look_at(cohort: Cohort, split: SplitConfig) -> tuple[Case, ...]:
    """Return the cases that may be learned from, as far as that is known before the split."""
    cases = cohort.cases
    if split.hold_out_site is not None:
        placed = with_held_out_site(cohort, split.hold_out_site)
        cases = tuple(placed[case.case_id] for case in cases)
    elsewhere = {case.patient_id for case in cases if case.role in ("test", "calibration")}
    return tuple(case for case in cases if case.patient_id not in elsewhere)


def _settled(
    name: str, config: InputConfig, cohort: Cohort, cases: tuple[Case, ...]
) -> SettledInput:
    having = [case.inputs[name] for case in cohort.cases if name in case.inputs]
    learned = [case.inputs[name] for case in cases if name in case.inputs]
    if not learned:
        who = "case to learn from" if having else "case"
        raise CohortError(
            f"{cohort.root}: no {who} has the input {name!r}, expected some. "
            "Fill its column, or remove it from inputs."
        )
    return SettledInput(*resolve_input(config, learned))
