"""Features that are standardized once before a training, not again in every batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from medfuse.fusion.opinion_pool import OpinionPool
from medfuse.training.data import TrainingData
from medfuse.training.learner import Learner


@contextmanager
def standardized_once(
    learner: Learner, parts: tuple[TrainingData, TrainingData | None]
) -> Iterator[tuple[TrainingData, TrainingData | None]]:
    """Hand out the cases with standardized features; the classifier leaves them as they are.

    A batch of them is to the last bit what the classifier makes of a batch of the features
    themselves. After the block the classifier standardizes again.

    Args:
        learner: its standardization is fitted; every source has features.
        parts: training cases, and validation cases or ``None``.
    """
    classifier: Any = learner.classifier
    owner: Any = classifier.fused if isinstance(classifier, OpinionPool) else classifier
    own: Any = owner.standardize
    done = [None if part is None else _standardized(part, own) for part in parts]
    owner.standardize = nn.ModuleList(nn.Identity() for _ in own)
    try:
        yield cast("TrainingData", done[0]), done[1]
    finally:
        owner.standardize = own


@torch.no_grad()
def _standardized(data: TrainingData, scales: nn.ModuleList) -> TrainingData:
    pairs = zip(scales, data.features, strict=True)
    features = tuple(scale(cast("Tensor", x).float()) for scale, x in pairs)
    return replace(data, features=features)
