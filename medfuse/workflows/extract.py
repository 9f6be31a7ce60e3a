"""From cases and sources to features, each computed once and banked."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from medfuse.backbones.build import BuiltSource, SourceTarget, build_sources
from medfuse.config import Experiment
from medfuse.contract import FeatureFusionSpec
from medfuse.features.bank import FeatureBank
from medfuse.features.extract import extract_features
from medfuse.features.request import Augmentation, CaseImage, ExtractionRequest, Features
from medfuse.preprocessing import augment, augmentation_identity, recipe_for
from medfuse.registry import Registry
from medfuse.workflows.prepare import PreparedCohort

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExtractedFeatures:
    """What the sources see in all cases of a cohort.

    Attributes:
        sources: in the order of the configuration.
        values: per source ``(cases, 1 + views, F)`` or ``(..., T, F)``; ``None`` for a source
            that learns from the first epoch.
        views: ``(cases,)`` number of views of each case, the clean one included.
        known: distinct images whose features were all in the bank.
        computed: distinct images that a source had to look at now.
        forwards: batches that went through a network.
    """

    sources: tuple[BuiltSource, ...]
    values: tuple[np.ndarray | None, ...]
    views: np.ndarray
    known: int
    computed: int
    forwards: int


class ViewMaker:
    """Draws the augmented views of an experiment; the same image and view give the same pixels."""

    def __init__(self, experiment: Experiment, modality: str) -> None:
        config = experiment.augmentation
        self.recipe = recipe_for(config.recipe, modality)
        self.views = 0 if self.recipe == "none" else config.views
        self.seed = config.seed

    def __call__(self, pixels: torch.Tensor, digest: str, view: int) -> torch.Tensor:
        """Return view ``view`` of an image ``(C, *spatial)``; view 0 is the image itself."""
        return augment(pixels, self.recipe, self.seed, digest, view)

    def identity(self) -> dict[str, object]:
        """Return all that decides a view, for the bank's key."""
        return augmentation_identity(self.recipe, self.seed)


def load_sources(
    experiment: Experiment, registry: Registry, prepared: PreparedCohort, *, download: bool = False
) -> tuple[BuiltSource, ...]:
    """Return every source of an experiment, its weights loaded and checked.

    Raises:
        SourceError: a source is unknown, or its weights are absent or do not fit.
    """
    fusion = registry.fusion(experiment.fusion.use)
    target = SourceTarget(
        channels=prepared.input.channels,
        size=prepared.input.shape,
        tokens=isinstance(fusion, FeatureFusionSpec) and fusion.accepts == "maps",
        seed=experiment.seed,
        download=download,
    )
    built = build_sources(experiment.sources, registry, [target] * len(experiment.sources))
    for source in built:
        _log.info("source %s: %d features", source.label, source.feature_dim)
    return tuple(built)


def extract(
    experiment: Experiment,
    prepared: PreparedCohort,
    sources: Sequence[BuiltSource],
    bank: FeatureBank,
    *,
    progress: bool = True,
) -> ExtractedFeatures:
    """Return the features of all cases; training cases also have augmented views.

    Sources that learn from the first epoch (``train`` other than ``frozen``) have none.

    Raises:
        BankError: the bank cannot be used.
        SourceError: a source gives values that are not finite.
    """
    maker = ViewMaker(experiment, prepared.input.modality)
    frozen = [config.train == "frozen" for config in experiment.sources]
    learned = ("train", "validation") if experiment.training.members > 1 else ("train",)
    cases = [
        CaseImage(
            case.case_id, prepared.reference(case), maker.views if case.role in learned else 0
        )
        for case in prepared.cohort.cases
    ]
    views = np.array([case.views for case in cases], dtype=np.int64)
    if not any(frozen):
        _log.info("every source learns from the images: nothing to bank")
        return ExtractedFeatures(tuple(sources), (None,) * len(frozen), 1 + views, 0, 0, 0)
    request = ExtractionRequest(
        sources=[source for source, is_frozen in zip(sources, frozen, strict=True) if is_frozen],
        cases=cases,
        images=prepared.images,
        bank=bank,
        augmentation=Augmentation(maker, maker.identity()) if maker.views else None,
        device=device_of(experiment),
    )
    found: Features = extract_features(request, progress)
    values = iter(found.values)
    return ExtractedFeatures(
        sources=tuple(sources),
        values=tuple(next(values) if is_frozen else None for is_frozen in frozen),
        views=1 + views,
        known=found.known,
        computed=found.computed,
        forwards=found.forwards,
    )


def device_of(experiment: Experiment) -> str:
    """Return the device that an experiment computes on."""
    if experiment.training.device != "auto":
        return experiment.training.device
    return "cuda" if torch.cuda.is_available() else "cpu"
