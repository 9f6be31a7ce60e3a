"""Fit rising maps of the log-odds of classes on held-out cases."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import logit, logsumexp

from medfuse.calibration.isotonic import IsotonicCalibration

_APART = 0.1  # log-odds between knots: no piece so steep that it enlarges rounding


def fit_isotonic(logits: np.ndarray, labels: np.ndarray) -> IsotonicCalibration:
    """Return rising maps, one for each class against the rest.

    Blocks of cases with one frequency are those of scikit-learn's isotonic regression. Each
    frequency holds at the mean log-odds of its block, with straight lines in log-odds between
    (centered isotonic regression; Oron and Flournoy, 2017, arXiv:1701.05964, there between
    probabilities): steps would give cases at either side of one very different answers. No
    frequency is 0 or 1: they are kept within 1 / (negatives + 2) and 1 - 1 / (positives + 2)
    (Platt, 1999, "Probabilistic outputs for support vector machines").

    Args:
        logits: ``(N, K)`` of cases that were not trained on.
        labels: ``(N,)`` class indices.
    """
    odds = one_against_rest(np.asarray(logits, dtype=np.float64))
    classes = odds.shape[1]
    maps = [_knots(odds[:, k], labels == k) for k in range(classes)]
    most = max(2, *(len(at) for at, _ in maps))
    module = IsotonicCalibration(classes, most)
    for k, (at, value) in enumerate(maps):
        module.at[k] = torch.from_numpy(_padded(at, most))
        module.value[k] = torch.from_numpy(_padded(value, most))
    return module


def one_against_rest(logits: np.ndarray) -> np.ndarray:
    """Return the log-odds of each class, ``(N, K)``."""
    classes = logits.shape[1]
    others = [np.delete(logits, k, axis=1) for k in range(classes)]
    return np.asarray(logits - np.stack([logsumexp(rest, axis=1) for rest in others], axis=1))


def _knots(odds: np.ndarray, held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where the knots of a map lie, rising, and its log-odds there."""
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(out_of_bounds="clip").fit(odds, held).predict(odds)
    levels, block = np.unique(fitted.round(12), return_inverse=True)
    size = np.bincount(block)
    middle = np.bincount(block, odds) / size
    middle, levels = _apart(middle, levels, size)
    positives = int(held.sum())
    low, high = 1 / (len(held) - positives + 2), 1 - 1 / (positives + 2)
    return middle, logit(np.clip(levels, low, high))


def _apart(
    middle: np.ndarray, levels: np.ndarray, size: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the blocks, those too near to the one before made one with it."""
    sums = np.stack([middle, levels, np.ones_like(middle)], axis=1) * size[:, None]
    found: list[np.ndarray] = []
    for block in sums:
        near = found and block[0] / block[2] - found[-1][0] / found[-1][2] < _APART
        found.append(block + found.pop() if near else block)
    blocks = np.array(found)
    return blocks[:, 0] / blocks[:, 2], blocks[:, 1] / blocks[:, 2]


def _padded(values: np.ndarray, length: int) -> np.ndarray:
    return np.pad(values, (0, length - len(values)), mode="edge")
