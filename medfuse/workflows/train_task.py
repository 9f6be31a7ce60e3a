"""From a configuration to all that training reads, with the work divided among processes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ignite.distributed as idist

from medfuse.backbones.build import BuiltSource
from medfuse.config import ComponentConfig, Experiment, as_experiment
from medfuse.contract import FeatureFusionSpec
from medfuse.data.readers import installed_readers
from medfuse.errors import ConfigError
from medfuse.features.bank import FeatureBank
from medfuse.processes import Shard, leave
from medfuse.registry import Registry, load_registry
from medfuse.storage import digest_of
from medfuse.training.classifier import check_missing_inputs
from medfuse.workflows.adapt import Adaptation, adapt, check_norms
from medfuse.workflows.bundled_sources import with_each_network
from medfuse.workflows.extract import (
    ExtractedFeatures,
    bank_features,
    extract,
    load_networks,
    with_tables,
)
from medfuse.workflows.fill import digest_shares, on_own_device
from medfuse.workflows.learn import LearningTask, learn
from medfuse.workflows.package import graph_only_parts
from medfuse.workflows.preflight import check_with_cohort, check_with_sources
from medfuse.workflows.prepare import PreparedCohort, prepare_cohort
from medfuse.workflows.resolved import resolved_experiment
from medfuse.workflows.run_folder import RunFolder
from medfuse.workflows.settle import SettledCohort, list_cohort, settle_cohort, settle_head
from medfuse.workflows.target_cases import TargetReader

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TaskOptions:
    """How to train, which does not decide the result.

    Attributes:
        download: allow weights to be fetched.
        progress: tell on stderr how far it is, see `medfuse.progress`.
        shard: this process among those that work together.
    """

    download: bool = False
    progress: bool = True
    shard: Shard = field(default_factory=Shard)


def help_train(
    experiment: Experiment | Mapping[str, Any] | Path | str, shard: Shard, *, download: bool = False
) -> None:
    """Take part in the training that the first process carries out, and write nothing but the bank.

    Features of frozen sources and the images of every batch are computed in shares. This returns
    once nothing is left to divide; the first process goes on alone.

    Args:
        experiment: the same as the first process has.
        shard: of this process, which is not the first.
        download: allow weights to be fetched.

    Raises:
        PeerError: another process failed.
        MedfuseError: as in `medfuse.workflows.train.train`.
    """
    config, registry = with_each_network(as_experiment(experiment)), load_registry()
    if not shard.told(None):
        return
    task = training_task(config, registry, TaskOptions(download, progress=False, shard=shard))
    every = range(len(task.features.sources))
    if any_learns(task, every):
        learn(task, task.experiment.fusion, every, None)
        for i in sources_alone(task):
            if any_learns(task, [i]):
                learn(task, fusion_alone(task), [i], None, "single")
    part(shard)


def training_task(
    experiment: Experiment,
    registry: Registry,
    options: TaskOptions,
    folder: RunFolder | None = None,
) -> LearningTask:
    """Return what training reads: the cohort settled, divided and checked, features extracted.

    Args:
        experiment: as it was asked for.
        registry: knows the parts.
        options: how.
        folder: is begun as soon as the cohort is known to be sound; ``None`` writes nothing.
    """
    shard, progress = options.shard, options.progress
    if shard.count > 1:
        idist.get_rank()  # its first question is put to all processes: now, as long as all are here
    experiment = on_own_device(experiment, shard)
    bank = FeatureBank(experiment.bank.path, experiment.bank.budget_gb)
    readers = installed_readers(registry)
    cohort = list_cohort(experiment, readers)
    experiment = settle_head(experiment, cohort)
    check_with_cohort(experiment, registry, cohort)
    settled = settle_cohort(experiment, bank, cohort=cohort, readers=readers)
    networks = _networks(experiment, registry, settled, options.download)
    digest_shares(settled, bank, shard, progress=progress)
    prepared = prepare_cohort(experiment, bank, settled=settled, progress=progress)
    check_missing_inputs(experiment.fusion.use, registry, prepared.known())
    if folder is not None:
        folder.begin()
        prepared.write(folder.path / "cohort.csv", experiment.cohort.split.seed)
    sources = with_tables(experiment, networks, prepared)
    resolved = resolved_experiment(experiment, registry, prepared, sources)
    _require_alike(resolved, prepared, shard)
    if folder is not None:
        folder.write_resolved(resolved)
    if shard.count > 1:
        own = shard.of(range(len(prepared.cohort.cases)))
        bank_features(resolved, prepared, sources, own, progress=progress)
        shard.total(0)  # the features of all are in the bank
    features = extract(resolved, prepared, sources, bank, progress=progress)
    features, adaptation = _adapted(
        TargetReader(resolved, registry, prepared, bank, progress), features
    )
    return LearningTask(resolved, registry, prepared, features, progress, adaptation, shard)


def sources_alone(task: LearningTask) -> range:
    """Return the numbers of the sources that are also trained alone, to compare; perhaps none."""
    number = len(task.features.sources)
    return range(number if task.experiment.evaluation.baselines and number > 1 else 0)


def fusion_alone(task: LearningTask) -> ComponentConfig:
    """Return the fusion of a source alone: that of maps, or none to speak of."""
    spec = task.registry.fusion(task.experiment.fusion.use)
    takes_maps = isinstance(spec, FeatureFusionSpec) and spec.accepts == "maps"
    return task.experiment.fusion if takes_maps else ComponentConfig(use="concat")


def any_learns(task: LearningTask, chosen: Sequence[int]) -> bool:
    """Return whether some of the sources learn, so that all processes train them together."""
    return any(task.experiment.sources[i].learns for i in chosen)


def part(shard: Shard) -> None:
    """Go on alone, each process for itself: Ignite and torch forget the others."""
    if shard.count > 1:
        idist.finalize()
        leave()


def _require_alike(experiment: Experiment, prepared: PreparedCohort, shard: Shard) -> None:
    """Pass if all processes learn the same from the same cases: later nothing would show it.

    Where images and the bank lie may differ between machines.
    """
    if shard.count == 1:
        return
    places: Any = {"bank": True, "cohort": {"path"}, "training": {"device"}}
    cases = [
        [c.case_id, c.role, c.label, list(c.findings), sorted(prepared.digests(c))]
        for c in prepared.cohort.cases
    ]
    plain = experiment.model_dump(mode="json", exclude=places)
    own = {"another configuration": digest_of(plain), "other cases": digest_of(cases)}
    first = shard.told(own)
    other = [name for name in own if own[name] != first[name]]
    if other:
        raise ConfigError(
            f"process {shard.rank}: found {' and '.join(other)} than the first "
            "process has, expected the same in all. Start all with the same command on the same "
            "images."
        )


def _adapted(
    reader: TargetReader, features: ExtractedFeatures
) -> tuple[ExtractedFeatures, Adaptation | None]:
    """Return the features as the configuration has them adapted to a target, and what was done."""
    config = reader.experiment.adaptation
    return (features, None) if config is None else adapt(reader, config, features)


def _networks(
    experiment: Experiment, registry: Registry, settled: SettledCohort, download: bool
) -> list[BuiltSource]:
    """Return the networks of the sources, and find what does not fit before images are read."""
    inputs = {name: found.config for name, found in settled.inputs.items()}
    networks = load_networks(experiment, registry, inputs, download=download)
    classes = settled.cohort.classes
    if len(networks) == len(experiment.sources):  # the width of a table is not known yet
        check_with_sources(experiment, registry, networks, len(classes))
    check_norms(experiment.adaptation, networks)
    for part in graph_only_parts(experiment, registry, networks):
        _log.warning(
            "%s: in the bundle only as a traced graph, which predicts but cannot be trained", part
        )
    return networks
