"""Make probabilities honest: one temperature for all logits."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from medfuse.errors import TrainingError

_LOWEST = 0.05
_HIGHEST = 20.0
_PRIOR = 4.0


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the most probable temperature, by held-out cases.

    Temperature scaling (Guo et al., 2017, "On calibration of modern neural networks",
    arXiv:1706.04599) with a prior: a handful of cases that are all classified well would ask for
    certainty. Beforehand the inverse temperature has a gamma density with its mode at 1 and a
    standard deviation of about one half, which a hundred cases outweigh. The loss is convex in
    the inverse temperature, so the minimum over [0.05, 20] is the global one.

    Args:
        logits: ``(N, K)`` of cases that were not trained on.
        labels: ``(N,)`` class indices; of several labels the answers ``(N, L)``, -1 where unknown,
            for which one temperature is fitted, too.

    Raises:
        TrainingError: there is no case, or a logit is not finite.
    """
    values = np.asarray(logits, dtype=np.float64)
    target = np.asarray(labels, dtype=np.int64)
    if len(values) == 0 or not np.isfinite(values).all():
        raise TrainingError(
            f"The temperature needs finite logits of at least one case, found {len(values)} cases."
        )
    if target.ndim == 2:
        # A label is a choice of two, whose logits are 0 and its log-odds.
        odds, target = values[target >= 0], target[target >= 0]
        values = np.stack([np.zeros_like(odds), odds], axis=1)
    rows = np.arange(len(target))

    def loss(inverse: float) -> float:
        likelihood = log_softmax(values * inverse, axis=1)[rows, target].sum()
        return float(_PRIOR * (inverse - np.log(inverse)) - likelihood)

    found = minimize_scalar(loss, bounds=(1 / _HIGHEST, 1 / _LOWEST), method="bounded")
    return float(1 / found.x)
