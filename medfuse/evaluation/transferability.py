"""How well frozen features tell the classes of a cohort apart, without training a network.

LogME and the H-score look at all cases; the neighbors and the probe judge each case by others.
Larger is better in all four.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve
from scipy.optimize import minimize_scalar

from medfuse.evaluation.feature_kernel import FeatureKernel, Floats, Rows, Spectrum, shrinkage
from medfuse.evaluation.ranking import auroc, rank

NEIGHBORS = 5

_LOG_RIDGES = np.linspace(np.log(1e-6), np.log(1e6), 49)


def log_evidence(spectrum: Spectrum, labels: Rows) -> tuple[float, float]:
    """Return ``(LogME, ridge)``: the mean log evidence of a case, and the penalty it is at.

    The evidence of a Bayesian linear model of each class's indicator, maximized over the
    precisions of weights and noise; the mean of the classes (You et al., 2021, arXiv:2102.11005).
    Deviations: features are standardized, the intercept has a flat prior (the paper has none) and
    the maximum is found over the ratio of the precisions, with the noise in closed form, instead
    of by fixed-point steps. Where the features reproduce the labels exactly the evidence is
    unbounded; the ratio is then kept at 1e-6 of the mean squared length of a case's features.

    Args:
        spectrum: of the features of N cases.
        labels: class of each case, ``(N,)``, integers from 0.

    Returns:
        the evidence in nats, and the geometric mean of the classes' ratios.
    """
    count = len(labels) - 1
    found = []
    for index in np.unique(labels):
        target = (labels == index).astype(np.float64)
        target -= target.mean()
        part = (spectrum.vectors.T @ target) ** 2
        rest = max(float(target @ target - part.sum()), 0.0)
        found.append(_largest_evidence(spectrum.values, part, rest, count))
    evidence, log_ridge = np.mean(found, axis=0)
    return float(evidence), float(np.exp(log_ridge))


def h_score(kernel: FeatureKernel, spectrum: Spectrum, labels: Rows) -> float:
    """Return the H-score: between-class over total covariance of the features, ``trace``.

    Bao et al., 2019, doi:10.1109/ICIP.2019.8803726; the covariance, and the class means by the
    same factor, are shrunk for few cases as by Ibrahim et al., 2022, arXiv:2110.06893, with the
    intensity of Ledoit and Wolf, 2004, doi:10.1016/S0047-259X(03)00096-4.

    Args:
        kernel: of the features of N cases.
        spectrum: of the kernel.
        labels: class of each case, ``(N,)``.
    """
    count, amount = len(labels), ledoit_wolf(kernel)
    mean = float(np.trace(kernel.products)) / count / kernel.width
    total = (1 - amount) * spectrum.values / count + amount * mean
    between = np.zeros_like(total)
    for index in np.unique(labels):
        members = labels == index
        between += spectrum.vectors[members].sum(axis=0) ** 2 / members.sum()
    return float((1 - amount) * (between * spectrum.values / count / total).sum())


def ledoit_wolf(kernel: FeatureKernel) -> float:
    """Return the shrinkage intensity in [0, 1] of the features' covariance, from the kernel.

    Ledoit and Wolf, 2004, doi:10.1016/S0047-259X(03)00096-4.
    """
    products = kernel.products
    return shrinkage(np.diag(products), float((products**2).sum()), kernel.width)


def neighbor_accuracy(kernel: FeatureKernel, labels: Rows, groups: Rows) -> float:
    """Return the balanced accuracy of the votes of the 5 nearest cases of other groups.

    Nearest by the cosine of the standardized features; of classes with as many votes, that of
    the nearest case wins.

    Args:
        kernel: of the features of N cases.
        labels: class of each case, ``(N,)``.
        groups: cases of one patient, or of one picture, share a number, ``(N,)``.
    """
    length = np.sqrt(np.maximum(np.diag(kernel.products), np.finfo(float).tiny))
    cosine = kernel.products / length[:, None] / length[None, :]
    cosine[groups[:, None] == groups[None, :]] = -np.inf
    nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :NEIGHBORS]
    usable = np.isfinite(np.take_along_axis(cosine, nearest, axis=1))
    votes = np.zeros((len(labels), int(labels.max()) + 1))
    for place in range(nearest.shape[1]):
        weight = usable[:, place] * (1 + 0.1 * 0.1**place)  # the nearest decides a tie
        votes[np.arange(len(labels)), labels[nearest[:, place]]] += weight
    right = votes.argmax(axis=1) == labels
    return float(np.mean([right[labels == index].mean() for index in np.unique(labels)]))


def probe_auroc(kernel: FeatureKernel, labels: Rows, folds: Sequence[Rows], ridge: float) -> float:
    """Return the macro AUROC of ridge regression on cases it did not learn from.

    Each fold is predicted from all others; the mean of the folds, since scores of different
    models do not compare. NaN where no fold has two classes.

    Args:
        kernel: of the features of N cases.
        labels: class of each case, ``(N,)``.
        folds: row numbers of each fold; together all cases.
        ridge: penalty; that of `log_evidence` is at the scale of the kernel.
    """
    found = [_fold_auroc(kernel, labels, fold, ridge) for fold in folds]
    finite = [value for value in found if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")


def _largest_evidence(values: Floats, part: Floats, rest: float, count: int) -> tuple[float, float]:
    """Return the largest mean log evidence and the logarithm of the ratio it is at."""

    def loss(log_ridge: float) -> float:
        ratio = values / np.exp(log_ridge)
        noise = max((float((part / (1 + ratio)).sum()) + rest) / count, np.finfo(float).tiny)
        spread = float(np.log1p(ratio).sum()) / count
        return float(np.log(2 * np.pi * noise) + spread + 1) / 2

    best = int(np.argmin([loss(value) for value in _LOG_RIDGES]))
    around = _LOG_RIDGES[max(best - 1, 0)], _LOG_RIDGES[min(best + 1, len(_LOG_RIDGES) - 1)]
    found = minimize_scalar(loss, bounds=around, method="bounded", options={"xatol": 1e-6})
    return -float(found.fun), float(found.x)


def _fold_auroc(kernel: FeatureKernel, labels: Rows, fold: Rows, ridge: float) -> float:
    learned = np.setdiff1d(np.arange(len(labels)), fold)
    scores = _predicted(
        kernel.products, np.eye(int(labels.max()) + 1)[labels], learned, fold, ridge
    )
    values = []
    for index in np.unique(labels):
        positive = labels[fold] == index
        if 0 < positive.sum() < len(fold):
            ones = np.ones((1, len(fold)))
            values.append(float(auroc(rank(scores[:, index], positive, ones))[0]))
    return float(np.mean(values)) if values else float("nan")


def _predicted(
    products: Floats, targets: Floats, learned: Rows, fold: Rows, ridge: float
) -> NDArray[np.float64]:
    """Return ridge regression's scores ``(fold, K)``; centered on the cases it learns from."""
    among, across = products[np.ix_(learned, learned)], products[np.ix_(fold, learned)]
    rows, total = among.mean(axis=1), among.mean()
    inner = among - rows[:, None] - rows[None, :] + total
    outer = across - across.mean(axis=1)[:, None] - rows[None, :] + total
    center = targets[learned].mean(axis=0)
    inner[np.diag_indices_from(inner)] += ridge
    weights = solve(inner, targets[learned] - center, assume_a="pos")
    scores: NDArray[np.float64] = outer @ weights + center
    return scores
