"""From features and labels to a trained, calibrated classifier and its outputs for every case."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from torch import nn

from medfuse.backbones.build import BuiltSource, learning_paths
from medfuse.backbones.low_rank_adapter import adapted, merged
from medfuse.backbones.slices import SlicedSource
from medfuse.backbones.source import Source
from medfuse.backbones.stages import stages_above, trainable_paths
from medfuse.config import ComponentConfig, Experiment
from medfuse.contract import BackboneSpec, HeadSpec
from medfuse.data import Role
from medfuse.errors import CohortError
from medfuse.evaluation import LabelThreshold
from medfuse.model import FusedNetwork
from medfuse.processes import Shard
from medfuse.registry import Registry
from medfuse.training import (
    BuiltClassifier,
    Run,
    SourceRates,
    TrainingData,
    TrainingResult,
    Unfreeze,
    build_classifier,
    fit,
    predict_features,
    predict_logits,
    predict_shares,
    predict_slice_weights,
)
from medfuse.training.calibration import Calibration
from medfuse.training.classifier import SourceWidth, check_training
from medfuse.training.members import fit_members, most_members, too_few_text
from medfuse.training.source_heads import with_source_heads
from medfuse.workflows.adapt import Adaptation
from medfuse.workflows.answers import labels_of
from medfuse.workflows.calibrating import fit_calibration, labeled_logits, probabilities_of
from medfuse.workflows.extract import ExtractedFeatures
from medfuse.workflows.input_views import InputViews
from medfuse.workflows.measure import thresholds_of
from medfuse.workflows.prepare import PreparedCohort

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What a model says of labeled cases that it was not trained on.

    Attributes:
        rows: positions of these cases in the cohort.
        logits: ``(n, K)`` of them, uncalibrated; of an ensemble without a calibration part, those
            of the one member that was trained without the case.
        learned: positions of the cases that the model, or a member, was trained on.
        described: which cases they are, in words.
    """

    rows: np.ndarray
    logits: np.ndarray
    learned: np.ndarray
    described: str


@dataclass(frozen=True)
class LearnedModel:
    """A trained model and what it says of every case of the cohort.

    Attributes:
        classifier: how it was built, and how it is rebuilt in a bundle.
        network: the whole network, from the canonical image to calibrated logits.
        members: classifiers that are averaged.
        results: history of each member's training.
        held_out: the cases that it is calibrated on; perhaps none.
        calibration: the last part of the network.
        features: per source ``(cases, F)``, standardized, NaN where a case has not its input; only
            of the fused model.
        probabilities: ``(cases, K)``, calibrated, float64.
        uncalibrated: ``(cases, K)``, before it.
        shares: ``(cases, S)`` how much each source counted, or ``None``.
        slice_weights: per source ``(cases, D)`` how much each slice counted, or ``None``.
        thresholds: of several labels per case, from which probability on each holds.
    """

    classifier: BuiltClassifier
    members: int
    network: FusedNetwork
    results: tuple[TrainingResult, ...]
    held_out: HeldOut
    calibration: Calibration
    features: tuple[np.ndarray, ...]
    probabilities: np.ndarray
    uncalibrated: np.ndarray
    shares: np.ndarray | None
    slice_weights: tuple[np.ndarray | None, ...]
    thresholds: tuple[LabelThreshold, ...] = ()

    @property
    def calibrated_on(self) -> str:
        """The cases that it is calibrated on, in words."""
        return self.held_out.described


@dataclass(frozen=True)
class LearningTask:
    """All that training reads.

    Attributes:
        experiment: the configuration.
        registry: knows fusions, heads and the plugins' handlers.
        prepared: cases and labels.
        features: of all sources.
        progress: tell on stderr how far it is, see `medfuse.progress`.
        adaptation: what made ``features`` look like those of a target; ``None`` where nothing did.
        shard: this process among those that train the sources that learn together.
    """

    experiment: Experiment
    registry: Registry
    prepared: PreparedCohort
    features: ExtractedFeatures
    progress: bool = True
    adaptation: Adaptation | None = None
    shard: Shard = field(default_factory=Shard)


def learn(
    task: LearningTask,
    fusion: ComponentConfig,
    chosen: Sequence[int],
    folder: Path | None,
    role: Literal["fused", "single"] = "fused",
) -> LearnedModel:
    """Return a classifier of the ``chosen`` sources, trained on the cohort's training part.

    Args:
        task: what to learn from.
        fusion: its name and options.
        chosen: indices of the sources.
        folder: checkpoints and TensorBoard events; ``None`` keeps none.
        role: ``single`` for a source alone, beside the fused model.

    Raises:
        TrainingError: training cannot start, continue or converge.
    """
    data = _all_cases(task, chosen)
    members = member_count(task, data)
    built = _build(task, fusion, chosen, members)
    modules = [_own_module(task, index) for index in chosen]
    rates = _rates(task, chosen, modules)
    run = replace(_run(task, chosen, built, folder), role=role, rates=rates)
    if members > 1:
        fitted = _fit_ensemble(task, built, data, run, members)
    else:
        untrained = FusedNetwork(modules, built.fresh(run.seed), data.inputs)
        fitted = _fit_one(task, untrained, data, run)
    network = FusedNetwork(modules, fitted.classifier, data.inputs).eval()
    fitted.calibration.install(network)
    final = _with_live_sources(data, run)
    learns = any(x is None for x in final.features)
    model: nn.Module = network if learns else network.classifier
    logits = predict_logits(model, final, shard=task.shard).astype(np.float64)
    return LearnedModel(
        classifier=built,
        members=members,
        network=network,
        results=fitted.results,
        held_out=fitted.held_out,
        features=predict_features(model, final, shard=task.shard) if role == "fused" else (),
        calibration=fitted.calibration,
        probabilities=probabilities_of(fitted.calibration(logits), built.head),
        uncalibrated=probabilities_of(logits, built.head),
        shares=predict_shares(model, final, shard=task.shard),
        slice_weights=tuple(predict_slice_weights(model, final, shard=task.shard)),
        thresholds=_thresholds(task, built.head, fitted),
    )


def _build(
    task: LearningTask, fusion: ComponentConfig, chosen: Sequence[int], members: int
) -> BuiltClassifier:
    """Return the classifier; opinions of sources are weighed by the members' held-out cases."""
    experiment, classes = task.experiment, task.prepared.cohort.classes
    sources = [task.features.sources[i] for i in chosen]
    widths = [SourceWidth(source.feature_dim, source.slices) for source in sources]
    built = build_classifier(fusion, experiment.head, task.registry, widths, len(classes))
    check_training(built.head, experiment.training)
    if members > 1 and experiment.training.source_heads:
        return with_source_heads(built, len(classes))
    return built


@dataclass(frozen=True)
class _Fitted:
    classifier: nn.Module
    results: tuple[TrainingResult, ...]
    calibration: Calibration
    held_out: HeldOut


def member_count(task: LearningTask, data: TrainingData) -> int:
    """Return how many members the ensemble gets: fewer for tiny cohorts, 1 if a source learns."""
    wanted = task.experiment.training.members
    sources = task.experiment.sources
    if any(source.learns for source in sources):
        return 1
    used = data.select(_rows(task, data, "train", "validation"))
    possible = most_members(used)
    if wanted > possible:
        _log.warning(
            "training.members is %d, but %s; using %d", wanted, too_few_text(used), possible
        )
    return min(wanted, possible)


def _fit_ensemble(
    task: LearningTask, built: BuiltClassifier, data: TrainingData, run: Run, members: int
) -> _Fitted:
    rows = _rows(task, data, "train", "validation")
    modules = [built.fresh(run.seed + number) for number in range(members)]
    ensemble = fit_members(modules, data.select(rows), task.experiment.training, run)
    calibration = _rows(task, data, "calibration")
    if len(calibration):
        logits = predict_logits(ensemble.classifier, data.select(calibration))
        held_out = HeldOut(calibration, logits, rows, "calibration part")
    else:
        held_out = HeldOut(rows, ensemble.held_out_logits, rows, "held-out folds")
    return _Fitted(ensemble.classifier, ensemble.results, _calibration(task, held_out), held_out)


def _fit_one(task: LearningTask, network: FusedNetwork, data: TrainingData, run: Run) -> _Fitted:
    validation, calibration = _rows(task, data, "validation"), _rows(task, data, "calibration")
    learns = bool(run.learning_sources(data.features))
    learned = _rows(task, data, "train")
    result = fit(
        network if learns else network.classifier,
        data.select(learned),
        data.select(validation) if len(validation) else None,
        task.experiment.training,
        run,
    )
    merged(network)
    rows = calibration if len(calibration) else validation
    used = "calibration part" if len(calibration) else "validation part"
    if not len(rows):
        logits = np.empty((0, len(run.classes)))
        held_out = HeldOut(rows, logits, learned, "nothing")
        return _Fitted(network.classifier, (result,), Calibration(), held_out)
    final = _with_live_sources(data, run).select(rows)
    live = any(x is None for x in final.features)
    logits = predict_logits(network if live else network.classifier, final, shard=task.shard)
    held_out = HeldOut(rows, logits, learned, used)
    return _Fitted(network.classifier, (result,), _calibration(task, held_out), held_out)


def _all_cases(task: LearningTask, chosen: Sequence[int]) -> TrainingData:
    """Return every case of the cohort as training data; an unknown label counts as class 0."""
    prepared = task.prepared
    cases = prepared.cohort.cases
    views = InputViews(task.experiment, prepared, [task.features.inputs[i] for i in chosen])
    return TrainingData.of(
        [task.features.values[i] for i in chosen],
        labels_of(prepared.cohort),
        task.features.views,
        [case.patient_id for case in cases],
        presence=views.presence(),
        load_view=views,
        activations={
            position: task.features.activations[i]
            for position, i in enumerate(chosen)
            if i in task.features.activations
        },
    )


def _rows(task: LearningTask, data: TrainingData, *roles: Role) -> np.ndarray:
    """Return the positions of the labeled cases of some parts that a source can see."""
    cases = task.prepared.cohort.cases
    seen = np.ones(len(cases)) if data.mask is None else data.mask.amax(1).numpy()
    rows = [i for i, case in enumerate(cases) if case.role in roles and case.labeled and seen[i]]
    if "train" in roles and not rows:
        raise CohortError("the training part has no labeled case.")
    return np.array(rows, dtype=np.int64)


def _run(
    task: LearningTask, chosen: Sequence[int], built: BuiltClassifier, folder: Path | None
) -> Run:
    experiment = task.experiment
    return Run(
        folder=folder,
        configuration=experiment.model_dump(mode="json", exclude={"bank"}),
        classes=task.prepared.cohort.classes,
        seed=experiment.seed,
        unfreeze=tuple(_unfreezing(task, chosen)),
        attach_handlers=task.registry.attach_handlers,
        progress=task.progress,
        head_loss=built.head.loss,
        hides_inputs=built.fusion.handles_missing,
        sources=tuple(task.features.sources[i].label for i in chosen),
        shard=task.shard,
    )


def _unfreezing(task: LearningTask, chosen: Sequence[int]) -> list[Unfreeze]:
    changes = []
    for position, index in enumerate(chosen):
        for step in task.experiment.sources[index].unfreeze:
            paths = trainable_paths(_spec(task.features.sources[index]), step.train)
            changes.append(Unfreeze(position, step.after, paths, step.lr_scale))
    return changes


def _rates(
    task: LearningTask, chosen: Sequence[int], modules: Sequence[nn.Module]
) -> dict[int, SourceRates]:
    rates = {}
    for position, (index, module) in enumerate(zip(chosen, modules, strict=True)):
        config, source = task.experiment.sources[index], task.features.sources[index]
        if config.learns:
            inner = module.source if isinstance(module, SlicedSource) else module
            above = stages_above(cast("Source", inner).backbone, _spec(source))
            rates[position] = SourceRates(config.first_lr_scale, config.lr_decay, above)
    return rates


def _own_module(task: LearningTask, index: int) -> nn.Module:
    """Return a source's module; a copy of its own if it will learn."""
    config, source = task.experiment.sources[index], task.features.sources[index]
    if not config.learns:
        return source.module
    module: Any = copy.deepcopy(source.module)
    if config.adapter is not None:
        paths = learning_paths(_spec(source), config)
        module = adapted(module, config.adapter, paths, task.experiment.seed + index)
    if config.train != "frozen":
        module.set_trainable(trainable_paths(_spec(source), config.train))
    return cast("nn.Module", module)


def _spec(source: BuiltSource) -> BackboneSpec:
    assert source.spec is not None, "build_table_source refuses to train"
    return source.spec


def _with_live_sources(data: TrainingData, run: Run) -> TrainingData:
    """Return the data without banked features of sources that changed while training."""
    changed = {change.source for change in run.unfreeze}
    values = tuple(None if i in changed else x for i, x in enumerate(data.features))
    return replace(data, features=values)


def _thresholds(task: LearningTask, head: HeadSpec, fitted: _Fitted) -> tuple[LabelThreshold, ...]:
    """Return from which probability on each of several labels holds; nothing for classes."""
    if not task.prepared.cohort.multilabel:
        return ()
    held_out = fitted.held_out
    chances = probabilities_of(fitted.calibration(held_out.logits), head)
    answers = labels_of(task.prepared.cohort)[held_out.rows]
    return thresholds_of(task.experiment.evaluation, answers, chances, held_out.described)


def _calibration(task: LearningTask, held_out: HeldOut) -> Calibration:
    """Return what fits the labels of held-out cases, or their answers."""
    cases = labeled_logits(task.prepared.cohort, held_out.rows, held_out.logits)
    return fit_calibration(cases, task.experiment.evaluation.calibrate)
