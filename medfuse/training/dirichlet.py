"""Fit a linear map of log-probabilities on held-out cases."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax

from medfuse.calibration.dirichlet import DirichletCalibration
from medfuse.training.held_out_folds import held_out_folds

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)


def fit_dirichlet(
    logits: np.ndarray, labels: np.ndarray, groups: np.ndarray
) -> DirichletCalibration:
    """Return the map that gives held-out cases the highest likelihood, regularized.

    The off-diagonal weights and the intercepts are kept small, each by their mean square (Kull et
    al., 2019, arXiv:1910.12656, there with a strength of its own for each). The strength is the one
    of `STRENGTHS` with the lowest log loss on folds of the patients; the largest, of equals.

    Args:
        logits: ``(N, K)`` of cases that were not trained on.
        labels: ``(N,)`` class indices.
        groups: ``(N,)`` patients as numbers.
    """
    values = log_softmax(np.asarray(logits, dtype=np.float64), axis=1)
    folds = held_out_folds(groups)
    losses = [
        sum(
            float(_losses(_solve(values[rest], labels[rest], strength), values[new], labels[new]))
            for rest, new in folds
        )
        for strength in STRENGTHS
    ]
    lowest = min(range(len(STRENGTHS)), key=lambda i: (losses[i], -STRENGTHS[i]))
    weights = _solve(values, labels, STRENGTHS[lowest])
    module = DirichletCalibration(values.shape[1])
    module.weight.copy_(torch.from_numpy(weights[:, :-1]))
    module.bias.copy_(torch.from_numpy(weights[:, -1]))
    return module


def _solve(values: np.ndarray, labels: np.ndarray, strength: float) -> np.ndarray:
    """Return weights and intercepts ``(K, K + 1)``: the minimum of a convex loss."""
    classes = values.shape[1]
    truth = np.eye(classes)[labels]
    inputs = np.hstack([values, np.ones((len(values), 1))])
    cost = np.full((classes, classes + 1), strength / max(classes * (classes - 1), 1))
    cost[:, -1] = strength / classes
    cost[np.arange(classes), np.arange(classes)] = 0.0

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(classes, classes + 1)
        said = log_softmax(inputs @ weights.T, axis=1)
        slope = (np.exp(said) - truth).T @ inputs / len(values)
        value = -(said * truth).sum() / len(values) + (cost * weights**2).sum()
        return float(value), (slope + 2 * cost * weights).ravel()

    start = np.eye(classes, classes + 1).ravel()
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000})
    return np.asarray(found.x).reshape(classes, classes + 1)


def _losses(weights: np.ndarray, values: np.ndarray, labels: np.ndarray) -> float:
    said = log_softmax(values @ weights[:, :-1].T + weights[:, -1], axis=1)
    return float(-said[np.arange(len(labels)), labels].sum())
