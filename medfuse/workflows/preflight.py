"""What can be known to fail before any image is read: names, options, weights, classes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from medfuse.backbones.build import BuiltSource, reference_of, trainable_paths
from medfuse.backbones.locate import locate_weights
from medfuse.backbones.table_source import TABULAR, build_table_source
from medfuse.backbones.weights_file import require_file
from medfuse.bundle.names import check_classes, check_input_names
from medfuse.config import ComponentConfig, Experiment, SourceConfig
from medfuse.contract import ComponentSpec, DecisionFusionSpec, HeadSpec, resolve_options
from medfuse.data import Cohort
from medfuse.data.split import check_divisible
from medfuse.device import find_device
from medfuse.errors import ConfigError, SourceError
from medfuse.registry import (
    RANDOM_WEIGHTS,
    Registry,
    load_factory,
    select_weights,
)
from medfuse.suggest import did_you_mean
from medfuse.training.calibration import FEWEST_PATIENTS
from medfuse.training.classifier import SourceWidth, build_classifier, check_head, check_training
from medfuse.training.loss import check_class_weights
from medfuse.workflows.adaptation import check_adaptation
from medfuse.workflows.measure import load_metrics

_LOG = logging.getLogger(__name__)
_OWN = "medfuse."
_WIDTH, _CLASSES = 64, 2


def check_experiment(experiment: Experiment, registry: Registry, *, download: bool = False) -> None:
    """Refuse what the configuration and the installed plugins alone show to be wrong.

    Args:
        experiment: as configured.
        registry: knows all components.
        download: weights that are not on this machine may be fetched later.

    Raises:
        MedfuseError: an unknown or broken source, fusion, head, metric or device, an option that
            cannot be, or weights that are absent.
    """
    find_device(experiment.training.device, "training.device")
    if len(experiment.inputs) > 1:
        check_input_names(list(experiment.inputs), experiment.name)
    for number, config in enumerate(experiment.sources):
        _check_source(config, experiment, registry, download)
        _check_unfreezing(number, config, experiment.training.epochs)
    fusion, head = registry.fusion(experiment.fusion.use), registry.head(experiment.head.use)
    widths = [_WIDTH] * len(experiment.sources)
    if isinstance(fusion, DecisionFusionSpec):
        _try_component("fusion", fusion, experiment.fusion, [len(widths), _CLASSES])
    else:
        _try_component("fusion", fusion, experiment.fusion, [widths])
    _try_component("head", head, experiment.head, [_WIDTH, _CLASSES])
    check_training(head, experiment.training)
    check_adaptation(experiment)
    load_metrics(registry, experiment.evaluation)


def check_with_cohort(experiment: Experiment, registry: Registry, cohort: Cohort) -> None:
    """Refuse what does not fit the cases and classes as they are listed.

    Raises:
        CohortError: classes or cases that cannot be divided.
        BundleError: a class name that no bundle can hold.
        ConfigError: a head or weights of classes for another number of them, a head of classes
            for several labels per case or the other way round, or grades whose order nobody told.
    """
    check_divisible(cohort, experiment.cohort.split)
    check_classes(cohort.classes)
    _check_codes(experiment, cohort)
    head = registry.head(experiment.head.use)
    check_head(head, len(cohort.classes))
    _check_task(head, cohort)
    _check_abstain(experiment, cohort)
    _check_calibrate(experiment, cohort)
    check_class_weights(experiment.training, len(cohort.classes))
    if head.task == "ordinal":
        _check_order(experiment, cohort.classes)


def check_with_sources(
    experiment: Experiment, registry: Registry, sources: Sequence[BuiltSource], classes: int
) -> None:
    """Refuse a fusion or head that cannot be built for what the sources give.

    Raises:
        ConfigError: naming its options, and the widths of the features.
    """
    widths = [SourceWidth(source.feature_dim, source.slices) for source in sources]
    build_classifier(experiment.fusion, experiment.head, registry, widths, classes)


def _check_codes(experiment: Experiment, cohort: Cohort) -> None:
    """Refuse a code of a class that there is not."""
    for name in experiment.bundle.codes:
        if name not in cohort.classes:
            raise ConfigError(
                f"bundle.codes: {name!r} is no class.{did_you_mean(name, cohort.classes)} "
                f"Classes: {', '.join(cohort.classes)}."
            )


def _check_abstain(experiment: Experiment, cohort: Cohort) -> None:
    """Refuse reasons to abstain that several labels per case cannot give."""
    abstain = experiment.evaluation.abstain
    if cohort.multilabel and (abstain.confidence or abstain.largest_set):
        raise ConfigError(
            "evaluation.abstain: confidence and largest_set are of classes that exclude each "
            "other, but cases have several labels. Leave them out; out_of_distribution holds."
        )


def _check_calibrate(experiment: Experiment, cohort: Cohort) -> None:
    """Refuse maps of classes that exclude each other for several labels per case."""
    method = experiment.evaluation.calibrate
    if cohort.multilabel and method in FEWEST_PATIENTS:
        raise ConfigError(
            f"evaluation.calibrate: {method} is of classes that exclude each other, but cases have "
            "several labels, each with too few cases for a map of its own. Use temperature."
        )


def _check_task(head: HeadSpec, cohort: Cohort) -> None:
    """Refuse a head of classes where cases have several labels, and the other way round."""
    if cohort.multilabel and head.task != "multilabel":
        raise ConfigError(
            f"head {head.name!r} gives a case one of {len(cohort.classes)} classes, but the cases "
            f"have several labels ({', '.join(cohort.classes)}). Use head: multilabel."
        )
    if head.task == "multilabel" and not cohort.multilabel:
        raise ConfigError(
            f"head {head.name!r} is for several labels per case, but each case has one class. List "
            "the columns of the labels in cohort.label, or use another head, such as mlp."
        )


def _check_order(experiment: Experiment, classes: Sequence[str]) -> None:
    """Refuse grades in an order that only their names tell; say the order that is taken."""
    numbered = all(name.isdecimal() for name in classes)
    ascending = numbered and sorted(classes, key=float) == list(classes)
    if experiment.cohort.classes is None and not ascending:
        raise ConfigError(
            f"head {experiment.head.use!r} grades, but nothing tells the order of the classes "
            f"({', '.join(classes)}). Name them in cohort.classes, the lowest grade first."
        )
    _LOG.info("grades, the lowest first: %s", " < ".join(classes))


def _check_source(
    config: SourceConfig, experiment: Experiment, registry: Registry, download: bool
) -> None:
    if experiment.inputs[config.input].kind == TABULAR:
        build_table_source(config, width=1)
        return
    if config.use == TABULAR:
        raise SourceError(
            f"source {TABULAR}: reads the columns of a table, but its input {config.input!r} is "
            f"an image. Bind it to an input of kind: {TABULAR}, or name a network."
        )
    reference = reference_of(config)
    _, spec = registry.backbone(reference)
    owner = f"source {config.use}"
    resolve_options(spec.options, config.options, owner, open_ended=spec.open_options)
    if config.cut is None:  # a cut leaves fewer stages, and may be any module
        trainable_paths(spec, config.train)
        for step in config.unfreeze:
            trainable_paths(spec, step.train)
    if reference.weights != RANDOM_WEIGHTS and (reference.file or not download):
        require_file(locate_weights(reference, select_weights(spec, reference)))


def _check_unfreezing(number: int, config: SourceConfig, epochs: int) -> None:
    for place, step in enumerate(config.unfreeze):
        if step.after >= epochs:
            where = f"sources.{number}.unfreeze.{place}.after"
            raise ConfigError(
                f"{where} is {step.after}, but training.epochs is {epochs}. "
                "Set it lower, or train longer."
            )


def _try_component(
    kind: str, spec: ComponentSpec, config: ComponentConfig, arguments: Sequence[Any]
) -> None:
    """Resolve the options and import the factory; build what is known to take any width."""
    options = resolve_options(spec.options, config.options, f"{kind} {config.use!r}")
    factory = load_factory(spec)
    if spec.factory.startswith(_OWN):
        _try_factory(factory, arguments, options, f"{kind} {config.use!r}")


def _try_factory(
    factory: Callable[..., Any], arguments: Sequence[Any], options: Mapping[str, Any], owner: str
) -> None:
    try:
        with torch.random.fork_rng(devices=[]):
            factory(*arguments, **options)
    except (ValueError, TypeError) as error:
        text = " ".join(str(error).split())[:200]
        shown = ", ".join(f"{name}: {value}" for name, value in options.items())
        raise ConfigError(f"{owner} with {shown}: {text}. Change these options.") from error
