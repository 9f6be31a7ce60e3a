"""The cases of a target cohort, read and extracted as those that are compared."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from medfuse.backbones.build import BuiltSource
from medfuse.config import CohortConfig, Experiment
from medfuse.data import Case, Cohort, LeakReport, read_cohort
from medfuse.data.readers import installed_readers
from medfuse.data.unlabelled import read_unlabelled
from medfuse.errors import CohortError, ConfigError
from medfuse.features.bank import FeatureBank
from medfuse.storage import digest_of
from medfuse.workflows.compare_task import CompareTask, pooled_fusion
from medfuse.workflows.extract import ExtractedFeatures, extract
from medfuse.workflows.prepare import PreparedCohort, PreparedInput, prepared_input
from medfuse.workflows.settle import SettledInput

_BATCH = 32
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TargetCases:
    """A cohort that the compared cases do not belong to.

    Attributes:
        prepared: its cases, all images readable; a label counts classes as the compared cases do.
        features: of all sources, with the augmented views.
        adapted: the same after AdaBN; ``None`` where no source has a batch norm.
        shared: cases with an image that is also among the compared ones.
    """

    prepared: PreparedCohort
    features: ExtractedFeatures
    adapted: ExtractedFeatures | None
    shared: int

    @property
    def cases(self) -> tuple[Case, ...]:
        """The cases in their order."""
        return tuple(self.prepared.cohort.cases)


def target_cases(task: CompareTask, path: str) -> TargetCases:
    """Return the cases of a target cohort with their features.

    Labels are kept where every class is one of the compared ones; else they are passed over.

    Args:
        task: the comparison, whose preprocessing and networks are used.
        path: class folders, a table or list as the compared cohort has, or any folder of images.

    Raises:
        CohortError: nothing there, or no image can be read.
        ConfigError: an input is a table.
    """
    pictures = task.compared.prepared.inputs
    if any(read.config.kind == "tabular" for read in pictures.values()):
        raise ConfigError(
            "a target cohort is compared by its images alone, but inputs has a table. Leave it out."
        )
    experiment = pooled_fusion(task.experiment, task.registry)
    bank = FeatureBank(experiment.bank.path, experiment.bank.budget_gb)
    prepared = _prepared(task, _read(task, path), bank)
    digests = {d for case in task.compared.cases for d in task.compared.prepared.digests(case)}
    shared = sum(bool(prepared.digests(case) & digests) for case in prepared.cohort.cases)
    progress = task.settings.progress
    sources = task.features.sources
    found = extract(experiment, prepared, sources, bank, progress=progress)
    moved = [with_own_statistics(s, prepared, experiment, i) for i, s in enumerate(sources)]
    adapted = None
    if any(one is not source for one, source in zip(moved, sources, strict=True)):
        adapted = extract(experiment, prepared, moved, bank, progress=progress)
    return TargetCases(prepared, found, adapted, shared)


def _read(task: CompareTask, path: str) -> Cohort:
    experiment = task.experiment
    readers = installed_readers(task.registry)
    given = experiment.cohort.model_dump(include={"label", "group", "group_pattern"})
    try:
        found = read_cohort(
            CohortConfig(path=path, on_bad_image="skip", **given),
            experiment.inputs,
            readers.endings,
        )
    except CohortError:
        if not Path(path).is_dir() or len(experiment.inputs) > 1:
            raise
        config = next(iter(task.compared.prepared.inputs.values())).config
        found = _renamed(read_unlabelled(path, config, readers.endings), task)
    return _with_known_labels(found, task.compared.prepared.cohort.classes)


def _renamed(cohort: Cohort, task: CompareTask) -> Cohort:
    """Return the cohort with its one input under the name of the comparison."""
    name = next(iter(task.compared.prepared.inputs))
    return cohort.with_cases(
        replace(case, inputs={name: next(iter(case.inputs.values()))}) for case in cohort.cases
    )


def _with_known_labels(cohort: Cohort, classes: tuple[str, ...]) -> Cohort:
    unknown = [name for name in cohort.classes if name not in classes]
    if unknown:
        _log.warning(
            "target cohort: the class %r is not compared; all its labels are passed over",
            unknown[0],
        )
    labels = [
        None if unknown or c.label is None else classes.index(cohort.classes[c.label])
        for c in cohort.cases
    ]
    pairs = zip(cohort.cases, labels, strict=True)
    # as cases to learn from, so that they have augmented views; nothing learns from their labels
    cases = tuple(replace(case, label=label, role="train") for case, label in pairs)
    return replace(cohort, cases=cases, classes=classes)


def _prepared(task: CompareTask, cohort: Cohort, bank: FeatureBank) -> PreparedCohort:
    readers = installed_readers(task.registry)
    inputs: dict[str, PreparedInput] = {}
    failed: set[str] = set()
    for name, read in task.compared.prepared.inputs.items():
        files = [case.inputs[name] for case in cohort.cases if name in case.inputs]
        settled = SettledInput(read.config, read.fingerprint, readers.used_by(files))
        inputs[name], bad = prepared_input(name, settled, cohort, bank, task.settings.progress)
        failed |= {c.case_id for c in cohort.cases if c.inputs.get(name) in bad}
    kept = [case for case in cohort.cases if case.case_id not in failed]
    if failed:
        _log.warning("target cohort: %d cases cannot be read and are left out", len(failed))
    if len(kept) < 2:
        raise CohortError(f"{cohort.root}: {len(kept)} readable cases, expected two or more.")
    return PreparedCohort(cohort.with_cases(kept), inputs, LeakReport())


def with_own_statistics(
    source: BuiltSource, prepared: PreparedCohort, experiment: Experiment, number: int
) -> BuiltSource:
    """Return a source whose batch norms have the statistics of these cases; itself without any.

    AdaBN: Li et al., 2018, doi:10.1016/j.patcog.2018.03.005.
    """
    norms = [m for m in source.module.modules() if isinstance(m, _BatchNorm)]
    read = prepared.inputs[experiment.sources[number].input]
    cases = [case for case in prepared.cohort.cases if read.has(case)]
    if not norms or not cases:
        return source
    module = with_fresh_statistics(source.module)
    see(module, np.stack([read.pixels(case) for case in cases]))
    images = sorted(read.facts[case.case_id].pixel_digest for case in cases)
    identity = {**source.identity, "batch_norm_of": digest_of(images)}
    return replace(source, module=module, identity=identity)


def with_fresh_statistics(module: nn.Module) -> nn.Module:
    """Return a copy whose batch norms have seen nothing yet; `see` shows them images."""
    fresh = copy.deepcopy(module).eval()
    for norm in (m for m in fresh.modules() if isinstance(m, _BatchNorm)):
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
    return fresh


@torch.no_grad()
def see(module: nn.Module, images: np.ndarray, batch: int = _BATCH) -> None:
    """Show a network all images ``(N, C, *spatial)`` once, so that its batch norms know them."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm)]
    device = next(module.parameters()).device
    for norm in norms:
        norm.training = True
    for part in np.array_split(images, int(np.ceil(len(images) / batch))):
        module(torch.from_numpy(part).to(device))
    for norm in norms:
        norm.training = False


def counts(target: TargetCases) -> Mapping[str, int]:
    """Return how many cases, patients and labels the target has, and how many it shares."""
    return {
        "cases": len(target.cases),
        "patients": len({case.patient_id for case in target.cases}),
        "labeled": sum(case.label is not None for case in target.cases),
        "shared": target.shared,
    }
