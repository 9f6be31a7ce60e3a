"""What features are like without a label: collapsed ones tell nothing apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medfuse.errors import TrainingError
from medfuse.pretraining.pool import Pool

_BATCH = 64
_NEIGHBORS = 20


def sample_of(pool: Pool, most: int = 512) -> list[int]:
    """Return places of images spread evenly over the pool."""
    places = np.linspace(0, len(pool) - 1, min(most, len(pool)))
    return [round(place) for place in places]


@torch.no_grad()
def features_of(network: nn.Module, pool: Pool, rows: Sequence[int]) -> NDArray[np.float64]:
    """Return features ``(N, F)`` of whole images of the pool, in eval mode.

    Raises:
        TrainingError: a feature is not finite.
    """
    device = next(network.parameters()).device
    network.eval()
    found = []
    for start in range(0, len(rows), _BATCH):
        batch = pool.images(rows[start : start + _BATCH])
        found.append(network(batch.to(device)).double().cpu())
    values: Tensor = torch.cat(found)
    if not torch.isfinite(values).all():
        raise TrainingError(
            "Features of the images are not finite. Lower lr, or begin with other weights."
        )
    return values.numpy()


def spread(features: NDArray[np.float64]) -> dict[str, float]:
    """Return measures of collapse of features ``(N, F)``.

    ``feature_std`` is the standard deviation of unit vectors, times the root of F: near 1 where
    they point everywhere, 0 where all are one (Chen and He 2021, arXiv:2011.10566, figure 2).
    ``effective_rank`` is the exponential of the entropy of the singular values, the number of
    directions in use: RankMe (Garrido et al. 2023, arXiv:2210.02885), of centered features.
    """
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    values = np.linalg.svd(features - features.mean(0), compute_uv=False)
    shares = values / max(values.sum(), 1e-12)
    entropy = -np.sum(shares * np.log(shares + 1e-12))
    return {
        "feature_std": float(unit.std(0).mean() * np.sqrt(features.shape[1])),
        "effective_rank": float(np.exp(entropy)),
    }


def neighbor_accuracy(features: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return how often the nearest others of an image, by cosine, have its label.

    Weighted vote of 20 neighbors, each image left out of its own (Wu et al. 2018,
    arXiv:1805.01978, with the weight ``1 + cosine``).
    """
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    likeness = unit @ unit.T
    np.fill_diagonal(likeness, -np.inf)
    count = min(_NEIGHBORS, len(labels) - 1)
    nearest = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
    votes = np.zeros((len(labels), int(labels.max()) + 1))
    weights = 1 + np.take_along_axis(likeness, nearest, axis=1)
    np.add.at(votes, (np.arange(len(labels))[:, None], labels[nearest]), weights)
    return float((votes.argmax(1) == labels).mean())
