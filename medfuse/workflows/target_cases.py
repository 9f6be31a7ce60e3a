"""The cases of a target cohort, read and looked at as those that are learned from."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from medfuse.backbones.build import BuiltSource
from medfuse.config import CohortConfig, Experiment
from medfuse.data import Cohort, LeakReport, Role, read_cohort
from medfuse.data.readers import installed_readers
from medfuse.data.unlabelled import read_unlabelled
from medfuse.errors import CohortError, ConfigError
from medfuse.features.bank import FeatureBank
from medfuse.registry import Registry
from medfuse.storage import digest_of
from medfuse.workflows.extract import ExtractedFeatures as Extracted
from medfuse.workflows.extract import extract
from medfuse.workflows.prepare import PreparedCohort, PreparedInput, prepared_input
from medfuse.workflows.settle import SettledInput

_BATCH = 32
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TargetReader:
    """What reads and looks at the cases of a target cohort as at those learned from.

    Attributes:
        experiment: its sources are frozen.
        registry: knows the readers of plugins.
        prepared: the cases learned from, whose preprocessing and classes are taken.
        bank: keeps features.
        progress: tell on stderr how far it is, see `medfuse.progress`.
    """

    experiment: Experiment
    registry: Registry
    prepared: PreparedCohort
    bank: FeatureBank
    progress: bool

    def read(self, path: str, role: Role | None) -> PreparedCohort:
        """Return the cases at a path, all images readable, in a part of the name ``role``.

        Labels are kept where every class is one of those learned from; else they are passed over.

        Args:
            path: class folders, a table or list as the cohort has, or any folder of images.
            role: ``train`` where the cases get augmented views. Nothing learns from their labels.

        Raises:
            CohortError: nothing there, or no image can be read.
            ConfigError: an input is a table.
        """
        check_pictures(self.experiment)
        return self._prepared(self._listed(path, role))

    def features(self, prepared: PreparedCohort, sources: Sequence[BuiltSource]) -> Extracted:
        """Return what sources see in cases that `read` gave."""
        return extract(self.experiment, prepared, sources, self.bank, progress=self.progress)

    def after_adabn(
        self, prepared: PreparedCohort, sources: Sequence[BuiltSource]
    ) -> list[BuiltSource] | None:
        """Return the sources with the statistics of these cases; ``None`` if none has a norm."""
        pairs = enumerate(sources)
        moved = [with_own_statistics(s, prepared, self.experiment, i) for i, s in pairs]
        changed = any(one is not source for one, source in zip(moved, sources, strict=True))
        return moved if changed else None

    def shared(self, prepared: PreparedCohort) -> int:
        """Return how many of these cases have an image that is also learned from."""
        known = {d for case in self.prepared.cohort.cases for d in self.prepared.digests(case)}
        return sum(bool(prepared.digests(case) & known) for case in prepared.cohort.cases)

    def _listed(self, path: str, role: Role | None) -> Cohort:
        experiment = self.experiment
        endings = installed_readers(self.registry).endings
        given = experiment.cohort.model_dump(include={"label", "group", "group_pattern"})
        config = CohortConfig(path=path, on_bad_image="skip", **given)
        try:
            found = read_cohort(config, experiment.inputs, endings)
        except CohortError:
            if not Path(path).is_dir() or len(experiment.inputs) > 1:
                raise
            name, read = next(iter(self.prepared.inputs.items()))
            found = _renamed(read_unlabelled(path, read.config, endings), name)
        return _with_known_labels(found, self.prepared.cohort.classes, role)

    def _prepared(self, cohort: Cohort) -> PreparedCohort:
        readers = installed_readers(self.registry)
        inputs: dict[str, PreparedInput] = {}
        failed: set[str] = set()
        for name, read in self.prepared.inputs.items():
            files = [case.inputs[name] for case in cohort.cases if name in case.inputs]
            settled = SettledInput(read.config, read.fingerprint, readers.used_by(files))
            inputs[name], bad = prepared_input(name, settled, cohort, self.bank, self.progress)
            failed |= {c.case_id for c in cohort.cases if c.inputs.get(name) in bad}
        kept = [case for case in cohort.cases if case.case_id not in failed]
        if failed:
            _log.warning("target cohort: %d cases cannot be read and are left out", len(failed))
        if len(kept) < 2:
            raise CohortError(f"{cohort.root}: {len(kept)} readable cases, expected two or more.")
        return PreparedCohort(cohort.with_cases(kept), inputs, LeakReport())


def check_pictures(experiment: Experiment) -> None:
    """Refuse tables: a target cohort is seen by its images alone.

    Raises:
        ConfigError: an input is a table.
    """
    if any(config.kind == "tabular" for config in experiment.inputs.values()):
        raise ConfigError(
            "a target cohort is seen by its images alone, but inputs has a table. Leave it out."
        )


def _renamed(cohort: Cohort, name: str) -> Cohort:
    """Return the cohort with its one input under another name."""
    return cohort.with_cases(
        replace(case, inputs={name: next(iter(case.inputs.values()))}) for case in cohort.cases
    )


def _with_known_labels(cohort: Cohort, classes: tuple[str, ...], role: Role | None) -> Cohort:
    unknown = [name for name in cohort.classes if name not in classes]
    if unknown:
        _log.warning(
            "target cohort: no class here is called %r; all its labels are passed over",
            unknown[0],
        )
    labels = [
        None if unknown or c.label is None else classes.index(cohort.classes[c.label])
        for c in cohort.cases
    ]
    pairs = zip(cohort.cases, labels, strict=True)
    cases = tuple(replace(case, label=label, role=role) for case, label in pairs)
    return replace(cohort, cases=cases, classes=classes)


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
    card = {**source.card, "batch_norm": f"statistics of {len(images)} images of a target cohort"}
    return replace(source, module=module, identity=identity, card=card)


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
