"""A configuration with nothing left open, and what was seen of the cohort to settle it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from medfuse.backbones.build import BuiltSource
from medfuse.backbones.table_source import TABULAR
from medfuse.config import (
    ComponentConfig,
    EarlyStoppingConfig,
    Experiment,
    InputConfig,
    SourceConfig,
)
from medfuse.contract import ComponentSpec, resolve_options
from medfuse.preprocessing import recipe_for
from medfuse.registry import Registry, parse_source
from medfuse.training.batches import batch_size_of
from medfuse.training.setup import ema_decay_of, stopping_of
from medfuse.workflows.extract import device_of, engine_of
from medfuse.workflows.prepare import PreparedCohort, PreparedInput

_OF_VOLUMES = {"orientation", "spacing", "bias_field"}


def resolved_experiment(
    experiment: Experiment,
    registry: Registry,
    prepared: PreparedCohort,
    sources: Sequence[BuiltSource],
) -> Experiment:
    """Return the experiment as it is carried out; resolved again, it stays as it is.

    Every ``auto`` is settled, options of sources, fusion and head have their defaults, and tabular
    columns what the cases that are learned from say of them. ``augmentation.recipe`` stays
    ``auto`` where inputs of several modalities have recipes of their own, and ``bank.engine`` where
    inputs have engines of their own.
    """
    inputs = {name: read.config for name, read in prepared.inputs.items()}
    fusion, head = registry.fusion(experiment.fusion.use), registry.head(experiment.head.use)
    training = {
        "device": device_of(experiment),
        "batch_size": _batch_size(experiment, prepared),
        **_stopping(experiment),
    }
    if experiment.training.loss == "auto":
        training["loss"] = head.loss if head.loss in ("focal", "coral") else "cross_entropy"
    augmentation = {"recipe": _recipe(experiment, inputs)}
    return experiment.model_copy(
        update={
            "inputs": inputs,
            "sources": [
                _source(config, registry, built)
                for config, built in zip(experiment.sources, sources, strict=True)
            ],
            "fusion": _component(fusion, experiment.fusion),
            "head": _component(head, experiment.head),
            "training": experiment.training.model_copy(update=training),
            "augmentation": experiment.augmentation.model_copy(update=augmentation),
            "bank": experiment.bank.model_copy(update={"engine": _engine(experiment, prepared)}),
        }
    )


def _batch_size(experiment: Experiment, prepared: PreparedCohort) -> int:
    """Return how many cases make a batch of one member, which learns without its own part."""
    roles = [case.role for case in prepared.cohort.cases]
    learns = _learns(experiment)
    members, count = experiment.training.members, roles.count("train")
    if members > 1 and not learns:
        count = (count + roles.count("validation")) * (members - 1) // members
    return batch_size_of(experiment.training.batch_size, count, learns=learns)


def _stopping(experiment: Experiment) -> dict[str, Any]:
    """Return how much of earlier epochs is kept, and when training ends."""
    learns, training = _learns(experiment), experiment.training
    alone = learns or training.members == 1
    found = stopping_of(training, learns=learns, alone=alone)
    return {
        "ema_decay": ema_decay_of(training.ema_decay, learns=learns, alone=alone),
        "early_stopping": None if found is None else EarlyStoppingConfig(**asdict(found)),
    }


def _learns(experiment: Experiment) -> bool:
    return any(source.learns for source in experiment.sources)


def _engine(experiment: Experiment, prepared: PreparedCohort) -> str:
    found = {engine_of(experiment, prepared, read) for read in prepared.pictures}
    return found.pop() if len(found) == 1 else experiment.bank.engine if found else "torch"


def input_facts(prepared: PreparedCohort) -> dict[str, dict[str, Any]]:
    """Return the settings of each input and what was seen to settle them, as plain data.

    There is no path, no case and no value of a cell in it: of the levels of a column, which may
    be names, only their number.
    """
    return {
        name: {"settings": _settings(read), "fingerprint": dict(read.fingerprint)}
        for name, read in prepared.inputs.items()
    }


def _settings(read: PreparedInput) -> dict[str, Any]:
    """Return the settings that have an effect on the input."""
    settings = read.config.model_dump(mode="json")
    if read.config.kind == TABULAR:
        columns = settings["columns"].items()
        return {"kind": TABULAR, "columns": {name: _without_levels(c) for name, c in columns}}
    idle = {"columns"}
    idle |= _OF_VOLUMES if read.config.kind == "image" else set()
    idle |= set() if read.config.intensity == "percentile" else {"percentiles"}
    return {key: value for key, value in settings.items() if key not in idle}


def _without_levels(column: Mapping[str, Any]) -> dict[str, Any]:
    return {k: len(v) if k == "levels" else v for k, v in column.items()}


def _source(config: SourceConfig, registry: Registry, built: BuiltSource) -> SourceConfig:
    if config.use == TABULAR:
        return config.model_copy(update={"levels": built.levels})
    reference = parse_source(config.use)
    _, spec = registry.backbone(reference)
    owner = f"source {config.use}"
    options = resolve_options(spec.options, config.options, owner, open_ended=spec.open_options)
    scale = config.first_lr_scale if config.train != "frozen" else config.lr_scale
    settled = {"options": options, "levels": built.levels, "lr_scale": scale}
    qualified = registry.qualified(reference)
    use = config.use if qualified == reference else str(qualified)
    return config.model_copy(update={"use": use, **settled})


def _component(spec: ComponentSpec, config: ComponentConfig) -> ComponentConfig:
    options = resolve_options(spec.options, config.options, config.use)
    return ComponentConfig(use=config.use, **options)


def _recipe(experiment: Experiment, inputs: Mapping[str, InputConfig]) -> str:
    given = experiment.augmentation.recipe
    pictures = (config for config in inputs.values() if config.kind != TABULAR)
    found = {recipe_for(given, c.modality) for c in pictures} or {recipe_for(given, "other")}
    return found.pop() if len(found) == 1 else given
