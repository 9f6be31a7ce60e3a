"""Apply a trained classifier to cases in memory."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from medfuse.training.batches import CaseBatches
from medfuse.training.data import TrainingData
from medfuse.training.learner import Learner

_BATCH = 256


def predict_logits(model: nn.Module, data: TrainingData, batch_size: int = _BATCH) -> np.ndarray:
    """Return the uncalibrated logits ``(N, K)`` of the clean views, as float32.

    Args:
        model: `FeatureClassifier`, `DecisionClassifier`, or `FusedNetwork` where a source has no
            banked features. Its temperature is not applied.
        data: the cases.
        batch_size: cases computed at once.
    """
    return _over_batches(model, data, batch_size, "logits")


def predict_shares(
    model: nn.Module, data: TrainingData, batch_size: int = _BATCH
) -> np.ndarray | None:
    """Return how much each source counts for each case ``(N, S)``, or ``None``."""
    shares = _over_batches(model, data, batch_size, "shares")
    return shares if shares.size else None


@torch.no_grad()
def _over_batches(model: nn.Module, data: TrainingData, batch_size: int, what: str) -> np.ndarray:
    live = frozenset(i for i, x in enumerate(data.features) if x is None)
    learner = Learner(model, live)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    was_training = model.training
    model.eval()
    learner.eval()
    parts: list[Tensor] = []
    for batch in CaseBatches(data, int(data.labels.max()) + 1, batch_size):
        moved = batch.to(device)
        if what == "logits":
            parts.append(learner(moved).float().cpu())
            continue
        shares = learner.classifier.shares(learner.features(moved), moved.mask)
        parts.append(torch.zeros(0) if shares is None else shares.float().cpu())
    model.train(was_training)
    return torch.cat(parts).numpy()
