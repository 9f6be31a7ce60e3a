"""How far probabilities are off, under many weightings of the cases."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from medfuse.evaluation.predictions import Predictions

Floats = NDArray[np.float64]

_STEPS = 50
_STEEPEST = 100.0  # beyond it cases are told apart without an error, and no slope fits best
_LEAST = 1e-12
_AT_ONCE = 64


def debiased_calibration_error(predictions: Predictions, weights: Floats, bins: int) -> Floats:
    """Return the root mean squared calibration error of the top class, ``(R,)``, in [0, 1].

    Over bins with equally many cases, the mean of (accuracy - mean confidence) squared, from which
    the variance of that difference is subtracted: without that, few cases look like a large error
    (Kumar, Liang and Ma, 2019, arXiv:1909.10155; Broecker, 2012, doi:10.1007/s00382-011-1191-1).
    The square is unbiased; it is 0 where chance explains all of it.
    """
    top = predictions.probabilities.max(1)
    gap = (predictions.labels == predictions.predicted) - top
    member = equal_counts(top, bins)
    counts, squares = weights @ member, weights**2 @ member
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = weights @ (member * gap[:, None]) / counts
        spread = weights**2 @ (member * gap[:, None] ** 2)
        spread += mean**2 * squares - 2 * mean * (weights**2 @ (member * gap[:, None]))
        excess = mean**2 - spread / (counts**2 - squares)
    usable = counts**2 > squares * (1 + 1e-9)
    total = (np.where(usable, excess, 0.0) * counts).sum(1) / weights.sum(1)
    return np.asarray(np.sqrt(np.maximum(total, 0.0)))


def label_calibration_error(
    held: NDArray[np.bool_], chance: Floats, weights: Floats, bins: int
) -> Floats:
    """Return the expected calibration error of a label's probability, ``(R,)``, in [0, 1].

    Sum over equal-width bins of (share of cases) x |share that has the label - mean probability|
    (Naeini et al., 2015, doi:10.1609/aaai.v29i1.9602).
    """
    member = np.eye(bins)[label_bins(chance, bins)]
    gap = held - chance
    return np.asarray(np.abs(weights @ (member * gap[:, None])).sum(1) / weights.sum(1))


def label_bins(chance: Floats, bins: int) -> NDArray[np.int64]:
    """Return the bin of each probability; bin b covers (b / bins, (b + 1) / bins]."""
    return np.asarray(np.clip(np.ceil(chance * bins).astype(np.int64) - 1, 0, bins - 1))


def equal_counts(values: Floats, bins: int) -> Floats:
    """Return which of at most ``bins`` bins of equally many values each is in, ``(N, bins)``.

    Values that are the same share a bin. A bin has at least two cases, where there are as many.
    """
    used = max(1, min(bins, len(values) // 2))
    edges = np.quantile(values, np.linspace(0, 1, used + 1)[1:-1])
    return np.asarray(np.eye(used)[np.searchsorted(edges, values, side="left")])


def slope_and_intercept(
    held: NDArray[np.bool_], chance: Floats, weights: Floats
) -> tuple[Floats, Floats]:
    """Return the calibration slope and intercept of a probability, each ``(R,)``.

    The slope is that of a logistic regression of the outcome on the log-odds of the probability:
    below 1 the probabilities are too extreme, above 1 too timid (Cox, 1958,
    doi:10.1093/biomet/45.3-4.562). The intercept is that with the slope held at 1: above 0 the
    probabilities are too low on the whole (calibration in the large; Van Calster et al., 2019,
    doi:10.1186/s12916-019-1466-7). NaN where all outcomes are alike, or no slope is best.
    """
    odds = np.log(np.clip(chance, _LEAST, None) / np.clip(1 - chance, _LEAST, None))
    both = ((weights @ held) > 0) & ((weights @ ~held) > 0)
    slope, intercept = np.full(len(weights), np.nan), np.full(len(weights), np.nan)
    if both.any():
        slope[both] = _slopes(held, odds, weights[both])
        intercept[both] = _intercepts(held, odds, weights[both])
    return slope, intercept


def _slopes(held: NDArray[np.bool_], odds: Floats, weights: Floats) -> Floats:
    """Newton's method for the two coefficients of every weighting, ``(R,)`` slopes."""
    design = np.stack([np.ones_like(odds), odds], axis=1)
    outer = (design[:, :, None] * design[:, None, :]).reshape(len(odds), 4)

    def step(found: Floats, kept: Floats) -> Floats:
        said = expit(found @ design.T)
        gradient = (kept * (held - said)) @ design
        curvature = ((kept * said * (1 - said)) @ outer).reshape(-1, 2, 2) + 1e-9 * np.eye(2)
        return np.asarray(np.linalg.solve(curvature, gradient[..., None])[..., 0])

    found = _newton(step, np.tile([0.0, 1.0], (len(weights), 1)), weights)[:, 1]
    return np.where(np.abs(found) < _STEEPEST, found, np.nan)


def _intercepts(held: NDArray[np.bool_], odds: Floats, weights: Floats) -> Floats:
    def step(found: Floats, kept: Floats) -> Floats:
        said = expit(odds + found)
        gradient = (kept * (held - said)).sum(1, keepdims=True)
        return np.asarray(gradient / ((kept * said * (1 - said)).sum(1, keepdims=True) + 1e-12))

    return _newton(step, np.zeros((len(weights), 1)), weights)[:, 0]


def _newton(step: Callable[[Floats, Floats], Floats], start: Floats, weights: Floats) -> Floats:
    """Return the coefficients ``(R, P)`` at which steps end; NaN where they do not.

    Weightings whose steps have ended are not looked at again, for a few that find no end would
    otherwise keep all others going. Few are taken at once, so that they stay in the cache.
    """
    found = start
    for first in range(0, len(weights), _AT_ONCE):
        active = np.arange(first, min(first + _AT_ONCE, len(weights)))
        for _ in range(_STEPS):
            change = np.clip(step(found[active], weights[active]), -2.0, 2.0)
            found[active] += change
            far = np.abs(change).max(1)
            active, far = active[far >= 1e-8], far[far >= 1e-8]
            if not len(active):
                break
        found[active[far >= 1e-4]] = np.nan
    return found
