"""Apply a trained classifier to cases in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from medfuse.processes import Shard
from medfuse.training.batches import Batch, CaseBatches
from medfuse.training.data import TrainingData
from medfuse.training.learner import Learner

_BATCH = 256


def predict_logits(
    model: nn.Module, data: TrainingData, batch_size: int = _BATCH, shard: Shard | None = None
) -> np.ndarray:
    """Return the uncalibrated logits ``(N, K)`` of the clean views, as float32.

    Args:
        model: `FeatureClassifier`, `DecisionClassifier`, or `FusedNetwork` where a source has no
            banked features. Its temperature is not applied.
        data: the cases.
        batch_size: cases computed at once.
        shard: this process among those that share the images; all get the whole result.
    """
    return torch.cat(_over_batches(model, data, batch_size, shard, _logits)).numpy()


def predict_shares(
    model: nn.Module, data: TrainingData, batch_size: int = _BATCH, shard: Shard | None = None
) -> np.ndarray | None:
    """Return how much each source counts for each case ``(N, S)``, or ``None``."""
    shares = torch.cat(_over_batches(model, data, batch_size, shard, _shares)).numpy()
    return shares if shares.size else None


def predict_slice_weights(
    model: nn.Module, data: TrainingData, batch_size: int = _BATCH, shard: Shard | None = None
) -> list[np.ndarray | None]:
    """Return how much each slice counts, per source ``(N, D)``; ``None`` where none is sliced.

    Rows of cases without the source's input are NaN.
    """
    each = _over_batches(model, data, batch_size, shard, _slice_weights)
    return [
        None if weights[0] is None else torch.cat(weights).numpy()
        for weights in zip(*each, strict=True)
    ]


def predict_features(
    model: nn.Module, data: TrainingData, batch_size: int = _BATCH, shard: Shard | None = None
) -> tuple[np.ndarray, ...]:
    """Return what ``network.features`` gives for the clean views, one ``(N, F)`` per source.

    Rows of cases without the source's input are NaN.
    """
    each = _over_batches(model, data, batch_size, shard, _features)
    return tuple(torch.cat(parts).numpy() for parts in zip(*each, strict=True))


Result = TypeVar("Result")


def _logits(learner: Learner, batch: Batch) -> Tensor:
    logits: Tensor = learner(batch)
    return logits.float().cpu()


def _shares(learner: Learner, batch: Batch) -> Tensor:
    shares = learner.classifier.shares(learner.features(batch), batch.mask)
    return torch.zeros(0) if shares is None else shares.float().cpu()


def _slice_weights(learner: Learner, batch: Batch) -> list[Tensor | None]:
    found = learner.classifier.slice_weights(learner.features(batch))
    if batch.mask is not None:
        found = [
            None if x is None else torch.where(batch.mask[:, i, None] > 0, x, torch.nan)
            for i, x in enumerate(found)
        ]
    return [None if x is None else x.float().cpu() for x in found]


def _features(learner: Learner, batch: Batch) -> list[Tensor]:
    standardized = learner.classifier.standardized(learner.features(batch))
    found = [x.mean(1) if x.ndim == 3 else x for x in standardized]
    if batch.mask is not None:
        found = [torch.where(batch.mask[:, i, None] > 0, x, torch.nan) for i, x in enumerate(found)]
    return [x.float().cpu() for x in found]


@torch.no_grad()
def _over_batches(
    model: nn.Module,
    data: TrainingData,
    batch_size: int,
    shard: Shard | None,
    compute: Callable[[Learner, Batch], Result],
) -> list[Result]:
    live = frozenset(i for i, x in enumerate(data.features) if x is None)
    learner = Learner(model, live, data.activations)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    was_training = model.training
    model.eval()
    learner.eval()
    batches = CaseBatches(data, int(data.labels.max()) + 1, batch_size, shard)
    found = [compute(learner, batch.to(device)) for batch in batches]
    model.train(was_training)
    return found
