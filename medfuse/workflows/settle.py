"""From the table of a cohort to inputs without ``auto``: a few images are looked at."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medfuse.config import ComponentConfig, Experiment, InputConfig, SplitConfig
from medfuse.data import Case, Cohort, read_cohort
from medfuse.data.readers import InstalledReader, Readers, installed_readers
from medfuse.data.sites import with_held_out_site
from medfuse.errors import CohortError
from medfuse.features.bank import FeatureBank
from medfuse.registry import load_registry
from medfuse.workflows.settle_memo import resolve_known

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SettledInput:
    """How the files of one input are read.

    Attributes:
        config: with every ``auto`` resolved.
        fingerprint: what was seen of the cohort to resolve it.
        readers: of plugins, that some of its files need.
    """

    config: InputConfig
    fingerprint: Mapping[str, Any]
    readers: tuple[InstalledReader, ...] = ()


@dataclass(frozen=True)
class SettledCohort:
    """A cohort as it is listed, and how its images are read.

    Attributes:
        cohort: its cases have the roles that the source gives; few files have been opened.
        inputs: images and volumes by name; tables follow once the cases are divided.
    """

    cohort: Cohort
    inputs: Mapping[str, SettledInput]


def list_cohort(experiment: Experiment, readers: Readers | None = None) -> Cohort:
    """Return the cohort of an experiment as it is listed; few files are opened.

    Raises:
        CohortError: it cannot be listed.
    """
    readers = installed_readers(load_registry()) if readers is None else readers
    groups = experiment.evaluation.groups
    return read_cohort(experiment.cohort, experiment.inputs, readers.endings, groups)


def settle_head(experiment: Experiment, cohort: Cohort) -> Experiment:
    """Return the experiment with a head for what the cases have; a head that is named stays.

    The default head gives a case one class; where cases have several labels, it is `multilabel`.
    """
    if "head" in experiment.model_fields_set or not cohort.multilabel:
        return experiment
    _log.info("cases have several labels: the head is multilabel")
    return experiment.model_copy(update={"head": ComponentConfig(use="multilabel")})


def settle_cohort(
    experiment: Experiment,
    bank: FeatureBank | None = None,
    *,
    cohort: Cohort | None = None,
    readers: Readers | None = None,
) -> SettledCohort:
    """Return the cohort of an experiment with its images' ``auto`` resolved.

    Images of a test part that is known beforehand, by given roles or as a held-out site, are not
    looked at, nor are those of its patients: they stand for images that are yet to come. A test
    part that is drawn from the cases by fraction or fold is no such thing, and is not known
    before all images are read. All cases are looked at then, without their labels, so that every
    fold and seed has the same settings and shares the banked features.

    Args:
        experiment: its ``inputs`` are resolved.
        bank: remembers what was resolved from the very same files.
        cohort: already read; read now if ``None``.
        readers: of plugins; those of all installed ones if ``None``.

    Raises:
        CohortError: the cohort cannot be listed, or nobody who may be looked at has an input.
        ImageError: none of the images that are looked at can be read.
        PluginError: two plugins read one ending, or a reader that is needed cannot be imported.
    """
    readers = installed_readers(load_registry()) if readers is None else readers
    cohort = cohort or list_cohort(experiment, readers)
    cases = cases_to_look_at(cohort, experiment.cohort.split)
    return SettledCohort(
        cohort,
        {
            name: settle_input(InputFiles(name, config, cohort, cases, readers), bank)
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


@dataclass(frozen=True)
class InputFiles:
    """The files of one input, before they are read; those of ``cases`` may be looked at."""

    name: str
    config: InputConfig
    cohort: Cohort
    cases: tuple[Case, ...]
    readers: Readers


def settle_input(files: InputFiles, bank: FeatureBank | None = None) -> SettledInput:
    """Return how the files of one input are read; see `settle_cohort`."""
    name = files.name
    having = [case.inputs[name] for case in files.cohort.cases if name in case.inputs]
    learned = [case.inputs[name] for case in files.cases if name in case.inputs]
    if not learned:
        who = "case to learn from" if having else "case"
        raise CohortError(
            f"{files.cohort.root}: no {who} has the input {name!r}, expected some. "
            "Fill its column, or remove it from inputs."
        )
    used = files.readers.used_by(having)
    _say_what_bundles_cannot_read(name, used)
    # A plugin's file may have parts in other files, which the memo would not see change.
    memo = None if used else bank
    resolved = resolve_known(files.config, learned, memo, [one.reader for one in used])
    return SettledInput(*resolved, used)


def _say_what_bundles_cannot_read(name: str, used: Sequence[InstalledReader]) -> None:
    for one in used:
        if not one.in_bundles:
            reason = getattr(one.spec.export, "reason", "")
            _log.warning(
                "input %s: %s files are read by %s, which no bundle can hold (%s): the bundle will "
                "not read them. Convert them to another format for serving.",
                name,
                " and ".join(one.spec.suffixes),
                one.name,
                reason,
            )
