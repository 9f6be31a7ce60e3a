"""Adapting to images from elsewhere without their labels: what a classifier learns from instead.

Features of the cases learned from are moved to look like the target's, or the networks take the
target's statistics. Either way a case from the target needs nothing of its own: it is asked as
ever, so that a bundle carries no trace of how its weights came about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfuse.config import Experiment
from medfuse.errors import ConfigError
from medfuse.evaluation.domain import coral_toward, standardization_toward
from medfuse.workflows.extract import ExtractedFeatures
from medfuse.workflows.target_cases import check_pictures

Features = NDArray[np.float32]
_Move = Callable[[Features, Features, Sequence[str]], Features]

NAMES = {"standardize": "standardization by site", "coral": "CORAL", "adabn": "AdaBN"}
PAPERS = {
    "standardize": "each site of the training cases gets the target's means and deviations",
    "coral": "training features with the mean and covariance of the target (Sun et al., 2016)",
    "adabn": "batch norms of the networks with the target's statistics (Li et al., 2018)",
}


def moved(method: str, learned: Features, target: Features, sites: Sequence[str]) -> Features:
    """Return features of the cases learned from, moved to those of the target.

    Args:
        method: one of `MOVES`.
        learned: ``(N, 1 + views, ..., F)``, NaN where there is none.
        target: the same of the target's cases; the clean view counts.
        sites: where each case learned from comes from.

    Raises:
        EvaluationError: a site or the target has fewer than two cases.
    """
    return MOVES[method](learned, target, sites)


def check_adaptation(experiment: Experiment) -> None:
    """Refuse an adaptation that a configuration alone shows to be impossible.

    Raises:
        ConfigError: an input is a table, a source learns, or there is nothing at the target.
    """
    if experiment.adaptation is None:
        return
    check_pictures(experiment)
    target = Path(experiment.adaptation.target)
    if not target.exists():
        raise ConfigError(f"adaptation.target: {target} is not there, expected a folder of images.")
    learns = [source.use for source in experiment.sources if source.learns]
    if learns:
        raise ConfigError(
            f"adaptation: source {learns[0]} learns, but features are adapted once, of networks "
            "that stay as they are. Set train: frozen, or leave adaptation out."
        )


def values_of(features: ExtractedFeatures) -> list[Features]:
    """Return the features of each source, all of them frozen."""
    return [np.asarray(value, dtype=np.float32) for value in features.values]


def clean(values: Features) -> NDArray[np.float64]:
    """Return the features of the clean views as rows ``(..., F)`` without missing ones."""
    rows = values[:, 0].reshape(-1, values.shape[-1]).astype(np.float64)
    return np.asarray(rows[~np.isnan(rows).any(1)])


def by_papers(names: Sequence[Any]) -> list[str]:
    """Return what each of some ways does and from where it is, by the names shown."""
    return [f"{name}: {PAPERS[key]}" for key, name in NAMES.items() if name in names]


def _by_coral(learned: Features, target: Features, _: Sequence[str]) -> Features:
    return coral_toward(clean(learned), clean(target))(learned)


def _by_site(learned: Features, target: Features, sites: Sequence[str]) -> Features:
    found, names = np.empty_like(learned), np.asarray(sites)
    for name in np.unique(names):
        rows = names == name
        found[rows] = standardization_toward(clean(learned[rows]), clean(target))(learned[rows])
    return found


MOVES: Mapping[str, _Move] = {"standardize": _by_site, "coral": _by_coral}
